//! Disks that are not replicated: they stay where they are, and come to no other machine.

use serde_json::{Value, json};

use super::{AWAY, HOME, USUAL, away, inventory, lines, world};

#[test]
fn f32_b05_excluded_disks_stay_at_home_and_are_there_when_the_machine_is_back() {
    let disk = |id: &str| json!({"id": id, "bytes": 1 << 30});
    let disks = json!([disk("disk-0"), disk("disk-1"), disk("swap")]);
    let world = world("vmware", "azure", &[("db", json!({"disks": disks}))]);
    world.succeed("unprotect", &json!({}));
    let excluding = inventory(&["db"], USUAL).replace("vm-db }", "vm-db }, exclude-disks: [swap]");
    world.apply("inventory", &excluding);
    let before = world.lab.now();
    world.succeed("protect", &json!({}));
    let ids = |site: &str, machine: &str| -> Vec<String> {
        let machine = world.lab.machine(site, machine).unwrap();
        let disks = machine["disks"].as_array().unwrap().clone();
        disks
            .iter()
            .map(|disk| disk["id"].as_str().unwrap().to_owned())
            .collect()
    };
    // Every snapshot leaves it out.
    let snapshots = world
        .lab
        .ledger()
        .into_iter()
        .filter(|line| line.seq > before && line.operation == "snapshot" && line.site.as_deref() == Some(HOME));
    let excluded: Vec<Value> = snapshots
        .flat_map(|line| line.change)
        .filter_map(|change| change.pointer("/marks/0/1/excluded").cloned())
        .collect();
    assert!(
        !excluded.is_empty() && excluded.iter().all(|disks| *disks == json!(["swap"])),
        "{excluded:?}"
    );
    let cloud = away(&world);
    assert_eq!(ids(AWAY, &cloud["db"]), ["disk-0", "disk-1"]);
    let job = world.succeed("reprotect", &json!({}));
    assert_eq!(lines(&world, &job.id, HOME, "prepare-replica").len(), 1);
    world.succeed(
        "unplanned-failover",
        &json!({"direction": "reverse", "point": "latest"}),
    );
    assert_eq!(ids(HOME, "vm-db"), ["disk-0", "disk-1", "swap"]);
    assert!(world.lab.disk(HOME, "vm-db").valid);
    world.lab.assert_sound();
}
