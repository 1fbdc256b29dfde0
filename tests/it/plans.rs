//! What plans say beside groups and runbooks: gates, pauses, delays, dependencies, machines by label; and what is known
//! of a plan before it is needed.

use serde_json::{Value, json};

use crate::harness::answers::{Job, Line};
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::HOME;
use crate::harness::world::World;

const ITEMS: [&str; 3] = ["db", "app", "web"];

fn created(world: &World, job: &Job) -> Vec<String> {
    let effects = world.lab.effects(&job.id);
    let of = |line: &&Line| line.operation == "create-machine";
    effects.iter().filter(of).filter_map(|line| line.step.clone()).collect()
}

#[test]
fn f19_a_gate_waits_for_a_person_and_its_answer_is_kept() {
    let world = World::protected(
        &Inventory::of(&ITEMS[..2]),
        &plan(
            &ITEMS[..2],
            &["name: look, gate: 'is the data right', before: [tier-app]"],
        ),
    );
    let ended = world.cli(&["failover", "hr", "--kind", "test", "-o", "json"]).code(4);
    let id = ended.json::<Job>().id;
    let gate = "gate/look/before-tier-app";
    let job = world.job(&id);
    assert_eq!(job.steps_in("stuck"), [gate]);
    assert!(job.step(gate).message.as_ref().unwrap().contains("is the data right"));
    // The job waits, and not the machine.
    assert_eq!(job.item("app").status, "running");
    assert!(ended.err.contains("landfall job answer"), "{ended}");
    assert_eq!(created(&world, &job), ["create/db"]);
    // A no wants a reason, and stops the test where it is.
    world.cli(&["job", "answer", &id, gate, "--refuse"]).code(2);
    world
        .cli(&["job", "answer", &id, gate, "--refuse", "--reason", "db is empty"])
        .code(3);
    let job = world.job(&id);
    assert_eq!(
        (job.status.as_str(), job.step(gate).code.as_deref()),
        ("failed", Some("LF0314"))
    );
    // Asked again, and answered with a yes.
    world.cli(&["job", "retry", &id]).code(4);
    world.cli(&["job", "answer", &id, gate, "--approve"]).code(0);
    let job = world.job(&id);
    assert_eq!(job.status, "succeeded");
    assert_eq!(
        job.step(gate).outputs.get("approved-by").map(String::as_str),
        Some("admin")
    );
    assert_eq!(created(&world, &job).len(), 2);
    world.lab.assert_sound();
}

#[test]
fn f19_a_no_is_a_no_in_an_unplanned_failover_too() {
    let world = World::protected(&Inventory::of(&ITEMS[..2]), &plan(&ITEMS[..2], &[]));
    let pause = ["--pause-before", "tier-app"];
    let begun = ["failover", "hr", "--kind", "unplanned", "--confirm", "hr", "-o", "json"];
    let id = world.cli(&[&begun[..], &pause].concat()).code(4).json::<Job>().id;
    let gate = "gate/pause:tier-app/before-tier-app";
    world
        .cli(&["job", "answer", &id, gate, "--refuse", "--reason", "NO, stop"])
        .code(3);
    let job = world.job(&id);
    assert_eq!(job.status, "failed");
    assert_eq!(created(&world, &job), ["create/db"]);
    assert_eq!(world.item("app").phase, "protected");
    world.cli(&["job", "retry", &id]).code(4);
    world.cli(&["job", "answer", &id, gate, "--approve"]).code(0);
    assert_eq!(created(&world, &job).len(), 2);
    world.lab.assert_sound();
}

#[test]
fn f19_a_gate_that_nobody_answers_fails_after_its_time_even_across_a_restart() {
    let mut world = World::protected(
        &Inventory::of(&["db"]),
        &plan(
            &["db"],
            &["name: look, gate: 'well', after: [all], timeout: 3s, on-error: continue"],
        ),
    );
    let job = world.launch("test", &json!({}));
    world.step_is(&job.id, "gate/look/after-all", "stuck");
    world.restart_daemon();
    let ended = eventually("the gate fails", || {
        let job = world.job(&job.id);
        job.ended_at.is_some().then_some(job)
    });
    assert_eq!(ended.status, "completed-with-errors");
    assert_eq!(ended.step("gate/look/after-all").code.as_deref(), Some("LF0304"));
}

#[test]
fn a_job_pauses_before_a_group_and_takes_machines_from_a_group_on() {
    let hooks = ["name: hello, runbook: webhook, before: [tier-web], after: [tier-db]"];
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &hooks));
    let ended = world
        .cli(&[
            "failover",
            "hr",
            "--kind",
            "test",
            "--pause-before",
            "tier-web",
            "--exclude",
            "app",
            "-o",
            "json",
        ])
        .code(4);
    let id = ended.json::<Job>().id;
    let job = world.job(&id);
    assert_eq!(created(&world, &job), ["create/db"]);
    // Nothing that stands before the group runs before the pause.
    assert_eq!(world.lab.webhooks(&id).len(), 1);
    world
        .cli(&["job", "answer", &id, "gate/pause:tier-web/before-tier-web", "--approve"])
        .code(0);
    assert_eq!(created(&world, &job), ["create/db", "create/web"]);
    assert_eq!(world.lab.webhooks(&id).len(), 2);
    world.cli(&["cleanup", "hr"]).code(0);
    // The hooks of the groups before it were an earlier job's.
    let job = world.succeed("test", &json!({"from-group": "tier-app"}));
    assert_eq!(created(&world, &job).len(), 2);
    assert_eq!(world.lab.webhooks(&job.id).len(), 1);
    let nowhere = json!({"from-group": "tier-app", "pause-before": ["tier-db"]});
    assert_eq!(world.ask("test", &nowhere).status, 400);
    let refused = world.ask("test", &json!({"from-group": "tier-apq"}));
    assert!(
        refused.text.contains("LF0226") && refused.text.contains("tier-app"),
        "{}",
        refused.text
    );
    let refused = world.cli(&["failover", "hr", "--kind", "test", "--pause-before", "none"]);
    assert!(refused.err.contains("LF0226"), "{refused}");
}

#[test]
fn delays_and_dependencies_are_kept_beside_the_order_of_the_groups() {
    let world = World::start();
    world.lab.furnish(&ITEMS);
    world.apply("inventory", &Inventory::of(&ITEMS).text());
    let text = "plan: hr\ngroups:\n  - { name: data, machines: [app, db], delay: 1500ms }\n  - { name: web, machines: [web] }\n\
                dependencies:\n  - { machine: app, after: [db] }\n";
    world.apply("plan", text);
    world.cli(&["protect", "--plan", "hr"]).code(0);
    let job = world.succeed("test", &json!({}));
    assert_eq!(created(&world, &job), ["create/db", "create/app", "create/web"]);
    let begun = |step: &str| job.step(step).begun_at.unwrap();
    assert!(begun("create/app") >= job.step("start/db").ended_at.unwrap());
    assert!(begun("create/web") >= job.step("start/app").ended_at.unwrap() + 1_500);
    let around = text.replace("after: [db] }", "after: [web] }");
    let refused = world.try_apply("plan", &around).code(5);
    assert!(
        refused.err.contains("LF0114") && refused.err.contains("`web` of the later group `web`"),
        "{refused}"
    );
}

#[test]
fn groups_choose_their_machines_by_label_when_the_job_is_frozen() {
    let world = World::start();
    world.lab.furnish(&ITEMS);
    let text = Inventory::of(&ITEMS[..2]).text();
    let labelled = |text: &str| text.replace(" source:", " labels: { app: hr }, source:");
    world.apply("inventory", &labelled(&text));
    let by_label = "plan: hr\ngroups:\n  - { name: all-of-hr, select: { labels: { app: hr } } }\n";
    let said = world.try_apply("plan", by_label).code(0);
    assert!(said.out.contains("2 machines"), "{said}");
    world.apply(
        "plan",
        "plan: none\ngroups:\n  - { name: sales, select: { labels: { app: sales } } }\n",
    );
    let refused = world.cli(&["failover", "none", "--kind", "test"]).code(5);
    assert!(refused.err.contains("its selectors match none"), "{refused}");
    world.cli(&["protect", "--plan", "hr"]).code(0);
    let job = world.succeed("test", &json!({}));
    assert_eq!(job.items.len(), 2);
    world.succeed("cleanup", &json!({}));
    world.apply("inventory", &labelled(&Inventory::of(&ITEMS).text()));
    world.cli(&["protect", "--plan", "hr"]).code(0);
    let job = world.succeed("test", &json!({}));
    assert_eq!(job.items.len(), 3);
}

#[test]
fn f01_a_plan_says_when_it_was_tested_how_and_whether_anything_changed_since() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let readiness = || world.api.get::<Value>("api/v1/plans/hr")["readiness"].clone();
    assert_eq!(
        (&readiness()["verified"], &readiness()["tested-at"]),
        (&json!(false), &Value::Null)
    );
    assert!(world.cli(&["plan", "list"]).code(0).out.contains("never"));
    let test = world.succeed("test", &json!({}));
    world.succeed("cleanup", &json!({}));
    let said = readiness();
    assert_eq!(
        (&said["verified"], &said["outcome"], &said["job"]),
        (&json!(true), &json!("succeeded"), &json!(test.id))
    );
    assert!(said["tested-at"].as_u64().unwrap() > 0);
    let listed = world.cli(&["plan", "list"]).code(0);
    assert!(listed.out.contains("verified since last change"), "{listed}");
    // A change of the plan, and a test that goes wrong, both end that.
    world.apply(
        "plan",
        &plan(
            &["db"],
            &["name: pause, runbook: wait, after: [all], with: { seconds: '0' }"],
        ),
    );
    assert_eq!(readiness()["verified"], false);
    assert!(readiness()["reason"].as_str().unwrap().contains("changed since"));
    let failed = world.run("test", &json!({"inject": {"create/db": "fail"}}));
    assert_eq!(failed.status, "failed");
    assert_eq!(readiness()["outcome"], "failed");
    let real: Job = world.ask("planned-failover", &json!({"dry-run": true})).ok();
    assert!(
        real.findings.iter().any(|finding| finding.id == "LF0213"),
        "{:?}",
        real.findings
    );
}

#[test]
fn f01_a_test_vouches_for_the_whole_plan_as_it_is_and_for_nothing_else() {
    let items = ["db", "web"];
    // They are fenced by a site that no test calls.
    let world = World::configured(|configuration| configuration.sites.push(("controllers", "c")));
    world.lab.control("sites", &json!({"id": "c"}));
    world.lab.set_site("c", &json!({"controls": HOME}));
    let inventory = Inventory {
        fencing: Some("controllers"),
        ..Inventory::of(&items)
    };
    let text = plan(&items, &[]);
    world.protect(&inventory, &text);
    let readiness = || world.api.get::<Value>("api/v1/plans/hr")["readiness"].clone();
    let tested = world.succeed("test", &json!({}));
    world.succeed("cleanup", &json!({}));
    assert_eq!(readiness()["verified"], true);
    // One machine alone is another test: with the plan's name, and under its own.
    for more in [
        json!({"items": ["db"]}),
        json!({"items": ["db"], "plan": "hr"}),
        json!({"exclude": ["db"]}),
        json!({"from-group": "tier-web"}),
    ] {
        world.succeed("test", &more);
        world.succeed("cleanup", &json!({}));
        let said = readiness();
        assert_eq!(
            (&said["verified"], &said["job"]),
            (&json!(true), &json!(tested.id)),
            "{more}"
        );
    }
    // Whatever a failover takes of it, and who would fence it, the plan is the one that was tested.
    for (operation, more) in [
        ("planned-failover", json!({})),
        ("unplanned-failover", json!({})),
        (
            "unplanned-failover",
            json!({"items": ["db"], "plan": "hr", "pause-before": ["tier-db"]}),
        ),
    ] {
        let mut asked = json!({"dry-run": true});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let real: Job = world.ask(operation, &asked).ok();
        assert!(
            !real.findings.iter().any(|finding| finding.id == "LF0213"),
            "{:?}",
            real.findings
        );
    }
    // All that a plan says counts.
    for change in [
        "shutdown: false\n",
        "point: { choice: latest-processed }\n",
        "dependencies:\n  - { machine: web, after: [db] }\n",
    ] {
        world.apply("plan", &format!("{text}{change}"));
        assert_eq!(readiness()["verified"], false, "{change}");
    }
    world.apply("plan", &text);
    assert_eq!(readiness()["verified"], true);
}

#[test]
fn f33_orphans_are_what_carries_our_stamp_and_no_item_knows() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let none = world.cli(&["orphans"]).code(0);
    assert!(none.out.contains("nothing at the sites"), "{none}");
    world.lab.latency("create-machine", 3_000, 3_000);
    let job = world.launch("test", &json!({}));
    world.step_is(&job.id, "create/db", "running");
    world.cli(&["job", "abandon", &job.id, "--reason", "never mind"]);
    let found = eventually("the machine is there", || {
        let ended = world.cli(&["orphans", "-o", "json"]).code(0);
        let view: Value = ended.json();
        let orphans = view["orphans"].as_array().unwrap().clone();
        (!orphans.is_empty()).then_some(orphans)
    });
    assert_eq!(
        (&found[0]["kind"], &found[0]["step"]),
        (&json!("machine"), &json!("create/db"))
    );
    assert_eq!(found[0]["job"], json!(job.id));
}

#[test]
fn f32_an_rpo_that_is_missed_is_shown_and_told() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    assert!(
        world
            .api
            .get::<Value>("api/v1/items/db")
            .get("rpo-missed-since")
            .is_none()
    );
    world.lab.lose_home(false);
    eventually("the target is missed", || {
        world
            .api
            .get::<Value>("api/v1/items/db")
            .get("rpo-missed-since")
            .cloned()
    });
    world.lab.home_is_back();
    eventually("it is met again", || {
        let item = world.api.get::<Value>("api/v1/items/db");
        item.get("rpo-missed-since").is_none().then_some(())
    });
}

/// More than the reference product runs at once in all.
const PLANS: usize = 64;

#[test]
fn sixty_four_plans_fail_over_at_once() {
    let world = World::start();
    let items: Vec<String> = (0..PLANS).map(|number| format!("m{number:02}")).collect();
    let names: Vec<&str> = items.iter().map(String::as_str).collect();
    world.lab.furnish(&names);
    world.apply("inventory", &Inventory::of(&names).text());
    for item in &names {
        let text = format!("plan: p-{item}\ngroups:\n  - {{ name: one, machines: [{item}] }}\n");
        world.apply("plan", &text);
    }
    world.succeed("protect", &json!({"items": names}));
    let launch = |item: &&str| {
        let plan = format!("p-{item}");
        world
            .launch("planned-failover", &json!({"plan": plan, "confirm": plan}))
            .id
    };
    let jobs: Vec<String> = names.iter().map(launch).collect();
    for (job, item) in jobs.iter().zip(&names) {
        let job = world.rest(job);
        assert_eq!(job.status, "succeeded", "{item}: {:?}", job.reason);
        assert_eq!(world.lab.lost(item, job.item(item).machine.as_ref().unwrap()), 0);
    }
    world.lab.assert_sound();
}
