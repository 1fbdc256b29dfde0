//! The executor and the fold, against a world that fails at random: whatever happens, a job ends or asks a person, no
//! step begins before what it needs, no machine starts without its proof, and keys change only after definite failures.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers are tests too, which the lint cannot see in an integration test"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::consequence::consequences;
use landfall_recovery::document::{Known, Side, read_inventory, read_plan};
use landfall_recovery::event::{Decision, Event, Outcome, Record, StepResult};
use landfall_recovery::executor::{Limits, Next, OBSERVED_AT, PROOF, Resumption, decide, resume, stale_proof};
use landfall_recovery::freeze::{Frozen, FrozenItem, Pinned};
use landfall_recovery::graph::{Graph, Stage, StepIndex, StepKind, Wait};
use landfall_recovery::item::{ItemEvent, ItemState, Location, Phase};
use landfall_recovery::job::{Job, Status, Stopping};
use landfall_recovery::operations::Operation;
use landfall_recovery::proof::{FenceProof, ProofKind};
use landfall_recovery::simulate::makespan_ms;
use landfall_recovery::words::{Direction, EffectClass, EffectFacts, Failure, Pairs};
use proptest::prelude::*;

const INVENTORY: &str = "
defaults: { source-site: north, target-site: south, networks: [{ nic: n, production: lan, test: bubble }] }
replication-groups: [{ name: g, multi-vm-consistency: true }]
items:
  - { name: db, source: { machine: 1 }, replication-group: g }
  - { name: app, source: { machine: 2 }, replication-group: g }
  - { name: web-1, source: { machine: 3 } }
  - { name: web-2, source: { machine: 4 } }
";

const PLAN: &str = "
plan: shop
groups:
  - { name: data, machines: [db] }
  - { name: logic, machines: [app] }
  - { name: front, machines: [web-1, web-2] }
actions:
  - { name: tell, runbook: hook, before: [all, data], after: [front] }
  - { name: look, runbook: hook, after: [logic], on-error: continue }
";

fn frozen(operation: Operation, class: EffectClass) -> Arc<Frozen> {
    let inventory = read_inventory(INVENTORY).unwrap();
    let known = Known {
        inventory: &inventory,
        runbooks: ["hook".to_owned()].into(),
        policies: BTreeMap::new(),
        networks: BTreeMap::new(),
    };
    let plan = read_plan(PLAN, &known).unwrap();
    let items = inventory.items.iter().map(|(name, item)| {
        let state = ItemState {
            phase: Phase::Protected,
            replica: Some(format!("r-{name}")),
            ..ItemState::default()
        };
        let frozen = FrozenItem {
            item: item.clone(),
            state,
            machine: None,
            listed_at: None,
            extra_steps: Vec::new(),
            replication_group: item.replication_group.clone(),
            origin: String::new(),
            turn: None,
            syncs_on_shutdown: false,
        };
        (name.clone(), Box::new(frozen))
    });
    let mut frozen = Frozen {
        installation: "i".into(),
        epoch: 1,
        job: "j".into(),
        operation,
        direction: Direction::Forward,
        fence_max_age_ms: plan.fence_max_age_ms,
        point: Some(plan.point.clone()),
        plan,
        items: items.collect(),
        processes_first: true,
        risk: None,
        shutdown: None,
        keep: None,
        test_ttl_ms: None,
        options: Pairs::new(),
        injections: BTreeMap::new(),
        plugins: BTreeMap::new(),
        findings: Vec::new(),
        requested_at: 0,
        requested_by: "me".into(),
        graph: Graph::default(),
    };
    frozen.build_graph();
    frozen.set_effects(|_| Some(EffectFacts::new(class)));
    Arc::new(frozen)
}

fn limits() -> Limits {
    Limits {
        default: 3,
        ..Limits::default()
    }
}

/// What the world does with the n-th try of anything.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Works,
    FailsForNow,
    FailsForGood,
    NobodyKnows,
    NeedsPerson,
    PluginGone,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Works),
        2 => Just(Fate::FailsForNow),
        1 => Just(Fate::FailsForGood),
        1 => Just(Fate::NobodyKnows),
        1 => Just(Fate::NeedsPerson),
        1 => Just(Fate::PluginGone),
    ]
}

struct World {
    job: Job,
    records: Vec<Record>,
    now: u64,
    under_way: Vec<StepIndex>,
    /// Key of each step's last try, and whether that try failed definitely.
    keys: HashMap<StepIndex, (u32, bool)>,
    begun: Vec<StepIndex>,
}

impl World {
    fn new(frozen: Arc<Frozen>) -> Self {
        let mut world = Self {
            job: Job::new(frozen, 0),
            records: Vec::new(),
            now: 0,
            under_way: Vec::new(),
            keys: HashMap::new(),
            begun: Vec::new(),
        };
        world.record(Event::Started { hash: "h".into() });
        world
    }

    fn record(&mut self, event: Event) {
        self.job.apply(self.now, &event);
        self.records.push(Record { at: self.now, event });
    }

    /// Carries out what the executor decides. True: the job ended.
    fn turn(&mut self) -> bool {
        let plan = decide(&self.job, self.now, &limits());
        for next in plan.next {
            match next {
                Next::Begin {
                    step,
                    attempt,
                    generation,
                } => self.begin(step, attempt, generation),
                Next::Expire { .. } => {}
                Next::Ask { event } => self.record(event),
                Next::End { outcome, reason } => {
                    self.record(Event::Ended { outcome, reason });
                    return true;
                }
            }
        }
        if self.under_way.is_empty()
            && let Some(at) = plan.wake_at
        {
            self.now = at;
        }
        false
    }

    fn begin(&mut self, step: StepIndex, attempt: u32, generation: u32) {
        let (frozen, _) = self.job.step(step).unwrap();
        for edge in &frozen.after {
            let before = &self.job.steps[edge.step].status;
            if edge.wait == Wait::Success {
                assert!(
                    matches!(before, Status::Done | Status::Skipped { goes_on: true }),
                    "{} before {before:?}",
                    frozen.id
                );
            }
        }
        if frozen.kind == StepKind::Start {
            let (_, proof) = self
                .job
                .steps_of(&frozen.items[0])
                .find(|(s, _)| s.kind == StepKind::Fence)
                .unwrap();
            let observed: u64 = proof.outputs[OBSERVED_AT].parse().unwrap();
            assert!(
                self.now - observed <= self.job.frozen.fence_max_age_ms,
                "a start on a stale proof"
            );
        }
        if let Some((last, definite)) = self.keys.get(&step) {
            assert!(
                generation == *last || *definite,
                "a new key for {} without a definite failure",
                frozen.id
            );
        }
        let key = self.job.key(step, generation);
        self.keys.insert(step, (generation, false));
        self.begun.push(step);
        self.under_way.push(step);
        self.record(Event::Intent {
            step,
            attempt,
            generation,
            key,
            class: EffectClass::Keyed,
            arguments: String::new(),
        });
    }

    /// One of the steps under way is over.
    fn end_one(&mut self, choice: usize, fate: Fate) {
        if self.under_way.is_empty() {
            return;
        }
        let step = self.under_way.swap_remove(choice % self.under_way.len());
        self.now += 700;
        let failed = |retryable, definite| StepResult::Failed {
            failure: Failure {
                code: "x".into(),
                message: "x".into(),
                retryable,
                definite,
                unsent: false,
            },
        };
        let result = match fate {
            Fate::Works => StepResult::Done {
                outputs: Arc::new(Pairs::from([(OBSERVED_AT.to_owned(), self.now.to_string())])),
            },
            Fate::FailsForNow => failed(true, true),
            Fate::FailsForGood => failed(false, true),
            Fate::NobodyKnows => failed(true, false),
            Fate::PluginGone => StepResult::Failed {
                failure: Failure::definite(codes::DIGEST_MISSING, "gone"),
            },
            Fate::NeedsPerson => {
                let event = Event::Stuck {
                    step,
                    code: codes::NOT_FENCED.into(),
                    reason: "look".into(),
                };
                return self.record(event);
            }
        };
        if let StepResult::Failed { failure } = &result {
            self.keys.get_mut(&step).unwrap().1 = failure.frees_key();
        }
        self.record(Event::Outcome { step, result });
    }
}

/// Runs a job until it ends or needs a person.
fn run(frozen: Arc<Frozen>, fates: &[Fate], choices: &[usize]) -> World {
    let mut world = World::new(frozen);
    for n in 0..20_000 {
        if world.turn() {
            return world;
        }
        let stopping = world.job.stopping.is_some();
        let later = world.job.backing_off().next().is_some() || world.job.ready().next().is_some();
        if world.under_way.is_empty() && (stopping || !later) {
            assert!(
                world.job.stuck().next().is_some(),
                "idle, not ended, and nobody is asked"
            );
            return world;
        }
        world.end_one(choices[n % choices.len()], fates[n % fates.len()]);
    }
    panic!("the job never ends");
}

fn same(left: &Job, right: &Job) {
    for (a, b) in left.steps.iter().zip(&right.steps) {
        assert_eq!(
            (&a.status, a.attempt, a.generation, &a.outputs),
            (&b.status, b.attempt, b.generation, &b.outputs)
        );
    }
    assert_eq!(left.outcome, right.outcome);
    assert!(left.ready().eq(right.ready()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn x02_a_job_ends_or_asks_and_its_fold_is_its_journal(
        operation in prop_oneof![Just(Operation::PlannedFailover), Just(Operation::UnplannedFailover)],
        class in prop_oneof![Just(EffectClass::Keyed), Just(EffectClass::Idempotent), Just(EffectClass::OneShot), Just(EffectClass::Probeable)],
        fates in prop::collection::vec(fate(), 1..200),
        choices in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let frozen = frozen(operation, class);
        let world = run(Arc::clone(&frozen), &fates, &choices);
        same(&world.job, &Job::fold(frozen, &world.records));
    }

    #[test]
    fn x09_a_restored_job_waits_for_a_person_and_takes_nothing_for_granted(
        cut in 1_usize..120,
        class in prop_oneof![Just(EffectClass::OneShot), Just(EffectClass::Probeable), Just(EffectClass::Keyed)],
        choices in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let frozen = frozen(Operation::PlannedFailover, class);
        let whole = run(Arc::clone(&frozen), &[Fate::Works], &choices);
        // The backup is older than what the job did.
        let cut = cut.min(whole.records.len() - 1);
        let mut world = World::new(Arc::clone(&frozen));
        for record in whole.records.get(1..cut).unwrap_or_default() {
            world.now = record.at;
            world.record(record.event.clone());
        }
        world.record(Event::Restored { epoch: 2 });
        prop_assert!(decide(&world.job, world.now, &limits()).next.is_empty());
        prop_assert!(resume(&world.job).is_empty());
        let mut cancelled = world.job.clone();
        let cancel = Decision::Cancel { reason: "it is old".into() };
        cancelled.apply(world.now, &Event::Operator { who: "admin".into(), decision: cancel });
        prop_assert!(resume(&cancelled).is_empty(), "what nobody compared is not taken up");
        let next = decide(&cancelled, world.now, &limits()).next;
        prop_assert!(next.iter().all(|next| matches!(next, Next::End { .. })), "{:?}", next);
        let over: Vec<bool> = world.job.steps.iter().map(|state| state.status == Status::Done).collect();
        world.record(Event::Operator {
            who: "admin".into(),
            decision: Decision::Retry { steps: Vec::new() },
        });
        let taken_up = resume(&world.job);
        let mut sent = Vec::new();
        for next in decide(&world.job, world.now, &limits()).next {
            match next {
                Next::Begin { step, generation, .. } => {
                    prop_assert!(world.job.steps[step].doubted && !over[step]);
                    prop_assert_eq!(generation, world.job.steps[step].generation);
                    sent.push(step);
                }
                Next::Expire { .. } => unreachable!("no gate"),
                Next::Ask { event: Event::Stuck { step, code, .. } } => {
                    prop_assert_eq!(code, codes::IN_DOUBT);
                    prop_assert_eq!(frozen.graph.steps[step].effect.class, EffectClass::OneShot);
                }
                Next::End { .. } => prop_assert!(over.iter().all(|over| *over)),
                other @ Next::Ask { .. } => prop_assert!(false, "{:?}", other),
            }
        }
        let sends = taken_up.iter().filter_map(|resumption| match resumption {
            Resumption::Resend { step } => Some(*step),
            _ => None,
        });
        for step in sent.into_iter().chain(sends) {
            prop_assert_ne!(frozen.graph.steps[step].effect.class, EffectClass::OneShot);
        }
        same(&world.job, &Job::fold(frozen, &world.records));
    }

    #[test]
    fn x02_a_crash_at_any_record_loses_no_step_and_repeats_no_one_shot(
        cut in 1_usize..120,
        choices in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let frozen = frozen(Operation::PlannedFailover, EffectClass::OneShot);
        let whole = run(Arc::clone(&frozen), &[Fate::Works], &choices);
        let cut = cut.min(whole.records.len());
        let job = Job::fold(Arc::clone(&frozen), &whole.records[..cut]);
        for resumption in resume(&job) {
            let (step, asks) = match &resumption {
                Resumption::Attach { step, .. } | Resumption::Probe { step } | Resumption::Resend { step } => (*step, false),
                Resumption::Ask { step, .. } => (*step, true),
            };
            let class = frozen.graph.steps[step].effect.class;
            prop_assert_eq!(asks, class == EffectClass::OneShot, "{}", &frozen.graph.steps[step].id);
        }
    }

    #[test]
    fn a_person_can_always_go_on(fates in prop::collection::vec(fate(), 1..100), choices in prop::collection::vec(any::<usize>(), 1..20)) {
        let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
        let mut world = run(frozen, &fates, &choices);
        for _ in 0..50 {
            let troubled: Vec<StepIndex> = (0..world.job.steps.len())
                .filter(|index| matches!(world.job.steps[*index].status, Status::Stuck { .. } | Status::Failed))
                .collect();
            if troubled.is_empty() {
                break;
            }
            // What is retried may have failed in any way: the person's word ends the doubt.
            for step in &troubled {
                world.keys.remove(step);
            }
            let parked = |step: &StepIndex| matches!(&world.job.steps[*step].status, Status::Stuck { code, .. } if codes::parks(code));
            let (parked, troubled): (Vec<_>, Vec<_>) = troubled.into_iter().partition(parked);
            let pins = BTreeMap::from([("runbook:hook".to_owned(), pinned("new"))]);
            world.record(Event::Operator { who: "me".into(), decision: Decision::Repin { pins, steps: parked, reason: "it is gone".into() } });
            world.record(Event::Operator { who: "me".into(), decision: Decision::Retry { steps: troubled } });
            for n in 0..5_000 {
                if world.turn() || (world.under_way.is_empty() && world.job.ready().next().is_none() && world.job.backing_off().next().is_none()) {
                    break;
                }
                world.end_one(n, Fate::Works);
            }
        }
        prop_assert_eq!(world.job.outcome.as_ref().map(|(outcome, _)| *outcome), Some(Outcome::Succeeded));
        let again = Job::fold(Arc::clone(&world.job.frozen), &world.records);
        prop_assert_eq!(&again.pins, &world.job.pins);
        same(&world.job, &again);
    }
}

fn pinned(digest: &str) -> Pinned {
    Pinned {
        plugin: "hook".into(),
        version: "1.0.0".into(),
        digest: digest.into(),
        config: Pairs::new(),
        grants: None,
    }
}

#[test]
fn c05_a_step_whose_plugin_is_gone_waits_and_goes_on_with_another_under_its_key() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Probeable);
    let shutdown = frozen.graph.find("shutdown/web-1").unwrap();
    let mut job = Job::new(Arc::clone(&frozen), 0);
    let (attempt, generation, class) = (1, 0, EffectClass::Probeable);
    let (key, arguments) = (job.key(shutdown, 0), String::new());
    let step = shutdown;
    job.apply(
        0,
        &Event::Intent {
            step,
            attempt,
            generation,
            key,
            class,
            arguments,
        },
    );
    // Its version was revoked while it was under way: what it did is open.
    let failure = Failure {
        definite: false,
        unsent: false,
        ..Failure::definite(codes::PLUGIN_REVOKED, "revoked")
    };
    let result = StepResult::Failed { failure };
    job.apply(10_000_000, &Event::Outcome { step, result });
    assert!(matches!(&job.steps[step].status, Status::Stuck { code, .. } if code == codes::PLUGIN_REVOKED));
    assert_eq!(job.stopping, None, "a planned failover waits instead of failing");
    let pins = BTreeMap::from([("site:north".to_owned(), pinned("new"))]);
    let decision = Decision::Repin {
        pins,
        steps: vec![step],
        reason: "mended".into(),
    };
    job.apply(
        0,
        &Event::Operator {
            who: "me".into(),
            decision,
        },
    );
    assert_eq!(
        (job.pins["site:north"].digest.as_str(), job.steps[step].generation),
        ("new", 0)
    );
    assert_eq!(job.steps[step].status, Status::Pending);
    assert!(
        job.steps[step]
            .failure
            .as_ref()
            .is_some_and(|failure| !failure.definite),
        "it is asked for first"
    );
    assert!(
        job.frozen.plugins.is_empty(),
        "what it was started with is never changed"
    );
}

#[test]
fn f18_a_stuck_machine_holds_neither_its_group_nor_later_ones() {
    let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
    let fence = frozen.graph.find("fence/db").unwrap();
    let mut world = World::new(Arc::clone(&frozen));
    for _ in 0..500 {
        if world.turn() {
            break;
        }
        let is_fence = world.under_way.contains(&fence);
        let position = world.under_way.iter().position(|step| *step == fence).unwrap_or(0);
        world.end_one(position, if is_fence { Fate::NeedsPerson } else { Fate::Works });
    }
    assert!(world.job.outcome.is_none(), "a stuck job is not over");
    let status = |id: &str| &world.job.steps[frozen.graph.find(id).unwrap()].status;
    assert!(matches!(status("fence/db"), Status::Stuck { .. }));
    assert_eq!(status("start/db"), &Status::Pending);
    for id in ["start/app", "start/web-1", "start/web-2", "action/tell/after-front"] {
        assert_eq!(status(id), &Status::Done, "{id}");
    }
}

#[test]
fn a_stuck_action_holds_what_comes_after_it_unless_it_may_be_gone_past() {
    let stuck_at = |id: &str| {
        let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
        let action = frozen.graph.find(id).unwrap();
        let mut world = World::new(Arc::clone(&frozen));
        for _ in 0..500 {
            if world.turn() {
                break;
            }
            let position = world.under_way.iter().position(|step| *step == action);
            world.end_one(
                position.unwrap_or(0),
                if position.is_some() {
                    Fate::NeedsPerson
                } else {
                    Fate::Works
                },
            );
        }
        world.job.steps[frozen.graph.find("start/web-1").unwrap()]
            .status
            .clone()
    };
    assert_eq!(stuck_at("action/tell/before-data"), Status::Pending);
    assert_eq!(stuck_at("action/look/after-logic"), Status::Done);
}

#[test]
fn f22_a_planned_failover_stops_at_the_first_error() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let world = run(
        Arc::clone(&frozen),
        &[Fate::Works, Fate::Works, Fate::Works, Fate::Works, Fate::FailsForGood],
        &[0],
    );
    assert!(matches!(world.job.outcome, Some((Outcome::Failed, _))));
    let started = world
        .begun
        .iter()
        .any(|step| frozen.graph.steps[*step].kind == StepKind::Start);
    assert!(!started, "the target was activated after an error at the source");
}

#[test]
fn a_proof_that_has_grown_old_is_made_anew() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let fence = frozen.graph.find("fence/db").unwrap();
    let start = frozen.graph.find("start/db").unwrap();
    assert_proved_anew(frozen, fence, start);
}

/// Something holds the executor for two minutes between a proof and the activation that waits for it.
fn assert_proved_anew(frozen: Arc<Frozen>, proof: StepIndex, start: StepIndex) {
    let mut world = World::new(frozen);
    let mut aged = false;
    for _ in 0..500 {
        if !aged && world.job.steps[proof].status == Status::Done {
            world.now += 120_000;
            aged = true;
        }
        if world.turn() {
            break;
        }
        world.end_one(0, Fate::Works);
    }
    let begun = |wanted: StepIndex| world.begun.iter().filter(|step| **step == wanted).count();
    assert_eq!((begun(proof), begun(start)), (2, 1));
    assert!(aged && matches!(world.job.outcome, Some((Outcome::Succeeded, _))));
}

fn decided(world: &mut World, decision: Decision) {
    world.record(Event::Operator {
        who: "me".into(),
        decision,
    });
}

/// A job whose `db` is fenced as `kind` says, and whose next start fails for good.
fn fenced(kind: ProofKind) -> (Arc<Frozen>, World) {
    let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
    let (fence, start) = (
        frozen.graph.find("fence/db").unwrap(),
        frozen.graph.find("start/db").unwrap(),
    );
    let mut world = World::new(Arc::clone(&frozen));
    for _ in 0..500 {
        if world.turn() {
            break;
        }
        let Some(step) = world.under_way.first().copied() else {
            break;
        };
        if step == fence {
            world.under_way.remove(0);
            let Side { site, machine } = frozen.items["db"].item.source.clone();
            let proof = FenceProof {
                site,
                machine,
                kind,
                evidence: Pairs::new(),
                observed_at: world.now,
                held: None,
            };
            let outputs = Pairs::from([
                (PROOF.to_owned(), serde_json::to_string(&proof).unwrap()),
                (OBSERVED_AT.to_owned(), world.now.to_string()),
            ]);
            let result = StepResult::Done {
                outputs: Arc::new(outputs),
            };
            world.record(Event::Outcome { step, result });
        } else {
            world.end_one(0, if step == start { Fate::FailsForGood } else { Fate::Works });
        }
    }
    assert!(world.job.outcome.is_some(), "it ended");
    assert_eq!(world.job.steps[start].status, Status::Failed);
    (frozen, world)
}

#[test]
fn x03_a_persons_word_does_not_outlive_the_job_that_it_was_given_for() {
    let (frozen, mut world) = fenced(ProofKind::HumanAttested);
    let (fence, start) = (
        frozen.graph.find("fence/db").unwrap(),
        frozen.graph.find("start/db").unwrap(),
    );
    // Two weeks later.
    world.now += 14 * 86_400_000;
    decided(&mut world, Decision::Retry { steps: vec![start] });
    assert_eq!(world.job.steps[fence].status, Status::Pending);
    let next = decide(&world.job, world.now, &limits()).next;
    let begins = |wanted: StepIndex| {
        next.iter()
            .any(|next| matches!(next, Next::Begin { step, .. } if *step == wanted))
    };
    assert!(
        begins(fence) && !begins(start),
        "the source is looked at before anything else: {next:?}"
    );
}

#[test]
fn whoever_reopens_a_job_locks_its_items_and_ends_no_other_ones_lock() {
    let (_, mut world) = fenced(ProofKind::VerifiedOff);
    let decision = Decision::Repin {
        pins: BTreeMap::new(),
        steps: Vec::new(),
        reason: "granted".into(),
    };
    let event = Event::Operator {
        who: "me".into(),
        decision,
    };
    world.record(event.clone());
    let mut item = ItemState::default();
    for (name, change) in consequences(&world.job, world.now, &event) {
        if name == "db" {
            item.apply(&change);
        }
    }
    assert_eq!(item.holder(), Some("j"));
    item.apply(&ItemEvent::Ended {
        job: "another".into(),
        trouble: None,
    });
    assert_eq!(item.holder(), Some("j"));
    item.apply(&ItemEvent::Ended {
        job: "j".into(),
        trouble: None,
    });
    assert_eq!(item.holder(), None);
}

#[test]
fn x03_a_proof_about_another_machine_starts_nothing() {
    let (frozen, world) = fenced(ProofKind::VerifiedOff);
    let start = frozen.graph.find("start/db").unwrap();
    assert_eq!(stale_proof(&world.job, start, world.now), None);
    let mut moved = Frozen::clone(&frozen);
    moved.items.get_mut("db").unwrap().item.source.machine = "vm-other".to_owned();
    let job = Job::fold(Arc::new(moved), &world.records);
    assert!(stale_proof(&job, start, world.now).is_some());
}

#[test]
fn x03_what_was_read_before_the_host_was_down_is_read_again() {
    let (frozen, mut world) = fenced(ProofKind::VerifiedOff);
    let (fence, start) = (
        frozen.graph.find("fence/db").unwrap(),
        frozen.graph.find("start/db").unwrap(),
    );
    assert_eq!(stale_proof(&world.job, start, world.now), None);
    world.job.distrust_proofs();
    assert_eq!(stale_proof(&world.job, start, world.now), Some((fence, true)));
    let (_, mut given) = fenced(ProofKind::HumanAttested);
    given.job.distrust_proofs();
    assert_eq!(stale_proof(&given.job, start, given.now), None, "a word has no age");
}

#[test]
fn x02_a_host_that_dies_again_and_again_before_a_start_does_not_use_up_its_tries() {
    let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
    let start = frozen.graph.find("start/db").unwrap();
    let mut world = World::new(Arc::clone(&frozen));
    for attempt in 1..50 {
        world.now += 60_000;
        world.record(Event::Intent {
            step: start,
            attempt,
            generation: 0,
            key: "k".into(),
            class: EffectClass::Keyed,
            arguments: "h".into(),
        });
        let failure = Failure {
            retryable: true,
            ..Failure::definite(codes::PROOF_OLD, "old")
        };
        let result = StepResult::Failed { failure };
        world.record(Event::Outcome { step: start, result });
        assert_eq!(world.job.steps[start].status, Status::Backoff { until: world.now });
    }
}

#[test]
fn x03_the_source_too_is_started_on_a_fresh_proof_only() {
    let mut frozen = Frozen::clone(&frozen(Operation::ResumeProtection, EffectClass::Keyed));
    frozen.direction = Direction::Reverse;
    for item in frozen.items.values_mut() {
        item.state.direction = Direction::Reverse;
        item.state.location = Some(Location::Original);
        item.state.created = Some("vm".to_owned());
    }
    frozen.graph = Graph::default();
    frozen.build_graph();
    frozen.set_effects(|_| Some(EffectFacts::new(EffectClass::Keyed)));
    let frozen = Arc::new(frozen);
    let (proof, start) = (
        frozen.graph.find("prove-old-off/db").unwrap(),
        frozen.graph.find("start-source/db").unwrap(),
    );
    assert_proved_anew(frozen, proof, start);
}

#[test]
fn a_clock_that_was_ahead_makes_nobody_wait() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let mut world = World::new(Arc::clone(&frozen));
    // The host came up a day ahead, and something failed for the moment.
    world.now = 86_400_000;
    assert!(!world.turn());
    world.end_one(0, Fate::FailsForNow);
    let index = world.job.backing_off().next().unwrap();
    let waits = |now: u64| {
        let plan = decide(&world.job, now, &limits());
        !plan
            .next
            .iter()
            .any(|next| matches!(next, Next::Begin { step, .. } if *step == index))
    };
    assert!(waits(world.now) && !waits(world.now + 60_000));
    assert!(!waits(1_000), "the clock was set right");
}

#[test]
fn what_was_cancelled_is_not_taken_up_by_a_skip() {
    let frozen = frozen(Operation::UnplannedFailover, EffectClass::OneShot);
    let mut world = World::new(Arc::clone(&frozen));
    assert!(!world.turn());
    world.end_one(0, Fate::NobodyKnows);
    let stuck = world.job.stuck().next();
    decided(&mut world, Decision::Cancel { reason: "no".into() });
    let step = stuck.unwrap_or(0);
    decided(
        &mut world,
        Decision::Skip {
            step,
            reason: "no".into(),
        },
    );
    assert_eq!(world.job.stopping, Some(Stopping::Cancelled));
}

#[test]
fn sources_go_down_in_reverse_order_and_targets_come_up_in_order() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let world = run(Arc::clone(&frozen), &[Fate::Works], &[0]);
    let order: Vec<&str> = world
        .begun
        .iter()
        .map(|step| frozen.graph.steps[*step].id.as_str())
        .collect();
    let at = |id: &str| order.iter().position(|step| *step == id).unwrap();
    for pair in [
        ("action/tell/before-all", "shutdown/web-1"),
        ("shutdown/web-1", "shutdown/app"),
        ("shutdown/app", "shutdown/db"),
        ("shutdown/db", "sync/group-g"),
        ("sync/group-g", "process/db"),
        ("process/app", "choose/group-g"),
        ("choose/group-g", "action/tell/before-data"),
        ("action/tell/before-data", "create/db"),
        ("fence/db", "start/db"),
        ("start/db", "create/app"),
        ("start/app", "action/look/after-logic"),
        ("action/look/after-logic", "create/web-1"),
        ("start/web-2", "action/tell/after-front"),
    ] {
        assert!(at(pair.0) < at(pair.1), "{pair:?} in {order:?}");
    }
}

/// The first step of an unplanned failover's sources fails after this long; what is under way after that?
fn after_a_shutdown_that_failed_after(ms: u64) -> (Job, Vec<String>) {
    let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
    let mut world = World::new(Arc::clone(&frozen));
    let id = |step: &StepIndex| frozen.graph.steps[*step].id.clone();
    for _ in 0..100 {
        assert!(!world.turn());
        match world.under_way.iter().position(|step| id(step) == "shutdown/web-1") {
            None => world.end_one(0, Fate::Works),
            Some(first) => {
                world.now += ms;
                world.end_one(first, Fate::FailsForGood);
                break;
            }
        }
    }
    // Nobody's limit is in the way.
    let wide = Limits {
        default: 100,
        ..Limits::default()
    };
    let next = decide(&world.job, world.now, &wide).next;
    let begun = next.iter().filter_map(|next| match next {
        Next::Begin { step, .. } => Some(id(step)),
        _ => None,
    });
    let begun = begun.collect();
    (world.job, begun)
}

#[test]
fn f15_f18_a_source_that_hangs_is_waited_for_once_and_not_for_every_group() {
    // In order while that costs nothing.
    let (job, begun) = after_a_shutdown_that_failed_after(5_000);
    assert_eq!(job.hurried_at, None);
    assert_eq!(begun, ["hold/web-1"]);
    // All that is left side by side, with one time for all of it.
    let (job, mut begun) = after_a_shutdown_that_failed_after(120_000);
    begun.sort();
    let left = [
        "hold/app",
        "hold/db",
        "hold/web-1",
        "hold/web-2",
        "shutdown/app",
        "shutdown/db",
    ];
    assert_eq!(begun, left);
    let hurried = job.hurried_at.unwrap();
    let step = &job.graph().steps[job.graph().find("shutdown/db").unwrap()];
    assert_eq!(job.deadline(step, hurried + 60_000), hurried + step.timeout_ms);
    let step = &job.graph().steps[job.graph().find("fence/db").unwrap()];
    assert_eq!(job.deadline(step, hurried + 60_000), hurried + 60_000 + step.timeout_ms);
}

#[test]
fn f15_f22_nothing_goes_on_before_all_sources_were_tried_and_a_planned_failover_keeps_their_order() {
    let (mut job, begun) = after_a_shutdown_that_failed_after(120_000);
    let done = |job: &mut Job, id: &str| {
        let step = job.graph().find(id).unwrap();
        let outputs = Arc::default();
        job.apply(
            500_000,
            &Event::Outcome {
                step,
                result: StepResult::Done { outputs },
            },
        );
    };
    let ready = |job: &Job, id: &str| {
        let step = job.graph().find(id).unwrap();
        job.ready().any(|(_, steps)| steps.contains(&step))
    };
    for id in begun.iter().filter(|id| *id != "shutdown/db") {
        done(&mut job, id);
    }
    done(&mut job, "shutdown/web-2");
    assert!(!ready(&job, "process/db"));
    done(&mut job, "shutdown/db");
    assert!(ready(&job, "process/db"));
    let planned = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let ordered = |step: &landfall_recovery::graph::Step| step.after.iter().any(|edge| edge.wait == Wait::Order);
    assert!(!planned.graph.steps.iter().any(ordered));
}

#[test]
fn what_stands_around_a_group_without_machines_in_the_job_does_not_run() {
    for operation in [
        Operation::Test,
        Operation::PlannedFailover,
        Operation::UnplannedFailover,
    ] {
        let mut frozen = Frozen::clone(&frozen(operation, EffectClass::Keyed));
        frozen.plan.groups[0].delay_ms = Some(1);
        frozen.items.remove("db");
        frozen.build_graph();
        let around =
            |step: &&landfall_recovery::graph::Step| step.stage == Stage::Actions || step.id.starts_with("delay/");
        let left: Vec<&str> = frozen
            .graph
            .steps
            .iter()
            .filter(around)
            .map(|step| step.id.as_str())
            .collect();
        assert_eq!(
            left,
            [
                "action/tell/before-all",
                "action/look/after-logic",
                "action/tell/after-front"
            ]
        );
    }
}

#[test]
fn the_simulation_is_the_executor_in_virtual_time() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let only_starts = |step: &landfall_recovery::graph::Step| if step.kind == StepKind::Start { 1_000 } else { 0 };
    // Three groups, one after the other.
    assert_eq!(makespan_ms(&frozen, &limits(), only_starts), 3_000);
    let one_at_a_time = Limits {
        default: 1,
        ..Limits::default()
    };
    assert_eq!(makespan_ms(&frozen, &one_at_a_time, only_starts), 4_000);
    // Longer than a proof may be old.
    let slow = |step: &landfall_recovery::graph::Step| if step.kind == StepKind::Start { 100_000 } else { 0 };
    assert_eq!(makespan_ms(&frozen, &limits(), slow), 300_000);
}

#[test]
fn a_try_that_never_left_the_host_keeps_the_key_of_the_one_that_did() {
    let frozen = frozen(Operation::PlannedFailover, EffectClass::Keyed);
    let shutdown = frozen.graph.find("shutdown/web-1").unwrap();
    let mut job = Job::new(Arc::clone(&frozen), 0);
    let fail = |job: &mut Job, attempt: u32, definite: bool, unsent: bool| {
        let generation = job.steps[shutdown].generation;
        let key = job.key(shutdown, generation);
        let class = EffectClass::Keyed;
        job.apply(
            0,
            &Event::Intent {
                step: shutdown,
                attempt,
                generation,
                key,
                class,
                arguments: String::new(),
            },
        );
        let failure = Failure {
            code: "x".into(),
            message: "x".into(),
            retryable: true,
            definite,
            unsent,
        };
        job.apply(
            0,
            &Event::Outcome {
                step: shutdown,
                result: StepResult::Failed { failure },
            },
        );
        job.steps[shutdown].generation
    };
    assert_eq!(
        fail(&mut job, 1, false, false),
        0,
        "the answer was lost: it may have happened"
    );
    assert_eq!(
        fail(&mut job, 2, true, true),
        0,
        "refused before it was sent: no word about the first try"
    );
    assert_eq!(
        fail(&mut job, 3, true, false),
        1,
        "the far side said that nothing happened under this key"
    );
}

#[test]
fn abandoning_is_final_and_cancelling_is_not() {
    let ended = |decision: Decision| {
        let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
        let mut world = World::new(frozen);
        world.turn();
        world.record(Event::Operator {
            who: "me".into(),
            decision,
        });
        for n in 0..50 {
            if world.turn() {
                break;
            }
            world.end_one(n, Fate::Works);
        }
        world.job.outcome.map(|(outcome, _)| outcome)
    };
    assert_eq!(
        ended(Decision::Abandon { reason: "no".into() }),
        Some(Outcome::Abandoned)
    );
    assert_eq!(
        ended(Decision::Cancel { reason: "no".into() }),
        Some(Outcome::Cancelled)
    );
}

#[test]
fn f18_one_members_failed_check_does_not_take_its_group_along() {
    let frozen = frozen(Operation::UnplannedFailover, EffectClass::Keyed);
    let check = frozen.graph.find("check/db").unwrap();
    let mut world = World::new(Arc::clone(&frozen));
    for _ in 0..500 {
        if world.turn() {
            break;
        }
        let position = world.under_way.iter().position(|step| *step == check);
        world.end_one(
            position.unwrap_or(0),
            if position.is_some() {
                Fate::FailsForGood
            } else {
                Fate::Works
            },
        );
    }
    let status = |id: &str| &world.job.steps[frozen.graph.find(id).unwrap()].status;
    assert_eq!(status("create/db"), &Status::NotRun);
    assert_eq!(status("start/app"), &Status::Done);
    assert!(matches!(world.job.outcome, Some((Outcome::CompletedWithErrors, _))));
}
