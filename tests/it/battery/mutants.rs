//! T14: a battery that finds nothing may be blind. Each safeguard is taken out, and the same oracle must see it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Harm, Scene, Target, begin, report, see_through};
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

/// More than a job of four machines takes, killed at each boundary.
const LONG: Duration = Duration::from_mins(2);

/// What the oracle finds when the daemon dies at every boundary without this safeguard.
fn killed_without(safeguard: &str, target: Target) -> Harm {
    let scene = Scene::of(4);
    let mut world = scene.world(target);
    fs::write(world.path("faults.mutant"), safeguard).expect("the file");
    fs::write(world.path("faults.kill"), "").expect("the file");
    world.restart_daemon();
    let id = begin(&mut world);
    let job = see_through(&mut world, &id, Instant::now() + LONG);
    scene.judge(&world, &job)
}

fn assert_found(safeguard: &str, harm: &Harm) {
    assert!(
        !harm.is_none(),
        "without `{safeguard}` nothing was found: the battery is blind"
    );
    eprintln!("without `{safeguard}`: {harm:?}");
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t14_without_a_safeguard_the_kills_are_found_to_do_harm() {
    let safeguards = [
        ("intent", Target::Asked),
        ("probe", Target::Asked),
        ("ask", Target::Keyed),
        ("key", Target::Keyed),
    ];
    for (safeguard, target) in safeguards {
        assert_found(safeguard, &killed_without(safeguard, target));
    }
    report("T14", "mutants killed: intent, probe, ask, key", 4, &Harm::default());
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x03_t14_without_the_fence_both_sites_are_found_active() {
    let mut world = World::start();
    fs::write(world.path("faults.mutant"), "fence").expect("the file");
    world.restart_daemon();
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.fail("shutdown", "vm-db");
    let job = world.run("unplanned-failover", &json!({}));
    let machine = job.item("db").machine.as_ref();
    let both = machine.is_some_and(|machine| world.lab.is_on(AWAY, machine) && world.lab.is_on(HOME, "vm-db"));
    assert!(both, "without the fence nothing was found: the battery is blind");
    report("T14", "mutant killed: fence", 1, &Harm::default());
}
