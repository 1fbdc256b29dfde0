//! What this site has to say before an operation starts: all findings at once, each with its cure. `survey` reads; what
//! it means is a pure function here.

use landfall_rules::machine::Machine as Known;
use landfall_rules::site::{Platform, Site};
use landfall_rules::{Case, Location, Options, Role};
use landfall_sdk::adapter_types::{ItemFacts, Machine, PreflightAnswer};
use landfall_sdk::{Direction, Finding, pair};

use crate::clone::mapped;
use crate::fault::Trouble;
use crate::machine::Vm;
use crate::network::Fabric;
use crate::settings;
use crate::survey::{self, Facts, HostFact, Store, makes_machine};
use crate::task;
use crate::vcenter::Vcenter;

/// Every finding that this adapter can report: its own, and those of the platforms' rules.
pub(crate) const ALL_FINDINGS: [(&str, &str); FINDINGS.len() + landfall_rules::FINDINGS.len()] = {
    let mut all = [("", ""); FINDINGS.len() + landfall_rules::FINDINGS.len()];
    let (own, rules) = all.split_at_mut(FINDINGS.len());
    own.copy_from_slice(&FINDINGS);
    rules.copy_from_slice(&landfall_rules::FINDINGS);
    all
};

/// The findings of this adapter's own.
const FINDINGS: [(&str, &str); 16] = [
    (
        "machine-missing",
        "vCenter does not have the machine that the item names",
    ),
    (
        "machine-not-connected",
        "vCenter does not reach the machine's host, so what it says of the machine is old",
    ),
    ("no-tools", "VMware Tools do not run, so the guest cannot be shut down"),
    (
        "replica-missing",
        "The replica is not in this vCenter, or a machine of another site has no standby here",
    ),
    (
        "points-at-source",
        "Recovery points are snapshots on the datastore of the machine itself and are lost with it",
    ),
    (
        "standby-may-lag",
        "A standby that is not replicated synchronously may lack the source's last data",
    ),
    (
        "network-unmapped",
        "A network card of the machine is mapped to no network of this site",
    ),
    (
        "network-unknown",
        "A card is mapped to a network that this vCenter does not have",
    ),
    (
        "network-not-isolated",
        "A test would use a network that is not proved isolated",
    ),
    (
        "place-missing",
        "The folder, resource pool or datastore of the site's configuration does not exist",
    ),
    (
        "folder-shared",
        "The recovered machine would have the name of its source in the same folder",
    ),
    (
        "no-host",
        "No host of the resource pool is connected and out of maintenance",
    ),
    (
        "datastore-not-accessible",
        "A datastore that is needed cannot be reached",
    ),
    (
        "datastore-full",
        "A datastore has less room than a machine's disks may need",
    ),
    (
        "tag-missing",
        "The tag of the site's configuration does not exist, or the tagging service does not answer",
    ),
    ("host-not-connected", "vCenter does not reach one of its hosts"),
];

/// A datastore with less of itself free is worth a word.
const LOW_PERCENT: u64 = 10;

/// All findings for one item.
pub(crate) fn check(vcenter: &Vcenter, item: &ItemFacts, operation: &str) -> Result<PreflightAnswer, Trouble> {
    let findings = if pair(&item.ext, "role") == Some("source") {
        let machine = match &item.machine {
            Some(machine) => task::machine(vcenter, &machine.id)?,
            None => None,
        };
        let powers_off = settings::powers_off()?;
        source(item, operation, machine.as_ref(), powers_off)
    } else {
        let mut findings = target(item, operation, &survey::read(vcenter, item, operation)?);
        let there = match &item.target_machine {
            Some(machine) if item.direction == Direction::Reverse => task::machine(vcenter, machine)?,
            _ => None,
        };
        findings.extend(by_rules(item, operation, there.as_ref()));
        findings
    };
    Ok(PreflightAnswer {
        findings,
        extra_steps: Vec::new(),
    })
}

/// What the platforms' rules say to a machine that goes to this vCenter, or comes back to it. Master targets and
/// configuration servers are nothing that a vCenter knows of, so what needs them is refused as without them.
fn by_rules(item: &ItemFacts, operation: &str, there: Option<&Vm>) -> Vec<Finding> {
    let site = Site {
        profile: Some(Platform::Vmware),
        ..Site::default()
    };
    let listed = |machine: &Machine| Known::listed(&machine.id, &machine.name, machine.os.as_deref(), &machine.ext);
    let machine = item.machine.as_ref().map(listed);
    let original = there.map(|vm| Known {
        available: !vm.is_lost(),
        ..Known::listed(&vm.id, &vm.name, None, &[])
    });
    let options: Options = item
        .ext
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("option/")?.to_owned(), value.clone())))
        .collect();
    let verdict = landfall_rules::judge(&Case {
        operation,
        role: Role::Target,
        reverse: item.direction == Direction::Reverse,
        location: match pair(&item.ext, "location") {
            Some("original") => Some(Location::Original),
            Some("alternate") => Some(Location::Alternate),
            _ => None,
        },
        origin: &item.origin,
        item: &item.item,
        site: &site,
        machine: machine.as_ref(),
        original: original.as_ref(),
        options: &options,
        boot_preparation_ms: 0,
    });
    let findings = verdict.findings.into_iter();
    findings
        .map(|found| finding(found.id, found.severity.word(), &item.item, found.cause, &found.cure))
        .collect()
}

/// What is wrong with the site.
pub(crate) fn health(vcenter: &Vcenter) -> Result<Vec<Finding>, Trouble> {
    let (hosts, stores) = survey::site(vcenter)?;
    Ok(judge_site(&hosts, &stores))
}

fn judge_site(hosts: &[HostFact], stores: &[Store]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, _) in hosts.iter().filter(|(_, usable)| !usable) {
        let cause = format!("host `{name}` is not connected, or in maintenance");
        findings.push(finding(
            "host-not-connected",
            "warning",
            name,
            cause,
            "Reconnect it, or end its maintenance.",
        ));
    }
    for store in stores {
        if !store.is_accessible {
            let cause = format!("datastore `{}` cannot be reached", store.name);
            findings.push(finding(
                "datastore-not-accessible",
                "warning",
                &store.name,
                cause,
                "Check its storage and hosts.",
            ));
        } else if store.free < store.capacity / 100 * LOW_PERCENT {
            let cause = format!(
                "datastore `{}` has {} MiB free of {}",
                store.name,
                store.free >> 20,
                store.capacity >> 20
            );
            findings.push(finding(
                "datastore-full",
                "warning",
                &store.name,
                cause,
                "Free some room there.",
            ));
        }
    }
    findings
}

fn source(item: &ItemFacts, operation: &str, machine: Option<&Vm>, powers_off: bool) -> Vec<Finding> {
    let Some(vm) = machine else {
        let name = item.machine.as_ref().map_or(&*item.item, |machine| &*machine.id);
        let cause = format!("vCenter has no machine `{name}`");
        let cure = "Restore it, or take the item out of the plan; a machine that was registered anew has another id.";
        return vec![finding("machine-missing", "error", &item.item, cause, cure)];
    };
    let mut findings = Vec::new();
    if vm.connection != "connected" {
        let severity = if operation == "planned-failover" {
            "error"
        } else {
            "warning"
        };
        let cause = format!("`{}` is {} as vCenter sees it", vm.name, vm.connection);
        findings.push(finding(
            "machine-not-connected",
            severity,
            &item.item,
            cause,
            "Reconnect its host, or fail over unplanned.",
        ));
    }
    if operation == "planned-failover" && vm.power_word == "poweredOn" && vm.tools != "guestToolsRunning" && !powers_off
    {
        let cause = format!(
            "VMware Tools do not run in `{}`, so its guest may not shut down",
            vm.name
        );
        let cure = "Start or install them, shut the guest down by hand, or set `power-off = \"true\"` for the site.";
        findings.push(finding("no-tools", "warning", &item.item, cause, cure));
    }
    findings
}

fn target(item: &ItemFacts, operation: &str, facts: &Facts) -> Vec<Finding> {
    let makes = makes_machine(operation);
    if !makes && operation != "protect" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut add = |id: &str, severity: &str, cause: String, cure: &str| {
        findings.push(finding(id, severity, &item.item, cause, cure));
    };
    let Some(replica) = &facts.replica else {
        let cause = facts.why.clone().unwrap_or_default();
        add(
            "replica-missing",
            "error",
            cause,
            "Have it replicated into the site's `standby` folder, or restore the replica.",
        );
        return findings;
    };
    if operation == "protect" && !facts.is_standby {
        let cause = format!(
            "the recovery points of `{}` are snapshots on its own datastores",
            replica.name
        );
        let cure = "They help against errors and attacks inside the guest. Against the loss of the site, protect to a vCenter that keeps a standby.";
        add("points-at-source", "warning", cause, cure);
    }
    if operation == "planned-failover" && facts.lag_ms > 0 {
        let cause = format!(
            "the standby `{}` may be {} s behind its source",
            replica.name,
            facts.lag_ms / 1_000
        );
        let cure = "Fail over unplanned, or replicate synchronously and set `standby-lag = \"0s\"`: a planned failover promises that nothing is lost.";
        add("standby-may-lag", "error", cause, cure);
    }
    networks(item, operation, replica, &facts.fabric, &mut add);
    // To protect a machine the place need not be ready yet.
    let severity = if makes { "error" } else { "warning" };
    if let Some(why) = &facts.misplaced {
        add(
            "place-missing",
            severity,
            why.clone(),
            "Correct the site's configuration, or make it in vCenter.",
        );
    }
    if makes && operation != "test" && !facts.is_standby && !facts.has_folder {
        let cause = format!(
            "`{}` and the recovered machine would be in one folder under one name",
            replica.name
        );
        add(
            "folder-shared",
            "error",
            cause,
            "Name another `folder` in the configuration of the target site.",
        );
    }
    if let Some(why) = &facts.untagged {
        add(
            "tag-missing",
            "warning",
            why.clone(),
            "Make the tag, or correct `tag` and its grants; nothing else needs it.",
        );
    }
    if facts.place.is_some() && !facts.hosts.iter().any(|(_, usable)| *usable) {
        let cause = "no host of the resource pool is connected and out of maintenance".to_owned();
        add(
            "no-host",
            severity,
            cause,
            "Reconnect a host, or name another `pool` in the site's configuration.",
        );
    }
    for store in facts.stores.iter().filter(|store| !store.is_accessible) {
        let cause = format!("datastore `{}` cannot be reached", store.name);
        add(
            "datastore-not-accessible",
            severity,
            cause,
            "Check its storage, or name another `datastore`.",
        );
    }
    let largest = facts
        .stores
        .iter()
        .filter(|store| store.is_accessible)
        .map(|store| store.free)
        .max();
    if let Some(free) = largest.filter(|free| *free < replica.bytes()) {
        let names: Vec<&str> = facts
            .stores
            .iter()
            .map(|store| {
                if store.name.is_empty() {
                    &*store.id
                } else {
                    &*store.name
                }
            })
            .collect();
        let cause = format!(
            "the disks of `{}` may need {} MiB, and {} has {} MiB free",
            replica.name,
            replica.bytes() >> 20,
            names.join(", "),
            free >> 20
        );
        add(
            "datastore-full",
            severity,
            cause,
            "Free some room, or name another `datastore` in the site's configuration.",
        );
    }
    findings
}

/// Every card has a mapping, and every mapping a network that exists and fits.
fn networks(
    item: &ItemFacts,
    operation: &str,
    replica: &Vm,
    fabric: &Fabric,
    add: &mut impl FnMut(&str, &str, String, &str),
) {
    let severity = if operation == "protect" { "warning" } else { "error" };
    for (card, mapping) in replica.cards.iter().zip(mapped(&replica.cards, &item.networks)) {
        let Some(mapping) = mapping else {
            let cause = format!(
                "card `{}` ({}) of `{}` is mapped to no network",
                card.key, card.label, replica.name
            );
            add(
                "network-unmapped",
                severity,
                cause,
                "Map it to one of the networks that `landfall site networks` lists.",
            );
            continue;
        };
        let id = &mapping.network;
        if fabric.net(id).is_none() {
            let cause = format!("card `{}` is mapped to `{id}`, which vCenter does not have", card.key);
            add(
                "network-unknown",
                severity,
                cause,
                "Map it to one of the networks that `landfall site networks` lists.",
            );
            continue;
        }
        let (is_isolated, evidence) = fabric.isolation(id);
        if operation == "test" && !is_isolated {
            let why = pair(&evidence, "why-not").unwrap_or_default();
            let cause = format!(
                "card `{}` would be connected to `{id}`, which is not isolated: {why}",
                card.key
            );
            add(
                "network-not-isolated",
                severity,
                cause,
                "Map it to an isolated network for tests.",
            );
        }
    }
}

fn finding(id: &str, severity: &str, subject: &str, cause: String, cure: &str) -> Finding {
    Finding {
        id: format!("vsphere/{id}"),
        severity: severity.to_owned(),
        subject: subject.to_owned(),
        cause,
        cure: cure.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Card;
    use landfall_sdk::adapter_types::NetworkMapping;

    fn item(networks: &[(&str, &str)]) -> ItemFacts {
        let mapping = |(nic, network): &(&str, &str)| NetworkMapping {
            nic: (*nic).to_owned(),
            network: (*network).to_owned(),
            addresses: vec![],
        };
        ItemFacts {
            item: "db".into(),
            origin: "vmware".into(),
            direction: Direction::Forward,
            machine: None,
            replica: Some("vm-1".into()),
            target_machine: None,
            networks: networks.iter().map(mapping).collect(),
            ext: vec![],
        }
    }

    fn facts() -> Facts {
        Facts {
            replica: Some(Vm {
                name: "db".into(),
                cards: vec![Card::named("4000", "Network adapter 1")],
                ..Vm::default()
            }),
            place: Some(settings::Place {
                folder: "group-v1".into(),
                pool: "resgroup-1".into(),
                datastore: None,
            }),
            has_folder: true,
            hosts: vec![("esx1".into(), true)],
            ..Facts::default()
        }
    }

    fn ids(item: &ItemFacts, operation: &str, facts: &Facts) -> Vec<String> {
        let findings = target(item, operation, facts);
        for finding in &findings {
            let known = |(id, _): &(&str, &str)| format!("vsphere/{id}") == finding.id;
            assert!(FINDINGS.iter().any(known), "{}", finding.id);
            assert!(!finding.cure.is_empty());
        }
        findings
            .into_iter()
            .map(|finding| finding.id.replace("vsphere/", ""))
            .collect()
    }

    #[test]
    fn f25_a_machine_that_vcenter_cannot_reach_is_restored_before_it_comes_back() {
        let mut item = item(&[]);
        item.direction = Direction::Reverse;
        item.ext = vec![("location".into(), "original".into())];
        let mut vm = Vm {
            connection: "connected".into(),
            ..Vm::default()
        };
        assert!(by_rules(&item, "reprotect", Some(&vm)).is_empty());
        for connection in ["inaccessible", "orphaned", "invalid"] {
            vm.connection = connection.into();
            let findings = by_rules(&item, "reprotect", Some(&vm));
            assert_eq!(findings[0].id, "vsphere/primary-unavailable");
        }
        item.origin = "physical".into();
        assert_eq!(
            by_rules(&item, "reprotect", None)[0].id,
            "vsphere/physical-only-alternate"
        );
        for finding in by_rules(&item, "reprotect", Some(&vm)) {
            assert!(ALL_FINDINGS.iter().any(|(id, _)| format!("vsphere/{id}") == finding.id));
        }
    }

    #[test]
    fn f02_every_card_needs_a_network_that_vcenter_has() {
        assert_eq!(ids(&item(&[]), "test", &facts()), ["network-unmapped"]);
        assert_eq!(
            ids(&item(&[("4000", "network-9")]), "test", &facts()),
            ["network-unknown"]
        );
    }

    #[test]
    fn a_planned_failover_to_a_standby_that_lags_is_refused() {
        let lagging = Facts {
            is_standby: true,
            lag_ms: 60_000,
            ..facts()
        };
        assert!(ids(&item(&[]), "planned-failover", &lagging).contains(&"standby-may-lag".to_owned()));
        assert!(!ids(&item(&[]), "unplanned-failover", &lagging).contains(&"standby-may-lag".to_owned()));
    }

    #[test]
    fn what_the_place_lacks_is_said() {
        let poor = Facts {
            stores: vec![Store {
                name: "ds".into(),
                is_accessible: false,
                ..Store::default()
            }],
            hosts: vec![("esx1".into(), false)],
            has_folder: false,
            ..facts()
        };
        let expected = [
            "network-unmapped",
            "folder-shared",
            "no-host",
            "datastore-not-accessible",
        ];
        assert_eq!(ids(&item(&[]), "unplanned-failover", &poor), expected);
        let none = Facts {
            replica: None,
            ..facts()
        };
        assert_eq!(ids(&item(&[]), "unplanned-failover", &none), ["replica-missing"]);
    }

    #[test]
    fn the_source_says_whether_it_can_be_shut_down() {
        let vm = Vm {
            connection: "disconnected".into(),
            power_word: "poweredOn".into(),
            ..Vm::default()
        };
        let ids = |operation, vm: Option<&Vm>| {
            let findings = source(&item(&[]), operation, vm, false);
            findings
                .into_iter()
                .map(|one| (one.id.replace("vsphere/", ""), one.severity))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ids("protect", None),
            [("machine-missing".to_owned(), "error".to_owned())]
        );
        let planned = ids("planned-failover", Some(&vm));
        assert_eq!(planned[0], ("machine-not-connected".to_owned(), "error".to_owned()));
        assert_eq!(planned[1].0, "no-tools");
    }

    #[test]
    fn the_site_says_which_hosts_and_datastores_need_a_hand() {
        let store = |name: &str, is_accessible, free| Store {
            name: name.to_owned(),
            is_accessible,
            capacity: 1_000,
            free,
            ..Store::default()
        };
        let hosts = [("esx1".to_owned(), true), ("esx2".to_owned(), false)];
        let stores = [store("a", true, 500), store("b", true, 5), store("c", false, 0)];
        let found = judge_site(&hosts, &stores);
        let subjects: Vec<_> = found.iter().map(|one| &*one.subject).collect();
        assert_eq!(subjects, ["esx2", "b", "c"]);
    }
}
