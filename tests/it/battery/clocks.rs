//! T6: the clock on the wall jumps, forwards and backwards, while a job runs.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Harm, Scene, Target, answer_for, budget, report};
use crate::crash::Dice;

/// Seconds: a year either way, an hour as summer time is set wrong, a minute, and back to the truth.
const JUMPS: [i64; 7] = [31_536_000, -31_536_000, 3_600, -3_600, 61, -61, 0];

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t06_a_clock_that_jumps_loses_and_doubles_nothing_and_activates_nothing_unproved() {
    let mut dice = Dice::seeded();
    let until = Instant::now() + budget();
    let (mut jumps, mut jobs) = (0, 0);
    while Instant::now() < until {
        let scene = Scene::of(8);
        let mut world = scene.world(if jobs % 2 == 0 { Target::Keyed } else { Target::Asked });
        let clock = world.path("clock");
        fs::write(&clock, 0_i64.to_le_bytes()).expect("the file");
        world.preload_shim(&[("LANDFALL_SHIM_CLOCK", clock.to_str().expect("a path"))]);
        world.restart_daemon();
        for operation in ["shutdown", "process", "create-machine", "start"] {
            world.lab.latency(operation, 20, 200);
        }
        let job = world.launch("planned-failover", &json!({}));
        let began = Instant::now();
        let job = loop {
            std::thread::sleep(Duration::from_millis(30 + dice.below(150)));
            // At last the clock stands still, and the job goes to its end.
            let jump = if began.elapsed() < Duration::from_secs(8) {
                JUMPS[usize::try_from(dice.below(7)).expect("an index")]
            } else {
                0
            };
            fs::write(&clock, jump.to_le_bytes()).expect("the file");
            jumps += 1;
            let job = world.job(&job.id);
            match job.status.as_str() {
                "succeeded" => break job,
                "stuck" => answer_for(&world, &job),
                "failed" | "completed-with-errors" => {
                    let _ = world.cli(&["job", "retry", &job.id, "--detach"]);
                }
                _ => {}
            }
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "{}: {:?}",
                job.status,
                job.reason
            );
        };
        let events: serde_json::Value = world.api.get(&format!("api/v1/jobs/{}/evidence", job.id));
        let times = events["report"]["journal"].as_array().expect("records").iter();
        let times: Vec<u64> = times.filter_map(|record| record["at"].as_u64()).collect();
        let apart = times
            .iter()
            .max()
            .zip(times.iter().min())
            .map_or(0, |(last, first)| last - first);
        assert!(
            apart > 60_000,
            "the daemon saw no jump: its records are {apart} ms apart"
        );
        jobs += 1;
        let harm = scene.judge(&world, &job);
        assert!(harm.is_none(), "{harm:?}");
    }
    report(
        "T6",
        &format!("jumps of the clock by up to a year, {jumps} in {jobs} jobs"),
        jumps,
        &Harm::default(),
    );
}
