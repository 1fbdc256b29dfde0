//! A VMware machine's whole way: to the cloud, back onto its own disks, and out again.

use serde_json::{Value, json};

use super::{AWAY, HOME, RATE, away, brought_home, held, lines, refused, world};
use crate::harness::eventually;

#[test]
fn b03_b04_b05_b21_b26_b27_b28_b30_f31_out_back_onto_its_own_disks_and_out_again() {
    let world = world(
        "vmware",
        "azure",
        &[
            ("db", json!({})),
            ("win", json!({"os": "windows", "facts": {"agent_version": "9.62"}})),
        ],
    );
    let cloud = away(&world);
    let tools = |site: &str, machine: &str| world.lab.machine(site, machine).unwrap()["facts"]["tools"].clone();
    // B26: on the way out disabled on Windows and uninstalled on Linux.
    assert_eq!(
        [tools(AWAY, &cloud["db"]), tools(AWAY, &cloud["win"])],
        ["uninstalled", "disabled"]
    );

    // B03, F31: in stages, and in no other order.
    let out_of_order = [
        ("planned-failover", json!({"direction": "reverse"})),
        ("unplanned-failover", json!({})),
    ];
    for (operation, more) in &out_of_order {
        let text = refused(&world, operation, more, &["reprotect"]);
        assert!(text.contains("committed"), "{text}");
    }

    // B04, B05: the machines at home are kept off, and get only what changed.
    let reprotect = world.succeed("reprotect", &json!({}));
    for item in ["db", "win"] {
        for step in ["stop-old", "hold-old", "prove-old-off", "prepare-replica", "seed"] {
            assert_eq!(reprotect.step(&format!("{step}/{item}")).status, "done");
        }
        let known: Value = world.api.get(&format!("api/v1/items/{item}"));
        assert_eq!(
            (&known["phase"], &known["direction"]),
            (&json!("protected"), &json!("reverse"))
        );
        assert_eq!(known["location"], "original");
    }
    assert!(held(&world, &reprotect.id) > 0);
    let prepared = lines(&world, &reprotect.id, HOME, "prepare-replica");
    assert_eq!(prepared.len(), 2);
    refused(&world, "commit", &json!({}), &["LF02"]);

    // B20, B21: an unplanned failover that shuts the cloud machines down and sees that they are off.
    let back = world.succeed(
        "unplanned-failover",
        &json!({"direction": "reverse", "point": "latest"}),
    );
    for (item, cloud) in &cloud {
        let home = format!("vm-{item}");
        let seen = back.item(item);
        assert_eq!(seen.machine.as_deref(), Some(&*home), "the machine that it was");
        assert_eq!(seen.proof.as_deref(), Some("verified-off"));
        assert!(!world.lab.is_on(AWAY, cloud) && world.lab.is_on(HOME, &home));
        let (there, wrote) = brought_home(&world, &home, cloud);
        assert!(
            there > 0 && wrote - there <= 5 * RATE,
            "{item}: {there} of {wrote} came home"
        );
    }
    assert_eq!(
        [tools(HOME, "vm-db"), tools(HOME, "vm-win")],
        ["reinstalled", "enabled"]
    );
    refused(&world, "reprotect", &json!({}), &["commit"]);

    // B27: the cloud machines go, which wants the name typed. B28: back, and not replicating.
    refused(
        &world,
        "commit",
        &json!({"confirm": null}),
        &["LF0208", "deletes the machine away"],
    );
    world.cli(&["commit", "hr", "--confirm", "hr"]).code(0);
    for machine in cloud.values() {
        assert!(world.lab.machine(AWAY, machine).is_none(), "{machine} is still there");
    }
    let known = world.item("db");
    assert_eq!(
        (known.phase.as_str(), known.active_site.as_str()),
        ("committed", "north")
    );
    refused(&world, "planned-failover", &json!({}), &["reprotect"]);
    refused(
        &world,
        "reprotect",
        &json!({"set": {"process-server": "ps-9"}}),
        &["lab/process-server-unknown"],
    );

    // B28, B30: protected to the cloud again, and it can go.
    world.succeed("reprotect", &json!({"set": {"process-server": "ps-1"}}));
    let known = world.item("db");
    assert_eq!(
        (known.phase.as_str(), known.direction.as_str()),
        ("protected", "forward")
    );
    let again = world.succeed("unplanned-failover", &json!({"point": "latest"}));
    for item in ["db", "win"] {
        let machine = again.item(item).machine.clone().unwrap();
        let disk = world.lab.disk(AWAY, &machine);
        assert!(disk.valid, "{:?}", disk.problem);
        assert!(world.lab.is_on(AWAY, &machine));
    }
    world.lab.assert_sound();
}

#[test]
fn b05_only_changes_are_sent_back_and_the_bytes_are_shown() {
    let world = super::vmware();
    // Enough on the disk that sending it again would be seen.
    world
        .lab
        .control("rates", &json!({"site": HOME, "records_per_second": 20_000}));
    let bytes = || world.lab.machine(HOME, "vm-db").unwrap()["records"].as_u64().unwrap() * 64;
    eventually("the disk has grown", || (bytes() > 4 << 20).then_some(()));
    world
        .lab
        .control("rates", &json!({"site": HOME, "records_per_second": RATE}));
    let out = world.succeed("planned-failover", &json!({}));
    let cloud = out.item("db").machine.clone().unwrap();
    world.succeed("commit", &json!({}));
    let job = world.succeed("reprotect", &json!({}));
    let held = held(&world, &job.id);
    assert!(held > 4 << 20, "home still holds {held} bytes");
    let sent = world.item("db").bytes_sent;
    let whole = world.lab.machine(AWAY, &cloud).unwrap()["records"].as_u64().unwrap() * 64;
    assert!(
        sent > 0 && sent <= whole - held,
        "{sent} of {whole} bytes were sent, {held} were there"
    );
    world.lab.assert_sound();
}

#[test]
fn b05_f20_records_that_a_change_of_point_gave_up_do_not_come_home() {
    let world = super::vmware();
    let processed = || {
        world
            .points("db")
            .into_iter()
            .filter(|point| point.processed)
            .collect::<Vec<_>>()
    };
    eventually("there are three points", || (processed().len() >= 3).then_some(()));
    let out = world.succeed("unplanned-failover", &json!({"point": "latest-processed"}));
    let cloud = out.item("db").machine.clone().unwrap();
    let newest = out.item("db").point.clone().unwrap();
    let older = processed()
        .into_iter()
        .find(|point| point.source_time_ms < newest.source_time_ms)
        .unwrap();
    let change = json!({"items": ["db"], "confirm": "db", "point": "custom", "point-params": {"db": older.id}});
    world.succeed("change-point", &change);
    world.succeed("commit", &json!({}));
    let job = world.succeed("reprotect", &json!({}));
    assert!(held(&world, &job.id) > 0);
    world.succeed(
        "unplanned-failover",
        &json!({"direction": "reverse", "point": "latest"}),
    );
    let (there, wrote) = brought_home(&world, "vm-db", &cloud);
    assert!(there > 0 && wrote - there <= 5 * RATE, "{there} of {wrote} came home");
    let disk = world.lab.disk(HOME, "vm-db");
    assert!(disk.valid, "{:?}", disk.problem);
    assert!(disk.incarnations.len() >= 2, "its own records, and the cloud machine's");
    world.lab.assert_sound();
}
