//! The catalogue of recovery points: a copy of what the target holds, with its age; and what of it may go.

use std::sync::Arc;

use landfall_recovery::cycle::Mark;
use landfall_recovery::item::Phase;
use landfall_recovery::words::{FailoverKind, Pairs, RecoveryPoint};
use landfall_runtime::Adapter;
use landfall_runtime::contract::adapter::{DeletePoints, Operation};
use landfall_runtime::contract::policy::{Candidate, Request};
use landfall_runtime::contract::types::{Call, Progress as Answer};
use landfall_store::{Batch, Space};

use super::CycleError;
use crate::clock;
use crate::contract::{self, from_call_error, from_point};
use crate::engine::{Catalogue, Engine, consistency_group};
use crate::sites::Pins;

/// The policy that proposes what to keep, unless the inventory names another.
pub(crate) const RETAINER: &str = "standard";

/// Reads an item's points from its target. Until the answer is there the item may have been given another replica:
/// then it says nothing.
pub(crate) async fn refresh(engine: &Arc<Engine>, item: &str, target: &Adapter) -> Result<(), CycleError> {
    let Some(replica) = engine.world().items.get(item).and_then(|state| state.replica.clone()) else {
        return Ok(());
    };
    let observed_at = clock::now();
    let points = target
        .list_points(replica.clone())
        .await?
        .into_iter()
        .map(from_point)
        .collect();
    let catalogue = Catalogue { points, observed_at };
    let _settled = engine.units.settle().await;
    if engine.world().state(item).replica.as_ref() != Some(&replica) {
        return Ok(());
    }
    // An unchanged list is not worth a commit; its age is noted all the same.
    let changed = engine
        .world()
        .points
        .get(item)
        .is_none_or(|known| known.points != catalogue.points);
    if changed {
        let mut batch = Batch::new();
        batch.put(Space::Points, item, &catalogue)?;
        engine.commit(batch).await?;
    }
    engine.world_mut().points.insert(item.to_owned(), catalogue);
    Ok(())
}

/// Asks the targets of protected items of which no point is known: the list may be from a moment in which the target
/// had nothing to say. One that does not answer leaves it as it is.
pub(crate) async fn recall(engine: &Arc<Engine>, items: &[String]) {
    let pointless = |name: &&String| {
        let world = engine.world();
        let known = world
            .points
            .get(*name)
            .is_some_and(|catalogue| !catalogue.points.is_empty());
        !known && world.state(name).phase == Phase::Protected
    };
    let asked = items.iter().filter(pointless).map(|name| async move {
        let Some((item, _)) = engine.item(name) else { return };
        let read = match engine.adapter(&item.target_site).await {
            Ok(target) => refresh(engine, name, &target).await,
            Err(failure) => Err(failure.into()),
        };
        if let Err(error) = read {
            tracing::debug!(item = %name, failure = %error.into_failure(), "the points were not read");
        }
    });
    futures_util::future::join_all(asked).await;
}

/// Where the source's platform replicates by itself there is no cycle to run: its points are read. False: it does not.
pub(super) async fn autonomous(engine: &Arc<Engine>, pins: &Pins, items: &[String]) -> Result<bool, CycleError> {
    let Some((item, state)) = items.first().and_then(|name| engine.item(name)) else {
        return Ok(true);
    };
    // The target's word counts: it holds the replica, and it answers when the source does not.
    let target = engine.adapter_of(pins, &item.target_site).await?;
    let features = target
        .get_features(String::new(), contract::direction(state.direction))
        .await?;
    if features.replication != "autonomous" {
        return Ok(false);
    }
    for item in items {
        refresh(engine, item, &target).await?;
        adopt(engine, item).await?;
    }
    Ok(true)
}

/// The newest point of an autonomous platform says how far replication is.
async fn adopt(engine: &Arc<Engine>, item: &str) -> Result<(), CycleError> {
    let _settled = engine.units.settle().await;
    let newest = engine
        .world()
        .points
        .get(item)
        .and_then(|catalogue| catalogue.points.first().cloned());
    let known = engine.world().progress.get(item).cloned().unwrap_or_default();
    let mut progress = known.clone();
    // The platform answered, whether it has a newer point or not.
    progress.error = None;
    let newer = |point: &RecoveryPoint| known.received.as_ref().is_none_or(|mark| mark.mark != point.id);
    if let Some(point) = newest.filter(newer) {
        // Nobody can compare the platform's clock with the host's, so they are taken as one; but nothing is of tomorrow.
        let host_time_ms = point.source_time_ms.min(clock::now());
        progress.received = Some(Mark {
            mark: point.id,
            source_time_ms: point.source_time_ms,
            host_time_ms,
            consistency: point.consistency,
        });
        progress.point_at = Some(host_time_ms);
    }
    if progress == known {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.put(Space::Progress, item, &progress)?;
    engine.commit(batch).await?;
    engine.world_mut().progress.insert(item.to_owned(), progress);
    Ok(())
}

/// Deletes what the policy lets go and nothing uses. What fails is proposed again after the next point.
pub(super) async fn retain(engine: &Arc<Engine>, items: &[String]) {
    for item in items {
        if let Err(error) = retain_item(engine, item).await {
            tracing::debug!(%item, failure = %error.into_failure(), "old points were not deleted");
        }
    }
}

async fn retain_item(engine: &Arc<Engine>, name: &str) -> Result<(), CycleError> {
    let Some((item, state)) = engine.item(name) else {
        return Ok(());
    };
    // A job may be about to use any of them.
    if state.holder().is_some() {
        return Ok(());
    }
    let Some(replica) = state.replica else { return Ok(()) };
    let points = engine.world().points.get(name).cloned().unwrap_or_default().points;
    let group = consistency_group(&engine.world().inventory, &item);
    let policy = item.replication.retention_policy.as_deref().unwrap_or(RETAINER);
    let policy = engine.pinned_policy_of(&engine.pin_policy(policy)?).await?;
    let request = Request {
        choice: String::new(),
        params: contract::pairs(&Pairs::from([(
            "keep-ms".to_owned(),
            item.replication.retention_ms.to_string(),
        )])),
        kind: contract::kind(FailoverKind::Planned),
        direction: contract::direction(state.direction),
        now_ms: clock::now(),
        candidates: vec![Candidate {
            item: name.to_owned(),
            group,
            points: points.iter().map(contract::point).collect(),
        }],
        ext: Vec::new(),
    };
    let used = state.recovered.map(|recovered| recovered.point);
    let verdicts = policy.retain(request).await.map_err(|error| from_call_error(&error))?;
    let doomed: Vec<String> = verdicts
        .into_iter()
        .filter(|verdict| !verdict.keep && Some(&verdict.point) != used.as_ref())
        .map(|verdict| verdict.point)
        .filter(|point| points.iter().any(|known| known.id == *point && known.processed))
        .collect();
    let Some(newest) = points.first().filter(|_| !doomed.is_empty()) else {
        return Ok(());
    };
    // While the policy thought, a job may have begun that goes to one of them.
    if engine.item(name).is_none_or(|(_, state)| state.holder().is_some()) {
        return Ok(());
    }
    let target = engine.adapter(&item.target_site).await?;
    let identity = engine.store.identity();
    let call = Call {
        installation: identity.installation.clone(),
        epoch: identity.epoch,
        job: None,
        step: format!("retain/{name}"),
        attempt: 1,
        // One deletion per newest point: the same proposal is the same effect.
        key: format!("{}/retain/{name}/{}", identity.installation, newest.id),
        remaining_ms: 0,
        ext: Vec::new(),
    };
    let operation = Operation::DeletePoints(DeletePoints {
        replica,
        points: Some(doomed),
    });
    if let Answer::Done(_) = target.submit(call, operation).await? {
        refresh(engine, name, &target).await?;
    }
    Ok(())
}
