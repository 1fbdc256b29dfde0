//! What stands in the way of reprotect, each alone and all at once, and that nothing happens then.

use serde_json::json;

use super::{EAST, HOME, OTHER, away, breaks, refused, vmware};

#[test]
fn b04_b07_b08_b09_b10_b16_reprotect_is_refused_until_home_is_ready() {
    let world = vmware();
    away(&world);
    let plain = ("reprotect", &json!({}));
    let broken = [
        // B04: a master target of the family, and a process server.
        (
            json!({"master_targets": [{"id": "mt-windows", "os": "windows", "host": "esx-1"}]}),
            "master-target-os",
        ),
        (json!({"process_servers": []}), "process-server-none"),
        (
            json!({"process_servers": [{"id": "ps-1", "reachable": false}]}),
            "process-server-none",
        ),
        // B07: the same configuration server and vCenter.
        (
            json!({"configuration_servers": [{"id": "cs-2", "address": "10.0.0.10"}]}),
            "configuration-server-new",
        ),
        (json!({"vcenters": [{"id": "vc-2"}]}), "vcenter-new"),
        // B08: the datastore is reached.
        (
            json!({"datastores": [{"id": "ds-1", "hosts": ["esx-2"]}]}),
            "datastore-not-reachable",
        ),
        // B16: a master target, and its host discovered.
        (json!({"master_targets": []}), "master-target-none"),
        (
            json!({"hosts": [{"id": "esx-1", "discovered": false}, {"id": "esx-2"}]}),
            "esx-host-not-discovered",
        ),
        (json!({"hosts": []}), "esx-host-not-discovered"),
    ];
    for (facts, id) in &broken {
        breaks(&world, plain, HOME, facts, &[&format!("lab/{id}")]);
    }
    // What is chosen is looked at.
    let choices = [
        ("master-target", "mt-windows", "master-target-os"),
        ("master-target", "mt-9", "master-target-unknown"),
        ("process-server", "ps-9", "process-server-unknown"),
        ("configuration-server", "cs-2", "configuration-server-new"),
        ("vcenter", "vc-2", "vcenter-new"),
    ];
    for (name, value, id) in choices {
        refused(
            &world,
            "reprotect",
            &json!({"set": {name: value}}),
            &[&format!("lab/{id}")],
        );
    }
    // B07: a new vCenter beside the old one is no way either.
    world
        .lab
        .facts(HOME, &json!({"vcenters": [{"id": "vc-1"}, {"id": "vc-2"}]}));
    refused(
        &world,
        "reprotect",
        &json!({"set": {"vcenter": "vc-2"}}),
        &["lab/vcenter-new"],
    );
    // B10: on vSAN and RDM the disks must be there.
    for kind in ["vsan", "rdm"] {
        let hosts = json!(["esx-1", "esx-2"]);
        let facts = json!({"datastores": [{"id": "ds-1", "kind": kind, "hosts": hosts}]});
        world.lab.facts(HOME, &facts);
        world.lab.machine_disks(
            HOME,
            "vm-db",
            &json!([{"id": "disk-0", "bytes": 1 << 30, "attached": false}]),
        );
        refused(&world, "reprotect", &json!({}), &["lab/disk-not-attached"]);
        world
            .lab
            .machine_disks(HOME, "vm-db", &json!([{"id": "disk-0", "bytes": 1 << 30}]));
    }
    // All at once.
    let all =
        json!({"master_targets": [], "process_servers": [], "configuration_servers": [{"id": "cs-2"}], "vcenters": []});
    breaks(
        &world,
        plain,
        HOME,
        &all,
        &[
            "lab/master-target-none",
            "lab/process-server-none",
            "lab/configuration-server-new",
            "lab/vcenter-new",
        ],
    );
    world.succeed(
        "reprotect",
        &json!({"set": {"master-target": "mt-linux", "process-server": "ps-1", "vcenter": "vc-1"}}),
    );
    world.lab.assert_sound();
}

#[test]
fn b08_b09_without_a_vcenter_the_host_must_be_discovered_and_reach_the_datastore() {
    // At a home that never had a vCenter.
    let world = super::prepared(("vmware", "azure"), &[("db", json!({}))], super::USUAL, |lab| {
        lab.facts(HOME, &json!({"vcenters": []}));
    });
    away(&world);
    let plain = ("reprotect", &json!({}));
    breaks(
        &world,
        plain,
        HOME,
        &json!({"hosts": [{"id": "esx-1", "discovered": false}]}),
        &["lab/esx-host-not-discovered"],
    );
    breaks(
        &world,
        plain,
        HOME,
        &json!({"datastores": [{"id": "ds-1", "hosts": []}]}),
        &["lab/datastore-not-reachable"],
    );
    world.succeed("reprotect", &json!({}));
    world.lab.assert_sound();
}

#[test]
fn b04_reprotect_turns_the_machine_at_home_off() {
    let world = vmware();
    away(&world);
    // Somebody started it.
    world.lab.switch_on("vm-db");
    world.succeed("reprotect", &json!({}));
    assert!(!world.lab.is_on(HOME, "vm-db"));
    let start = world.lab.api.post(
        &format!("sites/{HOME}/operations"),
        &json!({"key": "by-hand", "installation": "somebody", "epoch": 1, "operation": {"start": {"machine": "vm-db"}}}),
    );
    assert!(start.text.contains("bound"), "its disks are written to: {}", start.text);
}

#[test]
fn b02_a_vmware_machine_does_not_come_back_to_hyperv() {
    let world = vmware();
    away(&world);
    world.lab.facts(OTHER, &json!({"profile": "hyperv"}));
    let text = refused(&world, "reprotect", &json!({"to": EAST}), &["lab/not-back-to-hyperv"]);
    assert!(text.contains("db"), "{text}");
    world.succeed("reprotect", &json!({}));
}
