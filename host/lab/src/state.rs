//! What the lab is at a moment: sites, machines, replicas, tasks, faults. Plain data; `fold` is the only code that
//! changes it. Durations and moments in here are lab milliseconds unless a name says wall.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::activity::Activity;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::facts::{MachineDisk, MachineFacts, SiteFacts};
use crate::fault::{Fault, Latency};
use crate::operation::{Call, Consistency, Failure, Operation, Pairs, SourceMachine};

/// The whole lab.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The last line folded in.
    pub(crate) seq: u64,
    /// Its wall time.
    pub(crate) at_ms: u64,
    pub(crate) clock: Clock,
    /// Decides what latencies are drawn.
    pub(crate) seed: u64,
    /// The header in which webhooks carry their key, in lower case.
    pub(crate) key_header: String,
    pub(crate) sites: BTreeMap<String, Site>,
    pub(crate) tasks: HashMap<String, Task>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) latencies: Vec<Latency>,
    /// Keys that webhooks carried.
    pub(crate) webhook_keys: HashMap<String, u64>,
    pub(crate) webhooks: u64,
    pub(crate) activity: Activity,
}

/// How a site behaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// A request under a known key is answered from the first one.
    pub(crate) dedupe: bool,
    /// The effect class that `features` declares, and its settle time.
    pub(crate) effect_class: String,
    pub(crate) settle_ms: u64,
    pub(crate) replication: Replication,
    /// Autonomous replication: how far the replica is behind, how often it makes a point, every how many points one is
    /// app-consistent (0: none), and how many it keeps.
    pub(crate) lag_ms: u64,
    pub(crate) interval_ms: u64,
    pub(crate) app_every: u64,
    pub(crate) keep_points: u64,
    /// Multiplies every latency of this site.
    pub(crate) slowness: f64,
    pub(crate) app_consistent: bool,
    pub(crate) planned_failover: bool,
    /// Machines that the site can hold; none: no limit.
    pub(crate) capacity: Option<u64>,
    /// It is no site of its own but the management controllers of that one's machines: they answer when that site does
    /// not, read power and cut it, and do nothing else.
    pub(crate) controls: Option<String>,
}

impl Default for Settings {
    /// A well-behaved site. Five minutes and ten seconds are what the usual products replicate at; two dozen points
    /// are two hours of them.
    fn default() -> Self {
        Self {
            dedupe: true,
            effect_class: "keyed".to_owned(),
            settle_ms: 0,
            replication: Replication::Driven,
            lag_ms: 10_000,
            interval_ms: 300_000,
            app_every: 12,
            keep_points: 24,
            slowness: 1.0,
            app_consistent: true,
            planned_failover: true,
            capacity: None,
            controls: None,
        }
    }
}

/// Who moves the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Replication {
    /// The caller reads and writes it.
    Driven,
    /// The lab does.
    Autonomous,
}

/// Since when a site does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) since: u64,
    pub(crate) machines_off: bool,
}

/// One virtual site.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Site {
    pub(crate) settings: Settings,
    pub(crate) facts: SiteFacts,
    pub(crate) networks: BTreeMap<String, Network>,
    pub(crate) machines: BTreeMap<String, Machine>,
    pub(crate) replicas: BTreeMap<String, Replica>,
    /// The replica of an item.
    pub(crate) items: HashMap<String, String>,
    /// The task under a key.
    pub(crate) keys: HashMap<String, String>,
    /// The epoch of every installation that was restored from a backup.
    pub(crate) epochs: BTreeMap<String, u64>,
    pub(crate) lost: Option<Lost>,
    /// Times in which the site was lost, until it came back.
    pub(crate) outages: Vec<(u64, u64)>,
}

impl Site {
    /// A host that was restored from a backup has a higher epoch; the one that it replaces must not act any more.
    pub(crate) fn check_epoch(&self, installation: &str, epoch: u64) -> Result<(), Failure> {
        let current = self.epoch(installation);
        if current <= epoch {
            return Ok(());
        }
        let message = format!("epoch {epoch} is over: epoch {current} of this installation has taken over");
        Err(Failure::refused("stale-epoch", message))
    }

    /// The highest epoch in which this installation took the site over.
    pub(crate) fn epoch(&self, installation: &str) -> u64 {
        self.epochs.get(installation).copied().unwrap_or(FIRST_EPOCH)
    }
}

/// Of an installation that was never restored.
const FIRST_EPOCH: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) isolated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nic {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) network: Option<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
}

/// A machine as the control API defines it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineSpec {
    #[serde(default, skip_serializing)]
    pub(crate) site: String,
    pub(crate) id: String,
    /// Absent: the id.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Absent: the kind of its site, else `kvm`.
    #[serde(default)]
    pub(crate) origin: Option<String>,
    #[serde(default = "defaults::os")]
    pub(crate) os: Option<String>,
    #[serde(default = "defaults::cpus")]
    pub(crate) cpus: u32,
    #[serde(default = "defaults::memory_bytes")]
    pub(crate) memory_bytes: u64,
    #[serde(default = "defaults::disk_bytes")]
    pub(crate) disk_bytes: u64,
    /// Absent: one of `disk_bytes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<MachineDisk>,
    #[serde(default = "defaults::nics")]
    pub(crate) nics: Vec<Nic>,
    #[serde(default = "defaults::yes")]
    pub(crate) on: bool,
    #[serde(default = "defaults::yes")]
    pub(crate) autostart: bool,
    #[serde(default = "defaults::records_per_second")]
    pub(crate) records_per_second: f64,
    #[serde(default)]
    pub(crate) boot_ms: u64,
    #[serde(default)]
    pub(crate) ext: Pairs,
    #[serde(default)]
    pub(crate) facts: MachineFacts,
}

/// A small Linux server that writes ten records a second: enough to see a loss of 100 ms.
mod defaults {
    use super::Nic;

    #[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
    pub(super) fn os() -> Option<String> {
        Some("linux".to_owned())
    }
    pub(super) fn cpus() -> u32 {
        2
    }
    pub(super) fn memory_bytes() -> u64 {
        4 << 30
    }
    pub(super) fn disk_bytes() -> u64 {
        16 << 30
    }
    pub(super) fn nics() -> Vec<Nic> {
        vec![Nic {
            id: "nic-0".to_owned(),
            network: Some("lan".to_owned()),
            addresses: Vec::new(),
        }]
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn records_per_second() -> f64 {
        10.0
    }
}

/// Whose a thing is, and what made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) item: String,
    #[serde(flatten)]
    pub(crate) call: Call,
}

/// A machine at a site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) site: String,
    pub(crate) machine: String,
}

/// Where a recovered machine's data came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    #[serde(flatten)]
    pub(crate) place: Place,
    /// When the parent counts as gone: when its site was lost, else when the recovered machine was made.
    pub(crate) until: u64,
    /// Of its disk: a disk that was replaced meanwhile says nothing about what was lost.
    #[serde(default)]
    pub(crate) incarnation: Option<u64>,
}

/// Whose data a disk began with. While that disk is still written by the same incarnation, it begins with the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) incarnation: u64,
}

/// What a machine was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beginning {
    /// The mark on its own disk that holds nothing else.
    pub(crate) mark: String,
    pub(crate) bytes: u64,
    pub(crate) by: Written,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a machine has that many switches, and each is thrown alone"
)]
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) os: Option<String>,
    pub(crate) cpus: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    /// Empty: one of `disk_bytes`.
    #[serde(default)]
    pub(crate) disks: Vec<MachineDisk>,
    pub(crate) nics: Vec<Nic>,
    pub(crate) on: bool,
    pub(crate) autostart: bool,
    /// Held: what `autostart` was before.
    pub(crate) before_hold: Option<bool>,
    /// May not be started.
    pub(crate) fenced: bool,
    /// It was running when its site lost power.
    pub(crate) cut_off: bool,
    /// Records per 1,000 seconds while it runs.
    pub(crate) rate: u64,
    /// From power on until its services answer.
    pub(crate) boot_ms: u64,
    pub(crate) started: Option<u64>,
    pub(crate) disk: Disk,
    pub(crate) marks: BTreeMap<String, Mark>,
    /// Extra steps that were done to it.
    pub(crate) prepared: BTreeSet<String>,
    /// SITE/MACHINE of the first machine that this data belonged to.
    pub(crate) lineage: String,
    pub(crate) parent: Option<Parent>,
    pub(crate) stamp: Option<Stamp>,
    /// It was made for a test: only isolated networks.
    pub(crate) isolated: bool,
    /// Autonomous replicas that read its disk.
    pub(crate) readers: u32,
    /// The replica that its disks belong to until a machine is made of that.
    #[serde(default)]
    pub(crate) bound: Option<String>,
    #[serde(default)]
    pub(crate) beginning: Option<Beginning>,
    pub(crate) ext: Pairs,
    #[serde(default)]
    pub(crate) facts: MachineFacts,
}

impl Machine {
    /// Its disks, of which there is always one.
    pub(crate) fn all_disks(&self) -> Vec<MachineDisk> {
        if !self.disks.is_empty() {
            return self.disks.clone();
        }
        vec![MachineDisk {
            id: "disk-0".to_owned(),
            bytes: self.disk_bytes,
            datastore: None,
            attached: true,
        }]
    }

    /// Whether its agent has reported by now, at a site where that takes a while. A defined machine's always has.
    pub(crate) fn has_agent(&self, delay_ms: u64, now: u64) -> bool {
        delay_ms == 0 || self.stamp.is_none() || self.started.is_some_and(|started| now >= started + delay_ms)
    }

    /// Its state in words, for the ledger.
    pub(crate) fn describe(&self) -> String {
        let word = |yes: bool| if yes { "on" } else { "off" };
        let fenced = if self.fenced { " fenced" } else { "" };
        format!("power={} autostart={}{fenced}", word(self.on), word(self.autostart))
    }
}

/// A moment of a disk that can be read later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) bytes: u64,
    pub(crate) at: u64,
    pub(crate) quiesced: bool,
    /// Disks that are not part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) excluded: Vec<String>,
}

/// A machine's data at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) source_site: String,
    pub(crate) machine: SourceMachine,
    pub(crate) lineage: String,
    /// The lab's own machine behind it, where there is one.
    pub(crate) source: Option<Place>,
    pub(crate) stamp: Stamp,
    pub(crate) replication: Replication,
    pub(crate) since: u64,
    /// Newest last.
    pub(crate) points: Vec<Point>,
    /// Driven: the file that the newest received mark is in, how much of that file marks have ever held, and the bytes
    /// of the newest mark.
    pub(crate) generation: u64,
    pub(crate) sealed: u64,
    pub(crate) received: u64,
    /// Autonomous: points that were deleted by name, and the moment up to which all were.
    pub(crate) deleted: BTreeSet<String>,
    pub(crate) deleted_until: u64,
    /// The machine whose disks it is: it came home, and its data is written back to where it was.
    #[serde(default)]
    pub(crate) original: Option<String>,
    /// What of that machine's disks it began with.
    #[serde(default)]
    pub(crate) seed: Option<Seed>,
    /// The source machine's facts when it was prepared.
    #[serde(default)]
    pub(crate) facts: MachineFacts,
    /// What the request said beside.
    #[serde(default)]
    pub(crate) ext: Pairs,
}

/// Bytes that need not be sent, since the disks at home still hold them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seed {
    /// The source's mark that holds just these.
    pub(crate) mark: String,
    pub(crate) bytes: u64,
}

/// Where a point's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Content {
    /// The first bytes of a file.
    File { generation: u64, bytes: u64 },
    /// The source's disk at a moment.
    Source { at: u64, bytes: u64 },
}

impl Content {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } | Self::Source { bytes, .. } => *bytes,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) id: String,
    pub(crate) source_time_ms: u64,
    pub(crate) consistency: Consistency,
    pub(crate) group_mark: Option<String>,
    pub(crate) processed: bool,
    /// The mark that was received.
    pub(crate) mark: Option<String>,
    /// Whose bytes they are; none: not one of this lab's machines.
    #[serde(default)]
    pub(crate) by: Option<Written>,
    pub(crate) content: Content,
}

/// What a task is going to do when it is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    Effect,
    Fail(Failure),
    FailAfterEffect(Failure),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a test has some thousand tasks; a box each would save nothing"
)]
pub(crate) enum Status {
    Running {
        call: Call,
        operation: Operation,
        accepted: u64,
        /// None: never.
        due: Option<u64>,
        fate: Fate,
    },
    Done {
        outputs: Pairs,
        /// The handle's holder is told this instead.
        report: Option<Failure>,
    },
    Failed(Failure),
}

/// An operation that was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) handle: String,
    pub(crate) site: String,
    pub(crate) key: String,
    pub(crate) operation: String,
    pub(crate) status: Status,
}
