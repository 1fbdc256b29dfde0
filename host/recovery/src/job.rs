//! A job's status as a fold over its journal.
//!
//! [`Job::apply`] is one exhaustive match and the only thing that changes a status; the running daemon, a restart, a
//! replay and the simulation all use it. Waiting is kept as a count of unsatisfied edges per step, so that folding a
//! job of 100,000 steps costs its edges once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::event::{Decision, Event, Outcome, Record, StepResult};
use crate::freeze::{Frozen, Pinned};
use crate::graph::{Graph, Skip, Step, StepIndex, Wait};
use crate::operations::Operation;
use crate::proof::{FenceProof, ProofKind};
use crate::words::{EffectClass, Failure, Millis, Pairs};

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not begun.
    Pending,
    /// An INTENT is durable and no OUTCOME yet.
    Running {
        /// The far side's handle, once durable.
        handle: Option<String>,
    },
    /// Failed in a way that may pass; tried again at a time.
    Backoff {
        /// Host time of the next try.
        until: Millis,
    },
    /// A person is needed.
    Stuck {
        /// Stable code.
        code: String,
        /// For the person.
        reason: String,
    },
    /// It happened.
    Done,
    /// Not needed, or a person went past it.
    Skipped {
        /// Those that need it run all the same.
        goes_on: bool,
    },
    /// It failed for good.
    Failed,
    /// Something that it needs did not happen.
    NotRun,
}

impl Status {
    /// In a word, as people are shown it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running { .. } => "running",
            Self::Backoff { .. } => "retrying",
            Self::Stuck { .. } => "stuck",
            Self::Done => "done",
            Self::Skipped { .. } => "skipped",
            Self::Failed => "failed",
            Self::NotRun => "not-run",
        }
    }

    /// A person may try it again or go past it.
    pub fn is_troubled(&self) -> bool {
        matches!(self, Self::Stuck { .. } | Self::Failed | Self::Backoff { .. })
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Skipped { .. } | Self::Failed | Self::NotRun)
    }
}

/// What the fold knows of a step.
#[derive(Debug, Clone)]
pub struct StepState {
    /// Where it stands.
    pub status: Status,
    /// Tries so far.
    pub attempt: u32,
    /// Tries before a person last said `retry`.
    attempts_before: u32,
    /// Counts the keys.
    pub generation: u32,
    /// When the first try of this round began.
    pub begun_at: Option<Millis>,
    /// When it was over.
    pub ended_at: Option<Millis>,
    /// What came of it.
    pub outputs: Arc<Pairs>,
    /// Why the last try failed.
    pub failure: Option<Failure>,
    /// It may have happened after the backup from which the journal was restored.
    pub doubted: bool,
    /// Done, but as a proof it says nothing any more; not in the journal, as only the running host can tell.
    pub distrusted: bool,
    /// Edges that are not satisfied.
    waiting: u32,
    /// Steps before it in its chain that need a person.
    held: u32,
    /// As those that wait for it last saw it.
    view: View,
    /// Under which name it is counted; none yet: empty.
    counted: &'static str,
}

/// A job as the journal tells it.
#[derive(Debug, Clone)]
pub struct Job {
    /// What it was started with.
    pub frozen: Arc<Frozen>,
    /// One for every step of the graph.
    pub steps: Vec<StepState>,
    /// Plugins as they are called now: those of the start, unless a person pinned others.
    pub pins: Arc<BTreeMap<String, Pinned>>,
    /// Set when the job ended.
    pub outcome: Option<(Outcome, String)>,
    /// SHA-256 of what was frozen, as the journal has it; empty before the job was started.
    pub hash: String,
    /// When it started and ended.
    pub started_at: Millis,
    /// None while it runs.
    pub ended_at: Option<Millis>,
    /// An error or a person stopped it: nothing new is started.
    pub stopping: Option<Stopping>,
    /// Since when the sources of an unplanned failover are shut down side by side, because one has failed so slowly that
    /// their order would cost that time again for every group.
    pub hurried_at: Option<Millis>,
    /// Restored from a backup, with the epoch of then: nothing is done until a person lets it go on.
    pub held: Option<u64>,
    /// Steps that could begin, by whom they call: each has a limit of its own, so that nobody looks through those who
    /// wait for their turn.
    ready: BTreeMap<Lane, BTreeSet<StepIndex>>,
    /// Steps whose outcome is outstanding.
    running: BTreeSet<StepIndex>,
    backoff: BTreeSet<StepIndex>,
    stuck: BTreeSet<StepIndex>,
    counts: BTreeMap<&'static str, usize>,
    /// Index of the edges in the other direction.
    dependents: Arc<Vec<Vec<(StepIndex, Wait)>>>,
    /// Index of the steps by item, so that what an item's earlier steps gave is found without a search.
    by_item: Arc<HashMap<String, Vec<StepIndex>>>,
}

/// The site or runbook that a step calls; none: the host alone.
pub type Lane = Option<String>;

/// Why nothing new is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// A step failed whose failure stops the job.
    Error,
    /// A person cancelled.
    Cancelled,
    /// A person gave it up.
    Abandoned,
}

/// The first retry comes after a second, so that a blip costs little.
const BACKOFF_FIRST_MS: Millis = 1_000;
/// Later ones at most this far apart, so that a site that comes back is noticed.
pub const BACKOFF_MAX_MS: Millis = 30_000;

/// A shutdown that fails sooner costs less than the order of the groups is worth.
const SLOW_FAILURE_MS: Millis = 10_000;

impl Job {
    /// A job of which nothing is known but what it was started with.
    pub fn new(frozen: Arc<Frozen>, at: Millis) -> Self {
        let graph = &frozen.graph;
        let mut dependents = vec![Vec::new(); graph.steps.len()];
        for (index, step) in graph.steps.iter().enumerate() {
            for edge in &step.after {
                if let Some(list) = dependents.get_mut(edge.step) {
                    list.push((index, edge.wait));
                }
            }
        }
        let mut by_item: HashMap<String, Vec<StepIndex>> = HashMap::new();
        for (index, step) in graph.steps.iter().enumerate() {
            for item in &step.items {
                by_item.entry(item.clone()).or_default().push(index);
            }
        }
        let steps = graph.steps.iter().map(|_| StepState::new()).collect();
        let mut ready: BTreeMap<Lane, BTreeSet<StepIndex>> = BTreeMap::new();
        for step in &graph.steps {
            if !ready.contains_key(&step.calls) {
                ready.insert(step.calls.clone(), BTreeSet::new());
            }
        }
        let mut job = Self {
            pins: Arc::new(frozen.plugins.clone()),
            frozen,
            steps,
            outcome: None,
            hash: String::new(),
            started_at: at,
            ended_at: None,
            stopping: None,
            hurried_at: None,
            held: None,
            ready,
            running: BTreeSet::new(),
            backoff: BTreeSet::new(),
            stuck: BTreeSet::new(),
            counts: BTreeMap::new(),
            dependents: Arc::new(dependents),
            by_item: Arc::new(by_item),
        };
        job.recount(at);
        job
    }

    /// The job after its whole journal.
    pub fn fold<'a>(frozen: Arc<Frozen>, records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut records = records.into_iter().peekable();
        let at = records.peek().map_or(0, |record| record.at);
        let mut job = Self::new(frozen, at);
        for record in records {
            job.apply(record.at, &record.event);
        }
        job
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.frozen.graph
    }

    /// A step of the graph with its state.
    pub fn step(&self, index: StepIndex) -> Option<(&Step, &StepState)> {
        Some((self.frozen.graph.steps.get(index)?, self.steps.get(index)?))
    }

    /// The steps that are about an item, in order.
    pub fn steps_of(&self, item: &str) -> impl Iterator<Item = (&Step, &StepState)> + '_ {
        self.by_item
            .get(item)
            .into_iter()
            .flatten()
            .filter_map(|index| self.step(*index))
    }

    /// Steps that could begin, by whom they call, lowest first.
    pub fn ready(&self) -> impl Iterator<Item = (&Lane, &BTreeSet<StepIndex>)> + '_ {
        self.ready.iter().filter(|(_, steps)| !steps.is_empty())
    }

    /// How many steps stand how, by [`Status::name`]; milestones are not counted.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }

    /// Steps whose outcome is outstanding.
    pub fn running(&self) -> impl Iterator<Item = StepIndex> + '_ {
        self.running.iter().copied()
    }

    /// Steps that wait for another try.
    pub fn backing_off(&self) -> impl Iterator<Item = StepIndex> + '_ {
        self.backoff.iter().copied()
    }

    /// Steps that need a person.
    pub fn stuck(&self) -> impl Iterator<Item = StepIndex> + '_ {
        self.stuck.iter().copied()
    }

    /// The key of a step's generation: the same for every attempt.
    pub fn key(&self, step: StepIndex, generation: u32) -> String {
        let id = self.frozen.graph.steps.get(step).map_or("", |step| step.id.as_str());
        format!("{}/{}/{id}/{generation}", self.frozen.installation, self.frozen.job)
    }

    /// Folds one record.
    pub fn apply(&mut self, at: Millis, event: &Event) {
        match event {
            Event::Started { hash } => {
                self.hash.clone_from(hash);
                self.started_at = at;
            }
            Event::Intent {
                step,
                attempt,
                generation,
                ..
            } => {
                if let Some(state) = self.steps.get_mut(*step) {
                    state.attempt = *attempt;
                    state.generation = *generation;
                    // An INTENT without outcome is in doubt by itself.
                    state.doubted = false;
                    state.distrusted = false;
                    // A proof that is made anew, or a try after a crash, has its time from now on: the host's own
                    // downtime is not held against a step.
                    if state.status == Status::Done || matches!(state.status, Status::Running { .. }) {
                        state.begun_at = None;
                    }
                    state.begun_at.get_or_insert(at);
                    state.ended_at = None;
                }
                self.set(*step, Status::Running { handle: None }, at);
            }
            Event::Handle { step, handle } => self.set(
                *step,
                Status::Running {
                    handle: Some(handle.clone()),
                },
                at,
            ),
            Event::Outcome { step, result } => self.outcome(*step, result, at),
            Event::Stuck { step, code, reason } => {
                self.set(
                    *step,
                    Status::Stuck {
                        code: code.clone(),
                        reason: reason.clone(),
                    },
                    at,
                );
            }
            Event::Operator { decision, .. } => self.decide(decision, at),
            Event::Restored { epoch } => {
                self.held = Some(*epoch);
                for state in &mut self.steps {
                    state.doubted = !matches!(state.status, Status::Done | Status::Skipped { .. });
                }
            }
            Event::Ended { outcome, reason } => {
                self.outcome = Some((*outcome, reason.clone()));
                self.ended_at = Some(at);
            }
        }
    }

    fn outcome(&mut self, index: StepIndex, result: &StepResult, at: Millis) {
        let hurries = self.hurries(index, result, at);
        let (status, stops) = {
            let Some(step) = self.frozen.graph.steps.get(index) else {
                return;
            };
            let Some(state) = self.steps.get_mut(index) else { return };
            match result {
                StepResult::Done { outputs } => {
                    state.outputs.clone_from(outputs);
                    state.failure = None;
                    (Status::Done, false)
                }
                StepResult::Skipped { reason } => {
                    Arc::make_mut(&mut state.outputs).insert("skipped".to_owned(), reason.clone());
                    (Status::Skipped { goes_on: true }, false)
                }
                StepResult::Failed { failure } => {
                    state.failure = Some(failure.clone());
                    let status = state.after_failure(&self.frozen, step, failure, at);
                    let stops = status == Status::Failed && step.stops_job;
                    (status, stops)
                }
            }
        };
        self.set(index, status, at);
        if stops && self.stopping.is_none() {
            self.stopping = Some(Stopping::Error);
        }
        if hurries && self.hurried_at.is_none() {
            self.hurried_at = Some(at);
            self.recount(at);
        }
    }

    /// A source does not let itself be shut down, and took its time to say so.
    fn hurries(&self, index: StepIndex, result: &StepResult, at: Millis) -> bool {
        let Some((step, state)) = self.step(index) else {
            return false;
        };
        let slow = state
            .begun_at
            .is_some_and(|begun| at.saturating_sub(begun) >= SLOW_FAILURE_MS);
        self.frozen.operation == Operation::UnplannedFailover
            && step.kind.quiets_source()
            && matches!(result, StepResult::Failed { .. })
            && slow
    }

    /// When a step has taken too long that began then. Sources that are shut down side by side share one such time.
    pub fn deadline(&self, step: &Step, begun: Millis) -> Millis {
        let hurried = self.hurried_at.filter(|_| step.kind.quiets_source());
        hurried
            .map_or(begun, |at| at.min(begun))
            .saturating_add(step.timeout_ms)
    }

    fn decide(&mut self, decision: &Decision, at: Millis) {
        match decision {
            Decision::Retry { steps } => {
                self.hurried_at = None;
                let held = self.held.take().is_some();
                for index in steps {
                    self.reopen(*index);
                }
                self.forget_words((!held).then_some(steps));
                self.go_on(at, true);
            }
            Decision::Repin { pins, steps, .. } => {
                Arc::make_mut(&mut self.pins).extend(pins.clone());
                for index in steps {
                    self.reopen(*index);
                }
                self.go_on(at, false);
            }
            Decision::Skip { step, .. } => {
                let skip = self
                    .frozen
                    .graph
                    .steps
                    .get(*step)
                    .map(|step| step.kind.skip(self.frozen.operation));
                if let Some(state) = self.steps.get_mut(*step) {
                    state.status = Status::Skipped {
                        goes_on: skip == Some(Skip::GoesOn),
                    };
                    state.ended_at = Some(at);
                }
                self.go_on(at, false);
            }
            // The proof itself arrives as the step's outcome, in the same commit.
            // What follows is an OUTCOME of its own.
            Decision::Attest { .. } | Decision::Answer { .. } => {}
            Decision::Cancel { .. } => {
                // What was under way when the backup was made is not taken up: nobody compared it with the sites.
                if self.held.take().is_some() {
                    self.let_go(at);
                }
                self.stopping = Some(Stopping::Cancelled);
            }
            Decision::Abandon { .. } => {
                self.held = None;
                self.stopping = Some(Stopping::Abandoned);
                self.let_go(at);
            }
        }
    }

    /// What is under way is no longer waited for.
    fn let_go(&mut self, at: Millis) {
        let outstanding: Vec<StepIndex> = self.running.iter().chain(&self.backoff).copied().collect();
        for index in outstanding {
            self.set(index, Status::NotRun, at);
        }
    }

    /// A person's word that a machine is off was given for the try of then. Before another one of these steps' machines,
    /// or of any in a job that had ended, it is looked at again.
    fn forget_words(&mut self, retried: Option<&[StepIndex]>) {
        let frozen = Arc::clone(&self.frozen);
        let steps = &frozen.graph.steps;
        let items: Option<BTreeSet<&String>> = retried.map(|retried| {
            let steps = retried.iter().filter_map(|index| steps.get(*index));
            steps.flat_map(|step| &step.items).collect()
        });
        let given = |(index, step): (StepIndex, &Step)| {
            let state = self.steps.get(index)?;
            let word = step.kind.proves_off() && state.status == Status::Done && is_a_word(&state.outputs);
            let meant = items
                .as_ref()
                .is_none_or(|items| step.items.iter().any(|item| items.contains(item)));
            let waits = |item: &String| {
                self.steps_of(item).any(|(step, state)| {
                    step.kind.activates() && !matches!(state.status, Status::Done | Status::Running { .. })
                })
            };
            (word && meant && step.items.iter().any(waits)).then_some(index)
        };
        let words: Vec<StepIndex> = steps.iter().enumerate().filter_map(given).collect();
        for index in words {
            if let Some(state) = self.steps.get_mut(index) {
                state.renew();
            }
        }
    }

    /// What was read is read anew before anything is activated on it: the host was down or its clock was set back since, so
    /// that nobody knows how old it is. A person's word has no age.
    pub fn distrust_proofs(&mut self) {
        for (step, state) in self.frozen.graph.steps.iter().zip(&mut self.steps) {
            if step.kind.proves() && state.status == Status::Done && !is_a_word(&state.outputs) {
                state.distrusted = true;
            }
        }
    }

    /// A job that a person reopened, or helped past a step, goes on, unless another error still stops it. What was
    /// cancelled and has not ended yet goes on only by `retry`.
    fn go_on(&mut self, at: Millis, retried: bool) {
        let ending = self.outcome.is_none() && self.stopping == Some(Stopping::Cancelled) && !retried;
        if self.outcome.take().is_some() {
            self.forget_words(None);
        }
        self.ended_at = None;
        let graph = Arc::clone(&self.frozen);
        let stopped = self
            .steps
            .iter()
            .zip(&graph.graph.steps)
            .any(|(state, step)| state.status == Status::Failed && step.stops_job);
        if !ending && (self.stopping != Some(Stopping::Cancelled) || !stopped) {
            self.stopping = stopped.then_some(Stopping::Error);
        }
        self.recount(at);
    }

    /// A step that needs a person, or failed, is tried again. Anything else is left alone: it may have moved on while
    /// the person decided.
    fn reopen(&mut self, index: StepIndex) {
        let one_shot = self
            .frozen
            .graph
            .steps
            .get(index)
            .is_some_and(|step| step.effect.class == EffectClass::OneShot);
        let Some(state) = self.steps.get_mut(index) else { return };
        // The person has looked: what a one-shot effect did is known to them, so the next try is a new one.
        let looked = one_shot && matches!(&state.status, Status::Stuck { code, .. } if code == crate::codes::IN_DOUBT);
        // What may have happened after a backup was looked at too.
        state.doubted &= !looked;
        match state.status {
            Status::Stuck { .. } | Status::Failed => {
                if looked || state.failure.as_ref().is_some_and(Failure::frees_key) {
                    state.generation += 1;
                }
            }
            // Its key is settled already; only the wait is cut short.
            Status::Backoff { .. } => {}
            _ => return,
        }
        state.renew();
    }

    /// Changes one status and tells the steps that wait for it.
    fn set(&mut self, index: StepIndex, status: Status, at: Millis) {
        // Changes run down the graph; the list is a stack so that depth costs no recursion.
        let mut changes = vec![(index, Some(status))];
        let dependents = Arc::clone(&self.dependents);
        while let Some((index, status)) = changes.pop() {
            let Some(state) = self.steps.get_mut(index) else {
                continue;
            };
            let before = state.view;
            if let Some(status) = status {
                if status.is_over() {
                    state.ended_at = Some(at);
                }
                state.status = status;
            }
            let after = state.look();
            state.view = after;
            self.file(index);
            if before == after {
                continue;
            }
            for (dependent, wait) in dependents.get(index).into_iter().flatten() {
                self.tell(*dependent, *wait, (before, after), &mut changes);
            }
        }
    }

    /// Tells one step what became of one that it waits for.
    fn tell(
        &mut self,
        index: StepIndex,
        wait: Wait,
        (before, after): (View, View),
        changes: &mut Vec<(StepIndex, Option<Status>)>,
    ) {
        let milestone = self
            .frozen
            .graph
            .steps
            .get(index)
            .is_some_and(|step| step.kind.is_milestone());
        let Some(state) = self.steps.get_mut(index) else { return };
        let moved = |count: &mut u32, was: bool, is: bool| match (was, is) {
            (false, true) => *count += 1,
            (true, false) => *count = count.saturating_sub(1),
            _ => {}
        };
        let waits = |view: View| !view.satisfies(wait, self.hurried_at.is_some());
        moved(&mut state.waiting, waits(before), waits(after));
        // A barrier waits for what is stuck behind it to be settled; only a machine's own chain is held by trouble.
        if !wait.goes_past_trouble() && !milestone {
            moved(&mut state.held, before.holds(), after.holds());
        }
        let lost = wait == Wait::Success && after.is_lost();
        let next = match state.status {
            Status::Pending | Status::Backoff { .. } if lost => Some(Status::NotRun),
            Status::Pending if milestone && state.waiting == 0 => Some(Status::Done),
            _ => None,
        };
        let view_changed = state.look() != state.view;
        self.file(index);
        if next.is_some() || view_changed {
            changes.push((index, next));
        }
    }

    /// Puts a step into the sets that its status belongs to.
    fn file(&mut self, index: StepIndex) {
        let (Some(step), Some(state)) = (self.frozen.graph.steps.get(index), self.steps.get_mut(index)) else {
            return;
        };
        let milestone = step.kind.is_milestone();
        let ready = state.status == Status::Pending && state.waiting == 0 && !milestone;
        let name = state.status.name();
        if !milestone && state.counted != name {
            if let Some(count) = self.counts.get_mut(state.counted) {
                *count -= 1;
            }
            self.counts.retain(|_, count| *count > 0);
            *self.counts.entry(name).or_default() += 1;
            state.counted = name;
        }
        let member = |set: &mut BTreeSet<StepIndex>, is: bool| {
            if is {
                set.insert(index)
            } else {
                set.remove(&index)
            };
        };
        if let Some(lane) = self.ready.get_mut(&step.calls) {
            member(lane, ready);
        }
        member(&mut self.running, matches!(state.status, Status::Running { .. }));
        member(&mut self.backoff, matches!(state.status, Status::Backoff { .. }));
        member(&mut self.stuck, matches!(state.status, Status::Stuck { .. }));
    }

    /// Everything that is derived, from the statuses alone. Edges point backwards, so one pass in order settles which
    /// steps were lost and which milestones are passed.
    fn recount(&mut self, at: Millis) {
        for index in 0..self.steps.len() {
            let Some(step) = self.frozen.graph.steps.get(index) else {
                continue;
            };
            let views = || {
                step.after
                    .iter()
                    .filter_map(|edge| Some((edge.wait, &self.steps.get(edge.step)?.view)))
            };
            let hurried = self.hurried_at.is_some();
            let waiting = views().filter(|(wait, view)| !view.satisfies(*wait, hurried)).count();
            let lost = views().any(|(wait, view)| wait == Wait::Success && view.is_lost());
            let milestone = step.kind.is_milestone();
            let held = if milestone {
                0
            } else {
                views()
                    .filter(|(wait, view)| !wait.goes_past_trouble() && view.holds())
                    .count()
            };
            let Some(state) = self.steps.get_mut(index) else {
                continue;
            };
            state.waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
            state.held = u32::try_from(held).unwrap_or(u32::MAX);
            if matches!(state.status, Status::Pending | Status::NotRun) || milestone {
                state.status = match (lost, milestone && waiting == 0) {
                    (true, _) => Status::NotRun,
                    (false, true) => Status::Done,
                    (false, false) => Status::Pending,
                };
                state.ended_at = (state.status != Status::Pending).then_some(at);
            }
            state.view = state.look();
            self.file(index);
        }
    }
}

/// What a step's status means for those that wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Nothing yet.
    Open,
    /// A person is needed, here or further up its chain.
    Held,
    /// It succeeded, or counts as if it had.
    Success,
    /// It can no longer succeed unless a person reopens it.
    Lost,
}

impl View {
    fn satisfies(self, wait: Wait, hurried: bool) -> bool {
        match wait {
            Wait::Order if hurried => true,
            Wait::Success => self == Self::Success,
            Wait::End => matches!(self, Self::Success | Self::Lost),
            Wait::Pass | Wait::Order => self != Self::Open,
        }
    }

    fn holds(self) -> bool {
        self == Self::Held
    }

    fn is_lost(self) -> bool {
        self == Self::Lost
    }
}

impl StepState {
    fn new() -> Self {
        Self {
            status: Status::Pending,
            attempt: 0,
            attempts_before: 0,
            generation: 0,
            begun_at: None,
            ended_at: None,
            outputs: Arc::default(),
            failure: None,
            doubted: false,
            distrusted: false,
            waiting: 0,
            held: 0,
            view: View::Open,
            counted: "",
        }
    }

    fn renew(&mut self) {
        self.attempts_before = self.attempt;
        self.begun_at = None;
        self.ended_at = None;
        self.status = Status::Pending;
    }

    fn look(&self) -> View {
        match &self.status {
            Status::Done | Status::Skipped { goes_on: true } => View::Success,
            Status::Failed | Status::NotRun | Status::Skipped { goes_on: false } => View::Lost,
            Status::Stuck { .. } => View::Held,
            Status::Pending | Status::Backoff { .. } if self.held > 0 => View::Held,
            Status::Pending | Status::Running { .. } | Status::Backoff { .. } => View::Open,
        }
    }

    /// What follows from a failed try; a new key only after a definite failure.
    fn after_failure(&mut self, frozen: &Frozen, step: &Step, failure: &Failure, at: Millis) -> Status {
        if failure.code == crate::codes::PROOF_OLD {
            // No try: the source is looked at again first, as often as the host dies in between.
            self.attempts_before += 1;
            return Status::Backoff { until: at };
        }
        let doubt = !failure.definite && !step.effect.class.may_repeat();
        let tried = self.attempt.saturating_sub(self.attempts_before);
        let over = tried > step.retries
            || self
                .begun_at
                .is_some_and(|begun| at.saturating_sub(begun) >= step.timeout_ms);
        // What can be probed is probed, as often as a retry would be allowed; then, and for the rest, a person decides.
        let over = over && !crate::codes::parks(&failure.code);
        // Whether the source of a disaster went down is what its fence finds out, and nobody has time for the question.
        let fenced_anyway = frozen.operation == Operation::UnplannedFailover && step.kind.switches_source_off();
        if doubt && fenced_anyway && (over || step.effect.class == EffectClass::OneShot) {
            return Status::Failed;
        }
        if doubt && (over || step.effect.class == EffectClass::OneShot) {
            let what = format!("it cannot be told whether `{}` happened: {}", step.id, failure.message);
            return Status::Stuck {
                code: crate::codes::IN_DOUBT.to_owned(),
                reason: format!("{what}; {}", step.ways_out(&frozen.job)),
            };
        }
        // Whether it happened stays as open as it is: a try with another version begins where this one would have.
        if crate::codes::parks(&failure.code) {
            return Status::Stuck {
                code: failure.code.clone(),
                reason: failure.message.clone(),
            };
        }
        if over || !(failure.retryable || doubt) {
            return Status::Failed;
        }
        if failure.frees_key() {
            self.generation += 1;
        }
        let exponent = tried.saturating_sub(1).min(5);
        Status::Backoff {
            until: at + (BACKOFF_FIRST_MS << exponent).min(BACKOFF_MAX_MS),
        }
    }
}

/// A proof that is a person's word.
fn is_a_word(outputs: &Pairs) -> bool {
    FenceProof::of_step(outputs).is_some_and(|proof| proof.kind == ProofKind::HumanAttested)
}
