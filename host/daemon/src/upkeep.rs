//! What the daemon does for items without being asked each time: tests end when their time is over (F33), and a source
//! that comes back beside the machine that took its place is noticed, and switched off where that was agreed to (F13).
//! And data that becomes older than its target is told as an event, once, and again when it is young enough. And a site that
//! did not answer when a restored installation took its sites over is told once it does.
//!
//! Jobs that it begins are ordinary jobs by an ordinary request, so they are journalled, refused and shown like anybody's.
//! One that fails is begun again, but ever more rarely; one that a person stopped is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use landfall_recovery::item::{InProgress, ItemState, Overlay, Phase, Trouble};
use landfall_recovery::operations::Operation;
use landfall_store::{Batch, Space};
use tokio::time::Instant;

use crate::api::wire::JobRequest;
use crate::clock;
use crate::engine::{Engine, Signal};
use crate::reconcile;
use crate::start::{Started, start};

/// How often it is looked: far less than a person needs to notice, far more than a read of some machines costs.
const EVERY: Duration = Duration::from_secs(2);
/// A request that was refused is not made again before this.
const AGAIN: Duration = Duration::from_mins(1);
/// A site that was not told of a new epoch is told again after this.
const TELL: Duration = Duration::from_secs(10);
/// Who asks.
const WHO: &str = "landfall";

/// After a job that failed the next one waits so long, then twice as long, and so on.
const FAILED: Duration = Duration::from_mins(1);
/// But never longer: somebody may have mended the site without a word.
const FAILED_MAX: Duration = Duration::from_hours(1);
/// A source that does not say in this time whether it runs is looked at again in the next round.
const LOOK: Duration = Duration::from_secs(10);
/// So many sources of a site are looked at side by side,
const LOOKS: usize = 8;
/// and for so long in one round: a site that hangs keeps the other sites waiting no longer.
const ROUND: Duration = Duration::from_secs(30);
/// At most so many jobs begin at once for what is due. A machine that hangs holds those of its own job, and each job asks
/// the sites anew.
const JOBS: usize = 16;

pub(crate) async fn run(engine: Arc<Engine>) {
    // Sites may hang, and nothing else waits for them.
    tokio::join!(watch_returns(&engine), tend(&engine), take_over(&engine));
}

async fn watch_returns(engine: &Arc<Engine>) {
    for round in 0.. {
        tokio::time::sleep(EVERY).await;
        notice_returns(engine, round).await;
    }
}

/// Once somebody has let an item of a restored installation count again, every site is to refuse the daemon that it
/// replaced: also those that were silent then, and those that only cut power.
async fn take_over(engine: &Arc<Engine>) {
    if !engine.store.identity().was_restored() {
        return;
    }
    let (mut told, mut refused) = (BTreeSet::new(), BTreeSet::new());
    loop {
        tokio::time::sleep(EVERY).await;
        if engine.world().items.values().all(|state| state.restored) {
            continue;
        }
        let sites: Vec<String> = engine.config.now().sites.keys().cloned().collect();
        let left: Vec<String> = sites.into_iter().filter(|site| !told.contains(site)).collect();
        if left.is_empty() {
            continue;
        }
        let tell = |site: String| async move {
            let said = tokio::time::timeout(LOOK, reconcile::take_over(engine, &site)).await;
            (site, said)
        };
        for (site, said) in join_all(left.into_iter().map(tell)).await {
            match said {
                Ok(Ok(_)) => {
                    told.insert(site);
                }
                Ok(Err(failure)) if refused.insert(site.clone()) => {
                    tracing::warn!(site, %failure, "the site was not told of this installation's epoch");
                }
                _ => {}
            }
        }
        tokio::time::sleep(TELL).await;
    }
}

async fn tend(engine: &Arc<Engine>) {
    let mut cleanup = Errand::new(Operation::Cleanup);
    let mut fence = Errand::new(Operation::Fence);
    loop {
        tokio::time::sleep(EVERY).await;
        watch_rpo(engine);
        cleanup.run(engine, outlived).await;
        fence.run(engine, unwelcome).await;
    }
}

/// An operation that the daemon asks for by itself.
struct Errand {
    operation: Operation,
    /// Not before this, since the last request was refused.
    not_before: Instant,
    patience: Patience,
}

impl Errand {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            not_before: Instant::now(),
            patience: Patience::default(),
        }
    }

    async fn run(&mut self, engine: &Arc<Engine>, fits: fn(&ItemState) -> bool) {
        let now = Instant::now();
        let mut wanted = fitting(engine, fits);
        self.patience.forget_all_but(&wanted);
        if now < self.not_before {
            return;
        }
        wanted.retain(|(name, state)| {
            let last = state.operation.as_ref().filter(|last| last.operation == self.operation);
            is_free(state) && self.patience.is_due(name, last, now)
        });
        let due: Vec<String> = wanted.into_iter().map(|(name, _)| name).collect();
        for items in due.chunks(due.len().div_ceil(JOBS).max(1)) {
            if !ask(engine, self.operation, items.to_vec()).await {
                self.not_before = now + AGAIN;
            }
        }
    }
}

/// How long to wait after jobs that failed, by item. It is not stored: after a restart the first wait is the shortest.
#[derive(Debug, Default)]
struct Patience {
    waits: BTreeMap<String, Wait>,
}

#[derive(Debug)]
struct Wait {
    /// The job that failed last.
    job: String,
    long: Duration,
    until: Instant,
}

impl Patience {
    /// Whether a job is begun for an item, given how the last one of this kind ended, if that was not well.
    fn is_due(&mut self, item: &str, last: Option<&InProgress>, now: Instant) -> bool {
        let Some(last) = last else { return true };
        // Whoever stopped it wants something else, or wants to do it himself.
        if matches!(last.trouble, Some(Trouble::Cancelled | Trouble::Abandoned)) {
            return false;
        }
        let before = self.waits.get(item);
        if let Some(wait) = before.filter(|wait| wait.job == last.job) {
            return now >= wait.until;
        }
        let long = before.map_or(FAILED, |wait| FAILED_MAX.min(wait.long * 2));
        let wait = Wait {
            job: last.job.clone(),
            long,
            until: now + long,
        };
        self.waits.insert(item.to_owned(), wait);
        false
    }

    /// Items that need nothing any more begin with the shortest wait next time.
    fn forget_all_but(&mut self, wanted: &[(String, ItemState)]) {
        let wanted: BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
        self.waits.retain(|item, _| wanted.contains(item));
    }
}

/// Items that this fits, whoever holds them.
fn fitting(engine: &Engine, fits: impl Fn(&ItemState) -> bool) -> Vec<(String, ItemState)> {
    let world = engine.world();
    let known = world
        .items
        .iter()
        .filter(|(name, _)| world.inventory.items.contains_key(*name));
    known
        .filter(|(_, state)| fits(state))
        .map(|(name, state)| (name.clone(), state.clone()))
        .collect()
}

fn is_free(state: &ItemState) -> bool {
    state.holder().is_none() && !state.restored
}

fn outlived(state: &ItemState) -> bool {
    state.overlay != Overlay::None && state.test_until.is_some_and(|until| until <= clock::now())
}

/// Whose old source is back and is to be switched off.
fn unwelcome(state: &ItemState) -> bool {
    state.both_active && state.fence_on_return
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
            let missed = state.phase == Phase::Protected && progress.misses(item.replication.rpo_ms, now);
            if missed != world.missed.contains_key(name) {
                changed.push((name.clone(), rpo_ms, item.replication.rpo_ms, missed));
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
            tracing::warn!(%item, ?rpo_ms, target_ms, "the newest received data is older than its target");
        } else {
            tracing::info!(%item, ?rpo_ms, target_ms, "the newest received data is within its target again");
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

/// Looks at the sources of machines that were activated on a person's word, the sites side by side.
async fn notice_returns(engine: &Arc<Engine>, round: usize) {
    let watched = fitting(engine, |state| {
        is_free(state) && state.watched() && state.failed_over() && !state.both_active
    });
    let mut by_site: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (name, _) in watched {
        if let Some((item, _)) = engine.item(&name) {
            by_site
                .entry(item.source.site)
                .or_default()
                .push((name, item.source.machine));
        }
    }
    let looks = by_site.into_iter().map(|(site, mut sources)| async move {
        // The next round begins with others, so that those that hang are never the only ones that are asked.
        let first = round.wrapping_mul(LOOKS) % sources.len().max(1);
        sources.rotate_left(first);
        let asked = stream::iter(sources).map(|(name, machine)| {
            let running = tokio::time::timeout(LOOK, engine.is_on(&site, machine));
            async { running.await.is_ok_and(|on| on).then_some(name) }
        });
        let there = asked.buffer_unordered(LOOKS).take_until(tokio::time::sleep(ROUND));
        let there: Vec<String> = there.filter_map(std::future::ready).collect().await;
        for name in there {
            note_return(engine, &site, name).await;
        }
    });
    join_all(looks).await;
}

async fn note_return(engine: &Arc<Engine>, site: &str, name: String) {
    // Jobs change items under this lock only when they begin; one that holds the item sees to it itself.
    let _freezing = engine.freezing.lock().await;
    let mut state = engine.world().state(&name);
    if !is_free(&state) || !state.watched() {
        return;
    }
    state.both_active = true;
    let mut batch = Batch::new();
    if batch.put(Space::Item, &name, &state).is_ok() && engine.commit(batch).await.is_ok() {
        tracing::warn!(item = %name, %site, "runs at both sites: its old source came back");
        engine.world_mut().items.insert(name, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(job: &str) -> InProgress {
        InProgress {
            job: job.to_owned(),
            operation: Operation::Cleanup,
            trouble: Some(Trouble::Failed),
        }
    }

    #[test]
    fn f33_a_job_that_fails_again_and_again_is_begun_ever_more_rarely() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        assert!(patience.is_due("db", None, now));
        let mut waited = Vec::new();
        for job in 0..8 {
            let last = failed(&job.to_string());
            let began = now;
            while !patience.is_due("db", Some(&last), now) {
                now += Duration::from_mins(1);
            }
            waited.push((now - began).as_secs() / 60);
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 32, 60, 60]);
        // Another one has its own patience; and once it went well, it begins anew.
        assert!(!patience.is_due("web", Some(&failed("w")), now));
        patience.forget_all_but(&[("web".to_owned(), ItemState::default())]);
        assert!(!patience.is_due("db", Some(&failed("9")), now));
        now += FAILED;
        assert!(patience.is_due("db", Some(&failed("9")), now) && patience.is_due("web", Some(&failed("w")), now));
    }

    #[test]
    fn f33_what_a_person_stopped_is_left_alone() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for trouble in [Trouble::Cancelled, Trouble::Abandoned] {
            let last = InProgress {
                trouble: Some(trouble),
                ..failed("j")
            };
            assert!(!patience.is_due("db", Some(&last), now));
            assert!(!patience.is_due("db", Some(&last), now + 2 * FAILED_MAX));
        }
    }
}
