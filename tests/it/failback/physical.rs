//! A physical server: to the cloud, and back as a VMware machine.

use serde_json::{Value, json};

use super::{AWAY, EAST, OTHER, RATE, away, refused, world};

#[test]
fn b09_b14_b15_a_physical_server_comes_back_as_a_vmware_machine() {
    let world = world(
        "physical",
        "azure",
        &[
            ("srv", json!({})),
            (
                "old",
                json!({"os": "windows", "facts": {"os_release": "Windows Server 2008 R2 SP1"}}),
            ),
        ],
    );
    world.lab.facts(OTHER, &json!({"profile": "vmware"}));
    // F28: a physical server is prepared before it starts in the cloud.
    let cloud = away(&world);
    assert_eq!(
        world.lab.machine(AWAY, &cloud["srv"]).unwrap()["prepared"],
        json!(["boot-prepare"])
    );
    let srv = |more: Value| {
        let mut ask = json!({"plan": "hr", "items": ["srv"]});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask
    };
    // B14: not as a physical server again.
    refused(&world, "reprotect", &srv(json!({})), &["lab/physical-only-to-vmware"]);
    // B15.
    let old = json!({"plan": "hr", "items": ["old"], "to": EAST, "set": {"datastore": "ds-1"}});
    refused(&world, "reprotect", &old, &["lab/release-cannot-come-back"]);
    // B14: to an alternate location, so B11 holds. B09: without a vCenter the host is discovered, physical or not.
    let to = |options: Value| srv(json!({"to": EAST, "set": options}));
    refused(&world, "reprotect", &to(json!({})), &["lab/datastore-not-chosen"]);
    world.lab.facts(
        OTHER,
        &json!({"vcenters": [], "hosts": [{"id": "esx-1", "discovered": false}]}),
    );
    refused(
        &world,
        "reprotect",
        &to(json!({"datastore": "ds-1"})),
        &["lab/esx-host-not-discovered"],
    );
    world.lab.facts(OTHER, &json!({"hosts": [{"id": "esx-1"}]}));
    let job = world.succeed("reprotect", &to(json!({"datastore": "ds-1"})));
    assert!(
        job.findings
            .iter()
            .any(|finding| finding.id == "lab/alternate-location")
    );

    let back = world.succeed(
        "unplanned-failover",
        &srv(json!({"direction": "reverse", "point": "latest"})),
    );
    let machine = back.item("srv").machine.clone().unwrap();
    let made = world.lab.machine(OTHER, &machine).unwrap();
    assert_eq!(
        (&made["origin"], &made["facts"]["datastore"]),
        (&json!("vmware"), &json!("ds-1"))
    );
    let (home, away) = (world.lab.disk(OTHER, &machine), world.lab.disk(AWAY, &cloud["srv"]));
    assert!(home.valid, "{:?}", home.problem);
    let writer = away.incarnations.last().unwrap();
    let there = home
        .incarnations
        .iter()
        .find(|span| span.incarnation == writer.incarnation)
        .unwrap();
    assert!(writer.last - there.last <= 5 * RATE);
    // The rest of its life is a VMware machine's, at its new home.
    world.succeed("commit", &srv(json!({})));
    assert!(world.lab.machine(AWAY, &cloud["srv"]).is_none());
    let known = world.item("srv");
    assert_eq!((known.phase.as_str(), known.active_site.as_str()), ("committed", EAST));
    world.succeed("reprotect", &srv(json!({})));
    let again = world.succeed("unplanned-failover", &srv(json!({"point": "latest"})));
    assert!(world.lab.is_on(AWAY, again.item("srv").machine.as_ref().unwrap()));
    assert!(!world.lab.is_on(OTHER, &machine));
    world.lab.assert_sound();
}
