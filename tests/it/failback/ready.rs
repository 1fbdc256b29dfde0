//! What stands in the way of a failback that was prepared.

use serde_json::json;

use super::{AWAY, HOME, away, breaks, refused, vmware};

#[test]
fn b07_b16_b17_b18_b19_b31_failback_starts_only_when_home_is_as_it_was() {
    let world = vmware();
    let cloud = away(&world);
    world.succeed("reprotect", &json!({}));
    let back = json!({"direction": "reverse", "point": "latest-processed"});
    let failback = ("unplanned-failover", &back);
    let address = "10.0.0.10";
    let broken = [
        // B07, B16.
        (
            json!({"configuration_servers": [{"id": "cs-2", "address": address}]}),
            "configuration-server-new",
        ),
        (json!({"vcenters": [{"id": "vc-2"}]}), "vcenter-new"),
        (json!({"master_targets": []}), "master-target-none"),
        (
            json!({"hosts": [{"id": "esx-1", "discovered": false}]}),
            "esx-host-not-discovered",
        ),
        // B18: reachable, at its old address, with the machine in its database.
        (json!({"configuration_servers": []}), "configuration-server-missing"),
        (
            json!({"configuration_servers": [{"id": "cs-1", "address": address, "reachable": false}]}),
            "configuration-server-unreachable",
        ),
        (
            json!({"configuration_servers": [{"id": "cs-1", "address": "10.0.0.99"}]}),
            "configuration-server-moved",
        ),
        (
            json!({"configuration_servers": [{"id": "cs-1", "address": address, "machines": ["other"]}]}),
            "machine-not-in-database",
        ),
        // B19: the master target has no snapshots.
        (
            json!({"master_targets": [{"id": "mt-linux", "os": "linux", "host": "esx-1", "snapshots": 1}]}),
            "master-target-snapshots",
        ),
        // B31: the vCenter is connected.
        (
            json!({"vcenters": [{"id": "vc-1", "connected": false}]}),
            "vcenter-disconnected",
        ),
    ];
    for (facts, id) in &broken {
        breaks(&world, failback, HOME, facts, &[&format!("lab/{id}")]);
    }
    // All at once.
    let all = json!({
        "configuration_servers": [{"id": "cs-1", "address": "10.0.0.99", "reachable": false}],
        "vcenters": [{"id": "vc-1", "connected": false}],
        "master_targets": [{"id": "mt-linux", "os": "linux", "host": "esx-1", "snapshots": 3}],
    });
    let ids = [
        "lab/configuration-server-unreachable",
        "lab/configuration-server-moved",
        "lab/vcenter-disconnected",
        "lab/master-target-snapshots",
    ];
    breaks(&world, failback, HOME, &all, &ids);
    // B17: its replication is healthy.
    world.lab.machine_facts(AWAY, &cloud["db"], &json!({"healthy": false}));
    refused(&world, "unplanned-failover", &back, &["lab/not-healthy"]);
    world.lab.machine_facts(AWAY, &cloud["db"], &json!({"healthy": true}));
    world.succeed("unplanned-failover", &back);
    world.lab.assert_sound();
}

#[test]
fn b01_no_failback_after_migration_a_move_or_the_machines_end() {
    let world = vmware();
    let cloud = away(&world);
    let back = json!({"direction": "reverse", "point": "latest-processed"});
    let broken = [
        (json!({"migrated": true}), json!({"migrated": false}), "migrated"),
        (
            json!({"resource_group": "elsewhere"}),
            json!({"resource_group": "recovery"}),
            "moved-resource-group",
        ),
    ];
    let all_refused = |operation: &str, more: &serde_json::Value| {
        for (facts, mended, id) in &broken {
            world.lab.machine_facts(AWAY, &cloud["db"], facts);
            refused(&world, operation, more, &[&format!("lab/{id}")]);
            world.lab.machine_facts(AWAY, &cloud["db"], mended);
        }
    };
    all_refused("reprotect", &json!({}));
    world.succeed("reprotect", &json!({}));
    all_refused("unplanned-failover", &back);
    world.lab.remove(AWAY, &cloud["db"]);
    let text = refused(&world, "unplanned-failover", &back, &["lab/cloud-machine-deleted"]);
    assert!(text.contains("landfall release"), "{text}");
    world.succeed("release", &json!({"reason": "somebody deleted it"}));
    assert_eq!(world.item("db").phase, "unprotected");
    world.lab.switch_on("vm-db");
    world.succeed("protect", &json!({}));
}
