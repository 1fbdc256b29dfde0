//! The machine at home is gone: it is made again, and gets everything.

use serde_json::{Value, json};

use super::{AWAY, EAST, HOME, OTHER, RATE, away, brought_home, held, lines, refused, vmware, world};
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::world::World;

#[test]
fn b06_b11_b12_an_alternate_location_is_chosen_made_anew_and_gets_everything() {
    let world = vmware();
    let cloud = away(&world);
    world.lab.remove(HOME, "vm-db");
    let stores = json!([
        {"id": "ds-1", "kind": "vmfs", "hosts": ["esx-1"]},
        {"id": "ds-far", "kind": "vmfs", "hosts": ["esx-2"]},
        {"id": "ds-vsan", "kind": "vsan", "hosts": ["esx-1"]},
        {"id": "ds-rdm", "kind": "rdm", "hosts": ["esx-1"]},
    ]);
    world.lab.facts(HOME, &json!({"datastores": stores}));
    let chosen = |store: &str| json!({"set": {"datastore": store}});
    // B11: a datastore is chosen, and the master target's host reaches it. B12: VMFS only.
    refused(
        &world,
        "reprotect",
        &json!({}),
        &["lab/datastore-not-chosen", "lab/alternate-location"],
    );
    refused(
        &world,
        "reprotect",
        &chosen("ds-far"),
        &["lab/datastore-not-chosen", "esx-1"],
    );
    let other_host = json!({"set": {"datastore": "ds-1", "esx-host": "esx-2"}});
    refused(&world, "reprotect", &other_host, &["lab/datastore-not-chosen", "esx-2"]);
    for store in ["ds-vsan", "ds-rdm"] {
        refused(&world, "reprotect", &chosen(store), &["lab/datastore-not-vmfs"]);
    }
    // The first of two is not at the chosen datastore's host.
    let targets = json!([
        {"id": "mt-far", "os": "linux", "host": "esx-2"},
        {"id": "mt-near", "os": "linux", "host": "esx-1"},
    ]);
    world.lab.facts(HOME, &json!({"master_targets": targets}));
    let job = world.succeed("reprotect", &chosen("ds-1"));
    // B12: it says that it takes longer.
    let said = job
        .findings
        .iter()
        .find(|finding| finding.id == "lab/alternate-location")
        .unwrap();
    assert!(said.severity == "info" && said.cause.contains("longer"), "{said:?}");
    // B06: nothing of it was there.
    assert_eq!(held(&world, &job.id), 0);
    let known: Value = world.api.get("api/v1/items/db");
    assert_eq!(known["location"], "alternate");

    let back = world.succeed(
        "unplanned-failover",
        &json!({"direction": "reverse", "point": "latest"}),
    );
    let machine = back.item("db").machine.clone().unwrap();
    assert_ne!(machine, "vm-db");
    let facts = world.lab.machine(HOME, &machine).unwrap()["facts"].clone();
    assert_eq!((&facts["datastore"], &facts["host"]), (&json!("ds-1"), &json!("esx-1")));
    let (there, wrote) = brought_home(&world, &machine, &cloud["db"]);
    assert!(there > 0 && wrote - there <= 5 * RATE, "{there} of {wrote} came home");
    world.succeed("commit", &json!({}));
    assert!(world.lab.machine(AWAY, &cloud["db"]).is_none());
    // It lives at home now, and is protected from there.
    world.succeed("reprotect", &json!({}));
    let again = world.succeed("unplanned-failover", &json!({"point": "latest"}));
    assert!(world.lab.is_on(AWAY, again.item("db").machine.as_ref().unwrap()));
    assert!(!world.lab.is_on(HOME, &machine));
    world.lab.assert_sound();
}

#[test]
fn b06_x03_machines_that_are_still_to_be_made_at_one_home_are_all_known_to_be_gone() {
    let world = world("vmware", "azure", &[("one", json!({})), ("two", json!({}))]);
    world.lab.lose_home(true);
    world.run(
        "unplanned-failover",
        &json!({"point": "latest-processed", "accept-split-brain-risk": "it burns"}),
    );
    world.succeed("commit", &json!({}));
    for machine in ["vm-one", "vm-two"] {
        world.lab.remove(HOME, machine);
    }
    world.lab.home_is_back();
    let ask = json!({"set": {"datastore": "ds-1"}});
    world.lab.latency("write", 3_000, 3_000);
    let job = world.launch("reprotect", &ask);
    for item in ["one", "two"] {
        world.step_is(&job.id, &format!("seed/{item}"), "running");
        assert!(world.item(item).risk_accepted);
    }
    world.cli(&["job", "abandon", &job.id, "--reason", "never mind"]);
    world.lab.latency("write", 0, 0);
    // Their home is known, and no machine of theirs is there that could run.
    world.succeed("reprotect", &ask);
    world.lab.assert_sound();
}

#[test]
fn b13_one_large_first_transfer_then_changes_and_both_are_shown() {
    let world = vmware();
    world
        .lab
        .control("rates", &json!({"site": HOME, "records_per_second": 50_000}));
    let bytes = || world.lab.machine(HOME, "vm-db").unwrap()["records"].as_u64().unwrap() * 64;
    eventually("the disk has grown", || (bytes() > 16 << 20).then_some(()));
    world
        .lab
        .control("rates", &json!({"site": HOME, "records_per_second": RATE}));
    world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    world.lab.remove(HOME, "vm-db");
    // Every write takes a while, so that the transfer can be seen.
    world.lab.latency("write", 300, 300);
    let job = world.launch("reprotect", &json!({"set": {"datastore": "ds-1"}}));
    eventually("the first transfer is shown", || {
        let percent = world.item("db").seeded_percent?;
        (percent > 0 && percent < 100).then_some(())
    });
    let job = world.rest(&job.id);
    assert_eq!(job.status, "succeeded");
    world.lab.latency("write", 0, 0);
    let first = world.item("db").bytes_sent;
    assert!(first > 16 << 20, "all of it: {first} bytes");
    let later = eventually("changes follow", || {
        let sent = world.item("db").bytes_sent;
        (sent > first).then_some(sent - first)
    });
    assert!(later < first / 10, "{later} bytes of changes after {first}");
    assert_eq!(lines(&world, &job.id, HOME, "prepare-replica").len(), 1);
}

#[test]
fn f13_x03_an_old_machine_that_nothing_holds_is_fenced_before_home_is_elsewhere() {
    let world = World::configured(|configuration| configuration.sites.push((EAST, OTHER)));
    world.lab.control("sites", &json!({"id": OTHER}));
    world.lab.furnish(&["db"]);
    world.apply("inventory", &Inventory::of(&["db"]).text());
    world.apply("plan", &plan(&["db"], &[]));
    world.succeed("protect", &json!({}));
    world.lab.fail("hold", "vm-db");
    world.run("unplanned-failover", &json!({"point": "latest-processed"}));
    world.lab.clear_faults();
    world.succeed("commit", &json!({}));
    let refused = world.ask("reprotect", &json!({"to": EAST}));
    assert!(
        refused.text.contains("LF0302") && refused.text.contains("landfall fence item/db"),
        "{}",
        refused.text
    );
    world.succeed("fence", &json!({}));
    world.succeed("reprotect", &json!({"to": EAST}));
}

#[test]
fn b05_b06_a_machine_that_a_listing_forgets_is_not_taken_for_gone() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    world.lab.machine_facts(HOME, "vm-db", &json!({"unlisted": true}));
    let refused = world.ask("reprotect", &json!({}));
    assert!(
        refused.text.contains("LF0216") && refused.text.contains("listing"),
        "{}",
        refused.text
    );
    world.lab.machine_facts(HOME, "vm-db", &json!({"unlisted": false}));
    let job = world.succeed("reprotect", &json!({}));
    assert!(job.steps.iter().any(|step| step.id == "prove-old-off/db"));
}
