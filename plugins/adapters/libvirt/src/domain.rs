//! A machine's definition: what the contract wants to know of it, and the definition of its copy at another site.

use landfall_sdk::adapter_types::{Disk, Machine, Nic, Power};
use xmltree::{Element, XMLNode};

use crate::config::Attachment;
use crate::facts::{self, Facts};
use crate::xml::{at, attribute, children, element, escape, named, parse, remove, set_text, text, text_at};

/// A disk of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskDefinition {
    /// As the guest's bus has it: `vda`.
    pub(crate) target: String,
    pub(crate) file: Option<String>,
    pub(crate) format: Option<String>,
}

/// Disks with data: no CD-ROMs, no floppies.
pub(crate) fn disks(domain: &Element) -> Vec<DiskDefinition> {
    let Some(devices) = domain.get_child("devices") else {
        return Vec::new();
    };
    named(devices, "disk")
        .filter(|disk| is_data(disk))
        .filter_map(|disk| {
            Some(DiskDefinition {
                target: attribute(disk, &["target"], "dev")?,
                file: attribute(disk, &["source"], "file"),
                format: attribute(disk, &["driver"], "type"),
            })
        })
        .collect()
}

fn is_data(disk: &Element) -> bool {
    disk.attributes.get("device").is_none_or(|device| device == "disk")
}

/// The record of the contract. `sizes` are those of the disks, where they are known.
pub(crate) fn machine(id: &str, xml: &str, active: bool, sizes: &[(String, u64)]) -> Option<Machine> {
    let domain = parse(xml)?;
    let kept = match Facts::from_domain(&domain) {
        Some(Facts::Machine(machine)) => Some(machine),
        _ => None,
    };
    let mut ext = vec![("domain-xml".to_owned(), xml.to_owned())];
    if let Some(origin) = kept.as_ref().and_then(|kept| kept.origin.as_ref()) {
        ext.push(("origin-machine".to_owned(), origin.machine.clone()));
        ext.push(("origin-mark".to_owned(), origin.mark.clone()));
    }
    let size = |target: &str| {
        sizes
            .iter()
            .find(|(name, _)| name == target)
            .map_or(0, |(_, bytes)| *bytes)
    };
    let disk = |disk: DiskDefinition| Disk {
        bytes: size(&disk.target),
        ext: [("file", disk.file), ("format", disk.format)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
        id: disk.target,
    };
    Some(Machine {
        id: id.to_owned(),
        name: text_at(&domain, &["name"])?,
        origin: "kvm".to_owned(),
        os: os(&domain),
        power: if active { Power::On } else { Power::Off },
        cpus: text_at(&domain, &["vcpu"]).and_then(|text| text.parse().ok()),
        memory_bytes: memory_bytes(&domain),
        disks: disks(&domain).into_iter().map(disk).collect(),
        nics: nics(&domain, kept.as_deref()),
        ext,
    })
}

/// What the installer noted, as `virt-install` does.
fn os(domain: &Element) -> Option<String> {
    let metadata = domain.get_child("metadata")?;
    let noted = children(metadata).find(|child| child.name == "libosinfo")?;
    let id = children(noted).find(|child| child.name == "os")?.attributes.get("id")?;
    let is_windows = id.contains("microsoft.com");
    Some(if is_windows { "windows" } else { "linux" }.to_owned())
}

fn memory_bytes(domain: &Element) -> Option<u64> {
    let count: u64 = text_at(domain, &["memory"])?.parse().ok()?;
    let unit = attribute(domain, &["memory"], "unit");
    Some(match unit.as_deref().unwrap_or("KiB") {
        "b" | "bytes" => count,
        "MiB" | "M" => count << 20,
        "GiB" | "G" => count << 30,
        _ => count << 10,
    })
}

/// Cards by their order, and those that a network of QEMU's own stands for.
fn nics(domain: &Element, kept: Option<&facts::Machine>) -> Vec<Nic> {
    if let Some(kept) = kept.filter(|kept| !kept.nics.is_empty()) {
        let nic = |nic: &facts::Nic| Nic {
            id: nic.id.clone(),
            network: Some(nic.network.clone()),
            addresses: nic.addresses.clone(),
            ext: Vec::new(),
        };
        return kept.nics.iter().map(nic).collect();
    }
    let Some(devices) = domain.get_child("devices") else {
        return Vec::new();
    };
    let nic = |(index, card): (usize, &Element)| {
        let source = card.get_child("source");
        let network = ["network", "bridge", "dev"]
            .iter()
            .find_map(|name| source?.attributes.get(*name).cloned());
        Nic {
            id: format!("nic-{index}"),
            network: network.or_else(|| card.attributes.get("type").cloned()),
            addresses: Vec::new(),
            ext: attribute(card, &["mac"], "address")
                .map(|mac| ("mac".to_owned(), mac))
                .into_iter()
                .collect(),
        }
    };
    named(devices, "interface").enumerate().map(nic).collect()
}

/// Devices that exist at one site only, and that a copy goes without.
pub(crate) fn left_out(domain: &Element) -> Vec<String> {
    let Some(devices) = domain.get_child("devices") else {
        return Vec::new();
    };
    let mut names: Vec<String> = children(devices)
        .filter(|device| BOUND.contains(&&*device.name))
        .map(|device| device.name.clone())
        .collect();
    names.dedup();
    names
}

const BOUND: [&str; 4] = ["hostdev", "filesystem", "shmem", "redirdev"];

/// What a copy is to be.
pub(crate) struct Copy<'a> {
    pub(crate) uuid: &'a str,
    pub(crate) name: &'a str,
    /// The source's definition, if it was libvirt.
    pub(crate) of: Option<&'a str>,
    pub(crate) cpus: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    /// Target and file of each disk.
    pub(crate) disks: Vec<(String, String)>,
    pub(crate) cards: Vec<Card>,
    pub(crate) facts: &'a Facts,
}

/// A card of a copy, and what it is attached to.
pub(crate) struct Card {
    /// By its order at the source.
    pub(crate) index: usize,
    pub(crate) to: To,
    pub(crate) addresses: Vec<String>,
}

pub(crate) enum To {
    /// A network of libvirt's.
    Network(String),
    /// One that the operator configured.
    Attachment(Attachment),
}

/// Enough for any system that says nothing of itself.
const PLAIN: &str = "<domain type='kvm'><memory unit='KiB'>1048576</memory><vcpu>1</vcpu>\
    <os><type arch='x86_64'>hvm</type></os><features><acpi/></features><devices/></domain>";

const QEMU: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// The definition of a copy. None: the source's cannot be read.
pub(crate) fn define(copy: &Copy<'_>) -> Option<String> {
    let mut domain = parse(copy.of.unwrap_or(PLAIN))?;
    domain.attributes.remove("id");
    remove(
        &mut domain,
        &[
            "uuid",
            "name",
            "metadata",
            "seclabel",
            "resource",
            "genid",
            "commandline",
        ],
    );
    set_text(&mut domain, "name", copy.name);
    set_text(&mut domain, "uuid", copy.uuid);
    if let Some(bytes) = copy.memory_bytes.filter(|bytes| *bytes > 0) {
        remove(&mut domain, &["memory", "currentMemory"]);
        let mut memory = element("memory", &[("unit", "KiB")]);
        memory.children.push(XMLNode::Text((bytes >> 10).to_string()));
        domain.children.push(XMLNode::Element(memory));
    }
    if let Some(cpus) = copy.cpus.filter(|cpus| *cpus > 0) {
        set_text(&mut domain, "vcpu", &cpus.to_string());
    }
    let metadata = parse(&copy.facts.to_element())?;
    domain.children.push(XMLNode::Element(metadata));
    let arguments = devices(domain.get_mut_child("devices")?, copy);
    if !arguments.is_empty() {
        let list: Vec<String> = arguments
            .iter()
            .map(|value| format!("<q:arg value=\"{}\"/>", escape(value)))
            .collect();
        let line = parse(&format!(
            "<q:commandline xmlns:q=\"{QEMU}\">{}</q:commandline>",
            list.concat()
        ))?;
        domain.children.push(XMLNode::Element(line));
    }
    Some(text(&domain))
}

/// Gives the arguments for QEMU of the cards that libvirt has no words for.
fn devices(devices: &mut Element, copy: &Copy<'_>) -> Vec<String> {
    let cards: Vec<Element> = named(devices, "interface").cloned().collect();
    remove(devices, &["interface", "emulator"]);
    remove(devices, &BOUND);
    for node in &mut devices.children {
        let XMLNode::Element(device) = node else { continue };
        match &*device.name {
            "disk" if is_data(device) => {
                let target = attribute(device, &["target"], "dev");
                if let Some((_, file)) = copy.disks.iter().find(|(name, _)| Some(name) == target.as_ref()) {
                    put_file(device, file);
                }
            }
            // What lies in the drive lies at the source.
            "disk" => remove(device, &["source"]),
            "channel" | "serial" | "console"
                // A socket's place is the daemon's to choose.
                if device.attributes.get("type").is_some_and(|kind| kind == "unix") => {
                    remove(device, &["source"]);
                }
            _ => {}
        }
    }
    let known: Vec<String> = named(devices, "disk")
        .filter_map(|disk| attribute(disk, &["target"], "dev"))
        .collect();
    for (target, file) in copy.disks.iter().filter(|(target, _)| !known.contains(target)) {
        let mut disk = element("disk", &[("type", "file"), ("device", "disk")]);
        let bus = [("dev", target.as_str()), ("bus", bus(target))];
        disk.children.push(XMLNode::Element(element("target", &bus)));
        put_file(&mut disk, file);
        devices.children.push(XMLNode::Element(disk));
    }
    let mut arguments = Vec::new();
    for card in &copy.cards {
        let original = cards.get(card.index);
        match &card.to {
            To::Attachment(Attachment::User { isolated, ports }) => {
                arguments.extend(user_network(card, original, *isolated, ports));
            }
            to => devices.children.push(XMLNode::Element(interface(original, to))),
        }
    }
    arguments
}

/// The bus that goes with a disk's name.
fn bus(target: &str) -> &'static str {
    match target.get(..2) {
        Some("vd") => "virtio",
        Some("hd") => "ide",
        _ => "scsi",
    }
}

fn put_file(disk: &mut Element, file: &str) {
    disk.attributes.insert("type".to_owned(), "file".to_owned());
    remove(disk, &["source", "driver", "backingStore", "mirror"]);
    for new in [
        element("driver", &[("name", "qemu"), ("type", "qcow2")]),
        element("source", &[("file", file)]),
    ] {
        disk.children.push(XMLNode::Element(new));
    }
}

/// The card as it was, on another network.
fn interface(original: Option<&Element>, to: &To) -> Element {
    let (kind, source) = match to {
        To::Network(name) => ("network", element("source", &[("network", name)])),
        To::Attachment(Attachment::Bridge(name)) => ("bridge", element("source", &[("bridge", name)])),
        To::Attachment(Attachment::Multicast(group, port)) => (
            "mcast",
            element("source", &[("address", group), ("port", &port.to_string())]),
        ),
        // Has its own way.
        To::Attachment(Attachment::User { .. }) => ("user", element("source", &[])),
    };
    let mut card = element("interface", &[("type", kind)]);
    card.children.push(XMLNode::Element(source));
    let kept = original.into_iter().flat_map(children);
    let kept = kept.filter(|child| matches!(&*child.name, "mac" | "model" | "address" | "mtu" | "boot"));
    card.children.extend(kept.cloned().map(XMLNode::Element));
    card
}

/// libvirt cannot say that a user network is closed, or which ports lead in; QEMU can.
fn user_network(card: &Card, original: Option<&Element>, isolated: bool, ports: &[(u16, u16)]) -> Vec<String> {
    let id = format!("landfall{}", card.index);
    let mut network = format!("user,id={id},restrict={}", if isolated { "on" } else { "off" });
    for address in &card.addresses {
        for (site, guest) in ports {
            network = format!("{network},hostfwd=tcp:{address}:{site}-:{guest}");
        }
    }
    let model = original.and_then(|card| attribute(card, &["model"], "type"));
    let device = match model.as_deref() {
        Some("e1000") => "e1000",
        Some("e1000e") => "e1000e",
        Some("rtl8139") => "rtl8139",
        _ => "virtio-net-pci",
    };
    let mut device = format!("{device},netdev={id}");
    if let Some(mac) = original.and_then(|card| attribute(card, &["mac"], "address")) {
        device = format!("{device},mac={mac}");
    }
    ["-netdev".to_owned(), network, "-device".to_owned(), device].to_vec()
}

/// Puts other files in the place of a definition's disks. None: it cannot be read.
pub(crate) fn with_files(xml: &str, files: &[(String, String)], facts: &Facts) -> Option<String> {
    let mut domain = parse(xml)?;
    if let Some(metadata) = domain.get_mut_child("metadata") {
        metadata.children.retain(|node| match node {
            XMLNode::Element(child) => child.namespace.as_deref() != Some(crate::libvirt::NAMESPACE),
            _ => true,
        });
        let ours = parse(&facts.to_element())?;
        metadata.children.extend(ours.children);
    } else {
        domain.children.push(XMLNode::Element(parse(&facts.to_element())?));
    }
    let devices = domain.get_mut_child("devices")?;
    for node in &mut devices.children {
        let XMLNode::Element(device) = node else { continue };
        if device.name == "disk" && is_data(device) {
            let target = attribute(device, &["target"], "dev");
            if let Some((_, file)) = files.iter().find(|(name, _)| Some(name) == target.as_ref()) {
                put_file(device, file);
            }
        }
    }
    Some(text(&domain))
}

/// A guest agent can be reached, as far as the definition that runs says.
pub(crate) fn has_agent(live: &Element) -> bool {
    at(live, &["devices"]).is_some_and(|devices| {
        named(devices, "channel").any(|channel| {
            attribute(channel, &["target"], "name").as_deref() == Some("org.qemu.guest_agent.0")
                && attribute(channel, &["target"], "state").as_deref() == Some("connected")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: &str = r"<domain type='qemu' id='3'><name>db</name><uuid>f24be1e5-0aa0-46f1-9be4-fa2419988353</uuid>
      <memory unit='MiB'>96</memory><vcpu placement='static'>2</vcpu>
      <os><type arch='x86_64' machine='pc-i440fx-10.0'>hvm</type></os>
      <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a/db.qcow2'/>
          <target dev='vda' bus='virtio'/><address type='pci' slot='0x03'/></disk>
        <disk type='file' device='cdrom'><source file='/a/cd.iso'/><target dev='sda' bus='sata'/></disk>
        <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/><model type='virtio'/></interface>
        <hostdev mode='subsystem'/>
        <channel type='unix'><source path='/run/a.sock'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      </devices></domain>";

    fn facts() -> Facts {
        Facts::Machine(Box::default())
    }

    fn copy(cards: Vec<Card>) -> Element {
        let facts = facts();
        let copy = Copy {
            uuid: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
            name: "db-test",
            of: Some(DB),
            cpus: Some(4),
            memory_bytes: None,
            disks: vec![("vda".to_owned(), "/b/new.qcow2".to_owned())],
            cards,
            facts: &facts,
        };
        parse(&define(&copy).unwrap()).unwrap()
    }

    #[test]
    fn a_machine_is_described() {
        let machine = machine("u", DB, true, &[("vda".to_owned(), 1 << 30)]).unwrap();
        assert_eq!(
            (&*machine.name, machine.cpus, machine.memory_bytes),
            ("db", Some(2), Some(96 << 20))
        );
        assert_eq!(machine.disks.len(), 1, "a CD-ROM is no disk");
        assert_eq!((&*machine.disks[0].id, machine.disks[0].bytes), ("vda", 1 << 30));
        assert_eq!(machine.nics[0].network.as_deref(), Some("lan"));
        assert_eq!(left_out(&parse(DB).unwrap()), ["hostdev"]);
    }

    #[test]
    fn a_copy_has_its_own_name_disks_and_networks() {
        let card = Card {
            index: 0,
            to: To::Network("south".into()),
            addresses: vec![],
        };
        let copy = copy(vec![card]);
        assert_eq!(text_at(&copy, &["name"]).unwrap(), "db-test");
        assert_eq!(text_at(&copy, &["vcpu"]).unwrap(), "4");
        assert_eq!(disks(&copy)[0].file.as_deref(), Some("/b/new.qcow2"));
        let devices = copy.get_child("devices").unwrap();
        assert_eq!(
            attribute(devices, &["interface", "source"], "network").unwrap(),
            "south"
        );
        assert_eq!(
            attribute(devices, &["interface", "mac"], "address").unwrap(),
            "52:54:00:00:00:01"
        );
        let text = text(&copy);
        for gone in ["hostdev", "cd.iso", "emulator", "a.sock", "id=\"3\""] {
            assert!(!text.contains(gone), "{gone} belongs to the source: {text}");
        }
        assert!(text.contains("slot=\"0x03\""), "the guest finds its disk where it was");
    }

    #[test]
    fn a_user_network_leads_in_by_fixed_addresses_only() {
        let to = To::Attachment(Attachment::User {
            isolated: true,
            ports: vec![(8080, 80)],
        });
        let card = Card {
            index: 0,
            to,
            addresses: vec!["127.0.0.11".into()],
        };
        let text = text(&copy(vec![card]));
        assert!(
            text.contains("user,id=landfall0,restrict=on,hostfwd=tcp:127.0.0.11:8080-:80"),
            "{text}"
        );
        assert!(text.contains("virtio-net-pci,netdev=landfall0,mac=52:54:00:00:00:01"));
        assert!(!text.contains("<interface"));
    }

    #[test]
    fn a_machine_of_another_platform_gets_a_plain_definition() {
        let facts = facts();
        let copy = Copy {
            uuid: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
            name: "vm",
            of: None,
            cpus: Some(2),
            memory_bytes: Some(1 << 30),
            disks: vec![("vda".to_owned(), "/b/new.qcow2".to_owned())],
            cards: vec![],
            facts: &facts,
        };
        let made = machine("u", &define(&copy).unwrap(), false, &[]).unwrap();
        assert_eq!(
            (made.cpus, made.memory_bytes, made.disks.len()),
            (Some(2), Some(1 << 30), 1)
        );
    }

    #[test]
    fn another_point_is_other_files() {
        let changed = with_files(DB, &[("vda".to_owned(), "/b/2.qcow2".to_owned())], &facts()).unwrap();
        let changed = parse(&changed).unwrap();
        assert_eq!(disks(&changed)[0].file.as_deref(), Some("/b/2.qcow2"));
        assert_eq!(Facts::from_domain(&changed), Some(facts()));
    }
}
