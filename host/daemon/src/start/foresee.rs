//! Which points a job would go to, told before it begins: the policy is asked at the request as it will be asked in the
//! job. Only where no data is processed first, since what that makes is not there yet, and not on the way out of a
//! disaster, which takes what it can get. Nothing is decided here: the job asks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, stream};
use landfall_recovery::codes;
use landfall_recovery::freeze::Frozen;
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Consistency, Direction, FailoverKind, Failure, Finding, RecoveryPoint, Severity};
use landfall_runtime::contract::policy::Selection;

use crate::clock;
use crate::contract::{from_call_error, from_point};
use crate::engine::Engine;
use crate::preflight::{AT_ONCE, finding};
use crate::replay::{Input, Points};

/// A policy is never shown more points of one item than the contract says.
const POINTS_MAX: usize = 2_000;

/// For every machine its point and how far behind it is (B20), or that it has none that fits (B23).
pub(super) async fn findings(engine: &Arc<Engine>, frozen: &Frozen) -> Vec<Finding> {
    let Some(choice) = &frozen.point else { return Vec::new() };
    let back = frozen.direction == Direction::Reverse;
    let asks = match frozen.operation {
        Operation::Test | Operation::ChangePoint => true,
        // A point that somebody named is meant.
        Operation::UnplannedFailover => back || !choice.params.is_empty(),
        _ => false,
    };
    let asks = asks && !frozen.processes_first;
    if !asks {
        return Vec::new();
    }
    // Boxed, because a stream of futures that borrow cannot be named otherwise.
    let asked: Vec<_> = frozen
        .units()
        .into_iter()
        .map(|unit| of_unit(engine, frozen, unit).boxed())
        .collect();
    let said: Vec<Vec<Finding>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    said.into_iter().flatten().collect()
}

/// One unit is asked about alone, so that the policy names everyone without a point.
async fn of_unit(engine: &Arc<Engine>, frozen: &Frozen, unit: Vec<&str>) -> Vec<Finding> {
    let listed = unit.iter().map(|name| known(engine, frozen, name));
    let listed = futures_util::future::join_all(listed).await;
    let names = unit.iter().map(|name| (*name).to_owned());
    let points: BTreeMap<String, Vec<RecoveryPoint>> = names.zip(listed).collect();
    match selections(engine, frozen, &points).await {
        Ok(selections) => {
            let of = |(name, points): (&String, &Vec<RecoveryPoint>)| {
                let chosen = selections.iter().find(|selection| selection.item == *name)?;
                let point = points.iter().find(|point| point.id == chosen.point)?;
                let tells = frozen.direction == Direction::Reverse && frozen.operation == Operation::UnplannedFailover;
                behind(name, point, points).filter(|_| tells)
            };
            points.iter().filter_map(of).collect()
        }
        Err(failure) => {
            let who = unit.join(", ");
            vec![finding(
                codes::NO_POINT_CHOSEN,
                Severity::Error,
                &who,
                failure.to_string(),
            )]
        }
    }
}

/// The points as the target lists them now, else as they were last seen.
async fn known(engine: &Arc<Engine>, frozen: &Frozen, name: &str) -> Vec<RecoveryPoint> {
    let Some(item) = frozen.items.get(name) else {
        return Vec::new();
    };
    let listed = match (
        &item.state.replica,
        engine.adapter_of(&frozen.plugins, &item.item.target_site).await,
    ) {
        (Some(replica), Ok(adapter)) => adapter.list_points(replica.clone()).await.ok(),
        _ => None,
    };
    match listed {
        Some(points) => points.into_iter().take(POINTS_MAX).map(from_point).collect(),
        None => engine
            .world()
            .points
            .get(name)
            .map(|known| known.points.clone())
            .unwrap_or_default(),
    }
}

async fn selections(
    engine: &Arc<Engine>,
    frozen: &Frozen,
    points: &BTreeMap<String, Vec<RecoveryPoint>>,
) -> Result<Vec<Selection>, Failure> {
    let choice = frozen.point.clone().unwrap_or_default();
    let pinned = frozen
        .plugins
        .get(&format!("policy:{}", choice.policy))
        .ok_or_else(|| Failure::definite(codes::INTERNAL, "no policy is pinned"))?;
    let candidate = |(name, points): (&String, &Vec<RecoveryPoint>)| Points {
        item: name.clone(),
        group: frozen.items.get(name).and_then(|item| item.replication_group.clone()),
        points: points.clone(),
    };
    let input = Input {
        choice: choice.choice.clone(),
        params: choice.params.clone(),
        kind: FailoverKind::Unplanned,
        direction: frozen.direction,
        now_ms: clock::now(),
        candidates: points.iter().map(candidate).collect(),
    };
    let policy = engine.pinned_policy(&choice.policy, pinned).await?;
    policy
        .select(input.request())
        .await
        .map_err(|error| from_call_error(&error))
}

/// None: nothing newer has arrived.
fn behind(name: &str, chosen: &RecoveryPoint, points: &[RecoveryPoint]) -> Option<Finding> {
    let newest = points.iter().map(|point| point.source_time_ms).max()?;
    let behind = newest.checked_sub(chosen.source_time_ms).filter(|behind| *behind > 0)?;
    let consistency = match chosen.consistency {
        Consistency::App => "app-consistent",
        Consistency::Crash => "crash-consistent",
    };
    let cause = format!(
        "`{name}` goes to its {consistency} point `{}`, which is {}.{:03} s behind the newest data that has arrived: what \
         was written since is lost",
        chosen.id,
        behind / 1000,
        behind % 1000
    );
    Some(finding(codes::POINT_BEHIND, Severity::Warning, name, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: &str, source_time_ms: u64, consistency: Consistency) -> RecoveryPoint {
        RecoveryPoint {
            id: id.to_owned(),
            source_time_ms,
            consistency,
            group_mark: None,
            processed: true,
        }
    }

    #[test]
    fn b20_how_far_a_point_is_behind_is_said_with_what_it_means() {
        let points = [
            point("new", 12_345, Consistency::Crash),
            point("app", 2_300, Consistency::App),
        ];
        let said = behind("db", &points[1], &points).unwrap();
        for word in ["app-consistent", "10.045 s behind", "lost"] {
            assert!(said.cause.contains(word), "{}", said.cause);
        }
        assert_eq!(behind("db", &points[0], &points), None);
    }
}
