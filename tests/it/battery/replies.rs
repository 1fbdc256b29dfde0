//! T9: answers that are lost, late, or say that it failed though it happened.

use std::time::Instant;

use serde_json::json;

use super::{Harm, Scene, Target, answer_for, budget, report};
use crate::crash::Dice;
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
