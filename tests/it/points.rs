//! Recovery points: which one each choice goes to, and that it is shown before and after.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::answers::{Job, Point, Points};
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::proxy::Proxy;
use crate::harness::world::{World, troubles};

const PAIR: [&str; 2] = ["db", "web"];

#[test]
fn c04_the_six_choices_are_those_of_the_standard_policy_plugin() {
    let world = World::start();
    let shown = world.cli(&["plugin", "show", "standard"]).code(0);
    for choice in [
        "latest",
        "latest-processed",
        "latest-app-consistent",
        "latest-multi-vm-processed",
        "latest-multi-vm-app-consistent",
        "custom",
    ] {
        let line = format!("  {choice} ");
        assert!(
            shown.out.lines().any(|shown| shown.starts_with(&line)),
            "{choice} is not in {shown}"
        );
    }
    assert!(shown.out.contains("recovery-point-policy"), "{shown}");
}

/// The point that a job chose for an item.
fn chosen(job: &Job, item: &str) -> Point {
    job.item(item).point.clone().expect("a point was chosen")
}

/// Data has arrived at the target that no point has yet; gives the newest point.
fn with_pending(world: &World, item: &str) -> (Point, Point) {
    let pending = world.await_pending(item);
    let processed = world.points(item).into_iter().find(|point| point.processed);
    (processed.expect("the first point"), pending)
}

#[test]
fn f05_latest_processes_what_was_received_first_and_goes_there() {
    let world = World::protected(&Inventory::without_processing(&["db"]), &plan(&["db"], &[]));
    let (old, pending) = with_pending(&world, "db");
    assert!(pending.source_time_ms > old.source_time_ms);
    let job = world.succeed("test", &json!({}));
    let point = chosen(&job, "db");
    assert!(point.source_time_ms >= pending.source_time_ms, "{point:?} {pending:?}");
    let (process, choose) = (job.step("process/db"), job.step("choose/db"));
    assert!(process.ended_at.unwrap() <= choose.begun_at.unwrap());
    // The point was made in this run, by this job.
    let effects = world.lab.effects(&job.id);
    assert!(effects.iter().any(|line| line.operation == "process"), "{effects:?}");
}

#[test]
fn f06_latest_processed_takes_the_newest_point_and_processes_nothing() {
    let world = World::protected(&Inventory::without_processing(&["db"]), &plan(&["db"], &[]));
    let (old, _) = with_pending(&world, "db");
    let job = world.succeed("test", &json!({"point": "latest-processed"}));
    assert_eq!(chosen(&job, "db").id, old.id);
    assert!(!job.has_kind("process"));
    assert!(
        !world
            .lab
            .effects(&job.id)
            .iter()
            .any(|line| line.operation == "process")
    );
}

#[test]
fn f07_latest_app_consistent_takes_the_newest_quiesced_point() {
    let inventory = Inventory {
        rpo: "1s",
        points_every: "500ms",
        app_consistent_every: Some("1h"),
        ..Inventory::of(&["db"])
    };
    let world = World::protected(&inventory, &plan(&["db"], &[]));
    // One quiesced point, and a newer one that is not.
    let app = eventually("a point newer than the app-consistent one", || {
        let points = world.points("db");
        let app = points
            .iter()
            .find(|point| point.consistency == "app" && point.processed)?;
        let newer = |point: &&Point| point.consistency == "crash" && point.source_time_ms > app.source_time_ms;
        points.iter().find(newer).map(|_| app.clone())
    });
    let job = world.succeed("test", &json!({"point": "latest-app-consistent"}));
    let point = chosen(&job, "db");
    assert_eq!((point.id, point.consistency.as_str()), (app.id, "app"));
}

#[test]
fn f07_without_an_app_consistent_point_the_choice_is_refused_and_says_so() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let ended = world
        .cli(&["failover", "hr", "--kind", "test", "--point", "latest-app-consistent"])
        .code(5);
    assert!(
        ended.err.contains("db") && ended.err.contains("app-consistent"),
        "{ended}"
    );
}

#[test]
fn f08_f09_multi_vm_choices_are_refused_without_a_group() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    for choice in ["latest-multi-vm-processed", "latest-multi-vm-app-consistent"] {
        let refused = world
            .cli(&["failover", "hr", "--kind", "test", "--point", choice])
            .code(5);
        assert!(
            refused.err.contains("LF0210") && refused.err.contains(choice),
            "{refused}"
        );
    }
}

/// Both members of a group have this many points with a common mark.
fn common(world: &World, consistency: &str) -> Vec<(String, u64)> {
    let marks = |item: &str| -> BTreeSet<(String, u64)> {
        let points = world.points(item).into_iter();
        let fits = points.filter(|point| point.processed && point.consistency == consistency);
        fits.filter_map(|point| Some((point.group_mark?, point.source_time_ms)))
            .collect()
    };
    let (db, web) = (marks("db"), marks("web"));
    db.into_iter()
        .filter(|(mark, _)| web.iter().any(|(other, _)| other == mark))
        .collect()
}

#[test]
fn f08_multi_vm_processed_takes_the_members_to_one_common_point() {
    let inventory = Inventory {
        grouped: &PAIR,
        ..Inventory::of(&["db", "web", "lone"])
    };
    let world = World::protected(&inventory, &plan(&["db", "web", "lone"], &[]));
    eventually("a common point", || (!common(&world, "crash").is_empty()).then_some(()));
    let job = world.succeed("test", &json!({"point": "latest-multi-vm-processed"}));
    one_mark(&world, &job);
    assert!(job.item("lone").point.is_some());
    assert!(!job.has_kind("process"));
}

#[test]
fn f09_multi_vm_app_consistent_takes_the_members_to_one_quiesced_point() {
    let inventory = Inventory {
        grouped: &PAIR,
        app_consistent_every: Some("1s"),
        ..Inventory::of(&PAIR)
    };
    let world = World::protected(&inventory, &plan(&PAIR, &[]));
    eventually("a common app-consistent point", || {
        (!common(&world, "app").is_empty()).then_some(())
    });
    let job = world.succeed("test", &json!({"point": "latest-multi-vm-app-consistent"}));
    one_mark(&world, &job);
    assert!(PAIR.iter().all(|item| chosen(&job, item).consistency == "app"));
}

/// The points that were chosen for the group carry one mark.
fn one_mark(world: &World, job: &Job) {
    let mark = |item: &str| {
        let id = chosen(job, item).id;
        let point = world.points(item).into_iter().find(|point| point.id == id);
        point.expect("the chosen point").group_mark.expect("a common mark")
    };
    assert_eq!(mark("db"), mark("web"));
}

#[test]
fn f10_one_machine_goes_to_a_named_point() {
    let world = World::protected(
        &Inventory {
            points_every: "500ms",
            rpo: "1s",
            ..Inventory::of(&["db"])
        },
        &plan(&["db"], &[]),
    );
    let oldest = eventually("three points", || {
        let points: Vec<Point> = world.points("db").into_iter().filter(|point| point.processed).collect();
        (points.len() > 2).then(|| points.last().cloned()).flatten()
    });
    let param = format!("db={}", oldest.id);
    let ended = world
        .cli(&[
            "failover",
            "item/db",
            "--kind",
            "test",
            "--point",
            "custom",
            "--point-param",
            &param,
            "-o",
            "json",
        ])
        .code(0);
    let job: Job = ended.json();
    assert_eq!(chosen(&job, "db").id, oldest.id);
    // The machine holds that point's data and nothing newer of the source's.
    let machine = job.item("db").machine.clone().unwrap();
    assert!(world.lab.disk(crate::harness::lab::AWAY, &machine).valid);
    world.cli(&["cleanup", "item/db"]).code(0);
    let unknown = world
        .cli(&[
            "failover",
            "item/db",
            "--kind",
            "test",
            "--point",
            "custom",
            "--point-param",
            "db=p-none",
        ])
        .code(5);
    assert!(unknown.err.contains("p-none"), "{unknown}");
    let none = [
        "failover",
        "item/db",
        "--kind",
        "test",
        "--point",
        "custom",
        "--dry-run",
    ];
    let none = world.cli(&none).code(5);
    assert!(none.err.contains("LF0") && none.err.contains("db"), "{none}");
}

#[test]
fn f11_point_consistency_and_rpo_are_shown_before_and_after() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let before = world.cli(&["failover", "hr", "--kind", "test", "--dry-run"]).code(0);
    assert!(before.out.contains("known after choose/db"), "{before}");
    let after = world.cli(&["failover", "hr", "--kind", "test", "-o", "json"]).code(0);
    let job: Job = after.json();
    let item = job.item("db");
    let point = item.point.as_ref().unwrap();
    assert!(point.source_time_ms > 0 && point.consistency == "crash");
    // The age of the data when the test was asked for: below the target of two seconds, unless the machine is busy.
    let rpo = item.rpo_ms.expect("the RPO is known");
    assert!(rpo < 30_000, "{rpo} ms");
    assert!(item.rto_ms.expect("the RTO is known") <= job.ended_at.unwrap() - job.requested_at);
    let shown = world.cli(&["job", "show", &job.id]).code(0);
    for word in ["CONSISTENCY", "RPO", "crash", "isolated"] {
        assert!(shown.out.contains(word), "{word} is not in {shown}");
    }
}

#[test]
fn f11_the_newest_received_time_is_shown_before_latest_runs() {
    let world = World::protected(&Inventory::without_processing(&["db"]), &plan(&["db"], &[]));
    let (_, pending) = with_pending(&world, "db");
    let shown = world
        .cli(&["failover", "hr", "--kind", "test", "--dry-run", "-o", "json"])
        .code(0);
    let job: Job = shown.json();
    assert_eq!(
        job.item("db").point_known_after.as_deref(),
        Some("known after choose/db")
    );
    let shown: serde_json::Value = shown.json();
    let item = shown.pointer("/items/0").expect("the item");
    let received = item.pointer("/newest-received-ms").and_then(serde_json::Value::as_u64);
    assert!(received.is_some_and(|at| at >= pending.source_time_ms), "{item:#}");
}

#[test]
fn f12_a_choice_that_is_impossible_is_refused_with_the_reason() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let refused = world
        .cli(&[
            "failover",
            "hr",
            "--kind",
            "planned",
            "--point",
            "latest-processed",
            "--confirm",
            "hr",
        ])
        .code(5);
    assert!(
        refused.err.contains("LF0210") && refused.err.contains("last synchronisation"),
        "{refused}"
    );
    let unknown = world
        .cli(&["failover", "hr", "--kind", "test", "--point", "lastest"])
        .code(5);
    assert!(
        unknown.err.contains("LF0110") && unknown.err.contains("`latest`"),
        "{unknown}"
    );
}

/// No test sends so many requests.
const NEVER: u64 = 1 << 40;

#[test]
fn x02_a_target_that_once_had_nothing_to_say_is_asked_again_when_a_point_is_needed() {
    let mut proxy = None;
    let world = World::configured(|configuration| {
        let started = Proxy::start(configuration.lab, NEVER);
        configuration.lab = started.port;
        proxy = Some(started);
    });
    let proxy = proxy.expect("it was started");
    // So that no cycle looks by itself.
    let inventory = Inventory {
        rpo: "1h",
        points_every: "1h",
        ..Inventory::of(&["db"])
    };
    world.protect(&inventory, &plan(&["db"], &[]));
    let known = || {
        let points: Points = world.api.get("api/v1/items/db/points");
        points.points
    };
    let there = known();
    assert!(!there.is_empty());
    proxy.hide_points(true);
    assert!(world.points("db").is_empty());
    assert!(known().is_empty(), "what was read is not known");
    let refused = world.ask("unplanned-failover", &json!({"point": "latest-processed"}));
    assert!(refused.text.contains("LF0206"), "{}", refused.text);
    proxy.hide_points(false);
    world.lab.lose_home(true);
    let more = json!({"point": "latest-processed", "accept-split-brain-risk": "it burns"});
    let job = world.run("unplanned-failover", &more);
    assert_eq!(job.item("db").status, "done", "{:#?}", troubles(&job));
    assert_eq!(chosen(&job, "db").id, there[0].id);
    assert_eq!(known(), there);
    world.lab.assert_sound();
}
