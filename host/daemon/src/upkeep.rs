//! What the daemon does for items without being asked each time: tests end when their time is over (F33), and a source
//! that comes back beside the machine that took its place is noticed, and switched off where that was agreed to (F13).
//! And data that becomes older than its target is told as an event, once, and again when it is young enough.
//!
//! Jobs that it begins are ordinary jobs by an ordinary request, so they are journalled, refused and shown like anybody's.

use std::sync::Arc;
use std::time::Duration;

use landfall_recovery::item::{ItemState, Overlay, Phase};
use landfall_recovery::operations::Operation;
use landfall_runtime::contract::adapter::{Power, PowerAnswer};
use landfall_store::{Batch, Space};

use crate::api::wire::JobRequest;
use crate::clock;
use crate::engine::{Engine, Signal};
use crate::start::{Started, start};

/// How often it is looked: far less than a person needs to notice, far more than a read of some machines costs.
const EVERY: Duration = Duration::from_secs(2);
/// A request that was refused is not made again before this.
const AGAIN: Duration = Duration::from_mins(1);
/// Who asks.
const WHO: &str = "landfall";

pub(crate) async fn run(engine: Arc<Engine>) {
    let (mut clean_at, mut fence_at) = (tokio::time::Instant::now(), tokio::time::Instant::now());
    loop {
        tokio::time::sleep(EVERY).await;
        notice_returns(&engine).await;
        watch_rpo(&engine);
        let now = tokio::time::Instant::now();
        if now >= clean_at && !ask(&engine, Operation::Cleanup, outlived(&engine)).await {
            clean_at = now + AGAIN;
        }
        if now >= fence_at && !ask(&engine, Operation::Fence, unwelcome(&engine)).await {
            fence_at = now + AGAIN;
        }
    }
}

fn items(engine: &Engine, fits: impl Fn(&ItemState) -> bool) -> Vec<String> {
    let world = engine.world();
    let free = |state: &ItemState| state.holder().is_none() && !state.restored;
    let known = world
        .items
        .iter()
        .filter(|(name, _)| world.inventory.items.contains_key(*name));
    known
        .filter(|(_, state)| free(state) && fits(state))
        .map(|(name, _)| name.clone())
        .collect()
}

fn outlived(engine: &Engine) -> Vec<String> {
    let now = clock::now();
    items(engine, |state| {
        state.overlay != Overlay::None && state.test_until.is_some_and(|until| until <= now)
    })
}

/// Whose old source is back and is to be switched off.
fn unwelcome(engine: &Engine) -> Vec<String> {
    items(engine, |state| state.both_active && state.fence_on_return)
}

/// Asks for one job for all of them, and where that is refused for one each; false: some are refused still.
async fn ask(engine: &Arc<Engine>, operation: Operation, items: Vec<String>) -> bool {
    if items.is_empty() || request(engine, operation, items.clone()).await {
        return true;
    }
    let mut all = items.len() > 1;
    if all {
        for item in items {
            all &= request(engine, operation, vec![item]).await;
        }
    }
    all
}

async fn request(engine: &Arc<Engine>, operation: Operation, items: Vec<String>) -> bool {
    let request = JobRequest {
        operation: operation.name().to_owned(),
        items,
        ..JobRequest::default()
    };
    match start(engine, request, WHO, None).await {
        Ok(Started::Job(handle)) => {
            tracing::info!(job = %handle.job().frozen.job, %operation, "the daemon began a job by itself");
            true
        }
        Ok(_) => true,
        Err(refusal) => {
            tracing::warn!(%operation, ?refusal, "a job that the daemon wanted by itself was refused");
            false
        }
    }
}

/// Tells whose newest received data became older than its target, and whose is young enough again.
fn watch_rpo(engine: &Engine) {
    let now = clock::now();
    let mut changed = Vec::new();
    {
        let world = engine.world();
        for (name, item) in &world.inventory.items {
            let (Some(state), Some(progress)) = (world.items.get(name), world.progress.get(name)) else {
                continue;
            };
            let rpo_ms = progress.rpo_ms(now).filter(|_| state.phase == Phase::Protected);
            let missed = rpo_ms.is_some_and(|rpo| rpo > item.replication.rpo_ms);
            if missed != world.missed.contains_key(name) {
                changed.push((name.clone(), rpo_ms.unwrap_or(0), item.replication.rpo_ms, missed));
            }
        }
    }
    for (item, rpo_ms, target_ms, missed) in changed {
        if missed {
            engine.world_mut().missed.insert(item.clone(), now);
        } else {
            engine.world_mut().missed.remove(&item);
        }
        if missed {
            tracing::warn!(%item, rpo_ms, target_ms, "the newest received data is older than its target");
        } else {
            tracing::info!(%item, rpo_ms, target_ms, "the newest received data is within its target again");
        }
        // No stream is open: nobody needs to hear.
        let _ = engine.events.send(Signal::Rpo {
            item,
            rpo_ms,
            target_ms,
            missed,
        });
    }
}

/// Looks at the sources of machines that were activated on a person's word.
async fn notice_returns(engine: &Arc<Engine>) {
    let watched = items(engine, |state| {
        state.watched() && state.failed_over() && !state.both_active
    });
    for name in watched {
        let Some((item, _)) = engine.item(&name) else { continue };
        let Ok(adapter) = engine.adapter(&item.source.site).await else {
            continue;
        };
        let seen = adapter.power_state(item.source.machine.clone()).await;
        if !matches!(seen, Ok(PowerAnswer { power: Power::On, .. })) {
            continue;
        }
        // Jobs change items under this lock only when they begin; one that holds the item sees to it itself.
        let _freezing = engine.freezing.lock().await;
        let mut state = engine.world().state(&name);
        if state.holder().is_some() || !state.watched() {
            continue;
        }
        state.both_active = true;
        let mut batch = Batch::new();
        if batch.put(Space::Item, &name, &state).is_ok() && engine.commit(batch).await.is_ok() {
            tracing::warn!(item = %name, site = %item.source.site, "runs at both sites: its old source came back");
            engine.world_mut().items.insert(name, state);
        }
    }
}
