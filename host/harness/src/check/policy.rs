//! Policies: pure and complete. Inputs are drawn from the seed; what is expected follows from the contract alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use landfall_runtime::StageReply;
use landfall_runtime::contract::policy::{Candidate as Item, Choice, Request, Selection, Verdict};
use landfall_runtime::contract::types::{Consistency, Direction, FailoverKind, RecoveryPoint};
use landfall_runtime::{CallError, Fault, Policy};

use super::random::Random;
use super::{Candidate, Said, Table};
use crate::case::{Case, NEW_YEAR};
use crate::play::{Actor, Scene};
use crate::script::World;

/// Inputs that are drawn.
const INPUTS: u64 = 50;

/// How often each input is asked, with others between.
const TIMES: usize = 4;

/// The most points that the contract lets a candidate have.
const MOST_POINTS: u64 = 2_000;

/// Members of a large replication group.
const MOST_MEMBERS: u64 = 4;

/// A request and who answers it.
struct Asked {
    choice: Choice,
    request: Request,
}

pub(super) async fn check(table: &mut Table, candidate: &Candidate<'_>) {
    let choices = match policies(candidate, 1).first() {
        Some(policy) => policy.choices().await,
        None => return,
    };
    let choices = choices.unwrap_or_default();
    let inputs = inputs(&choices, candidate.seed);
    table
        .check(
            "choices",
            "choices are there, each under one name, and the same every time",
            offered(candidate),
        )
        .await;
    table
        .check(
            "deterministic",
            "the same request gives the same answer, whatever was asked between and when",
            async { deterministic(candidate, &inputs).await },
        )
        .await;
    table
        .check(
            "select-complete",
            "one selection for every item, of a processed point that it was offered",
            async { select_complete(candidate, &inputs).await },
        )
        .await;
    table
        .check(
            "retain-complete",
            "one verdict for every point, and not all points go",
            async { retain_complete(candidate, &inputs).await },
        )
        .await;
    table
        .check(
            "large",
            "2,000 points of four machines are within the limits of a call",
            async { large(candidate, &choices).await },
        )
        .await;
    table
        .check(
            "odd",
            "what fits nothing ends in a failure, never in a crash",
            odd(candidate, &choices),
        )
        .await;
}

/// The policy on stages of different moments and seeds: none of it may show.
fn policies(candidate: &Candidate<'_>, count: u64) -> Vec<Policy> {
    let policy = |number: u64| {
        let case = Case {
            seed: number,
            now_ms: Some(NEW_YEAR + number * 86_400_000),
            ..Case::default()
        };
        let world = World::answering(StageReply::Refused);
        match Scene::in_world(candidate.home, &candidate.plugin, &case, world)
            .ok()?
            .actor
        {
            Ok(Actor::Policy(policy)) => Some(policy),
            _ => None,
        }
    };
    (0..count).filter_map(policy).collect()
}

async fn offered(candidate: &Candidate<'_>) -> Said {
    let mut seen: Option<Vec<Choice>> = None;
    for policy in policies(candidate, 20) {
        match (policy.choices().await, &seen) {
            (Ok(choices), None) => seen = Some(choices),
            (Ok(choices), Some(first)) if choices == *first => {}
            (Ok(choices), Some(first)) => {
                return Said::Wrong(vec![format!("first {first:?}, then {choices:?}")]);
            }
            (Err(error), _) => return Said::Wrong(vec![error.to_string()]),
        }
    }
    let choices = seen.unwrap_or_default();
    let names: BTreeSet<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
    if choices.is_empty() || names.len() < choices.len() {
        return Said::Wrong(vec![format!("{} choices under {} names", choices.len(), names.len())]);
    }
    Said::Fine(names.into_iter().collect::<Vec<_>>().join(", "))
}

fn inputs(choices: &[Choice], seed: u64) -> Vec<Asked> {
    let mut random = Random::new(seed);
    let draw = |_| {
        let choice = random.pick(choices)?.clone();
        let members = 1 + random.below(3);
        let points = random.below(12);
        let request = draw(&mut random, &choice, members, points);
        Some(Asked { choice, request })
    };
    (0..INPUTS).filter_map(draw).collect()
}

/// Points at moments that repeat, marks that only some members have, pending ones, and none at all.
fn draw(random: &mut Random, choice: &Choice, members: u64, points: u64) -> Request {
    let group = (members > 1 || choice.needs_group).then(|| "group-1".to_owned());
    let item = |number: u64, random: &mut Random| {
        let mut point = |point: u64| {
            if random.one_in(5) {
                return None;
            }
            Some(RecoveryPoint {
                id: format!("p{number}-{point}"),
                source_time_ms: NEW_YEAR - random.below(points.max(1)) * 60_000,
                consistency: if random.one_in(3) {
                    Consistency::App
                } else {
                    Consistency::Crash
                },
                group_mark: group.is_some().then(|| format!("mark-{point}")),
                processed: !random.one_in(6),
                ext: vec![],
            })
        };
        let mut list: Vec<RecoveryPoint> = (0..points).filter_map(&mut point).collect();
        list.sort_by_key(|point| std::cmp::Reverse(point.source_time_ms));
        Item {
            item: format!("item-{number}"),
            group: group.clone(),
            points: list,
        }
    };
    let candidates: Vec<Item> = (0..members).map(|number| item(number, random)).collect();
    // A parameter named in capitals stands for an item, and its value is one of its points; others get a number.
    let mut params = Vec::new();
    for (name, _) in &choice.params {
        if name == "ITEM" {
            let chosen = candidates.iter().filter_map(|item| {
                let point = random.pick(&item.points)?;
                Some((item.item.clone(), point.id.clone()))
            });
            params.extend(chosen);
        } else {
            params.push((name.clone(), random.below(1_000).to_string()));
        }
    }
    Request {
        choice: choice.name.clone(),
        params,
        kind: [FailoverKind::Test, FailoverKind::Planned, FailoverKind::Unplanned]
            .get(usize::try_from(random.below(3)).unwrap_or(0))
            .copied()
            .unwrap_or(FailoverKind::Planned),
        direction: if random.one_in(3) {
            Direction::Reverse
        } else {
            Direction::Forward
        },
        now_ms: NEW_YEAR,
        candidates,
        ext: vec![],
    }
}

/// For `retain`: kind and direction say nothing.
fn retention(request: &Request) -> Request {
    Request {
        params: vec![("keep-ms".to_owned(), "300000".to_owned())],
        kind: FailoverKind::Planned,
        direction: Direction::Forward,
        ..request.clone()
    }
}

/// An answer as text: what is compared must hold every byte.
fn words<T: std::fmt::Debug>(answer: &Result<T, CallError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => match error.failure() {
            Some(failure) => format!("{failure:?}"),
            None => error.to_string(),
        },
    }
}

async fn deterministic(candidate: &Candidate<'_>, inputs: &[Asked]) -> Said {
    let policies = policies(candidate, TIMES as u64);
    let mut random = Random::new(candidate.seed ^ 1);
    let mut answers: BTreeMap<usize, (String, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut order: Vec<(usize, usize)> = (0..inputs.len())
        .flat_map(|input| (0..TIMES).map(move |time| (input, time)))
        .collect();
    random.shuffle(&mut order);
    for (index, time) in order {
        let (Some(input), Some(policy)) = (inputs.get(index), policies.get(time)) else {
            continue;
        };
        let selected = words(&policy.select(input.request.clone()).await);
        let retained = words(&policy.retain(retention(&input.request)).await);
        let now = (selected, retained);
        match answers.get(&index) {
            None => {
                answers.insert(index, now);
            }
            Some(first) if *first == now => {}
            Some(first) => wrong.push(format!("`{}`: first {first:?}, then {now:?}", input.choice.name)),
        }
    }
    Said::of(wrong, format!("{} requests, {TIMES} times each", inputs.len()))
}

async fn select_complete(candidate: &Candidate<'_>, inputs: &[Asked]) -> Said {
    let policies = policies(candidate, 1);
    let Some(policy) = policies.first() else {
        return Said::Skip("it cannot be bound".to_owned());
    };
    let (mut wrong, mut answered) = (Vec::new(), 0);
    for Asked { choice, request } in inputs {
        match policy.select(request.clone()).await {
            Ok(selections) => {
                answered += 1;
                wrong.extend(misfits(&selections, request).map(|why| format!("`{}`: {why}", choice.name)));
            }
            Err(error) => wrong.extend(crash(&error)),
        }
    }
    if answered == 0 {
        wrong.push("no request was answered with a selection".to_owned());
    }
    Said::of(wrong, format!("{answered} of {} requests were answered", inputs.len()))
}

/// What is wrong with a selection.
fn misfits(selections: &[Selection], request: &Request) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    for item in &request.candidates {
        let mut of_item = selections.iter().filter(|selection| selection.item == item.item);
        match (of_item.next(), of_item.next()) {
            (None, _) => wrong.push(format!("nothing is selected for `{}`", item.item)),
            (Some(_), Some(_)) => wrong.push(format!("`{}` is selected for twice", item.item)),
            (Some(selection), None) => match item.points.iter().find(|point| point.id == selection.point) {
                None => wrong.push(format!("`{}` has no point `{}`", item.item, selection.point)),
                Some(point) if !point.processed => {
                    wrong.push(format!("`{}` of `{}` is still pending", point.id, item.item));
                }
                Some(_) if selection.reason.is_empty() => wrong.push(format!("no reason for `{}`", item.item)),
                Some(_) => {}
            },
        }
    }
    let known = |name: &str| request.candidates.iter().any(|item| item.item == name);
    let strangers = selections.iter().filter(|selection| !known(&selection.item));
    wrong.extend(strangers.map(|selection| format!("`{}` was not asked for", selection.item)));
    wrong.into_iter()
}

async fn retain_complete(candidate: &Candidate<'_>, inputs: &[Asked]) -> Said {
    let policies = policies(candidate, 1);
    let Some(policy) = policies.first() else {
        return Said::Skip("it cannot be bound".to_owned());
    };
    let (mut wrong, mut verdicts) = (Vec::new(), 0);
    for Asked { request, .. } in inputs {
        match policy.retain(retention(request)).await {
            Ok(answer) => {
                verdicts += answer.len();
                wrong.extend(incomplete(&answer, request));
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    Said::of(wrong, format!("{verdicts} verdicts"))
}

fn incomplete(verdicts: &[Verdict], request: &Request) -> Option<String> {
    let mut given: Vec<(&str, &str)> = verdicts
        .iter()
        .map(|verdict| (verdict.item.as_str(), verdict.point.as_str()))
        .collect();
    let items = request.candidates.iter();
    let mut wanted: Vec<(&str, &str)> = items
        .flat_map(|item| item.points.iter().map(|point| (item.item.as_str(), point.id.as_str())))
        .collect();
    given.sort_unstable();
    wanted.sort_unstable();
    if given != wanted {
        return Some(format!(
            "{} verdicts for {} points; each needs one",
            given.len(),
            wanted.len()
        ));
    }
    let lost = request.candidates.iter().find(|item| {
        let is_usable = item.points.iter().any(|point| point.processed);
        is_usable && !verdicts.iter().any(|verdict| verdict.item == item.item && verdict.keep)
    });
    lost.map(|item| format!("every point of `{}` goes: nothing could be recovered", item.item))
}

async fn large(candidate: &Candidate<'_>, choices: &[Choice]) -> Said {
    let policies = policies(candidate, 1);
    let Some(policy) = policies.first() else {
        return Said::Skip("it cannot be bound".to_owned());
    };
    let mut random = Random::new(candidate.seed ^ 2);
    let (mut wrong, mut longest) = (Vec::new(), 0);
    for choice in choices {
        let request = draw(&mut random, choice, MOST_MEMBERS, MOST_POINTS);
        let began = Instant::now();
        let selected = policy.select(request.clone()).await.err();
        let retained = policy.retain(retention(&request)).await.err();
        longest = longest.max(began.elapsed().as_millis());
        wrong.extend(selected.iter().chain(&retained).filter_map(crash));
    }
    Said::of(wrong, format!("at most {longest} ms for both"))
}

async fn odd(candidate: &Candidate<'_>, choices: &[Choice]) -> Said {
    let policies = policies(candidate, 1);
    let Some(policy) = policies.first() else {
        return Said::Skip("it cannot be bound".to_owned());
    };
    let mut random = Random::new(candidate.seed ^ 3);
    let mut wrong = Vec::new();
    let mut asked = 0;
    for choice in choices {
        let plain = draw(&mut random, choice, 2, 5);
        let strange = [
            Request {
                candidates: vec![],
                ..plain.clone()
            },
            Request {
                choice: "no-such-choice".to_owned(),
                ..plain.clone()
            },
            Request {
                now_ms: 0,
                ..plain.clone()
            },
            Request {
                params: vec![("keep-ms".to_owned(), "soon".to_owned())],
                ..plain.clone()
            },
            draw(&mut random, choice, 3, 0),
        ];
        for request in strange {
            asked += 2;
            wrong.extend(policy.select(request.clone()).await.err().as_ref().and_then(crash));
            wrong.extend(policy.retain(request).await.err().as_ref().and_then(crash));
        }
    }
    Said::of(wrong, format!("{asked} requests"))
}

/// A failure in the policy's own words is an answer; anything else is not.
fn crash(error: &CallError) -> Option<String> {
    match &error.fault {
        Fault::Failure(_) => None,
        _ => Some(error.to_string()),
    }
}
