//! Turns what the daemon answers into text for people. Pure, so that every word of it stands in a snapshot.

mod diagnostic;
mod graph;
mod job;
mod lists;
mod plugins;
mod policies;

pub(crate) use diagnostic::diagnostics;
pub(crate) use graph::{dot, graph};
pub(crate) use job::{dry_run, job, jobs, stuck, summary};
pub(crate) use lists::{document, documents, item, items, machines, networks, points, sites};
pub(crate) use plugins::{history, plugin, plugins, serves};
pub(crate) use policies::{decisions, policies, replayed, verdicts};

use landfall_recovery::words::{Finding, Severity};

use crate::style;

/// Findings, each with its cure.
pub(crate) fn findings(findings: &[Finding]) -> String {
    findings.iter().map(finding).collect()
}

fn finding(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Info => "info".to_owned(),
        Severity::Warning => style::warning("warning"),
        Severity::Error => style::error("error"),
    };
    let Finding {
        id,
        subject,
        cause,
        cure,
        ..
    } = finding;
    let cure = if cure.is_empty() {
        String::new()
    } else {
        format!("    cure: {cure}\n")
    };
    format!("  {severity}[{id}] {subject}: {cause}\n{cure}")
}

#[cfg(test)]
pub(crate) mod samples;
