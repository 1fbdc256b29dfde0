//! What is known of a site: its platform, and the servers and stores that failback needs.

use serde::Deserialize;

use crate::machine::Machine;

/// What machines run on at a site, and where a machine came from first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// VMware vSphere.
    Vmware,
    /// Microsoft Hyper-V.
    Hyperv,
    /// Servers without a hypervisor.
    Physical,
    /// A cloud.
    Azure,
    /// KVM.
    Kvm,
}

impl Platform {
    /// All of them, with the names that the contract uses.
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Vmware, "vmware"),
        (Self::Hyperv, "hyperv"),
        (Self::Physical, "physical"),
        (Self::Azure, "azure"),
        (Self::Kvm, "kvm"),
    ];

    /// The contract's name.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(platform, _)| *platform == self)
            .map_or("", |(_, name)| name)
    }

    /// The platform of this name, if it is one of them.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(platform, _)| *platform)
    }
}

/// A site's facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Site {
    /// None: one without rules.
    pub profile: Option<Platform>,
    /// None at a site that does without.
    pub vcenters: Vec<Vcenter>,
    /// ESX hosts.
    pub hosts: Vec<Host>,
    /// Where disks lie.
    pub datastores: Vec<Datastore>,
    /// What replicates machines to the cloud and back.
    pub configuration_servers: Vec<ConfigurationServer>,
    /// What writes the data that comes home.
    pub master_targets: Vec<MasterTarget>,
    /// What passes data on.
    pub process_servers: Vec<ProcessServer>,
}

/// A vCenter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Vcenter {
    /// Its identity.
    pub id: String,
    /// It answers.
    #[serde(default = "yes")]
    pub connected: bool,
}

/// An ESX host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Host {
    /// Its name.
    pub id: String,
    /// The configuration server has found it.
    #[serde(default = "yes")]
    pub discovered: bool,
}

/// A datastore.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Datastore {
    /// Its name.
    pub id: String,
    /// `vmfs`, `vsan` or `rdm`.
    #[serde(default = "vmfs")]
    pub kind: String,
    /// ESX hosts that reach it.
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl Datastore {
    /// A file system of VMware's own, in which disks can be made.
    pub fn is_vmfs(&self) -> bool {
        self.kind.eq_ignore_ascii_case("vmfs")
    }

    /// vSAN or RDM.
    pub fn takes_only_attached_disks(&self) -> bool {
        ["vsan", "rdm"].iter().any(|kind| self.kind.eq_ignore_ascii_case(kind))
    }

    /// Whether an ESX host reaches it.
    pub fn is_reached_from(&self, host: &str) -> bool {
        self.hosts.iter().any(|one| one == host)
    }
}

/// A configuration server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConfigurationServer {
    /// Its identity.
    pub id: String,
    /// Its IP address now.
    #[serde(default)]
    pub address: Option<String>,
    /// It answers.
    #[serde(default = "yes")]
    pub reachable: bool,
    /// Machines in its database; none: every one that it ever protected.
    #[serde(default)]
    pub machines: Option<Vec<String>>,
}

/// A master target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MasterTarget {
    /// Its name.
    pub id: String,
    /// `windows` or `linux`.
    pub os: String,
    /// The ESX host that it runs on.
    #[serde(default)]
    pub host: String,
    /// Snapshots that it has.
    #[serde(default)]
    pub snapshots: u32,
}

/// A process server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProcessServer {
    /// Its name.
    pub id: String,
    /// It answers.
    #[serde(default = "yes")]
    pub reachable: bool,
}

fn yes() -> bool {
    true
}

fn vmfs() -> String {
    "vmfs".to_owned()
}

impl Site {
    /// The datastore of this name.
    pub fn datastore(&self, id: &str) -> Option<&Datastore> {
        self.datastores.iter().find(|store| store.id == id)
    }

    /// Whether an ESX host was discovered.
    pub fn has_discovered(&self, host: &str) -> bool {
        self.hosts.iter().any(|one| one.id == host && one.discovered)
    }

    /// The master target that the machine's data goes through: the chosen one; else the first of its family, one that
    /// reaches the datastore before others. Deterministic, so that reprotect and failback mean the same one.
    pub fn master_target(
        &self,
        chosen: Option<&str>,
        machine: Option<&Machine>,
        store: Option<&str>,
    ) -> Option<&MasterTarget> {
        if let Some(chosen) = chosen {
            return self.master_targets.iter().find(|target| target.id == chosen);
        }
        let fits = |target: &&MasterTarget| machine.is_none_or(|machine| target.fits(machine));
        let reaches = |target: &&MasterTarget| {
            store
                .and_then(|store| self.datastore(store))
                .is_none_or(|store| store.is_reached_from(&target.host))
        };
        let fitting = || self.master_targets.iter().filter(fits);
        fitting().find(reaches).or_else(|| fitting().next())
    }
}

impl MasterTarget {
    /// It has the machine's family, as far as that is known.
    pub fn fits(&self, machine: &Machine) -> bool {
        machine.os.as_deref().is_none_or(|os| os.eq_ignore_ascii_case(&self.os))
    }
}
