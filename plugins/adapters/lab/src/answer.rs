//! The lab's answers in the contract's records.

use std::collections::BTreeMap;

use landfall_rules::features;
use landfall_rules::site::Platform;
use landfall_sdk::adapter_types::{
    Disk, Extent, ExtentPage, Features, IsolationAnswer, Machine, MachinePage, Network, Nic, Owned, OwnedPage, Power,
    PowerAnswer,
};
use landfall_sdk::{
    Consistency, Direction, Effect, EffectClass, Failure, GuestExit, Pairs, ProbeAnswer, Progress, RecoveryPoint,
    Running, pair,
};
use serde::Deserialize;

use crate::site::LabFailure;

pub(crate) type Map = BTreeMap<String, String>;

fn pairs(map: Map) -> Pairs {
    map.into_iter().collect()
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the contract's `features` has as many")]
pub(crate) struct LabFeatures {
    source: bool,
    target: bool,
    replication: String,
    operations: Vec<LabOperation>,
    app_consistent: bool,
    planned_failover: bool,
    direct_transfer: Vec<String>,
    #[serde(default)]
    profile: Option<Platform>,
}

#[derive(Deserialize)]
struct LabOperation {
    operation: String,
    class: String,
    settle_ms: u64,
}

impl LabFeatures {
    /// What the site offers for machines of an origin on a way, by the rules of its kind.
    pub(crate) fn offered(self, origin: &str, direction: Direction) -> Features {
        let (here, is_reverse) = (self.profile, direction == Direction::Reverse);
        let said = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let choices = features::choices(here, origin, is_reverse);
        let ext = [
            is_reverse.then(|| said("way-back", features::way_back(here, origin))),
            choices.map(|choices| said("point-choices", choices)),
            features::syncs_on_shutdown(here).then(|| said("sync-on-shutdown", "yes")),
        ];
        Features {
            source: self.source,
            target: self.target,
            replication: self.replication,
            operations: self.operations.into_iter().map(Into::into).collect(),
            app_consistent: self.app_consistent,
            planned_failover: self.planned_failover && features::offers_planned(here, origin, is_reverse),
            direct_transfer: self.direct_transfer,
            ext: ext.into_iter().flatten().collect(),
        }
    }
}

impl From<LabOperation> for Effect {
    fn from(operation: LabOperation) -> Self {
        let class = match &*operation.class {
            "read" => EffectClass::Read,
            "idempotent" => EffectClass::Idempotent,
            "keyed" => EffectClass::Keyed,
            "probeable" => EffectClass::Probeable,
            // The class that promises nothing.
            _ => EffectClass::OneShot,
        };
        Self {
            operation: operation.operation,
            class,
            settle_ms: operation.settle_ms,
        }
    }
}

/// What `health` answers.
#[derive(Deserialize)]
pub(crate) struct LabHealth {
    pub(crate) machines: u64,
    /// None: the site has no limit.
    pub(crate) free: Option<u64>,
    /// What the site pretends to be; none: nothing that has rules.
    #[serde(default)]
    pub(crate) profile: Option<Platform>,
}

/// What a site says of a replica.
#[derive(Default, Deserialize)]
pub(crate) struct LabReplica {
    #[serde(default)]
    pub(crate) profile: Option<Platform>,
    #[serde(default)]
    pub(crate) origin: String,
    #[serde(default)]
    pub(crate) os: Option<String>,
    /// What was chosen when it was prepared.
    #[serde(default)]
    pub(crate) ext: Map,
    /// Recovery points, pending ones included.
    #[serde(default)]
    pub(crate) points: u64,
}

#[derive(Deserialize)]
pub(crate) struct LabPage {
    machines: Vec<LabMachine>,
    next: Option<String>,
}

impl From<LabPage> for MachinePage {
    fn from(page: LabPage) -> Self {
        Self {
            machines: page.machines.into_iter().map(Into::into).collect(),
            next: page.next,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabMachine {
    id: String,
    name: String,
    origin: String,
    os: Option<String>,
    power: String,
    cpus: u32,
    memory_bytes: u64,
    disks: Vec<LabDisk>,
    nics: Vec<LabNic>,
    #[serde(default)]
    ext: Map,
    #[serde(default)]
    facts: landfall_rules::machine::Machine,
}

#[derive(Deserialize)]
struct LabDisk {
    id: String,
    bytes: u64,
    #[serde(default)]
    datastore: Option<String>,
    #[serde(default)]
    attached: Option<bool>,
}

impl LabMachine {
    /// What the rules want to know of it.
    pub(crate) fn facts(self) -> landfall_rules::machine::Machine {
        let disks = self.disks.into_iter().map(|disk| landfall_rules::machine::Disk {
            id: disk.id,
            bytes: disk.bytes,
            datastore: disk.datastore,
            attached: disk.attached != Some(false),
        });
        landfall_rules::machine::Machine {
            id: self.id,
            name: self.name,
            os: self.os,
            disks: disks.collect(),
            ..self.facts
        }
    }
}

/// The same of a machine that another site has listed.
pub(crate) fn known_facts(machine: &Machine) -> landfall_rules::machine::Machine {
    let disks = machine.disks.iter().map(|disk| landfall_rules::machine::Disk {
        id: disk.id.clone(),
        bytes: disk.bytes,
        datastore: pair(&disk.ext, "datastore").map(str::to_owned),
        attached: pair(&disk.ext, "attached") != Some("no"),
    });
    landfall_rules::machine::Machine {
        disks: disks.collect(),
        ..landfall_rules::machine::Machine::listed(&machine.id, &machine.name, machine.os.as_deref(), &machine.ext)
    }
}

#[derive(Deserialize)]
struct LabNic {
    id: String,
    network: Option<String>,
    addresses: Vec<String>,
}

fn power(word: &str) -> Power {
    match word {
        "on" => Power::On,
        "off" => Power::Off,
        _ => Power::Unknown,
    }
}

impl From<LabMachine> for Machine {
    fn from(machine: LabMachine) -> Self {
        let disks = machine.disks.into_iter().map(|disk| Disk {
            id: disk.id,
            bytes: disk.bytes,
            ext: [
                disk.datastore.map(|store| ("datastore".to_owned(), store)),
                (disk.attached == Some(false)).then(|| ("attached".to_owned(), "no".to_owned())),
            ]
            .into_iter()
            .flatten()
            .collect(),
        });
        let mut ext = pairs(machine.ext);
        ext.extend(machine.facts.pairs());
        let nics = machine.nics.into_iter();
        let nics = nics.map(|nic| Nic {
            id: nic.id,
            network: nic.network,
            addresses: nic.addresses,
            ext: Vec::new(),
        });
        Self {
            id: machine.id,
            name: machine.name,
            origin: machine.origin,
            os: machine.os,
            power: power(&machine.power),
            cpus: Some(machine.cpus),
            memory_bytes: Some(machine.memory_bytes),
            disks: disks.collect(),
            nics: nics.collect(),
            ext,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabNetworks {
    networks: Vec<LabNetwork>,
}

#[derive(Deserialize)]
struct LabNetwork {
    id: String,
    name: String,
    isolated: bool,
}

impl From<LabNetworks> for Vec<Network> {
    fn from(list: LabNetworks) -> Self {
        let networks = list.networks.into_iter();
        networks
            .map(|one| Network {
                id: one.id,
                name: one.name,
                isolated: one.isolated,
            })
            .collect()
    }
}

#[derive(Deserialize)]
pub(crate) struct LabProgress {
    state: String,
    #[serde(default)]
    pub(crate) handle: String,
    percent: Option<u8>,
    #[serde(default)]
    outputs: Map,
    failure: Option<LabFailure>,
    #[serde(default)]
    poll_after_ms: u32,
    /// Why the site cannot tell.
    message: Option<String>,
}

impl LabProgress {
    fn running(self) -> Running {
        Running {
            handle: self.handle,
            percent: self.percent,
            note: String::new(),
            poll_after_ms: self.poll_after_ms,
        }
    }
}

fn unexpected(state: &str) -> Failure {
    Failure::in_doubt(
        "unexpected-answer",
        format!("the lab's answer is the state `{state}`, which is not known here"),
    )
}

impl From<LabProgress> for Progress {
    fn from(progress: LabProgress) -> Self {
        match &*progress.state {
            "running" => Self::Running(progress.running()),
            "done" => Self::Done(pairs(progress.outputs)),
            state => Self::Failed(progress.failure.map_or_else(|| unexpected(state), Into::into)),
        }
    }
}

impl From<LabProgress> for ProbeAnswer {
    fn from(progress: LabProgress) -> Self {
        match &*progress.state {
            "absent" => Self::Absent,
            "running" => Self::Running(progress.running()),
            "done" => Self::Done(pairs(progress.outputs)),
            state => Self::Unknown(progress.message.unwrap_or_else(|| unexpected(state).message)),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabTasks {
    pub(crate) tasks: Vec<LabProgress>,
}

#[derive(Deserialize)]
pub(crate) struct LabPower {
    power: String,
    autostart: bool,
    evidence: Map,
}

impl From<LabPower> for PowerAnswer {
    fn from(answer: LabPower) -> Self {
        Self {
            power: power(&answer.power),
            autostart: Some(answer.autostart),
            evidence: pairs(answer.evidence),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabIsolation {
    isolated: bool,
    evidence: Map,
}

impl From<LabIsolation> for IsolationAnswer {
    fn from(answer: LabIsolation) -> Self {
        Self {
            isolated: answer.isolated,
            evidence: pairs(answer.evidence),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabExtents {
    extents: Vec<LabExtent>,
    next: Option<String>,
    disk_bytes: u64,
}

#[derive(Deserialize)]
struct LabExtent {
    offset: u64,
    bytes: u64,
}

impl From<LabExtents> for ExtentPage {
    fn from(page: LabExtents) -> Self {
        let extents = page.extents.into_iter().map(|one| Extent {
            offset: one.offset,
            bytes: one.bytes,
        });
        Self {
            extents: extents.collect(),
            next: page.next,
            disk_bytes: page.disk_bytes,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabPoints {
    pub(crate) points: Vec<LabPoint>,
}

#[derive(Deserialize)]
pub(crate) struct LabPoint {
    id: String,
    source_time_ms: u64,
    consistency: String,
    group_mark: Option<String>,
    processed: bool,
    bytes: u64,
}

impl From<LabPoint> for RecoveryPoint {
    fn from(point: LabPoint) -> Self {
        // What is not known to be more is crash-consistent.
        let consistency = if point.consistency == "app" {
            Consistency::App
        } else {
            Consistency::Crash
        };
        Self {
            id: point.id,
            source_time_ms: point.source_time_ms,
            consistency,
            group_mark: point.group_mark,
            processed: point.processed,
            ext: vec![("bytes".to_owned(), point.bytes.to_string())],
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct LabOwnedPage {
    owned: Vec<LabOwned>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct LabOwned {
    kind: String,
    id: String,
    item: Option<String>,
    job: Option<String>,
    step: Option<String>,
    key: Option<String>,
    epoch: u64,
}

impl From<LabOwnedPage> for OwnedPage {
    fn from(page: LabOwnedPage) -> Self {
        let owned = page.owned.into_iter().map(|one| {
            let LabOwned {
                kind,
                id,
                item,
                job,
                step,
                key,
                epoch,
            } = one;
            Owned {
                kind,
                id,
                item,
                job,
                step,
                key,
                epoch,
            }
        });
        Self {
            owned: owned.collect(),
            next: page.next,
        }
    }
}

/// How a program ended. The lab's programs are over at once; one that is not (the lab was told to be slow) may still
/// run.
pub(crate) fn exit(progress: Progress) -> Result<GuestExit, Failure> {
    match progress {
        Progress::Done(outputs) => {
            let text = |name| pair(&outputs, name).unwrap_or_default();
            Ok(GuestExit {
                code: text("code").parse().unwrap_or(-1),
                stdout: text("stdout").into(),
                stderr: text("stderr").into(),
                truncated: false,
            })
        }
        Progress::Failed(failure) => Err(failure),
        Progress::Running(_) => Err(Failure::in_doubt(
            "running",
            "the program is not over; the same call asks for its end again",
        )
        .retryable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(text: &str) -> LabProgress {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn progress_keeps_its_meaning() {
        let running =
            r#"{"state":"running","handle":"t-1","percent":40,"outputs":{},"failure":null,"poll_after_ms":5}"#;
        assert!(matches!(
            progress(running).into(),
            Progress::Running(Running { percent: Some(40), .. })
        ));
        let done = r#"{"state":"done","handle":"t-1","outputs":{"machine":"vm-1"},"failure":null,"poll_after_ms":0}"#;
        let Progress::Done(outputs) = progress(done).into() else {
            panic!("done")
        };
        assert_eq!(outputs, [("machine".to_owned(), "vm-1".to_owned())]);
        let Progress::Failed(failure) = progress(r#"{"state":"odd"}"#).into() else {
            panic!("failed")
        };
        assert!(!failure.definite, "an answer that is not understood proves nothing");
    }

    #[test]
    fn a_probe_that_cannot_tell_says_so() {
        assert!(matches!(progress(r#"{"state":"absent"}"#).into(), ProbeAnswer::Absent));
        let unknown = progress(r#"{"state":"unknown","message":"no record"}"#).into();
        assert!(matches!(unknown, ProbeAnswer::Unknown(why) if why == "no record"));
    }

    #[test]
    fn an_unknown_class_promises_nothing() {
        let operation: LabOperation =
            serde_json::from_str(r#"{"operation":"start","class":"magic","settle_ms":0}"#).unwrap();
        assert!(matches!(Effect::from(operation).class, EffectClass::OneShot));
    }
}
