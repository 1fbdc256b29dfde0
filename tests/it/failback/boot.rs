//! Which machines are prepared before they start in the cloud.

use serde_json::json;

use super::{AWAY, world};

#[test]
fn f28_boot_preparation_runs_for_exactly_those_that_need_it_and_says_why() {
    let sound = json!({"agent_version": "9.62", "boot_drivers": ["storvsc", "vmbus", "storflt", "intelide", "atapi"]});
    let windows = |facts: serde_json::Value| {
        let mut all = sound.clone();
        all.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        json!({"os": "windows", "facts": all})
    };
    let machines = [
        ("fine", windows(json!({}))),
        (
            "static",
            json!({"os": "windows", "facts": sound, "nics": [{"id": "nic-0", "network": "lan", "addresses": ["10.9.9.9"]}]}),
        ),
        ("linux", json!({"facts": sound})),
        ("agent", windows(json!({"agent_version": "9.7.3"}))),
        ("newest", windows(json!({"agent_version": "9.8"}))),
        (
            "storvsc",
            windows(json!({"boot_drivers": ["vmbus", "storflt", "intelide", "atapi"]})),
        ),
        ("dhcp", windows(json!({"dhcp": false}))),
        (
            "dhcp-static",
            json!({"os": "windows", "facts": {"dhcp": false}, "nics": [{"id": "nic-0", "network": "lan", "addresses": ["10.9.9.8"]}]}),
        ),
    ];
    let reasons = [
        ("linux", "Linux"),
        ("agent", "9.8"),
        ("storvsc", "storvsc"),
        ("dhcp", "DHCP"),
        ("dhcp-static", "DHCP"),
    ];
    let world = world("vmware", "azure", &machines);
    let job = world.succeed("unplanned-failover", &json!({"point": "latest"}));
    for (item, _) in &machines {
        let why = reasons.iter().find(|(name, _)| name == item).map(|(_, why)| why);
        let step = job
            .steps
            .iter()
            .find(|step| step.kind == "boot-prepare" && step.items == [*item]);
        assert_eq!(step.is_some(), why.is_some(), "{item}");
        let found = job
            .findings
            .iter()
            .find(|finding| finding.id == "lab/boot-preparation" && finding.subject == *item);
        assert_eq!(found.is_some(), why.is_some(), "{item}: {:?}", job.findings);
        if let (Some(found), Some(why)) = (found, why) {
            // The reason, and the time that it adds.
            assert!(
                found.cause.contains(why) && found.cause.contains("9 min"),
                "{}",
                found.cause
            );
        }
        let machine = job.item(item).machine.clone().unwrap();
        let prepared = world.lab.machine(AWAY, &machine).unwrap()["prepared"] == json!(["boot-prepare"]);
        assert_eq!(prepared, why.is_some(), "{item}");
    }
}
