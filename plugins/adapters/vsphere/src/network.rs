//! Networks, and whether one of them is isolated: a pure judgement over what vCenter says of its hosts and switches.
//!
//! A network counts as isolated if on every host that has it its virtual switch has no uplink and no VMkernel port, no
//! other port group shares its VLAN there, and every other network in which a machine on it has a card is isolated too. A
//! distributed port group needs a switch of its own without uplinks on any host. What vCenter does not tell is not
//! isolated.

use std::collections::{BTreeMap, BTreeSet};

use landfall_sdk::Pairs;
use landfall_sdk::adapter_types::Network;
use roxmltree::Node;

use crate::collector::{Object, Query, everywhere, step};
use crate::fault::Trouble;
use crate::vcenter::Vcenter;
use crate::xml;

/// A distributed port group, whose network card is backed in another way than a standard one.
pub(crate) const DISTRIBUTED: &str = "DistributedVirtualPortgroup";
/// A port group with this VLAN carries all of them.
const TRUNK: &str = "4095";
/// Hosts have long descriptions of their networks: so many at once stay within an answer's limit.
const HOSTS_PAGE: u32 = 10;
/// All else is short.
const PAGE: u32 = 500;
/// Networks that hang together by machines with several cards. A bubble has a few; more are not followed.
const MOST_TOGETHER: usize = 20;

/// What is known of networks and what carries them.
#[derive(Debug, Default)]
pub(crate) struct Fabric {
    nets: BTreeMap<String, Net>,
    hosts: BTreeMap<String, Host>,
    switches: BTreeMap<String, Switch>,
    /// Name and networks.
    machines: BTreeMap<String, (String, Vec<String>)>,
}

/// A network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Net {
    pub(crate) kind: String,
    pub(crate) name: String,
    hosts: Vec<String>,
    machines: Vec<String>,
    switch: Option<String>,
    is_uplink: bool,
}

#[derive(Debug, Default)]
struct Host {
    name: String,
    /// Number of uplinks by the name of a standard switch.
    uplinks: BTreeMap<String, usize>,
    /// Port group, its switch, its VLAN.
    groups: Vec<(String, String, String)>,
    /// Port groups that have a VMkernel port.
    kernel: Vec<String>,
}

#[derive(Debug, Default)]
struct Switch {
    name: String,
    uuid: String,
    members: Vec<String>,
    /// Number of uplinks by host.
    uplinks: BTreeMap<String, usize>,
    groups: Vec<String>,
}

fn query() -> Query {
    let networks = ["name", "host", "vm"];
    let distributed = ["name", "host", "vm", "config.distributedVirtualSwitch", "config.uplink"];
    let switch = ["name", "uuid", "summary.hostMember", "config.host", "portgroup"];
    let host = [
        "name",
        "config.network.vswitch",
        "config.network.portgroup",
        "config.network.vnic",
    ];
    Query::default()
        .of("Network", &networks)
        .of(DISTRIBUTED, &distributed)
        .of("DistributedVirtualSwitch", &switch)
        .of("HostSystem", &host)
        .of("VirtualMachine", &["name", "network"])
}

/// The type of the managed object behind a network's id.
pub(crate) fn kind_of(id: &str) -> &'static str {
    if id.starts_with("dvportgroup-") {
        DISTRIBUTED
    } else {
        "Network"
    }
}

impl Fabric {
    /// These networks, what carries them, and those that hang together with them.
    pub(crate) fn around(vcenter: &Vcenter, networks: &[String]) -> Result<Self, Trouble> {
        let mut fabric = Self::default();
        let groups = step("groups", "DistributedVirtualSwitch", "portgroup", "");
        let selection = [
            step("hosts", "Network", "host", ""),
            step("machines", "Network", "vm", ""),
            step("switch", DISTRIBUTED, "config.distributedVirtualSwitch", &groups),
        ]
        .concat();
        let mut open: Vec<String> = networks.to_vec();
        let mut taken = BTreeSet::new();
        while let Some(id) = open.pop().filter(|_| taken.len() < networks.len() + MOST_TOGETHER) {
            if taken.insert(id.clone()) {
                fabric.take(vcenter, &query().paged(HOSTS_PAGE).from(kind_of(&id), &id, &selection))?;
                // Of what is open itself, nobody needs to know what else it is connected to.
                let (_, wrong) = fabric.carried(&id);
                open.extend(fabric.beside(&id).into_iter().filter(|_| wrong.is_empty()));
            }
        }
        Ok(fabric)
    }

    /// All networks of the site.
    pub(crate) fn whole(vcenter: &Vcenter) -> Result<Self, Trouble> {
        let mut fabric = Self::default();
        let root = vcenter.content()?.root_folder;
        let hosts = step("hosts", "ComputeResource", "host", "");
        let vapps = step("vapps", "VirtualApp", "vm", "");
        let folders = [
            ("networkFolder", "", PAGE),
            ("hostFolder", &*hosts, HOSTS_PAGE),
            ("vmFolder", &*vapps, PAGE),
        ];
        for (folder, beyond, page) in folders {
            let query = query().paged(page).from("Folder", &root, &everywhere(folder, beyond));
            fabric.take(vcenter, &query)?;
        }
        Ok(fabric)
    }

    fn take(&mut self, vcenter: &Vcenter, query: &Query) -> Result<(), Trouble> {
        vcenter.read(query, |object| {
            self.add(object);
            Ok(())
        })
    }

    fn add(&mut self, object: &Object<'_, '_>) {
        let id = object.id.to_owned();
        let name = object.text("name").unwrap_or_default().to_owned();
        match object.kind {
            "VirtualMachine" => {
                self.machines.insert(id, (name, object.ids("network")));
            }
            "HostSystem" => {
                self.hosts.insert(id, Host::read(object, name));
            }
            kind if kind.ends_with("DistributedVirtualSwitch") => {
                self.switches.insert(id, Switch::read(object, name));
            }
            kind @ ("Network" | DISTRIBUTED) => {
                let net = Net {
                    kind: kind.to_owned(),
                    name,
                    hosts: object.ids("host"),
                    machines: object.ids("vm"),
                    switch: object.text("config.distributedVirtualSwitch").map(str::to_owned),
                    is_uplink: object.is_true("config.uplink"),
                };
                self.nets.insert(id, net);
            }
            _ => {}
        }
    }

    pub(crate) fn net(&self, id: &str) -> Option<&Net> {
        self.nets.get(id)
    }

    /// The UUID of the distributed switch that a port group belongs to.
    pub(crate) fn switch_uuid(&self, net: &Net) -> Option<&str> {
        Some(&self.switches.get(net.switch.as_deref()?)?.uuid)
    }

    /// Networks that a machine can be connected to.
    pub(crate) fn listed(&self) -> Vec<Network> {
        let usable = self
            .nets
            .iter()
            .filter(|(_, net)| !net.is_uplink && !net.name.contains("-DVUplinks"));
        usable
            .map(|(id, net)| Network {
                id: id.clone(),
                name: net.name.clone(),
                isolated: self.isolation(id).0,
            })
            .collect()
    }

    /// Whether a network reaches nothing else, and what was seen.
    pub(crate) fn isolation(&self, id: &str) -> (bool, Pairs) {
        let (mut open, mut looked_at) = (vec![id.to_owned()], BTreeSet::new());
        let (mut seen, mut wrong) = (Vec::new(), Vec::new());
        while let Some(next) = open.pop() {
            if !looked_at.insert(next.clone()) {
                continue;
            }
            let (found, against) = self.carried(&next);
            seen.extend(found);
            let name = self.nets.get(&next).map_or(&*next, |net| &net.name);
            let other = if next == id {
                String::new()
            } else {
                format!("`{name}` hangs together with it, and there ")
            };
            wrong.extend(against.into_iter().map(|why| format!("{other}{why}")));
            open.extend(self.beside(&next));
            if !wrong.is_empty() {
                break;
            }
        }
        let is_isolated = wrong.is_empty();
        if !is_isolated {
            seen.push(("why-not".to_owned(), wrong.join("; ")));
        }
        (is_isolated, seen)
    }

    /// Other networks in which a machine of this one has a card.
    fn beside(&self, id: &str) -> Vec<String> {
        let machines = self.nets.get(id).into_iter().flat_map(|net| &net.machines);
        let networks = machines
            .filter_map(|machine| self.machines.get(machine))
            .flat_map(|(_, networks)| networks);
        networks.filter(|other| *other != id).cloned().collect()
    }

    /// What carries a network, machines aside: what was seen, and what is against its isolation.
    fn carried(&self, id: &str) -> (Pairs, Vec<String>) {
        let Some(net) = self.nets.get(id) else {
            return (Vec::new(), vec!["vCenter shows no such network".to_owned()]);
        };
        let mut seen = vec![(format!("{id}/name"), net.name.clone())];
        let mut wrong = Vec::new();
        if net.kind == DISTRIBUTED {
            self.distributed(id, net, &mut seen, &mut wrong);
        } else {
            self.standard(id, net, &mut seen, &mut wrong);
        }
        let unread = net
            .machines
            .iter()
            .filter(|machine| !self.machines.contains_key(*machine));
        wrong.extend(unread.map(|machine| format!("{machine} on it could not be read")));
        seen.push((format!("{id}/machines"), net.machines.len().to_string()));
        (seen, wrong)
    }

    fn standard(&self, id: &str, net: &Net, seen: &mut Pairs, wrong: &mut Vec<String>) {
        if net.hosts.is_empty() {
            wrong.push("vCenter names no host that has it".to_owned());
        }
        for host in &net.hosts {
            let Some(host) = self.hosts.get(host) else {
                wrong.push(format!("host {host} could not be read"));
                continue;
            };
            match host.judge(&net.name) {
                Ok(what) => seen.push((format!("{id}/host/{}", host.name), what)),
                Err(why) => wrong.push(format!("on host `{}` {why}", host.name)),
            }
        }
    }

    fn distributed(&self, id: &str, net: &Net, seen: &mut Pairs, wrong: &mut Vec<String>) {
        let Some(switch) = net.switch.as_ref().and_then(|switch| self.switches.get(switch)) else {
            wrong.push("its distributed switch could not be read".to_owned());
            return;
        };
        let shared = switch.groups.iter().filter(|group| *group != id).filter_map(|group| {
            let other = self.nets.get(group);
            let is_uplink = other.is_some_and(|other| other.is_uplink || other.name.contains("-DVUplinks"));
            (!is_uplink).then(|| other.map_or(group, |other| &other.name))
        });
        wrong.extend(shared.map(|other| format!("`{other}` is on the same switch `{}`", switch.name)));
        if switch.members.is_empty() {
            wrong.push(format!("vCenter names no host of the switch `{}`", switch.name));
        }
        for member in &switch.members {
            let host = self.hosts.get(member).map_or(member, |host| &host.name);
            match switch.uplinks.get(member) {
                Some(0) => seen.push((format!("{id}/host/{host}"), format!("{} has no uplink", switch.name))),
                Some(count) => wrong.push(format!("`{}` has {count} uplinks on host `{host}`", switch.name)),
                None => wrong.push(format!(
                    "vCenter does not tell the uplinks of `{}` on host `{host}`",
                    switch.name
                )),
            }
        }
    }
}

impl Host {
    fn read(object: &Object<'_, '_>, name: String) -> Self {
        let elements = |property: &str| {
            let list = object.get(property);
            list.map(|list| list.children().filter(Node::is_element).collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let text = |node: Node<'_, '_>, path: &[&str]| xml::text(node, path).unwrap_or_default().to_owned();
        let switch = |node: &Node<'_, '_>| (text(*node, &["name"]), xml::children(*node, "pnic").count());
        let group = |node: &Node<'_, '_>| {
            (
                text(*node, &["spec", "name"]),
                text(*node, &["spec", "vswitchName"]),
                text(*node, &["spec", "vlanId"]),
            )
        };
        Self {
            name,
            uplinks: elements("config.network.vswitch").iter().map(switch).collect(),
            groups: elements("config.network.portgroup").iter().map(group).collect(),
            kernel: elements("config.network.vnic")
                .iter()
                .map(|node| text(*node, &["portgroup"]))
                .collect(),
        }
    }

    fn judge(&self, network: &str) -> Result<String, String> {
        let group = self.groups.iter().find(|(name, ..)| name == network);
        let (_, switch, vlan) = group.ok_or("there is no port group of that name")?;
        match self.uplinks.get(switch) {
            Some(0) => {}
            Some(count) => return Err(format!("its switch `{switch}` has {count} uplinks")),
            None => return Err(format!("its switch `{switch}` is not known")),
        }
        let on_switch = || self.groups.iter().filter(|(_, other, _)| other == switch);
        if let Some((name, ..)) = on_switch().find(|(name, ..)| self.kernel.contains(name)) {
            return Err(format!("its switch `{switch}` has a VMkernel port in `{name}`"));
        }
        let shares = |other: &str| other == vlan || other == TRUNK || vlan == TRUNK;
        let sharing = on_switch().find(|(name, _, other)| name != network && shares(other));
        if let Some((name, ..)) = sharing {
            return Err(format!("`{name}` shares its VLAN on `{switch}`"));
        }
        Ok(format!("{switch} has no uplink and no VMkernel port"))
    }
}

impl Switch {
    fn read(object: &Object<'_, '_>, name: String) -> Self {
        let members = object.get("config.host").into_iter();
        let members = members
            .flat_map(|list| list.children().filter(Node::is_element))
            .filter_map(|member| {
                let config = xml::child(member, "config")?;
                let backing = xml::child(config, "backing")?;
                let host = xml::text(config, &["host"])?.to_owned();
                Some((host, xml::children(backing, "pnicSpec").count()))
            });
        Self {
            name,
            uuid: object.text("uuid").unwrap_or_default().to_owned(),
            members: object.ids("summary.hostMember"),
            uplinks: members.collect(),
            groups: object.ids("portgroup"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fabric() -> Fabric {
        let group = |name: &str, switch: &str, vlan: &str| (name.to_owned(), switch.to_owned(), vlan.to_owned());
        let host = Host {
            name: "esx1".into(),
            uplinks: BTreeMap::from([("vSwitch0".into(), 1), ("vSwitch9".into(), 0)]),
            groups: vec![
                group("VM Network", "vSwitch0", "0"),
                group("bubble", "vSwitch9", "7"),
                group("shared", "vSwitch9", "8"),
                group("sharing", "vSwitch9", "8"),
            ],
            kernel: vec!["Management".into()],
        };
        let net = |name: &str, machines: &[&str]| Net {
            kind: "Network".into(),
            name: name.into(),
            hosts: vec!["host-1".into()],
            machines: machines.iter().map(|id| (*id).to_owned()).collect(),
            ..Net::default()
        };
        Fabric {
            nets: BTreeMap::from([
                ("network-0".into(), net("VM Network", &[])),
                ("network-1".into(), net("bubble", &["vm-1"])),
                ("network-2".into(), net("shared", &[])),
            ]),
            hosts: BTreeMap::from([("host-1".into(), host)]),
            machines: BTreeMap::from([("vm-1".into(), ("db".into(), vec!["network-1".into()]))]),
            ..Fabric::default()
        }
    }

    fn why(fabric: &Fabric, id: &str) -> String {
        let (is_isolated, evidence) = fabric.isolation(id);
        assert!(!is_isolated);
        evidence
            .into_iter()
            .filter(|(name, _)| name == "why-not")
            .map(|(_, why)| why)
            .collect()
    }

    #[test]
    fn x03_f33_a_switch_without_uplinks_is_isolated_with_evidence() {
        let (is_isolated, evidence) = fabric().isolation("network-1");
        assert!(is_isolated, "{evidence:?}");
        assert!(
            evidence
                .iter()
                .any(|(name, what)| name == "network-1/host/esx1" && what.contains("no uplink"))
        );
    }

    #[test]
    fn a_machine_between_two_isolated_networks_opens_neither() {
        let mut fabric = fabric();
        let host = fabric.hosts.get_mut("host-1").unwrap();
        host.groups.retain(|(name, ..)| name != "sharing");
        let both = vec!["network-1".to_owned(), "network-2".to_owned()];
        fabric.machines.insert("vm-1".into(), ("db".into(), both));
        let (is_isolated, evidence) = fabric.isolation("network-1");
        assert!(is_isolated, "{evidence:?}");
        assert_eq!(evidence.iter().filter(|(name, _)| name.ends_with("/name")).count(), 2);
    }

    #[test]
    fn everything_else_is_not() {
        let mut fabric = fabric();
        assert!(why(&fabric, "network-0").contains("1 uplinks"));
        assert!(why(&fabric, "network-2").contains("shares its VLAN"));
        assert!(why(&fabric, "network-9").contains("no such network"));
        let on = |other: &str| ("db".to_owned(), vec!["network-1".to_owned(), other.to_owned()]);
        fabric.machines.insert("vm-1".into(), on("network-0"));
        assert!(why(&fabric, "network-1").contains("`VM Network` hangs together with it"));
        fabric.machines.insert("vm-1".into(), on("network-7"));
        assert!(
            why(&fabric, "network-1").contains("no such network"),
            "what could not be read"
        );
        fabric.machines.insert("vm-1".into(), on("network-1"));
        fabric.hosts.get_mut("host-1").unwrap().kernel.push("shared".into());
        assert!(why(&fabric, "network-1").contains("VMkernel"));
        fabric.hosts.clear();
        assert!(why(&fabric, "network-1").contains("could not be read"));
    }

    #[test]
    fn a_distributed_port_group_needs_a_switch_of_its_own() {
        let net = |name: &str, is_uplink| Net {
            kind: DISTRIBUTED.into(),
            name: name.into(),
            switch: Some("dvs-1".into()),
            is_uplink,
            ..Net::default()
        };
        let switch = Switch {
            name: "dvs".into(),
            members: vec!["host-1".into()],
            uplinks: BTreeMap::from([("host-1".into(), 0)]),
            groups: vec!["dvportgroup-1".into(), "dvportgroup-2".into()],
            ..Switch::default()
        };
        let mut fabric = Fabric {
            nets: BTreeMap::from([
                ("dvportgroup-1".into(), net("a", false)),
                ("dvportgroup-2".into(), net("up", true)),
            ]),
            switches: BTreeMap::from([("dvs-1".into(), switch)]),
            ..Fabric::default()
        };
        assert!(fabric.isolation("dvportgroup-1").0);
        fabric.nets.insert("dvportgroup-2".into(), net("b", false));
        assert!(why(&fabric, "dvportgroup-1").contains("`b` is on the same switch"));
        fabric.switches.get_mut("dvs-1").unwrap().uplinks.clear();
        assert!(why(&fabric, "dvportgroup-1").contains("does not tell"));
    }
}
