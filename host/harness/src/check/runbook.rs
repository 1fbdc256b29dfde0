//! Runbooks: effects are repeated under one key, polls repeat, and a probe tells the truth.
//!
//! The author's cases are the inputs. A script is a small far side that can be set back, so one call can be made twice
//! from the same state and compared.

use landfall_runtime::contract::types::EffectClass;
use landfall_runtime::{StageReply, StageRequest};

use super::{Candidate, Said, Table};
use crate::act;
use crate::case::{Act, CallFacts, Case, Outcome};
use crate::ended::Ended;
use crate::play::{Actor, Scene, play};
use crate::script::World;

/// Different moments and seeds in which `effect` is asked.
const PURE_TRIES: u64 = 10;

/// What no runbook wrote as its `resume`.
const GARBAGE: [&[u8]; 3] = [b"", b"\xff\x00\xfe", b"{\"not\": \"yours\"}"];

pub(super) async fn check(table: &mut Table, candidate: &Candidate<'_>) {
    table
        .check(
            "effect-pure",
            "`effect` is the same every time and asks nobody",
            effect_pure(candidate),
        )
        .await;
    table
        .check(
            "retry",
            "another attempt under the same key sends the same and ends the same",
            retry(candidate),
        )
        .await;
    table
        .check("key", "the requests of a keyed effect carry its key", key(candidate))
        .await;
    table
        .check(
            "resume",
            "a poll can be repeated and never sends the effect again",
            resume(candidate),
        )
        .await;
    table
        .check(
            "resume-garbage",
            "a `resume` that is not its own ends in a failure",
            resume_garbage(candidate),
        )
        .await;
    table
        .check(
            "probe",
            "a probe says absent before the effect and done after it",
            probe(candidate),
        )
        .await;
    table
        .check("undo", "taking the effect back can be repeated", undo(candidate))
        .await;
}

/// The first call of each case that calls `run`.
fn runs<'c>(candidate: &'c Candidate<'_>) -> Vec<(&'c str, &'c Case, Act)> {
    let first = |(name, case): &'c (String, Case)| {
        let act = case.acts().into_iter().next()?;
        let is_run = act.function.as_deref().is_none_or(|function| function == "run");
        let is_bound = act.expect.as_ref().and_then(|expect| expect.outcome) != Some(Outcome::Fault);
        (is_run && is_bound).then_some((name.as_str(), case, act))
    };
    candidate.cases.iter().filter_map(first).collect()
}

fn no_cases() -> Said {
    Said::Skip("no case calls `run`".to_owned())
}

fn scene(candidate: &Candidate<'_>, case: &Case, act: &Act) -> Option<Scene> {
    let world = World::default();
    world.add(act);
    Scene::in_world(candidate.home, &candidate.plugin, case, world).ok()
}

async fn effect_pure(candidate: &Candidate<'_>) -> Said {
    let runs = runs(candidate);
    if runs.is_empty() {
        return no_cases();
    }
    let mut wrong = Vec::new();
    for (name, case, act) in &runs {
        let mut first: Option<String> = None;
        for seed in 0..PURE_TRIES {
            let moved = Case {
                seed,
                now_ms: Some(case.now()),
                ..(*case).clone()
            };
            let world = World::answering(StageReply::Refused);
            let Ok(scene) = Scene::in_world(candidate.home, &candidate.plugin, &moved, world) else {
                continue;
            };
            let Ok(Actor::Runbook(runbook)) = &scene.actor else {
                continue;
            };
            let context = act::context(act, candidate.plugin.name(), case.now());
            scene.stage.advance(seed * 3_600_000);
            let said = match runbook.effect(context).await {
                Ok(facts) => format!("{facts:?}"),
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    break;
                }
            };
            let asked = scene.world.take_asked();
            if let Some((request, _)) = asked.first() {
                wrong.push(format!("{name}: it asked {} {}", request.method, request.url));
                break;
            }
            if let Some(said) = scene.world.take_said().0.first() {
                wrong.push(format!("{name}: it opened {said}"));
                break;
            }
            match &first {
                None => first = Some(said),
                Some(first) if *first == said => {}
                Some(first) => {
                    wrong.push(format!("{name}: first {first}, then {said}"));
                    break;
                }
            }
        }
    }
    Said::of(wrong, format!("{} cases, {PURE_TRIES} times each", runs.len()))
}

async fn class_of(scene: &Scene, act: &Act, plugin: &str) -> Option<EffectClass> {
    let Ok(Actor::Runbook(runbook)) = &scene.actor else {
        return None;
    };
    let context = act::context(act, plugin, scene.stage.now_ms().unwrap_or_default());
    runbook.effect(context).await.ok().map(|facts| facts.class)
}

fn with_call(act: &Act, change: impl FnOnce(CallFacts) -> CallFacts) -> Act {
    Act {
        call: Some(change(act.call.clone().unwrap_or_default())),
        ..act.clone()
    }
}

async fn retry(candidate: &Candidate<'_>) -> Said {
    let runs = runs(candidate);
    if runs.is_empty() {
        return no_cases();
    }
    let mut wrong = Vec::new();
    for (name, case, act) in &runs {
        let second = with_call(act, |call| CallFacts {
            attempt: call.attempt + 1,
            ..call
        });
        let (Some(one), Some(two)) = (scene(candidate, case, act), scene(candidate, case, act)) else {
            continue;
        };
        let (first, again) = match (one.once(act, None).await, two.once(&second, None).await) {
            (Ok(first), Ok(again)) => (first, again),
            (Err(why), _) | (_, Err(why)) => {
                wrong.push(format!("{name}: {why}"));
                continue;
            }
        };
        if first.ended != again.ended {
            wrong.push(format!(
                "{name}: {}, and at the second attempt {}",
                words(&first.ended),
                words(&again.ended)
            ));
        }
        if let Some(difference) = difference(&first.requests, &again.requests) {
            wrong.push(format!("{name}: {difference}"));
        }
        if first.others != again.others {
            let (one, two) = (first.others.join("\n"), again.others.join("\n"));
            wrong.push(format!(
                "{name}: the second attempt does something else:\n{one}\nand then\n{two}"
            ));
        }
    }
    Said::of(wrong, format!("{} cases", runs.len()))
}

async fn key(candidate: &Candidate<'_>) -> Said {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (name, case, act) in runs(candidate) {
        let marked = with_call(&act, |call| CallFacts {
            key: "check-this-key".to_owned(),
            ..call
        });
        // A script may expect the case's own key, so everything is answered by what it would answer first.
        let Some(scene) = scene(candidate, case, &relaxed(&act)) else {
            continue;
        };
        if class_of(&scene, &act, candidate.plugin.name()).await != Some(EffectClass::Keyed) {
            continue;
        }
        let Ok(once) = scene.once(&marked, None).await else {
            continue;
        };
        for request in once.requests.iter().filter(|request| is_effect(request)) {
            looked_at += 1;
            if !carries(request, "check-this-key") {
                wrong.push(format!(
                    "{name}: {} {} carries the key nowhere",
                    request.method, request.url
                ));
            }
        }
    }
    if looked_at == 0 {
        return Said::Skip("no case has a keyed effect that sends something".to_owned());
    }
    Said::of(wrong, format!("{looked_at} requests"))
}

/// The same answers, whatever is asked with.
fn relaxed(act: &Act) -> Act {
    let mut act = act.clone();
    for exchange in &mut act.http {
        exchange.headers.clear();
        exchange.body_contains.clear();
        (exchange.body, exchange.json) = (None, None);
    }
    act
}

async fn resume(candidate: &Candidate<'_>) -> Said {
    let mut wrong = Vec::new();
    let mut polls = 0;
    for (name, case, act) in runs(candidate) {
        let Some(scene) = scene(candidate, case, &act) else {
            continue;
        };
        let Ok(first) = scene.once(&act, None).await else {
            continue;
        };
        let Some(state) = first.resume.clone() else { continue };
        scene.stage.advance(u64::from(first.ended.after_ms.unwrap_or(0)));
        polls += 1;
        // The first of the two is the poll whose answer was lost; both find the far side as it was.
        let twin = scene.world.fork();
        let lost = scene.once(&act, Some(state.clone())).await;
        scene.world.set_back(&twin);
        let repeated = scene.once(&act, Some(state)).await;
        let (Ok(lost), Ok(repeated)) = (lost, repeated) else {
            wrong.push(format!("{name}: a poll cannot be made"));
            continue;
        };
        if lost.ended.outcome != repeated.ended.outcome || lost.ended.outputs != repeated.ended.outputs {
            wrong.push(format!(
                "{name}: a poll gave {}, and repeated {}",
                words(&lost.ended),
                words(&repeated.ended)
            ));
        }
        let sent_again = |request: &&StageRequest| is_effect(request) && first.requests.contains(request);
        for request in lost.requests.iter().chain(&repeated.requests).filter(sent_again) {
            wrong.push(format!("{name}: a poll sends {} {} again", request.method, request.url));
        }
    }
    if polls == 0 {
        return Said::Skip("no case says `again`".to_owned());
    }
    Said::of(wrong, format!("{polls} cases"))
}

async fn resume_garbage(candidate: &Candidate<'_>) -> Said {
    let runs = runs(candidate);
    let mut wrong = Vec::new();
    for (name, case, act) in &runs {
        for garbage in GARBAGE {
            let world = World::answering(StageReply::Refused);
            let Ok(scene) = Scene::in_world(candidate.home, &candidate.plugin, case, world) else {
                continue;
            };
            match scene.once(act, Some(garbage.to_vec())).await {
                Ok(once) if once.ended.outcome == Outcome::Fault => {
                    wrong.push(format!("{name}, {garbage:?}: {}", words(&once.ended)));
                }
                Ok(_) => {}
                Err(why) => wrong.push(format!("{name}: {why}")),
            }
        }
    }
    if runs.is_empty() {
        return no_cases();
    }
    Said::of(wrong, format!("{} cases", runs.len()))
}

/// Only the author knows the far side, so the two cases must be there; that they pass is another check's.
async fn probe(candidate: &Candidate<'_>) -> Said {
    let mut is_probeable = false;
    for (_, case, act) in runs(candidate) {
        if let Some(scene) = scene(candidate, case, &act) {
            is_probeable |= class_of(&scene, &act, candidate.plugin.name()).await == Some(EffectClass::Probeable);
        }
    }
    if !candidate.plugin.has_probe() {
        return if is_probeable {
            Said::Wrong(vec![
                "an effect is `probeable`, and `runbook-probe` is not exported".to_owned(),
            ])
        } else {
            Said::Skip("it exports no `runbook-probe`".to_owned())
        };
    }
    let (mut before, mut after) = (false, false);
    for (name, case) in candidate.cases {
        let report = play(candidate.home, &candidate.plugin, name, case).await;
        let mut ran = false;
        for call in &report.calls {
            match call.function.as_str() {
                "run" => ran |= call.outcome == "done",
                "probe" if ran => after |= call.answer.get("done").is_some(),
                "probe" => before |= call.answer == "absent",
                _ => {}
            }
        }
    }
    let mut missing = Vec::new();
    if !before {
        missing.push("no case probes before `run` and gets `absent`".to_owned());
    }
    if !after {
        missing.push("no case probes after a `run` that is done, and gets `done`".to_owned());
    }
    Said::of(missing, "before and after".to_owned())
}

async fn undo(candidate: &Candidate<'_>) -> Said {
    if !candidate.plugin.has_undo() {
        return Said::Skip("it exports no `runbook-undo`".to_owned());
    }
    let mut twice = 0;
    let mut wrong = Vec::new();
    for (name, case) in candidate.cases {
        let report = play(candidate.home, &candidate.plugin, name, case).await;
        let ends: Vec<&str> = report
            .calls
            .iter()
            .filter(|call| call.function == "undo")
            .map(|call| call.outcome.as_str())
            .collect();
        if ends.len() < 2 {
            continue;
        }
        twice += 1;
        if ends.iter().any(|end| !matches!(*end, "done" | "skip")) {
            wrong.push(format!("{name}: undo twice gave {}", ends.join(", then ")));
        }
    }
    if twice == 0 {
        return Said::Wrong(vec![
            "no case calls `undo` twice: after a crash the host does".to_owned(),
        ]);
    }
    Said::of(wrong, format!("{twice} cases"))
}

/// Whether a request may change something at the far side.
fn is_effect(request: &StageRequest) -> bool {
    !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
}

fn carries(request: &StageRequest, key: &str) -> bool {
    request.url.contains(key)
        || request.headers.iter().any(|(_, value)| value.contains(key))
        || String::from_utf8_lossy(&request.body).contains(key)
}

fn difference(first: &[StageRequest], second: &[StageRequest]) -> Option<String> {
    if first == second {
        return None;
    }
    if first.len() != second.len() {
        return Some(format!(
            "{} requests, and {} at the second attempt",
            first.len(),
            second.len()
        ));
    }
    let (one, two) = first.iter().zip(second).find(|(one, two)| one != two)?;
    let shown = |request: &StageRequest| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!("{} {} {:?} {body}", request.method, request.url, request.headers)
    };
    Some(format!(
        "the second attempt sends something else:\n{}\n{}",
        shown(one),
        shown(two)
    ))
}

fn words(ended: &Ended) -> String {
    match &ended.code {
        Some(code) => format!("{} ({code}: {})", ended.outcome.as_str(), ended.message),
        None => format!("{} {}", ended.outcome.as_str(), ended.answer),
    }
}
