//! Test failovers: in isolation, beside a replication that goes on, and gone without a trace afterwards.

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

const ITEMS: [&str; 2] = ["db", "web"];

/// Machines at the target, by id.
fn away(world: &World) -> Vec<String> {
    let page: Value = world.lab.api.get(&format!("sites/{AWAY}/machines"));
    let machines = page
        .pointer("/machines")
        .and_then(Value::as_array)
        .expect("a page of machines");
    let ids = machines.iter().filter_map(|machine| machine.pointer("/id")?.as_str());
    ids.map(str::to_owned).collect()
}

#[test]
fn f33_x03_a_test_is_isolated_and_touches_neither_source_nor_replication() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    let job = world.succeed("test", &json!({}));
    for item in ITEMS {
        assert_eq!(job.item(item).proof.as_deref(), Some("isolated"));
        let isolation = job.step(&format!("isolation/{item}"));
        let proof: Value = serde_json::from_str(&isolation.outputs["isolation"]).unwrap();
        assert!(proof.pointer("/networks/bubble").is_some(), "{proof}");
        let machine = job.item(item).machine.as_ref().unwrap();
        assert!(world.lab.is_on(AWAY, machine));
        assert!(world.lab.is_on(HOME, &format!("vm-{item}")));
        let seen = world.lab.machine(AWAY, machine).unwrap();
        assert!(
            seen.to_string().contains("bubble") && !seen.to_string().contains("\"lan\""),
            "{seen}"
        );
        assert!(world.lab.disk(AWAY, machine).valid);
        let state = world.item(item);
        assert_eq!(
            (state.phase.as_str(), state.test.as_str(), state.active_site.as_str()),
            ("protected", "tested", "north")
        );
    }
    // No step of the test had an effect at the source.
    let touched: Vec<_> = world
        .lab
        .effects(&job.id)
        .into_iter()
        .filter(|line| line.site.as_deref() == Some(HOME))
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    // Points go on being made while the test machines run.
    let newest = world.points("db")[0].source_time_ms;
    eventually("a newer point", || {
        let points = world.points("db");
        points
            .iter()
            .any(|point| point.processed && point.source_time_ms > newest)
            .then_some(())
    });
    world.lab.assert_sound();
}

#[test]
fn f33_cleanup_removes_everything_that_the_test_made() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    let before = away(&world);
    let job = world.succeed("test", &json!({}));
    assert_eq!(away(&world).len(), before.len() + ITEMS.len());
    let again = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    assert!(again.err.contains("LF0202") && again.err.contains("cleanup"), "{again}");
    world.cli(&["cleanup", "hr"]).code(0);
    assert_eq!(away(&world), before);
    for item in ITEMS {
        let machine = job.item(item).machine.as_ref().unwrap();
        assert!(world.lab.machine(AWAY, machine).is_none(), "{machine} is left");
        assert_eq!(world.item(item).test, "none");
    }
    let nothing = world.cli(&["cleanup", "hr"]).code(5);
    assert!(nothing.err.contains("LF0215"), "{nothing}");
    // And the plan can be tested again, and run in earnest.
    world.cli(&["failover", "hr", "--kind", "test"]).code(0);
    world.cli(&["cleanup", "hr"]).code(0);
    let real = world.succeed("planned-failover", &json!({}));
    assert!(
        real.findings.iter().all(|finding| finding.id != "LF0213"),
        "{:?}",
        real.findings
    );
}

#[test]
fn f33_cleanup_removes_what_a_test_left_that_failed() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    let before = away(&world);
    world
        .lab
        .fault(&json!({"site": AWAY, "operation": "start", "mode": "fail", "definite": true}));
    let job = world.run("test", &json!({}));
    assert_eq!(job.status, "failed");
    assert!(away(&world).len() > before.len());
    world.lab.clear_faults();
    world.cli(&["cleanup", "hr"]).code(0);
    assert_eq!(away(&world), before);
}

#[test]
fn a_plan_that_was_never_tested_is_warned_about() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let ended = world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr", "-o", "json"])
        .code(0);
    assert!(ended.err.contains("LF0213"), "{ended}");
    let job: crate::harness::answers::Job = ended.json();
    let warned = job
        .findings
        .iter()
        .find(|finding| finding.id == "LF0213")
        .expect("it is in the job");
    assert_eq!((warned.severity.as_str(), warned.subject.as_str()), ("warning", "hr"));
    assert!(warned.cause.contains("never tested"), "{}", warned.cause);
}

/// A drill of two machines and a hook, with a fault; and the job as it rests.
fn drill(world: &World, step: &str, fault: &str) -> crate::harness::answers::Job {
    world.run("test", &json!({"inject": {step: fault}}))
}

const HOOK: [&str; 1] = ["name: report, runbook: webhook, after: [all], retries: 1"];

#[test]
fn x08_a_step_that_fails_in_a_drill_shows_what_the_plan_makes_of_it() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOK));
    let job = drill(&world, "action/report/after-all", "fail");
    assert_eq!(job.status, "failed");
    let step = job.step("action/report/after-all");
    assert_eq!((step.attempt, step.code.as_deref()), (2, Some("LF0312")));
    assert!(world.lab.webhooks(&job.id).is_empty(), "it was sent all the same");
    assert_eq!(world.item("db").test, "tested", "a test keeps everything for a look");
}

#[test]
fn x08_a_crash_in_a_drill_is_taken_up_as_a_real_one() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOK));
    let job = drill(&world, "create/db", "crash");
    assert_eq!(job.status, "succeeded");
    assert_eq!(job.step("create/db").attempt, 2);
    assert_eq!(away(&world).len(), 2, "one machine each");
    world.lab.assert_sound();
    world.succeed("cleanup", &json!({}));
    // A one-shot hook of which nobody can tell asks a person.
    let world = World::configured(|configuration| configuration.keyed = false);
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &HOOK));
    let job = drill(&world, "action/report/after-all", "crash");
    assert_eq!(
        (job.status.as_str(), job.step("action/report/after-all").code.as_deref()),
        ("stuck", Some("LF0301"))
    );
    assert_eq!(world.lab.webhooks(&job.id), ["report"], "it happened once");
}

#[test]
fn x08_a_step_that_is_repeated_in_a_drill_has_one_effect() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOK));
    for step in ["create/web", "start/web", "action/report/after-all"] {
        let job = drill(&world, step, "repeat");
        assert_eq!(job.status, "succeeded", "{step}");
        assert_eq!(world.lab.webhooks(&job.id), ["report"], "{step}");
        assert_eq!(away(&world).len(), 2, "{step}");
        world.lab.assert_sound();
        world.succeed("cleanup", &json!({}));
    }
}

#[test]
fn x08_a_slow_step_takes_its_time_and_faults_are_for_drills_only() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world
        .cli(&["failover", "hr", "--kind", "test", "--inject", "start/db=slow:1500ms"])
        .code(0);
    let job = world.api.get::<Value>("api/v1/jobs")["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let step = world.job(&job).step("start/db").clone();
    assert!(step.ended_at.unwrap() - step.begun_at.unwrap() >= 1_500);
    world.succeed("cleanup", &json!({}));
    // Replication goes on; of a job nothing happens.
    let of_jobs = || world.lab.ledger().iter().filter(|line| line.job.is_some()).count();
    let before = of_jobs();
    let wrong = [
        (
            vec!["--kind", "planned", "--confirm", "hr", "--inject", "start/db=fail"],
            "drills only",
        ),
        (
            vec!["--kind", "test", "--inject", "start/dbb=fail"],
            "did you mean `start/db`",
        ),
        (
            vec!["--kind", "test", "--inject", "start/db=explode"],
            "fail, crash, repeat, slow and slow:SPAN",
        ),
        (vec!["--kind", "test", "--inject", "start/db=slow:-1s"], "negative"),
    ];
    for (arguments, said) in wrong {
        let ended = world.cli(&[vec!["failover", "hr"], arguments].concat()).code(5);
        assert!(
            ended.err.contains("LF0219") && ended.err.contains(said),
            "{}",
            ended.err
        );
    }
    assert_eq!(of_jobs(), before);
}
