//! The dry run shows everything that a job would send, and sends nothing.

use serde_json::{Value, json};

use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

const ITEMS: [&str; 2] = ["db", "web"];
const HOOK: &str = "name: report, runbook: webhook, after: [all], with: { text: hello }";

#[test]
fn x04_a_dry_run_shows_every_call_and_has_no_effect() {
    // Replication rests for an hour, so every new line of the ledger would be the dry run's.
    let inventory = Inventory {
        rpo: "1h",
        ..Inventory::of(&ITEMS)
    };
    let world = World::protected(&inventory, &plan(&ITEMS, &[HOOK]));
    let before = world.lab.now();
    let ended = world
        .cli(&["failover", "hr", "--kind", "planned", "--dry-run", "-o", "json"])
        .code(0);
    let dry: Job = ended.json();
    assert_eq!(dry.status, "dry-run");
    for step in dry.steps.iter().filter(|step| step.kind != "milestone") {
        assert!(step.sends.is_some(), "{} shows nothing", step.id);
    }
    let sends = |step: &str| dry.step(step).sends.as_ref().map(Value::to_string).unwrap_or_default();
    assert!(sends("shutdown/db").contains("vm-db"), "{}", sends("shutdown/db"));
    assert!(sends("action/report/after-all").contains("hello"));
    assert!(sends("create/web").contains("known after"), "{}", sends("create/web"));
    let text = world
        .cli(&["failover", "hr", "--kind", "planned", "--dry-run", "-v"])
        .code(0);
    assert!(
        text.out.contains("nothing was done") && text.out.contains("vm-web"),
        "{text}"
    );

    assert_eq!(world.lab.now(), before, "the dry run had effects");
    let jobs: Value = world.api.get("api/v1/jobs");
    assert_eq!(
        jobs["items"].as_array().map(Vec::len),
        Some(1),
        "only the protection is a job"
    );

    // The real job takes the very steps that were shown.
    let real = world.succeed("planned-failover", &json!({}));
    let ids = |job: &Job| {
        job.steps
            .iter()
            .map(|step| (step.id.clone(), step.class.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&real), ids(&dry));
}

#[test]
fn x04_plan_inventory_and_digests_are_frozen_into_the_job() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[HOOK]));
    world.lab.latency("create-machine", 1_000, 1_000);
    let job = world.launch("test", &json!({}));
    assert_eq!(job.hash.len(), 64);
    let pinned: Vec<&str> = job.plugins.keys().map(String::as_str).collect();
    assert_eq!(
        pinned,
        ["policy:standard", "runbook:webhook", "site:north", "site:south"]
    );
    assert!(
        job.plugins.values().all(|words| words.contains("sha256:")),
        "{:?}",
        job.plugins
    );
    // A plan without the hook is applied meanwhile; the job goes on with its own.
    world.apply("plan", &plan(&ITEMS, &[]));
    let ended = world.rest(&job.id);
    assert_eq!((ended.status.as_str(), &ended.hash), ("succeeded", &job.hash));
    assert_eq!(world.lab.webhooks(&job.id), ["report"]);
}
