//! Tables of recovery-point policies and their decisions.

use landfall_daemon::api::wire::{PluginView, VerdictView};
use landfall_daemon::replay::{PolicyDecision, Replayed};

use super::lists::short;
use crate::table::table;
use crate::units::{NONE, or_none, time};

/// `landfall policy list`.
pub(crate) fn policies(policies: &[PluginView]) -> String {
    let rows = policies.iter().flat_map(|policy| {
        policy.choices.iter().map(|(choice, summary)| {
            [
                policy.name.clone(),
                or_none(policy.version.as_deref()),
                choice.clone(),
                summary.clone(),
            ]
        })
    });
    table(["policy", "version", "choice", "meaning"], rows)
}

/// `landfall policy decisions`.
pub(crate) fn decisions(decisions: &[PolicyDecision]) -> String {
    let rows = decisions.iter().flat_map(|decision| {
        decision.selections.iter().map(|selected| {
            [
                decision.job.clone(),
                time(decision.input.now_ms),
                format!("{} {} {}", decision.policy, decision.version, short(&decision.digest)),
                decision.input.choice.clone(),
                selected.item.clone(),
                selected.point.clone(),
                selected.reason.clone(),
            ]
        })
    });
    table(["job", "decided", "policy", "choice", "item", "point", "reason"], rows)
}

/// `landfall policy replay`.
pub(crate) fn replayed(rows: &[Replayed]) -> String {
    let point = |point: Option<&str>, at: Option<u64>| match (point, at) {
        (Some(point), Some(at)) => format!("{point} of {}", time(at)),
        (Some(point), None) => point.to_owned(),
        (None, _) => NONE.to_owned(),
    };
    let rows = rows.iter().map(|row| {
        [
            if row.job.is_empty() {
                NONE.to_owned()
            } else {
                row.job.clone()
            },
            row.item.clone(),
            point(row.chose.as_deref(), row.chose_time_ms),
            point(row.would_choose.as_deref(), row.would_choose_time_ms),
            if row.same { "same" } else { "other" }.to_owned(),
            row.reason.clone(),
        ]
    });
    table(["job", "item", "chose", "would choose", "", "reason"], rows)
}

/// `landfall policy retain`.
pub(crate) fn verdicts(verdicts: &[VerdictView]) -> String {
    let rows = verdicts.iter().map(|verdict| {
        [
            verdict.point.clone(),
            time(verdict.source_time_ms),
            if verdict.keep { "keep" } else { "let go" }.to_owned(),
            verdict.reason.clone(),
        ]
    });
    table(["point", "data of", "verdict", "reason"], rows)
}
