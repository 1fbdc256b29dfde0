//! The inventory: which machines are protected, from where to where, and how often.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::{At, Span, check_name, from_yaml};
use crate::codes;
use crate::diagnostic::{Diagnostic, suggest};
use crate::words::{Millis, Pairs};

/// What the inventory says, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inventory {
    /// Protected items by name.
    pub items: BTreeMap<String, Item>,
    /// Replication groups by name.
    pub replication_groups: BTreeMap<String, ReplicationGroup>,
}

/// A machine protected from one site to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Item {
    /// The host's name for it; stable for life.
    pub name: String,
    /// Site and reference of the machine at home.
    pub source: Side,
    /// The site that it is protected to.
    pub target_site: String,
    /// Who can cut its power at home when its own site does not answer, and under which reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing: Option<Side>,
    /// Which network each interface gets there.
    pub networks: Box<[NetworkMapping]>,
    /// How often it is replicated and what is kept.
    pub replication: Replication,
    /// The group whose members share their points.
    pub replication_group: Option<String>,
    /// Handed to runbooks with the machine.
    pub params: Pairs,
    /// For plans that choose their machines by label.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub labels: Pairs,
    /// Handed to the adapters of both sites; what they mean is the adapters'.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub options: Pairs,
    /// Processors of the machine to be made; none: as at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory of the machine to be made; none: as at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Disks of the source that are not replicated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_disks: Vec<String>,
}

/// A machine at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Side {
    /// The site's name in the daemon's configuration.
    pub site: String,
    /// The site's own reference.
    pub machine: String,
}

/// One interface's networks at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkMapping {
    /// The interface's id at the source.
    pub nic: String,
    /// The network after a real failover.
    pub production: String,
    /// The isolated network in a test failover.
    pub test: String,
    /// Fixed addresses, if it does not get them from the network.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The network after a failback; none: the one that the machine at home had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// The isolated network at home, for a test failover on the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_test: Option<String>,
    /// Fixed addresses after a failback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_addresses: Vec<String>,
}

/// How often an item is replicated and what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Replication {
    /// Target for the age of the newest received data.
    pub rpo_ms: Millis,
    /// Received data is made into a recovery point this often.
    pub points_every_ms: Millis,
    /// Every so often a point is application-consistent; none: never.
    pub app_consistent_every_ms: Option<Millis>,
    /// Points older than this may go.
    pub retention_ms: Millis,
    /// The policy that says which; none: the standard one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<String>,
}

/// Items that are replicated together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReplicationGroup {
    /// All members are snapshotted at one barrier and share their points.
    pub multi_vm_consistency: bool,
    /// Names of its items.
    pub members: Vec<String>,
}

/// An inventory file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "Landfall inventory")]
pub(super) struct Document {
    /// Used for every item that does not say otherwise.
    #[serde(default)]
    defaults: Defaults,
    /// Items that are replicated together.
    #[serde(default)]
    replication_groups: Vec<GroupEntry>,
    /// The protected machines.
    items: Vec<ItemEntry>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Defaults {
    source_site: Option<String>,
    target_site: Option<String>,
    fencing: Option<FencingDefault>,
    #[serde(default)]
    networks: Vec<NetworkMapping>,
    #[serde(default)]
    replication: ReplicationEntry,
    /// For the adapters of both sites; an item's own win.
    #[serde(default)]
    options: Pairs,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct GroupEntry {
    name: At<String>,
    /// One barrier for all members, and common points.
    #[serde(default)]
    multi_vm_consistency: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ItemEntry {
    name: At<String>,
    /// Where it runs now.
    source: SourceEntry,
    /// Site it is protected to.
    target: Option<TargetEntry>,
    /// A site whose adapter can fence it, such as its management controllers; asked in an unplanned failover when the
    /// source is not proved off.
    fencing: Option<FencingEntry>,
    networks: Option<Vec<NetworkMapping>>,
    #[serde(default)]
    replication: ReplicationEntry,
    replication_group: Option<At<String>>,
    /// Handed to runbooks with the machine.
    #[serde(default)]
    params: Pairs,
    /// For plans that choose their machines by label.
    #[serde(default)]
    labels: Pairs,
    /// For the adapters of both sites, such as the `master-target` of a failback; see the adapter's page.
    #[serde(default)]
    options: Pairs,
    /// Ids of disks at the source that are not replicated.
    #[serde(default)]
    exclude_disks: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SourceEntry {
    site: Option<String>,
    /// The site's own reference of the machine.
    machine: At<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TargetEntry {
    /// Default: `defaults.target-site`.
    site: Option<String>,
    /// Processors of the machine there (default: as at the source).
    cpus: Option<u32>,
    /// Memory of the machine there in MiB (default: as at the source).
    memory_mb: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FencingDefault {
    /// It knows the machines by the same references as their source.
    site: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FencingEntry {
    site: Option<String>,
    /// That site's own reference of the machine (default: the source's).
    machine: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ReplicationEntry {
    /// Target for the age of the newest received data (default 1m).
    rpo: Option<Span>,
    /// Make a recovery point this often (default: with every transfer).
    points_every: Option<Span>,
    /// Make an application-consistent point this often (default: never).
    app_consistent_every: Option<Span>,
    /// Keep points this long (default 24h).
    retention: Option<Span>,
    /// The recovery-point policy that says which points may go (default `standard`).
    retention_policy: Option<String>,
}

/// One minute: what array and hypervisor replication reaches without tuning.
const RPO_DEFAULT_MS: Millis = 60_000;
/// One day: long enough to go back before yesterday's mistake.
const RETENTION_DEFAULT_MS: Millis = 24 * 3_600_000;

pub(super) fn read(text: &str) -> Result<Inventory, Vec<Diagnostic>> {
    let document: Document = from_yaml(text, "inventory").map_err(|diagnostic| vec![diagnostic])?;
    let mut found = Vec::new();
    let mut inventory = Inventory::default();
    for entry in &document.replication_groups {
        check_name(&entry.name, "replication group", &mut found);
        let group = ReplicationGroup {
            multi_vm_consistency: entry.multi_vm_consistency,
            members: Vec::new(),
        };
        if inventory
            .replication_groups
            .insert(entry.name.value.clone(), group)
            .is_some()
        {
            found.push(twice(&entry.name, "replication group"));
        }
    }
    let mut sources = BTreeSet::new();
    for entry in &document.items {
        let Some(item) = resolve(entry, &document.defaults, &mut inventory.replication_groups, &mut found) else {
            continue;
        };
        if !sources.insert((item.source.site.clone(), item.source.machine.clone())) {
            found.push(Diagnostic::at(
                entry.source.machine.place,
                codes::DUPLICATE,
                format!(
                    "machine `{}` of site `{}` is protected twice",
                    item.source.machine, item.source.site
                ),
                "one machine is one item; remove the second",
            ));
        }
        found.extend(senseless(entry, &item));
        if inventory.items.insert(item.name.clone(), item).is_some() {
            found.push(twice(&entry.name, "item"));
        }
    }
    check_groups(&document, &inventory, &mut found);
    if found.is_empty() { Ok(inventory) } else { Err(found) }
}

/// What is well written and cannot be meant.
fn senseless(entry: &ItemEntry, item: &Item) -> Vec<Diagnostic> {
    let at = entry.name.place;
    let wrong = |what: String, cure: &str| Diagnostic::at(at, codes::WRONG_VALUE, what, cure);
    let name = &item.name;
    let mut found = Vec::new();
    if item.source.machine.is_empty() {
        found.push(wrong(
            format!("item `{name}` names no machine"),
            "give `source.machine` as `landfall site machines SITE` lists it",
        ));
    }
    if item.cpus == Some(0) {
        found.push(wrong(
            format!("item `{name}` is to have no processor"),
            "give at least one, or leave `cpus` out: then as many as at the source",
        ));
    }
    if entry
        .target
        .as_ref()
        .and_then(|target| target.memory_mb)
        .is_some_and(|mb| !(1..=MEMORY_MB_MAX).contains(&mb))
    {
        found.push(wrong(
            format!("no machine has the memory that item `{name}` is to have"),
            "`memory-mb` counts mebibytes; left out, it is as at the source",
        ));
    }
    let mut nics = BTreeSet::new();
    if let Some(twice) = item.networks.iter().find(|mapping| !nics.insert(&mapping.nic)) {
        found.push(wrong(
            format!("interface `{}` of item `{name}` is mapped twice", twice.nic),
            "one line for each interface; remove the second",
        ));
    }
    let replication = &item.replication;
    if replication.retention_ms < replication.points_every_ms {
        found.push(wrong(
            format!("item `{name}` keeps its points for less time than lies between two of them"),
            "give a longer `retention`, or a shorter `points-every`",
        ));
    }
    found
}

/// 1 PiB: more than any machine has, and far from where bytes would not be counted any more.
const MEMORY_MB_MAX: u64 = 1 << 30;

fn twice(name: &At<String>, what: &str) -> Diagnostic {
    Diagnostic::at(
        name.place,
        codes::DUPLICATE,
        format!("{what} `{}` stands here a second time", name.value),
        "remove one, or rename it",
    )
}

fn resolve(
    entry: &ItemEntry,
    defaults: &Defaults,
    groups: &mut BTreeMap<String, ReplicationGroup>,
    found: &mut Vec<Diagnostic>,
) -> Option<Item> {
    check_name(&entry.name, "item", found);
    if let Some(group) = &entry.replication_group {
        if let Some(known) = groups.get_mut(&group.value) {
            known.members.push(entry.name.value.clone());
        } else {
            found.push(Diagnostic::at(
                group.place,
                codes::UNKNOWN_GROUP,
                format!("unknown replication group `{}`", group.value),
                suggest(&group.value, groups.keys().map(String::as_str)),
            ));
        }
    }
    let source_site = entry.source.site.clone().or_else(|| defaults.source_site.clone());
    let target_site = entry
        .target
        .as_ref()
        .and_then(|target| target.site.clone())
        .or_else(|| defaults.target_site.clone());
    let (Some(source_site), Some(target_site)) = (source_site, target_site) else {
        found.push(Diagnostic::at(
            entry.name.place,
            codes::MISSING_KEY,
            format!("item `{}` has no source or target site", entry.name.value),
            "give `source.site` and `target.site`, or `defaults.source-site` and `defaults.target-site`",
        ));
        return None;
    };
    if source_site == target_site {
        found.push(Diagnostic::at(
            entry.name.place,
            codes::WRONG_VALUE,
            format!(
                "item `{}` is protected from `{source_site}` to itself",
                entry.name.value
            ),
            "name another target site",
        ));
    }
    let fencing = fencing(entry, defaults);
    if entry.fencing.is_some() && fencing.is_none() {
        found.push(Diagnostic::at(
            entry.name.place,
            codes::MISSING_KEY,
            format!("`fencing` of item `{}` names no site", entry.name.value),
            "give `fencing.site`, or `defaults.fencing.site`",
        ));
    }
    Some(Item {
        name: entry.name.value.clone(),
        fencing,
        source: Side {
            site: source_site,
            machine: entry.source.machine.value.clone(),
        },
        target_site,
        networks: Box::from(entry.networks.as_deref().unwrap_or(&defaults.networks)),
        replication: merge(&entry.replication, &defaults.replication),
        replication_group: entry.replication_group.as_ref().map(|group| group.value.clone()),
        params: entry.params.clone(),
        labels: entry.labels.clone(),
        options: defaults
            .options
            .clone()
            .into_iter()
            .chain(entry.options.clone())
            .collect(),
        cpus: entry.target.as_ref().and_then(|target| target.cpus),
        memory_bytes: entry
            .target
            .as_ref()
            .and_then(|target| target.memory_mb)
            .map(|mb| mb.saturating_mul(1 << 20)),
        excluded_disks: entry.exclude_disks.clone(),
    })
}

fn fencing(entry: &ItemEntry, defaults: &Defaults) -> Option<Side> {
    let (own, default) = (entry.fencing.as_ref(), defaults.fencing.as_ref());
    let site = own
        .and_then(|own| own.site.clone())
        .or_else(|| default.map(|default| default.site.clone()))?;
    let machine = own.and_then(|own| own.machine.clone());
    Some(Side {
        site,
        machine: machine.unwrap_or_else(|| entry.source.machine.value.clone()),
    })
}

fn merge(own: &ReplicationEntry, defaults: &ReplicationEntry) -> Replication {
    let pick = |own: Option<Span>, default: Option<Span>| own.or(default).map(Span::millis);
    let rpo_ms = pick(own.rpo, defaults.rpo).unwrap_or(RPO_DEFAULT_MS);
    Replication {
        rpo_ms,
        points_every_ms: pick(own.points_every, defaults.points_every).unwrap_or(rpo_ms),
        app_consistent_every_ms: pick(own.app_consistent_every, defaults.app_consistent_every),
        retention_ms: pick(own.retention, defaults.retention).unwrap_or(RETENTION_DEFAULT_MS),
        retention_policy: own
            .retention_policy
            .clone()
            .or_else(|| defaults.retention_policy.clone()),
    }
}

/// Members of a group share one barrier and one cursor, so they must share sites and rhythm.
fn check_groups(document: &Document, inventory: &Inventory, found: &mut Vec<Diagnostic>) {
    for entry in &document.replication_groups {
        let Some(group) = inventory.replication_groups.get(&entry.name.value) else {
            continue;
        };
        let mut members = group.members.iter().filter_map(|name| inventory.items.get(name));
        let Some(first) = members.next() else {
            found.push(Diagnostic::at(
                entry.name.place,
                codes::EMPTY_GROUP,
                format!("replication group `{}` has no members", entry.name.value),
                "give an item `replication-group`, or remove the group",
            ));
            continue;
        };
        let differs = members.find(|item| {
            item.source.site != first.source.site
                || item.target_site != first.target_site
                || item.replication != first.replication
        });
        if let Some(other) = differs {
            found.push(Diagnostic::at(
                entry.name.place,
                codes::WRONG_VALUE,
                format!(
                    "`{}` and `{}` of replication group `{}` differ in sites or replication",
                    first.name, other.name, entry.name.value
                ),
                "members are snapshotted together: give them the same sites and the same `replication`",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_said_all_at_once() {
        let text = "defaults: { source-site: n, target-site: s }\nitems:\n\
             - { name: a, source: { machine: '' }, target: { cpus: 0, memory-mb: 18446744073709551615 } }\n\
             - { name: b, source: { machine: b }, replication: { points-every: 1h, retention: 1m },\n    \
                 networks: [{ nic: x, production: lan, test: t }, { nic: x, production: lan, test: t }] }\n";
        let found = read(text).unwrap_err();
        let said: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
        let expected = [
            "item `a` names no machine",
            "item `a` is to have no processor",
            "no machine has the memory that item `a` is to have",
            "interface `x` of item `b` is mapped twice",
            "item `b` keeps its points for less time than lies between two of them",
        ];
        assert_eq!(said, expected);
    }
}
