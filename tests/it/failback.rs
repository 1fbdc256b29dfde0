//! Out and back between sites of different platforms. The lab pretends to be them, its facts are broken one at a time,
//! and what happened is read from its ledger and its disks.

mod agent;
mod alternate;
mod boot;
mod cloud;
mod disks;
mod hyperv;
mod original;
mod physical;
mod points;
mod ready;
mod reprotect;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::harness::documents::plan;
use crate::harness::lab::{AWAY, HOME, Lab};
use crate::harness::world::World;

/// A third site of the lab, and its name for the host.
const OTHER: &str = "c";
const EAST: &str = "east";

/// Records that every machine gains in a second.
const RATE: u64 = 20;

/// How machines are replicated, as the inventory says it.
#[derive(Clone, Copy)]
struct Replication<'a> {
    terms: &'a str,
    /// Those of them that form a replication group with multi-VM consistency.
    grouped: &'a [&'a str],
}

const USUAL: Replication<'static> = Replication {
    terms: "rpo: 2s, points-every: 3s",
    grouped: &[],
};

/// Machines at a home of one platform, protected to an away of another. Each is `vm-ITEM`, with what is said of it.
fn world(home: &str, away: &str, machines: &[(&str, Value)]) -> World {
    prepared((home, away), machines, USUAL, |_| {})
}

/// As [`world`], with the lab changed before anything is made in it.
fn prepared(
    (home, away): (&str, &str),
    machines: &[(&str, Value)],
    replication: Replication<'_>,
    change: impl FnOnce(&Lab),
) -> World {
    let world = World::configured(|configuration| configuration.sites.push((EAST, OTHER)));
    world.lab.facts(HOME, &json!({"profile": home}));
    world.lab.facts(AWAY, &json!({"profile": away}));
    change(&world.lab);
    world.lab.control("sites", &json!({"id": OTHER}));
    let at_home = machines.iter().map(|(item, more)| {
        let mut machine = json!({"site": HOME, "id": format!("vm-{item}"), "records_per_second": RATE});
        let fields = machine.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        machine
    });
    world.lab.control("machines", &at_home.collect());
    let items: Vec<&str> = machines.iter().map(|(item, _)| *item).collect();
    world.apply("inventory", &inventory(&items, replication));
    world.apply("plan", &plan(&items, &[]));
    world.succeed("protect", &json!({}));
    world
}

fn inventory(items: &[&str], Replication { terms, grouped }: Replication<'_>) -> String {
    let line = |item: &&str| {
        let group = if grouped.contains(item) {
            ", replication-group: together"
        } else {
            ""
        };
        format!("  - {{ name: {item}, source: {{ machine: vm-{item} }}{group} }}\n")
    };
    let groups = if grouped.is_empty() {
        ""
    } else {
        "replication-groups:\n  - { name: together, multi-vm-consistency: true }\n"
    };
    format!(
        "defaults:\n  source-site: north\n  target-site: south\n  networks:\n    - {{ nic: nic-0, production: lan, test: \
         bubble, home: lan, home-test: bubble }}\n  replication: {{ {terms} }}\n{groups}items:\n{}",
        items.iter().map(line).collect::<String>()
    )
}

/// One VMware machine with Linux, called `db`.
fn vmware() -> World {
    world("vmware", "azure", &[("db", json!({}))])
}

/// All fail over and stay. Gives the machine of every item.
fn away(world: &World) -> BTreeMap<String, String> {
    let job = world.succeed("unplanned-failover", &json!({"point": "latest"}));
    world.succeed("commit", &json!({}));
    let machines = job
        .items
        .iter()
        .map(|item| (item.item.clone(), item.machine.clone().unwrap()));
    machines.collect()
}

/// A request is refused, for all of these reasons, and nothing happens.
#[track_caller]
fn refused(world: &World, operation: &str, more: &Value, ids: &[&str]) -> String {
    let jobs = || world.lab.ledger().iter().filter(|line| line.job.is_some()).count();
    let before = jobs();
    let answer = world.ask(operation, more);
    assert!(answer.status >= 400, "{operation} was not refused: {}", answer.text);
    for id in ids {
        assert!(answer.text.contains(id), "{operation}: {id} is not in {}", answer.text);
    }
    assert_eq!(jobs(), before, "a refused {operation} had effects");
    answer.text
}

/// The same while facts of a site are other than they should be; afterwards they are as before.
#[track_caller]
fn breaks(world: &World, (operation, more): (&str, &Value), site: &str, facts: &Value, ids: &[&str]) {
    let sound: Value = world.lab.api.get(&format!("control/sites/{site}/facts"));
    let names = facts.as_object().unwrap().keys();
    let old: Map<String, Value> = names.map(|name| (name.clone(), sound[name].clone())).collect();
    world.lab.facts(site, facts);
    refused(world, operation, more, ids);
    world.lab.facts(site, &Value::Object(old));
}

/// The lines of a job about an operation at a site.
fn lines(world: &World, job: &str, site: &str, operation: &str) -> Vec<crate::harness::answers::Line> {
    let mut lines = world.lab.effects(job);
    lines.retain(|line| line.site.as_deref() == Some(site) && line.operation == operation);
    lines
}

/// Bytes of a machine's disk that the disks at home held already when its replica was prepared.
fn held(world: &World, job: &str) -> u64 {
    let lines = lines(world, job, HOME, "prepare-replica");
    let seed = lines
        .iter()
        .flat_map(|line| &line.change)
        .find_map(|change| change.pointer("/replica/seed/bytes"));
    seed.and_then(Value::as_u64).unwrap_or(0)
}

/// Records that the machine at home has of those that the machine away wrote, and all that it wrote.
fn brought_home(world: &World, home: &str, away: &str) -> (u64, u64) {
    let (home, away) = (world.lab.disk(HOME, home), world.lab.disk(AWAY, away));
    for disk in [&home, &away] {
        assert!(disk.valid, "{:?}", disk.problem);
    }
    let writer = away.incarnations.last().unwrap();
    let of = |span: &&crate::harness::answers::Span| span.incarnation == writer.incarnation;
    let there = home.incarnations.iter().find(of).map_or(0, |span| span.last);
    (there, writer.last)
}
