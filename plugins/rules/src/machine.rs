//! What is known of a machine beyond the contract's record, and how one adapter tells another: as pairs in the record's
//! `ext`, so that the site that a machine goes to can judge what the site that it comes from has seen.

use serde::Deserialize;

use crate::site::Platform;

/// The drivers without which a VMware machine cannot start in the cloud.
pub const BOOT_DRIVERS: [&str; 5] = ["storvsc", "vmbus", "storflt", "intelide", "atapi"];

/// A machine's facts. What is not known is none, or the harmless value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Machine {
    /// The site's reference.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `windows` or `linux`.
    pub os: Option<String>,
    /// What it runs on.
    pub platform: Option<Platform>,
    /// As people write it: `Windows Server 2008 R2 SP1`.
    pub os_release: Option<String>,
    /// Of the mobility agent.
    pub agent_version: Option<String>,
    /// The agent reports to its site.
    pub agent_registered: bool,
    /// Drivers that are installed; none: not known.
    pub boot_drivers: Option<Vec<String>>,
    /// The DHCP service is enabled in the guest.
    pub dhcp: bool,
    /// Its data is encrypted at its site.
    pub encryption: bool,
    /// What Windows does with new disks.
    pub san_policy: Option<String>,
    /// It was lost where this is false, and not restored.
    pub available: bool,
    /// What monitoring says of its replication.
    pub healthy: bool,
    /// Its migration was completed.
    pub migrated: bool,
    /// In a cloud: where it is.
    pub resource_group: Option<String>,
    /// In a cloud: where it was made.
    pub original_resource_group: Option<String>,
    /// Where its disks lie, unless a disk says otherwise.
    pub datastore: Option<String>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Whence it was first brought here.
    pub came_from: Option<CameFrom>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            os: None,
            platform: None,
            os_release: None,
            agent_version: None,
            agent_registered: true,
            boot_drivers: None,
            dhcp: true,
            encryption: false,
            san_policy: None,
            available: true,
            healthy: true,
            migrated: false,
            resource_group: None,
            original_resource_group: None,
            datastore: None,
            disks: Vec::new(),
            came_from: None,
        }
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The site's reference.
    pub id: String,
    /// Its size.
    pub bytes: u64,
    /// Where it lies, if elsewhere than the machine.
    pub datastore: Option<String>,
    /// The machine has it now.
    pub attached: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            id: String::new(),
            bytes: 0,
            datastore: None,
            attached: true,
        }
    }
}

/// Where a recovered machine was at home: what must still be there when it comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CameFrom {
    /// The machine's reference there.
    pub machine: String,
    /// What managed it.
    pub vcenter: Option<String>,
    /// What replicated it.
    pub configuration_server: Option<String>,
    /// The IP address that this had.
    pub configuration_server_address: Option<String>,
}

impl Machine {
    /// A machine as a record of the contract tells of it, without its disks.
    pub fn listed(id: &str, name: &str, os: Option<&str>, ext: &[(String, String)]) -> Self {
        let mut machine = Self {
            id: id.to_owned(),
            name: name.to_owned(),
            os: os.map(str::to_owned),
            ..Self::default()
        };
        machine.take(ext);
        machine
    }

    /// The drivers of [`BOOT_DRIVERS`] that it lacks, as far as is known.
    pub fn missing_drivers(&self) -> Vec<&'static str> {
        let Some(installed) = &self.boot_drivers else {
            return Vec::new();
        };
        let has = |driver: &&str| installed.iter().any(|one| one.eq_ignore_ascii_case(driver));
        BOOT_DRIVERS.into_iter().filter(|driver| !has(driver)).collect()
    }

    /// Whether it is known to run this family of operating systems.
    pub fn runs(&self, family: &str) -> bool {
        self.os.as_deref().is_some_and(|os| os.eq_ignore_ascii_case(family))
    }

    /// The facts as a record of the contract has them in `ext`. Harmless ones are left out.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let came = self.came_from.as_ref();
        let texts = [
            ("platform", self.platform.map(|platform| platform.name().to_owned())),
            ("os-release", self.os_release.clone()),
            ("agent-version", self.agent_version.clone()),
            ("agent-registered", no(self.agent_registered)),
            (
                "boot-drivers",
                self.boot_drivers.as_ref().map(|drivers| drivers.join(",")),
            ),
            ("dhcp", no(self.dhcp)),
            ("encryption", yes(self.encryption)),
            ("san-policy", self.san_policy.clone()),
            ("available", no(self.available)),
            ("healthy", no(self.healthy)),
            ("migrated", yes(self.migrated)),
            ("resource-group", self.resource_group.clone()),
            ("original-resource-group", self.original_resource_group.clone()),
            ("datastore", self.datastore.clone()),
            ("came-from/machine", came.map(|came| came.machine.clone())),
            ("came-from/vcenter", came.and_then(|came| came.vcenter.clone())),
            (
                "came-from/configuration-server",
                came.and_then(|came| came.configuration_server.clone()),
            ),
            (
                "came-from/configuration-server-address",
                came.and_then(|came| came.configuration_server_address.clone()),
            ),
        ];
        let known = texts
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?)));
        known.collect()
    }

    /// Takes in the facts of a record's `ext`; what it does not know stays as it is.
    pub fn take(&mut self, pairs: &[(String, String)]) {
        for (name, text) in pairs {
            let said = || Some(text.clone());
            match &**name {
                "platform" => self.platform = Platform::named(text),
                "os-release" => self.os_release = said(),
                "agent-version" => self.agent_version = said(),
                "agent-registered" => self.agent_registered = text != "no",
                "boot-drivers" => {
                    let drivers = text.split(',').map(str::trim).filter(|driver| !driver.is_empty());
                    self.boot_drivers = Some(drivers.map(str::to_owned).collect());
                }
                "dhcp" => self.dhcp = text != "no",
                "encryption" => self.encryption = text == "yes",
                "san-policy" => self.san_policy = said(),
                "available" => self.available = text != "no",
                "healthy" => self.healthy = text != "no",
                "migrated" => self.migrated = text == "yes",
                "resource-group" => self.resource_group = said(),
                "original-resource-group" => self.original_resource_group = said(),
                "datastore" => self.datastore = said(),
                "came-from/machine" => self.came().machine.clone_from(text),
                "came-from/vcenter" => self.came().vcenter = said(),
                "came-from/configuration-server" => self.came().configuration_server = said(),
                "came-from/configuration-server-address" => self.came().configuration_server_address = said(),
                _ => {}
            }
        }
    }

    fn came(&mut self) -> &mut CameFrom {
        self.came_from.get_or_insert_default()
    }
}

fn yes(fact: bool) -> Option<String> {
    fact.then(|| "yes".to_owned())
}

fn no(fact: bool) -> Option<String> {
    (!fact).then(|| "no".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_their_way_through_a_record() {
        let facts = Machine {
            platform: Some(Platform::Azure),
            os_release: Some("Debian 12".into()),
            agent_version: Some("9.62".into()),
            agent_registered: false,
            boot_drivers: Some(vec!["vmbus".into(), "atapi".into()]),
            dhcp: false,
            encryption: true,
            san_policy: Some("OnlineAll".into()),
            available: false,
            healthy: false,
            migrated: true,
            resource_group: Some("rg-2".into()),
            original_resource_group: Some("rg-1".into()),
            datastore: Some("ds-1".into()),
            came_from: Some(CameFrom {
                machine: "vm-db".into(),
                vcenter: Some("vc-1".into()),
                configuration_server: Some("cs-1".into()),
                configuration_server_address: Some("10.0.0.10".into()),
            }),
            ..Machine::default()
        };
        let mut read = Machine::default();
        read.take(&facts.pairs());
        assert_eq!(read, facts);
        assert!(Machine::default().pairs().is_empty(), "what is harmless is not said");
    }
}
