//! The main job: a plan with hooks moves machines to the other site.

use serde_json::json;

use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

const ITEMS: [&str; 3] = ["db", "app", "web"];

/// Two hooks between the groups of the plan and one at each end.
const HOOKS: [&str; 5] = [
    "name: announce, runbook: webhook, before: [all]",
    "name: db-soon, runbook: webhook, before: [tier-db]",
    "name: db-done, runbook: webhook, after: [tier-db]",
    "name: web-soon, runbook: webhook, before: [tier-web]",
    "name: report, runbook: webhook, after: [all]",
];

#[test]
fn c02_c03_f03_f22_f29_a_plan_with_hooks_fails_over_and_loses_nothing() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &HOOKS));
    let job = world.succeed("planned-failover", &json!({}));

    // Hooks arrived once each, and between the machines' starts as the plan has them.
    let told: Vec<String> = world
        .lab
        .effects(&job.id)
        .iter()
        .filter_map(|line| match line.operation.as_str() {
            "webhook" => line.action().map(str::to_owned),
            "start" | "shutdown" => Some(format!("{} {}", line.operation, line.item.as_ref().or(line.machine.as_ref())?)),
            _ => None,
        })
        .collect();
    eprintln!("{told:?}");
    for name in ITEMS {
        let item = job.item(name);
        let machine = item.machine.as_ref().unwrap();
        assert!(world.lab.is_on(AWAY, machine));
        assert!(!world.lab.is_on(HOME, &format!("vm-{name}")));
        assert_eq!(world.lab.lost(name, machine), 0, "{name}");
    }
    world.lab.assert_sound();
}
