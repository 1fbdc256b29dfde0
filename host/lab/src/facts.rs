//! What the platforms' rules ask about: facts of a site and of a machine. Plain data that the control API sets and the
//! sites report; the lab itself judges nothing by it. It acts on few of them: how long an agent takes to be registered,
//! where a machine is put, and whether it was lost.

use serde::{Deserialize, Serialize};

/// What a site pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    Vmware,
    Hyperv,
    Physical,
    Azure,
    Kvm,
}

impl Profile {
    /// The origin of machines that are defined there.
    pub(crate) fn origin(self) -> &'static str {
        match self {
            Self::Vmware => "vmware",
            Self::Hyperv => "hyperv",
            Self::Physical => "physical",
            Self::Azure => "azure",
            Self::Kvm => "kvm",
        }
    }
}

/// A site's facts; `API.md` says what each means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SiteFacts {
    pub(crate) profile: Option<Profile>,
    pub(crate) vcenters: Vec<Vcenter>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) datastores: Vec<Datastore>,
    pub(crate) configuration_servers: Vec<ConfigurationServer>,
    pub(crate) master_targets: Vec<MasterTarget>,
    pub(crate) process_servers: Vec<ProcessServer>,
    /// In a cloud: where recovered machines are put.
    pub(crate) resource_group: Option<String>,
    /// From the start of a recovered machine until its agent is registered.
    pub(crate) agent_delay_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vcenter {
    pub(crate) id: String,
    #[serde(default = "yes")]
    pub(crate) connected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    pub(crate) id: String,
    #[serde(default = "yes")]
    pub(crate) discovered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Datastore {
    pub(crate) id: String,
    #[serde(default = "vmfs")]
    pub(crate) kind: StoreKind,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    Vmfs,
    Vsan,
    Rdm,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigurationServer {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) address: Option<String>,
    #[serde(default = "yes")]
    pub(crate) reachable: bool,
    /// None: every machine that it ever protected.
    #[serde(default)]
    pub(crate) machines: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MasterTarget {
    pub(crate) id: String,
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) host: String,
    #[serde(default)]
    pub(crate) snapshots: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessServer {
    pub(crate) id: String,
    #[serde(default = "yes")]
    pub(crate) reachable: bool,
}

fn yes() -> bool {
    true
}

fn vmfs() -> StoreKind {
    StoreKind::Vmfs
}

impl SiteFacts {
    /// A sound site of a kind: nothing stands in the way of anything.
    pub(crate) fn of(profile: Option<Profile>) -> Self {
        let plain = Self {
            profile,
            ..Self::default()
        };
        match profile {
            Some(Profile::Vmware) => Self {
                vcenters: vec![Vcenter {
                    id: "vc-1".to_owned(),
                    connected: true,
                }],
                hosts: ["esx-1", "esx-2"].map(host).to_vec(),
                datastores: ["ds-1", "ds-2"].map(datastore).to_vec(),
                master_targets: ["linux", "windows"].map(master_target).to_vec(),
                ..servers(plain)
            },
            Some(Profile::Physical) => servers(plain),
            Some(Profile::Azure) => Self {
                resource_group: Some("recovery".to_owned()),
                ..plain
            },
            Some(Profile::Hyperv | Profile::Kvm) | None => plain,
        }
    }
}

/// What stands beside VMware and physical machines.
fn servers(facts: SiteFacts) -> SiteFacts {
    SiteFacts {
        configuration_servers: vec![ConfigurationServer {
            id: "cs-1".to_owned(),
            address: Some("10.0.0.10".to_owned()),
            reachable: true,
            machines: None,
        }],
        process_servers: vec![ProcessServer {
            id: "ps-1".to_owned(),
            reachable: true,
        }],
        ..facts
    }
}

fn host(id: &str) -> Host {
    Host {
        id: id.to_owned(),
        discovered: true,
    }
}

fn datastore(id: &str) -> Datastore {
    Datastore {
        id: id.to_owned(),
        kind: StoreKind::Vmfs,
        hosts: vec!["esx-1".to_owned(), "esx-2".to_owned()],
    }
}

fn master_target(os: &str) -> MasterTarget {
    MasterTarget {
        id: format!("mt-{os}"),
        os: os.to_owned(),
        host: "esx-1".to_owned(),
        snapshots: 0,
    }
}

/// A machine's facts; `API.md` says what each means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub(crate) struct MachineFacts {
    pub(crate) os_release: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) boot_drivers: Option<Vec<String>>,
    pub(crate) dhcp: bool,
    pub(crate) encryption: bool,
    pub(crate) san_policy: Option<String>,
    /// Guest tools, in the word for what was last done to them.
    pub(crate) tools: Option<String>,
    pub(crate) available: bool,
    /// Left out where the site lists its machines.
    pub(crate) unlisted: bool,
    pub(crate) healthy: bool,
    pub(crate) migrated: bool,
    pub(crate) resource_group: Option<String>,
    pub(crate) original_resource_group: Option<String>,
    pub(crate) vcenter: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) datastore: Option<String>,
    pub(crate) came_from: Option<CameFrom>,
}

impl Default for MachineFacts {
    fn default() -> Self {
        Self {
            os_release: None,
            agent_version: None,
            boot_drivers: None,
            dhcp: true,
            encryption: false,
            san_policy: None,
            tools: None,
            available: true,
            unlisted: false,
            healthy: true,
            migrated: false,
            resource_group: None,
            original_resource_group: None,
            vcenter: None,
            host: None,
            datastore: None,
            came_from: None,
        }
    }
}

/// Where a recovered machine was at home, as it was when it was protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameFrom {
    pub(crate) site: String,
    pub(crate) machine: String,
    #[serde(default)]
    pub(crate) vcenter: Option<String>,
    #[serde(default)]
    pub(crate) configuration_server: Option<String>,
    #[serde(default)]
    pub(crate) configuration_server_address: Option<String>,
}

/// One disk of a machine. Its records lie on the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineDisk {
    pub(crate) id: String,
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) datastore: Option<String>,
    #[serde(default = "yes")]
    pub(crate) attached: bool,
}
