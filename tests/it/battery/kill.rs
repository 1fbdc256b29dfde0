//! T1: the daemon dies at every journal boundary of every step, once at each.

use std::fs;
use std::time::{Duration, Instant};

use super::{Scene, Target, begin, budget, report, see_through};

/// What a job takes to its end once nothing dies any more.
const REST: Duration = Duration::from_secs(20);

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t01_killed_at_every_journal_boundary_nothing_is_lost_or_doubled() {
    // The heart of the battery has five times what the others have.
    let deadline = Instant::now() + (budget() * 5).saturating_sub(REST);
    let (mut kills, mut jobs, mut harm) = (0, 0, super::Harm::default());
    // Each further job has more machines, so more boundaries, until the time is over.
    let sizes = [
        (4, Target::Asked),
        (16, Target::Keyed),
        (40, Target::Asked),
        (60, Target::Keyed),
        (90, Target::Asked),
    ];
    for (machines, target) in sizes {
        if Instant::now() > deadline {
            break;
        }
        let scene = Scene::of(machines);
        let mut world = scene.world(target);
        fs::write(world.path("faults.kill"), "").expect("the file");
        world.restart_daemon();
        let id = begin(&mut world);
        let job = see_through(&mut world, &id, deadline);
        kills += fs::read_to_string(world.path("faults.died")).map_or(0, |died| died.lines().count() as u64);
        jobs += 1;
        let found = scene.judge(&world, &job);
        assert!(found.is_none(), "{found:?}");
        harm = found;
        world.cli(&["journal", "verify"]).code(0);
    }
    report(
        "T1",
        &format!("killed at {kills} journal boundaries of {jobs} jobs"),
        kills,
        &harm,
    );
    assert!(kills > 30, "{kills} kills");
}
