//! A model of the fencing protocol, explored state by state: one machine that is failed over, its source, whoever can
//! cut the source's power, the target, and hosts that crash, are restored from a backup, and wake again.
//!
//! The hosts are the real ones: the real graph, the real `decide`, `resume`, `stale_proof`, `FenceProof::of` and
//! `consequences`, over a journal. Invented is only the world around them, and everything that can happen in it is
//! tried in every order, within budgets that keep the number of states finite. The properties are looked at whenever
//! an order to start the machine leaves a host, and whenever the machine begins to run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers are tests too, which the lint cannot see in an integration test"
)]

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::sync::Arc;

use landfall_recovery::consequence::consequences;
use landfall_recovery::document::{Known, Side, read_inventory, read_plan};
use landfall_recovery::event::{Decision, Event, Record, StepResult};
use landfall_recovery::executor::{Limits, Next, OBSERVED_AT, PROOF, Resumption, decide, resume, stale_proof};
use landfall_recovery::freeze::{Frozen, FrozenItem, Risk};
use landfall_recovery::graph::{Graph, StepIndex, StepKind};
use landfall_recovery::item::{ItemState, Phase};
use landfall_recovery::job::{Job, Status};
use landfall_recovery::operations::Operation;
use landfall_recovery::proof::{FenceProof, ProofKind, Reading};
use landfall_recovery::words::{Direction, EffectClass, EffectFacts, Failure, Pairs};

/// Time passes in steps of this: a proof that was read in this or the last one is fresh, an older one is not.
const TICK: u64 = 40_000;
const FRESH: u64 = 60_000;
/// Clocks are set back by this.
const BACK: u64 = 3 * TICK;
const BEGINNING: u64 = 1_000_000;

/// What may happen how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    ticks: u8,
    clock_back: u8,
    crashes: u8,
    /// A backup is restored elsewhere, and the old host may wake.
    restores: u8,
    /// Sites stop answering, or answer again.
    net: u8,
    /// The source's site loses its power, or has it again.
    power: u8,
    /// Orders and answers are lost, come late, or are refused.
    faults: u8,
    /// A person vouches, or has things tried again.
    people: u8,
}

/// What is left out, to see that the model would see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Proofs never grow old.
    OldProofs,
    /// Whoever sends the order to start does not look at the proof again.
    NoLookBeforeSending,
    /// A machine that was read as on counts as off.
    OnIsOff,
    /// That an order to cut the power was accepted counts as a reading.
    OrderIsProof,
    /// A restored job goes on by itself.
    RestoredGoesOn,
}

#[derive(Clone)]
struct Setting {
    frozen: Arc<Frozen>,
    mutant: Mutant,
    name: &'static str,
}

fn setting(name: &'static str, fencing: bool, risk: bool, class: EffectClass, mutant: Mutant) -> Setting {
    let fencing = if fencing {
        ", fencing: { site: controllers }"
    } else {
        ""
    };
    let inventory = format!(
        "items:\n  - {{ name: db, source: {{ site: north, machine: vm }}, target: {{ site: south }}{fencing} }}\n"
    );
    let inventory = read_inventory(&inventory).unwrap();
    let known = Known {
        inventory: &inventory,
        runbooks: [].into(),
        policies: BTreeMap::new(),
        networks: BTreeMap::new(),
    };
    let plan = read_plan("plan: one\ngroups:\n  - { name: only, machines: [db] }\n", &known).unwrap();
    let item = FrozenItem {
        item: inventory.items["db"].clone(),
        state: ItemState {
            phase: Phase::Protected,
            replica: Some("r".into()),
            ..ItemState::default()
        },
        machine: None,
        listed_at: None,
        extra_steps: Vec::new(),
        replication_group: None,
        origin: String::new(),
        turn: None,
        syncs_on_shutdown: false,
    };
    let mut frozen = Frozen {
        installation: "i".into(),
        epoch: 1,
        job: "j".into(),
        operation: Operation::UnplannedFailover,
        direction: Direction::Forward,
        fence_max_age_ms: if mutant == Mutant::OldProofs { u64::MAX } else { FRESH },
        point: Some(plan.point.clone()),
        plan,
        items: [("db".to_owned(), Box::new(item))].into(),
        processes_first: false,
        risk: risk.then(|| Risk {
            who: "me".into(),
            why: "it burns".into(),
            fence_on_return: false,
        }),
        shutdown: None,
        keep: None,
        test_ttl_ms: None,
        options: Pairs::new(),
        injections: BTreeMap::new(),
        plugins: BTreeMap::new(),
        findings: Vec::new(),
        requested_at: BEGINNING,
        requested_by: "me".into(),
        graph: Graph::default(),
    };
    frozen.build_graph();
    frozen.set_effects(|_| Some(EffectFacts::new(class)));
    Setting {
        frozen: Arc::new(frozen),
        mutant,
        name,
    }
}

/// The world as it is.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a small model")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    source_on: bool,
    autostart: bool,
    source_has_power: bool,
    source_answers: bool,
    controllers_answer: bool,
    /// Since when, counted in reads, the source has been off by an order of somebody's to cut its power.
    cut: bool,
    target_on: bool,
    excused: bool,
    /// The highest epoch that the target was spoken to under.
    target_epoch: u64,
    /// Orders on their way, under an epoch.
    late: Vec<(u64, Order)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Order {
    Shutdown,
    Hold,
    Cut,
    /// On a person's word, or on a proof that says that the source may start by itself: then both may come to run.
    Start {
        excused: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Begin {
    Send,
    Probe,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Task {
    step: StepIndex,
    begin: Begin,
}

/// A host: what is on its disk, what it folded, and what it was about to do.
#[derive(Clone)]
struct Host {
    epoch: u64,
    runs: bool,
    job: Job,
    journal: Vec<Record>,
    tasks: Vec<Task>,
    item: ItemState,
}

#[derive(Clone)]
struct State {
    world: World,
    hosts: Vec<Host>,
    backup: Option<Vec<Record>>,
    now: u64,
    left: Budget,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// A host's task speaks to the far side, and this becomes of it.
    Send(usize, usize, Way),
    Deliver(usize),
    Tick,
    ClockBack,
    SourceNet,
    ControllersNet,
    Power,
    Crash(usize),
    Start(usize),
    Backup,
    Restore,
    Attest(usize),
    Retry(usize),
    Cancel(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Works,
    Refused,
    AnswerLost,
    Late,
}

impl Host {
    fn new(frozen: &Arc<Frozen>, epoch: u64, journal: Vec<Record>) -> Self {
        let mut host = Self {
            epoch,
            runs: true,
            job: Job::new(Arc::clone(frozen), BEGINNING),
            journal: Vec::new(),
            tasks: Vec::new(),
            item: frozen.items["db"].state.clone(),
        };
        for record in journal {
            host.record(record.at, record.event);
        }
        host
    }

    fn record(&mut self, at: u64, event: Event) {
        self.job.apply(at, &event);
        for (_, change) in consequences(&self.job, at, &event) {
            self.item.apply(&change);
        }
        self.journal.push(Record { at, event });
    }

    fn kind(&self, step: StepIndex) -> &StepKind {
        &self.job.graph().steps[step].kind
    }

    fn intend(&mut self, step: StepIndex, begin: Begin, now: u64) {
        let (class, state) = (self.job.graph().steps[step].effect.class, &self.job.steps[step]);
        let event = Event::Intent {
            step,
            attempt: state.attempt + 1,
            generation: state.generation,
            key: self.job.key(step, state.generation),
            class,
            arguments: String::new(),
        };
        self.record(now, event);
        self.tasks.push(Task { step, begin });
    }

    /// What the job's task does between two reports, and what cannot matter here is over at once.
    fn settle(&mut self, now: u64) {
        if !self.runs {
            return;
        }
        loop {
            let plan = decide(
                &self.job,
                now,
                &Limits {
                    default: 8,
                    ..Limits::default()
                },
            );
            if plan.next.is_empty() {
                return;
            }
            for next in plan.next {
                match next {
                    Next::Begin { step, .. } => {
                        let doubt = {
                            let (step, state) = self.job.step(step).unwrap();
                            let open = state.failure.as_ref().is_some_and(|failure| !failure.definite);
                            step.effect.class == EffectClass::Probeable && (state.doubted || open)
                        };
                        self.intend(step, if doubt { Begin::Probe } else { Begin::Send }, now);
                        if order(self.kind(step)).is_none() && *self.kind(step) != StepKind::Fence {
                            self.tasks.retain(|task| task.step != step);
                            self.done(step, chosen(self.kind(step)), now);
                        }
                    }
                    Next::Ask { event } => self.record(now, event),
                    Next::Expire { .. } => unreachable!("no gate"),
                    Next::End { outcome, reason } => {
                        self.record(now, Event::Ended { outcome, reason });
                        return;
                    }
                }
            }
        }
    }

    fn done(&mut self, step: StepIndex, outputs: Pairs, now: u64) {
        let result = StepResult::Done {
            outputs: Arc::new(outputs),
        };
        self.record(now, Event::Outcome { step, result });
    }

    fn failed(&mut self, step: StepIndex, definite: bool, retryable: bool, now: u64) {
        let failure = Failure {
            code: "x".into(),
            message: "x".into(),
            retryable,
            definite,
            unsent: false,
        };
        let result = StepResult::Failed { failure };
        self.record(now, Event::Outcome { step, result });
    }

    /// As the daemon takes up its jobs.
    fn take_up(&mut self, now: u64) {
        for resumption in resume(&self.job) {
            match resumption {
                Resumption::Attach { .. } => unreachable!("the model's far side gives no handles"),
                Resumption::Probe { step } => self.tasks.push(Task {
                    step,
                    begin: Begin::Probe,
                }),
                Resumption::Resend { step } => self.intend(step, Begin::Send, now),
                Resumption::Ask { event, .. } => self.record(now, event),
            }
        }
        self.settle(now);
    }

    /// The proof that the journal has for the machine.
    fn proof(&self) -> Option<FenceProof> {
        landfall_recovery::consequence::proof(&self.job, "db")
    }

    fn stuck(&self, kind: &StepKind) -> Option<StepIndex> {
        self.job.stuck().find(|step| self.kind(*step) == kind)
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        (
            self.epoch,
            self.runs,
            &self.tasks,
            self.item.risk_accepted,
            self.item.restored,
        )
            .hash(hasher);
        (self.job.held, self.job.outcome.is_some(), self.job.stopping.is_some()).hash(hasher);
        for state in &self.job.steps {
            format!("{:?}", state.status).hash(hasher);
            (state.attempt, state.generation, state.doubted, &state.outputs).hash(hasher);
            state.failure.as_ref().map(|failure| failure.definite).hash(hasher);
        }
    }
}

fn order(kind: &StepKind) -> Option<Order> {
    match kind {
        StepKind::Shutdown => Some(Order::Shutdown),
        StepKind::Hold => Some(Order::Hold),
        StepKind::Stonith => Some(Order::Cut),
        StepKind::Start => Some(Order::Start { excused: false }),
        _ => None,
    }
}

fn chosen(kind: &StepKind) -> Pairs {
    let pairs: &[(&str, &str)] = match kind {
        StepKind::Choose => &[
            ("point/db", "p"),
            ("source-time-ms/db", "1"),
            ("consistency/db", "crash"),
        ],
        StepKind::Create => &[("machine", "new")],
        _ => &[],
    };
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

impl State {
    fn new(setting: &Setting, left: Budget) -> Self {
        let mut host = Host::new(&setting.frozen, 1, Vec::new());
        host.record(BEGINNING, Event::Started { hash: String::new() });
        host.settle(BEGINNING);
        Self {
            world: World {
                source_on: true,
                autostart: true,
                source_has_power: true,
                source_answers: true,
                controllers_answer: true,
                cut: false,
                target_on: false,
                excused: false,
                target_epoch: 0,
                late: Vec::new(),
            },
            hosts: vec![host],
            backup: None,
            now: BEGINNING,
            left,
        }
    }

    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.world, self.now, self.left).hash(&mut hasher);
        self.backup.as_ref().map(Vec::len).hash(&mut hasher);
        for host in &self.hosts {
            host.hash(&mut hasher);
        }
        hasher.finish()
    }

    fn acts(&self) -> Vec<Act> {
        let (left, mut acts) = (self.left, Vec::new());
        for (h, host) in self.hosts.iter().enumerate() {
            if !host.runs {
                acts.push(Act::Start(h));
                continue;
            }
            for t in 0..host.tasks.len() {
                acts.push(Act::Send(h, t, Way::Works));
                if left.faults > 0 {
                    acts.extend([Way::Refused, Way::AnswerLost, Way::Late].map(|way| Act::Send(h, t, way)));
                }
            }
            if left.crashes > 0 {
                acts.push(Act::Crash(h));
            }
            if left.people > 0 && host.stuck(&StepKind::Fence).is_some() {
                acts.push(Act::Attest(h));
            }
            let troubled = host.job.counts().keys().any(|name| matches!(*name, "stuck" | "failed"));
            if left.people > 0 && (troubled || host.job.held.is_some()) {
                acts.push(Act::Retry(h));
            }
            if left.people > 0 && host.job.held.is_some() {
                acts.push(Act::Cancel(h));
            }
        }
        acts.extend((0..self.world.late.len()).map(Act::Deliver));
        let if_left = |count: u8, act| (count > 0).then_some(act);
        acts.extend(if_left(left.ticks, Act::Tick));
        acts.extend(if_left(left.clock_back, Act::ClockBack));
        acts.extend(if_left(left.net, Act::SourceNet));
        acts.extend(if_left(left.net, Act::ControllersNet));
        acts.extend(if_left(left.power, Act::Power));
        if left.restores > 0 {
            acts.push(if self.backup.is_none() {
                Act::Backup
            } else {
                Act::Restore
            });
        }
        acts
    }

    fn act(&mut self, setting: &Setting, act: Act) -> Result<(), String> {
        let (left, now) = (&mut self.left, self.now);
        match act {
            Act::Send(h, t, way) => {
                if way != Way::Works {
                    left.faults -= 1;
                }
                self.send(setting, h, t, way)?;
            }
            Act::Deliver(n) => {
                let (epoch, order) = self.world.late.remove(n);
                self.world.effect(epoch, order);
            }
            Act::Tick => {
                left.ticks -= 1;
                self.now += TICK;
            }
            Act::ClockBack => {
                left.clock_back -= 1;
                self.now -= BACK;
            }
            Act::SourceNet => {
                left.net -= 1;
                self.world.source_answers ^= true;
            }
            Act::ControllersNet => {
                left.net -= 1;
                self.world.controllers_answer ^= true;
            }
            Act::Power => {
                left.power -= 1;
                self.world.power();
            }
            Act::Crash(h) => {
                left.crashes -= 1;
                let host = &mut self.hosts[h];
                (host.runs, host.tasks) = (false, Vec::new());
            }
            Act::Start(h) => {
                let host = &mut self.hosts[h];
                let mut again = Host::new(&setting.frozen, host.epoch, std::mem::take(&mut host.journal));
                again.item.restored = host.item.restored;
                again.take_up(now);
                *host = again;
            }
            Act::Backup => self.backup = Some(self.hosts[0].journal.clone()),
            // The old host is stopped, or so they think: it may be started again at any time.
            Act::Restore => {
                left.restores -= 1;
                self.hosts[0].runs = false;
                self.hosts[0].tasks.clear();
                let mut host = Host::new(&setting.frozen, 2, self.backup.take().unwrap_or_default());
                host.record(now, Event::Restored { epoch: 2 });
                host.item.restored = true;
                if setting.mutant == Mutant::RestoredGoesOn {
                    host.job.held = None;
                    host.take_up(now);
                }
                self.hosts.push(host);
            }
            Act::Attest(h) => {
                left.people -= 1;
                let host = &mut self.hosts[h];
                let step = host.stuck(&StepKind::Fence).unwrap();
                let reason = "I pulled its plug".to_owned();
                let decision = Decision::Attest { step, reason };
                host.record(
                    now,
                    Event::Operator {
                        who: "me".into(),
                        decision,
                    },
                );
                let proof = FenceProof {
                    site: "north".into(),
                    machine: "vm".into(),
                    kind: ProofKind::HumanAttested,
                    evidence: Pairs::new(),
                    observed_at: now,
                    held: None,
                };
                host.done(step, outputs(&proof), now);
            }
            Act::Retry(h) => {
                left.people -= 1;
                let host = &mut self.hosts[h];
                let held = host.job.held.is_some();
                // After a restore the machines were compared with the sites first.
                host.item.restored = false;
                let bad = |status: &Status| matches!(status, Status::Stuck { .. } | Status::Failed);
                let steps = (0..host.job.steps.len())
                    .filter(|step| bad(&host.job.steps[*step].status))
                    .collect();
                let decision = Decision::Retry { steps };
                host.record(
                    now,
                    Event::Operator {
                        who: "me".into(),
                        decision,
                    },
                );
                if held {
                    host.take_up(now);
                }
            }
            Act::Cancel(h) => {
                left.people -= 1;
                let host = &mut self.hosts[h];
                let decision = Decision::Cancel {
                    reason: "it is old".to_owned(),
                };
                host.record(
                    now,
                    Event::Operator {
                        who: "me".into(),
                        decision,
                    },
                );
                host.take_up(now);
            }
        }
        let now = self.now;
        for host in &mut self.hosts {
            host.settle(now);
        }
        self.safe()
    }

    /// A task of a host speaks to the far side.
    fn send(&mut self, setting: &Setting, h: usize, t: usize, way: Way) -> Result<(), String> {
        let now = self.now;
        let task = self.hosts[h].tasks.remove(t);
        let Some(mut order) = order(self.hosts[h].kind(task.step)) else {
            self.fence(setting, h, task.step, way);
            return Ok(());
        };
        let host = &mut self.hosts[h];
        let starts = matches!(order, Order::Start { .. });
        if starts && task.begin == Begin::Send {
            let look = setting.mutant != Mutant::NoLookBeforeSending;
            if look && stale_proof(&host.job, task.step, now).is_some() {
                host.failed(task.step, true, true, now);
                return Ok(());
            }
            let proof = may_start(host, now)?;
            let excused = proof.kind == ProofKind::HumanAttested || proof.held != Some(true);
            order = Order::Start { excused };
        }
        if order == Order::Cut && task.begin == Begin::Send && self.world.source_answers && !self.world.source_on {
            let reason = "it is off already".to_owned();
            let result = StepResult::Skipped { reason };
            host.record(
                now,
                Event::Outcome {
                    step: task.step,
                    result,
                },
            );
            return Ok(());
        }
        if !self.world.answers(order) {
            host.failed(task.step, task.begin == Begin::Send, true, now);
            return Ok(());
        }
        let happened = self.world.happened(order);
        if task.begin == Begin::Probe && !happened {
            host.intend(task.step, Begin::Send, now);
            return Ok(());
        }
        let stale = starts && host.epoch < self.world.target_epoch;
        match way {
            _ if task.begin == Begin::Probe => host.done(task.step, Pairs::new(), now),
            _ if stale => host.failed(task.step, true, false, now),
            Way::Refused => host.failed(task.step, true, false, now),
            Way::Works => {
                self.world.effect(host.epoch, order);
                host.done(task.step, Pairs::new(), now);
            }
            Way::AnswerLost => {
                self.world.effect(host.epoch, order);
                host.failed(task.step, false, true, now);
            }
            Way::Late => {
                self.world.late.push((host.epoch, order));
                self.world.late.sort_unstable();
                host.failed(task.step, false, true, now);
            }
        }
        Ok(())
    }

    /// The fence step, as the daemon does it: who cut the power is asked first.
    fn fence(&mut self, setting: &Setting, h: usize, step: StepIndex, way: Way) {
        let (now, world, host) = (self.now, &self.world, &mut self.hosts[h]);
        if way != Way::Works {
            // The answer does not come, and nobody knows why.
            host.failed(step, true, true, now);
            return;
        }
        let cut = landfall_recovery::consequence::outputs_of(&host.job, "db", |kind| *kind == StepKind::Stonith);
        let read = |kind, answers: bool| Reading {
            kind,
            off: answers && (!world.source_on || setting.mutant == Mutant::OnIsOff)
                || kind == ProofKind::Stonith && setting.mutant == Mutant::OrderIsProof,
            held: answers.then_some(!world.autostart),
            evidence: Pairs::from([
                ("truly-off".to_owned(), (answers && !world.source_on).to_string()),
                ("was-cut".to_owned(), world.cut.to_string()),
            ]),
            observed_at: now,
            words: "seen".into(),
        };
        let mut readings = Vec::new();
        if cut.is_some() {
            readings.push(read(ProofKind::Stonith, world.controllers_answer));
        }
        readings.push(read(ProofKind::VerifiedOff, world.source_answers));
        let source = Side {
            site: "north".into(),
            machine: "vm".into(),
        };
        match FenceProof::of(&source, &readings, setting.frozen.risk.as_ref()) {
            Some(proof) => host.done(step, outputs(&proof), now),
            None => host.record(
                now,
                Event::Stuck {
                    step,
                    code: landfall_recovery::codes::NOT_FENCED.into(),
                    reason: "it is not proved off".into(),
                },
            ),
        }
    }

    /// Both run only where a person said that the source is off, or where the proof itself says that the source may
    /// start by itself, and it did, afterwards.
    fn safe(&self) -> Result<(), String> {
        if !(self.world.source_on && self.world.target_on) {
            return Ok(());
        }
        if self.world.excused {
            return Ok(());
        }
        Err("both run, and no person's word stands for it".to_owned())
    }
}

/// An order to start leaves a host: what must be in its journal.
fn may_start(host: &Host, now: u64) -> Result<FenceProof, String> {
    let proof = host.proof().ok_or("a start without a recorded proof")?;
    if (proof.site.as_str(), proof.machine.as_str()) != ("north", "vm") {
        return Err("a start on another machine's proof".into());
    }
    if proof.kind == ProofKind::HumanAttested {
        let said = |record: &Record| {
            let Event::Operator { decision, .. } = &record.event else {
                return false;
            };
            matches!(decision, Decision::Attest { .. })
        };
        let word = host.job.frozen.risk.is_some() || host.journal.iter().any(said);
        return if word {
            Ok(proof)
        } else {
            Err("a start on the word of nobody".into())
        };
    }
    if now < proof.observed_at || now - proof.observed_at > FRESH {
        return Err(format!("a start on a proof of {}, at {now}", proof.observed_at));
    }
    if proof.evidence["truly-off"] != "true" {
        return Err(format!("a start on a read that did not say off: {proof:?}"));
    }
    if proof.kind == ProofKind::Stonith && proof.evidence["was-cut"] != "true" {
        return Err("a start on a read from before the power was cut".into());
    }
    if host.job.held.is_some() || host.item.restored {
        return Err("a start by a restored host that nobody let go on".into());
    }
    Ok(proof)
}

fn outputs(proof: &FenceProof) -> Pairs {
    Pairs::from([
        (PROOF.to_owned(), serde_json::to_string(proof).unwrap()),
        (OBSERVED_AT.to_owned(), proof.observed_at.to_string()),
    ])
}

impl World {
    fn answers(&self, order: Order) -> bool {
        match order {
            Order::Shutdown | Order::Hold => self.source_answers,
            Order::Cut => self.controllers_answer,
            Order::Start { .. } => true,
        }
    }

    fn happened(&self, order: Order) -> bool {
        match order {
            Order::Shutdown => !self.source_on,
            Order::Hold => !self.autostart,
            Order::Cut => self.cut && !self.source_on,
            Order::Start { .. } => self.target_on,
        }
    }

    fn effect(&mut self, epoch: u64, order: Order) {
        match order {
            Order::Shutdown => self.source_on = false,
            Order::Hold => self.autostart = false,
            Order::Cut => (self.source_on, self.autostart, self.cut) = (false, false, true),
            Order::Start { .. } if epoch < self.target_epoch => {}
            Order::Start { excused } => {
                self.excused |= excused;
                (self.target_on, self.target_epoch) = (true, epoch);
            }
        }
    }

    fn power(&mut self) {
        self.source_has_power ^= true;
        self.source_on = self.source_has_power && (self.source_on || self.autostart);
    }
}

struct Explored {
    states: usize,
    starts: usize,
    /// What led to the first state that is not as it must be, and how it is not.
    wrong: Option<(Vec<Act>, String)>,
}

/// Every state that can be reached, each once.
fn explore(setting: &Setting, budget: Budget) -> Explored {
    let mut known = HashSet::new();
    let mut ways: Vec<(usize, Act)> = Vec::new();
    let mut next = VecDeque::from([(State::new(setting, budget), usize::MAX)]);
    let mut starts = 0;
    while let Some((state, came)) = next.pop_front() {
        for act in state.acts() {
            let mut then = state.clone();
            let result = then.act(setting, act);
            let ended = |wrong| Explored {
                states: known.len(),
                starts,
                wrong,
            };
            if let Err(what) = result {
                let mut path = vec![act];
                let mut at = came;
                while let Some((before, act)) = ways.get(at) {
                    path.push(*act);
                    at = *before;
                }
                path.reverse();
                return ended(Some((path, what)));
            }
            if known.insert(then.key()) {
                starts += usize::from(then.world.target_on && !state.world.target_on);
                ways.push((came, act));
                next.push_back((then, ways.len() - 1));
            }
        }
    }
    Explored {
        states: known.len(),
        starts,
        wrong: None,
    }
}

/// Everything that is tried: who is there, and what may happen how often.
fn scopes(budgets: &[Budget]) -> Vec<(Setting, Budget)> {
    use EffectClass::{Keyed, OneShot, Probeable};
    let settings = [
        ("nobody can cut the power", false, false, Keyed),
        ("controllers, keyed", true, false, Keyed),
        ("controllers, probeable", true, false, Probeable),
        ("controllers, one-shot", true, false, OneShot),
        ("the risk is accepted", true, true, Keyed),
    ];
    let with = |(name, fencing, risk, class)| {
        budgets
            .iter()
            .map(move |budget| (setting(name, fencing, risk, class, Mutant::None), *budget))
    };
    settings.into_iter().flat_map(with).collect()
}

const NOTHING: Budget = Budget {
    ticks: 0,
    clock_back: 0,
    crashes: 0,
    restores: 0,
    net: 0,
    power: 0,
    faults: 0,
    people: 0,
};

/// Some tens of thousands of states: seconds.
const SHORT: [Budget; 5] = [
    Budget {
        ticks: 1,
        net: 1,
        power: 2,
        people: 1,
        ..NOTHING
    },
    Budget {
        ticks: 2,
        crashes: 1,
        faults: 1,
        ..NOTHING
    },
    Budget {
        ticks: 3,
        clock_back: 1,
        crashes: 1,
        ..NOTHING
    },
    Budget {
        ticks: 2,
        restores: 1,
        people: 1,
        ..NOTHING
    },
    Budget {
        ticks: 2,
        power: 1,
        faults: 1,
        people: 1,
        ..NOTHING
    },
];

/// More than a million: minutes.
const FULL: [Budget; 5] = [
    Budget {
        ticks: 2,
        net: 2,
        power: 2,
        faults: 1,
        people: 1,
        ..NOTHING
    },
    Budget {
        ticks: 3,
        crashes: 1,
        net: 1,
        faults: 1,
        people: 1,
        ..NOTHING
    },
    Budget {
        ticks: 4,
        clock_back: 1,
        crashes: 1,
        net: 1,
        people: 1,
        ..NOTHING
    },
    Budget {
        ticks: 2,
        restores: 1,
        crashes: 1,
        people: 2,
        ..NOTHING
    },
    Budget {
        ticks: 2,
        crashes: 1,
        power: 1,
        faults: 2,
        people: 1,
        ..NOTHING
    },
];

fn all_is_safe(budgets: &[Budget]) {
    let (mut states, mut starts) = (0, 0);
    for (setting, budget) in scopes(budgets) {
        let found = explore(&setting, budget);
        if let Some((path, what)) = found.wrong {
            panic!("{}: {what} after {path:#?}", setting.name);
        }
        assert!(found.starts > 0, "{}: nothing was ever started", setting.name);
        states += found.states;
        starts += found.starts;
    }
    report(
        "T13",
        &format!("model of the fencing protocol: every order of events, {starts} activations"),
        states,
    );
}

/// A line of the battery's table, for `cargo xtask battery` to collect.
fn report(test: &str, what: &str, cases: usize) {
    let line = format!(
        r#"{{"test":"{test}","what":"{what}","cases":{cases},"lost":0,"doubled":0,"both-active":0,"other":[]}}"#
    );
    println!("{line}");
    let Some(path) = std::env::var_os("LANDFALL_BATTERY_RESULTS") else {
        return;
    };
    let file = std::fs::File::options().create(true).append(true).open(path);
    writeln!(file.unwrap(), "{line}").unwrap();
}

#[test]
fn x03_no_machine_is_started_without_a_proof_whatever_happens_in_whatever_order() {
    all_is_safe(&SHORT);
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x03_no_machine_is_started_without_a_proof_in_more_than_a_million_states() {
    all_is_safe(&FULL);
}

#[test]
fn x03_the_model_is_not_blind() {
    let cases = [
        (Mutant::OldProofs, Budget { ticks: 2, ..NOTHING }),
        (Mutant::NoLookBeforeSending, Budget { ticks: 2, ..NOTHING }),
        (Mutant::OnIsOff, Budget { faults: 2, ..NOTHING }),
        (Mutant::OrderIsProof, Budget { net: 2, ..NOTHING }),
        (Mutant::RestoredGoesOn, Budget { restores: 1, ..NOTHING }),
    ];
    for (mutant, budget) in cases {
        let found = explore(&setting("a mutant", true, false, EffectClass::Keyed, mutant), budget);
        let (path, what) = found.wrong.unwrap_or_else(|| panic!("{mutant:?} was not found"));
        println!("{mutant:?}: {what}, after {} acts, {} states", path.len(), found.states);
    }
    let names = "old proofs, no look before sending, on is off, an order is a proof, a restored job goes on";
    report("T14", &format!("killed: {names} (in the model)"), 5);
}
