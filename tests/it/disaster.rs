//! Unplanned failovers: the source is gone, or something fails, and the rest goes on.

use serde_json::{Value, json};

use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

const ITEMS: [&str; 2] = ["db", "web"];

fn proof(job: &Job, item: &str) -> Value {
    let step = job.step(&format!("fence/{item}"));
    serde_json::from_str(step.outputs.get("proof").expect("a proof")).expect("JSON")
}

fn text<'a>(proof: &'a Value, path: &str) -> &'a str {
    proof.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn f15_x03_with_the_risk_accepted_a_lost_source_does_not_stop_the_failover() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.lose_home(true);
    let error = || world.api.get::<Value>("api/v1/items/db")["replication-error"].clone();
    eventually("its replication fails", || (!error().is_null()).then_some(()));
    let ended = world
        .cli(&[
            "failover",
            "hr",
            "--kind",
            "unplanned",
            "--confirm",
            "hr",
            "--accept-split-brain-risk",
            "the site burns",
            "-o",
            "json",
        ])
        .code(3);
    let job = world.job(&ended.json::<Job>().id);
    // The shutdown's failure is recorded and shown; the machines run all the same.
    assert_eq!(job.status, "completed-with-errors", "{:?}", job.reason);
    for item in ITEMS {
        let off = job.step(&format!("shutdown/{item}"));
        assert_eq!(off.status, "failed");
        assert!(off.message.is_some());
        let proof = proof(&job, item);
        assert_eq!(text(&proof, "/kind"), "human-attested", "{proof}");
        assert_eq!(text(&proof, "/evidence/reason"), "the site burns");
        assert_eq!(text(&proof, "/evidence/accepted-by"), "admin");
        assert_eq!(job.item(item).proof.as_deref(), Some("human-attested"));
        assert!(world.lab.is_on(AWAY, job.item(item).machine.as_ref().unwrap()));
        assert!(world.item(item).risk_accepted);
    }
    // Where they run now, nothing replicates that could fail.
    assert!(error().is_null(), "{}", error());
    world.lab.assert_sound();
}

#[test]
fn f15_f18_whether_a_shutdown_happened_is_left_to_the_fence() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    // It can neither be repeated nor asked for, and its answer is lost.
    world.lab.set_site(HOME, &json!({"effect_class": "one-shot"}));
    world
        .lab
        .fault(&json!({"site": HOME, "operation": "shutdown", "machine": "vm-db", "mode": "lose-reply"}));
    let job = world.run("unplanned-failover", &json!({"point": "latest-processed"}));
    assert_eq!(job.status, "completed-with-errors", "{:?}", job.reason);
    assert_eq!(job.step("shutdown/db").status, "failed");
    for item in ITEMS {
        assert_eq!(job.item(item).proof.as_deref(), Some("verified-off"));
    }
    world.lab.assert_sound();
}

#[test]
fn f15_x03_without_it_a_machine_waits_for_a_person_and_the_rest_goes_on() {
    let world = World::protected(
        &Inventory::of(&ITEMS),
        &plan(&ITEMS, &["name: report, runbook: webhook, after: [all]"]),
    );
    // One source cannot be shut down and runs on; the other can.
    world.lab.fail("shutdown", "vm-db");
    let ended = world
        .cli(&["failover", "hr", "--kind", "unplanned", "--confirm", "hr", "-o", "json"])
        .code(4);
    let id = ended.json::<Job>().id;
    let job = world.job(&id);
    assert_eq!(job.steps_in("stuck"), ["fence/db"]);
    let fence = job.step("fence/db");
    assert_eq!(fence.code.as_deref(), Some("LF0302"));
    let message = fence.message.as_ref().unwrap();
    for way in ["vm-db", "job retry", "job attest"] {
        assert!(message.contains(way), "{message}");
        assert!(ended.err.contains(way), "{ended}");
    }
    assert_eq!(job.item("db").status, "stuck");
    let web = job.item("web");
    assert!(world.lab.is_on(AWAY, web.machine.as_ref().unwrap()));
    assert_eq!(web.proof.as_deref(), Some("verified-off"));
    assert!(!world.lab.is_on(AWAY, job.item("db").machine.as_ref().unwrap()));
    // The waiting machine holds no later hook.
    assert_eq!(world.lab.webhooks(&id), ["report"]);

    // A proof cannot be skipped.
    let skipped = world
        .cli(&["job", "skip", &id, "fence/db", "--reason", "impatience"])
        .code(5);
    assert!(skipped.err.contains("LF0306"), "{skipped}");
    // Looking again helps once the source is off.
    world
        .lab
        .api
        .patch(&format!("control/machines/{HOME}/vm-db"), &json!({"on": false}))
        .ok::<Value>();
    world.cli(&["job", "retry", &id, "fence/db"]).code(3);
    let job = world.job(&id);
    assert_eq!(job.item("db").proof.as_deref(), Some("verified-off"));
    assert!(world.lab.is_on(AWAY, job.item("db").machine.as_ref().unwrap()));
    world.lab.assert_sound();
}

#[test]
fn f15_x03_a_source_that_is_not_shut_down_first_is_to_be_proved_off_all_the_same() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    // Whatever is asked of the sources never ends.
    for operation in ["shutdown", "hold"] {
        world
            .lab
            .fault(&json!({"site": HOME, "operation": operation, "mode": "hang"}));
    }
    let ask = [
        "failover",
        "hr",
        "--kind",
        "unplanned",
        "--confirm",
        "hr",
        "--no-shutdown",
    ];
    let dry: Job = world
        .cli(&[&ask[..], &["--dry-run", "-o", "json"]].concat())
        .code(0)
        .json();
    assert!(
        !dry.steps
            .iter()
            .any(|step| ["shutdown", "hold"].contains(&step.kind.as_str()))
    );
    let shown = world.cli(&[&ask[..], &["--dry-run"]].concat()).code(0);
    assert!(format!("{shown}").contains("LF0232"), "{shown}");
    // One runs, the other is off: only that one is started elsewhere.
    world
        .lab
        .api
        .patch(&format!("control/machines/{HOME}/vm-web"), &json!({"on": false}))
        .ok::<Value>();
    let ended = world.cli(&[&ask[..], &["-o", "json"]].concat()).code(4);
    let job = world.job(&ended.json::<Job>().id);
    assert_eq!(job.steps_in("stuck"), ["fence/db"]);
    assert_eq!(job.item("web").proof.as_deref(), Some("verified-off"));
    assert!(!world.lab.is_on(AWAY, job.item("db").machine.as_ref().unwrap()));
    world.lab.assert_sound();
}

#[test]
fn f15_f22_only_an_unplanned_failover_can_leave_its_sources_alone() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    for (operation, said) in [("planned-failover", false), ("planned-failover", true), ("test", false)] {
        let refused = world.ask(operation, &json!({"shutdown": said}));
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert!(refused.text.contains("unplanned failover only"), "{}", refused.text);
    }
    // What the plan leaves out a request can want.
    world.apply("plan", &format!("shutdown: false\n{}", plan(&ITEMS, &[])));
    let shuts = |more: &Value| {
        let mut asked = json!({"dry-run": true});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let dry: Job = world.ask("unplanned-failover", &asked).json();
        dry.steps.iter().any(|step| step.kind == "shutdown")
    };
    assert!(!shuts(&json!({})) && shuts(&json!({"shutdown": true})));
}

#[test]
fn f15_x03_a_person_vouches_for_a_source_that_nobody_can_see() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.lose_home(true);
    let ended = world
        .cli(&["failover", "hr", "--kind", "unplanned", "--confirm", "hr", "-o", "json"])
        .code(4);
    let id = ended.json::<Job>().id;
    let stuck = world.job(&id);
    assert_eq!(stuck.steps_in("stuck"), ["fence/db", "fence/web"]);
    world
        .cli(&["job", "attest", &id, "fence/db", "--reason", "I pulled its plug"])
        .code(4);
    assert_eq!(world.job(&id).steps_in("stuck"), ["fence/web"]);
    world
        .cli(&["job", "attest", &id, "fence/web", "--reason", "that one too"])
        .code(3);
    let job = world.job(&id);
    let proof = proof(&job, "db");
    assert_eq!(text(&proof, "/kind"), "human-attested");
    assert_eq!(text(&proof, "/evidence/reason"), "I pulled its plug");
    for item in ITEMS {
        assert!(world.lab.is_on(AWAY, job.item(item).machine.as_ref().unwrap()));
    }
    world.lab.assert_sound();
}

#[test]
fn x03_every_start_follows_a_recorded_proof() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    let job = world.succeed("planned-failover", &json!({}));
    let ledger = world.lab.ledger();
    for item in ITEMS {
        let proof = proof(&job, item);
        assert_eq!(text(&proof, "/kind"), "verified-off");
        assert_eq!(
            (text(&proof, "/site"), text(&proof, "/machine")),
            ("north", format!("vm-{item}").as_str())
        );
        // It is held: it does not start by itself.
        assert_eq!(proof.pointer("/held"), Some(&json!(true)), "{proof}");
        let observed = proof.pointer("/observed-at").and_then(Value::as_u64).unwrap();
        let machine = job.item(item).machine.as_ref();
        let start = ledger
            .iter()
            .find(|line| line.operation == "start" && line.machine.as_ref() == machine);
        let off = format!("vm-{item}");
        let shutdown = ledger
            .iter()
            .find(|line| line.operation == "shutdown" && line.machine.as_ref() == Some(&off));
        let (start, shutdown) = (start.unwrap().at_ms, shutdown.unwrap().at_ms);
        assert!(
            shutdown <= observed && observed <= start,
            "{shutdown} {observed} {start}"
        );
    }
}

#[test]
fn f18_an_unplanned_failover_runs_to_its_end_and_says_what_failed() {
    let world = World::protected(
        &Inventory::of(&["db", "app", "web"]),
        &plan(&["db", "app", "web"], &["name: report, runbook: webhook, after: [all]"]),
    );
    world
        .lab
        .fault(&json!({"operation": "create-machine", "machine": "app", "mode": "fail", "definite": true}));
    let ended = world
        .cli(&["failover", "hr", "--kind", "unplanned", "--confirm", "hr", "-o", "json"])
        .code(3);
    let id = ended.json::<Job>().id;
    let job = world.job(&id);
    assert_eq!(job.status, "completed-with-errors");
    assert!(job.reason.as_ref().unwrap().contains("create/app"), "{:?}", job.reason);
    assert!(ended.err.contains("create/app"), "{ended}");
    assert_eq!(job.item("app").status, "failed");
    for item in ["db", "web"] {
        assert!(
            world.lab.is_on(AWAY, job.item(item).machine.as_ref().unwrap()),
            "{item}"
        );
    }
    assert_eq!(world.lab.webhooks(&id), ["report"]);

    // Only what failed is done again.
    world.lab.clear_faults();
    world.cli(&["job", "retry", &id]).code(0);
    let job = world.job(&id);
    assert_eq!(job.status, "succeeded");
    assert!(world.lab.is_on(AWAY, job.item("app").machine.as_ref().unwrap()));
    assert_eq!(world.lab.webhooks(&id), ["report"]);
    world.lab.assert_sound();
}

#[test]
fn f18_data_that_never_arrived_is_lost_and_counted() {
    let inventory = Inventory {
        rpo: "1h",
        ..Inventory::of(&["db"])
    };
    let world = World::protected(&inventory, &plan(&["db"], &[]));
    // Nothing is sent for an hour; the source writes on.
    let sent = world.lab.disk(HOME, "vm-db").last.unwrap();
    crate::harness::eventually("more records", || {
        (world.lab.disk(HOME, "vm-db").last.unwrap() > sent + 20).then_some(())
    });
    world.lab.lose_home(true);
    let job = world.run("unplanned-failover", &json!({"accept-split-brain-risk": "gone"}));
    let machine = job.item("db").machine.as_ref().unwrap();
    let lost = world.lab.lost("db", machine);
    assert!(lost >= 20, "{lost}");
    let verdict = world.lab.check();
    let judged = verdict.lost.iter().find(|lost| lost.item.as_deref() == Some("db"));
    assert_eq!(judged.expect("it was judged").lost, lost);
}
