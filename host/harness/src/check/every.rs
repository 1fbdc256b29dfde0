//! What holds for plugins of every kind.

use std::collections::BTreeSet;

use landfall_runtime::contract::plugin::Info;
use landfall_runtime::{Interface, StageReply};
use serde_json::json;

use super::{Candidate, Said, Table};
use crate::case::{Act, Case, Expect, Outcome};
use crate::play::{Scene, play};
use crate::script::World;

/// Codes of faults that are the plugin's own: it crashed, or ran into a limit.
const OWN_FAULTS: [&str; 9] = [
    "LF0431", "LF0432", "LF0433", "LF0434", "LF0438", "LF0439", "LF0444", "LF0445", "LF0448",
];

pub(super) async fn check(table: &mut Table, candidate: &Candidate<'_>, described: &Info) {
    table
        .check("loads", "it fits the world of its kind, and its manifest", async {
            Said::Fine(format!("{}", candidate.plugin.identity()))
        })
        .await;
    table
        .check("describe-stable", "`describe` says the same every time", async {
            if candidate.plugin.info() == described {
                Said::Fine("twice".to_owned())
            } else {
                Said::Wrong(vec![format!("first {described:?}, then {:?}", candidate.plugin.info())])
            }
        })
        .await;
    table
        .check(
            "requests-used",
            "every interface that it requests is one that it imports",
            async { requests_used(candidate) },
        )
        .await;
    table
        .check("cases", "the author's own cases pass", cases(candidate))
        .await;
    table
        .check(
            "denials",
            "what is not granted ends in a failure, never in a crash",
            Box::pin(denials(candidate)),
        )
        .await;
    table
        .check(
            "deadline",
            "a call ends in its time though nobody answers",
            Box::pin(deadline(candidate)),
        )
        .await;
    table
        .check(
            "log-bounded",
            "no call logs more than the host keeps",
            log_bounded(candidate),
        )
        .await;
}

fn requests_used(candidate: &Candidate<'_>) -> Said {
    let (used, requests) = (candidate.plugin.uses(), &candidate.plugin.manifest().requests);
    let requested: BTreeSet<Interface> = Interface::ALL
        .into_iter()
        .filter(|interface| requests.include(*interface))
        .collect();
    let unused: Vec<String> = requested
        .difference(&used)
        .map(|interface| format!("`{interface}` is requested in plugin.toml and never used; take it out"))
        .collect();
    Said::of(unused, format!("{requested:?}"))
}

async fn cases(candidate: &Candidate<'_>) -> Said {
    if candidate.cases.is_empty() {
        return Said::Skip(
            "there are no cases; most other checks need some (docs/plugins.md has one of ten lines)".to_owned(),
        );
    }
    let mut wrong = Vec::new();
    for (name, case) in candidate.cases {
        let report = play(candidate.home, &candidate.plugin, name, case).await;
        if !report.passed {
            wrong.push(report.to_string());
        }
    }
    Said::of(wrong, format!("{} cases", candidate.cases.len()))
}

/// A call of every case, and the harmless functions, so that a plugin without cases is tried too.
fn acts(candidate: &Candidate<'_>) -> Vec<(String, Case, Act)> {
    let every = candidate.cases.iter().flat_map(|(name, case)| {
        case.acts()
            .into_iter()
            .map(move |act| (name.clone(), case.clone(), act))
    });
    every.collect()
}

/// What the call may end with: anything but a fault of its own making.
fn is_crash(outcome: &str, code: Option<&str>) -> bool {
    outcome == Outcome::Fault.as_str() && code.is_some_and(|code| OWN_FAULTS.contains(&code))
}

async fn denials(candidate: &Candidate<'_>) -> Said {
    let requests = &candidate.plugin.manifest().requests;
    let requested: Vec<Interface> = Interface::ALL
        .into_iter()
        .filter(|interface| requests.include(*interface))
        .collect();
    if requested.is_empty() {
        return Said::Fine("it requests nothing".to_owned());
    }
    let mut wrong = Vec::new();
    let mut looked_at = Vec::new();
    for denied in &requested {
        // The interface with none of its values, which refuses at the call; what has no values is not linked at all,
        // and the host refuses to bind the plugin.
        let has_values = |interface| matches!(interface, Interface::Http | Interface::Signing | Interface::Transport);
        let keeps = |interface: &&Interface| *interface != denied || has_values(**interface);
        let others: Vec<&Interface> = requested.iter().filter(keeps).collect();
        let grants = json!({ "interfaces": others, "http": [] });
        let mut ends = BTreeSet::new();
        for (name, case, act) in acts(candidate) {
            let case = Case {
                grants: Some(grants.clone()),
                ..case
            };
            let silent = Act {
                http: Vec::new(),
                transport: Vec::new(),
                guests: Vec::new(),
                expect: None,
                ..act
            };
            let mut scene = match Scene::set(candidate.home, &candidate.plugin, &case) {
                Ok(scene) => scene,
                Err(why) => {
                    wrong.push(format!("{name}: {why}"));
                    continue;
                }
            };
            let (played, _) = scene.act(&silent).await;
            let code = played.answer.get("code").and_then(serde_json::Value::as_str);
            if is_crash(&played.outcome, code) {
                wrong.push(format!("{name} without `{denied}`: {played}"));
            }
            ends.insert(played.outcome);
        }
        let ends: Vec<String> = ends.into_iter().collect();
        looked_at.push(format!("{denied}: {}", ends.join(", ")));
    }
    if candidate.cases.is_empty() {
        return Said::Skip("there are no cases to call it with".to_owned());
    }
    Said::of(wrong, looked_at.join("; "))
}

/// The network takes every request and never answers, and the clock moves as if that took as long as it was waited for.
async fn deadline(candidate: &Candidate<'_>) -> Said {
    let mut wrong = Vec::new();
    let mut longest = 0;
    let mut calls = 0_usize;
    for (name, case, act) in acts(candidate) {
        let function = act.function.as_deref();
        let wall = u64::try_from(case.limits.unwrap_or_default().wall.as_millis()).unwrap_or(u64::MAX);
        let world = World::answering(StageReply::Timeout);
        let Ok(mut scene) = Scene::in_world(candidate.home, &candidate.plugin, &case, world) else {
            continue;
        };
        let once = Act {
            resume: Some(false),
            after_ms: 0,
            http: Vec::new(),
            transport: Vec::new(),
            guests: Vec::new(),
            expect: Some(Expect::default()),
            ..act.clone()
        };
        let began = scene.stage.now_ms().unwrap_or_default();
        let (played, _) = scene.act(&once).await;
        let took = scene.stage.now_ms().unwrap_or_default().saturating_sub(began);
        calls += 1;
        longest = longest.max(took);
        let code = played.answer.get("code").and_then(serde_json::Value::as_str);
        if took > wall || is_crash(&played.outcome, code) {
            let function = function.unwrap_or(&played.function);
            wrong.push(format!(
                "{name}, {function}: {took} of {wall} ms, and then {}",
                played.outcome
            ));
        }
        if took == wall {
            wrong.push(format!(
                "{name}: it waited for all of its {wall} ms and left itself no time to say so; give requests a timeout below `call.remaining-ms`"
            ));
        }
    }
    if calls == 0 {
        return Said::Skip("there are no cases to call it with".to_owned());
    }
    Said::of(wrong, format!("{calls} calls, the longest {longest} ms"))
}

async fn log_bounded(candidate: &Candidate<'_>) -> Said {
    let mut wrong = Vec::new();
    let mut most = 0;
    for (name, case) in candidate.cases {
        let limit = case.limits.unwrap_or_default().log_lines as usize;
        let report = play(candidate.home, &candidate.plugin, name, case).await;
        for call in report.calls {
            let lines = call.log.len().div_ceil(call.times.max(1));
            most = most.max(lines);
            if lines >= limit {
                wrong.push(format!("{name}: {lines} lines a call, and {limit} are kept"));
            }
        }
    }
    if candidate.cases.is_empty() {
        return Said::Skip("there are no cases to call it with".to_owned());
    }
    Said::of(wrong, format!("at most {most} lines a call"))
}
