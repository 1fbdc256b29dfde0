//! From a request to a frozen job: the graph of all steps, and everything that it will be run with.
//!
//! The order is the one that the design fixes. A failover first checks everything, runs the actions before all, shuts
//! sources down in reverse order of groups, synchronises, processes and chooses points for all machines in parallel,
//! and only then goes through the groups: so a replication group has one common point, and no tier outlives its
//! database.

mod failover;
mod simple;
mod turn;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document::{Action, Item, Plan, PointChoice};
use crate::graph::{Edge, Graph, Stage, Step, StepIndex, StepKind, Wait};
use crate::item::{Home, ItemState, Location};
use crate::operations::Operation;
use crate::words::{Carried, Direction, EffectClass, EffectFacts, Finding, Millis, Pairs};

/// A job as it was started: never changed afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Frozen {
    /// The installation's id.
    pub installation: String,
    /// Its epoch when the job began.
    pub epoch: u64,
    /// The job's id.
    pub job: String,
    /// What it does.
    pub operation: Operation,
    /// Which way.
    pub direction: Direction,
    /// The plan as it was; for single machines one made for them.
    pub plan: Plan,
    /// The items it works on.
    pub items: BTreeMap<String, Box<FrozenItem>>,
    /// Which point, for a failover.
    pub point: Option<PointChoice>,
    /// The policy said that pending data is made a point first (F05).
    pub processes_first: bool,
    /// Greatest age of a fence proof at activation.
    pub fence_max_age_ms: Millis,
    /// A person accepted, for these items, that the source may not be off.
    pub risk: Option<Risk>,
    /// The request says whether sources are shut down before an unplanned failover; none: the plan does (F15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<bool>,
    /// Which site's machine stays, where both run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// How long a test machine lives (F33).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_ttl_ms: Option<Millis>,
    /// What the request says to the adapters; an item's own options stand behind it.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub options: Pairs,
    /// In a drill: what is to go wrong, by step (X08).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub injections: BTreeMap<String, Injection>,
    /// Plugins by name of site, runbook or policy, pinned to their digests.
    pub plugins: BTreeMap<String, Pinned>,
    /// What preflight said and did not refuse.
    pub findings: Vec<Finding>,
    /// Host time of the request.
    pub requested_at: Millis,
    /// Who asked.
    pub requested_by: String,
    /// All steps.
    pub graph: Graph,
}

/// Something that goes wrong on purpose, once a step's INTENT is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum Injection {
    /// Every try fails, and certainly nothing happened.
    Fail,
    /// The effect happens, and the host forgets that it did: the first try ends as a crash would end it.
    Crash,
    /// The first try is sent twice under its key.
    Repeat,
    /// Every try takes longer.
    Slow {
        /// By so much.
        ms: Millis,
    },
}

/// An item as a job sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FrozenItem {
    /// From the inventory.
    pub item: Item,
    /// Its state when the job began.
    pub state: ItemState,
    /// The machine at the source as it was last listed, in the plugin contract's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Carried>,
    /// When it was listed, in host time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Millis>,
    /// Steps that preflight asked for: id and reason.
    pub extra_steps: Vec<(String, String)>,
    /// Its replication group, where that has multi-VM consistency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_group: Option<String>,
    /// The platform that it came from first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// The job turns its replication round before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// The source sends what was not sent yet even where the failover is not planned (F16).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub syncs_on_shutdown: bool,
}

/// Where the replication of an item that is turned round goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Turn {
    /// The machine that is there already, and will get the data.
    pub old: Option<String>,
    /// Back to it, or to a new one; none in direction forward.
    pub location: Option<Location>,
    /// Where home is from then on; none: it stays.
    pub home: Option<Home>,
}

/// Which of two running machines stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The old source; the recovered machine is deleted.
    Source,
    /// The recovered one; the old source is fenced.
    Target,
}

/// A plugin as a job calls it, to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pinned {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// The operator's configuration of this site or runbook.
    pub config: Pairs,
    /// What was granted then, in the daemon's words. The job has what this and the present grants both give; none: what
    /// the present ones give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<serde_json::Value>,
}

/// A person's word that the job may go on though a source may not be off (F15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Risk {
    /// Who.
    pub who: String,
    /// On what grounds.
    pub why: String,
    /// The old source is to be switched off when it is seen again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fence_on_return: bool,
}

impl Frozen {
    /// Builds the graph. Effects are still unknown: see [`Frozen::set_effects`].
    pub fn build_graph(&mut self) {
        let builder = Builder {
            graph: Graph::default(),
            frozen: self,
        };
        self.graph = match self.operation {
            Operation::Protect => simple::protect(builder),
            Operation::Cleanup => simple::cleanup(builder),
            Operation::Commit => simple::commit(builder),
            Operation::Reprotect => turn::reprotect(builder),
            Operation::ChangePoint => turn::change_point(builder),
            Operation::ResumeProtection => turn::resume_protection(builder),
            Operation::Fence => turn::fence(builder),
            Operation::ChooseDirection => turn::choose_direction(builder),
            Operation::Unprotect => simple::unprotect(builder),
            Operation::Release => simple::release(builder),
            Operation::Test => failover::test(builder),
            Operation::PlannedFailover => failover::planned(builder),
            Operation::UnplannedFailover => failover::unplanned(builder),
        };
    }

    /// Fills in what the adapters and runbooks declared about their effects. A step for which nothing was declared
    /// keeps the strictest class.
    pub fn set_effects(&mut self, mut declared: impl FnMut(&Step) -> Option<EffectFacts>) {
        for step in &mut self.graph.steps {
            step.effect = match host_effect(&step.kind) {
                Some(class) => EffectFacts::new(class),
                None => declared(step).unwrap_or(EffectFacts::new(EffectClass::OneShot)),
            };
        }
    }

    /// Whether sources are shut down first. A planned failover loses nothing (F22), and a source that runs goes on writing:
    /// it always does. So does one that leads home (B21), unless the request says that nobody is there to be shut down.
    pub fn shuts_down(&self) -> bool {
        match self.operation {
            Operation::PlannedFailover => true,
            Operation::UnplannedFailover => self
                .shutdown
                .unwrap_or(self.plan.shutdown || self.direction == Direction::Reverse),
            _ => false,
        }
    }

    /// An action of the plan by name.
    pub fn action(&self, name: &str) -> Option<&Action> {
        self.plan.actions.iter().find(|action| action.name == name)
    }

    /// Replication units among the job's items: the members of a group with multi-VM consistency together, every
    /// other item alone.
    pub fn units(&self) -> Vec<Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut alone = Vec::new();
        for (name, item) in &self.items {
            match &item.replication_group {
                Some(group) => groups.entry(group).or_default().push(name),
                None => alone.push(vec![name.as_str()]),
            }
        }
        groups.into_values().chain(alone).collect()
    }
}

/// SHA-256 in hexadecimal, as the journal writes hashes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The class of steps that are the host's own, or only read.
fn host_effect(kind: &StepKind) -> Option<EffectClass> {
    match kind {
        StepKind::Check
        | StepKind::Choose
        | StepKind::ProveIsolation
        | StepKind::Fence
        | StepKind::ProveOldOff
        | StepKind::Gate { .. }
        | StepKind::Delay { .. }
        | StepKind::Milestone => Some(EffectClass::Read),
        // A replication cycle: every effect in it is idempotent or keyed, and its cursor is durable.
        StepKind::Sync | StepKind::Seed | StepKind::DoomPoints | StepKind::Forget | StepKind::Return => {
            Some(EffectClass::Idempotent)
        }
        _ => None,
    }
}

/// The name of the adapter operation that a step submits, if it submits one.
pub fn operation_name(kind: &StepKind) -> Option<&'static str> {
    Some(match kind {
        StepKind::Shutdown => "shutdown",
        StepKind::Hold | StepKind::HoldOld | StepKind::Release | StepKind::ReleaseSource => "hold",
        StepKind::Process => "process",
        StepKind::Create => "create-machine",
        StepKind::BootPrepare { .. } => "boot-prepare",
        StepKind::Start | StepKind::StartSource => "start",
        StepKind::Stop | StepKind::StopOld | StepKind::StopTest => "stop",
        StepKind::ChangePoint => "change-point",
        StepKind::Delete | StepKind::DeleteTest | StepKind::DeleteSource => "delete-machine",
        StepKind::DeleteReplica | StepKind::DeleteOtherReplica => "delete-replica",
        StepKind::Stonith => "fence",
        StepKind::PrepareReplica => "prepare-replica",
        StepKind::DeletePoints => "delete-points",
        _ => return None,
    })
}

/// A graph under construction.
struct Builder<'a> {
    graph: Graph,
    frozen: &'a Frozen,
}

/// How patient a step is.
#[derive(Clone, Copy)]
struct Patience {
    retries: u32,
    timeout_ms: Millis,
}

/// A read: a few seconds of trouble are ridden out, more is reported.
const READ: Patience = Patience {
    retries: 3,
    timeout_ms: 60_000,
};
/// An operation at a site: half a minute of an unreachable site is ridden out; large machines take their time.
const WORK: Patience = Patience {
    retries: 5,
    timeout_ms: 30 * 60_000,
};
/// The source of an unplanned failover may be gone: one try, so that recovery does not wait for the dead.
const ONCE: Patience = Patience {
    retries: 0,
    timeout_ms: 2 * 60_000,
};
/// Where a machine came up only just, its agent takes a quarter of an hour to be known at home (B29).
const AGENT: Patience = Patience {
    retries: u32::MAX,
    timeout_ms: 15 * 60_000,
};
/// Cutting a machine's power takes a management controller seconds, and the machine waits for it.
const FENCING: Patience = Patience {
    retries: 3,
    timeout_ms: 5 * 60_000,
};
/// Moving data: a day, and a site that comes and goes.
const TRANSFER: Patience = Patience {
    retries: 50,
    timeout_ms: 24 * 3_600_000,
};

impl Builder<'_> {
    fn step(&mut self, new: NewStep<'_>) -> StepIndex {
        self.graph.add(Step {
            id: new.id,
            kind: new.kind,
            stage: new.stage,
            calls: new.calls.map(str::to_owned),
            group: new.group.map(str::to_owned),
            items: new.items.iter().map(|item| (*item).to_owned()).collect(),
            after: new.after,
            effect: EffectFacts::new(EffectClass::OneShot),
            retries: new.patience.retries,
            timeout_ms: new.patience.timeout_ms,
            stops_job: new.stops_job,
        })
    }

    fn item_step(&mut self, verb: &str, item: &str, kind: StepKind, calls: Option<&str>, row: Row<'_>) -> StepIndex {
        self.step(NewStep {
            id: format!("{verb}/{item}"),
            kind,
            stage: row.stage,
            calls,
            group: row.group,
            items: &[item],
            after: row.after,
            patience: row.patience,
            stops_job: row.stops_job,
        })
    }

    fn milestone(&mut self, id: &str, after: impl IntoIterator<Item = StepIndex>, wait: Wait) -> StepIndex {
        self.step(NewStep {
            id: format!("milestone/{id}"),
            kind: StepKind::Milestone,
            stage: Stage::Failover,
            calls: None,
            group: None,
            items: &[],
            after: after.into_iter().map(|step| Edge { step, wait }).collect(),
            patience: READ,
            stops_job: false,
        })
    }

    /// Names of the job's items of a group, in the plan's order.
    fn members(&self, group: &crate::document::Group) -> Vec<String> {
        let mut machines = self.frozen.plan.in_order(group);
        machines.retain(|name| self.frozen.items.contains_key(name));
        machines
    }
}

/// A step of one item.
struct Row<'r> {
    stage: Stage,
    group: Option<&'r str>,
    after: Vec<Edge>,
    patience: Patience,
    stops_job: bool,
}

struct NewStep<'a> {
    id: String,
    kind: StepKind,
    stage: Stage,
    calls: Option<&'a str>,
    group: Option<&'a str>,
    items: &'a [&'a str],
    after: Vec<Edge>,
    patience: Patience,
    stops_job: bool,
}

fn needs(step: StepIndex) -> Edge {
    Edge {
        step,
        wait: Wait::Success,
    }
}
