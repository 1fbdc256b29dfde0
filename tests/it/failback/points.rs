//! Which points a failback can go to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{AWAY, HOME, Replication, USUAL, away, prepared, refused, vmware, world};
use crate::harness::answers::{Job, Points};
use crate::harness::eventually;
use crate::harness::world::World;

/// A failback that succeeds. A cycle that failed while the test broke something refuses it until the next one is over.
fn once_healthy(world: &World, more: &Value) -> Job {
    let begun = eventually("its replication is healthy", || {
        let answer = world.ask("unplanned-failover", more);
        assert!(answer.status < 300 || answer.text.contains("LF0221"), "{}", answer.text);
        (answer.status < 300).then(|| answer.ok::<Job>())
    });
    let job = world.rest(&begun.id);
    assert_eq!(job.status, "succeeded", "{:?}", job.reason);
    job
}

#[test]
fn b20_b22_b24_failback_is_unplanned_with_two_choices_and_a_direction_that_is_said() {
    let world = vmware();
    away(&world);
    world.succeed("reprotect", &json!({}));
    refused(&world, "planned-failover", &json!({"direction": "reverse"}), &["LF02"]);
    refused(&world, "unplanned-failover", &json!({"point": "latest"}), &["LF0223"]);
    let newest = eventually("there is a point", || {
        world.points("db").into_iter().find(|point| point.processed)
    });
    for choice in ["latest-multi-vm-processed", "latest-multi-vm-app-consistent", "custom"] {
        let params = json!({"db": newest.id});
        let more = json!({"direction": "reverse", "point": choice, "point-params": params});
        refused(&world, "unplanned-failover", &more, &[choice]);
    }
    let back = world.succeed(
        "unplanned-failover",
        &json!({"direction": "reverse", "point": "latest"}),
    );
    let point = back.item("db").point.clone().unwrap();
    assert_eq!(point.consistency, "crash", "B24");
    // What it can go to does not grow once it is back.
    let more = json!({"point": "custom", "point-params": {"db": newest.id}});
    refused(&world, "change-point", &more, &["LF0210", "custom"]);
    world.lab.assert_sound();
}

#[test]
fn b20_b25_app_consistent_is_each_its_own_and_a_groups_common_point() {
    let replication = Replication {
        terms: "rpo: 2s, points-every: 3s, app-consistent-every: 3s",
        grouped: &["one", "two"],
    };
    let machines = ["one", "two", "lone"].map(|item| (item, json!({})));
    let world = prepared(("vmware", "azure"), &machines, replication, |_| {});
    away(&world);
    world.succeed("reprotect", &json!({}));
    let more = |choice: &str| json!({"direction": "reverse", "point": choice});
    let app = |item: &str| {
        world
            .points(item)
            .into_iter()
            .find(|point| point.processed && point.consistency == "app")
    };
    eventually("all have an app-consistent point", || {
        ["one", "two", "lone"]
            .iter()
            .all(|item| app(item).is_some())
            .then_some(())
    });
    // From here on the guests cannot be quiesced, and newer points are only crash-consistent.
    world.lab.set_site(AWAY, &json!({"app_consistent": false}));
    eventually("all have a newer point", || {
        let newer = |item: &&str| {
            let newest = world.points(item).into_iter().find(|point| point.processed);
            newest.is_some_and(|newest| newest.consistency == "crash")
        };
        ["one", "two", "lone"].iter().all(newer).then_some(())
    });
    let back = once_healthy(&world, &more("latest-app-consistent"));
    let point = |item: &str| back.item(item).point.clone().unwrap();
    for item in ["one", "two", "lone"] {
        assert_eq!(point(item).consistency, "app");
    }
    let mark = |item: &str| {
        let id = point(item).id;
        let known = world.points(item).into_iter().find(|known| known.id == id);
        known.and_then(|known| known.group_mark)
    };
    assert!(mark("one").is_some());
    assert_eq!(mark("one"), mark("two"), "B25: a common point");
    // B20: how far behind it is, and that data is lost.
    let said = back
        .findings
        .iter()
        .any(|finding| finding.cause.contains("behind") && finding.cause.contains("lost"));
    assert!(said, "{:?}", back.findings);
    world.lab.assert_sound();
}

#[test]
fn b22_latest_processed_takes_every_member_of_a_group_to_its_own_newest_point() {
    let replication = Replication {
        grouped: &["one", "two"],
        ..USUAL
    };
    let machines = ["one", "two"].map(|item| (item, json!({})));
    let world = prepared(("vmware", "azure"), &machines, replication, |_| {});
    away(&world);
    world.succeed("reprotect", &json!({}));
    // Cycles stop, and the newest point of one of them goes, so that their newest have nothing in common.
    let processed = |item: &str| {
        let mut points = world.points(item);
        points.retain(|point| point.processed);
        points
    };
    eventually("both have two points", || (processed("one").len() >= 2).then_some(()));
    world.lab.fail_at(AWAY, "snapshot");
    eventually("points stay as they are", || {
        let before = (processed("one"), processed("two"));
        std::thread::sleep(Duration::from_secs(2));
        (before == (processed("one"), processed("two"))).then_some(())
    });
    world.lab.delete_points(HOME, "one", &[&processed("one")[0].id]);
    let (one, two) = (processed("one")[0].clone(), processed("two")[0].clone());
    assert_ne!(one.group_mark, two.group_mark);
    world.lab.clear_faults();
    let more = json!({"direction": "reverse", "point": "latest-processed"});
    let back = once_healthy(&world, &more);
    // A cycle may have come between; each is at its own newest, and not at a common one.
    let at = |item: &str| back.item(item).point.clone().unwrap().source_time_ms;
    assert!(at("one") >= one.source_time_ms && at("two") >= two.source_time_ms);
}

#[test]
fn b23_a_machine_without_a_point_refuses_the_plan_and_is_named() {
    let world = world("vmware", "azure", &[("db", json!({})), ("web", json!({}))]);
    away(&world);
    world.succeed("reprotect", &json!({}));
    // No more cycles for as long as this takes.
    world.lab.latency("snapshot", 600_000, 600_000);
    let more = json!({"direction": "reverse", "point": "latest-processed"});
    // Not asked of the target: the daemon is not to know.
    let known = || -> Vec<String> {
        let points: Points = world.api.get("api/v1/items/web/points");
        points.points.into_iter().map(|point| point.id).collect()
    };
    eventually("web has no point, also after the cycle that was under way", || {
        let points = known();
        let named: Vec<&str> = points.iter().map(String::as_str).collect();
        world.lab.delete_points(HOME, "web", &named);
        std::thread::sleep(Duration::from_secs(2));
        (known() == points).then_some(())
    });
    let text = refused(&world, "unplanned-failover", &more, &["lab/no-point", "`web`"]);
    assert!(!text.contains("the replica of `db`"), "{text}");
    // Without it the other one goes.
    world.succeed(
        "unplanned-failover",
        &json!({"plan": "hr", "items": ["db"], "direction": "reverse", "point": "latest-processed"}),
    );
}

#[test]
fn b20_a_request_waits_for_the_points_of_all_machines_at_once() {
    let machines = ["one", "two", "three", "four", "five", "six"].map(|item| (item, json!({})));
    let world = prepared(("vmware", "azure"), &machines, USUAL, |_| {});
    away(&world);
    world.succeed("reprotect", &json!({}));
    world.lab.latency("list-points", 2_000, 2_000);
    let more = json!({"direction": "reverse", "point": "latest-processed", "dry-run": true});
    let begun = Instant::now();
    let answer = world.ask("unplanned-failover", &more);
    assert!(answer.status < 300, "{}", answer.text);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(9), "one after the other: {took:?}");
}
