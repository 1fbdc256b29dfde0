//! A random walk through the life of items: legal and illegal operations over random machines, against the real daemon and
//! the lab together. What the core says beforehand is what happens, a refusal leaves no trace at the sites, whatever was
//! recovered reads back whole, and from wherever the walk ends a legal way leads back to protected.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::crash::Dice;
use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::{World, troubles};

const ITEMS: [&str; 3] = ["one", "two", "lone"];
/// Operations that pass over machines which are where it leads already.
const SETTLING: [&str; 6] = [
    "protect",
    "cleanup",
    "commit",
    "resume-protection",
    "fence",
    "unprotect",
];
/// All that need no special circumstances.
const OPERATIONS: [&str; 9] = [
    "protect",
    "test",
    "cleanup",
    "planned-failover",
    "unplanned-failover",
    "change-point",
    "commit",
    "reprotect",
    "unprotect",
];

/// Steps of one walk: enough for several lives, and some seconds.
const STEPS: usize = 60;

struct Walk {
    world: World,
    done: BTreeMap<String, (u32, u32)>,
}

/// What the daemon says of an item.
struct Known {
    phase: String,
    reverse: bool,
    test: String,
    site: String,
    machine: Option<String>,
    operations: Value,
}

impl Walk {
    fn known(&self, item: &str) -> Known {
        let view: Value = self.world.api.get(&format!("api/v1/items/{item}"));
        let text = |name: &str| view[name].as_str().unwrap_or_default().to_owned();
        let home = text("active-site") == "north";
        let machine = if home {
            text("source-machine")
        } else {
            text("target-machine")
        };
        Known {
            phase: text("phase"),
            reverse: text("direction") == "reverse",
            test: text("test"),
            site: if home { HOME } else { AWAY }.to_owned(),
            machine: (!machine.is_empty()).then_some(machine),
            operations: view["operations"].clone(),
        }
    }

    fn of_jobs(&self) -> usize {
        let lines = self.world.lab.ledger();
        lines
            .iter()
            .filter(|line| line.job.is_some() && line.result == "changed")
            .count()
    }

    /// Asks for an operation, and compares what comes of it with what was said of each item.
    fn step(&mut self, operation: &str, items: &[&str]) {
        let before: Vec<Known> = items.iter().map(|item| self.known(item)).collect();
        let answer = |known: &Known| {
            known.operations[operation]["answer"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let answers: Vec<String> = before.iter().map(answer).collect();
        let away = |known: &Known| matches!(known.phase.as_str(), "failed-over" | "committed");
        let turns = matches!(operation, "reprotect" | "planned-failover" | "unplanned-failover");
        let reverse = |known: &Known| known.reverse != (turns && away(known));
        let agree = before.iter().all(|known| reverse(known) == reverse(&before[0]));
        let allowed = |answer: &String| answer == "allowed";
        let settles = SETTLING.contains(&operation)
            && answers.iter().any(allowed)
            && answers.iter().all(|answer| answer != "blocked");
        let expected = agree && (answers.iter().all(allowed) || settles);

        let mut more = json!({"items": items, "confirm": sorted(items).join("+")});
        if items.len() == 1 {
            more["confirm"] = json!(items[0]);
        }
        if operation == "change-point" || operation == "unplanned-failover" {
            more["point"] = json!("latest-processed");
        }
        if reverse(&before[0]) && operation.ends_with("-failover") && agree {
            more["direction"] = json!("reverse");
        }
        let effects = self.of_jobs();
        let said = self.world.ask(operation, &more);
        let tally = self.done.entry(operation.to_owned()).or_default();
        if said.status >= 400 {
            tally.1 += 1;
            assert!(
                !expected,
                "{operation} of {items:?} was said to be possible: {}",
                said.text
            );
            assert!(said.text.contains("LF0"), "{}", said.text);
            assert_eq!(self.of_jobs(), effects, "a refusal changed something");
        } else {
            tally.0 += 1;
            let job: Job = said.ok();
            assert!(
                expected,
                "{operation} of {items:?} was said to be {answers:?}, and began"
            );
            let job = self.world.rest(&job.id);
            assert_eq!(
                job.status,
                "succeeded",
                "{operation} of {items:?}: {:?} {:#?}",
                job.reason,
                troubles(&job)
            );
        }
        self.check();
    }

    fn check(&self) {
        self.world.lab.assert_sound();
        for item in ITEMS {
            let known = self.known(item);
            let machine = known.machine.unwrap_or_else(|| panic!("{item} is nowhere"));
            assert!(
                self.world.lab.is_on(&known.site, &machine),
                "{item} is off at {}",
                known.site
            );
            let disk = self.world.lab.disk(&known.site, &machine);
            assert!(disk.valid, "{item}: {:?}", disk.problem);
        }
    }

    /// From wherever it is, by what is legal.
    fn lead_home(&mut self, item: &str) {
        for _ in 0..12 {
            let known = self.known(item);
            let next = match (known.test.as_str(), known.phase.as_str(), known.reverse) {
                ("none", "protected", false) => return,
                ("none", "unprotected" | "seeding", _) => "protect",
                ("none", "protected", true) => "planned-failover",
                ("none", "failed-over", _) => "commit",
                ("none", "committed" | "reprotecting", _) => "reprotect",
                _ => "cleanup",
            };
            self.step(next, &[item]);
        }
        panic!("{item} does not come back to protected");
    }
}

#[test]
fn x02_f31_whatever_is_asked_in_whatever_order_is_what_was_said_and_leads_home_again() {
    let inventory = Inventory {
        grouped: &["one", "two"],
        ..Inventory::of(&ITEMS)
    };
    let mut dice = Dice::seeded();
    let mut walk = Walk {
        world: World::start(),
        done: BTreeMap::new(),
    };
    walk.world.lab.furnish(&ITEMS);
    // Tests on the way back want an isolated network at home.
    let text = inventory
        .text()
        .replace("test: bubble", "test: bubble, home-test: bubble");
    walk.world.apply("inventory", &text);
    walk.world.apply("plan", &plan(&ITEMS, &[]));
    walk.world.cli(&["protect", "--plan", "hr"]).code(0);
    for _ in 0..STEPS {
        let mut operation = OPERATIONS[roll(&mut dice, OPERATIONS.len())];
        let mut items = ITEMS.to_vec();
        while items.len() > 1 && dice.below(3) > 0 {
            let out = roll(&mut dice, items.len());
            items.remove(out);
        }
        // Half of the time something that one of them can do, or the walk would stand still.
        if dice.below(2) == 0 {
            let known = walk.known(items[0]);
            let legal: Vec<&str> = OPERATIONS
                .into_iter()
                .filter(|operation| known.operations[operation]["answer"] == "allowed")
                .collect();
            if !legal.is_empty() {
                operation = legal[roll(&mut dice, legal.len())];
            }
        }
        walk.step(operation, &items);
    }
    for item in ITEMS {
        walk.lead_home(item);
    }
    eprintln!("asked for, as accepted and refused: {:?}", walk.done);
}

fn roll(dice: &mut Dice, bound: usize) -> usize {
    usize::try_from(dice.below(bound as u64)).expect("small")
}

/// As a request without a plan is named.
fn sorted<'i>(items: &[&'i str]) -> Vec<&'i str> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items
}
