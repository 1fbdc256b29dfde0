//! The fault battery: what the published promise is tested with. Each test breaks something as often as its time allows,
//! and judges by the lab's ledger, never by our own log. Run by `cargo xtask battery`, with a program that has crash
//! points and mutants; nothing of it runs with the suite.

mod clocks;
mod kill;
mod mutants;
mod power;
mod random;
mod replies;
mod restored;
mod rot;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::{World, troubles};

/// How long a test may go on with breaking things.
fn budget() -> Duration {
    let seconds = std::env::var("LANDFALL_BATTERY_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// A line of the battery's table, for `cargo xtask battery` to collect.
fn report(test: &str, what: &str, cases: u64, harm: &Harm) {
    let line = json!({
        "test": test, "what": what, "cases": cases,
        "lost": harm.lost, "doubled": harm.doubled, "both-active": harm.both_active, "other": harm.other,
    });
    eprintln!("{line}");
    let Some(path) = std::env::var_os("LANDFALL_BATTERY_RESULTS").map(PathBuf::from) else {
        return;
    };
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("the results can be written");
    writeln!(file, "{line}").expect("the results can be written");
}

/// What must never happen, counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Harm {
    /// Steps that did not happen, records of data that were not recovered, or committed records that are gone.
    lost: u64,
    /// Effects that happened twice.
    doubled: u64,
    /// Machines that ran at both sites.
    both_active: u64,
    /// Anything else that is wrong, in words.
    other: Vec<String>,
}

impl Harm {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How a target is protected from a second order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// It knows keys.
    Keyed,
    /// It does everything again, and can be asked.
    Asked,
}

/// Items, and hooks around them that can neither be repeated nor asked for.
struct Scene {
    items: Vec<String>,
    hooks: Vec<String>,
}

impl Scene {
    fn of(machines: usize) -> Self {
        let names = (1..=machines).map(|number| format!("m{number}"));
        let hook = |name: &str, place: &str| format!("name: {name}, runbook: webhook, {place}: [all]");
        Self {
            items: names.collect(),
            hooks: vec![hook("announce", "before"), hook("report", "after")],
        }
    }

    fn items(&self) -> Vec<&str> {
        self.items.iter().map(String::as_str).collect()
    }

    /// Hooks can neither be repeated nor asked for. The target drops what it knows by its key, or does it again and can
    /// only be asked.
    fn world(&self, target: Target) -> World {
        let world = World::configured(|configuration| configuration.keyed = false);
        if target == Target::Asked {
            world
                .lab
                .set_site(AWAY, &json!({"effect_class": "probeable", "dedupe": false}));
        }
        let hooks: Vec<&str> = self.hooks.iter().map(String::as_str).collect();
        let items = self.items();
        world.protect(&Inventory::of(&items), &plan(&items, &hooks));
        world
    }

    /// What a planned failover must have come to.
    fn judge(&self, world: &World, job: &Job) -> Harm {
        let mut harm = Harm::default();
        if job.status != "succeeded" {
            harm.other.push(format!(
                "the job is {}: {:?} {:?}",
                job.status,
                job.reason,
                troubles(job)
            ));
        }
        let verdict = world.lab.check();
        harm.doubled += verdict.doubled.len() as u64;
        harm.both_active += verdict.both_active.len() as u64;
        for item in self.items() {
            match &job.item(item).machine {
                Some(machine) if world.lab.is_on(AWAY, machine) => {
                    harm.lost += world.lab.lost(item, machine);
                    harm.both_active += u64::from(world.lab.is_on(HOME, &format!("vm-{item}")));
                }
                _ => harm.lost += 1,
            }
        }
        let heard = world.lab.webhooks(&job.id);
        for hook in ["announce", "report"].into_iter().filter(|_| !self.hooks.is_empty()) {
            match heard.iter().filter(|heard| *heard == hook).count() {
                0 => harm.lost += 1,
                times => harm.doubled += times as u64 - 1,
            }
        }
        harm
    }
}

/// What a person does who is asked about a hook of which nobody can tell: looks whether it was heard.
fn answer_for(world: &World, job: &Job) {
    for step in job.steps_in("stuck") {
        let hook = step.split('/').nth(1).unwrap_or_default();
        let heard = world.lab.webhooks(&job.id).iter().any(|heard| heard == hook);
        let arguments: Vec<&str> = if heard {
            vec!["job", "skip", &job.id, step, "--reason", "it was heard", "--detach"]
        } else {
            vec!["job", "retry", &job.id, step, "--detach"]
        };
        // The daemon may die at it; then it is asked again.
        let _ = world.cli(&arguments);
    }
}

/// Starts a planned failover of a daemon that dies at it.
fn begin(world: &mut World) -> String {
    let body = json!({"operation": "planned-failover", "plan": "hr", "confirm": "hr"});
    world.api.post_into_the_void("api/v1/jobs", &body);
    loop {
        let jobs = world
            .api
            .try_get("api/v1/jobs")
            .map(|answer| answer.ok::<serde_json::Value>());
        let newest = jobs.as_ref().and_then(|jobs| jobs.pointer("/items/0"));
        if let Some(job) = newest.filter(|job| job["operation"] == "planned-failover") {
            return job["id"].as_str().expect("a job has an id").to_owned();
        }
        while world.daemon_has_ended() && !world.try_restart_daemon() {}
    }
}

/// Until a job is over: starts the daemon again whenever it died, and answers what a person is asked.
fn see_through(world: &mut World, id: &str, deadline: Instant) -> Job {
    loop {
        if Instant::now() > deadline {
            // From here on nothing dies any more, and the job goes to its end.
            let _ = fs::rename(world.path("faults.kill"), world.path("faults.died"));
        }
        if world.daemon_has_ended() && !world.try_restart_daemon() {
            continue;
        }
        match world.try_job(id) {
            Some(job) if job.ended_at.is_some() => {
                let _ = fs::rename(world.path("faults.kill"), world.path("faults.died"));
                return job;
            }
            Some(job) if job.status == "stuck" => answer_for(world, &job),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
