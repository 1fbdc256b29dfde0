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
