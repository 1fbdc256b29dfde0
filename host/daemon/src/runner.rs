//! One task per running job: it alone changes the job.
//!
//! Reports of steps, decisions of people and the passing of time come in; the task folds them, asks the executor what
//! is next, commits all of it in one batch (the OUTCOME of one step and the INTENT of the next share a commit), and
//! only then starts what was decided. Whatever arrives during a commit is in the next one. There are two copies of the
//! job: this task's own, which is ahead of the disk, and the published one, which everybody else sees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use landfall_recovery::codes;
use landfall_recovery::consequence::consequences;
use landfall_recovery::cycle::Progress;
use landfall_recovery::event::{Decision, Event, Outcome, Record, StepResult};
use landfall_recovery::executor::{Next, Resumption, decide, resume, resumption};
use landfall_recovery::freeze::sha256_hex;
use landfall_recovery::graph::StepIndex;
use landfall_recovery::item::{ItemEvent, ItemState};
use landfall_recovery::job::{Job, Status};
use landfall_recovery::words::{Direction, EffectClass, Failure, Millis};
use landfall_store::{Batch, Space, StoreError, faults};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::engine::{Catalogue, Engine, Signal, Tested, unit_name};
use crate::step::{self, Begin, Report, Work};

/// Reports that wait while a commit is under way; more and the steps wait with them.
const INBOX: usize = 4096;

/// Everybody else's hold on a running job.
#[derive(Clone)]
pub(crate) struct Handle {
    published: Arc<RwLock<Job>>,
    notes: Arc<Mutex<HashMap<StepIndex, Note>>>,
    inbox: mpsc::Sender<Message>,
}

/// How far a running step says it is. Not durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Note {
    pub(crate) percent: Option<u8>,
    pub(crate) text: String,
}

/// What comes in.
pub(crate) enum Message {
    /// From a step.
    Report {
        step: StepIndex,
        attempt: u32,
        report: Report,
    },
    /// From a person.
    Decide {
        who: String,
        decision: Decision,
        outcome: Option<(StepIndex, StepResult)>,
        /// False: the job has moved on since the person looked, and it was not done.
        done: oneshot::Sender<bool>,
    },
}

impl Handle {
    pub(crate) fn job(&self) -> RwLockReadGuard<'_, Job> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, HashMap<StepIndex, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a decision to the job and waits until it is durable. None if the job is over; false if the step that it is
    /// about has moved on meanwhile.
    pub(crate) async fn decide(
        &self,
        who: String,
        decision: Decision,
        outcome: Option<(StepIndex, StepResult)>,
    ) -> Option<bool> {
        let (done, decided) = oneshot::channel();
        let message = Message::Decide {
            who,
            decision,
            outcome,
            done,
        };
        self.inbox.send(message).await.ok()?;
        decided.await.ok()
    }
}

/// Starts the task of a job whose records so far are durable and folded.
pub(crate) fn spawn(engine: &Arc<Engine>, job: Job) -> Handle {
    let (inbox, messages) = mpsc::channel(INBOX);
    let handle = Handle {
        published: Arc::new(RwLock::new(job.clone())),
        notes: Arc::default(),
        inbox: inbox.clone(),
    };
    engine.jobs().insert(job.frozen.job.clone(), handle.clone());
    let runner = Runner {
        engine: Arc::clone(engine),
        job,
        handle: handle.clone(),
        reports: inbox,
        untaken: true,
        compared: (clock::now(), Instant::now()),
    };
    tokio::spawn(async move {
        if let Err(error) = runner.run(messages).await {
            tracing::error!(%error, "a job's task ended with the store");
        }
    });
    handle
}

struct Runner {
    engine: Arc<Engine>,
    job: Job,
    handle: Handle,
    reports: mpsc::Sender<Message>,
    /// What was under way when the host stopped is to be taken up, once there is room to write.
    untaken: bool,
    /// The host's clock and the machine's, when they were last compared.
    compared: (Millis, Instant),
}

/// What the battery's mutant gives an effect to happen before its INTENT.
const EFFECT_FIRST: Duration = Duration::from_millis(30);

/// A clock is set back if it is that far behind the machine's own: less is how clocks are kept in step.
const SET_BACK_MS: Millis = 500;

/// How soon a job that pauses for want of room looks again.
const SHORT_MS: Millis = 1_000;

/// Decisions of policies that are kept to be replayed: some KiB each, and two failovers of 10,000 lone machines.
const DECISIONS_KEPT: u32 = 20_000;

/// What one turn of the task writes and then does.
#[derive(Default)]
struct Turn {
    records: Vec<Record>,
    catalogues: BTreeMap<String, Catalogue>,
    decisions: Vec<crate::replay::PolicyDecision>,
    items: BTreeMap<String, ItemState>,
    /// Items whose replication begins anew, the other way or not at all.
    turned: BTreeSet<String>,
    start: Vec<Work>,
    notes: Vec<(StepIndex, Note)>,
    answers: Vec<oneshot::Sender<bool>>,
}

impl Runner {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), StoreError> {
        let id = self.job.frozen.job.clone();
        let engine = Arc::clone(&self.engine);
        let mut turn = Turn::default();
        // How long the host was down, nobody knows.
        self.job.distrust_proofs();
        let mut changing = engine.changing.read().await;
        loop {
            self.watch_clock();
            self.take_up(&mut turn);
            let wake_at = self.plan(&mut turn);
            let wrote = !turn.records.is_empty();
            self.finish(turn).await?;
            drop(changing);
            // A job that is about to be reopened has ended too, but not in this turn.
            if wrote && self.job.outcome.is_some() {
                self.engine.jobs().remove(&id);
                return Ok(());
            }
            turn = Turn::default();
            let first = next(&mut messages, wake_at).await;
            changing = engine.changing.read().await;
            let Some(first) = first else {
                continue;
            };
            self.receive(first, &mut turn);
            while let Ok(message) = messages.try_recv() {
                self.receive(message, &mut turn);
            }
        }
    }

    /// A clock that was set back makes what was seen before younger than it is.
    fn watch_clock(&mut self) {
        let (then, since) = self.compared;
        let passed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.compared = (clock::now(), Instant::now());
        if self.compared.0.saturating_add(SET_BACK_MS) < then.saturating_add(passed) {
            tracing::warn!(job = %self.job.frozen.job, "the clock was set back; proofs are made anew");
            self.job.distrust_proofs();
        }
    }

    /// Goes on with what was under way when the host stopped, as the step protocol demands.
    fn take_up(&mut self, turn: &mut Turn) {
        if !self.untaken || self.job.held.is_some() || self.engine.shortage().is_some() {
            return;
        }
        self.untaken = false;
        let before = turn.start.len();
        for resumption in resume(&self.job) {
            self.resume(turn, resumption);
        }
        for work in turn.start.iter_mut().skip(before) {
            work.resumed = true;
        }
    }

    fn resume(&mut self, turn: &mut Turn, resumption: Resumption) {
        match resumption {
            Resumption::Attach { step, handle } => {
                turn.start.push(self.work(step, Begin::Attach { handle, after_ms: 0 }));
            }
            Resumption::Probe { step } if faults::broken("probe") => self.intend(turn, step, Begin::Send),
            Resumption::Probe { step } => turn.start.push(self.work(step, Begin::Probe)),
            Resumption::Resend { step } => self.intend(turn, step, Begin::Send),
            Resumption::Ask { step, .. } if faults::broken("ask") => self.intend(turn, step, Begin::Send),
            Resumption::Ask { event, .. } => self.record(turn, event),
        }
    }

    fn receive(&mut self, message: Message, turn: &mut Turn) {
        match message {
            Message::Report { step, attempt, report } => self.report(turn, step, attempt, report),
            Message::Decide {
                who,
                decision,
                outcome,
                done,
            } => {
                if !self.fits(&decision) {
                    // The person went away; nothing was decided.
                    let _ = done.send(false);
                    return;
                }
                self.record(turn, Event::Operator { who, decision });
                if let Some((step, result)) = outcome {
                    self.record(turn, Event::Outcome { step, result });
                }
                turn.answers.push(done);
            }
        }
    }

    /// People decide about what they were shown, and this job may be ahead of it: what a step does now is not skipped.
    fn fits(&self, decision: &Decision) -> bool {
        let status = |step: &StepIndex| self.job.steps.get(*step).map(|state| &state.status);
        match decision {
            Decision::Skip { step, .. } => status(step).is_some_and(Status::is_troubled),
            Decision::Attest { step, .. } | Decision::Answer { step, .. } => {
                matches!(status(step), Some(Status::Stuck { .. }))
            }
            Decision::Retry { .. } | Decision::Repin { .. } | Decision::Cancel { .. } | Decision::Abandon { .. } => {
                true
            }
        }
    }

    fn report(&mut self, turn: &mut Turn, step: StepIndex, attempt: u32, report: Report) {
        let current = self
            .job
            .step(step)
            .is_some_and(|(_, state)| state.attempt == attempt && matches!(state.status, Status::Running { .. }));
        if !current {
            // A late word from a try that a person gave up.
            return;
        }
        match report {
            Report::Done {
                outputs,
                catalogues,
                decision,
            } => {
                turn.catalogues.extend(catalogues);
                turn.decisions.extend(decision.map(|decision| *decision));
                self.record(
                    turn,
                    Event::Outcome {
                        step,
                        result: StepResult::Done {
                            outputs: Arc::new(outputs),
                        },
                    },
                );
            }
            Report::Skipped { reason } => self.record(
                turn,
                Event::Outcome {
                    step,
                    result: StepResult::Skipped { reason },
                },
            ),
            Report::Failed(failure) => {
                tracing::warn!(job = %self.job.frozen.job, step = %self.id(step), %failure, "a step failed");
                self.record(
                    turn,
                    Event::Outcome {
                        step,
                        result: StepResult::Failed { failure },
                    },
                );
            }
            Report::Stuck { code, reason } => self.record(
                turn,
                Event::Stuck {
                    step,
                    code: code.to_owned(),
                    reason,
                },
            ),
            Report::Handle { handle, after_ms } => {
                let known = self.job.step(step).is_some_and(
                    |(_, state)| matches!(&state.status, Status::Running { handle: Some(known) } if *known == handle),
                );
                if !known {
                    self.record(
                        turn,
                        Event::Handle {
                            step,
                            handle: handle.clone(),
                        },
                    );
                }
                turn.start.push(self.work(step, Begin::Attach { handle, after_ms }));
            }
            Report::Absent => self.absent(turn, step),
            Report::Forgotten => {
                if let Some(resumption) = resumption(&self.job, step) {
                    self.resume(turn, resumption);
                }
            }
            Report::Note(note) => turn.notes.push((step, note)),
        }
    }

    /// It certainly did not happen. It is sent, unless nothing new is begun.
    fn absent(&mut self, turn: &mut Turn, step: StepIndex) {
        let why = match (self.job.stopping, self.engine.shortage()) {
            (None, None) => return self.intend(turn, step, Begin::Send),
            (Some(_), _) => "the job was stopped before it was sent".to_owned(),
            (None, Some(why)) => why,
        };
        let failure = Failure {
            retryable: true,
            ..Failure::definite(codes::NOT_SENT, why)
        };
        let result = StepResult::Failed { failure };
        self.record(turn, Event::Outcome { step, result });
    }

    /// Asks the executor until it wants nothing more in this turn.
    fn plan(&mut self, turn: &mut Turn) -> Option<Millis> {
        let mut again = false;
        let mut plan = decide(&self.job, clock::now(), &self.engine.limits());
        let short = self.engine.shortage().is_some();
        if short {
            plan.wake_at = Some(clock::now() + SHORT_MS);
        }
        for next in plan.next {
            match next {
                Next::Begin { .. } if short => {}
                Next::Begin { step, .. } => {
                    // After an effect whose end nobody saw, the far side is asked before anything is sent again.
                    let doubt = self.job.step(step).is_some_and(|(frozen, state)| {
                        frozen.effect.class == EffectClass::Probeable
                            && (state.doubted || state.failure.as_ref().is_some_and(|failure| !failure.definite))
                    });
                    self.intend(turn, step, if doubt { Begin::Probe } else { Begin::Send });
                }
                Next::Ask { event } => self.record(turn, event),
                Next::Expire { step } => {
                    let what = "nobody answered in time";
                    let failure = Failure::definite(codes::TIMED_OUT, what);
                    let result = StepResult::Failed { failure };
                    self.record(turn, Event::Outcome { step, result });
                    again = true;
                }
                Next::End { outcome, reason } => self.record(turn, Event::Ended { outcome, reason }),
            }
        }
        // What waited for it can begin at once.
        if again { Some(clock::now()) } else { plan.wake_at }
    }

    fn intend(&mut self, turn: &mut Turn, step: StepIndex, begin: Begin) {
        let Some((frozen, state)) = self.job.step(step) else {
            return;
        };
        let (attempt, generation) = (state.attempt + 1, state.generation);
        let class = frozen.effect.class;
        let arguments = step::arguments(&self.job, step);
        let hash = sha256_hex(serde_json::to_string(&arguments).unwrap_or_default().as_bytes());
        let key = self.job.key(step, generation);
        self.record(
            turn,
            Event::Intent {
                step,
                attempt,
                generation,
                key,
                class,
                arguments: hash,
            },
        );
        turn.start.push(self.work(step, begin));
    }

    fn work(&self, step: StepIndex, begin: Begin) -> Work {
        let attempt = self.job.step(step).map_or(0, |(_, state)| state.attempt);
        Work {
            step,
            attempt,
            begin,
            resumed: false,
        }
    }

    /// Folds an event into this task's copy and notes what it means for the items.
    fn record(&mut self, turn: &mut Turn, event: Event) {
        let at = clock::now();
        self.job.apply(at, &event);
        for (item, change) in consequences(&self.job, at, &event) {
            let state = turn
                .items
                .entry(item.clone())
                .or_insert_with(|| self.engine.world().items.get(&item).cloned().unwrap_or_default());
            // Nothing of what was sent to another replica is in this one.
            let anew = match &change {
                ItemEvent::Turned { .. } | ItemEvent::Unprotected | ItemEvent::Released => true,
                ItemEvent::ReplicaPrepared { replica, .. } => state.replica.as_ref() != Some(replica),
                _ => false,
            };
            state.apply(&change);
            if anew {
                turn.turned.insert(item);
            }
        }
        turn.records.push(Record { at, event });
    }

    /// Commits the turn, publishes it, and starts what it decided.
    async fn finish(&mut self, mut turn: Turn) -> Result<(), StoreError> {
        let id = self.job.frozen.job.clone();
        let tested = self.tested(&turn);
        // What a cycle of before would still write does not come after this.
        let turning = if turn.turned.is_empty() {
            None
        } else {
            Some(self.engine.units.turn().await)
        };
        if !turn.records.is_empty() {
            let mut batch = Batch::new();
            for record in &turn.records {
                batch.record(&id, record.clone());
                match &record.event {
                    Event::Ended { outcome, .. } => {
                        batch.ending(&id, outcome_name(*outcome), record.at);
                        batch.keep_last(Space::Decision, DECISIONS_KEPT);
                    }
                    // A decision about a job that had ended reopens it.
                    Event::Operator { .. } => {
                        batch.ending(&id, "", record.at);
                    }
                    _ => {}
                }
            }
            for (item, state) in &turn.items {
                batch.put(Space::Item, item, state)?;
            }
            for item in &turn.turned {
                self.forget_cycles(&mut batch, item);
                batch.put(Space::Progress, item, &Progress::default())?;
                batch.put(Space::Points, item, &Catalogue::default())?;
            }
            for (item, catalogue) in &turn.catalogues {
                batch.put(Space::Points, item, catalogue)?;
            }
            for decision in &turn.decisions {
                batch.put(Space::Decision, &format!("{id}/{}", decision.step), decision)?;
            }
            if let Some(tested) = &tested {
                batch.put(Space::Tested, &self.job.frozen.plan.name, tested)?;
            }
            if faults::broken("intent") {
                // The effects first, and then what was meant to be durable before them.
                for work in turn.start.drain(..) {
                    step::start(&self.engine, &self.job, work, self.reports.clone());
                }
                tokio::time::sleep(EFFECT_FIRST).await;
            }
            self.points("before commit", &turn);
            self.engine.commit(batch).await?;
            self.points("after commit", &turn);
        }
        self.publish(&turn, tested);
        drop(turning);
        for answer in turn.answers {
            // The person went away; the decision stands.
            let _ = answer.send(true);
        }
        for work in turn.start {
            step::start(&self.engine, &self.job, work, self.reports.clone());
        }
        Ok(())
    }

    /// What was cut off in the old direction is not gone on with.
    fn forget_cycles(&self, batch: &mut Batch, item: &str) {
        let group = self
            .job
            .frozen
            .items
            .get(item)
            .and_then(|item| item.replication_group.clone());
        for direction in [Direction::Forward, Direction::Reverse] {
            for group in [None, group.as_deref()] {
                batch.remove(Space::Cycle, &unit_name(group, item, direction));
            }
        }
    }

    /// Where the fault battery lets the host die.
    fn points(&self, place: &str, turn: &Turn) {
        for Record { event, .. } in &turn.records {
            let (what, step) = match event {
                Event::Intent { step, .. } => ("intent", *step),
                Event::Handle { step, .. } => ("handle", *step),
                Event::Outcome { step, .. } => ("outcome", *step),
                Event::Stuck { step, .. } => ("stuck", *step),
                _ => continue,
            };
            faults::point(place, || format!("{what} {}", self.id(step)));
        }
    }

    fn publish(&self, turn: &Turn, tested: Option<Tested>) {
        {
            let mut published = self.handle.published.write().unwrap_or_else(PoisonError::into_inner);
            for record in &turn.records {
                published.apply(record.at, &record.event);
            }
        }
        {
            let mut world = self.engine.world_mut();
            world
                .items
                .extend(turn.items.iter().map(|(name, state)| (name.clone(), state.clone())));
            for item in &turn.turned {
                world.progress.insert(item.clone(), Progress::default());
                world.points.insert(item.clone(), Catalogue::default());
            }
            world.points.extend(
                turn.catalogues
                    .iter()
                    .map(|(name, points)| (name.clone(), points.clone())),
            );
            if let Some(tested) = tested {
                world.tested.insert(self.job.frozen.plan.name.clone(), tested);
            }
        }
        let mut notes = self.handle.notes();
        for record in &turn.records {
            if let Event::Outcome { step, .. } | Event::Stuck { step, .. } = &record.event {
                notes.remove(step);
            }
        }
        for (step, note) in &turn.notes {
            notes.insert(*step, note.clone());
            let signal = Signal::Note {
                job: self.job.frozen.job.clone(),
                step: self.id(*step).to_owned(),
                percent: note.percent,
                note: note.text.clone(),
            };
            // No stream is open: nobody needs to hear.
            let _ = self.engine.events.send(signal);
        }
    }

    /// A test is what a later failover of the same plan, inventory and plugins leans on (F01).
    fn tested(&self, turn: &Turn) -> Option<Tested> {
        let (at, outcome) = turn.records.iter().find_map(|record| match &record.event {
            Event::Ended { outcome, .. } => Some((record.at, *outcome)),
            _ => None,
        })?;
        let frozen = &self.job.frozen;
        crate::start::vouches(&self.engine, frozen).then(|| Tested {
            job: frozen.job.clone(),
            at,
            subject: crate::start::subject(
                &frozen.plan,
                frozen.items.values().map(|item| &item.item),
                &self.job.pins,
            ),
            outcome: outcome_name(outcome).to_owned(),
        })
    }

    fn id(&self, step: StepIndex) -> &str {
        self.job.graph().steps.get(step).map_or("", |step| step.id.as_str())
    }
}

async fn next(messages: &mut mpsc::Receiver<Message>, wake_at: Option<Millis>) -> Option<Message> {
    match wake_at {
        None => messages.recv().await,
        Some(at) => {
            let wait = Duration::from_millis(at.saturating_sub(clock::now()).max(1));
            tokio::time::timeout(wait, messages.recv()).await.ok().flatten()
        }
    }
}

/// The outcome's name in the store and on the wire.
pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::CompletedWithErrors => "completed-with-errors",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Abandoned => "abandoned",
    }
}
