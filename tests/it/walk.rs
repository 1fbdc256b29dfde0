//! A random walk through the life of items: legal and illegal operations over random machines, against the real daemon and
//! the lab together. What the core says beforehand is what happens, a refusal leaves no trace at the sites, whatever was
//! recovered reads back whole, and from wherever the walk ends a legal way leads back to protected. On the way failovers
//! break off, are cancelled and given up, and the home site is lost and comes back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::crash::Dice;
use crate::harness::answers::Job;
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
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

/// Every so many steps something goes wrong.
const TROUBLE_EVERY: usize = 5;

struct Walk {
    world: World,
    done: BTreeMap<String, (u32, u32)>,
    /// Times that a machine ran at both sites, each as it had to.
    split: usize,
    /// Disks that were compared with their chosen points.
    compared: usize,
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
        let allowed = |answer: &String| answer == "allowed";
        // Machines that are passed over have no say in the direction.
        let passes = SETTLING.contains(&operation) && answers.iter().any(allowed);
        let said = before.iter().zip(&answers);
        let mut ways = said
            .filter(|(_, answer)| !passes || *answer != "illegal")
            .map(|(known, _)| reverse(known));
        let way = ways.next();
        let agree = ways.all(|other| Some(other) == way);
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
            self.holds_what_was_chosen(&job);
        }
        self.check();
    }

    /// Every machine that a job brought up has what was written up to its point, and nothing else.
    fn holds_what_was_chosen(&mut self, job: &Job) {
        for done in &job.items {
            let (Some(point), Some(machine)) = (&done.point, &done.machine) else {
                continue;
            };
            let view: Value = self.world.api.get(&format!("api/v1/items/{}", done.item));
            let at_home = self.world.lab.machine(HOME, machine).is_some();
            let (site, other, name) = if at_home {
                (HOME, AWAY, "target-machine")
            } else {
                (AWAY, HOME, "source-machine")
            };
            let source = view[name].as_str().expect("its source");
            self.world.lab.assert_holds((site, machine), (other, source), point);
            self.compared += 1;
        }
    }

    fn check(&self) {
        let verdict = self.world.lab.check();
        assert!(verdict.doubled.is_empty(), "doubled: {:?}", verdict.doubled);
        let split = verdict.both_active;
        assert_eq!(split.len(), self.split, "both active: {split:?}");
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

    /// Something goes wrong with an item that could be failed over.
    fn trouble(&mut self, dice: &mut Dice, item: &str) {
        let known = self.known(item);
        if known.phase != "protected" || known.operations["planned-failover"]["answer"] != "allowed" {
            return;
        }
        let name = match dice.below(3) {
            0 => self.breaks_off(dice, item, known.reverse),
            1 => self.is_stopped(dice, item, known.reverse),
            _ if known.reverse => return,
            _ => self.loses_home(dice, item),
        };
        self.done.entry(name.to_owned()).or_default().0 += 1;
        self.check();
    }

    fn planned(item: &str, reverse: bool) -> Value {
        let mut more = json!({"items": [item], "confirm": item});
        if reverse {
            more["direction"] = json!("reverse");
        }
        more
    }

    fn decide(&self, job: &Job, verb: &str, steps: &[&str]) -> u16 {
        let mut said = json!({"steps": steps, "reason": "the walk wants it"});
        if verb == "answer" {
            said["approve"] = json!(true);
        }
        self.world
            .api
            .post(&format!("api/v1/jobs/{}/{verb}", job.id), &said)
            .status
    }

    /// Back to its source, or out by another failover, which finds what this one left.
    fn goes_on(&mut self, dice: &mut Dice, item: &str) {
        let next = if dice.below(2) == 0 {
            "resume-protection"
        } else {
            "planned-failover"
        };
        self.step(next, &[item]);
    }

    /// A failover fails where its machine is made, or started.
    fn breaks_off(&mut self, dice: &mut Dice, item: &str, reverse: bool) -> &'static str {
        let (target, operation) = (
            if reverse { HOME } else { AWAY },
            if dice.below(2) == 0 { "create-machine" } else { "start" },
        );
        self.world.lab.fail_at(target, operation);
        let job = self.world.run("planned-failover", &Self::planned(item, reverse));
        self.world.lab.clear_faults();
        assert_eq!(job.status, "failed", "{:?} {:#?}", job.reason, troubles(&job));
        if dice.below(3) > 0 {
            self.goes_on(dice, item);
            return "broke off, gone on";
        }
        assert!(self.decide(&job, "retry", &[]) < 400);
        let job = self.world.rest(&job.id);
        assert_eq!(job.status, "succeeded", "{:?} {:#?}", job.reason, troubles(&job));
        self.holds_what_was_chosen(&job);
        "broke off, retried"
    }

    /// Its source is shut down, and then a person thinks better of it.
    fn is_stopped(&mut self, dice: &mut Dice, item: &str, reverse: bool) -> &'static str {
        let mut more = Self::planned(item, reverse);
        more["pause-before"] = json!(["machines"]);
        let job = self.world.run("planned-failover", &more);
        assert_eq!(job.status, "stuck", "{:?} {:#?}", job.reason, troubles(&job));
        let gate = job.steps_in("stuck")[0].to_owned();
        let abandoned = dice.below(2) == 0;
        let verb = if abandoned { "abandon" } else { "cancel" };
        assert!(self.decide(&job, verb, &[]) < 400);
        let job = self.world.rest(&job.id);
        assert_eq!(job.status, if abandoned { "abandoned" } else { "cancelled" });
        if abandoned {
            assert_eq!(self.decide(&job, "retry", &[]), 409, "what was given up is final");
            self.goes_on(dice, item);
            return "abandoned";
        }
        if dice.below(2) == 0 {
            self.goes_on(dice, item);
            return "cancelled, gone on";
        }
        assert!(self.decide(&job, "retry", &[&gate]) < 400);
        let job = self.world.step_is(&job.id, &gate, "stuck");
        assert!(self.decide(&job, "answer", &[&gate]) < 400);
        let job = self.world.rest(&job.id);
        assert_eq!(job.status, "succeeded", "{:?} {:#?}", job.reason, troubles(&job));
        self.holds_what_was_chosen(&job);
        "cancelled, retried"
    }

    /// Failed over on a person's word, and then the old source is there again.
    fn loses_home(&mut self, dice: &mut Dice, item: &str) -> &'static str {
        self.world.lab.lose_home(false);
        let mut more = Self::planned(item, false);
        more["point"] = json!("latest-processed");
        more["accept-split-brain-risk"] = json!("the walk lost it");
        let job = self.world.run("unplanned-failover", &more);
        assert_eq!(job.status, "completed-with-errors", "{:?}", job.reason);
        self.holds_what_was_chosen(&job);
        self.world.lab.home_is_back();
        eventually("both are seen, and all replicate again", || {
            let view = |item: &str| self.world.api.get::<Value>(&format!("api/v1/items/{item}"));
            let calm = ITEMS.iter().all(|item| view(item)["replication-error"].is_null());
            (calm && view(item)["both-active"] == json!(true)).then_some(())
        });
        let keep = match dice.below(3) {
            0 => None,
            1 => Some("north"),
            _ => Some("south"),
        };
        let mut more = json!({"items": [item], "confirm": item});
        let (operation, name) = match keep {
            None => ("fence", "fenced"),
            Some(site) => {
                more["keep"] = json!(site);
                (
                    "choose-direction",
                    if site == "north" { "kept at home" } else { "kept away" },
                )
            }
        };
        self.world.succeed(operation, &more);
        self.split = self.world.lab.check().both_active.len();
        let known = self.known(item);
        let home = keep == Some("north");
        assert_eq!(known.phase, if home { "protected" } else { "failed-over" });
        assert_eq!(self.world.lab.is_on(HOME, &format!("vm-{item}")), home);
        name
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
        split: 0,
        compared: 0,
    };
    walk.world.lab.furnish(&ITEMS);
    // Tests on the way back want an isolated network at home.
    let text = inventory
        .text()
        .replace("test: bubble", "test: bubble, home-test: bubble");
    walk.world.apply("inventory", &text);
    walk.world.apply("plan", &plan(&ITEMS, &[]));
    walk.world.cli(&["protect", "--plan", "hr"]).code(0);
    for step in 0..STEPS {
        if step % TROUBLE_EVERY == 0 {
            let item = ITEMS[roll(&mut dice, ITEMS.len())];
            walk.trouble(&mut dice, item);
        }
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
    assert!(walk.compared > 0, "no disk was compared with its point");
    eprintln!(
        "asked for, as accepted and refused: {:?}; disks compared with their points: {}",
        walk.done, walk.compared
    );
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
