//! What a caller can ask of a site, and what it gets back: the operations of the adapter contract as JSON, under the
//! contract's names. The lab knows nothing of plugins; that these names agree is what makes its adapter thin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Outputs, evidence, details: text by name.
pub(crate) type Pairs = BTreeMap<String, String>;

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    /// The same request may work later.
    pub(crate) retryable: bool,
    /// The effect certainly did not happen.
    pub(crate) definite: bool,
}

impl Failure {
    /// A request that the site's state or the request itself forbids: nothing happened, trying again is useless.
    pub(crate) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
            definite: true,
        }
    }
}

/// Who asks, and under which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) installation: String,
    pub(crate) epoch: u64,
    #[serde(default)]
    pub(crate) job: Option<String>,
    #[serde(default)]
    pub(crate) step: Option<String>,
    #[serde(default)]
    pub(crate) attempt: u32,
}

/// An operation under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    #[serde(flatten)]
    pub(crate) call: Call,
    pub(crate) operation: Operation,
}

/// Where a submitted operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// `running`, `done` or `failed`.
    pub(crate) state: &'static str,
    pub(crate) handle: String,
    pub(crate) percent: Option<u8>,
    pub(crate) outputs: Pairs,
    pub(crate) failure: Option<Failure>,
    /// When asking again is worth it, in wall milliseconds.
    pub(crate) poll_after_ms: u64,
}

/// Data at a point in time, as the guest could use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Consistency {
    Crash,
    App,
}

/// One case for every case of `operation` in the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    Shutdown(Shutdown),
    Hold(Hold),
    Snapshot(Snapshot),
    Release(Release),
    Start(MachineRef),
    PrepareReplica(PrepareReplica),
    ReceiveComplete(ReceiveComplete),
    Process(ReplicaRef),
    DeletePoints(DeletePoints),
    DeleteReplica(ReplicaRef),
    CreateMachine(CreateMachine),
    BootPrepare(BootPrepare),
    ChangePoint(ChangePoint),
    Stop(Shutdown),
    DeleteMachine(MachineRef),
    Fence(MachineRef),
    Custom(Custom),
}

/// The operations that a lab site offers; `custom` is none of them.
pub(crate) const OFFERED: [&str; 16] = [
    "shutdown",
    "hold",
    "snapshot",
    "release",
    "start",
    "prepare-replica",
    "receive-complete",
    "process",
    "delete-points",
    "delete-replica",
    "create-machine",
    "boot-prepare",
    "change-point",
    "stop",
    "delete-machine",
    "fence",
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineRef {
    pub(crate) machine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shutdown {
    pub(crate) machine: String,
    #[serde(default)]
    pub(crate) forced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    pub(crate) machine: String,
    pub(crate) held: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    pub(crate) item: String,
    pub(crate) machine: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    pub(crate) members: Vec<Member>,
    #[serde(default)]
    pub(crate) quiesce: bool,
    pub(crate) group_mark: String,
    /// By item: disks that are left out, separated by commas.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub(crate) exclude: Pairs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    pub(crate) machine: String,
    pub(crate) marks: Vec<String>,
}

/// The machine at the source, as its site lists it. What the lab has no use for is accepted and left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceMachine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) origin: String,
    #[serde(default)]
    pub(crate) os: Option<String>,
    #[serde(default)]
    pub(crate) cpus: Option<u32>,
    #[serde(default)]
    pub(crate) memory_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) disks: Vec<DiskFacts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskFacts {
    pub(crate) id: String,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrepareReplica {
    pub(crate) item: String,
    pub(crate) machine: SourceMachine,
    pub(crate) source_site: String,
    /// `direction`, `location`, `original-machine`, and what the operator chose as `option/NAME`.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub(crate) ext: Pairs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicaRef {
    pub(crate) replica: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReceiveComplete {
    pub(crate) replica: String,
    pub(crate) mark: String,
    pub(crate) source_time_ms: u64,
    pub(crate) consistency: Consistency,
    #[serde(default)]
    pub(crate) group_mark: Option<String>,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletePoints {
    pub(crate) replica: String,
    /// None: all of them.
    #[serde(default)]
    pub(crate) points: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkMapping {
    pub(crate) nic: String,
    pub(crate) network: String,
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateMachine {
    pub(crate) item: String,
    pub(crate) name: String,
    pub(crate) replica: String,
    pub(crate) point: String,
    #[serde(default)]
    pub(crate) networks: Vec<NetworkMapping>,
    #[serde(default)]
    pub(crate) isolated: bool,
    #[serde(default)]
    pub(crate) cpus: Option<u32>,
    #[serde(default)]
    pub(crate) memory_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) ext: Pairs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BootPrepare {
    pub(crate) machine: String,
    pub(crate) extra_step: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePoint {
    pub(crate) machine: String,
    pub(crate) replica: String,
    pub(crate) point: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Custom {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) arguments: Pairs,
}

impl Operation {
    /// The contract's name, which is also the ledger's.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Shutdown(_) => "shutdown",
            Self::Hold(_) => "hold",
            Self::Snapshot(_) => "snapshot",
            Self::Release(_) => "release",
            Self::Start(_) => "start",
            Self::PrepareReplica(_) => "prepare-replica",
            Self::ReceiveComplete(_) => "receive-complete",
            Self::Process(_) => "process",
            Self::DeletePoints(_) => "delete-points",
            Self::DeleteReplica(_) => "delete-replica",
            Self::CreateMachine(_) => "create-machine",
            Self::BootPrepare(_) => "boot-prepare",
            Self::ChangePoint(_) => "change-point",
            Self::Stop(_) => "stop",
            Self::DeleteMachine(_) => "delete-machine",
            Self::Fence(_) => "fence",
            Self::Custom(_) => "custom",
        }
    }

    /// The machine that it acts on, where it acts on one.
    pub(crate) fn machine(&self) -> Option<&str> {
        match self {
            Self::Shutdown(stop) | Self::Stop(stop) => Some(&stop.machine),
            Self::Hold(hold) => Some(&hold.machine),
            Self::Release(release) => Some(&release.machine),
            Self::Start(machine) | Self::DeleteMachine(machine) | Self::Fence(machine) => Some(&machine.machine),
            Self::BootPrepare(prepare) => Some(&prepare.machine),
            Self::ChangePoint(change) => Some(&change.machine),
            Self::Custom(custom) => custom.arguments.get("machine").map(String::as_str),
            _ => None,
        }
    }

    /// The replica that it acts on or reads.
    pub(crate) fn replica(&self) -> Option<&str> {
        match self {
            Self::ReceiveComplete(receive) => Some(&receive.replica),
            Self::Process(replica) | Self::DeleteReplica(replica) => Some(&replica.replica),
            Self::DeletePoints(delete) => Some(&delete.replica),
            Self::CreateMachine(create) => Some(&create.replica),
            Self::ChangePoint(change) => Some(&change.replica),
            _ => None,
        }
    }

    /// The protected item that it names.
    pub(crate) fn item(&self) -> Option<&str> {
        match self {
            Self::PrepareReplica(prepare) => Some(&prepare.item),
            Self::CreateMachine(create) => Some(&create.item),
            _ => None,
        }
    }

    /// Whether it is a stop by force; none for what is no stop.
    pub(crate) fn forced(&self) -> Option<bool> {
        match self {
            Self::Shutdown(stop) | Self::Stop(stop) => Some(stop.forced),
            _ => None,
        }
    }

    /// Everything that a fault's `machine` may name.
    pub(crate) fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> = [self.machine(), self.replica(), self.item()]
            .into_iter()
            .flatten()
            .collect();
        match self {
            Self::Snapshot(snapshot) => {
                subjects.extend(
                    snapshot
                        .members
                        .iter()
                        .flat_map(|member| [&*member.item, &*member.machine]),
                );
            }
            Self::PrepareReplica(prepare) => subjects.extend([&*prepare.machine.id, &*prepare.machine.name]),
            Self::CreateMachine(create) => subjects.push(&create.name),
            _ => {}
        }
        subjects
    }
}
