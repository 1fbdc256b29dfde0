//! The whole life of items between two sites: out, back and out again, and the ways off a wrong path.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::{World, troubles};

const ITEMS: [&str; 2] = ["db", "web"];

fn world() -> World {
    World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]))
}

#[test]
fn f24_b03_b28_b30_an_item_goes_out_comes_back_and_can_go_out_again() {
    let world = world();
    world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    // F24, B03: nothing comes back before it is replicated back.
    let refused = world.ask("planned-failover", &json!({"direction": "reverse"}));
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("reprotect"), "{}", refused.text);

    world.succeed("reprotect", &json!({}));
    for item in ITEMS {
        let item = world.item(item);
        assert_eq!((item.phase.as_str(), item.direction.as_str()), ("protected", "reverse"));
        assert_eq!(item.active_site, "south");
    }
    // A direction that leads home wants to be said.
    let refused = world.ask("planned-failover", &json!({}));
    assert!(refused.text.contains("LF0223"), "{}", refused.text);
    let back = world.succeed("planned-failover", &json!({"direction": "reverse"}));
    for item in ITEMS {
        let known = world.item(item);
        assert_eq!(
            (known.phase.as_str(), known.active_site.as_str()),
            ("failed-over", "north")
        );
        assert!(world.lab.is_on(HOME, back.item(item).machine.as_ref().unwrap()));
    }
    world.succeed("commit", &json!({}));
    // B28: back, and not replicating.
    assert_eq!(world.item("db").phase, "committed");
    world.succeed("reprotect", &json!({}));
    let known = world.item("db");
    assert_eq!(
        (known.phase.as_str(), known.direction.as_str()),
        ("protected", "forward")
    );
    world.succeed("test", &json!({}));
    world.succeed("cleanup", &json!({}));
    world.succeed("planned-failover", &json!({}));
    world.lab.assert_sound();
}

#[test]
fn f13_a_plan_whose_machines_disagree_is_refused_until_a_direction_is_chosen() {
    let world = world();
    world.succeed("planned-failover", &json!({"plan": "hr", "items": ["db"]}));
    world.succeed("commit", &json!({"plan": "hr", "items": ["db"]}));
    world.succeed("reprotect", &json!({"plan": "hr", "items": ["db"]}));
    let refused = world.ask("planned-failover", &json!({}));
    assert!(refused.text.contains("LF0222"), "{}", refused.text);
    assert!(refused.text.contains("`db` would go reverse") && refused.text.contains("`web` would go forward"));
    // A test of both would go both ways; of one it is cleaned up without a word about directions.
    let refused = world.cli(&["unprotect", "hr"]).code(5);
    assert!(refused.err.contains("LF0222"), "{}", refused.err);
    let dry = world
        .cli(&["unprotect", "hr", "--direction", "reverse", "--dry-run"])
        .code(0);
    assert!(
        dry.out.contains("db") && !dry.out.contains("delete-replica/web"),
        "{}",
        dry.out
    );
    world.succeed("test", &json!({"plan": "hr", "items": ["web"]}));
    world.cli(&["cleanup", "hr"]).code(0);
    let job = world.succeed("planned-failover", &json!({"direction": "forward"}));
    assert_eq!(job.items.len(), 1);
    assert!(
        job.findings
            .iter()
            .any(|finding| finding.cause.contains("`db` is left out"))
    );
    let back = json!({"plan": "hr", "items": ["db"], "direction": "reverse"});
    world.succeed("planned-failover", &back);
    assert_eq!(world.item("db").active_site, "north");
    assert_eq!(world.item("web").active_site, "south");
    world.lab.assert_sound();
}

#[test]
fn f20_f21_a_recovered_machine_changes_its_point_until_the_commit() {
    let world = world();
    let processed = || world.points("db").into_iter().filter(|point| point.processed).count();
    eventually("there are three points", || (processed() >= 3).then_some(()));
    let out = world.succeed("unplanned-failover", &json!({"point": "latest-processed"}));
    let first = out.item("db").point.clone().unwrap();
    let older: Vec<_> = world
        .points("db")
        .into_iter()
        .filter(|point| point.processed && point.id != first.id)
        .collect();
    assert!(older.len() >= 2);
    for point in older.iter().take(2) {
        let params = json!({"items": ["db"], "point": "custom", "point-params": {"db": point.id}});
        // What it wrote since is lost, so that the name is typed.
        let refused = world.ask("change-point", &params);
        assert!(
            refused.text.contains("LF0208") && refused.text.contains("is lost"),
            "{}",
            refused.text
        );
        let params = json!({"items": ["db"], "point": "custom", "point-params": {"db": point.id}, "confirm": "db"});
        let job = world.succeed("change-point", &params);
        assert_eq!(job.item("db").point.as_ref().unwrap().id, point.id);
        let machine = out.item("db").machine.clone().unwrap();
        assert!(world.lab.is_on(AWAY, &machine));
        let disk = world.lab.disk(AWAY, &machine);
        assert_eq!(disk.problem, None);
    }
    world.succeed("commit", &json!({}));
    let refused = world.ask("change-point", &json!({"items": ["db"], "point": "latest-processed"}));
    assert!(refused.text.contains("LF0202"), "{}", refused.text);
    world.lab.assert_sound();
}

#[test]
fn f27_after_a_cancel_the_state_is_shown_and_protection_goes_on() {
    let world = world();
    world.lab.latency("create-machine", 4_000, 4_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "create/db", "running");
    let said = world.cli(&["job", "cancel", &job.id, "--reason", "wrong plan"]);
    assert!(said.err.contains("goes on only where the source still runs"), "{said}");
    let job = world.rest(&job.id);
    assert_eq!(job.status, "cancelled");
    // Of a job that is over no machine is under way.
    for item in ITEMS {
        let status = job.item(item).status.as_str();
        assert!(
            ["cancelled", "left-out", "not-run"].contains(&status),
            "{item}: {status}"
        );
    }
    // That they look healthy to whom asks only for their phase is not left at that.
    let off = format!("source switched off by job {}", job.id);
    for show in [&["item", "list"][..], &["item", "show", "db"]] {
        let said = world.cli(show).code(0);
        assert!(
            said.out.contains(&off) && said.out.contains("resume-protection") && said.out.contains("job retry"),
            "{said}"
        );
    }
    let shown: serde_json::Value = world.api.get("api/v1/items/db");
    assert_eq!(shown["source-stopped"], true);
    let db = world.item("db");
    assert_eq!(
        (db.phase.as_str(), db.trouble.as_deref()),
        ("protected", Some("cancelled"))
    );
    assert!(!world.lab.is_on(HOME, "vm-db"));
    world.succeed("resume-protection", &json!({}));
    for item in ITEMS {
        assert!(world.lab.is_on(HOME, &format!("vm-{item}")));
        assert_eq!(world.item(item).trouble, None);
    }
    let said = world.cli(&["item", "list"]).code(0);
    assert!(!said.out.contains("switched off"), "{said}");
    // It replicates again, and can go.
    let before = world.points("db").first().map(|point| point.id.clone());
    eventually("a new point", || {
        let newest = world.points("db").first().map(|point| point.id.clone());
        (newest != before).then_some(())
    });
    world.lab.latency("create-machine", 0, 0);
    world.succeed("planned-failover", &json!({}));
    world.lab.assert_sound();
}

#[test]
fn f32_unprotect_removes_the_replica_and_a_machine_can_be_protected_again() {
    let world = world();
    world.succeed("unprotect", &json!({}));
    let db = world.item("db");
    assert_eq!((db.phase.as_str(), db.points), ("unprotected", 0));
    world.succeed("protect", &json!({}));
    assert_eq!(world.item("db").phase, "protected");
    world.lab.assert_sound();
}

#[test]
fn f33_a_test_ends_by_itself_when_its_time_is_over() {
    let world = world();
    world.succeed("test", &json!({"ttl-ms": 1_000}));
    eventually("the tests are cleaned up", || {
        ITEMS.iter().all(|item| world.item(item).test == "none").then_some(())
    });
    world.lab.assert_sound();
}

/// Both failed over on a person's word, and then the sources run again.
fn split(world: &World, more: &serde_json::Value) {
    world.lab.lose_home(false);
    let mut request = json!({"accept-split-brain-risk": "the site is gone"});
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let job = world.run("unplanned-failover", &request);
    assert_eq!(job.status, "completed-with-errors", "{:?}", job.reason);
    assert!(ITEMS.iter().all(|item| world.item(item).risk_accepted));
    world.lab.home_is_back();
}

fn both_active(world: &World, item: &str) -> bool {
    world.api.get::<serde_json::Value>(&format!("api/v1/items/{item}"))["both-active"] == json!(true)
}

#[test]
fn f13_where_a_machine_runs_at_both_sites_somebody_chooses_which_stays() {
    let world = world();
    split(&world, &json!({}));
    eventually("both are seen", || {
        ITEMS.iter().all(|item| both_active(&world, item)).then_some(())
    });
    let refused = world.ask("commit", &json!({}));
    assert!(
        refused.text.contains("LF0220") && refused.text.contains("choose-direction"),
        "{}",
        refused.text
    );
    // The source stays: what was recovered is deleted, and replication goes on.
    let keep = ["choose-direction", "item/db", "--keep", "north"];
    let refused = world.cli(&keep).code(5);
    assert!(
        refused.err.contains("LF0208") && refused.err.contains("deletes"),
        "{refused}"
    );
    // A source that is not there is no choice.
    world.lab.lose_home(false);
    let refused = world.ask("choose-direction", &json!({"keep": "north"}));
    assert!(
        refused.text.contains("LF0216") && refused.text.contains("--keep south"),
        "{}",
        refused.text
    );
    world.lab.home_is_back();
    world.cli(&[&keep[..], &["--confirm", "db"]].concat()).code(0);
    let db = world.item("db");
    assert_eq!(
        (db.phase.as_str(), db.active_site.as_str(), db.target_machine),
        ("protected", "north", None)
    );
    assert!(world.lab.is_on(HOME, "vm-db"));
    // The recovered one stays: the source is off, and stays off.
    let wrong = world.cli(&["choose-direction", "item/web", "--keep", "west"]).code(5);
    assert!(wrong.err.contains("LF0224") && wrong.err.contains("north"), "{wrong}");
    world.cli(&["choose-direction", "item/web", "--keep", "south"]).code(0);
    let web = world.item("web");
    assert_eq!((web.phase.as_str(), web.risk_accepted), ("failed-over", false));
    assert!(!world.lab.is_on(HOME, "vm-web"));
    world.succeed("commit", &json!({"plan": "hr", "items": ["web"]}));
    world.succeed("planned-failover", &json!({"plan": "hr", "items": ["db"]}));
}

#[test]
fn f13_a_source_that_nothing_keeps_off_is_watched_too() {
    let world = world();
    world.lab.fail("hold", "vm-db");
    world.run("unplanned-failover", &json!({"plan": "hr", "items": ["db"]}));
    assert_eq!(world.item("db").phase, "failed-over");
    // It was read as off, and nothing keeps it so: its host comes back, and it with it.
    world.lab.switch_on("vm-db");
    eventually("both are seen", || both_active(&world, "db").then_some(()));
    world.lab.clear_faults();
    world.cli(&["fence", "item/db"]).code(0);
    assert!(!world.lab.is_on(HOME, "vm-db"));
    world.succeed("commit", &json!({"plan": "hr", "items": ["db"]}));
}

#[test]
fn f13_a_source_that_does_not_say_whether_it_runs_hides_no_other() {
    let world = world();
    split(&world, &json!({}));
    world
        .lab
        .fault(&json!({"operation": "power", "machine": "vm-db", "mode": "hang"}));
    eventually("the other is seen", || both_active(&world, "web").then_some(()));
    assert!(!both_active(&world, "db"));
    world.lab.clear_faults();
    eventually("both are seen", || both_active(&world, "db").then_some(()));
}

#[test]
fn f13_a_source_that_comes_back_is_switched_off_where_that_was_agreed_to() {
    let world = world();
    split(&world, &json!({"fence-on-return": true}));
    eventually("the sources are off", || {
        let settled = |item: &str| !world.item(item).risk_accepted && !world.lab.is_on(HOME, &format!("vm-{item}"));
        ITEMS.iter().all(|item| settled(item)).then_some(())
    });
    world.succeed("commit", &json!({}));
    world.succeed("reprotect", &json!({}));
}

#[test]
fn f13_a_source_that_somebody_deleted_is_not_chosen() {
    let world = world();
    split(&world, &json!({}));
    world.lab.remove(HOME, "vm-db");
    let refused = world.ask("choose-direction", &json!({"keep": "north", "items": ["db"]}));
    assert!(refused.text.contains("no machine `vm-db`"), "{}", refused.text);
    let machine = world.item("db").target_machine.unwrap();
    assert!(world.lab.is_on(AWAY, &machine));
}

#[test]
fn f13_x03_a_persons_word_about_an_old_source_is_no_look_at_it() {
    let world = world();
    split(&world, &json!({}));
    eventually("both are seen", || both_active(&world, "db").then_some(()));
    world.lab.lose_home(false);
    let job = world.launch("fence", &json!({"items": ["db"]}));
    pass(&world, &job.id, &["shutdown/db", "hold/db"]);
    world.step_is(&job.id, "fence/db", "stuck");
    decide(&world, &job.id, "attest", "fence/db");
    assert_eq!(world.rest(&job.id).status, "succeeded");
    assert!(world.item("db").risk_accepted && !both_active(&world, "db"));
    // It was not off.
    world.lab.home_is_back();
    eventually("it is seen again", || both_active(&world, "db").then_some(()));
    world.succeed("fence", &json!({}));
    assert!(!world.item("db").risk_accepted);
}

/// A person decides about a step, and does not wait for what comes of it.
fn decide(world: &World, job: &str, verb: &str, step: &str) {
    let said = json!({"steps": [step], "reason": "the site is gone"});
    let _: serde_json::Value = world.api.post(&format!("api/v1/jobs/{job}/{verb}"), &said).ok();
}

/// Goes past steps that fail, each once it does.
fn pass(world: &World, job: &str, steps: &[&str]) {
    for step in steps {
        eventually(&format!("{step} fails"), || {
            let job = world.job(job);
            matches!(job.step(step).status.as_str(), "retrying" | "failed" | "stuck").then_some(())
        });
        decide(world, job, "skip", step);
    }
}

fn lose_away(world: &World) {
    world
        .lab
        .control(&format!("sites/{AWAY}/lost"), &json!({"machines_off": true}));
}

#[test]
fn f32_a_replica_that_may_be_the_only_copy_is_not_deleted_unasked() {
    let world = world();
    world.lab.lose_home(true);
    let refused = world.cli(&["unprotect", "item/db"]).code(5);
    assert!(
        refused.err.contains("LF0208") && refused.err.contains("only copy"),
        "{refused}"
    );
    assert_eq!(world.item("db").phase, "protected");
    // All of them are named, and a dry run says so before anybody is asked.
    let refused = world.cli(&["unprotect", "hr"]).code(5);
    let shown = world.cli(&["unprotect", "hr", "--dry-run"]).code(0);
    for said in [&refused, &shown] {
        let text = format!("{said}");
        assert_eq!(text.matches("only copy").count(), ITEMS.len(), "{text}");
    }
    world.cli(&["unprotect", "item/db", "--confirm", "db"]).code(0);
    assert_eq!(world.item("db").phase, "unprotected");
    // Where the source is listed nobody is asked anything.
    world.lab.home_is_back();
    world.cli(&["unprotect", "item/web"]).code(0);
}

#[test]
fn f27_f32_unprotect_after_a_failover_that_broke_off_brings_the_source_up() {
    let world = world();
    world.lab.fail_at(AWAY, "create-machine");
    let job = world.run("planned-failover", &json!({}));
    assert_eq!(job.status, "failed");
    assert!(!world.lab.is_on(HOME, "vm-db"));
    world.succeed("unprotect", &json!({}));
    for item in ITEMS {
        assert!(world.lab.is_on(HOME, &format!("vm-{item}")));
        assert_eq!(world.item(item).phase, "unprotected");
    }
    world.lab.assert_sound();
}

#[test]
fn f32_when_protection_ends_nothing_of_it_is_left_at_any_site() {
    let world = world();
    let back = json!({"direction": "reverse"});
    for _ in 0..2 {
        world.succeed("planned-failover", &json!({}));
        world.succeed("commit", &json!({}));
        world.succeed("reprotect", &json!({}));
        world.succeed("planned-failover", &back);
        world.succeed("commit", &json!({}));
        world.succeed("reprotect", &json!({}));
    }
    world.succeed("unprotect", &json!({}));
    let orphans: serde_json::Value = world.api.get("api/v1/orphans");
    assert_eq!(orphans["orphans"], json!([]));
}

#[test]
fn f32_the_inventory_says_which_machine_is_protected_wherever_it_was_before() {
    let world = world();
    let only = json!({"items": ["db"], "confirm": "db"});
    world.succeed("planned-failover", &only);
    world.succeed("commit", &only);
    world.succeed("reprotect", &only);
    let back = json!({"items": ["db"], "confirm": "db", "direction": "reverse"});
    world.succeed("planned-failover", &back);
    world.succeed("commit", &only);
    world.succeed("reprotect", &only);
    world.succeed("unprotect", &only);
    world.lab.control(
        "machines",
        &json!([{"site": HOME, "id": "vm-new", "records_per_second": 100}]),
    );
    let text = Inventory::of(&ITEMS).text().replace("vm-db", "vm-new");
    world.apply("inventory", &text);
    world.succeed("protect", &only);
    let view: serde_json::Value = world.api.get("api/v1/items/db");
    assert_eq!(view["source-machine"], "vm-new");
    world.succeed("planned-failover", &only);
    assert!(!world.lab.is_on(HOME, "vm-new") && world.lab.is_on(HOME, "vm-db"));
}

#[test]
fn f33_a_test_that_cannot_be_cleaned_up_keeps_no_other_machine() {
    let world = world();
    let job = world.succeed("test", &json!({"ttl-ms": 1_000}));
    let hangs = job.item("db").machine.clone().unwrap();
    world
        .lab
        .fault(&json!({"operation": "stop", "machine": hangs, "mode": "hang"}));
    eventually("the other is cleaned up", || {
        (world.item("web").test == "none").then_some(())
    });
    assert_ne!(world.item("db").test, "none");
    let only = json!({"items": ["web"], "confirm": "web"});
    assert_eq!(world.run("unplanned-failover", &only).status, "succeeded");
    world.lab.clear_faults();
}

#[test]
fn f33_a_test_that_breaks_off_ends_by_itself_too() {
    let world = world();
    world.lab.fail_at(AWAY, "start");
    let job = world.run("test", &json!({"ttl-ms": 1_000, "items": ["db"]}));
    assert_eq!(job.status, "failed");
    eventually("it is cleaned up", || (world.item("db").test == "none").then_some(()));
    world.lab.assert_sound();
}

#[test]
fn b01_what_is_lost_away_from_home_is_let_go() {
    let world = world();
    world.succeed("test", &json!({"items": ["web"]}));
    let job = world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    let lost = job.item("db").machine.clone().unwrap();
    world.lab.remove(AWAY, &lost);
    assert!(world.ask("reprotect", &json!({"items": ["db"]})).status >= 400);
    // A reason and the name are wanted.
    let release = ["release", "item/db", "--reason", "deleted by mistake"];
    let refused = world.cli(&release).code(5);
    assert!(refused.err.contains("LF0208"), "{refused}");
    let said = world.cli(&[&release[..], &["--confirm", "db"]].concat()).code(0);
    assert!(
        said.err.contains("LF0230") && said.err.contains("deleted by mistake") && said.err.contains(&lost),
        "{said}"
    );
    // With its site, and with a test machine beside it.
    lose_away(&world);
    let refused = world.ask("release", &json!({"items": ["web"], "confirm": "web"}));
    assert!(
        refused.status >= 400 && refused.text.contains("reason"),
        "{}",
        refused.text
    );
    world.succeed(
        "release",
        &json!({"items": ["web"], "confirm": "web", "reason": "burnt down"}),
    );
    world.lab.control(&format!("sites/{AWAY}/back"), &json!({}));
    for item in ITEMS {
        assert_eq!(world.item(item).phase, "unprotected");
        world.lab.switch_on(&format!("vm-{item}"));
    }
    let orphans = world.cli(&["orphans"]).code(0);
    assert!(
        orphans.out.contains(&job.item("web").machine.clone().unwrap()),
        "{orphans}"
    );
    world.succeed("protect", &json!({}));
}

#[test]
fn b27_a_commit_at_home_ends_though_the_site_away_is_gone() {
    let world = world();
    let only = json!({"items": ["db"], "confirm": "db"});
    world.succeed("planned-failover", &json!({"items": ["db"], "confirm": "db"}));
    world.succeed("commit", &only);
    world.succeed("reprotect", &only);
    world.succeed(
        "planned-failover",
        &json!({"items": ["db"], "confirm": "db", "direction": "reverse"}),
    );
    lose_away(&world);
    let job = world.launch("commit", &only);
    pass(&world, &job.id, &["shutdown/db"]);
    world.step_is(&job.id, "fence/db", "stuck");
    decide(&world, &job.id, "attest", "fence/db");
    pass(&world, &job.id, &["delete-source/db", "delete-other-replica/db"]);
    assert_eq!(world.rest(&job.id).status, "succeeded");
    let db = world.item("db");
    assert_eq!((db.phase.as_str(), db.active_site.as_str()), ("committed", "north"));
    assert_eq!(db.target_machine, None);
}

/// Cancels a job at every step of `db` as it runs, and lets it go on each time; gives the steps.
fn cancelled_everywhere(world: &World, operation: &str, more: &Value) -> BTreeSet<String> {
    let id = world.launch(operation, more).id;
    let mut at = BTreeSet::new();
    for _ in 0..400 {
        let job = world.job(&id);
        if job.status == "succeeded" {
            return at;
        }
        let fresh = |step: &&str| step.ends_with("/db") && !at.contains(*step);
        let Some(step) = job.steps_in("running").into_iter().find(|step| fresh(step)) else {
            if job.ended_at.is_some() {
                world.cli(&["job", "retry", &id, "--detach"]).code(0);
            }
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let said = json!({"steps": [], "reason": "not now"});
        let cancelled = world.api.post(&format!("api/v1/jobs/{id}/cancel"), &said);
        // What it met is what runs after it: the step that was seen may have ended meanwhile, and the next one begun.
        let met = world.job(&id);
        at.extend(met.steps_in("running").into_iter().map(str::to_owned));
        let over = world.rest(&id);
        assert!(
            ["cancelled", "succeeded"].contains(&over.status.as_str()),
            "cancelled at {step}: {} {:#?}",
            cancelled.text,
            troubles(&over)
        );
        if over.status == "cancelled" {
            // What it left is shown, and what may be asked of it.
            assert!(world.item("db").trouble.is_some(), "cancelled at {step}");
            world.cli(&["job", "retry", &id, "--detach"]).code(0);
        }
    }
    panic!("{operation} does not end");
}

#[test]
fn f27_a_job_that_is_cancelled_at_every_stage_goes_on_from_there() {
    let world = world();
    for operation in [
        "shutdown",
        "hold",
        "process",
        "create-machine",
        "start",
        "stop",
        "prepare-replica",
        "delete-machine",
        "delete-replica",
        "delete-points",
    ] {
        world.lab.latency(operation, 200, 250);
    }
    let home = json!({"direction": "reverse"});
    let cycle = [
        ("planned-failover", json!({})),
        ("commit", json!({})),
        ("reprotect", json!({})),
        ("planned-failover", home),
        ("commit", json!({})),
        ("reprotect", json!({})),
        ("test", json!({})),
        ("cleanup", json!({})),
    ];
    let mut stages = BTreeSet::new();
    for (operation, more) in cycle {
        for step in cancelled_everywhere(&world, operation, &more) {
            stages.insert(format!("{operation} {step}"));
        }
        world.lab.assert_sound();
    }
    for stage in [
        "planned-failover shutdown/db",
        "planned-failover create/db",
        "planned-failover start/db",
        "reprotect prepare-replica/db",
        "commit delete-source/db",
        "cleanup delete/db",
    ] {
        assert!(stages.contains(stage), "not cancelled at {stage}: {stages:?}");
    }
    let db = world.item("db");
    assert_eq!((db.phase.as_str(), db.direction.as_str()), ("protected", "forward"));
}
