//! Past decisions of recovery-point policies (X05). Every choice of a point is kept with the input that it was made on,
//! so that it can be made again: by the same version, which must decide the same, or by another policy, version or
//! choice, to see what it would have done.

use std::collections::BTreeMap;

use landfall_recovery::words::{Direction, FailoverKind, Failure, Millis, Pairs, RecoveryPoint};
use landfall_runtime::Policy;
use landfall_runtime::contract::policy::{Candidate, Request, Selection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::contract::{self, from_call_error};

/// One decision: who decided what, on which input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PolicyDecision {
    /// The job that asked for it; empty: nobody did, it is only an input.
    #[serde(default)]
    pub job: String,
    /// The step.
    #[serde(default)]
    pub step: String,
    /// Name of the policy.
    pub policy: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The very version.
    #[serde(default)]
    pub digest: String,
    /// All that it knew.
    #[schema(value_type = Object)]
    pub input: Input,
    /// What it chose.
    #[serde(default)]
    pub selections: Vec<Selected>,
}

/// What a policy is asked. It has no clock, so the time is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Input {
    /// One of its choices.
    pub choice: String,
    /// The choice's parameters.
    #[serde(default)]
    pub params: Pairs,
    /// Why a machine is brought up.
    pub kind: FailoverKind,
    /// From where to where.
    pub direction: Direction,
    /// When it was asked, in milliseconds since 1970.
    pub now_ms: Millis,
    /// One replication group, or one lone item.
    pub candidates: Vec<Points>,
}

/// The points of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Points {
    /// The item.
    pub item: String,
    /// Its replication group, with multi-VM consistency.
    #[serde(default)]
    pub group: Option<String>,
    /// Newest first.
    pub points: Vec<RecoveryPoint>,
}

/// A point for an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Selected {
    /// The item.
    pub item: String,
    /// The point's id.
    pub point: String,
    /// In the policy's words.
    pub reason: String,
}

/// What a replay is to do otherwise than it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Otherwise {
    /// Another of the policy's choices.
    pub choice: Option<String>,
    /// Parameters in place of those.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Pairs,
}

/// One item of a decision that was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Replayed {
    /// As recorded.
    pub job: String,
    /// As recorded.
    pub step: String,
    /// The item.
    pub item: String,
    /// The point that was chosen, if one was.
    pub chose: Option<String>,
    /// The time of its data.
    pub chose_time_ms: Option<Millis>,
    /// The point that is chosen now.
    pub would_choose: Option<String>,
    /// The time of its data.
    pub would_choose_time_ms: Option<Millis>,
    /// Why, in the policy's words; or why none is.
    pub reason: String,
    /// Both are the same.
    pub same: bool,
}

impl Input {
    /// As the policy is asked.
    pub fn request(&self) -> Request {
        let candidate = |points: &Points| Candidate {
            item: points.item.clone(),
            group: points.group.clone(),
            points: points.points.iter().map(contract::point).collect(),
        };
        Request {
            choice: self.choice.clone(),
            params: contract::pairs(&self.params),
            kind: contract::kind(self.kind),
            direction: contract::direction(self.direction),
            now_ms: self.now_ms,
            candidates: self.candidates.iter().map(candidate).collect(),
            ext: Vec::new(),
        }
    }

    /// The same question at an earlier time: with the points whose data is not newer than that.
    pub(crate) fn at(mut self, time: Millis) -> Self {
        self.now_ms = time;
        for candidate in &mut self.candidates {
            candidate.points.retain(|point| point.source_time_ms <= time);
        }
        self
    }

    fn time_of(&self, item: &str, point: &str) -> Option<Millis> {
        let candidate = self.candidates.iter().find(|candidate| candidate.item == item)?;
        let found = candidate.points.iter().find(|known| known.id == point)?;
        Some(found.source_time_ms)
    }
}

/// A policy's answer as it is kept.
pub(crate) fn selected(selections: Vec<Selection>) -> Vec<Selected> {
    let keep = |selection: Selection| Selected {
        item: selection.item,
        point: selection.point,
        reason: selection.reason,
    };
    selections.into_iter().map(keep).collect()
}

/// Lets a policy decide again. An answer that it refuses is part of the result, not an error.
pub async fn replay(policy: &Policy, decision: &PolicyDecision, otherwise: &Otherwise) -> Vec<Replayed> {
    let mut input = decision.input.clone();
    if let Some(choice) = &otherwise.choice {
        input.choice.clone_from(choice);
        input.params.clear();
    }
    input.params.extend(otherwise.params.clone());
    let answer = policy.select(input.request()).await;
    let answer = answer.map(selected).map_err(|error| from_call_error(&error));
    compare(decision, answer)
}

fn compare(decision: &PolicyDecision, answer: Result<Vec<Selected>, Failure>) -> Vec<Replayed> {
    let by_item = |all: &[Selected]| -> BTreeMap<String, Selected> {
        all.iter().map(|one| (one.item.clone(), one.clone())).collect()
    };
    let before = by_item(&decision.selections);
    let (now, why_not) = match answer {
        Ok(selections) => (by_item(&selections), "it chose nothing for this item".to_owned()),
        Err(failure) => (BTreeMap::new(), failure.to_string()),
    };
    let replayed = |item: &str| {
        let point = |all: &BTreeMap<String, Selected>| all.get(item).map(|one| one.point.clone());
        let (chose, would_choose) = (point(&before), point(&now));
        let time = |point: &Option<String>| decision.input.time_of(item, point.as_deref()?);
        Replayed {
            job: decision.job.clone(),
            step: decision.step.clone(),
            item: item.to_owned(),
            chose_time_ms: time(&chose),
            would_choose_time_ms: time(&would_choose),
            reason: now.get(item).map_or_else(|| why_not.clone(), |one| one.reason.clone()),
            same: chose == would_choose,
            chose,
            would_choose,
        }
    };
    decision
        .input
        .candidates
        .iter()
        .map(|candidate| replayed(&candidate.item))
        .collect()
}

#[cfg(test)]
mod tests {
    use landfall_recovery::words::Consistency;

    use super::*;

    fn decision() -> PolicyDecision {
        let point = |id: &str, time| RecoveryPoint {
            id: id.to_owned(),
            source_time_ms: time,
            consistency: Consistency::Crash,
            group_mark: None,
            processed: true,
        };
        let points = |item: &str| Points {
            item: item.to_owned(),
            group: None,
            points: vec![point("new", 20), point("old", 10)],
        };
        let input = Input {
            choice: "latest-processed".to_owned(),
            params: Pairs::new(),
            kind: FailoverKind::Test,
            direction: Direction::Forward,
            now_ms: 30,
            candidates: vec![points("a"), points("b")],
        };
        PolicyDecision {
            job: "j".to_owned(),
            step: "s".to_owned(),
            policy: "standard".to_owned(),
            version: "0.1.0".to_owned(),
            digest: String::new(),
            input,
            selections: vec![choose("a", "new"), choose("b", "new")],
        }
    }

    fn choose(item: &str, point: &str) -> Selected {
        Selected {
            item: item.to_owned(),
            point: point.to_owned(),
            reason: "because".to_owned(),
        }
    }

    #[test]
    fn x05_a_replay_shows_what_is_the_same_and_what_is_not() {
        let replayed = compare(&decision(), Ok(vec![choose("a", "new"), choose("b", "old")]));
        let seen: Vec<_> = replayed
            .iter()
            .map(|row| (row.item.as_str(), row.same, row.would_choose_time_ms))
            .collect();
        assert_eq!(seen, [("a", true, Some(20)), ("b", false, Some(10))]);
    }

    #[test]
    fn x05_a_refusal_is_a_result() {
        let replayed = compare(&decision(), Err(Failure::definite("no-point", "there is none")));
        assert!(
            replayed
                .iter()
                .all(|row| !row.same && row.reason.contains("there is none"))
        );
    }

    #[test]
    fn x05_the_past_has_only_the_points_of_the_past() {
        let input = decision().input.at(15);
        assert_eq!(input.now_ms, 15);
        assert!(input.candidates.iter().all(|points| points.points.len() == 1));
    }

    #[test]
    fn decisions_are_read_as_they_are_written() {
        let text = serde_json::to_string(&decision()).unwrap();
        assert_eq!(serde_json::from_str::<PolicyDecision>(&text).unwrap(), decision());
    }
}
