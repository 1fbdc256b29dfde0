//! One line of the ledger: who asked for what, under which key, what came of it, and the change that the lab's state
//! takes from it. The state is the fold of these lines and of nothing else.

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::facts::{MachineDisk, MachineFacts, SiteFacts};
use crate::fault::{Fault, Latency};
use crate::operation::{Call, Operation};
use crate::state::{
    Beginning, Machine, MachineSpec, Mark, Network, Nic, Parent, Point, Replica, Settings, Status, Task,
};

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It had an effect.
    Changed,
    /// It had none: it was so already, the key was known, or it failed without saying so for certain.
    Unchanged,
    /// The request was not allowed.
    Refused,
    /// It failed, and the caller was told that nothing happened.
    FailedDefinite,
    /// It was begun; another line follows when it is over.
    Accepted,
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Counts from 1 without gaps.
    pub(crate) seq: u64,
    /// Wall milliseconds since 1970; never less than the line before.
    pub(crate) at_ms: u64,
    pub(crate) site: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) operation: String,
    pub(crate) machine: Option<String>,
    pub(crate) item: Option<String>,
    /// What the operation acts on, before and after, in words.
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) result: Outcome,
    /// INSTALLATION@EPOCH, `control`, `webhook` or `lab`.
    pub(crate) caller: String,
    /// Why it came out so, where that is not plain.
    pub(crate) note: Option<String>,
    pub(crate) change: Vec<Change>,
}

impl Entry {
    /// A line without a subject, by the lab's own hand or the control API's. The ledger numbers and dates it.
    pub(crate) fn plain(caller: &str, operation: &str, change: Vec<Change>) -> Self {
        Self {
            seq: 0,
            at_ms: 0,
            site: None,
            key: None,
            job: None,
            step: None,
            operation: operation.to_owned(),
            machine: None,
            item: None,
            before: None,
            after: None,
            result: if change.is_empty() {
                Outcome::Unchanged
            } else {
                Outcome::Changed
            },
            caller: caller.to_owned(),
            note: None,
            change,
        }
    }

    /// A line about an operation that was submitted to a site.
    pub(crate) fn of_call(site: &str, call: &Call, operation: &Operation, result: Outcome) -> Self {
        Self {
            site: Some(site.to_owned()),
            key: Some(call.key.clone()),
            job: call.job.clone(),
            step: call.step.clone(),
            machine: operation.machine().or(operation.replica()).map(str::to_owned),
            item: operation.item().map(str::to_owned),
            result,
            ..Self::plain(
                &format!("{}@{}", call.installation, call.epoch),
                operation.name(),
                Vec::new(),
            )
        }
    }
}

/// What the fold applies. Names are of the entry's site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a line has few changes, and they live for a moment"
)]
pub(crate) enum Change {
    SiteMade,
    SiteSettings {
        settings: Settings,
    },
    SiteFacts {
        facts: Box<SiteFacts>,
    },
    SiteLost {
        machines_off: bool,
    },
    SiteBack,
    NetworkSet {
        network: Network,
    },
    NetworkGone {
        network: String,
    },
    MachinesDefined {
        machines: Vec<MachineSpec>,
    },
    MachineMade {
        machine: Box<Machine>,
    },
    MachineGone {
        machine: String,
    },
    Power {
        machine: String,
        on: bool,
    },
    Autostart {
        machine: String,
        autostart: bool,
    },
    Hold {
        machine: String,
        held: bool,
    },
    Fence {
        machine: String,
    },
    Rate {
        machine: String,
        rate: u64,
    },
    Boot {
        machine: String,
        boot_ms: u64,
    },
    Prepared {
        machine: String,
        extra_step: String,
    },
    DiskReplaced {
        machine: String,
        disk: Disk,
    },
    MachineFacts {
        machine: String,
        facts: Box<MachineFacts>,
    },
    Disks {
        machine: String,
        disks: Vec<MachineDisk>,
    },
    /// What its disk begins with, and the mark that says so.
    Began {
        machine: String,
        beginning: Beginning,
    },
    /// A machine at home got its disks back from the replica that they were bound to.
    Reattached {
        machine: String,
        parent: Option<Parent>,
        nics: Vec<Nic>,
        rate: u64,
    },
    Marks {
        marks: Vec<(String, Mark)>,
    },
    Released {
        machine: String,
        marks: Vec<String>,
    },
    /// Orders of this installation under a lower epoch are refused from here on.
    TakenOver {
        installation: String,
        epoch: u64,
    },
    ReplicaMade {
        replica: Box<Replica>,
    },
    ReplicaGone {
        replica: String,
    },
    Received {
        replica: String,
        point: Point,
    },
    /// The named pending point becomes this one, and older pending ones go.
    Processed {
        replica: String,
        pending: Option<String>,
        point: Point,
    },
    PointsGone {
        replica: String,
        points: Option<Vec<String>>,
    },
    Accepted {
        task: Box<Task>,
    },
    Settled {
        handle: String,
        key: String,
        operation: String,
        status: Status,
        remember: bool,
    },
    FaultSet {
        fault: Fault,
    },
    FaultUsed {
        id: u64,
    },
    FaultGone {
        id: u64,
    },
    LatencySet {
        latency: Latency,
    },
    LatenciesGone,
    Scale {
        milli: u64,
    },
    Seed {
        seed: u64,
    },
    KeyHeader {
        name: String,
    },
    Webhook {
        method: String,
        path: String,
        headers: Vec<(String, String)>,
        body: serde_json::Value,
    },
}
