//! Machines of several platforms in one plan: each is shut down, synchronised, proved off and brought up by the adapters
//! of its own two sites, and the plan's order holds across all of them.

use serde_json::{Value, json};

use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

/// What the lab calls the second platform's sites.
const EAST: &str = "c";
const WEST: &str = "d";

/// Item, source site and its name in the lab, target site and its name in the lab, platform of origin.
type Row = (
    &'static str,
    (&'static str, &'static str),
    (&'static str, &'static str),
    &'static str,
);

/// One of each platform, and one that changes its platform.
const ROWS: [Row; 3] = [
    ("db", ("north", HOME), ("south", AWAY), "kvm"),
    ("erp", ("east", EAST), ("west", WEST), "vmware"),
    ("web", ("east", EAST), ("south", AWAY), "vmware"),
];

/// Networks have names of their own at each target.
fn networks(target: &str) -> (&'static str, &'static str) {
    match target {
        WEST => ("portgroup-7", "portgroup-9"),
        _ => ("lan", "bubble"),
    }
}

/// Four sites of two platforms; the second platform's target replicates by itself.
fn world() -> World {
    let world = World::configured(|configuration| configuration.sites.extend([("east", EAST), ("west", WEST)]));
    for site in [EAST, WEST] {
        world.lab.control("sites", &json!({"id": site}));
    }
    let autonomous = json!({"replication": "autonomous", "lag_ms": 300, "interval_ms": 500});
    world.lab.set_site(WEST, &autonomous);
    for (network, isolated) in [("portgroup-7", false), ("portgroup-9", true)] {
        let network = json!({"site": WEST, "id": network, "name": network, "isolated": isolated});
        world.lab.control("networks", &network);
    }
    let machine = |(item, (_, site), _, origin): Row| {
        let id = format!("vm-{item}");
        json!({"site": site, "id": id, "origin": origin, "records_per_second": 20})
    };
    world.lab.control("machines", &json!(ROWS.map(machine)));
    world
}

fn inventory() -> String {
    let item = |(item, (source, _), (target, lab), _): Row| {
        let (production, test) = networks(lab);
        format!(
            "  - name: {item}\n    source: {{ site: {source}, machine: vm-{item} }}\n    target: {{ site: {target} }}\n    \
             networks:\n      - {{ nic: nic-0, production: {production}, test: {test} }}\n"
        )
    };
    format!(
        "defaults:\n  replication: {{ rpo: 2s, points-every: 3s }}\nitems:\n{}",
        ROWS.map(item).concat()
    )
}

const PLAN: &str = "plan: hr
groups:
  - { name: data, machines: [db, erp] }
  - { name: front, machines: [web] }
actions:
  - { name: data-is-up, runbook: webhook, after: [data] }
";

/// A machine's network and platform, as the lab itself has it.
fn seen(world: &World, site: &str, machine: &str) -> (String, String) {
    let found = world.lab.machine(site, machine).expect("the machine is there");
    let text = |path: &str| {
        found
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("/nics/0/network"), text("/origin"))
}

#[test]
fn x07_machines_of_several_platforms_fail_over_in_one_plan() {
    let world = world();
    world.apply("inventory", &inventory());
    world.apply("plan", PLAN);
    world.cli(&["protect", "--plan", "hr"]).code(0);

    let test = world.succeed("test", &json!({}));
    for (item, (_, home), (_, away), origin) in ROWS {
        let machine = test.item(item).machine.as_ref().unwrap();
        assert_eq!(
            seen(&world, away, machine),
            (networks(away).1.to_owned(), origin.to_owned())
        );
        assert!(world.lab.is_on(away, machine) && world.lab.is_on(home, &format!("vm-{item}")));
    }
    world.succeed("cleanup", &json!({}));

    let job = world.succeed("planned-failover", &json!({}));
    for (item, (_, home), (target, away), origin) in ROWS {
        let (machine, source) = (job.item(item).machine.as_ref().unwrap(), format!("vm-{item}"));
        assert!(
            world.lab.is_on(away, machine) && !world.lab.is_on(home, &source),
            "{item}"
        );
        assert_eq!(
            seen(&world, away, machine),
            (networks(away).0.to_owned(), origin.to_owned())
        );
        let lost = world.lab.lost_between((home, &source), (away, machine));
        assert_eq!(lost, 0, "records of {item}");
        assert_eq!(job.item(item).proof.as_deref(), Some("verified-off"), "{item}");
        assert_eq!(world.item(item).active_site, target);
    }
    // One order over both platforms: the front's source first, and up again last.
    let lines = world.lab.effects(&job.id);
    let places = |operation: &str, what: &dyn Fn(&str) -> bool| -> Vec<u64> {
        let fits = lines
            .iter()
            .filter(|line| line.operation == operation && line.machine.as_deref().is_some_and(what));
        fits.map(|line| line.seq).collect()
    };
    let web = job.item("web").machine.clone().unwrap();
    let off = |machine: &str| machine == "vm-web";
    assert!(places("shutdown", &off).iter().max() < places("shutdown", &|machine| !off(machine)).iter().min());
    assert!(
        places("start", &|machine| machine != web).iter().max()
            < places("start", &|machine| machine == web).iter().min()
    );
    assert_eq!(world.lab.webhooks(&job.id), ["data-is-up"]);

    world.cli(&["commit", "hr"]).code(0);
    for (item, ..) in ROWS {
        assert_eq!(world.item(item).phase, "committed");
    }
    world.lab.assert_sound();
}
