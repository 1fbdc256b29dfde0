//! A virtual machine as vCenter describes it, and in the contract's words.

use landfall_rules::site::Platform;
use landfall_sdk::adapter_types::{Disk, Machine, Nic, Power, PowerAnswer};
use roxmltree::Node;

use crate::collector::Object;
use crate::point::{self, Snapshot};
use crate::stamp::Stamp;
use crate::xml;

/// What a list needs.
pub(crate) const LISTED: &[&str] = &[
    "name",
    "config.guestId",
    "config.hardware.device",
    "config.hardware.memoryMB",
    "config.hardware.numCPU",
    "config.instanceUuid",
    "config.template",
    "guest.guestFamily",
    "guest.net",
    "guest.toolsRunningStatus",
    "runtime.connectionState",
    "runtime.powerState",
];

/// What an effect needs beyond that.
pub(crate) const WHOLE: &[&str] = &[
    "config.extraConfig",
    "datastore",
    "parent",
    "recentTask",
    "resourcePool",
    "runtime.host",
    "snapshot",
];

/// A virtual machine, as far as it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vm {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) guest: String,
    pub(crate) family: String,
    pub(crate) uuid: String,
    pub(crate) is_template: bool,
    /// `poweredOn`, `poweredOff` or `suspended`.
    pub(crate) power_word: String,
    /// Anything but `connected` makes the rest of this hearsay.
    pub(crate) connection: String,
    pub(crate) tools: String,
    pub(crate) cpus: Option<u64>,
    pub(crate) memory_mb: Option<u64>,
    pub(crate) disks: Vec<VmDisk>,
    pub(crate) cards: Vec<Card>,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) datastores: Vec<String>,
    pub(crate) folder: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) tasks: Vec<String>,
}

/// A virtual disk.
#[derive(Debug, Clone)]
pub(crate) struct VmDisk {
    key: String,
    label: String,
    file: String,
    pub(crate) bytes: u64,
}

/// A network card. What is needed to say in a request which one is meant is kept as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) key: String,
    pub(crate) label: String,
    /// Its type in the API, such as `VirtualVmxnet3`.
    pub(crate) kind: String,
    pub(crate) controller: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) network: Option<String>,
    mac: String,
    addresses: Vec<String>,
    pub(crate) starts_connected: bool,
}

impl Vm {
    pub(crate) fn read(object: &Object<'_, '_>) -> Self {
        let text = |property: &str| object.text(property).unwrap_or_default().to_owned();
        let devices: Vec<Node<'_, '_>> = object
            .get("config.hardware.device")
            .map(|list| list.children().filter(Node::is_element).collect())
            .unwrap_or_default();
        let guest_cards: Vec<Node<'_, '_>> = object
            .get("guest.net")
            .map(|list| list.children().filter(Node::is_element).collect())
            .unwrap_or_default();
        let options = object.get("config.extraConfig");
        let options = options
            .into_iter()
            .flat_map(|list| list.children().filter(Node::is_element));
        let pairs = options.filter_map(|option| Some((xml::text(option, &["key"])?, xml::text(option, &["value"])?)));
        Self {
            id: object.id.to_owned(),
            name: text("name"),
            guest: text("config.guestId"),
            family: text("guest.guestFamily"),
            uuid: text("config.instanceUuid"),
            is_template: object.is_true("config.template"),
            power_word: text("runtime.powerState"),
            connection: text("runtime.connectionState"),
            tools: text("guest.toolsRunningStatus"),
            cpus: object.number("config.hardware.numCPU"),
            memory_mb: object.number("config.hardware.memoryMB"),
            disks: devices.iter().filter_map(|device| VmDisk::read(*device)).collect(),
            cards: devices
                .iter()
                .filter_map(|device| Card::read(*device, &guest_cards))
                .collect(),
            stamp: Stamp::from_pairs(pairs),
            datastores: object.ids("datastore"),
            folder: object.text("parent").map(str::to_owned),
            pool: object.text("resourcePool").map(str::to_owned),
            host: object.text("runtime.host").map(str::to_owned),
            snapshots: object.get("snapshot").map(point::snapshots).unwrap_or_default(),
            tasks: object.ids("recentTask"),
        }
    }

    /// What is not known is not off. A suspended machine could go on any moment with what it had in memory.
    pub(crate) fn power(&self) -> Power {
        match (&*self.connection, &*self.power_word) {
            ("connected", "poweredOn") => Power::On,
            ("connected", "poweredOff") => Power::Off,
            _ => Power::Unknown,
        }
    }

    /// Made by an effect of ours: the stamp is there and the UUID is the one that follows from its key.
    pub(crate) fn ours(&self) -> Option<&Stamp> {
        self.stamp
            .as_ref()
            .filter(|stamp| stamp.uuid().eq_ignore_ascii_case(&self.uuid))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.disks.iter().fold(0, |sum, disk| sum.saturating_add(disk.bytes))
    }

    /// `windows`, `linux`, or none where vCenter does not say.
    fn os(&self) -> Option<String> {
        let guest = self.guest.to_ascii_lowercase();
        let linux = [
            "linux", "ubuntu", "debian", "centos", "rhel", "sles", "photon", "rocky", "alma", "amazon", "fedora",
        ];
        if self.family == "windowsGuest" || guest.starts_with("win") {
            Some("windows".to_owned())
        } else if self.family == "linuxGuest" || linux.iter().any(|word| guest.contains(word)) {
            Some("linux".to_owned())
        } else {
            None
        }
    }

    /// vCenter still has it in its inventory, but nothing of it can be reached.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(&*self.connection, "inaccessible" | "invalid" | "orphaned")
    }

    /// `vcenter` is the instance UUID of the vCenter that lists it.
    pub(crate) fn listed(self, vcenter: &str) -> Machine {
        let mut ext = vec![
            ("platform".to_owned(), Platform::Vmware.name().to_owned()),
            ("vcenter".to_owned(), vcenter.to_owned()),
            ("instance-uuid".to_owned(), self.uuid.clone()),
            ("connection".to_owned(), self.connection.clone()),
            ("tools".to_owned(), self.tools.clone()),
        ];
        if self.is_template {
            ext.push(("template".to_owned(), "true".to_owned()));
        }
        Machine {
            origin: "vmware".to_owned(),
            os: self.os(),
            power: self.power(),
            cpus: self.cpus.and_then(|cpus| u32::try_from(cpus).ok()),
            memory_bytes: self.memory_mb.map(|mb| mb << 20),
            id: self.id,
            name: self.name,
            disks: self.disks.into_iter().map(VmDisk::listed).collect(),
            nics: self.cards.into_iter().map(Card::listed).collect(),
            ext,
        }
    }
}

impl VmDisk {
    fn read(device: Node<'_, '_>) -> Option<Self> {
        if xml::kind(device) != Some("VirtualDisk") {
            return None;
        }
        let number = |name: &str| xml::text(device, &[name])?.trim().parse::<u64>().ok();
        Some(Self {
            key: xml::text(device, &["key"])?.to_owned(),
            label: xml::text(device, &["deviceInfo", "label"])
                .unwrap_or_default()
                .to_owned(),
            file: xml::text(device, &["backing", "fileName"])
                .unwrap_or_default()
                .to_owned(),
            bytes: number("capacityInBytes")
                .or_else(|| Some(number("capacityInKB")? << 10))
                .unwrap_or(0),
        })
    }

    fn listed(self) -> Disk {
        Disk {
            id: self.key,
            bytes: self.bytes,
            ext: vec![("label".to_owned(), self.label), ("file".to_owned(), self.file)],
        }
    }
}

impl Card {
    fn read(device: Node<'_, '_>, guest: &[Node<'_, '_>]) -> Option<Self> {
        let mac = xml::text(device, &["macAddress"])?;
        let key = xml::text(device, &["key"])?;
        let text = |path: &[&str]| xml::text(device, path).map(str::to_owned);
        let network = text(&["backing", "port", "portgroupKey"]).or_else(|| text(&["backing", "network"]));
        let reported = guest
            .iter()
            .filter(|card| xml::text(**card, &["deviceConfigId"]) == Some(key));
        let addresses = reported
            .flat_map(|card| xml::children(*card, "ipAddress"))
            .filter_map(|one| one.text());
        Some(Self {
            key: key.to_owned(),
            label: text(&["deviceInfo", "label"]).unwrap_or_default(),
            kind: xml::kind(device)?.to_owned(),
            controller: text(&["controllerKey"]),
            unit: text(&["unitNumber"]),
            network,
            mac: mac.to_owned(),
            addresses: addresses.map(str::to_owned).collect(),
            starts_connected: xml::text(device, &["connectable", "startConnected"]) != Some("false"),
        })
    }

    /// A card as tests need it.
    #[cfg(test)]
    pub(crate) fn named(key: &str, label: &str) -> Self {
        Self {
            key: key.to_owned(),
            label: label.to_owned(),
            kind: "VirtualVmxnet3".to_owned(),
            controller: None,
            unit: None,
            network: None,
            mac: String::new(),
            addresses: Vec::new(),
            starts_connected: true,
        }
    }

    fn listed(self) -> Nic {
        Nic {
            id: self.key,
            network: self.network,
            addresses: self.addresses,
            ext: vec![("label".to_owned(), self.label), ("mac".to_owned(), self.mac)],
        }
    }
}

/// The answer to a read of power, from the machine and what its host would do by itself.
pub(crate) fn power_answer(vm: &Vm, autostart: Option<bool>) -> PowerAnswer {
    let evidence = [
        ("machine", &*vm.id),
        ("name", &vm.name),
        ("instance-uuid", &vm.uuid),
        ("power-state", &vm.power_word),
        ("connection-state", &vm.connection),
        ("host", vm.host.as_deref().unwrap_or("none")),
        ("template", if vm.is_template { "true" } else { "false" }),
        (
            "host-autostart",
            match autostart {
                Some(true) => "on",
                Some(false) => "off",
                None => "not known",
            },
        ),
    ];
    PowerAnswer {
        power: vm.power(),
        autostart,
        evidence: evidence
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(connection: &str, power: &str) -> Vm {
        Vm {
            connection: connection.into(),
            power_word: power.into(),
            ..Vm::default()
        }
    }

    #[test]
    fn off_is_only_what_a_connected_host_says_is_off() {
        assert_eq!(vm("connected", "poweredOff").power(), Power::Off);
        assert_eq!(vm("connected", "poweredOn").power(), Power::On);
        for (connection, power) in [
            ("disconnected", "poweredOff"),
            ("inaccessible", "poweredOff"),
            ("orphaned", "poweredOff"),
            ("connected", "suspended"),
            ("", ""),
        ] {
            assert_eq!(vm(connection, power).power(), Power::Unknown, "{connection} {power}");
        }
    }

    #[test]
    fn a_copy_of_ours_is_not_ours() {
        let stamp = Stamp {
            installation: "i".into(),
            key: "k".into(),
            ..Stamp::default()
        };
        let mut made = Vm {
            uuid: stamp.uuid(),
            stamp: Some(stamp),
            ..Vm::default()
        };
        assert!(made.ours().is_some());
        made.uuid = "5031d3a1-0000-0000-0000-000000000000".into();
        assert!(made.ours().is_none());
    }

    #[test]
    fn devices_are_told_apart() {
        let text = r#"<val xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
            <VirtualDevice xsi:type="VirtualDisk"><key>2000</key><deviceInfo><label>Hard disk 1</label></deviceInfo>
                <backing><fileName>[ds] db/db.vmdk</fileName></backing><capacityInKB>1024</capacityInKB></VirtualDevice>
            <VirtualDevice xsi:type="VirtualVmxnet3"><key>4000</key><backing><port><portgroupKey>dvportgroup-9</portgroupKey></port></backing>
                <controllerKey>100</controllerKey><unitNumber>7</unitNumber><macAddress>00:50:56:00:00:01</macAddress></VirtualDevice>
            <VirtualDevice xsi:type="VirtualIDEController"><key>200</key></VirtualDevice></val>"#;
        let document = roxmltree::Document::parse(text).unwrap();
        let devices: Vec<_> = document.root_element().children().filter(Node::is_element).collect();
        let disks: Vec<_> = devices.iter().filter_map(|one| VmDisk::read(*one)).collect();
        assert_eq!((disks.len(), disks[0].bytes), (1, 1 << 20));
        let cards: Vec<_> = devices.iter().filter_map(|one| Card::read(*one, &[])).collect();
        assert_eq!(cards.len(), 1);
        assert_eq!(
            (&*cards[0].kind, cards[0].network.as_deref()),
            ("VirtualVmxnet3", Some("dvportgroup-9"))
        );
    }
}
