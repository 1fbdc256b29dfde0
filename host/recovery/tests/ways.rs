//! No dead ends: whatever happens to an item, in whatever order its jobs break off, and whatever is lost for good
//! afterwards, something that may be asked leads on, and in the end to unprotected, from where everything begins anew.
//!
//! The life of one item is searched whole. Every job that is legal in a state is frozen as the host freezes it, and every
//! step of it is done, passed over by a person where that is allowed, or the last one before the job breaks off.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers are tests too, which the lint cannot see in an integration test"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use landfall_recovery::consequence::consequences;
use landfall_recovery::document::{Known, Plan, read_inventory, read_plan};
use landfall_recovery::event::{Decision, Event, Outcome, StepResult};
use landfall_recovery::executor::PROOF;
use landfall_recovery::freeze::{Frozen, FrozenItem, Keep, Turn};
use landfall_recovery::graph::{Graph, Skip, StepKind};
use landfall_recovery::item::{Home, InProgress, ItemEvent, ItemState, Location, Overlay, Phase, Trouble, oriented};
use landfall_recovery::job::Job;
use landfall_recovery::operations::{Facts, OPERATIONS, Operation, Permission, SiteFacts, WayBack, permission};
use landfall_recovery::proof::{FenceProof, ProofKind};
use landfall_recovery::words::{Direction, Pairs};

const ITEM: &str = "db";
const INVENTORY: &str = "
defaults: { source-site: home, target-site: away, networks: [{ nic: n, production: lan, test: bubble }] }
items: [{ name: db, source: { machine: vm } }]
";
const PLAN: &str = "
plan: shop
groups: [{ name: all-of-it, machines: [db] }]
";

/// What has become of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Fine,
    /// It answers, and nothing of ours is there any more: every step there fails, and so does preflight.
    Emptied,
    /// It never answers again.
    Lost,
}

/// What has become of the world, for good.
#[derive(Debug, Clone, Copy)]
struct World {
    home: Site,
    away: Site,
    /// There are recovery points, and replication works.
    healthy: bool,
    way_back: WayBack,
}

impl World {
    fn all() -> Vec<Self> {
        let sites = [Site::Fine, Site::Emptied, Site::Lost];
        let mut worlds = Vec::new();
        for home in sites {
            for away in sites {
                for healthy in [true, false] {
                    for way_back in [WayBack::Reprotect, WayBack::PlannedFailover] {
                        worlds.push(Self {
                            home,
                            away,
                            healthy,
                            way_back,
                        });
                    }
                }
            }
        }
        worlds
    }

    fn works(self, site: &str) -> bool {
        (if site == "home" { self.home } else { self.away }) == Site::Fine
    }

    fn facts(self) -> Facts {
        let site = |site: Site| {
            Some(SiteFacts {
                reachable: site != Site::Lost,
                source: true,
                target: true,
                planned_failover: true,
                way_back: self.way_back,
                ..SiteFacts::default()
            })
        };
        Facts {
            home: site(self.home),
            away: site(self.away),
            points: usize::from(self.healthy),
            replication_error: (!self.healthy).then(|| "broken".to_owned()),
        }
    }

    /// The host starts it: it is legal, nothing is in its way, and preflight finds what it needs.
    fn starts(self, state: &ItemState, request: &Request) -> bool {
        let preflight = match (request.operation, request.keep) {
            (Operation::Protect | Operation::PlannedFailover | Operation::Reprotect, _) => {
                self.works("home") && self.works("away")
            }
            (Operation::ChooseDirection, Some(Keep::Source)) => self.works(match state.direction {
                Direction::Forward => "home",
                Direction::Reverse => "away",
            }),
            _ => true,
        };
        preflight && permission(ITEM, state, &self.facts(), request.operation) == Permission::Allowed
    }
}

/// What is asked for, with what the host finds when it freezes it.
#[derive(Debug, Clone)]
struct Request {
    operation: Operation,
    keep: Option<Keep>,
    turn: Option<Turn>,
}

fn requests(state: &ItemState) -> Vec<Request> {
    let mut requests = Vec::new();
    for operation in OPERATIONS {
        let plain = Request {
            operation,
            keep: None,
            turn: None,
        };
        let turns =
            operation == Operation::Reprotect || (operation == Operation::PlannedFailover && state.failed_over());
        if operation == Operation::ChooseDirection {
            requests.extend([Keep::Source, Keep::Target].map(|keep| Request {
                keep: Some(keep),
                ..plain.clone()
            }));
        } else if turns {
            requests.extend(self::turns(state, operation).into_iter().map(|turn| Request {
                turn: Some(turn),
                ..plain.clone()
            }));
        } else {
            requests.push(plain);
        }
    }
    requests
}

/// To what is there, or to something new.
fn turns(state: &ItemState, operation: Operation) -> Vec<Turn> {
    if operation.direction(state) == Direction::Forward {
        return vec![Turn {
            old: state.target_machine.clone(),
            location: None,
            home: None,
        }];
    }
    let known = state
        .home
        .as_ref()
        .map_or_else(|| Some("vm".to_owned()), |home| home.machine.clone());
    let turn = |old: Option<String>, location| Turn {
        home: Some(Home {
            site: "home".to_owned(),
            machine: old.clone(),
        }),
        old,
        location: Some(location),
    };
    let mut turns = vec![turn(None, Location::Alternate)];
    if known.is_some() {
        turns.push(turn(known, Location::Original));
    }
    turns
}

struct Model {
    item: landfall_recovery::document::Item,
    plan: Plan,
}

/// A state that a job led to, and the sites at which it did something.
type Leaf = (ItemState, BTreeSet<String>);

impl Model {
    fn new() -> Self {
        let inventory = read_inventory(INVENTORY).unwrap();
        let known = Known {
            inventory: &inventory,
            runbooks: BTreeSet::new(),
            policies: BTreeMap::new(),
            networks: BTreeMap::new(),
        };
        let plan = read_plan(PLAN, &known).unwrap();
        Self {
            item: inventory.items[ITEM].clone(),
            plan,
        }
    }

    fn freeze(&self, state: &ItemState, request: &Request) -> Frozen {
        let direction = request.operation.direction(state);
        let item = FrozenItem {
            item: oriented(&self.item, state, direction, &Pairs::new()),
            state: state.clone(),
            machine: None,
            listed_at: None,
            extra_steps: Vec::new(),
            replication_group: None,
            origin: String::new(),
            turn: request.turn.clone(),
            syncs_on_shutdown: false,
        };
        let mut frozen = Frozen {
            installation: "i".into(),
            epoch: 1,
            job: "j".into(),
            operation: request.operation,
            direction,
            fence_max_age_ms: self.plan.fence_max_age_ms,
            point: None,
            plan: self.plan.clone(),
            items: BTreeMap::from([(ITEM.to_owned(), Box::new(item))]),
            processes_first: true,
            risk: None,
            shutdown: None,
            keep: request.keep,
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
        frozen
    }

    /// Every state in which the request can leave the item.
    fn leaves(&self, state: &ItemState, request: &Request) -> Vec<Leaf> {
        let run = Run::new(self.freeze(state, request));
        let mut leaves = BTreeMap::new();
        run.go_on(0, &mut leaves);
        leaves.into_values().collect()
    }
}

/// A job under way.
#[derive(Clone)]
struct Run {
    job: Job,
    state: ItemState,
    at: BTreeSet<String>,
}

impl Run {
    fn new(frozen: Frozen) -> Self {
        let mut run = Self {
            state: frozen.items[ITEM].state.clone(),
            job: Job::new(Arc::new(frozen), 0),
            at: BTreeSet::new(),
        };
        run.record(&Event::Started { hash: "h".into() });
        run
    }

    fn record(&mut self, event: &Event) {
        self.job.apply(0, event);
        for (_, change) in consequences(&self.job, 0, event) {
            self.state.apply(&change);
        }
    }

    fn end(mut self, outcome: Outcome, leaves: &mut BTreeMap<String, Leaf>) {
        self.record(&Event::Ended {
            outcome,
            reason: String::new(),
        });
        let state = plain(self.state);
        leaves.insert(format!("{} {:?}", key(&state), self.at), (state, self.at));
    }

    fn go_on(mut self, from: usize, leaves: &mut BTreeMap<String, Leaf>) {
        for index in from..self.job.steps.len() {
            let step = self.job.frozen.graph.steps[index].clone();
            let skip = step.kind.skip(self.job.frozen.operation);
            // Neither its end nor its want means anything to the item.
            let silent = matches!(step.kind, StepKind::Milestone | StepKind::Check | StepKind::Choose);
            if !silent {
                self.clone().end(Outcome::Abandoned, leaves);
            }
            if skip == Skip::GoesOn {
                let mut passed = self.clone();
                passed.skip(index);
                passed.go_on(index + 1, leaves);
            }
            if matches!(step.kind, StepKind::Fence | StepKind::ProveOldOff) {
                let mut attested = self.clone();
                attested.done(index, proof(ProofKind::HumanAttested));
                attested.go_on(index + 1, leaves);
            }
            self.at.extend(step.calls.clone());
            let outputs = self.outputs(&step.kind);
            self.done(index, outputs);
        }
        self.end(Outcome::Succeeded, leaves);
    }

    fn skip(&mut self, step: usize) {
        self.record(&Event::Operator {
            who: "me".into(),
            decision: Decision::Skip {
                step,
                reason: "lost".into(),
            },
        });
    }

    fn done(&mut self, step: usize, outputs: Pairs) {
        let result = StepResult::Done {
            outputs: Arc::new(outputs),
        };
        self.record(&Event::Outcome { step, result });
    }

    fn outputs(&self, kind: &StepKind) -> Pairs {
        let one = |name: &str, value: &str| Pairs::from([(name.to_owned(), value.to_owned())]);
        let frozen = &self.job.frozen;
        let back = frozen.direction == Direction::Reverse;
        match kind {
            StepKind::Fence | StepKind::ProveOldOff => proof(ProofKind::VerifiedOff),
            StepKind::PrepareReplica => one("replica", if back { "replica-home" } else { "replica-away" }),
            StepKind::Create if frozen.operation == Operation::Test => one("machine", "test"),
            StepKind::Create if !back => one("machine", "recovered"),
            StepKind::Create if self.state.location == Some(Location::Original) => {
                one("machine", self.state.placed(Direction::Reverse).unwrap_or("vm"))
            }
            StepKind::Create => one("machine", "vm-anew"),
            StepKind::Choose => {
                let said = [("point", "p"), ("source-time-ms", "1"), ("consistency", "crash")];
                said.map(|(name, value)| (format!("{name}/{ITEM}"), value.to_owned()))
                    .into()
            }
            _ => Pairs::new(),
        }
    }
}

fn proof(kind: ProofKind) -> Pairs {
    let proof = FenceProof {
        site: String::new(),
        machine: String::new(),
        kind,
        evidence: Pairs::new(),
        observed_at: 0,
        held: None,
    };
    Pairs::from([(PROOF.to_owned(), serde_json::to_string(&proof).unwrap())])
}

/// Without what no question depends on.
fn plain(mut state: ItemState) -> ItemState {
    let broke_off = state.operation.take().is_some_and(|last| {
        assert!(last.trouble.is_some(), "the job is over and holds the item: {last:?}");
        matches!(
            last.operation,
            Operation::PlannedFailover | Operation::UnplannedFailover | Operation::ResumeProtection
        )
    });
    state.operation = broke_off.then(|| InProgress {
        job: "j".into(),
        operation: Operation::PlannedFailover,
        trouble: Some(Trouble::Failed),
    });
    state.last_job = None;
    state.recovered = None;
    state
}

fn key(state: &ItemState) -> String {
    serde_json::to_string(state).unwrap()
}

/// A way from one state to another.
struct Way {
    from: usize,
    to: usize,
    request: Request,
    at: BTreeSet<String>,
}

/// All states of one item, and all ways between them.
struct Life {
    states: Vec<ItemState>,
    ways: Vec<Way>,
}

impl Life {
    fn whole() -> Self {
        let model = Model::new();
        let mut life = Self {
            states: Vec::new(),
            ways: Vec::new(),
        };
        let mut known = HashMap::new();
        life.know(&mut known, ItemState::default());
        let mut from = 0;
        while let Some(state) = life.states.get(from).cloned() {
            // Its source is seen running.
            if state.risk_accepted && state.failed_over() {
                let seen = ItemState {
                    both_active: true,
                    ..state.clone()
                };
                life.know(&mut known, seen);
            }
            for request in requests(&state) {
                let legal = [WayBack::Reprotect, WayBack::PlannedFailover]
                    .into_iter()
                    .any(|way| landfall_recovery::operations::legal(&state, way, request.operation));
                if !legal {
                    continue;
                }
                for (next, at) in model.leaves(&state, &request) {
                    let to = life.know(&mut known, next);
                    let request = request.clone();
                    life.ways.push(Way { from, to, request, at });
                }
            }
            from += 1;
        }
        life
    }

    fn know(&mut self, known: &mut HashMap<String, usize>, state: ItemState) -> usize {
        *known.entry(key(&state)).or_insert_with(|| {
            self.states.push(state);
            self.states.len() - 1
        })
    }

    /// States from which no way leads to unprotected in this world, with what may be asked there.
    fn dead_ends(&self, world: World, may: impl Fn(Operation) -> bool) -> Vec<&ItemState> {
        let mut back: HashMap<usize, Vec<usize>> = HashMap::new();
        for way in &self.ways {
            let works = way.at.iter().all(|site| world.works(site)) && may(way.request.operation);
            if works && world.starts(&self.states[way.from], &way.request) {
                back.entry(way.to).or_default().push(way.from);
            }
        }
        let free = |state: &ItemState| state.phase == Phase::Unprotected && state.overlay == Overlay::None;
        let mut reached = vec![false; self.states.len()];
        let mut next: Vec<usize> = (0..self.states.len())
            .filter(|index| free(&self.states[*index]))
            .collect();
        while let Some(index) = next.pop() {
            if !std::mem::replace(&mut reached[index], true) {
                next.extend(back.get(&index).into_iter().flatten());
            }
        }
        let lost = self.states.iter().zip(reached);
        lost.filter(|(_, reached)| !reached).map(|(state, _)| state).collect()
    }
}

#[test]
fn f27_f31_from_every_state_a_way_leads_on_whatever_is_lost_for_good() {
    let life = Life::whole();
    eprintln!("{} states, {} ways", life.states.len(), life.ways.len());
    let phases: BTreeSet<_> = life.states.iter().map(|state| (state.phase, state.direction)).collect();
    assert_eq!(phases.len(), 10, "the search went through the whole life: {phases:?}");
    for state in life.states.iter().filter(|state| state.phase == Phase::Unprotected) {
        // Whatever else it named would be no orphan, and stand in the way when it is protected again.
        let kept = ItemState {
            home: state.home.clone(),
            ..ItemState::default()
        };
        assert_eq!(*state, kept);
    }
    let mut dead = Vec::new();
    for world in World::all() {
        // Nobody is to give up what is not lost.
        let whole = world.healthy && (world.home, world.away) == (Site::Fine, Site::Fine);
        let ends = life.dead_ends(world, |operation| !whole || operation != Operation::Release);
        if let Some(first) = ends.first() {
            dead.push(format!("{} in {world:?}, such as {}", ends.len(), key(first)));
        }
    }
    assert!(dead.is_empty(), "dead ends:\n{}", dead.join("\n"));
}

/// A job of an item in this state, as it is frozen.
fn job(state: &ItemState, operation: Operation, keep: Option<Keep>) -> Frozen {
    let request = Request {
        operation,
        keep,
        turn: None,
    };
    Model::new().freeze(state, &request)
}

fn steps(frozen: &Frozen) -> Vec<&str> {
    let own = frozen.graph.steps.iter().filter(|step| !step.kind.is_milestone());
    own.map(|step| step.id.trim_end_matches("/db")).collect()
}

/// Every step done but for those that are skipped, every proof of this kind; the job breaks off before `until`.
fn play(frozen: Frozen, kind: ProofKind, skipped: &[&str], until: &str) -> ItemState {
    let mut run = Run::new(frozen);
    for index in 0..run.job.steps.len() {
        let step = run.job.frozen.graph.steps[index].clone();
        let name = step.id.trim_end_matches("/db");
        if name == until {
            let (outcome, reason) = (Outcome::Abandoned, String::new());
            run.record(&Event::Ended { outcome, reason });
            return run.state;
        }
        if skipped.contains(&name) {
            assert_eq!(step.kind.skip(run.job.frozen.operation), Skip::GoesOn, "{name}");
            run.skip(index);
        } else if matches!(step.kind, StepKind::Fence | StepKind::ProveOldOff) {
            run.done(index, proof(kind));
        } else {
            let outputs = run.outputs(&step.kind);
            run.done(index, outputs);
        }
    }
    let (outcome, reason) = (Outcome::Succeeded, String::new());
    run.record(&Event::Ended { outcome, reason });
    run.state
}

/// Failed over on a person's word, who agreed to a fence.
fn risky() -> ItemState {
    ItemState {
        phase: Phase::FailedOver,
        replica: Some("replica-away".into()),
        target_machine: Some("recovered".into()),
        risk_accepted: true,
        both_active: true,
        fence_on_return: true,
        ..ItemState::default()
    }
}

#[test]
fn f13_a_recovered_machine_is_given_up_only_for_a_source_that_runs() {
    let keep = || job(&risky(), Operation::ChooseDirection, Some(Keep::Source));
    let order = [
        "stop",
        "prove-old-off",
        "release-source",
        "start-source",
        "return",
        "discard",
    ];
    assert_eq!(steps(&keep()), order);
    assert_eq!(StepKind::StartSource.skip(Operation::ChooseDirection), Skip::LeavesOut);
    let broken = play(keep(), ProofKind::VerifiedOff, &[], "return");
    assert_eq!(
        broken.target_machine.as_deref(),
        Some("recovered"),
        "it can still be kept"
    );
    // Once the source runs it is protected, and what is not deleted yet is no more than a leftover.
    let broken = play(keep(), ProofKind::VerifiedOff, &[], "discard");
    assert_eq!((broken.phase, broken.leftover()), (Phase::Protected, Some("recovered")));
    let settled = play(keep(), ProofKind::VerifiedOff, &[], "");
    assert_eq!((settled.phase, settled.leftover()), (Phase::Protected, None));

    // One whose machine an earlier version deleted first gets another from its points.
    let without = ItemState {
        target_machine: None,
        ..risky()
    };
    let again = job(&without, Operation::ChangePoint, None);
    assert_eq!(steps(&again), ["check", "choose", "create", "fence", "start"]);
    let again = play(again, ProofKind::VerifiedOff, &[], "");
    assert_eq!(again.target_machine.as_deref(), Some("recovered"));
}

#[test]
fn x03_only_a_look_at_the_source_ends_a_risk_that_a_word_began() {
    for (operation, keep) in [
        (Operation::Fence, None),
        (Operation::ChooseDirection, Some(Keep::Target)),
    ] {
        let fence = || job(&risky(), operation, keep);
        let seen = play(fence(), ProofKind::VerifiedOff, &[], "");
        assert!(!seen.risk_accepted && !seen.both_active && !seen.fence_on_return);
        let said = play(fence(), ProofKind::HumanAttested, &[], "");
        assert!(said.risk_accepted && said.fence_on_return);
        assert!(!said.both_active, "it counts as off until it is seen again");
    }
    let calm = ItemState {
        both_active: false,
        ..risky()
    };
    let moved = || job(&calm, Operation::ChangePoint, None);
    let said = play(moved(), ProofKind::HumanAttested, &[], "");
    assert!(said.risk_accepted && said.fence_on_return, "what was agreed to holds");
    assert!(!play(moved(), ProofKind::VerifiedOff, &[], "").risk_accepted);
}

#[test]
fn b27_a_commit_ends_though_the_site_away_is_gone() {
    let back = ItemState {
        direction: Direction::Reverse,
        location: Some(Location::Original),
        other_replica: Some("replica-away".into()),
        both_active: false,
        ..risky()
    };
    let skipped = ["shutdown", "delete-source", "delete-other-replica"];
    let commit = job(&back, Operation::Commit, None);
    let home = play(commit, ProofKind::HumanAttested, &skipped, "");
    assert_eq!((home.phase, home.at_home()), (Phase::Committed, true));
    assert_eq!(home.target_machine, None, "it is an orphan");
    assert!(home.risk_accepted);
}

#[test]
fn b05_b06_what_a_failback_made_beside_the_original_is_a_leftover_if_it_breaks_off() {
    let back = ItemState {
        phase: Phase::Protected,
        direction: Direction::Reverse,
        replica: Some("replica-home".into()),
        target_machine: Some("away".into()),
        location: Some(Location::Original),
        home: Some(Home {
            site: "north".into(),
            machine: Some("vm".into()),
        }),
        ..ItemState::default()
    };
    // The adapter gives the original its data: it stays the item's own.
    let failback = job(&back, Operation::PlannedFailover, None);
    let original = play(failback, ProofKind::VerifiedOff, &[], "start");
    assert_eq!(
        (original.location, original.leftover()),
        (Some(Location::Original), None)
    );
    // Or it makes another beside it.
    let mut anew = back;
    anew.apply(&ItemEvent::Created {
        machine: "vm-anew".into(),
        test: false,
        recovered: original.recovered.expect("a point"),
        test_until: None,
    });
    assert_eq!(
        (anew.location, anew.leftover()),
        (Some(Location::Alternate), Some("vm-anew"))
    );
    let undone = play(
        job(&anew, Operation::ResumeProtection, None),
        ProofKind::VerifiedOff,
        &[],
        "",
    );
    assert_eq!((undone.phase, undone.leftover()), (Phase::Protected, None));
}

/// Given up while its machine was started, its source off.
fn abandoned() -> ItemState {
    ItemState {
        phase: Phase::Protected,
        replica: Some("replica-away".into()),
        target_machine: Some("half".into()),
        created: Some("half".into()),
        source_stopped: true,
        ..ItemState::default()
    }
}

#[test]
fn f32_unprotect_brings_a_stopped_source_up_before_the_replica_goes_and_takes_a_test_along() {
    let mut state = abandoned();
    state.overlay = Overlay::Tested;
    state.test_machine = Some("test".into());
    let unprotect = job(&state, Operation::Unprotect, None);
    let order = [
        "stop-test",
        "delete-test",
        "stop",
        "prove-old-off",
        "discard",
        "release-source",
        "start-source",
        "delete-replica",
        "forget",
    ];
    assert_eq!(steps(&unprotect), order);
    let lost = ["stop-test", "delete-test", "stop", "discard", "delete-replica"];
    let end = play(unprotect, ProofKind::HumanAttested, &lost, "");
    assert_eq!(
        (end.phase, end.target_machine, end.test_machine),
        (Phase::Unprotected, None, None)
    );
}

#[test]
fn x02_a_failover_passes_the_machine_that_an_earlier_one_left_running() {
    let again = job(&abandoned(), Operation::UnplannedFailover, None);
    let steps = steps(&again);
    let at = |name: &str| steps.iter().position(|step| *step == name);
    assert!(at("stop") < at("prove-old-off") && at("prove-old-off") < at("discard") && at("discard") < at("create"));
    let over = play(again, ProofKind::VerifiedOff, &[], "");
    assert_eq!((over.phase, over.risk_accepted), (Phase::FailedOver, false));
}

#[test]
fn f33_a_test_that_breaks_off_has_an_end_too() {
    let protected = ItemState {
        phase: Phase::Protected,
        ..ItemState::default()
    };
    let mut test = job(&protected, Operation::Test, None);
    test.test_ttl_ms = Some(7);
    let broken = play(test, ProofKind::VerifiedOff, &[], "isolation");
    assert_eq!((broken.overlay, broken.test_until), (Overlay::Testing, Some(7)));
}

#[test]
fn f14_what_protect_was_told_is_kept_for_what_comes_after() {
    let mut protect = job(&ItemState::default(), Operation::Protect, None);
    protect.options = Pairs::from([("san-policy".to_owned(), "OnlineAll".to_owned())]);
    let options = protect.options.clone();
    assert_eq!(play(protect, ProofKind::VerifiedOff, &[], "").options, options);
}

#[test]
fn a_release_forgets_all_but_the_home_and_does_nothing_anywhere() {
    let home = Home {
        site: "home".into(),
        machine: Some("vm".into()),
    };
    let state = ItemState {
        phase: Phase::Committed,
        home: Some(home.clone()),
        overlay: Overlay::Tested,
        test_machine: Some("test".into()),
        both_active: false,
        ..risky()
    };
    let release = job(&state, Operation::Release, None);
    assert!(release.graph.steps.iter().all(|step| step.calls.is_none()));
    let kept = ItemState {
        home: Some(home),
        last_job: Some("j".into()),
        ..ItemState::default()
    };
    assert_eq!(play(release, ProofKind::VerifiedOff, &[], ""), kept);
}
