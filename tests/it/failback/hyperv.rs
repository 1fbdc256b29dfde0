//! Hyper-V: between two sites by reverse replication, from the cloud by a planned failover.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::answers::Job;

use super::{AWAY, HOME, brought_home, refused, world};

#[test]
fn f24_f25_f31_between_sites_replication_is_reversed_once_the_primary_is_there() {
    let world = world("hyperv", "hyperv", &[("db", json!({}))]);
    world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    let back = json!({"direction": "reverse"});
    let text = refused(&world, "planned-failover", &back, &["reprotect"]);
    assert!(text.contains("everse replication"), "{text}");
    // F25: a primary that is unavailable is restored first, and so is one that is gone.
    world.lab.control(&format!("machines/{HOME}/vm-db/lose"), &json!({}));
    let text = refused(&world, "reprotect", &json!({}), &["lab/primary-unavailable"]);
    assert!(text.contains("ackup"), "{text}");
    world
        .lab
        .control(&format!("machines/{HOME}/vm-db/restore"), &json!({"records": 10}));
    let job = world.succeed("reprotect", &json!({}));
    assert_eq!(
        super::held(&world, &job.id),
        0,
        "a backup is not the state that the other side began with"
    );
    let cloud = world.item("db").target_machine.unwrap();
    world.succeed("planned-failover", &back);
    let (there, wrote) = brought_home(&world, "vm-db", &cloud);
    assert_eq!(there, wrote, "a planned failover loses nothing");
    world.lab.assert_sound();
}

#[test]
fn f25_a_primary_that_was_deleted_is_restored_first() {
    let world = world("hyperv", "hyperv", &[("db", json!({}))]);
    world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    world.lab.remove(HOME, "vm-db");
    refused(&world, "reprotect", &json!({}), &["lab/primary-unavailable"]);
    // The backup brings it back under its name.
    world
        .lab
        .control("machines", &json!({"site": HOME, "id": "vm-db", "on": false}));
    world.succeed("reprotect", &json!({}));
    world.succeed("planned-failover", &json!({"direction": "reverse"}));
    assert!(world.lab.is_on(HOME, "vm-db"));
}

#[test]
fn f16_hyperv_sends_what_it_has_before_an_unplanned_failover() {
    let world = world("hyperv", "hyperv", &[("db", json!({}))]);
    let out = world.succeed("unplanned-failover", &json!({"point": "latest"}));
    let machine = out.item("db").machine.clone().unwrap();
    assert!(
        out.has_kind("sync"),
        "{:?}",
        out.steps.iter().map(|step| &step.id).collect::<Vec<_>>()
    );
    assert_eq!(world.lab.lost("db", &machine), 0, "nothing was left behind");
    world.lab.assert_sound();
}

#[test]
fn f28_f31_from_the_cloud_hyperv_comes_back_by_a_planned_failover() {
    let world = world("hyperv", "azure", &[("db", json!({}))]);
    let out = world.succeed("unplanned-failover", &json!({"point": "latest"}));
    assert!(
        !out.has_kind("boot-prepare"),
        "F28: Hyper-V machines start in the cloud as they are"
    );
    world.succeed("commit", &json!({}));
    let cloud = out.item("db").machine.clone().unwrap();
    refused(&world, "reprotect", &json!({}), &["planned failover"]);
    let back = world.succeed("planned-failover", &json!({"direction": "reverse"}));
    assert_eq!(back.item("db").machine.as_deref(), Some("vm-db"));
    let (there, wrote) = brought_home(&world, "vm-db", &cloud);
    assert_eq!(there, wrote, "a planned failover loses nothing");
    world.succeed("commit", &json!({}));
    world.succeed("reprotect", &json!({}));
    assert_eq!(world.item("db").direction, "forward");
    world.lab.assert_sound();
}

#[test]
fn f14_encrypted_data_opens_only_with_the_certificate_that_is_named() {
    let world = world("hyperv", "azure", &[("db", json!({"facts": {"encryption": true}}))]);
    for (operation, more) in [
        ("test", json!({})),
        ("planned-failover", json!({})),
        ("unplanned-failover", json!({"point": "latest"})),
    ] {
        refused(&world, operation, &more, &["lab/certificate-missing"]);
    }
    let named = |value: &str| json!({"point": "latest", "set": {"encryption-certificate": value}});
    refused(
        &world,
        "unplanned-failover",
        &named("MIIC"),
        &["lab/certificate-not-secret"],
    );
    // One that nobody stored is no certificate.
    let answer = world.ask("unplanned-failover", &named("secret:vmm"));
    assert!(answer.status >= 400, "{}", answer.text);
    let file = world.path("certificate");
    fs::write(&file, "MIIC").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let configuration = world.path("landfall.toml");
    let text = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, text + "[secrets]\nvmm = { file = \"certificate\" }\n").unwrap();
    world.cli(&["daemon", "reload"]).code(0);
    let job = world.succeed("unplanned-failover", &named("secret:vmm"));
    // Its name goes out, and nothing else of it.
    let changes: Vec<_> = super::lines(&world, &job.id, AWAY, "create-machine")
        .into_iter()
        .map(|line| line.change)
        .collect();
    let ledger = format!("{changes:?}");
    assert!(!ledger.contains("MIIC"), "{ledger}");
}

#[test]
fn f28_f30_the_san_policy_is_looked_at_and_passed_on_and_a_server_protected_as_physical_prepared() {
    let disks = json!([{"id": "disk-0", "bytes": 1 << 30}, {"id": "disk-1", "bytes": 1 << 30}]);
    let windows = json!({"os": "windows", "disks": disks, "facts": {"san_policy": "OfflineShared"}});
    let world = world("hyperv", "azure", &[("win", windows)]);
    let said = |job: &Job| {
        job.findings
            .iter()
            .find(|finding| finding.id == "lab/san-policy")
            .map(|finding| finding.severity.clone())
    };
    let test = world.succeed("test", &json!({}));
    assert_eq!(said(&test).as_deref(), Some("warning"));
    world.succeed("cleanup", &json!({}));
    // F28: a Hyper-V machine needs no preparation, unless it is protected like a physical server.
    let dry = |options: Value| -> Job {
        let more = json!({"point": "latest", "dry-run": true, "set": options});
        world.ask("unplanned-failover", &more).ok()
    };
    assert!(!dry(json!({})).has_kind("boot-prepare"));
    assert!(dry(json!({"protected-as": "physical"})).has_kind("boot-prepare"));
    refused(
        &world,
        "unplanned-failover",
        &json!({"set": {"san-policy": "Online"}}),
        &["lab/san-policy-unknown"],
    );
    let job = world.succeed(
        "unplanned-failover",
        &json!({"point": "latest", "set": {"san-policy": "OnlineAll"}}),
    );
    assert_eq!(said(&job), None);
    let machine = job.item("win").machine.clone().unwrap();
    let made = world.lab.machine(AWAY, &machine).unwrap();
    assert_eq!(made["facts"]["san_policy"], "OnlineAll");
    assert_eq!(made["disks"].as_array().unwrap().len(), 2);
}
