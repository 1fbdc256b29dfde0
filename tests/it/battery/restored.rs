//! Backups: restored in the middle of a job, and restored elsewhere while the old daemon sleeps and wakes again. What
//! happened after the backup is in no file, and still nothing may be lost or happen twice.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Harm, Scene, Target, answer_for, budget, report};
use crate::backup::{backup, restore};
use crate::crash::Dice;
use crate::harness::answers::{Job, Line};
use crate::harness::world::World;

/// Operations take their time, so that a backup falls between any two of them; the whole job takes some two seconds.
fn slow(world: &World) {
    for operation in ["shutdown", "hold", "process", "create-machine", "start"] {
        world.lab.latency(operation, 50, 300);
    }
}

/// Some time of a job that has begun.
fn wait(dice: &mut Dice) {
    std::thread::sleep(Duration::from_millis(dice.below(2_000)));
}

/// What a person does after a restore: compares, lets the job go on, and says what became of what nobody can tell.
fn see_home(world: &World, id: &str) -> Job {
    let _ = world.cli(&["reconcile", "--accept", "the machines there are this job's own"]);
    let mut job = world.rest(id);
    for _ in 0..60 {
        if job.status == "succeeded" {
            break;
        }
        answer_for(world, &job);
        let _ = world.cli(&["job", "retry", id, "--detach"]);
        job = world.rest(id);
    }
    job
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x09_a_backup_restored_in_the_middle_of_a_job_loses_and_doubles_nothing() {
    let mut dice = Dice::seeded();
    let until = Instant::now() + budget();
    let mut jobs = 0;
    while Instant::now() < until {
        let scene = Scene::of(4);
        let mut world = scene.world(if jobs % 2 == 0 { Target::Keyed } else { Target::Asked });
        slow(&world);
        let job = world.launch("planned-failover", &json!({}));
        wait(&mut dice);
        let file = backup(&world);
        wait(&mut dice);
        restore(&mut world, &file);
        let job = see_home(&world, &job.id);
        jobs += 1;
        let harm = scene.judge(&world, &job);
        assert!(harm.is_none(), "{harm:?}");
    }
    let what = "backups restored in the middle of a job, some time after it went on";
    report("X09", what, jobs, &Harm::default());
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x09_a_daemon_that_wakes_beside_its_restored_successor_does_no_harm() {
    let mut dice = Dice::seeded();
    let until = Instant::now() + budget();
    let (mut jobs, mut refused) = (0, 0);
    while Instant::now() < until {
        // Hooks know no epochs: what an old daemon tells them is listed, and not refused.
        let scene = Scene {
            hooks: Vec::new(),
            ..Scene::of(4)
        };
        let mut world = scene.world(Target::Keyed);
        slow(&world);
        let job = world.launch("planned-failover", &json!({}));
        wait(&mut dice);
        let file = backup(&world);
        world.kill_daemon();
        let (data, old, new) = (world.path("data"), world.path("old"), world.path("new"));
        fs::rename(&data, &old).unwrap();
        fs::create_dir(&data).unwrap();
        restore(&mut world, &file);
        let done = see_home(&world, &job.id);
        // The old one wakes where it was: in the middle of the job.
        world.kill_daemon();
        fs::rename(&data, &new).unwrap();
        fs::rename(&old, &data).unwrap();
        let before = world.lab.ledger().len();
        world.restart_daemon();
        world.rest(&job.id);
        // A person who does not know asks it for more.
        let more = ["commit", "test", "planned-failover"].map(|operation| world.ask(operation, &json!({})));
        for answer in more.into_iter().filter(|answer| answer.status < 300) {
            world.rest(&answer.ok::<Job>().id);
        }
        let after: Vec<_> = world.lab.ledger().into_iter().skip(before).collect();
        let is_stale = |line: &&Line| line.note.as_ref().is_some_and(|note| note.starts_with("stale-epoch"));
        refused += after.iter().filter(is_stale).count();
        jobs += 1;
        let mut harm = scene.judge(&world, &done);
        let did = |line: &&Line| line.caller.ends_with("@1") && matches!(&*line.result, "changed" | "accepted");
        harm.other.extend(
            after
                .iter()
                .filter(did)
                .map(|line| format!("under the old epoch: {line:?}")),
        );
        assert!(harm.is_none(), "{harm:?}");
    }
    assert!(refused > 0, "no target refused an old epoch");
    let what = format!("old daemons that wake beside their restored successor; {refused} orders refused");
    report("X09", &what, jobs, &Harm::default());
}
