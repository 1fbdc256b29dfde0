//! One cycle: snapshot, changes, slices, receipt, point.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use landfall_recovery::codes;
use landfall_recovery::cycle::{Cycle, Due, Mark, Member, Progress};
use landfall_recovery::words::{Consistency, Failure, Pairs};
use landfall_runtime::contract::adapter::{
    Extent, Operation, ReceiveComplete, Release, ReplicaRef, Snapshot, SnapshotMember,
};
use landfall_runtime::contract::types::{Call, Progress as Answer, Running};
use landfall_runtime::{Adapter, Buffer};
use landfall_store::{Batch, Space};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout};

use super::{CycleError, Slot, Unit, is_wanted, points};
use crate::clock;
use crate::contract::{consistency, from_failure, from_pairs};
use crate::engine::Engine;
use crate::poll::Word;
use crate::sites::Pins;

/// Bytes that move at once: large enough that a call costs little beside them, small enough that a job that needs the
/// item waits for one slice only and memory stays flat.
const SLICE: u64 = 4 << 20;
/// Slices of one machine under way at once: while one is read another is written, and neither side waits for the other.
const SLICES_AT_ONCE: usize = 2;
/// The place to go on from is made durable this often: a crash repeats at most so many bytes, which changes nothing.
const SAVE_EVERY: u64 = 64 << 20;

/// What waits for its far side looks this often whether a job wants the item.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Nearly all that a cycle asks for is over in this time. What is not makes room for another cycle, and is stopped if
/// a job wants the item; and what was stopped should be over as soon.
const MOMENT: Duration = Duration::from_secs(5);
/// What a cycle asked for and shows no progress for so many RPO targets will not keep the promise any more.
const STALLED_RPOS: u32 = 10;
/// A snapshot of a large machine takes longer than an RPO that was chosen too short.
const STALLED_MIN: Duration = Duration::from_secs(30);
/// Nobody should hear of a site that hangs an hour later because the RPO is in hours.
const STALLED_MAX: Duration = Duration::from_mins(10);

/// A plugin's word that a snapshot or a transfer is gone, and nothing else (`wit/adapter.wit`).
const MARK_LOST: &str = "mark-lost";

/// A cycle of this unit was cut off.
pub(super) fn is_open(engine: &Engine, unit: &str) -> Result<bool, CycleError> {
    Ok(engine.store.reader().get::<Cycle>(Space::Cycle, unit)?.is_some())
}

/// For whom a cycle runs.
pub(super) enum Turn<'t> {
    /// For a job: it calls the versions that the job is pinned to.
    Job(&'t Pins),
    /// Beside jobs: it makes way when a job needs its items, and its slot is another's when it waits for long.
    Beside(&'t Slot),
}

/// Runs a unit's cycle, or goes on with the one that was cut off. Gives the bytes moved.
pub(super) async fn run(
    engine: &Arc<Engine>,
    unit: &str,
    members: &[String],
    (due, base): (Due, Option<&str>),
    turn: Turn<'_>,
) -> Result<u64, CycleError> {
    let open: Option<Cycle> = engine.store.reader().get(Space::Cycle, unit)?;
    // A cycle that was cut off is gone on with, unless its members are others now: then it has no meaning any more.
    let open = open.filter(|cycle| cycle.members.keys().collect::<BTreeSet<_>>() == members.iter().collect());
    let cycle = match open {
        Some(cycle) => cycle,
        None => begin(engine, unit, members, (due, base)).await?,
    };
    let names: Vec<String> = cycle.members.keys().cloned().collect();
    let Some((source, target)) = sites(engine, &names) else {
        // The items left the inventory: there is nothing to go on with.
        let mut batch = Batch::new();
        batch.remove(Space::Cycle, unit);
        engine.commit(batch).await?;
        return Ok(0);
    };
    let none = Pins::new();
    let pins = match turn {
        Turn::Job(pins) => pins,
        Turn::Beside(_) => &none,
    };
    let run = Run {
        engine,
        unit,
        held: engine.units.get(unit),
        source: engine.adapter_of(pins, &source).await?,
        target: engine.adapter_of(pins, &target).await?,
        stalled: stalled(engine, &names),
        turn,
    };
    let mut cycle = cycle;
    loop {
        let number = cycle.number;
        let failure = match run.cycle(cycle).await {
            Err(CycleError::Failure(failure)) => failure,
            result => return result,
        };
        let after = run.after_failure(number, &failure).await?;
        // A job that wants the items finds out itself, and what it was stopped for is no error.
        if run.is_wanted(&names) {
            return Err(CycleError::Yielded);
        }
        let retryable = match after {
            // Data that is not quiesced is better than none, and no failure.
            After::Crash(without) => {
                cycle = without;
                continue;
            }
            After::Anew => true,
            After::Open => failure.retryable,
        };
        return Err(CycleError::Failure(Failure { retryable, ..failure }));
    }
}

/// What becomes of a cycle that failed.
enum After {
    /// The same without quiescing, at once.
    Crash(Cycle),
    /// It is given up, and the next one can do what it could not.
    Anew,
    /// It stays as it is.
    Open,
}

/// How long what a cycle asked for may show no progress.
fn stalled(engine: &Engine, members: &[String]) -> Duration {
    let world = engine.world();
    let rpo = |name: &String| Some(world.inventory.items.get(name)?.replication.rpo_ms);
    let longest = members.iter().filter_map(rpo).max().unwrap_or(0);
    Duration::from_millis(longest)
        .saturating_mul(STALLED_RPOS)
        .clamp(STALLED_MIN, STALLED_MAX)
}

fn sites(engine: &Engine, members: &[String]) -> Option<(String, String)> {
    let (item, _) = engine.item(members.first()?)?;
    Some((item.source.site, item.target_site))
}

/// Writes the row that names the cycle: durable before its first effect.
async fn begin(
    engine: &Arc<Engine>,
    unit: &str,
    members: &[String],
    (due, base): (Due, Option<&str>),
) -> Result<Cycle, CycleError> {
    let cycle = {
        let world = engine.world();
        let progress = |name: &String| world.progress.get(name).cloned().unwrap_or_default();
        // From the clock, so that no number comes twice for a unit whose members changed.
        let number = members
            .iter()
            .map(|name| progress(name).cycle + 1)
            .max()
            .unwrap_or(0)
            .max(clock::now());
        let member = |name: &String| {
            let since = progress(name)
                .received
                .map(|mark| mark.mark)
                .or_else(|| base.map(str::to_owned))
                .filter(|_| !progress(name).resync);
            (
                name.clone(),
                Member {
                    since,
                    ..Member::default()
                },
            )
        };
        Cycle {
            number,
            generation: 0,
            group_mark: format!("{unit}#{number}"),
            consistency: due.consistency,
            grouped: unit.starts_with("group:"),
            host_time_ms: clock::now(),
            makes_point: due.makes_point,
            members: members.iter().map(member).collect(),
        }
    };
    let _settled = engine.units.settle().await;
    let kept = |name: &String| engine.world().state(name).replica.is_some();
    if !members.iter().all(kept) {
        return Err(CycleError::Yielded);
    }
    let mut batch = Batch::new();
    batch.put(Space::Cycle, unit, &cycle)?;
    let mut changed = BTreeMap::new();
    for name in members {
        let mut progress = engine.world().progress.get(name).cloned().unwrap_or_default();
        progress.cycle = cycle.number;
        batch.put(Space::Progress, name, &progress)?;
        changed.insert(name.clone(), progress);
    }
    engine.commit(batch).await?;
    engine.world_mut().progress.extend(changed);
    Ok(cycle)
}

struct Run<'e> {
    engine: &'e Arc<Engine>,
    unit: &'e str,
    held: Arc<Unit>,
    source: Adapter,
    target: Adapter,
    stalled: Duration,
    turn: Turn<'e>,
}

impl Run<'_> {
    async fn cycle(&self, mut cycle: Cycle) -> Result<u64, CycleError> {
        if cycle.members.values().any(|member| member.mark.is_none()) {
            self.snapshot(&mut cycle).await?;
        }
        let mut bytes = 0;
        let names: Vec<String> = cycle.members.keys().cloned().collect();
        for name in &names {
            if cycle.members.get(name).is_some_and(|member| !member.received) {
                bytes += self.member(&mut cycle, name).await?;
            }
        }
        if cycle.makes_point {
            for name in &names {
                let replica = self.replica(name)?;
                let operation = Operation::Process(ReplicaRef { replica });
                let call = self.call(&cycle, &format!("process/{name}"));
                self.effect(&cycle, &self.target, call, operation).await?;
            }
        }
        self.release(&cycle).await;
        self.end(&cycle, &names).await?;
        Ok(bytes)
    }

    /// A definite failure frees the key, and the next try has a new one. What the far side refuses for good is given up:
    /// the next cycle begins anew, without quiescing if that was asked for, and with everything if the marks are gone;
    /// but if it is only this cycle's own mark that is gone, with the same changes and those since.
    ///
    /// What stood still and could not be stopped may yet happen. Of a snapshot nobody will hear, so the cycle goes on
    /// under another number. But two at once at a replica could spoil it: that is asked for again under its key.
    async fn after_failure(&self, number: u64, failure: &Failure) -> Result<After, CycleError> {
        let _settled = self.engine.units.settle().await;
        let Some(mut cycle) = self.open(number)? else {
            return Ok(After::Open);
        };
        let snapshotted = cycle.members.values().all(|member| member.mark.is_some());
        let mut batch = Batch::new();
        let mut changed = BTreeMap::new();
        let mut after = After::Open;
        if failure.frees_key() {
            cycle.generation += 1;
        } else if failure.code == codes::STALLED && !snapshotted {
            cycle.number = clock::now().max(number + 1);
            cycle.generation = 0;
            cycle.group_mark = format!("{}#{}", self.unit, cycle.number);
            cycle.host_time_ms = clock::now();
            for name in cycle.members.keys() {
                let mut progress = self.progress(name);
                progress.cycle = cycle.number;
                batch.put(Space::Progress, name, &progress)?;
                changed.insert(name.clone(), progress);
            }
        } else {
            return Ok(After::Open);
        }
        if !snapshotted && cycle.consistency == Consistency::App {
            tracing::warn!(unit = %self.unit, %failure, "the source did not quiesce; a crash-consistent cycle follows");
            cycle.consistency = Consistency::Crash;
            cycle.host_time_ms = clock::now();
            batch.put(Space::Cycle, self.unit, &cycle)?;
            after = After::Crash(cycle);
        } else if snapshotted && !failure.retryable {
            batch.remove(Space::Cycle, self.unit);
            let lost = failure.code == MARK_LOST;
            if lost || cycle.members.values().any(|member| member.since.is_some()) {
                after = After::Anew;
            }
            for name in cycle
                .members
                .iter()
                .filter(|(_, member)| !member.received && !lost)
                .map(|(name, _)| name)
            {
                let mut progress = self.progress(name);
                progress.resync = true;
                batch.put(Space::Progress, name, &progress)?;
                changed.insert(name.clone(), progress);
            }
        } else {
            batch.put(Space::Cycle, self.unit, &cycle)?;
        }
        self.engine.commit(batch).await?;
        self.engine.world_mut().progress.extend(changed);
        Ok(after)
    }

    /// The row of this cycle. None: its items were given another replica or let go, and it is nobody's any more.
    fn open(&self, number: u64) -> Result<Option<Cycle>, CycleError> {
        let open: Option<Cycle> = self.engine.store.reader().get(Space::Cycle, self.unit)?;
        Ok(open.filter(|cycle| cycle.number == number))
    }

    /// Writes down what the cycle did, if it is still somebody's.
    async fn keep(&self, cycle: &Cycle, batch: Batch, changed: BTreeMap<String, Progress>) -> Result<(), CycleError> {
        let _settled = self.engine.units.settle().await;
        if self.open(cycle.number)?.is_none() {
            return Err(CycleError::Yielded);
        }
        self.engine.commit(batch).await?;
        self.engine.world_mut().progress.extend(changed);
        Ok(())
    }

    async fn snapshot(&self, cycle: &mut Cycle) -> Result<(), CycleError> {
        let members = cycle
            .members
            .keys()
            .map(|item| {
                Ok(SnapshotMember {
                    item: item.clone(),
                    machine: self.machine(item)?,
                })
            })
            .collect::<Result<_, CycleError>>()?;
        let operation = Operation::Snapshot(Snapshot {
            members,
            quiesce: cycle.consistency == Consistency::App,
            group_mark: cycle.group_mark.clone(),
        });
        let since = |(item, member): (&String, &Member)| Some((format!("since/{item}"), member.since.clone()?));
        let mut ext: Vec<(String, String)> = cycle.members.iter().filter_map(since).collect();
        ext.extend(cycle.members.keys().filter_map(|item| self.excluded(item)));
        let call = Call {
            ext,
            ..self.call(cycle, "snapshot")
        };
        let outputs = self.effect(cycle, &self.source, call, operation).await?;
        for (item, member) in &mut cycle.members {
            let mark = outputs.get(&format!("mark/{item}")).cloned();
            let time = outputs
                .get(&format!("source-time-ms/{item}"))
                .and_then(|text| text.parse().ok());
            let (Some(mark), Some(time)) = (mark, time) else {
                let what = format!("the source's snapshot gave no mark and time for `{item}`");
                return Err(Failure::definite(codes::BAD_OUTPUT, what).into());
            };
            member.mark = Some((mark, time));
        }
        self.save(cycle).await
    }

    /// Moves one member's changes and has them acknowledged.
    async fn member(&self, cycle: &mut Cycle, name: &str) -> Result<u64, CycleError> {
        let machine = self.machine(name)?;
        let replica = self.replica(name)?;
        let Some(member) = cycle.members.get(name).cloned() else {
            return Ok(0);
        };
        let Some((mark, source_time_ms)) = member.mark.clone() else {
            return Ok(0);
        };
        let (mut moved, mut unsaved, mut cursor) = (0, 0, None);
        let disk_bytes = loop {
            let page = self
                .source
                .changes(machine.clone(), member.since.clone(), mark.clone(), cursor)
                .await?;
            let total: u64 = page
                .extents
                .iter()
                .fold(0, |sum: u64, extent| sum.saturating_add(extent.bytes));
            let fixed = cycle.clone();
            let slices = page.extents.iter().flat_map(slices);
            let unsent = slices.filter(|slice| slice.offset.saturating_add(slice.bytes) > member.sent_to);
            let mut moving = unsent.map(|slice| {
                let (fixed, machine, replica, mark) = (&fixed, &machine, &replica, &mark);
                async move {
                    self.make_way(fixed)?;
                    self.slice(fixed, (name, machine, replica, mark), slice).await?;
                    Ok::<_, CycleError>(slice)
                }
            });
            // In their order, so that all before one that is done is done. Dropped with slices under way: they are sent
            // again, which changes nothing.
            // The first one goes alone: with it both sides open what the others then find.
            let alone: Vec<_> = moving.by_ref().take(1).collect();
            let others = stream::iter(moving).buffered(SLICES_AT_ONCE);
            let mut moving = stream::iter(alone).buffered(1).chain(others);
            while let Some(slice) = moving.next().await {
                let slice = slice?;
                moved += slice.bytes;
                unsaved += slice.bytes;
                self.show(name, moved, total);
                if unsaved >= SAVE_EVERY {
                    unsaved = 0;
                    if let Some(member) = cycle.members.get_mut(name) {
                        member.sent_to = slice.offset + slice.bytes;
                    }
                    self.save(cycle).await?;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break page.disk_bytes;
            }
        };
        let complete = Operation::ReceiveComplete(ReceiveComplete {
            replica,
            mark: mark.clone(),
            source_time_ms,
            consistency: consistency(cycle.consistency),
            group_mark: cycle.grouped.then(|| cycle.group_mark.clone()),
            bytes: disk_bytes,
        });
        let call = self.to_replica(cycle, name, &format!("receive/{name}"));
        self.effect(cycle, &self.target, call, complete).await?;
        self.received(
            cycle,
            name,
            Mark {
                mark,
                source_time_ms,
                host_time_ms: cycle.host_time_ms,
                consistency: cycle.consistency,
            },
            moved,
        )
        .await?;
        Ok(moved)
    }

    async fn slice(
        &self,
        cycle: &Cycle,
        (name, machine, replica, mark): (&str, &str, &str, &str),
        slice: Extent,
    ) -> Result<(), CycleError> {
        // Room for one byte more, so that a source that sends too much is noticed.
        let buffer = Buffer::with_capacity(slice.bytes + 1);
        self.source
            .read(machine.to_owned(), mark.to_owned(), slice, &buffer)
            .await?;
        if buffer.len() != slice.bytes {
            let what = format!(
                "the source gave {} of {} bytes at {}",
                buffer.len(),
                slice.bytes,
                slice.offset
            );
            return Err(Failure::definite(codes::BAD_OUTPUT, what).into());
        }
        let call = self.to_replica(cycle, name, &format!("write/{name}/{}", slice.offset));
        self.target
            .write(call, replica.to_owned(), mark.to_owned(), slice.offset, &buffer)
            .await?;
        Ok(())
    }

    fn make_way(&self, cycle: &Cycle) -> Result<(), CycleError> {
        let names: Vec<String> = cycle.members.keys().cloned().collect();
        let wanted = matches!(self.turn, Turn::Beside(_)) && is_wanted(self.engine, &names);
        if wanted || self.open(cycle.number)?.is_none() {
            Err(CycleError::Yielded)
        } else {
            Ok(())
        }
    }

    /// A job will take the items, or waits for the unit to do something else with them.
    fn is_wanted(&self, names: &[String]) -> bool {
        matches!(self.turn, Turn::Beside(_)) && (self.held.is_awaited() || is_wanted(self.engine, names))
    }

    /// Progress of a transfer is shown, not stored.
    fn show(&self, name: &str, moved: u64, total: u64) {
        if let Some(progress) = self.engine.world_mut().progress.get_mut(name) {
            progress.transfer = Some((moved, total.max(moved)));
        }
    }

    /// The target has acknowledged the mark: it is what the next cycle starts from, and the RPO counts from it.
    async fn received(&self, cycle: &mut Cycle, name: &str, mark: Mark, moved: u64) -> Result<(), CycleError> {
        let mut progress = self.progress(name);
        if mark.consistency == Consistency::App {
            progress.app_at = Some(mark.host_time_ms);
        }
        progress.received = Some(mark);
        progress.bytes_sent += moved;
        progress.transfer = None;
        progress.resync = false;
        if let Some(member) = cycle.members.get_mut(name) {
            member.received = true;
        }
        let mut batch = Batch::new();
        batch
            .put(Space::Progress, name, &progress)?
            .put(Space::Cycle, self.unit, cycle)?;
        self.keep(cycle, batch, BTreeMap::from([(name.to_owned(), progress)]))
            .await
    }

    /// Marks that no later cycle starts from. What the source cannot forget now, it is asked to with the next cycle.
    async fn release(&self, cycle: &Cycle) {
        for (name, member) in &cycle.members {
            let mut marks = self.progress(name).unreleased;
            marks.extend(member.since.clone());
            let Ok(machine) = self.machine(name) else { continue };
            if marks.is_empty() {
                continue;
            }
            let operation = Operation::Release(Release {
                machine,
                marks: marks.clone(),
            });
            let call = self.call(cycle, &format!("release/{name}"));
            let released = self.effect(cycle, &self.source, call, operation).await;
            if matches!(released, Err(CycleError::Yielded)) {
                return;
            }
            if let Err(error) = &released {
                tracing::debug!(item = %name, ?error, "old marks were not released");
            }
            // Written with the end of the cycle.
            if let Some(progress) = self.engine.world_mut().progress.get_mut(name) {
                progress.unreleased = if released.is_ok() { Vec::new() } else { marks };
            }
        }
    }

    async fn end(&self, cycle: &Cycle, names: &[String]) -> Result<(), CycleError> {
        let mut batch = Batch::new();
        let mut changed = BTreeMap::new();
        for name in names {
            let mut progress = self.progress(name);
            progress.error = None;
            if cycle.makes_point {
                progress.point_at = Some(cycle.host_time_ms);
            }
            batch.put(Space::Progress, name, &progress)?;
            changed.insert(name.clone(), progress);
        }
        batch.remove(Space::Cycle, self.unit);
        self.keep(cycle, batch, changed).await?;
        for name in names {
            points::refresh(self.engine, name, &self.target).await?;
        }
        Ok(())
    }

    async fn save(&self, cycle: &Cycle) -> Result<(), CycleError> {
        let mut batch = Batch::new();
        batch.put(Space::Cycle, self.unit, cycle)?;
        self.keep(cycle, batch, BTreeMap::new()).await
    }

    /// Submits and waits for the end. Every effect of a cycle is idempotent or keyed, so it may always be sent again.
    async fn effect(
        &self,
        cycle: &Cycle,
        adapter: &Adapter,
        call: Call,
        operation: Operation,
    ) -> Result<Pairs, CycleError> {
        if self.open(cycle.number)?.is_none() {
            return Err(CycleError::Yielded);
        }
        match adapter.submit(call.clone(), operation).await? {
            Answer::Done(outputs) => Ok(from_pairs(outputs)),
            Answer::Failed(failure) => Err(from_failure(failure).into()),
            Answer::Running(running) => Ok(self.watch(cycle, adapter, call, running).await?),
        }
    }

    /// Waits for the end of what runs at the far side. What shows no progress for too long, or what a job cannot wait
    /// for, is stopped. Dropped: it goes on there.
    async fn watch(&self, cycle: &Cycle, adapter: &Adapter, call: Call, running: Running) -> Result<Pairs, Failure> {
        let names: Vec<String> = cycle.members.keys().cloned().collect();
        let handle = running.handle;
        let mut words = self
            .engine
            .pollers
            .watch(adapter, handle.clone(), running.poll_after_ms);
        let mut told = (running.percent, running.note);
        let (began, mut moved, mut wanted) = (Instant::now(), Instant::now(), None);
        loop {
            match timeout(LOOK_EVERY, words.recv()).await {
                Ok(None) => return Err(Failure::definite(codes::INTERNAL, "the poller is gone")),
                Ok(Some(Word::Progress(Answer::Running(now)))) => {
                    let now = (now.percent, now.note);
                    if now != told {
                        (told, moved) = (now, Instant::now());
                    }
                }
                Ok(Some(word)) => {
                    if let Some(end) = end(word) {
                        return end;
                    }
                }
                Err(_) => {}
            }
            if let Turn::Beside(slot) = self.turn
                && began.elapsed() >= MOMENT
            {
                slot.give_back();
            }
            wanted = self.is_wanted(&names).then(|| wanted.unwrap_or_else(Instant::now));
            if moved.elapsed() >= self.stalled || wanted.is_some_and(|since| since.elapsed() >= MOMENT) {
                return self.stop(cycle, adapter, call, &handle, &mut words).await;
            }
        }
    }

    /// Has the far side stop what it works on, and gives what became of it. The failure is definite if it was stopped.
    async fn stop(
        &self,
        cycle: &Cycle,
        adapter: &Adapter,
        call: Call,
        handle: &str,
        words: &mut UnboundedReceiver<Word>,
    ) -> Result<Pairs, Failure> {
        let prefix = format!("cycle/{}/{}/", self.unit, cycle.number);
        let step = call.step.strip_prefix(&prefix).unwrap_or(&call.step).to_owned();
        let site = adapter.binding().label().to_owned();
        let stopped = match timeout(MOMENT, adapter.cancel(call, handle.to_owned())).await {
            Ok(Ok(Answer::Running(_))) => timeout(MOMENT, last(words)).await.ok().flatten(),
            Ok(Ok(answer)) => end(Word::Progress(answer)),
            Ok(Err(_)) | Err(_) => None,
        };
        let (definite, what) = match stopped {
            Some(Ok(outputs)) => return Ok(outputs),
            Some(Err(failure)) if failure.definite => (true, "was stopped"),
            _ => (false, "could not be stopped"),
        };
        Err(Failure {
            code: codes::STALLED.to_owned(),
            message: format!("`{step}` stood still at `{site}` and {what}"),
            retryable: true,
            definite,
            unsent: false,
        })
    }

    fn call(&self, cycle: &Cycle, step: &str) -> Call {
        let identity = self.engine.store.identity();
        Call {
            installation: identity.installation.clone(),
            epoch: identity.epoch,
            job: None,
            step: format!("cycle/{}/{}/{step}", self.unit, cycle.number),
            attempt: 1,
            key: format!(
                "{}/cycle/{}/{}/{step}/{}",
                identity.installation, self.unit, cycle.number, cycle.generation
            ),
            remaining_ms: 0,
            ext: Vec::new(),
        }
    }

    /// With whether the mark builds on what the replica holds, or stands alone: where nothing is sent for a part of the
    /// disk, that part is as it was before, or it is zeros.
    fn to_replica(&self, cycle: &Cycle, name: &str, step: &str) -> Call {
        let since = cycle.members.get(name).and_then(|member| member.since.clone());
        let ext = match since {
            Some(since) => ("since".to_owned(), since),
            None => ("full".to_owned(), "true".to_owned()),
        };
        Call {
            ext: vec![ext],
            ..self.call(cycle, step)
        }
    }

    fn progress(&self, name: &str) -> Progress {
        self.engine.world().progress.get(name).cloned().unwrap_or_default()
    }

    fn machine(&self, name: &str) -> Result<String, CycleError> {
        let (item, _) = self.engine.item(name).ok_or_else(|| gone(name))?;
        Ok(item.source.machine)
    }

    /// Disks of the machine that are not replicated.
    fn excluded(&self, name: &str) -> Option<(String, String)> {
        let (item, _) = self.engine.item(name)?;
        let disks = item.excluded_disks.join(",");
        (!disks.is_empty()).then(|| (format!("exclude/{name}"), disks))
    }

    fn replica(&self, name: &str) -> Result<String, CycleError> {
        let world = self.engine.world();
        let replica = world.items.get(name).and_then(|state| state.replica.clone());
        replica.ok_or_else(|| gone(name).into())
    }
}

/// What became of an effect, if this says so.
fn end(word: Word) -> Option<Result<Pairs, Failure>> {
    match word {
        Word::Progress(Answer::Done(outputs)) => Some(Ok(from_pairs(outputs))),
        Word::Progress(Answer::Failed(failure)) => Some(Err(from_failure(failure))),
        Word::Progress(Answer::Running(_)) => None,
        Word::Gone(failure) => {
            let definite = false;
            Some(Err(Failure { definite, ..failure }))
        }
        Word::Silence(why) => Some(Err(Failure {
            code: codes::SITE_UNREACHABLE.to_owned(),
            message: why,
            retryable: true,
            definite: false,
            unsent: false,
        })),
    }
}

/// The last word about an effect.
async fn last(words: &mut UnboundedReceiver<Word>) -> Option<Result<Pairs, Failure>> {
    loop {
        if let Some(end) = end(words.recv().await?) {
            return Some(end);
        }
    }
}

fn gone(name: &str) -> Failure {
    Failure::definite(codes::UNKNOWN_SUBJECT, format!("`{name}` is no longer protected"))
}

fn slices(extent: &Extent) -> impl Iterator<Item = Extent> + use<> {
    let (offset, bytes) = (extent.offset, extent.bytes);
    (0..bytes.div_ceil(SLICE)).map(move |index| {
        let start = index * SLICE;
        Extent {
            offset: offset.saturating_add(start),
            bytes: SLICE.min(bytes - start),
        }
    })
}
