//! What this site has to say before an operation starts: all findings at once, each with its cure.

use landfall_sdk::adapter_types::{ItemFacts, Network, PreflightAnswer};
use landfall_sdk::{Failure, Finding, pair};

use crate::domain::{self, DiskDefinition};
use crate::libvirt::{Libvirt, uuid_of};
use crate::xml::parse;
use crate::{network, storage, target};

/// Every finding that this adapter can report.
pub(crate) const FINDINGS: &[(&str, &str)] = &[
    (
        "machine-missing",
        "The machine that the item names does not exist at this site",
    ),
    (
        "disk-format",
        "A disk is no qcow2 file, so that changes cannot be noted",
    ),
    ("no-disk", "The machine has no disk that could be replicated"),
    (
        "device-left-out",
        "A device exists at the source only; the copy goes without it",
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
    ("pool-missing", "The storage pool does not exist, or is not started"),
    (
        "pool-nearly-full",
        "The storage pool has less room than the machine's disks may need",
    ),
];

/// What was read at the source.
struct Source {
    disks: Vec<DiskDefinition>,
    left_out: Vec<String>,
}

/// What was read at the target.
struct Target {
    networks: Vec<Network>,
    has_replica: bool,
    has_target_machine: bool,
    /// Why there is no pool, or the bytes that are free in it.
    free: Result<u64, String>,
}

pub(crate) fn answer(libvirt: &mut Libvirt, item: &ItemFacts, operation: &str) -> Result<PreflightAnswer, Failure> {
    let machine = item.machine.as_ref().map(|machine| &*machine.id);
    let found = match machine.and_then(uuid_of) {
        Some(uuid) => libvirt.find(uuid)?,
        None => None,
    };
    let is_source = match pair(&item.ext, "role") {
        Some(role) => role == "source",
        None => found.is_some(),
    };
    let findings = if is_source {
        let definition = found.map(|domain| libvirt.xml(&domain)).transpose()?;
        let definition = definition.as_deref().and_then(parse);
        let source = definition.map(|definition| Source {
            disks: domain::disks(&definition),
            left_out: domain::left_out(&definition),
        });
        judge_source(item, source.as_ref())
    } else {
        let there = |answer: Result<_, Failure>| match answer {
            Ok(()) => Ok(true),
            Err(failure) if failure.code == "not-found" => Ok(false),
            Err(failure) => Err(failure),
        };
        let facts = Target {
            networks: network::list(libvirt)?,
            has_replica: match &item.replica {
                Some(replica) => there(target::find(libvirt, replica).map(drop))?,
                None => false,
            },
            has_target_machine: match &item.target_machine {
                Some(machine) => there(libvirt.domain(machine).map(drop))?,
                None => false,
            },
            free: storage::free(libvirt).map_err(|failure| failure.message),
        };
        judge_target(item, operation, &facts)
    };
    Ok(PreflightAnswer {
        findings,
        extra_steps: Vec::new(),
    })
}

fn judge_source(item: &ItemFacts, source: Option<&Source>) -> Vec<Finding> {
    let Some(source) = source else {
        let name = item.machine.as_ref().map_or(&*item.item, |machine| &*machine.name);
        let cause = format!("the site has no machine `{name}`");
        return vec![error(
            item,
            "machine-missing",
            cause,
            "Restore the machine, or take the item out of the plan.",
        )];
    };
    let mut findings = Vec::new();
    if source.disks.is_empty() {
        let cause = "the machine has no disk".to_owned();
        findings.push(error(
            item,
            "no-disk",
            cause,
            "Take the item out of the inventory; there is nothing to protect.",
        ));
    }
    for disk in source
        .disks
        .iter()
        .filter(|disk| disk.format.as_deref() != Some("qcow2") || disk.file.is_none())
    {
        let cause = format!(
            "disk `{}` is {}",
            disk.target,
            disk.format.as_deref().unwrap_or("no file")
        );
        findings.push(error(
            item,
            "disk-format",
            cause,
            "Convert it with `qemu-img convert -O qcow2` while the machine is off.",
        ));
    }
    for device in &source.left_out {
        let cause = format!("a `{device}` of the machine exists at this site only");
        let cure = "See that the system inside can do without it.";
        findings.push(warning(error(item, "device-left-out", cause, cure)));
    }
    findings
}

/// What the operation does at the target.
fn makes_machine(operation: &str) -> bool {
    matches!(operation, "test" | "planned-failover" | "unplanned-failover")
}

fn judge_target(item: &ItemFacts, operation: &str, facts: &Target) -> Vec<Finding> {
    let mut findings = Vec::new();
    if makes_machine(operation) || operation == "protect" {
        networks(item, operation, facts, &mut findings);
        pool(item, operation, facts, &mut findings);
    }
    if makes_machine(operation) && !facts.has_replica {
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
    if let Some(machine) = item.target_machine.as_ref().filter(|_| !facts.has_target_machine) {
        let cause = format!("machine `{machine}`, made for this item, is gone");
        let cure = "Nothing is left of it to clean up or keep; look who deleted it.";
        findings.push(warning(error(item, "machine-missing", cause, cure)));
    }
    findings
}

/// Every card has a mapping, and every mapping a network that exists and fits.
fn networks(item: &ItemFacts, operation: &str, facts: &Target, findings: &mut Vec<Finding>) {
    // To protect a machine its networks need not be ready yet.
    let lighter = |finding| {
        if operation == "protect" {
            warning(finding)
        } else {
            finding
        }
    };
    let known: Vec<&str> = facts.networks.iter().map(|network| &*network.id).collect();
    let cure = format!("Map it to one of this site's networks: {}.", known.join(", "));
    let nics = item.machine.iter().flat_map(|machine| &machine.nics);
    for nic in nics.filter(|nic| !item.networks.iter().any(|mapping| mapping.nic == nic.id)) {
        let cause = format!("card `{}` is mapped to no network", nic.id);
        findings.push(lighter(error(item, "network-unmapped", cause, &cure)));
    }
    for mapping in &item.networks {
        let (nic, name) = (&mapping.nic, &mapping.network);
        match facts.networks.iter().find(|network| network.id == *name) {
            None => {
                let cause = format!("card `{nic}` is mapped to `{name}`, which does not exist");
                findings.push(lighter(error(item, "network-unknown", cause, &cure)));
            }
            Some(network) if operation == "test" && !network.isolated => {
                let cause = format!("card `{nic}` would be connected to `{name}`, which is not isolated");
                findings.push(error(
                    item,
                    "network-not-isolated",
                    cause,
                    "Map it to an isolated network for tests.",
                ));
            }
            Some(_) => {}
        }
    }
}

fn pool(item: &ItemFacts, operation: &str, facts: &Target, findings: &mut Vec<Finding>) {
    match &facts.free {
        Err(why) => findings.push(error(
            item,
            "pool-missing",
            why.clone(),
            "Make and start the storage pool.",
        )),
        Ok(free) => {
            let disks = item.machine.iter().flat_map(|machine| &machine.disks);
            let bytes: u64 = disks.map(|disk| disk.bytes).sum();
            if operation == "protect" && *free < bytes {
                let cause = format!("the machine's disks may take {bytes} bytes, and {free} are free in the pool");
                let cure = "Enlarge the pool; what a disk never wrote takes no room.";
                findings.push(warning(error(item, "pool-nearly-full", cause, cure)));
            }
        }
    }
}

fn error(item: &ItemFacts, id: &str, cause: String, cure: &str) -> Finding {
    Finding {
        id: format!("libvirt/{id}"),
        severity: "error".to_owned(),
        subject: item.item.clone(),
        cause,
        cure: cure.to_owned(),
    }
}

fn warning(finding: Finding) -> Finding {
    Finding {
        severity: "warning".to_owned(),
        ..finding
    }
}

/// What is wrong with the site itself.
pub(crate) fn health(libvirt: &mut Libvirt) -> Result<Vec<Finding>, Failure> {
    libvirt.version()?;
    let Err(failure) = storage::pool(libvirt) else {
        return Ok(Vec::new());
    };
    if !failure.code.starts_with("pool-") {
        return Err(failure);
    }
    // A site that is only a source needs one too: for what its machines overwrite during a backup.
    Ok(vec![Finding {
        id: "libvirt/pool-missing".to_owned(),
        severity: "warning".to_owned(),
        subject: "site".to_owned(),
        cause: failure.message,
        cure: "Make and start the storage pool.".to_owned(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_sdk::Direction;
    use landfall_sdk::adapter_types::{Disk, Machine, NetworkMapping, Nic, Power};

    fn item(mappings: &[(&str, &str)]) -> ItemFacts {
        let nic = |id: &str| Nic {
            id: id.into(),
            network: None,
            addresses: vec![],
            ext: vec![],
        };
        let machine = Machine {
            id: "m1".into(),
            name: "m1".into(),
            origin: "kvm".into(),
            os: None,
            power: Power::On,
            cpus: None,
            memory_bytes: None,
            disks: vec![Disk {
                id: "vda".into(),
                bytes: 1_000,
                ext: vec![],
            }],
            nics: vec![nic("nic-0")],
            ext: vec![],
        };
        let mapping = |(nic, network): &(&str, &str)| NetworkMapping {
            nic: (*nic).into(),
            network: (*network).into(),
            addresses: vec![],
        };
        ItemFacts {
            item: "db".into(),
            origin: "kvm".into(),
            direction: Direction::Forward,
            machine: Some(machine),
            replica: Some("r".into()),
            target_machine: None,
            networks: mappings.iter().map(mapping).collect(),
            ext: vec![],
        }
    }

    fn facts() -> Target {
        let network = |id: &str, isolated| Network {
            id: id.into(),
            name: id.into(),
            isolated,
        };
        Target {
            networks: vec![network("lan", false), network("bubble", true)],
            has_replica: true,
            has_target_machine: false,
            free: Ok(5_000),
        }
    }

    fn ids(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| &*finding.id).collect()
    }

    #[test]
    fn f02_every_card_needs_a_network_that_exists_at_the_target() {
        let judged = |mappings: &[(&str, &str)], operation: &str| judge_target(&item(mappings), operation, &facts());
        assert!(judged(&[("nic-0", "lan")], "planned-failover").is_empty());
        assert_eq!(ids(&judged(&[], "planned-failover")), ["libvirt/network-unmapped"]);
        assert_eq!(
            ids(&judged(&[("nic-0", "wan")], "unplanned-failover")),
            ["libvirt/network-unknown"]
        );
        assert_eq!(judged(&[], "protect")[0].severity, "warning");
        assert_eq!(
            ids(&judged(&[("nic-0", "lan")], "test")),
            ["libvirt/network-not-isolated"]
        );
    }

    #[test]
    fn the_target_needs_a_pool_and_a_replica() {
        let facts = Target {
            has_replica: false,
            free: Err("no pool".into()),
            ..facts()
        };
        let findings = judge_target(&item(&[("nic-0", "bubble")]), "test", &facts);
        assert_eq!(ids(&findings), ["libvirt/pool-missing", "libvirt/replica-missing"]);
        let small = Target {
            free: Ok(10),
            ..self::facts()
        };
        let findings = judge_target(&item(&[("nic-0", "lan")]), "protect", &small);
        assert_eq!(
            (ids(&findings), &*findings[0].severity),
            (vec!["libvirt/pool-nearly-full"], "warning")
        );
    }

    #[test]
    fn the_source_needs_disks_whose_changes_can_be_noted() {
        assert_eq!(ids(&judge_source(&item(&[]), None)), ["libvirt/machine-missing"]);
        let raw = DiskDefinition {
            target: "vda".into(),
            file: Some("/a".into()),
            format: Some("raw".into()),
        };
        let source = Source {
            disks: vec![raw],
            left_out: vec!["hostdev".into()],
        };
        let findings = judge_source(&item(&[]), Some(&source));
        assert_eq!(ids(&findings), ["libvirt/disk-format", "libvirt/device-left-out"]);
    }

    #[test]
    fn every_finding_is_described() {
        let facts = Target {
            has_replica: false,
            free: Err("no pool".into()),
            ..facts()
        };
        let mut item = item(&[("nic-0", "wan")]);
        item.target_machine = Some("gone".into());
        let mut findings = judge_target(&item, "test", &facts);
        findings.extend(judge_source(
            &item,
            Some(&Source {
                disks: vec![],
                left_out: vec!["shmem".into()],
            }),
        ));
        for id in ids(&findings) {
            assert!(
                FINDINGS.iter().any(|(known, _)| format!("libvirt/{known}") == id),
                "{id}"
            );
        }
    }
}
