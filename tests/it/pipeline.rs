//! The main job: a plan with hooks moves machines to the other site, and commit makes it final.

use serde_json::json;

use crate::harness::answers::Line;
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

const ITEMS: [&str; 3] = ["db", "app", "web"];

/// Hooks at both ends of the plan, and around two of its groups.
const HOOKS: [&str; 6] = [
    "name: announce, runbook: webhook, before: [all]",
    "name: db-soon, runbook: webhook, before: [tier-db]",
    "name: db-answers, runbook: http-check, after: [tier-db], with: { url: 'LAB/http/b/{machine}', interval: 100ms }",
    "name: db-done, runbook: webhook, after: [tier-db]",
    "name: web-soon, runbook: webhook, before: [tier-web]",
    "name: report, runbook: webhook, after: [all]",
];

/// Hooks, shutdowns and starts of a job, in the order of the lab's ledger.
fn story(lines: &[Line], started: impl Fn(&str) -> String) -> Vec<String> {
    let words = lines.iter().filter_map(|line| match line.operation.as_str() {
        "webhook" => line.action().map(str::to_owned),
        "shutdown" => Some(format!("off {}", line.machine.as_ref()?)),
        "start" => Some(format!("on {}", started(line.machine.as_ref()?))),
        _ => None,
    });
    words.collect()
}

#[test]
fn c02_c03_f03_f22_f29_a_plan_with_hooks_fails_over_in_order_and_loses_nothing() {
    let world = World::start();
    let here = format!("http://127.0.0.1:{}", world.lab.port());
    let hooks = HOOKS.map(|hook| hook.replace("LAB", &here));
    let hooks: Vec<&str> = hooks.iter().map(String::as_str).collect();
    world.protect(&Inventory::of(&ITEMS), &plan(&ITEMS, &hooks));
    let job = world.succeed("planned-failover", &json!({}));

    let item_of = |machine: &str| {
        let item = job.items.iter().find(|item| item.machine.as_deref() == Some(machine));
        item.expect("the machine of an item").item.clone()
    };
    // Sources go in reverse order; then group by group, each with its hooks.
    let expected = [
        "announce",
        "off vm-web",
        "off vm-app",
        "off vm-db",
        "db-soon",
        "on db",
        "db-done",
        "on app",
        "web-soon",
        "on web",
        "report",
    ];
    assert_eq!(story(&world.lab.effects(&job.id), item_of), expected);
    for name in ITEMS {
        let machine = job.item(name).machine.as_ref().unwrap();
        assert!(world.lab.is_on(AWAY, machine));
        assert!(!world.lab.is_on(HOME, &format!("vm-{name}")));
        assert_eq!(world.lab.lost(name, machine), 0, "records of {name}");
        let item = world.item(name);
        assert_eq!(
            (item.phase.as_str(), item.active_site.as_str()),
            ("failed-over", "south")
        );
        assert_eq!(item.target_machine.as_ref(), Some(machine));
    }
    world.lab.assert_sound();
    assert!(world.lab.check().lost.iter().all(|lost| lost.lost == 0));
}

#[test]
fn f04_one_machine_fails_over_without_a_plan() {
    let world = World::protected(&Inventory::of(&["db", "web"]), &plan(&["db", "web"], &[]));
    // A real failover wants the name typed; without it nothing begins.
    let refused = world
        .cli(&["failover", "item/db", "--kind", "planned", "--no-input"])
        .code(5);
    assert!(refused.err.contains("LF0208"), "{refused}");
    world
        .cli(&["failover", "item/db", "--kind", "planned", "--confirm", "db"])
        .code(0);
    assert_eq!(world.item("db").phase, "failed-over");
    assert_eq!(world.item("web").phase, "protected");
    assert!(world.lab.is_on(HOME, "vm-web"));
    world.lab.assert_sound();
}

#[test]
fn f04_some_machines_of_a_plan_fail_over_alone() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world
        .cli(&[
            "failover",
            "hr",
            "--kind",
            "planned",
            "--only",
            "app",
            "--confirm",
            "hr",
        ])
        .code(0);
    let phases = ITEMS.map(|item| world.item(item).phase);
    assert_eq!(phases, ["protected", "failed-over", "protected"]);
}

#[test]
fn f21_commit_deletes_all_points() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let job = world.succeed("planned-failover", &json!({}));
    assert!(!world.points("db").is_empty());
    world.cli(&["commit", "hr"]).code(0);
    let item = world.item("db");
    assert_eq!((item.phase.as_str(), item.points), ("committed", 0));
    let gone = world.lab.ledger();
    assert!(
        gone.iter()
            .any(|line| line.operation == "delete-points" && line.result == "changed"),
        "the target deleted nothing"
    );
    // It runs where it is, and nothing more can be asked of its points.
    assert!(world.lab.is_on(AWAY, job.item("db").machine.as_ref().unwrap()));
    let refused = world
        .cli(&["failover", "hr", "--kind", "unplanned", "--confirm", "hr"])
        .code(5);
    assert!(refused.err.contains("LF0202"), "{refused}");
    let left = world.points("db");
    assert!(left.is_empty(), "points are left: {left:?}");
}

#[test]
fn f22_a_planned_failover_stops_at_the_first_error_and_leaves_the_source_usable() {
    let world = World::protected(&Inventory::of(&["db", "web"]), &plan(&["db", "web"], &[]));
    world.lab.fail("shutdown", "vm-db");
    let failed = world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr", "-o", "json"])
        .code(3);
    let job = world.job(&failed.json::<crate::harness::answers::Job>().id);
    assert_eq!(job.status, "failed", "{:?}", job.reason);
    assert!(job.reason.as_ref().unwrap().contains("shutdown/db"), "{:?}", job.reason);
    // Nothing was made at the target, and the machine that could not be shut down runs on.
    assert!(
        !world
            .lab
            .effects(&job.id)
            .iter()
            .any(|line| line.operation == "create-machine")
    );
    assert!(world.lab.is_on(HOME, "vm-db"));

    world.lab.clear_faults();
    world.cli(&["job", "retry", &job.id]).code(0);
    let job = world.job(&job.id);
    for name in ["db", "web"] {
        assert_eq!(world.lab.lost(name, job.item(name).machine.as_ref().unwrap()), 0);
    }
    world.lab.assert_sound();
}

#[test]
fn f26_every_machine_goes_through_three_stages() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    for operation in ["create-machine", "start", "shutdown"] {
        world.lab.latency(operation, 300, 300);
    }
    let job = world.launch("planned-failover", &json!({}));
    let mut seen: Vec<String> = Vec::new();
    crate::harness::eventually("the failover ends", || {
        let job = world.job(&job.id);
        if let Some(stage) = job.item("db").stage.clone().filter(|stage| seen.last() != Some(stage)) {
            seen.push(stage);
        }
        job.ended_at
    });
    // The first stage may be over before anybody looks.
    assert!(seen.ends_with(&["failover".to_owned(), "start".to_owned()]), "{seen:?}");
    let job = world.job(&job.id);
    let stage = |step: &str| job.step(step).stage.clone();
    assert_eq!(stage("check/db"), "prerequisites");
    for step in ["shutdown/db", "sync/db", "process/db", "choose/db"] {
        assert_eq!(stage(step), "failover", "{step}");
    }
    for step in ["create/db", "fence/db", "start/db"] {
        assert_eq!(stage(step), "start", "{step}");
    }
    let order = [
        "check/db",
        "shutdown/db",
        "process/db",
        "create/db",
        "fence/db",
        "start/db",
    ];
    let begun = order.map(|step| job.step(step).begun_at.unwrap());
    assert!(begun.is_sorted(), "{begun:?}");
}

#[test]
fn f19_a_validation_runbook_judges_the_started_machine() {
    let world = World::start();
    // It takes a minute until it answers, and the plan gives it half a second.
    world
        .lab
        .control("machines", &json!({"site": HOME, "id": "vm-db", "boot_ms": 60_000}));
    world.apply("inventory", &Inventory::of(&["db"]).text());
    let url = format!("http://127.0.0.1:{}/http/b/{{machine}}", world.lab.port());
    let action = format!(
        "name: answers, runbook: http-check, after: [tier-db], retries: 0, with: {{ url: '{url}', interval: 100ms, timeout: 500ms }}"
    );
    world.apply("plan", &plan(&["db"], &[&action]));
    world.cli(&["protect", "db"]).code(0);
    let ended = world.cli(&["failover", "hr", "--kind", "test"]).code(3);
    assert!(ended.err.contains("action/answers/after-tier-db"), "{ended}");
    world.cli(&["cleanup", "hr"]).code(0);
    // A machine that is up at once passes.
    let _: serde_json::Value = world
        .lab
        .api
        .patch(&format!("control/machines/{HOME}/vm-db"), &json!({"boot_ms": 0}))
        .ok();
    let job = world.run("test", &json!({}));
    assert_eq!(job.status, "succeeded", "{:?}", crate::harness::world::troubles(&job));
}

#[test]
fn an_extra_step_that_preflight_asks_for_runs_before_the_start_and_has_a_reason() {
    let world = World::start();
    let ext = json!({"boot-prepare": "the storvsc driver is missing", "boot-prepare-ms": "300"});
    world
        .lab
        .control("machines", &json!({"site": HOME, "id": "vm-db", "ext": ext}));
    world.lab.furnish(&["web"]);
    world.apply("inventory", &Inventory::of(&["db", "web"]).text());
    world.apply("plan", &plan(&["db", "web"], &[]));
    world.cli(&["protect", "db", "web"]).code(0);
    let job = world.succeed("planned-failover", &json!({}));
    let prepares: Vec<&str> = job
        .steps
        .iter()
        .filter(|step| step.kind.contains("prepare"))
        .map(|step| step.items[0].as_str())
        .collect();
    assert_eq!(prepares, ["db"]);
    let order: Vec<String> = world
        .lab
        .effects(&job.id)
        .into_iter()
        .map(|line| line.operation)
        .collect();
    let at = |operation: &str| order.iter().position(|done| done == operation);
    assert!(
        at("create-machine") < at("boot-prepare") && at("boot-prepare") < at("start"),
        "{order:?}"
    );
}

#[test]
fn f22_a_job_is_not_gone_on_with_once_a_synchronised_source_ran_again() {
    let world = World::protected(&Inventory::of(&["db", "web"]), &plan(&["db", "web"], &[]));
    world.lab.latency("create-machine", 1_000, 1_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "create/db", "running");
    world.cli(&["job", "cancel", &job.id, "--reason", "wrong day"]).code(0);
    world.cli(&["job", "wait", &job.id]).code(3);
    world.lab.switch_on("vm-web");
    let refused = world.cli(&["job", "retry", &job.id]).code(5);
    assert!(
        refused.err.contains("LF0308") && refused.err.contains("new planned failover"),
        "{refused}"
    );
    // A new one shuts it down again and loses nothing of what it wrote meanwhile.
    let job = world.succeed("planned-failover", &json!({}));
    for item in ["db", "web"] {
        assert_eq!(world.lab.lost(item, job.item(item).machine.as_ref().unwrap()), 0);
    }
    world.lab.assert_sound();
}

#[test]
fn a_cancelled_job_says_what_it_leaves_and_can_be_gone_on_with() {
    let world = World::protected(&Inventory::of(&["db", "web"]), &plan(&["db", "web"], &[]));
    world.lab.latency("create-machine", 1_000, 1_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "create/db", "running");
    let warned = world.cli(&["job", "cancel", &job.id, "--reason", "wrong day"]).code(0);
    assert!(
        warned.err.contains("replication of the machines has stopped"),
        "{warned}"
    );
    world.cli(&["job", "wait", &job.id]).code(3);
    let left = world.job(&job.id);
    assert_eq!(left.status, "cancelled");
    // What ran was brought to its end, and nothing new was begun.
    assert_eq!(left.step("create/db").status, "done");
    assert!(!world.lab.is_on(AWAY, left.item("db").machine.as_ref().unwrap()));
    world.cli(&["job", "retry", &job.id]).code(0);
    let job = world.job(&job.id);
    for item in ["db", "web"] {
        assert_eq!(world.lab.lost(item, job.item(item).machine.as_ref().unwrap()), 0);
    }
    world.lab.assert_sound();
}
