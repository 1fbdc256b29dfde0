//! The evidence as a page that an auditor reads and prints: one file, no scripts, nothing loaded from anywhere. The
//! evidence itself is inside, so that the page alone can be checked.

use jiff::Timestamp;
use landfall_recovery::words::Pairs;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;
use crate::api::wire::{JobItemView, StepView};
use crate::views::name_of;

const BEGIN: &str = "<script type=\"application/json\" id=\"evidence\">";
const END: &str = "</script>";

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.2rem; border-bottom: 2px solid #d5dbe3; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #e4e8ee; }
th { background: #f2f5f8; } code { font-size: 13px; overflow-wrap: anywhere; }
.good { color: #11693a; } .bad { color: #a11a1a; font-weight: 600; } .quiet { color: #5d6b7c; }
@media print { details { display: block; } body { max-width: none; } }
";

/// A page without the evidence that it carries, and the evidence; nothing if this is no page.
pub(super) fn carried(text: &str) -> Option<(String, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (json, after) = rest.split_once(END)?;
    Some(([before, BEGIN, END, after].concat(), json))
}

/// Puts the evidence into a page.
pub(super) fn carrying(frame: &str, json: &str) -> String {
    // The element would end at a `<`; JSON has another way to write it.
    let json = json.replace('<', "\\u003c");
    match frame.split_once(END) {
        Some((before, after)) => [before, &json, END, after].concat(),
        None => frame.to_owned(),
    }
}

/// The page, with an empty place for the evidence itself.
pub(super) fn frame(report: &Report, records: usize, public_key: &str) -> String {
    let Report {
        job,
        fence_proofs,
        isolation_proofs,
        ..
    } = report;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Evidence of " (job.operation) " of " (job.plan) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (job.operation) " of " (job.plan) }
                p class="quiet" { "Job " code { (job.id) } ", evidence from its journal of " (records) " records" }
                (summary(report))
                (machines(report))
                @if !fence_proofs.is_empty() {
                    h2 { "Why no machine ran twice" }
                    table {
                        tr { th { "Machine" } th { "Source" } th { "Proof" } th { "Observed" } th { "Cannot start by itself" } th { "Evidence" } }
                        @for (item, proof) in fence_proofs {
                            tr {
                                td { (item) } td { (proof.machine) " at " (proof.site) }
                                td { (name_of(&proof.kind)) } td { (time(proof.observed_at)) }
                                td { (match proof.held { Some(true) => "yes", Some(false) => "no", None => "not known" }) }
                                td { (pairs(&proof.evidence)) }
                            }
                        }
                    }
                }
                @if !isolation_proofs.is_empty() {
                    h2 { "Why the test reached nothing else" }
                    table {
                        tr { th { "Machine" } th { "Network" } th { "Observed" } th { "Evidence" } }
                        @for (item, proof) in isolation_proofs { @for (network, evidence) in &proof.networks {
                            tr { td { (item) } td { (network) } td { (time(proof.observed_at)) } td { (pairs(evidence)) } }
                        } }
                    }
                }
                h2 { "Plugins" }
                table {
                    tr { th { "For" } th { "Version and digest" } }
                    @for (name, plugin) in &job.plugins { tr { td { (name) } td { code { (plugin) } } } }
                }
                h2 { "Steps" }
                (steps(&job.steps))
                h2 { "Journal" }
                details {
                    summary { "All " (report.journal.len()) " records" }
                    table {
                        tr { th { "#" } th { "Time" } th { "Record" } th { "Step" } th { "" } }
                        @for event in &report.journal {
                            tr { td { (event.seq) } td { (time(event.at)) } td { (event.event) }
                                td { (event.step.as_deref().unwrap_or("")) } td { (event.message) } }
                        }
                    }
                }
                h2 { "How to check this page" }
                p {
                    "Each record's hash covers the one before it, and the installation signed the last one. With the \
                     installation's public key, which " code { "landfall journal key" } " prints there:"
                }
                pre { code { "landfall evidence verify FILE --key KEY" } }
                p class="quiet" { "This file was signed with " code { (public_key) } "." }
                (PreEscaped(BEGIN)) (PreEscaped(END))
            }
        }
    };
    page.into_string() + "\n"
}

fn summary(report: &Report) -> Markup {
    let job = &report.job;
    html! {
        table {
            tr { th { "Outcome" } td {
                span class=(if job.status == "succeeded" { "good" } else { "bad" }) { (job.status) }
                @if let Some(reason) = &job.reason { ": " (reason) }
            } }
            tr { th { "Asked for" } td { (time(job.requested_at)) " by " (job.requested_by) } }
            tr { th { "Ended" } td { (job.ended_at.map_or_else(|| "it had not ended".to_owned(), time)) } }
            tr { th { "Recovery time" } td { (measured(report.rto_ms, report.rto_target_ms)) } }
            tr { th { "Frozen as" } td { code { (job.hash) } } }
            @for finding in &job.findings {
                tr { th { "Known before" } td { (finding.id) " " (finding.subject) ": " (finding.cause) } }
            }
            @for decision in report.journal.iter().filter(|event| event.event == "operator") {
                tr { th { "Decided" } td { (time(decision.at)) " " (decision.message)
                    @if let Some(step) = &decision.step { " (" (step) ")" } } }
            }
        }
    }
}

fn machines(report: &Report) -> Markup {
    let point = |item: &JobItemView| match &item.point {
        Some(point) => format!(
            "{} of {}, {}-consistent",
            point.id,
            time(point.source_time_ms),
            point.consistency
        ),
        None => String::new(),
    };
    html! {
        h2 { "Machines" }
        table {
            tr { th { "Machine" } th { "From, to" } th { "How it went" } th { "Recovery point" } th { "Data lost up to" } th { "Time to recover" } }
            @for item in &report.job.items {
                tr {
                    td { (item.item) @if let Some(machine) = &item.machine { br; span class="quiet" { (machine) } } }
                    td { (item.source_site) " to " (item.target_site) }
                    td { span class=(if item.status == "done" { "good" } else { "bad" }) { (item.status) } }
                    td { (point(item)) @if let Some(reason) = &item.point_reason { br; span class="quiet" { (reason) } } }
                    td { (measured(item.rpo_ms, report.rpo_targets_ms.get(&item.item).copied())) }
                    td { (measured(item.rto_ms, None)) }
                }
            }
        }
    }
}

fn steps(steps: &[StepView]) -> Markup {
    html! {
        table {
            tr { th { "Step" } th { "Calls" } th { "How it went" } th { "Tries" } th { "Begun" } th { "Took" } th { "" } }
            @for step in steps.iter().filter(|step| step.kind != "milestone") {
                tr {
                    td { (step.id) } td { (step.calls.as_deref().unwrap_or("")) }
                    td { span class=(if matches!(step.status.as_str(), "done" | "skipped") { "good" } else { "bad" }) { (step.status) } }
                    td { (step.attempt) } td { (step.begun_at.map(time).unwrap_or_default()) }
                    td { (step.begun_at.zip(step.ended_at).map(|(from, to)| span(to.saturating_sub(from))).unwrap_or_default()) }
                    td { (step.message.as_deref().unwrap_or("")) }
                }
            }
        }
    }
}

fn measured(value: Option<u64>, target: Option<u64>) -> Markup {
    html! {
        @match (value, target) {
            (None, _) => "",
            (Some(value), None) => (span(value)),
            (Some(value), Some(target)) => {
                span class=(if value <= target { "good" } else { "bad" }) { (span(value)) }
                " (target " (span(target)) ")"
            },
        }
    }
}

fn pairs(pairs: &Pairs) -> Markup {
    html! { @for (name, value) in pairs { (name) " = " (value) br; } }
}

/// To the millisecond, in UTC.
fn time(ms: u64) -> String {
    let at = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| ms.to_string(), |at| format!("{at:.3}"))
}

fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}.{:03} s", ms % 1000),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
