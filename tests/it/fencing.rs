//! Sources that nobody can shut down, and somebody else who can cut their power: the management controllers, a site of
//! their own that answers when the source's site does not.

use serde_json::{Value, json};

use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

const ITEMS: [&str; 2] = ["db", "web"];

fn fenced() -> Inventory<'static> {
    Inventory {
        fencing: Some("controllers"),
        ..Inventory::of(&ITEMS)
    }
}

/// A world whose machines at home have management controllers.
fn world() -> World {
    let world = World::configured(|configuration| configuration.sites.push(("controllers", "c")));
    world.lab.api.post("control/sites", &json!({"id": "c"})).ok::<Value>();
    let controls = json!({"controls": HOME});
    world.lab.api.patch("control/sites/c", &controls).ok::<Value>();
    world.protect(&fenced(), &plan(&ITEMS, &[]));
    world
}

fn proof(job: &Job, item: &str) -> Value {
    let step = job.step(&format!("fence/{item}"));
    serde_json::from_str(step.outputs.get("proof").expect("a proof")).expect("JSON")
}

fn at<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Runs an unplanned failover whose only troubles are the shutdowns.
fn fail_over(world: &World) -> Job {
    let job = world.run("unplanned-failover", &json!({}));
    for item in ITEMS {
        let machine = job.item(item).machine.clone();
        assert!(
            machine.is_some_and(|machine| world.lab.is_on(AWAY, &machine)),
            "{item}: {job:#?}"
        );
    }
    world.lab.assert_sound();
    job
}

#[test]
fn x03_a_source_behind_a_dead_site_is_fenced_and_that_is_read_before_its_machine_starts() {
    let world = world();
    world.lab.lose_home(false);
    let job = fail_over(&world);
    assert_eq!(job.status, "completed-with-errors", "the shutdowns failed");
    let ledger = world.lab.ledger();
    for item in ITEMS {
        assert_eq!(job.step(&format!("stonith/{item}")).status, "done");
        let proof = proof(&job, item);
        assert_eq!(at(&proof, "/kind"), "stonith", "{proof}");
        assert_eq!(
            (at(&proof, "/site"), at(&proof, "/machine")),
            ("north", format!("vm-{item}").as_str())
        );
        assert_eq!(at(&proof, "/evidence/fencing-site"), "controllers");
        assert_eq!(at(&proof, "/evidence/power"), "off", "{proof}");
        assert_eq!(job.item(item).proof.as_deref(), Some("stonith"));
        let when = |operation: &str, machine: &str| {
            let line = ledger.iter().find(|line| {
                line.operation == operation && line.machine.as_deref() == Some(machine) && line.result == "changed"
            });
            line.unwrap_or_else(|| panic!("no {operation} of {machine}")).at_ms
        };
        let cut = when("fence", &format!("vm-{item}"));
        let started = when("start", job.item(item).machine.as_ref().unwrap());
        let read = proof.pointer("/observed-at").and_then(Value::as_u64).unwrap();
        assert!(cut <= read && read <= started, "{cut} {read} {started}");
    }
    // Home again, the sources stay off: they may not start by themselves.
    world.lab.api.post("control/sites/a/back", &json!({})).ok::<Value>();
    for item in ITEMS {
        assert!(!world.lab.is_on(HOME, &format!("vm-{item}")));
    }
    world.lab.assert_sound();
}

#[test]
fn x03_the_power_of_a_source_that_is_off_is_not_cut() {
    let world = world();
    // One shuts down as asked, the other runs on though its site answers.
    world.lab.fail("shutdown", "vm-db");
    let job = fail_over(&world);
    let spared = job.step("stonith/web");
    assert_eq!(spared.status, "skipped");
    assert!(spared.outputs["skipped"].contains("off already"), "{spared:?}");
    assert_eq!(job.step("stonith/db").status, "done");
    assert_eq!(at(&proof(&job, "web"), "/kind"), "verified-off");
    assert_eq!(at(&proof(&job, "db"), "/kind"), "stonith");
    let fenced: Vec<Option<String>> = world
        .lab
        .ledger()
        .into_iter()
        .filter(|line| line.operation == "fence")
        .map(|line| line.machine)
        .collect();
    assert_eq!(fenced, [Some("vm-db".to_owned())]);
}

#[test]
fn x03_an_order_to_cut_power_proves_nothing_without_a_read_after_it() {
    let world = world();
    world.lab.fail("shutdown", "vm-db");
    // The controller fails, so the machine runs on.
    world
        .lab
        .fault(&json!({"operation": "fence", "mode": "fail", "code": "busy", "message": "the controller is busy", "definite": true}));
    let job = world.run("unplanned-failover", &json!({}));
    assert_eq!(job.steps_in("stuck"), ["fence/db"], "{:?}", job.reason);
    assert_eq!(job.step("stonith/db").status, "failed");
    let message = job.step("fence/db").message.clone().unwrap();
    assert!(
        message.contains("not proved off") && message.contains("attest"),
        "{message}"
    );
    assert!(!world.lab.is_on(AWAY, job.item("db").machine.as_ref().unwrap()));
    // Once the controller works, a person has both steps done again.
    world.lab.clear_faults();
    world.cli(&["job", "retry", &job.id, "stonith/db", "fence/db"]).code(3);
    let job = world.rest(&job.id);
    assert_eq!(at(&proof(&job, "db"), "/kind"), "stonith");
    world.lab.assert_sound();

    // A planned failover and a test never cut power, and the dry run of an unplanned one shows the step.
    let world = self::world();
    let dry = world
        .cli(&["failover", "hr", "--kind", "unplanned", "--dry-run", "-o", "json"])
        .code(0)
        .json::<Value>();
    let steps = dry["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["id"] == "stonith/db").expect("the step");
    assert_eq!(step["calls"], "controllers");
    assert_eq!(step["sends"]["operation"]["Fence"]["machine"], "vm-db", "{step:#}");
    for kind in ["planned", "test"] {
        let dry = world
            .cli(&["failover", "hr", "--kind", kind, "--dry-run", "-o", "json"])
            .code(0);
        assert!(!dry.out.contains("stonith/"), "{kind}");
    }
    world.lab.assert_sound();
}

#[test]
fn x03_a_fencing_site_that_cannot_fence_is_named_before_it_is_needed() {
    let world = World::start();
    world.lab.furnish(&ITEMS);
    let ended = world.try_apply("inventory", &fenced().text());
    assert!(ended.err.contains("controllers"), "{ended}");
    ended.code(5);
}
