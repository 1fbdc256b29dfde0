//! The far side goes away, or does its work and loses the answer.

use std::time::Duration;

use serde_json::json;

use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::{World, troubles};

const ITEMS: [&str; 2] = ["db", "web"];

#[test]
fn a_lab_that_goes_away_in_the_middle_is_waited_for_and_nothing_is_lost() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.latency("create-machine", 1_500, 1_500);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "create/db", "running");
    world.lab.kill();
    // The job says what it waits for.
    eventually("the job says that the site does not answer", || {
        let job = world.job(&job.id);
        let step = job.step("create/db");
        step.note.as_ref().or(step.message.as_ref()).map(|_| ())
    });
    assert!(world.job(&job.id).ended_at.is_none());
    world.lab.restart();
    let ended = world.rest(&job.id);
    // Short outages are ridden out; after a longer one a person says when to go on.
    let ended = if ended.status == "succeeded" {
        ended
    } else {
        world.cli(&["job", "retry", &job.id]).code(0);
        world.job(&job.id)
    };
    assert_eq!(ended.status, "succeeded", "{:#?}", troubles(&ended));
    for item in ITEMS {
        assert_eq!(world.lab.lost(item, ended.item(item).machine.as_ref().unwrap()), 0);
    }
    world.lab.assert_sound();
}

#[test]
fn a_lab_that_is_not_there_refuses_a_job_and_is_named() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.kill();
    let refused = world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(5);
    assert!(
        refused.err.contains("LF0203") && refused.err.contains("does not answer"),
        "{refused}"
    );
    let sites = world.cli(&["site", "list"]).code(0);
    assert!(sites.out.contains("north"), "{sites}");
    world.lab.restart();
    world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(0);
    world.lab.assert_sound();
}

/// A planned failover in which one answer of every operation goes wrong after the effect.
fn with_answers_that_go_wrong(mode: &str) {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    for operation in ["shutdown", "hold", "process", "create-machine", "start"] {
        world
            .lab
            .fault(&json!({"operation": operation, "mode": mode, "times": 1, "retryable": true}));
    }
    let job = world.succeed("planned-failover", &json!({}));
    let tries: u32 = job.steps.iter().map(|step| step.attempt.saturating_sub(1)).sum();
    assert!(tries >= 5, "only {tries} answers went wrong");
    for item in ITEMS {
        assert_eq!(world.lab.lost(item, job.item(item).machine.as_ref().unwrap()), 0);
    }
    let machines = job.items.iter().filter_map(|item| item.machine.clone()).count();
    assert_eq!(machines, ITEMS.len());
    world.lab.assert_sound();
}

#[test]
fn x02_an_answer_that_is_lost_doubles_nothing() {
    with_answers_that_go_wrong("lose-reply");
}

#[test]
fn x02_a_failure_that_was_none_doubles_nothing() {
    with_answers_that_go_wrong("fail-after-effect");
}

#[test]
fn x02_a_target_without_keys_is_asked_before_anything_is_sent_again() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    // It does not know keys, but it can say what it did: the class that most hypervisors have.
    world.lab.set_site(
        AWAY,
        &json!({"dedupe": false, "effect_class": "probeable", "settle_ms": 200}),
    );
    world
        .lab
        .fault(&json!({"operation": "create-machine", "mode": "lose-reply", "times": 1}));
    let job = world.succeed("test", &json!({}));
    assert_eq!(job.step("create/db").class, "probeable");
    assert!(job.step("create/db").attempt > 1);
    world.lab.assert_sound();
}

#[test]
fn x02_f18_a_site_that_hangs_holds_up_no_other_plan() {
    let world = World::configured(|configuration| configuration.sites.push(("east", "lab-c")));
    world.lab.control("sites", &json!({"id": "lab-c"}));
    let machine = |site: &str, id: &str| json!({"site": site, "id": id, "records_per_second": 100});
    world.lab.control(
        "machines",
        &json!([machine(HOME, "vm-db"), machine("lab-c", "vm-shop")]),
    );
    let inventory = Inventory::of(&ITEMS).text().replace(
        "name: web, source: { machine: vm-web }",
        "name: shop, source: { site: east, machine: vm-shop }",
    );
    world.apply("inventory", &inventory);
    world.cli(&["protect", "db", "shop"]).code(0);
    world.lab.fault(&json!({"site": HOME, "mode": "hang"}));
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| {
            let more = json!({"items": ["db"], "confirm": "db", "point": "latest-processed",
                "accept-split-brain-risk": "it burns"});
            world.ask("unplanned-failover", &more)
        });
        // The first is on its way; nothing shows how far it is.
        std::thread::sleep(Duration::from_millis(500));
        world.succeed("test", &json!({"items": ["shop"], "point": "latest-processed"}));
        assert!(!hanging.is_finished(), "no site hung");
        world.lab.clear_faults();
        let job: Job = hanging.join().expect("its thread").ok();
        assert_eq!(world.rest(&job.id).item("db").status, "done");
    });
}

#[test]
fn x02_of_two_that_ask_for_one_machine_at_once_one_gets_it() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    // While both look at the sites, nothing is taken yet.
    world.lab.latency("machines", 500, 500);
    let ask = || world.ask("planned-failover", &json!({"confirm": "hr"}));
    let said = std::thread::scope(|scope| {
        let asked = [scope.spawn(ask), scope.spawn(ask)];
        asked.map(|asked| asked.join().expect("its thread"))
    });
    let (began, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.status < 300);
    let ([began], [refused]) = (began.as_slice(), refused.as_slice()) else {
        panic!("{} of two began", began.len());
    };
    let job: Job = began.ok();
    assert!(
        refused.text.contains("LF0201") && refused.text.contains(&job.id),
        "{}",
        refused.text
    );
    assert_eq!(world.rest(&job.id).status, "succeeded");
    world.lab.assert_sound();
}
