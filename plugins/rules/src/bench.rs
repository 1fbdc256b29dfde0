//! Sound cases for the tests, to break one fact of at a time.

use crate::machine::{BOOT_DRIVERS, CameFrom, Disk, Machine};
use crate::site::{ConfigurationServer, Datastore, Host, MasterTarget, Platform, ProcessServer, Site, Vcenter};
use crate::{Case, FINDINGS, Location, Options, Role, Verdict, boot, judge};

/// A [`Case`] that owns its facts.
pub(crate) struct Bench {
    pub(crate) role: Role,
    pub(crate) reverse: bool,
    pub(crate) location: Option<Location>,
    pub(crate) origin: &'static str,
    pub(crate) site: Site,
    pub(crate) machine: Option<Machine>,
    pub(crate) original: Option<Machine>,
    options: Options,
}

impl Bench {
    /// A VMware machine on its way to the cloud.
    pub(crate) fn to_cloud(machine: Machine) -> Self {
        Self {
            role: Role::Target,
            reverse: false,
            location: None,
            origin: "vmware",
            site: Site {
                profile: Some(Platform::Azure),
                ..Site::default()
            },
            machine: Some(machine),
            original: None,
            options: Options::new(),
        }
    }

    /// A VMware machine in the cloud, before its way home; the cloud is asked.
    pub(crate) fn in_cloud() -> Self {
        Self {
            role: Role::Source,
            reverse: true,
            location: Some(Location::Original),
            ..Self::to_cloud(recovered())
        }
    }

    /// The same; home is asked.
    pub(crate) fn home(location: Location) -> Self {
        let mut original = recovered();
        original.platform = Some(Platform::Vmware);
        Self {
            role: Role::Target,
            location: Some(location),
            site: vmware(),
            original: Some(original),
            ..Self::in_cloud()
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.options.insert(name.into(), value.into());
    }

    pub(crate) fn cloud(&mut self) -> &mut Machine {
        self.machine.as_mut().unwrap()
    }

    pub(crate) fn came(&mut self) -> &mut CameFrom {
        self.cloud().came_from.as_mut().unwrap()
    }

    pub(crate) fn home_machine(&mut self) -> &mut Machine {
        self.original.as_mut().unwrap()
    }

    /// Every finding must be described, and say what to do.
    pub(crate) fn judge(&self, operation: &str) -> Verdict {
        let verdict = judge(&Case {
            operation,
            role: self.role,
            reverse: self.reverse,
            location: self.location,
            origin: self.origin,
            item: "db",
            site: &self.site,
            machine: self.machine.as_ref(),
            original: self.original.as_ref(),
            options: &self.options,
            boot_preparation_ms: boot::USUAL_MS,
        });
        for finding in &verdict.findings {
            assert!(FINDINGS.iter().any(|(id, _)| *id == finding.id), "{}", finding.id);
            assert!(!finding.cause.is_empty() && !finding.cure.is_empty(), "{finding:?}");
        }
        verdict
    }
}

/// Ids without that of boot preparation, which has a table of its own.
pub(crate) fn ids(verdict: &Verdict) -> Vec<&'static str> {
    let ids = verdict.findings.iter().map(|finding| finding.id);
    ids.filter(|id| *id != "boot-preparation").collect()
}

/// All boot drivers but these.
pub(crate) fn drivers(missing: &[&str]) -> Vec<String> {
    let installed = BOOT_DRIVERS.iter().filter(|driver| !missing.contains(driver));
    installed.map(|driver| (*driver).to_owned()).collect()
}

fn recovered() -> Machine {
    let disk = |id: &str| Disk {
        id: id.into(),
        bytes: 1 << 30,
        ..Disk::default()
    };
    Machine {
        id: "vm-9".into(),
        name: "vm-db".into(),
        os: Some("linux".into()),
        platform: Some(Platform::Azure),
        datastore: Some("ds-1".into()),
        resource_group: Some("rg-1".into()),
        original_resource_group: Some("rg-1".into()),
        disks: vec![disk("disk-0"), disk("disk-1")],
        came_from: Some(CameFrom {
            machine: "vm-db".into(),
            vcenter: Some("vc-1".into()),
            configuration_server: Some("cs-1".into()),
            configuration_server_address: Some("10.0.0.10".into()),
        }),
        ..Machine::default()
    }
}

fn vmware() -> Site {
    let datastore = |id: &str| Datastore {
        id: id.into(),
        kind: "vmfs".into(),
        hosts: vec!["esx-1".into(), "esx-2".into()],
    };
    let target = |os: &str| MasterTarget {
        id: format!("mt-{os}"),
        os: os.into(),
        host: "esx-1".into(),
        snapshots: 0,
    };
    let host = |id: &str| Host {
        id: id.into(),
        discovered: true,
    };
    Site {
        profile: Some(Platform::Vmware),
        vcenters: vec![Vcenter {
            id: "vc-1".into(),
            connected: true,
        }],
        hosts: vec![host("esx-1"), host("esx-2")],
        datastores: vec![datastore("ds-1"), datastore("ds-2")],
        configuration_servers: vec![ConfigurationServer {
            id: "cs-1".into(),
            address: Some("10.0.0.10".into()),
            reachable: true,
            machines: None,
        }],
        master_targets: vec![target("linux"), target("windows")],
        process_servers: vec![ProcessServer {
            id: "ps-1".into(),
            reachable: true,
        }],
    }
}
