//! From what a case says to what the contract wants: defaults filled in, times made absolute.

use landfall_runtime::contract::policy::{Candidate, Request};
use landfall_runtime::contract::runbook::{Context, MachineContext};
use landfall_runtime::contract::types::{self, Call, RecoveryPoint};

use crate::case::{
    Act, CallFacts, CandidateFacts, Consistency, ContextFacts, Direction, FailoverKind, MachineFacts, Pairs, PointFacts,
};

/// A recovery point's age where a case gives none: a usual RPO.
const POINT_AGE_MS: u64 = 60_000;

pub(crate) fn call(facts: &CallFacts) -> Call {
    Call {
        installation: facts.installation.clone(),
        epoch: facts.epoch,
        job: facts.job.clone(),
        step: facts.step.clone(),
        attempt: facts.attempt,
        key: facts.key.clone(),
        // The runtime says how long is left when the call begins.
        remaining_ms: 0,
        ext: vec![],
    }
}

/// `plugin` names the action where the case does not.
pub(crate) fn context(act: &Act, plugin: &str, now_ms: u64) -> Context {
    let facts = act.context.clone().unwrap_or_default();
    let ContextFacts {
        plan,
        operation,
        kind,
        direction,
        group,
        phase,
        action,
        machines,
        outputs,
        ext,
    } = facts;
    Context {
        plan,
        operation,
        kind: kind.map(failover_kind),
        direction: self::direction(direction),
        group: known(group),
        phase,
        action: action.unwrap_or_else(|| plugin.to_owned()),
        machines: machines.into_iter().map(|facts| machine(facts, now_ms)).collect(),
        outputs: pairs(&outputs),
        params: pairs(&act.params.clone().unwrap_or_default()),
        ext: pairs(&ext),
    }
}

fn machine(facts: MachineFacts, now_ms: u64) -> MachineContext {
    let MachineFacts {
        item,
        source_site,
        target_site,
        source_machine,
        target_machine,
        addresses,
        point,
        point_time_ms,
        consistency,
        params,
        ext,
    } = facts;
    let point = known(point);
    let time = point_time_ms.unwrap_or(now_ms.saturating_sub(POINT_AGE_MS));
    MachineContext {
        item,
        source_site,
        target_site,
        source_machine: known(source_machine),
        target_machine: known(target_machine),
        addresses,
        point_time_ms: point.is_some().then_some(time),
        consistency: point.is_some().then(|| self::consistency(consistency)),
        point,
        params: pairs(&params),
        ext: pairs(&ext),
    }
}

pub(crate) fn request(act: &Act, now_ms: u64) -> Request {
    let facts = act.request.clone().unwrap_or_default();
    Request {
        choice: facts.choice,
        params: pairs(&act.params.clone().unwrap_or_default()),
        kind: failover_kind(facts.kind),
        direction: direction(facts.direction),
        now_ms,
        candidates: facts
            .candidates
            .into_iter()
            .map(|facts| candidate(facts, now_ms))
            .collect(),
        ext: pairs(&facts.ext),
    }
}

fn candidate(facts: CandidateFacts, now_ms: u64) -> Candidate {
    let mut points: Vec<RecoveryPoint> = facts.points.into_iter().map(|facts| point(facts, now_ms)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.source_time_ms));
    Candidate {
        item: facts.item,
        group: facts.group,
        points,
    }
}

fn point(facts: PointFacts, now_ms: u64) -> RecoveryPoint {
    RecoveryPoint {
        id: facts.id,
        source_time_ms: now_ms.saturating_sub(facts.age_ms),
        consistency: consistency(facts.consistency),
        group_mark: facts.group_mark,
        processed: facts.processed,
        ext: vec![],
    }
}

/// In a file nothing is written as an empty text, since TOML has no null.
fn known(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub(crate) fn pairs(pairs: &Pairs) -> types::Pairs {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn failover_kind(kind: FailoverKind) -> types::FailoverKind {
    match kind {
        FailoverKind::Test => types::FailoverKind::Test,
        FailoverKind::Planned => types::FailoverKind::Planned,
        FailoverKind::Unplanned => types::FailoverKind::Unplanned,
    }
}

fn direction(direction: Direction) -> types::Direction {
    match direction {
        Direction::Forward => types::Direction::Forward,
        Direction::Reverse => types::Direction::Reverse,
    }
}

fn consistency(consistency: Consistency) -> types::Consistency {
    match consistency {
        Consistency::Crash => types::Consistency::Crash,
        Consistency::App => types::Consistency::App,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::NEW_YEAR;

    #[test]
    fn an_empty_case_is_a_whole_call() {
        let context = context(&Act::default(), "announce", NEW_YEAR);
        assert_eq!((context.plan.as_str(), context.action.as_str()), ("plan-1", "announce"));
        assert_eq!(context.machines[0].point_time_ms, Some(NEW_YEAR - POINT_AGE_MS));
    }

    #[test]
    fn what_is_not_known_is_none_and_points_come_newest_first() {
        let act: Act = toml::from_str(
            r#"context = { group = "", machines = [{ point = "" }] }
               request = { choice = "latest", candidates = [{ points = [{ id = "old", age-ms = 9 }, { id = "new" }] }] }"#,
        )
        .unwrap();
        let context = context(&act, "p", 1_000);
        assert_eq!((context.group, context.machines[0].consistency), (None, None));
        let request = request(&act, 1_000);
        let ids: Vec<&str> = request.candidates[0]
            .points
            .iter()
            .map(|point| point.id.as_str())
            .collect();
        assert_eq!(ids, ["new", "old"]);
        assert_eq!(request.candidates[0].points[1].source_time_ms, 991);
    }
}
