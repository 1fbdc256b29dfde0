//! kill -9 at any instant: no step is lost, none is done twice, and work goes on by itself, except where a one-shot
//! effect is in doubt.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::backup::{backup, restore};
use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::receiver::Receiver;
use crate::harness::world::{World, troubles};

const ITEMS: [&str; 3] = ["db", "app", "web"];
const HOOKS: [&str; 3] = [
    "name: announce, runbook: webhook, before: [all]",
    "name: between, runbook: webhook, after: [tier-app]",
    "name: report, runbook: webhook, after: [all]",
];

/// Numbers that a seed repeats, so that a failure can be looked at again.
pub(crate) struct Dice(u64);

impl Dice {
    /// From `LANDFALL_IT_SEED`, or from the system; printed with the test's output.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("LANDFALL_IT_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("LANDFALL_IT_SEED={seed}");
        Self(seed | 1)
    }

    /// Below a bound. Xorshift: any spread will do.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The machines run at the target with all their data, everything happened once, and every hook was heard once.
fn assert_whole(world: &World, job: &Job) {
    assert_eq!(job.status, "succeeded", "{:?} {:#?}", job.reason, troubles(job));
    world.lab.assert_sound();
    for item in ITEMS {
        let machine = job.item(item).machine.as_ref().unwrap();
        assert!(world.lab.is_on(AWAY, machine) && !world.lab.is_on(HOME, &format!("vm-{item}")));
        assert_eq!(world.lab.lost(item, machine), 0, "records of {item}");
    }
    assert_eq!(world.lab.webhooks(&job.id), ["announce", "between", "report"]);
}

#[test]
fn x02_a_daemon_killed_at_random_moments_finishes_its_job() {
    let mut dice = Dice::seeded();
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOKS));
    for operation in [
        "shutdown",
        "hold",
        "process",
        "create-machine",
        "start",
        "power",
        "write",
    ] {
        world.lab.latency(operation, 50, 300);
    }
    let job = world.launch("planned-failover", &json!({}));
    let mut kills = 0;
    // Until the job is over, however many kills that takes; a start takes a while, so the job gets on in between.
    while world.job(&job.id).ended_at.is_none() {
        thread::sleep(Duration::from_millis(dice.below(700)));
        world.restart_daemon();
        kills += 1;
    }
    let job = world.job(&job.id);
    eprintln!("{kills} kills");
    assert!(kills > 1);
    assert_whole(&world, &job);
}

#[test]
fn x02_a_daemon_killed_in_a_named_step_takes_it_up_again() {
    // One kill while each of these is under way at the lab.
    let steps = ["shutdown/web", "process/db", "create/db", "start/app"];
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOKS));
    for operation in ["shutdown", "process", "create-machine", "start"] {
        world.lab.latency(operation, 600, 600);
    }
    let job = world.launch("planned-failover", &json!({}));
    for step in steps {
        world.step_is(&job.id, step, "running");
        world.restart_daemon();
    }
    let job = world.rest(&job.id);
    assert_whole(&world, &job);
}

#[test]
fn x02_every_operation_survives_a_kill() {
    let mut world = World::start();
    let mut dice = Dice::seeded();
    let items = ["db", "web"];
    world.lab.furnish(&items);
    world.apply("inventory", &Inventory::of(&items).text());
    world.apply("plan", &plan(&items, &[]));
    for operation in [
        "prepare-replica",
        "write",
        "create-machine",
        "stop",
        "delete-machine",
        "delete-points",
    ] {
        world.lab.latency(operation, 200, 400);
    }
    for operation in ["protect", "test", "cleanup", "unplanned-failover", "commit"] {
        let job = world.launch(operation, &json!({}));
        thread::sleep(Duration::from_millis(dice.below(500)));
        world.restart_daemon();
        let job = world.rest(&job.id);
        assert_eq!(
            job.status,
            "succeeded",
            "{operation}: {:?} {:#?}",
            job.reason,
            troubles(&job)
        );
    }
    assert_eq!(world.item("web").phase, "committed");
    world.lab.assert_sound();
}

#[test]
fn x02_a_job_that_waits_for_a_person_still_waits_after_a_kill() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.fail("shutdown", "vm-db");
    let job = world.run("unplanned-failover", &json!({}));
    assert_eq!(job.steps_in("stuck"), ["fence/db"]);
    let before = world.lab.now();
    world.restart_daemon();
    let again = world.rest(&job.id);
    assert_eq!(
        (again.status.as_str(), again.steps_in("stuck")),
        ("stuck", vec!["fence/db"])
    );
    assert_eq!(again.step("fence/db").message, job.step("fence/db").message);
    let done = |world: &World| {
        world
            .lab
            .ledger()
            .iter()
            .filter(|line| line.seq > before && line.job.is_some())
            .count()
    };
    assert_eq!(done(&world), 0, "the restart had effects");
    let off = json!({"on": false});
    let _: serde_json::Value = world
        .lab
        .api
        .patch(&format!("control/machines/{HOME}/vm-db"), &off)
        .ok();
    world.cli(&["job", "retry", &job.id, "fence/db"]).code(3);
    assert!(
        world
            .lab
            .is_on(AWAY, world.job(&job.id).item("db").machine.as_ref().unwrap())
    );
    world.lab.assert_sound();
}

#[test]
fn jobs_on_different_machines_run_side_by_side() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.latency("create-machine", 1_000, 1_000);
    let jobs = ITEMS.map(|item| world.launch("planned-failover", &json!({"items": [item], "confirm": item})));
    let ended = jobs.each_ref().map(|job| world.rest(&job.id));
    assert!(ended.iter().all(|job| job.status == "succeeded"));
    let last_begun = ended.iter().map(|job| job.requested_at).max();
    let first_ended = ended.iter().filter_map(|job| job.ended_at).min();
    assert!(last_begun < first_ended, "they ran one after the other");
    world.lab.assert_sound();
}

#[test]
fn x02_replication_goes_on_after_a_kill() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.latency("write", 100, 200);
    for _ in 0..3 {
        let sent = world.item("db").bytes_sent;
        eventually("a cycle", || (world.item("db").bytes_sent > sent).then_some(()));
        world.restart_daemon();
    }
    let newest = world.points("db").first().map(|point| point.source_time_ms);
    eventually("a newer point", || {
        (world.points("db").first().map(|point| point.source_time_ms) > newest).then_some(())
    });
    world.lab.assert_sound();
    let job = world.succeed("planned-failover", &json!({}));
    assert_eq!(world.lab.lost("db", job.item("db").machine.as_ref().unwrap()), 0);
}

#[test]
fn x02_a_keyed_hook_in_doubt_is_sent_again_and_counts_once() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOKS));
    // Every machine's start takes a moment, so that hooks stand alone; the kill comes as soon as one has arrived.
    world.lab.latency("start", 200, 200);
    let job = world.launch("planned-failover", &json!({}));
    for hook in ["announce", "between"] {
        eventually("the hook arrived", || {
            world
                .lab
                .webhooks(&job.id)
                .iter()
                .any(|name| name == hook)
                .then_some(())
        });
        world.restart_daemon();
    }
    let job = world.rest(&job.id);
    assert_eq!(job.step("action/announce/before-all").class, "keyed");
    assert_whole(&world, &job);
}

/// A job that hangs in a hook of which nobody can tell whether it happened.
fn in_doubt() -> (World, Receiver, String) {
    let receiver = Receiver::silent();
    let mut world = World::configured(|configuration| {
        configuration.keyed = false;
        configuration.hook = receiver.port();
        configuration.granted = receiver.port();
    });
    world.protect(
        &Inventory::of(&["db"]),
        &plan(&["db"], &["name: page-them, runbook: webhook, after: [tier-db]"]),
    );
    let job = world.launch("test", &json!({}));
    assert_eq!(world.job(&job.id).step(HOOK).class, "one-shot");
    eventually("the hook was sent", || (receiver.count() == 1).then_some(()));
    world.restart_daemon();
    (world, receiver, job.id)
}

const HOOK: &str = "action/page-them/after-tier-db";

#[test]
fn x02_a_one_shot_hook_in_doubt_stops_and_asks() {
    let (world, receiver, id) = in_doubt();
    let watched = world.cli(&["job", "watch", &id]).code(4);
    for word in [
        "LF0301",
        HOOK,
        &format!("landfall job retry {id} {HOOK}"),
        &format!("landfall job skip {id} {HOOK}"),
    ] {
        assert!(watched.err.contains(word), "{word} is not in {watched}");
    }
    let job = world.job(&id);
    assert_eq!(job.status, "stuck");
    assert_eq!(job.steps_in("stuck"), [HOOK]);
    for action in ["retry", "skip"] {
        assert!(
            job.allowed_actions.iter().any(|allowed| allowed == action),
            "{:?}",
            job.allowed_actions
        );
    }
    assert_eq!(receiver.count(), 1, "it was sent again");
    // The machine is kept locked until somebody decides.
    let held = world.cli(&["cleanup", "hr"]).code(5);
    assert!(held.err.contains("LF0201"), "{held}");

    world
        .cli(&["job", "skip", &id, HOOK, "--reason", "they were paged"])
        .code(0);
    assert_eq!(world.job(&id).status, "succeeded");
    assert_eq!(receiver.count(), 1);
}

#[test]
fn x02_a_one_shot_hook_is_sent_again_when_a_person_says_so() {
    let (world, receiver, id) = in_doubt();
    world.cli(&["job", "wait", &id]).code(4);
    world.cli(&["job", "retry", &id, HOOK, "--detach"]).code(0);
    eventually("it was sent again", || (receiver.count() == 2).then_some(()));
}

/// How often the lab was asked to make a machine and did not just repeat itself.
fn creations(world: &World) -> usize {
    let ledger = world.lab.ledger();
    let begun = |line: &&crate::harness::answers::Line| line.operation == "create-machine" && line.result == "changed";
    ledger.iter().filter(begun).count()
}

#[test]
fn x02_an_operation_that_can_neither_be_repeated_nor_asked_for_stops_and_asks() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.set_site(AWAY, &json!({"effect_class": "one-shot"}));
    world
        .lab
        .fault(&json!({"operation": "create-machine", "mode": "lose-reply", "times": 1}));
    let ended = world.cli(&["failover", "hr", "--kind", "test", "-o", "json"]).code(4);
    let job = world.job(&ended.json::<Job>().id);
    let step = job.step("create/db");
    assert_eq!(
        (step.class.as_str(), step.code.as_deref()),
        ("one-shot", Some("LF0301"))
    );
    for way in ["job retry", "job skip"] {
        assert!(
            ended.err.contains(&format!("landfall {way} {} create/db", job.id)),
            "{ended}"
        );
    }
    let said = step.message.as_deref().unwrap_or_default();
    assert!(said.contains(&format!("job retry {}", job.id)), "{said}");
    assert_eq!((step.attempt, creations(&world)), (1, 1));
}

#[test]
fn x02_an_operation_under_way_is_asked_for_by_its_handle() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    // Nothing may be sent twice here, and nothing needs to be: the handle is durable.
    world
        .lab
        .set_site(AWAY, &json!({"effect_class": "one-shot", "dedupe": false}));
    world.lab.latency("create-machine", 1_500, 1_500);
    let job = world.launch("test", &json!({}));
    let stream = world.api.events(&format!("api/v1/jobs/{}/events", job.id), None);
    let handle = |event: &serde_json::Value| event["event"] == "handle" && event["step"] == "create/db";
    stream.into_iter().find(|(_, event)| handle(event)).expect("a handle");
    world.restart_daemon();
    let job = world.rest(&job.id);
    assert_eq!(job.status, "succeeded", "{:#?}", troubles(&job));
    assert_eq!((job.step("create/db").attempt, creations(&world)), (1, 1));
    world.lab.assert_sound();
}

#[test]
fn a_daemon_that_is_told_to_stop_loses_nothing_either() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOKS));
    world.lab.latency("create-machine", 1_000, 1_000);
    let job = world.launch("planned-failover", &json!({}));
    let watching = world.begin(&["job", "watch", &job.id]);
    world.step_is(&job.id, "create/db", "running");
    world.restart_daemon_at_the_same_address();
    // Whoever watched goes on watching.
    let ended = watching.end().code(0);
    assert!(ended.err.contains("connection to the daemon is lost"), "{ended}");
    assert_whole(&world, &world.job(&job.id));
}

#[test]
fn x02_t04_a_daemon_whose_disk_fails_ends_and_its_job_goes_on_when_the_disk_works() {
    let items = ["db", "web"];
    let mut ended = 0;
    for n in [90, 110, 130, 160, 200] {
        let mut world = World::protected(&Inventory::of(&items), &plan(&items, &[]));
        for operation in ["shutdown", "create-machine", "start"] {
            world.lab.latency(operation, 100, 100);
        }
        let fail = format!("{n}:5:1");
        world.preload_shim(&[
            ("LANDFALL_SHIM_FAIL", &fail),
            ("LANDFALL_SHIM_FILES", "landfall.db,landfall.db-wal,landfall.mark"),
        ]);
        if !world.try_restart_daemon() {
            // It died as it began, and nothing had been asked of it.
            continue;
        }
        let request = json!({"operation": "planned-failover", "plan": "hr", "confirm": "hr"});
        world.api.post_into_the_void("api/v1/jobs", &request);
        eventually("the daemon ends, or the job does", || {
            let over = world.newest_job().is_some_and(|job| job.rests());
            (over || world.daemon_has_ended()).then_some(())
        });
        ended += u32::from(world.daemon_has_ended());
        fs::remove_file(world.path("daemon.preload")).unwrap();
        world.restart_daemon();
        let job = world.newest_job().expect("a job");
        if job.steps.iter().all(|step| step.id != "shutdown/db") {
            // It died before it had taken it.
            continue;
        }
        let job = world.rest(&job.id);
        assert_eq!(job.status, "succeeded", "at operation {n}: {:#?}", troubles(&job));
        for item in items {
            let machine = job.item(item).machine.as_ref().unwrap();
            assert_eq!(world.lab.lost(item, machine), 0, "records of {item}");
        }
        world.lab.assert_sound();
    }
    assert!(ended > 0, "no operation of a job failed");
}

#[test]
fn x02_x03_a_job_is_not_abandoned_while_it_may_start_a_machine() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.latency("start", 1_500, 1_500);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "start/db", "running");
    let refused = world.cli(&["job", "abandon", &job.id, "--reason", "enough"]).code(5);
    assert!(
        refused.err.contains("LF0316") && refused.err.contains("job cancel"),
        "{}",
        refused.err
    );
    assert_eq!(world.rest(&job.id).status, "succeeded");
}

#[test]
fn x09_a_cancelled_restored_job_sends_nothing() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.latency("shutdown", 1_000, 1_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "shutdown/db", "running");
    let file = backup(&world);
    world.rest(&job.id);
    restore(&mut world, &file);
    // By now the machine may be live at home again; nobody compared.
    let before = world.lab.ledger().len();
    world.cli(&["job", "cancel", &job.id, "--reason", "it is old"]).code(0);
    let over = world.rest(&job.id);
    assert_eq!(over.status, "cancelled");
    let sent: Vec<_> = world
        .lab
        .ledger()
        .into_iter()
        .skip(before)
        .filter(|line| line.job.is_some())
        .collect();
    assert!(sent.is_empty(), "{sent:?}");
}
