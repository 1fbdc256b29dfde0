//! T9: answers that are lost, late, doubled, or say that it failed though it happened; requests that come twice.

use std::time::Instant;

use serde_json::json;

use super::{Harm, Scene, Target, answer_for, budget, report};
use crate::crash::Dice;
use crate::harness::documents::{Inventory, plan};
use crate::harness::proxy::Proxy;
use crate::harness::world::World;

/// Operations of a planned failover, with the site where each happens and how its machines are called there.
const OPERATIONS: [(&str, bool); 7] = [
    ("shutdown", true),
    ("hold", true),
    ("snapshot", true),
    ("receive-complete", false),
    ("process", false),
    ("create-machine", false),
    ("start", false),
];

/// Three of ten answers are not what they should be.
fn disturb(world: &World, scene: &Scene, dice: &mut Dice) -> u64 {
    let mut faults = 0;
    for (operation, home) in OPERATIONS {
        for item in scene.items() {
            if dice.below(10) >= 3 {
                continue;
            }
            let machine = if home { format!("vm-{item}") } else { item.to_owned() };
            let mut fault = json!({"operation": operation, "machine": machine, "times": 1 + dice.below(2)});
            let how = match dice.below(4) {
                0 => json!({"mode": "lose-reply"}),
                1 => json!({"mode": "fail-after-effect", "definite": false, "retryable": true}),
                2 => json!({"mode": "fail", "definite": true, "retryable": true}),
                _ => json!({"mode": "slow", "delay_ms": 300}),
            };
            let fields = how.as_object().expect("an object").clone();
            fault.as_object_mut().expect("an object").extend(fields);
            world.lab.fault(&fault);
            faults += 1;
        }
    }
    faults
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t09_answers_that_are_lost_late_or_wrong_lose_and_double_nothing() {
    let mut dice = Dice::seeded();
    let until = Instant::now() + budget();
    let (mut faults, mut jobs) = (0, 0);
    while Instant::now() < until {
        let scene = Scene::of(10);
        let world = scene.world(if jobs % 2 == 0 { Target::Keyed } else { Target::Asked });
        faults += disturb(&world, &scene, &mut dice);
        let job = world.launch("planned-failover", &json!({}));
        let mut job = world.rest(&job.id);
        // What a person does with a job that stopped at an error: tries again. Faults run out.
        for _ in 0..60 {
            if job.status == "succeeded" {
                break;
            }
            answer_for(&world, &job);
            let _ = world.cli(&["job", "retry", &job.id, "--detach"]);
            job = world.rest(&job.id);
        }
        jobs += 1;
        let harm = scene.judge(&world, &job);
        assert!(harm.is_none(), "{harm:?}");
    }
    report(
        "T9",
        &format!("lost, late and false answers, {faults} in {jobs} jobs"),
        faults,
        &Harm::default(),
    );
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t09_requests_and_answers_that_come_twice_double_nothing() {
    let until = Instant::now() + budget() / 2;
    let (mut twice, mut jobs) = (0, 0);
    while Instant::now() < until {
        let mut scene = Scene::of(10);
        // The webhooks' receiver is not behind the proxy.
        scene.hooks.clear();
        let mut proxy = None;
        let world = World::configured(|configuration| {
            let started = Proxy::start(configuration.lab, 3);
            configuration.lab = started.port;
            proxy = Some(started);
        });
        let items = scene.items();
        world.protect(&Inventory::of(&items), &plan(&items, &[]));
        let job = world.launch("planned-failover", &json!({}));
        let mut job = world.rest(&job.id);
        for _ in 0..10 {
            if job.status == "succeeded" {
                break;
            }
            let _ = world.cli(&["job", "retry", &job.id, "--detach"]);
            job = world.rest(&job.id);
        }
        jobs += 1;
        twice += proxy.map_or(0, |proxy| proxy.doubled());
        let harm = scene.judge(&world, &job);
        assert!(harm.is_none(), "{harm:?}");
    }
    assert!(twice > 0, "nothing came twice");
    report(
        "T9",
        &format!("requests and answers that come twice, in {jobs} jobs"),
        twice,
        &Harm::default(),
    );
}
