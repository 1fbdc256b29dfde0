//! Replication beside jobs: for every unit (a replication group, or a lone item) cycles move what changed at the
//! source to the target, and make recovery points.
//!
//! A cycle is no job and takes no lock. Its row is durable before its first effect and every effect carries a key made
//! of installation, unit and cycle number, so a cycle that was cut off, by a crash or by a job that needs the item, is
//! gone on with and not repeated. Two cycles of a unit never run at once: each holds the unit. None holds it for long
//! against a job that waits for it, whatever its site does, and none writes anything once its items were given another
//! replica or let go.

mod cycle;
mod points;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use landfall_recovery::codes;
use landfall_recovery::consequence::chosen;
use landfall_recovery::cycle::{Due, due, next_cycle_at};
use landfall_recovery::item::{ItemState, Phase};
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Direction, Failure};
use landfall_store::{Batch, Space, StoreError};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, RwLockReadGuard, RwLockWriteGuard, Semaphore};

use self::cycle::Turn;
pub(crate) use self::points::{RETAINER, recall, refresh};
use crate::clock;
use crate::contract::from_call_error;
use crate::engine::{Engine, unit_of};
use crate::sites::Pins;

/// How often the schedule is looked at: far below any RPO that one could ask for.
const TICK: Duration = Duration::from_millis(200);
/// Cycles under way at once between two sites; each moves data, and more would only share the same wires.
const CYCLES_AT_ONCE: usize = 16;
/// After a failed cycle the next waits this long, so that a dead site costs little.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Units and who holds them.
#[derive(Default)]
pub(crate) struct Units {
    units: Mutex<HashMap<String, Arc<Unit>>>,
    turning: tokio::sync::RwLock<()>,
}

impl Units {
    fn get(&self, unit: &str) -> Arc<Unit> {
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(units.entry(unit.to_owned()).or_default())
    }

    /// For a job that gives items another replica, or none: no cycle writes anything until that is written and seen.
    pub(crate) async fn turn(&self) -> RwLockWriteGuard<'_, ()> {
        self.turning.write().await
    }

    /// For a cycle that looks whether its items are still its own, and writes.
    async fn settle(&self) -> RwLockReadGuard<'_, ()> {
        self.turning.read().await
    }
}

/// One unit: who holds it, and the jobs that wait for it.
#[derive(Default)]
struct Unit {
    held: Arc<tokio::sync::Mutex<()>>,
    waiting: AtomicUsize,
}

impl Unit {
    /// Waits for the unit on behalf of a job. A cycle whose far side takes its time notices, and makes way.
    async fn take(&self) -> OwnedMutexGuard<()> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The job may give up waiting.
        let _waits = Waits(&self.waiting);
        Arc::clone(&self.held).lock_owned().await
    }

    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

struct Waits<'u>(&'u AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of the cycles that run at once between two sites, until it is given back.
struct Slot(Mutex<Option<OwnedSemaphorePermit>>);

impl Slot {
    fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Why a cycle did not end.
#[derive(Debug)]
pub(crate) enum CycleError {
    /// A site or plugin.
    Failure(Failure),
    /// A job needs the item; the cycle stopped between two slices, or while it waited for its far side. Or one took it
    /// already, and the cycle is nobody's any more.
    Yielded,
    /// The journal.
    Store(StoreError),
}

impl From<StoreError> for CycleError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for CycleError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<landfall_runtime::CallError> for CycleError {
    fn from(error: landfall_runtime::CallError) -> Self {
        Self::Failure(from_call_error(&error))
    }
}

impl CycleError {
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Yielded => Failure {
                code: codes::ITEM_LOCKED.to_owned(),
                message: "the cycle made way for a job".to_owned(),
                retryable: true,
                definite: false,
                unsent: false,
            },
            Self::Store(error) => Failure::definite(codes::STORE, error.to_string()),
        }
    }
}

/// Runs until the daemon ends.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut slots: HashMap<(String, String), Arc<Semaphore>> = HashMap::new();
    let busy: Arc<Mutex<Busy>> = Arc::default();
    loop {
        let planned = match engine.shortage() {
            None => schedule(&engine),
            Some(_) => Vec::new(),
        };
        for planned in planned {
            let Some(turn) = Busy::take(&busy, &planned.unit) else {
                continue;
            };
            // Each pair of sites has slots of its own, so that a dead site takes none from the others.
            let slots = slots
                .entry(planned.sites.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(CYCLES_AT_ONCE)));
            let (engine, slots) = (Arc::clone(&engine), Arc::clone(slots));
            tokio::spawn(async move {
                // The semaphore is never closed.
                let slot = Slot(Mutex::new(slots.acquire_owned().await.ok()));
                let mut turn = turn;
                turn.rests = !cycle_turn(&engine, &planned, &slot).await;
            });
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Units with a cycle under way, and units that rest after a failure.
#[derive(Default)]
struct Busy {
    running: BTreeSet<String>,
    resting: BTreeMap<String, tokio::time::Instant>,
}

/// A unit's turn; the end of it is noted however the task ends.
struct Taken {
    busy: Arc<Mutex<Busy>>,
    unit: String,
    rests: bool,
}

impl Busy {
    fn take(busy: &Arc<Mutex<Self>>, unit: &str) -> Option<Taken> {
        let mut held = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = held
            .resting
            .get(unit)
            .is_some_and(|until| *until > tokio::time::Instant::now());
        if rests || !held.running.insert(unit.to_owned()) {
            return None;
        }
        held.resting.remove(unit);
        // A task that breaks leaves its unit resting.
        Some(Taken {
            busy: Arc::clone(busy),
            unit: unit.to_owned(),
            rests: true,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut held = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        held.running.remove(&self.unit);
        if self.rests {
            held.resting
                .insert(self.unit.clone(), tokio::time::Instant::now() + RETRY_AFTER);
        }
    }
}

struct Planned {
    unit: String,
    /// Source and target.
    sites: (String, String),
    members: Vec<String>,
    due: Due,
}

/// Units whose next cycle is due, most overdue first.
fn schedule(engine: &Engine) -> Vec<Planned> {
    let now = clock::now();
    let world = engine.world();
    let mut units: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, item) in &world.inventory.items {
        let due = |state: &&ItemState| state.phase == Phase::Protected && state.replicates() && !wanted(state);
        if let Some(state) = world.items.get(name).filter(due) {
            units
                .entry(unit_of(&world.inventory, item, state.direction))
                .or_default()
                .push(name.clone());
        }
    }
    let mut planned = Vec::new();
    for (unit, members) in units {
        let Some(item) = members.first().and_then(|name| world.inventory.items.get(name)) else {
            continue;
        };
        // A member without a mark is the most urgent one.
        let progress = |name: &String| world.progress.get(name).cloned().unwrap_or_default();
        let Some(oldest) = members
            .iter()
            .map(progress)
            .min_by_key(|p| next_cycle_at(p, &item.replication, now))
        else {
            continue;
        };
        let at = next_cycle_at(&oldest, &item.replication, now);
        if at <= now {
            let direction = world.items.get(&item.name).map(|state| state.direction);
            let Some(item) = world.oriented(&item.name, direction.unwrap_or_default()) else {
                continue;
            };
            let sites = (item.source.site.clone(), item.target_site.clone());
            planned.push((
                at,
                Planned {
                    unit,
                    sites,
                    members,
                    due: due(&oldest, &item.replication, now, true),
                },
            ));
        }
    }
    planned.sort_by_key(|(at, _)| *at);
    planned.into_iter().map(|(_, planned)| planned).collect()
}

/// A job needs the item for itself: it will be activated elsewhere, or its points will go.
fn wanted(state: &ItemState) -> bool {
    state.operation.as_ref().is_some_and(|operation| {
        operation.trouble.is_none()
            && matches!(
                operation.operation,
                Operation::PlannedFailover
                    | Operation::UnplannedFailover
                    | Operation::ResumeProtection
                    | Operation::Commit
                    | Operation::Unprotect
                    | Operation::Release
            )
    })
}

/// A test failover has not chosen its points yet: a cycle that began now could give the members of a group points of
/// different barriers. One that is under way ends first, and nothing waits longer than the choice.
fn before_choice(engine: &Engine, items: &[String]) -> bool {
    let jobs: Vec<(String, String)> = {
        let world = engine.world();
        let testing = |name: &String| {
            let operation = world.items.get(name)?.operation.as_ref()?;
            let waits = operation.trouble.is_none() && operation.operation == Operation::Test;
            waits.then(|| (operation.job.clone(), name.clone()))
        };
        items.iter().filter_map(testing).collect()
    };
    jobs.iter().any(|(job, item)| {
        let handle = engine.jobs().get(job).cloned();
        handle.is_some_and(|handle| {
            let job = handle.job();
            job.stuck().next().is_none() && chosen(&job, item).is_none()
        })
    })
}

/// Waits until no cycle of the item's unit runs, and keeps the next from starting.
pub(crate) async fn hold_unit(engine: &Engine, item: &str) -> Option<OwnedMutexGuard<()>> {
    let unit = {
        let world = engine.world();
        let direction = world
            .items
            .get(item)
            .map_or(Direction::Forward, |state| state.direction);
        unit_of(&world.inventory, world.inventory.items.get(item)?, direction)
    };
    Some(engine.units.get(&unit).take().await)
}

pub(crate) fn is_wanted(engine: &Engine, items: &[String]) -> bool {
    let world = engine.world();
    items.iter().any(|name| world.items.get(name).is_some_and(wanted))
}

/// One cycle of a unit beside jobs. False: it failed, and the unit rests a little.
async fn cycle_turn(engine: &Arc<Engine>, planned: &Planned, slot: &Slot) -> bool {
    let unit = engine.units.get(&planned.unit);
    // A job has it: the slot is for somebody who can use it.
    let Ok(_held) = unit.held.try_lock() else {
        return true;
    };
    let replicas = replicas(engine, &planned.members);
    if is_wanted(engine, &planned.members) || before_choice(engine, &planned.members) {
        return true;
    }
    let result = match points::autonomous(engine, &Pins::new(), &planned.members).await {
        Ok(true) => Ok(0),
        Ok(false) => {
            cycle::run(
                engine,
                &planned.unit,
                &planned.members,
                (planned.due, None),
                Turn::Beside(slot),
            )
            .await
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(_) => {
            if planned.due.makes_point {
                points::retain(engine, &planned.members).await;
            }
            true
        }
        Err(CycleError::Yielded) => true,
        Err(CycleError::Store(error)) => {
            engine.fail(&error);
            false
        }
        Err(CycleError::Failure(failure)) => {
            tracing::warn!(unit = %planned.unit, %failure, "a replication cycle failed");
            note_error(engine, &replicas, &failure).await;
            false
        }
    }
}

/// One cycle of a unit for a job: first what was cut off is ended, then everything since is moved. Gives the bytes
/// moved. `base`: a mark that the replica holds though no cycle sent it.
pub(crate) async fn run_unit(
    engine: &Arc<Engine>,
    unit: &str,
    members: &[String],
    (due, base): (Due, Option<&str>),
    pins: &Pins,
) -> Result<u64, CycleError> {
    let _held = engine.units.get(unit).take().await;
    if points::autonomous(engine, pins, members).await? {
        return Ok(0);
    }
    let mut bytes = 0;
    if cycle::is_open(engine, unit)? {
        match cycle::run(engine, unit, members, (due, base), Turn::Job(pins)).await {
            Ok(moved) => bytes += moved,
            // It was given up, as when the source went down in the middle of it: what it was for comes with the next.
            Err(CycleError::Failure(failure)) if !cycle::is_open(engine, unit)? => {
                tracing::info!(unit, %failure, "a cycle that was cut off was given up");
            }
            Err(error) => return Err(error),
        }
    }
    bytes += cycle::run(engine, unit, members, (due, base), Turn::Job(pins)).await?;
    Ok(bytes)
}

/// The replicas of items, by item.
fn replicas(engine: &Engine, items: &[String]) -> BTreeMap<String, Option<String>> {
    let world = engine.world();
    let replica = |name: &String| world.items.get(name).and_then(|state| state.replica.clone());
    items.iter().map(|name| (name.clone(), replica(name))).collect()
}

/// A failed cycle is shown with the item, if that still has the replica; the first of a row is enough.
async fn note_error(engine: &Arc<Engine>, members: &BTreeMap<String, Option<String>>, failure: &Failure) {
    let _settled = engine.units.settle().await;
    let text = failure.to_string();
    let mut batch = Batch::new();
    let mut changed = Vec::new();
    for (name, replica) in members {
        if engine.world().state(name).replica != *replica {
            continue;
        }
        let mut progress = engine.world().progress.get(name).cloned().unwrap_or_default();
        if progress.error.as_ref().is_some_and(|(known, _)| *known == text) {
            continue;
        }
        progress.error = Some((text.clone(), clock::now()));
        if batch.put(Space::Progress, name, &progress).is_ok() {
            changed.push((name.clone(), progress));
        }
    }
    if !batch.is_empty() && engine.commit(batch).await.is_ok() {
        engine.world_mut().progress.extend(changed);
    }
}
