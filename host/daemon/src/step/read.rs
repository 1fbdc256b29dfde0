//! Steps that only look: preflight, the choice of a point, and the proof that a test is isolated.

use std::collections::BTreeMap;

use landfall_recovery::codes;
use landfall_recovery::executor::{ISOLATION, OBSERVED_AT};
use landfall_recovery::proof::IsolationProof;
use landfall_recovery::words::{Consistency, Direction, FailoverKind, Failure, Pairs, RecoveryPoint, Severity};
use landfall_runtime::contract::policy::Selection;

use super::operation::adapter;
use super::{Report, Task};
use crate::clock;
use crate::contract::{from_call_error, from_pairs, from_point};
use crate::engine::Catalogue;
use crate::preflight;
use crate::replay::{Input, Points, PolicyDecision, selected};

/// The choice that goes to the newest data (F05).
const LATEST: &str = "latest";

/// A policy is never shown more points of one item than the contract says.
const POINTS_MAX: usize = 2_000;

pub(super) async fn check(task: &Task, item: &str) -> Report {
    let Some(frozen) = task.frozen.items.get(item) else {
        return Report::done(Pairs::new());
    };
    match preflight::one(&task.engine, &task.frozen, &task.pins, frozen).await {
        Err(failure) => Report::Failed(failure),
        Ok(answer) => {
            let errors: Vec<String> = answer
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .map(|finding| format!("{}: {} ({})", finding.id, finding.cause, finding.cure))
                .collect();
            if errors.is_empty() {
                Report::done(Pairs::from([(
                    "findings".to_owned(),
                    answer.findings.len().to_string(),
                )]))
            } else {
                Report::Failed(Failure::definite(codes::PREFLIGHT_REFUSED, errors.join("; ")))
            }
        }
    }
}

pub(super) async fn choose(task: &Task, items: &[String]) -> Report {
    match try_choose(task, items).await {
        Ok((outputs, catalogues, decision)) => Report::Done {
            outputs,
            catalogues,
            decision: Some(Box::new(decision)),
        },
        Err(failure) => Report::Failed(failure),
    }
}

type Catalogues = BTreeMap<String, Catalogue>;

async fn try_choose(task: &Task, items: &[String]) -> Result<(Pairs, Catalogues, PolicyDecision), Failure> {
    let choice = task.frozen.point.clone().unwrap_or_default();
    let mut catalogues = Catalogues::new();
    let mut candidates = Vec::new();
    for name in items {
        let Some(item) = task.frozen.items.get(name) else {
            continue;
        };
        // As it is now: the job itself may have turned the replication round.
        let replica = task.engine.world().state(name).replica;
        let points = list(task, name, &item.item.target_site, replica.as_deref()).await?;
        candidates.push(Points {
            item: name.clone(),
            group: item.replication_group.clone(),
            points: points.points.iter().take(POINTS_MAX).cloned().collect(),
        });
        catalogues.insert(name.clone(), points);
    }
    let key = format!("policy:{}", choice.policy);
    let pinned = task
        .pins
        .get(&key)
        .ok_or_else(|| Failure::definite(codes::INTERNAL, "no policy is pinned"))?;
    let policy = task.engine.pinned_policy(&choice.policy, pinned).await?;
    let input = Input {
        choice: choice.choice.clone(),
        params: choice.params.clone(),
        kind: task.frozen.operation.failover_kind().unwrap_or(FailoverKind::Test),
        direction: task.frozen.direction,
        now_ms: clock::now(),
        candidates,
    };
    let selections = policy
        .select(input.request())
        .await
        .map_err(|error| from_call_error(&error))?;
    let mut outputs = Pairs::new();
    for name in items {
        describe(task, name, &selections, &catalogues, &mut outputs)?;
    }
    let decision = PolicyDecision {
        job: task.frozen.job.clone(),
        step: task.step().id.clone(),
        policy: choice.policy.clone(),
        version: pinned.version.clone(),
        digest: pinned.digest.clone(),
        input,
        selections: selected(selections),
    };
    Ok((outputs, catalogues, decision))
}

async fn list(task: &Task, item: &str, site: &str, replica: Option<&str>) -> Result<Catalogue, Failure> {
    let replica = replica.ok_or_else(|| Failure::definite(codes::NO_POINT, format!("`{item}` has no replica")))?;
    let adapter = adapter(task, site).await?;
    let observed_at = clock::now();
    let points = adapter
        .list_points(replica.to_owned())
        .await
        .map_err(|error| from_call_error(&error))?;
    Ok(Catalogue {
        points: points.into_iter().map(from_point).collect(),
        observed_at,
    })
}

/// A policy's word is taken only for points that exist and can be used.
fn describe(
    task: &Task,
    item: &str,
    selections: &[Selection],
    catalogues: &Catalogues,
    outputs: &mut Pairs,
) -> Result<(), Failure> {
    let no = |what: String| Failure::definite(codes::NO_POINT_CHOSEN, what);
    let selection = selections
        .iter()
        .find(|selection| selection.item == item)
        .ok_or_else(|| no(format!("the policy chose no point for `{item}`")))?;
    let point = catalogues
        .get(item)
        .and_then(|catalogue| catalogue.points.iter().find(|point| point.id == selection.point))
        .ok_or_else(|| {
            no(format!(
                "the policy chose `{}` for `{item}`, which does not exist",
                selection.point
            ))
        })?;
    if !point.processed {
        return Err(no(format!(
            "the policy chose `{}` for `{item}`, which is not processed",
            selection.point
        )));
    }
    let choice = task.frozen.point.as_ref().map_or("", |point| point.choice.as_str());
    let consistency = match counts_as(point.consistency, task.frozen.direction, choice) {
        Consistency::App => "app",
        Consistency::Crash => "crash",
    };
    let mut put = |name: &str, value: String| outputs.insert(format!("{name}/{item}"), value);
    put("point", point.id.clone());
    put("source-time-ms", point.source_time_ms.to_string());
    put("consistency", consistency.to_owned());
    put("reason", selection.reason.clone());
    if let Some(rpo) = rpo_ms(task, item, point) {
        put("rpo-ms", rpo.to_string());
    }
    Ok(())
}

/// The newest data on the way back counts as crash-consistent, even where nothing came after a point that is more (B24).
fn counts_as(is: Consistency, direction: Direction, choice: &str) -> Consistency {
    if direction == Direction::Reverse && choice == LATEST {
        return Consistency::Crash;
    }
    is
}

/// Age of a point when the failover was asked for, in host time: the source's clock is translated by the newest mark,
/// of which both times are known.
fn rpo_ms(task: &Task, item: &str, point: &RecoveryPoint) -> Option<u64> {
    let world = task.engine.world();
    let mark = world.progress.get(item)?.received.as_ref()?;
    let host_time = point
        .source_time_ms
        .checked_add(mark.host_time_ms)?
        .checked_sub(mark.source_time_ms)?;
    Some(task.frozen.requested_at.saturating_sub(host_time))
}

pub(super) async fn isolation(task: &Task, site: &str, networks: &[String]) -> Report {
    if networks.is_empty() {
        let what = "the machine is mapped to no network, so nothing proves where it would be attached";
        return Report::Failed(Failure::definite(codes::NOT_ISOLATED, what));
    }
    let observed_at = clock::now();
    let mut proof = IsolationProof {
        site: site.to_owned(),
        networks: BTreeMap::new(),
        observed_at,
    };
    let adapter = match adapter(task, site).await {
        Ok(adapter) => adapter,
        Err(failure) => return Report::Failed(failure),
    };
    for network in networks {
        match adapter.prove_isolation(network.clone()).await {
            Err(error) => return Report::Failed(from_call_error(&error)),
            Ok(answer) if answer.isolated => {
                proof.networks.insert(network.clone(), from_pairs(answer.evidence));
            }
            Ok(_) => {
                let what = format!("network `{network}` of site `{site}` is not isolated");
                return Report::Failed(Failure::definite(codes::NOT_ISOLATED, what));
            }
        }
    }
    match serde_json::to_string(&proof) {
        Ok(text) => Report::done(Pairs::from([
            (ISOLATION.to_owned(), text),
            (OBSERVED_AT.to_owned(), observed_at.to_string()),
        ])),
        Err(error) => Report::Failed(Failure::definite(codes::INTERNAL, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b24_latest_on_the_way_back_is_crash_consistent_whatever_its_point_is() {
        let app = |direction, choice| counts_as(Consistency::App, direction, choice);
        assert_eq!(app(Direction::Reverse, LATEST), Consistency::Crash);
        assert_eq!(app(Direction::Reverse, "latest-app-consistent"), Consistency::App);
        assert_eq!(app(Direction::Forward, LATEST), Consistency::App);
    }
}
