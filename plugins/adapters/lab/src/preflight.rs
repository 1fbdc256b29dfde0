//! What this site has to say before an operation starts: all findings at once, each with its cure.
//!
//! A site is asked in one of two roles. The host names it in the item's `ext` (`role`: `source` or `target`); where it
//! does not, the site that has the item's machine is the source.

use landfall_rules::machine::Machine as Known;
use landfall_rules::site::Site;
use landfall_rules::{Case, Location, Options, Role, Verdict, boot, features};
use landfall_sdk::adapter_types::{ItemFacts, Machine, Network, PreflightAnswer};
use landfall_sdk::{Direction, ExtraStep, Finding, pair};

use crate::answer::{LabReplica, known_facts};

/// The findings of this adapter's own.
const FINDINGS: [(&str, &str); 7] = [
    (
        "machine-missing",
        "The machine that the item names does not exist at this site",
    ),
    (
        "network-unmapped",
        "A network card of the machine is mapped to no network of this site",
    ),
    (
        "network-unknown",
        "A card is mapped to a network that this site does not have",
    ),
    (
        "network-not-isolated",
        "A test would use a network that is not isolated",
    ),
    (
        "replica-missing",
        "The item has no replica at this site, or the site does not know it",
    ),
    ("no-point", "The item's replica has no recovery point"),
    ("no-capacity", "The site can hold no more machines"),
];

/// Every finding that this adapter can report: its own, and those of the platforms' rules.
pub(crate) const ALL_FINDINGS: [(&str, &str); FINDINGS.len() + landfall_rules::FINDINGS.len()] = {
    let mut all = [("", ""); FINDINGS.len() + landfall_rules::FINDINGS.len()];
    let (own, rules) = all.split_at_mut(FINDINGS.len());
    own.copy_from_slice(&FINDINGS);
    rules.copy_from_slice(&landfall_rules::FINDINGS);
    all
};

/// What was read at the site.
pub(crate) struct Facts {
    pub(crate) networks: Vec<Network>,
    /// Machines that can still be made; none: no limit.
    pub(crate) free: Option<u64>,
    /// What the site pretends to be, and what belongs to that.
    pub(crate) site: Site,
    /// The item's machine, if the site has it.
    pub(crate) machine: Option<Known>,
    /// The item's replica, if the site has it.
    pub(crate) replica: Option<LabReplica>,
    /// The machine that the item has here, if the site has it.
    pub(crate) target_machine: Option<Known>,
    pub(crate) boot_preparation_ms: Option<u64>,
}

/// What the operation does at the target.
fn makes_machine(operation: &str) -> bool {
    matches!(
        operation,
        "test" | "failover" | "planned-failover" | "unplanned-failover"
    )
}

/// The answer for one item.
pub(crate) fn judge(item: &ItemFacts, operation: &str, facts: &Facts) -> PreflightAnswer {
    let role = match pair(&item.ext, "role") {
        Some("source") => Role::Source,
        None if facts.machine.is_some() => Role::Source,
        _ => Role::Target,
    };
    let verdict = by_rules(item, operation, role, facts);
    let mut extra_steps = Vec::new();
    let mut findings = match role {
        Role::Source => source(item, facts, &verdict),
        Role::Target => {
            let machine = item.machine.as_ref();
            extra_steps.extend(machine.filter(|_| makes_machine(operation)).and_then(boot_preparation));
            target(item, operation, facts)
        }
    };
    findings.extend(verdict.findings.into_iter().map(|found| Finding {
        id: format!("lab/{}", found.id),
        severity: found.severity.word().to_owned(),
        subject: item.item.clone(),
        cause: found.cause,
        cure: found.cure,
    }));
    let steps = verdict.steps.into_iter().map(|step| ExtraStep {
        id: step.id.to_owned(),
        stage: "make-ready".to_owned(),
        estimate_ms: step.estimate_ms,
        reason: step.reason,
    });
    // One preparation of the machine is enough, whoever asks for it.
    extra_steps.extend(steps.filter(|_| extra_steps.is_empty()).collect::<Vec<_>>());
    PreflightAnswer { findings, extra_steps }
}

/// What the platforms' rules say.
fn by_rules(item: &ItemFacts, operation: &str, role: Role, facts: &Facts) -> Verdict {
    let listed = item.machine.as_ref().map(known_facts);
    landfall_rules::judge(&Case {
        operation,
        role,
        reverse: is_reverse(item),
        location: location(item),
        origin: &item.origin,
        item: &item.item,
        site: &facts.site,
        machine: match role {
            Role::Source => facts.machine.as_ref(),
            Role::Target => listed.as_ref(),
        },
        original: facts.target_machine.as_ref(),
        options: &options(item, facts),
        boot_preparation_ms: facts.boot_preparation_ms.unwrap_or(boot::USUAL_MS),
    })
}

fn is_reverse(item: &ItemFacts) -> bool {
    item.direction == Direction::Reverse
}

fn location(item: &ItemFacts) -> Option<Location> {
    match pair(&item.ext, "location")? {
        "original" => Some(Location::Original),
        "alternate" => Some(Location::Alternate),
        _ => None,
    }
}

/// What was chosen for the item, on top of what was chosen when its replica was prepared.
fn options(item: &ItemFacts, facts: &Facts) -> Options {
    let remembered = facts.replica.iter().flat_map(|replica| &replica.ext);
    let said = item.ext.iter().map(|(name, value)| (name, value));
    let chosen = remembered
        .chain(said)
        .filter_map(|(name, value)| Some((name.strip_prefix("option/")?.to_owned(), value.clone())));
    chosen.collect()
}

/// A planned failover is all of this machine's way home, and makes its own replica.
fn replicates_by_itself(item: &ItemFacts, operation: &str) -> bool {
    let runs_on = item.machine.as_ref().and_then(|machine| known_facts(machine).platform);
    is_reverse(item)
        && operation == "planned-failover"
        && features::way_back(runs_on, &item.origin) == "planned-failover"
}

fn source(item: &ItemFacts, facts: &Facts, verdict: &Verdict) -> Vec<Finding> {
    let is_said = verdict
        .findings
        .iter()
        .any(|finding| finding.id == "cloud-machine-deleted");
    if facts.machine.is_some() || is_said {
        return Vec::new();
    }
    let name = item.machine.as_ref().map_or(&*item.item, |machine| &*machine.id);
    let cause = format!("the site has no machine `{name}`");
    vec![error(
        item,
        "machine-missing",
        cause,
        "Restore the machine, or take the item out of the plan.",
    )]
}

fn target(item: &ItemFacts, operation: &str, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let comes_home = is_reverse(item) && location(item) == Some(Location::Original) && operation != "test";
    if makes_machine(operation) || operation == "protect" {
        networks(item, operation, facts, comes_home, &mut findings);
    }
    if makes_machine(operation) && !comes_home && facts.free == Some(0) {
        let cause = "the site's capacity is used up".to_owned();
        findings.push(error(
            item,
            "no-capacity",
            cause,
            "Remove machines there, or raise its capacity.",
        ));
    }
    if makes_machine(operation) && facts.replica.is_none() && !replicates_by_itself(item, operation) {
        let cause = match &item.replica {
            Some(replica) => format!("the site does not know the replica `{replica}`"),
            None => "the item has no replica here".to_owned(),
        };
        findings.push(error(
            item,
            "replica-missing",
            cause,
            "Protect the item, and wait for its first recovery point.",
        ));
    }
    // A planned failover makes one.
    let needs_point = matches!(operation, "test" | "unplanned-failover");
    if needs_point && facts.replica.as_ref().is_some_and(|replica| replica.points == 0) {
        let cause = format!("the replica of `{}` has no recovery point", item.item);
        findings.push(error(
            item,
            "no-point",
            cause,
            "Wait for the next replication cycle, or leave the machine out.",
        ));
    }
    if let Some(machine) = item.target_machine.as_ref().filter(|_| facts.target_machine.is_none()) {
        let cause = format!("machine `{machine}`, made for this item, is gone");
        let cure = "Nothing is left of it to clean up or keep; look who deleted it.";
        findings.push(Finding {
            severity: "warning".to_owned(),
            ..error(item, "machine-missing", cause, cure)
        });
    }
    findings
}

/// Every card has a mapping, and every mapping a network that exists and fits. A machine that comes home keeps the cards
/// that it has there.
fn networks(item: &ItemFacts, operation: &str, facts: &Facts, comes_home: bool, findings: &mut Vec<Finding>) {
    // To protect a machine its networks need not be ready yet.
    let severity = if operation == "protect" { "warning" } else { "error" };
    let known = || {
        facts
            .networks
            .iter()
            .map(|network| &*network.id)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut add = |id, cause, cure: &str| {
        findings.push(Finding {
            severity: severity.to_owned(),
            ..error(item, id, cause, cure)
        });
    };
    let nics = item.machine.iter().flat_map(|machine| &machine.nics);
    for nic in nics.filter(|nic| !comes_home && !item.networks.iter().any(|mapping| mapping.nic == nic.id)) {
        let cause = format!("card `{}` is mapped to no network", nic.id);
        add(
            "network-unmapped",
            cause,
            &format!("Map it to one of this site's networks: {}.", known()),
        );
    }
    for mapping in &item.networks {
        match facts.networks.iter().find(|network| network.id == mapping.network) {
            None => {
                let cause = format!(
                    "card `{}` is mapped to `{}`, which does not exist",
                    mapping.nic, mapping.network
                );
                add(
                    "network-unknown",
                    cause,
                    &format!("Map it to one of this site's networks: {}.", known()),
                );
            }
            Some(network) if operation == "test" && !network.isolated => {
                let cause = format!(
                    "card `{}` would be connected to `{}`, which is not isolated",
                    mapping.nic, network.id
                );
                add(
                    "network-not-isolated",
                    cause,
                    "Map it to an isolated network for tests.",
                );
            }
            Some(_) => {}
        }
    }
}

/// A machine whose listing says why it cannot boot as it is.
fn boot_preparation(machine: &Machine) -> Option<ExtraStep> {
    let reason = pair(&machine.ext, "boot-prepare")?;
    let estimate_ms = pair(&machine.ext, "boot-prepare-ms")
        .and_then(|text| text.parse().ok())
        .unwrap_or(boot::USUAL_MS);
    Some(ExtraStep {
        id: "boot-prepare".to_owned(),
        stage: "make-ready".to_owned(),
        estimate_ms,
        reason: reason.to_owned(),
    })
}

fn error(item: &ItemFacts, id: &str, cause: String, cure: &str) -> Finding {
    Finding {
        id: format!("lab/{id}"),
        severity: "error".to_owned(),
        subject: item.item.clone(),
        cause,
        cure: cure.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_sdk::Direction;
    use landfall_sdk::adapter_types::{NetworkMapping, Nic, Power};

    fn machine(ext: &[(&str, &str)]) -> Machine {
        let nic = |id: &str| Nic {
            id: id.into(),
            network: Some("lan".into()),
            addresses: vec![],
            ext: vec![],
        };
        Machine {
            id: "m1".into(),
            name: "m1".into(),
            origin: "kvm".into(),
            os: None,
            power: Power::On,
            cpus: None,
            memory_bytes: None,
            disks: vec![],
            nics: vec![nic("nic-0"), nic("nic-1")],
            ext: ext
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn item(role: &str, mappings: &[(&str, &str)]) -> ItemFacts {
        let mapping = |(nic, network): &(&str, &str)| NetworkMapping {
            nic: (*nic).into(),
            network: (*network).into(),
            addresses: vec![],
        };
        ItemFacts {
            item: "db".into(),
            origin: "kvm".into(),
            direction: Direction::Forward,
            machine: Some(machine(&[])),
            replica: Some("rp-1".into()),
            target_machine: None,
            networks: mappings.iter().map(mapping).collect(),
            ext: vec![("role".into(), role.into())],
        }
    }

    fn replica(ext: &[(&str, &str)]) -> LabReplica {
        let ext = ext
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LabReplica {
            points: 1,
            ext: ext.collect(),
            ..LabReplica::default()
        }
    }

    fn facts() -> Facts {
        let network = |id: &str, isolated| Network {
            id: id.into(),
            name: id.into(),
            isolated,
        };
        Facts {
            networks: vec![network("lan", false), network("bubble", true)],
            free: None,
            site: Site::default(),
            machine: Some(Known::default()),
            replica: Some(replica(&[])),
            target_machine: None,
            boot_preparation_ms: None,
        }
    }

    fn ids(item: &ItemFacts, operation: &str, facts: &Facts) -> Vec<String> {
        judge(item, operation, facts)
            .findings
            .into_iter()
            .map(|finding| finding.id)
            .collect()
    }

    #[test]
    fn f02_every_card_needs_a_network_that_exists_at_the_target() {
        let ready = item("target", &[("nic-0", "lan"), ("nic-1", "lan")]);
        assert!(ids(&ready, "planned-failover", &facts()).is_empty());
        assert_eq!(
            ids(&item("target", &[("nic-0", "lan")]), "planned-failover", &facts()),
            ["lab/network-unmapped"]
        );
        let unknown = item("target", &[("nic-0", "lan"), ("nic-1", "wan")]);
        assert_eq!(ids(&unknown, "planned-failover", &facts()), ["lab/network-unknown"]);
        let protect = judge(&unknown, "protect", &facts()).findings;
        assert_eq!(protect[0].severity, "warning");
    }

    #[test]
    fn a_test_needs_isolated_networks() {
        let mixed = item("target", &[("nic-0", "lan"), ("nic-1", "bubble")]);
        assert_eq!(ids(&mixed, "test", &facts()), ["lab/network-not-isolated"]);
    }

    #[test]
    fn all_findings_come_at_once() {
        let bad = item("target", &[("nic-0", "wan")]);
        let facts = Facts {
            free: Some(0),
            replica: None,
            ..facts()
        };
        let expected = [
            "lab/network-unmapped",
            "lab/network-unknown",
            "lab/no-capacity",
            "lab/replica-missing",
        ];
        assert_eq!(ids(&bad, "unplanned-failover", &facts), expected);
    }

    #[test]
    fn b23_a_replica_without_points_is_refused_where_one_is_needed() {
        let ready = item("target", &[("nic-0", "lan"), ("nic-1", "lan")]);
        let facts = Facts {
            replica: Some(LabReplica {
                points: 0,
                ..replica(&[])
            }),
            ..facts()
        };
        assert_eq!(ids(&ready, "unplanned-failover", &facts), ["lab/no-point"]);
        assert!(ids(&ready, "planned-failover", &facts).is_empty());
    }

    #[test]
    fn the_source_must_have_the_machine() {
        assert!(ids(&item("source", &[]), "protect", &facts()).is_empty());
        let gone = Facts {
            machine: None,
            ..facts()
        };
        assert_eq!(ids(&item("source", &[]), "protect", &gone), ["lab/machine-missing"]);
    }

    #[test]
    fn every_finding_is_described() {
        let bad = item("target", &[("nic-0", "wan"), ("nic-1", "lan")]);
        let facts = Facts {
            free: Some(0),
            replica: None,
            ..facts()
        };
        for id in ids(&bad, "test", &facts) {
            assert!(
                ALL_FINDINGS.iter().any(|(known, _)| format!("lab/{known}") == id),
                "{id}"
            );
        }
    }

    #[test]
    fn b04_the_rules_of_the_sites_platform_are_asked_with_what_was_chosen() {
        let site: Site = serde_json::from_value(serde_json::json!({
            "profile": "vmware",
            "hosts": [{"id": "esx-1"}],
            "master_targets": [{"id": "mt-l", "os": "linux", "host": "esx-1"}, {"id": "mt-w", "os": "windows", "host": "esx-1"}],
            "configuration_servers": [{"id": "cs-1"}],
            "process_servers": [{"id": "ps-1"}],
        }))
        .unwrap();
        let facts = Facts {
            site,
            target_machine: Some(Known::default()),
            ..facts()
        };
        let mut item = item("target", &[]);
        item.direction = Direction::Reverse;
        item.origin = "vmware".into();
        item.target_machine = Some("m1".into());
        item.ext.push(("location".into(), "original".into()));
        item.machine = Some(Machine {
            os: Some("linux".into()),
            ..machine(&[("platform", "azure")])
        });
        assert!(ids(&item, "reprotect", &facts).is_empty());
        item.ext.push(("option/master-target".into(), "mt-w".into()));
        assert_eq!(ids(&item, "reprotect", &facts), ["lab/master-target-os"]);
        let remembered = Facts {
            replica: Some(replica(&[("option/master-target", "mt-w")])),
            ..facts
        };
        item.ext.pop();
        assert_eq!(ids(&item, "unplanned-failover", &remembered), ["lab/master-target-os"]);
    }

    #[test]
    fn f28_a_machine_can_ask_for_boot_preparation() {
        let mut item = item("target", &[("nic-0", "lan"), ("nic-1", "lan")]);
        item.machine = Some(machine(&[("boot-prepare", "old agent"), ("boot-prepare-ms", "500")]));
        let steps = judge(&item, "unplanned-failover", &facts()).extra_steps;
        assert_eq!((&*steps[0].reason, steps[0].estimate_ms), ("old agent", 500));
        assert!(judge(&item, "protect", &facts()).extra_steps.is_empty());
    }
}
