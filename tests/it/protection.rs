//! Protection has a life of its own: protect, seeding, protected with an RPO, points.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

#[test]
fn f32_an_item_is_seeded_and_then_protected_within_its_rpo() {
    let world = World::start();
    world.lab.furnish(&["db"]);
    world.apply("inventory", &Inventory::of(&["db"]).text());
    let item = world.item("db");
    assert_eq!((item.phase.as_str(), item.points), ("unprotected", 0));
    // Nothing is replicated that nobody asked for, and nothing fails over without a point.
    let refused = world.cli(&["failover", "item/db", "--kind", "test"]).code(5);
    assert!(refused.err.contains("legal now: protect"), "{refused}");

    // The first transfer takes a while, and shows how far it is.
    world
        .lab
        .fault(&json!({"operation": "write", "mode": "slow", "delay_ms": 1_500, "times": 1}));
    let job = world.launch("protect", &json!({"items": ["db"]}));
    let seeding = eventually("the item is seeding", || {
        let item = world.item("db");
        (item.phase == "seeding").then_some(item)
    });
    assert!(seeding.seeded_percent.is_none_or(|percent| percent <= 100));
    assert_eq!(world.rest(&job.id).status, "succeeded");
    let item = world.item("db");
    assert_eq!((item.phase.as_str(), item.active_site.as_str()), ("protected", "north"));
    assert_eq!(item.rpo_target_ms, 2_000);
    assert!(
        item.rpo_ms.is_some() && item.points > 0 && item.bytes_sent > 0,
        "{item:?}"
    );

    // It goes on by itself: data is newer than its target asks for, and points are added.
    let sent = item.bytes_sent;
    eventually("further cycles within the RPO", || {
        let item = world.item("db");
        (item.bytes_sent > sent && item.points > 1 && item.rpo_ms? < item.rpo_target_ms).then_some(())
    });
    let listed = world.cli(&["item", "points", "db", "--refresh"]).code(0);
    assert!(listed.out.contains("crash"), "{listed}");
    assert!(world.lab.is_on(HOME, "vm-db"));
    world.lab.assert_sound();
}

#[test]
fn f32_every_point_holds_the_records_of_its_time() {
    let world = World::protected(
        &Inventory {
            points_every: "500ms",
            rpo: "1s",
            ..Inventory::of(&["db"])
        },
        &plan(&["db"], &[]),
    );
    eventually("three points", || (world.item("db").points >= 3).then_some(()));
    let job = world.succeed("test", &json!({}));
    let copy = world.lab.disk(AWAY, job.item("db").machine.as_ref().unwrap());
    assert!(copy.valid, "{:?}", copy.problem);
}

#[test]
fn f32_replication_goes_on_after_the_source_was_away() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.lose_home(false);
    eventually("the error is shown", || {
        let shown = world.cli(&["item", "show", "db"]).code(0);
        (shown.out.contains("replication error") || shown.out.contains("last cycle")).then_some(())
    });
    let sent = world.item("db").bytes_sent;
    world.lab.home_is_back();
    eventually("replication goes on", || {
        (world.item("db").bytes_sent > sent).then_some(())
    });
    world.lab.assert_sound();
}

#[test]
fn f32_a_platform_that_replicates_by_itself_is_read_and_not_driven() {
    let world = World::start();
    world.lab.set_site(
        AWAY,
        &json!({"replication": "autonomous", "lag_ms": 300, "interval_ms": 500, "app_every": 2}),
    );
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    eventually("points come by themselves", || {
        (world.item("db").points > 2).then_some(())
    });
    assert!(world.points("db").iter().any(|point| point.consistency == "app"));
    let ours = world
        .lab
        .ledger()
        .into_iter()
        .filter(|line| line.operation == "snapshot")
        .count();
    assert_eq!(ours, 0, "nobody else takes snapshots");
    let job = world.succeed("planned-failover", &json!({}));
    assert_eq!(world.lab.lost("db", job.item("db").machine.as_ref().unwrap()), 0);
    world.lab.assert_sound();
}

#[test]
fn b17_a_platform_that_answers_again_replicates_well_though_it_has_no_newer_point() {
    let world = World::start();
    world.lab.set_site(
        AWAY,
        &json!({"replication": "autonomous", "lag_ms": 300, "interval_ms": 500}),
    );
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    // Then there is nothing newer.
    world.lab.lose_home(true);
    std::thread::sleep(Duration::from_secs(1));
    let before = world.points("db");
    world
        .lab
        .fault(&json!({"site": AWAY, "operation": "list-points", "mode": "fail", "message": "not now"}));
    eventually("the error is shown", || error(&world, "db"));
    world.lab.clear_faults();
    eventually("the error is gone", || error(&world, "db").is_none().then_some(()));
    assert_eq!(world.points("db"), before, "a newer point came");
}

/// Why an item's last cycle failed.
fn error(world: &World, item: &str) -> Option<String> {
    let item: Value = world.api.get(&format!("api/v1/items/{item}"));
    item.get("replication-error").and_then(Value::as_str).map(str::to_owned)
}

/// What this describes never ends; waits until it has begun.
fn hang(world: &World, what: &Value) {
    let mut fault = what.clone();
    fault["mode"] = json!("hang");
    world.lab.fault(&fault);
    eventually("it hangs", || {
        let left: Value = world.lab.api.get("control/faults");
        (left["faults"] == json!([])).then_some(())
    });
}

#[test]
fn f32_machines_whose_snapshots_hang_hold_up_no_other_and_are_replicated_again() {
    let names: Vec<String> = (0..18).map(|number| format!("m{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::start();
    world.lab.furnish(&names);
    world.apply("inventory", &Inventory::of(&names).text());
    world.cli(&[&["protect"], names.as_slice()].concat()).code(0);
    let sent = || names.iter().map(|name| world.item(name).bytes_sent).collect::<Vec<_>>();
    // As many as go on at once between two sites.
    hang(&world, &json!({"site": HOME, "operation": "snapshot", "times": 16}));
    let before = sent();
    eventually("the two others are replicated", || {
        let more = sent().iter().zip(&before).filter(|(now, before)| now > before).count();
        (more >= 2).then_some(())
    });
    assert!(
        names.iter().all(|name| error(&world, name).is_none()),
        "they waited until the others were given up"
    );
    eventually("what hangs is said", || {
        let said = names.iter().filter_map(|name| error(&world, name));
        said.into_iter()
            .find(|error| error.contains("`snapshot` stood still at `north` and was stopped (LF0318)"))
    });
    eventually("all are replicated again", || {
        let well = |name: &&&str| error(&world, name).is_none() && world.item(name).rpo_ms < Some(20_000);
        (names.iter().filter(well).count() == names.len()).then_some(())
    });
    world.lab.assert_sound();
}

#[test]
fn f32_what_a_site_does_not_stop_is_left_behind() {
    let names = ["db", "web"];
    let world = World::protected(&Inventory::of(&names), &plan(&names, &[]));
    hang(
        &world,
        &json!({"site": HOME, "machine": "vm-db", "operation": "snapshot", "times": 1}),
    );
    // The other one goes on.
    hang(&world, &json!({"site": AWAY, "operation": "process", "times": 1}));
    world
        .lab
        .fault(&json!({"site": HOME, "operation": "cancel", "mode": "fail", "times": 1}));
    let says = |item: &str, what: &str| {
        eventually(what, || error(&world, item).filter(|error| error.contains(what)));
    };
    says(
        "db",
        "`snapshot` stood still at `north` and could not be stopped (LF0318)",
    );
    says("web", "`process/web` stood still at `south` and was stopped (LF0318)");
    let points = names.map(|name| world.points(name).len());
    eventually("both have further points", || {
        let more = |(name, before): (&str, usize)| error(&world, name).is_none() && world.points(name).len() > before;
        names.into_iter().zip(points).all(more).then_some(())
    });
    world.lab.assert_sound();
}

#[test]
fn f32_a_clock_that_was_a_day_ahead_stops_nothing_when_it_is_set_right() {
    let mut world = World::start();
    let clock = world.path("clock");
    let ahead = |seconds: i64| fs::write(&clock, seconds.to_le_bytes()).expect("the file");
    ahead(86_400);
    world.preload_shim(&[("LANDFALL_SHIM_CLOCK", clock.to_str().expect("a path"))]);
    world.restart_daemon();
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    ahead(0);
    let (sent, points) = (world.item("db").bytes_sent, world.points("db").len());
    eventually("replication goes on", || {
        let item = world.item("db");
        (item.bytes_sent > sent && item.points > points && item.rpo_ms? < item.rpo_target_ms).then_some(())
    });
    world.lab.assert_sound();
}

/// What hangs shows no error within the patience of a test.
fn patient() -> Inventory<'static> {
    Inventory {
        rpo: "10s",
        points_every: "10s",
        ..Inventory::of(&["db"])
    }
}

#[test]
fn f32_jobs_get_a_machine_whose_snapshot_hangs() {
    let world = World::protected(&patient(), &plan(&["db"], &[]));
    hang(&world, &json!({"site": HOME, "operation": "snapshot", "times": 1}));
    let job = world.succeed("test", &json!({}));
    assert!(job.has_kind("process"));
    world.succeed("cleanup", &json!({}));
    hang(&world, &json!({"site": HOME, "operation": "snapshot", "times": 1}));
    let job = world.succeed("planned-failover", &json!({}));
    assert_eq!(world.lab.lost("db", job.item("db").machine.as_ref().unwrap()), 0);
    world.lab.assert_sound();
}

#[test]
fn f32_a_cycle_from_before_writes_nothing_of_a_machine_that_was_protected_anew() {
    let world = World::protected(&patient(), &plan(&["db"], &[]));
    hang(&world, &json!({"site": HOME, "operation": "snapshot", "times": 1}));
    world.succeed("unprotect", &json!({}));
    let job = world.succeed("protect", &json!({}));
    assert!(job.has_kind("seed"));
    assert_eq!(error(&world, "db"), None);
    let sent = world.item("db").bytes_sent;
    eventually("it is replicated", || {
        (world.item("db").bytes_sent > sent).then_some(())
    });
    let job = world.succeed("planned-failover", &json!({}));
    assert_eq!(world.lab.lost("db", job.item("db").machine.as_ref().unwrap()), 0);
    world.lab.assert_sound();
}

/// Bytes sent by the cycle that follows a failure that the source answers to one read.
fn sent_after(code: &str) -> (u64, u64) {
    let world = World::start();
    world.lab.furnish(&["db"]);
    // Some megabytes first, and then little: what is sent again is told from what is new.
    let rate = |records: u64| json!({"site": HOME, "records_per_second": records});
    world.lab.control("rates", &rate(20_000));
    world.apply("inventory", &Inventory::of(&["db"]).text());
    world.cli(&["protect", "db"]).code(0);
    eventually("there is something to send again", || {
        (world.item("db").bytes_sent > MUCH).then_some(())
    });
    world.lab.control("rates", &rate(20));
    let settled = world.points("db").len();
    eventually("the rest is sent", || {
        (world.points("db").len() > settled).then_some(())
    });
    let before = world.item("db").bytes_sent;
    world.lab.fault(&json!({
        "operation": "read", "machine": "vm-db", "mode": "fail", "code": code,
        "message": "the snapshot is gone", "definite": true, "times": 1,
    }));
    eventually("the error is shown", || {
        error(&world, "db").filter(|error| error.contains("the snapshot is gone"))
    });
    eventually("replication goes on", || {
        (world.item("db").bytes_sent > before && error(&world, "db").is_none()).then_some(())
    });
    let sent = world.item("db").bytes_sent - before;
    let job = world.succeed("planned-failover", &json!({"items": ["db"], "confirm": "db"}));
    assert_eq!(world.lab.lost("db", job.item("db").machine.as_ref().unwrap()), 0);
    world.lab.assert_sound();
    (before, sent)
}

/// More than a machine writes while a cycle fails and the next begins.
const MUCH: u64 = 4 << 20;

#[test]
fn f32_a_snapshot_that_is_lost_costs_a_cycle_and_sends_nothing_twice() {
    let (_, sent) = sent_after("mark-lost");
    assert!(sent < MUCH, "{sent} bytes were sent again");
}

#[test]
fn f32_changes_that_are_no_longer_known_are_all_sent() {
    let (before, sent) = sent_after("since-lost");
    assert!(sent > MUCH, "of {before} bytes only {sent} were sent again");
}
