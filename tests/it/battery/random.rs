//! T2: the real daemon is killed at random moments, by somebody else.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Scene, Target, answer_for, budget, report};
use crate::crash::Dice;

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t02_killed_at_random_moments_nothing_is_lost_or_doubled() {
    let mut dice = Dice::seeded();
    let deadline = Instant::now() + budget();
    let (mut kills, mut jobs, mut slowest) = (0, 0, Duration::ZERO);
    while Instant::now() < deadline {
        let scene = Scene::of(12);
        let mut world = scene.world(if jobs % 2 == 0 { Target::Asked } else { Target::Keyed });
        for operation in ["shutdown", "process", "create-machine", "start", "write", "hold"] {
            world.lab.latency(operation, 1, 120);
        }
        let job = world.launch("planned-failover", &json!({}));
        let job = loop {
            std::thread::sleep(Duration::from_millis(dice.below(250)));
            let before = Instant::now();
            world.restart_daemon();
            slowest = slowest.max(before.elapsed());
            kills += 1;
            let job = world.job(&job.id);
            match job.status.as_str() {
                "stuck" => answer_for(&world, &job),
                _ if job.ended_at.is_some() => break job,
                _ => {}
            }
        };
        jobs += 1;
        let harm = scene.judge(&world, &job);
        assert!(harm.is_none(), "{harm:?}");
    }
    report(
        "T2",
        &format!(
            "SIGKILL at {kills} random moments of {jobs} jobs; slowest start {} ms",
            slowest.as_millis()
        ),
        kills,
        &super::Harm::default(),
    );
}
