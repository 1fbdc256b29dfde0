//! The frozen graph of a job: every step that will run, with its order, visible before anything starts.
//!
//! Steps refer to each other by index, and edges say how much of an outcome they need, because "machine X was
//! created" and "the group before is over, however it went" are different promises.

use serde::{Deserialize, Serialize};

use crate::operations::Operation;
use crate::words::{EffectFacts, Millis};

/// Index of a step in its graph.
pub type StepIndex = usize;

/// All steps of a job, in an order in which every step stands behind those it waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Graph {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// Readable and unique in the job: `create/hr-db-1`.
    pub id: String,
    /// What it does.
    pub kind: StepKind,
    /// Which of the three stages that people watch it belongs to (F26).
    pub stage: Stage,
    /// The site or runbook that is called; none: the host alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<String>,
    /// The plan's group, where it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The items it is about.
    pub items: Vec<String>,
    /// What it waits for.
    pub after: Vec<Edge>,
    /// What may be assumed about its effect after a crash.
    pub effect: EffectFacts,
    /// Tries after the first, for failures that may pass.
    pub retries: u32,
    /// For the whole step, polls and retries included.
    pub timeout_ms: Millis,
    /// A failure ends the job: nothing new is started.
    pub stops_job: bool,
}

/// One thing that a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Edge {
    /// The step waited for.
    pub step: StepIndex,
    /// What of it.
    pub wait: Wait,
}

/// How much of an outcome an edge needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// It succeeded; if it cannot any more, neither will this step run.
    Success,
    /// It is over, however it went; while it is stuck, this waits.
    End,
    /// It is over, or stuck: a machine in trouble does not hold the others (design: a branch).
    Pass,
    /// As `Pass`, for the sake of order alone: once a site has let an unplanned failover wait too long, it is not waited
    /// for in turn any more.
    Order,
}

impl Wait {
    /// Trouble before it is not its own.
    pub(crate) fn goes_past_trouble(self) -> bool {
        matches!(self, Self::Pass | Self::Order)
    }
}

/// The stages of a machine's failover that people watch (F26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Prerequisites check.
    Prerequisites,
    /// Data is processed and made ready.
    Failover,
    /// The machine is created and started.
    Start,
    /// Runbooks.
    Actions,
    /// Everything after: cleanup, commit.
    Finish,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum StepKind {
    /// Preflight again, now that the job holds the item.
    Check,
    /// A runbook; the index is into the plan's actions.
    Action {
        /// The action's name.
        action: String,
        /// `before` or `after`.
        phase: String,
    },
    /// A person is asked whether the job goes on.
    Gate {
        /// The action's name.
        action: String,
    },
    /// Time passes.
    Delay {
        /// So much.
        ms: Millis,
    },
    /// Shut down the source machine.
    Shutdown,
    /// Keep the source machine from starting by itself.
    Hold,
    /// Move the last changes: one replication cycle.
    Sync,
    /// Make pending data a recovery point.
    Process,
    /// Ask the policy which point; one step for a replication group or a lone item.
    Choose,
    /// Prove that the networks of a test are isolated.
    ProveIsolation,
    /// Create the machine from its point, powered off.
    Create,
    /// A step that preflight asked for (F28).
    BootPrepare {
        /// The adapter's id of the extra step.
        extra: String,
        /// Why this machine needs it.
        reason: String,
    },
    /// Have the source's power cut by whom the inventory names, unless it is proved off.
    Stonith,
    /// Prove that the source is off.
    Fence,
    /// Start the created machine.
    Start,
    /// Stop a machine that a test or a failed failover left.
    Stop,
    /// Delete it.
    Delete,
    /// Stop a test machine, where that is a part of something else.
    StopTest,
    /// Delete it.
    DeleteTest,
    /// Make a replica at the target.
    PrepareReplica,
    /// The first full copy.
    Seed,
    /// From here on the points count as deleted.
    DoomPoints,
    /// Delete them.
    DeletePoints,
    /// Before a machine's disks at home are written: stop what is there.
    StopOld,
    /// Keep it from starting by itself.
    HoldOld,
    /// Prove that it is off.
    ProveOldOff,
    /// A machine that came home may start by itself again.
    Release,
    /// The same of a source that was shut down for a failover that broke off.
    ReleaseSource,
    /// Start that source.
    StartSource,
    /// Move the recovered machine, which is off, to another point.
    ChangePoint,
    /// Delete the machine away from home after a failback.
    DeleteSource,
    /// Delete the replica that it left there.
    DeleteOtherReplica,
    /// Delete the replica.
    DeleteReplica,
    /// From here on it counts as unprotected.
    Forget,
    /// The source counts as the machine that stays.
    Return,
    /// A point in the order; nothing happens.
    Milestone,
}

impl Step {
    /// What a person does about this step of a job if nobody can tell whether it happened.
    pub fn ways_out(&self, job: &str) -> String {
        let id = &self.id;
        match self.kind {
            StepKind::Action { .. } => format!(
                "find out whether it did; then `landfall job retry {job} {id}` if not, `landfall job skip {job} {id}` if so"
            ),
            _ => format!(
                "look at the machine, make it as it was before this step, and then `landfall job retry {job} {id}`; \
                 `landfall job skip {job} {id}` leaves the machine out, and what stands there is removed later"
            ),
        }
    }
}

impl StepKind {
    /// What a person's `job skip` of this step means in a job of this operation.
    pub fn skip(&self, operation: Operation) -> Skip {
        // What is at a site that is lost for good cannot be removed, and must not keep its machine for ever. Where it might
        // still run, a proof stands behind it.
        let lets_go = matches!(
            operation,
            Operation::Cleanup | Operation::Unprotect | Operation::ResumeProtection | Operation::ChooseDirection
        );
        match self {
            Self::Stop | Self::Delete if lets_go => Skip::GoesOn,
            // The machine that was recovered is given up only for one that runs.
            Self::StartSource if operation != Operation::ChooseDirection => Skip::GoesOn,
            // Without its proof no machine is activated, whoever asks (X03).
            Self::Fence | Self::ProveIsolation | Self::ProveOldOff => Skip::Refused,
            Self::Action { .. }
            | Self::Gate { .. }
            | Self::Delay { .. }
            | Self::Shutdown
            | Self::Hold
            | Self::StopOld
            | Self::HoldOld
            | Self::Stonith
            | Self::Release
            | Self::ReleaseSource
            | Self::StopTest
            | Self::DeleteTest
            | Self::DeleteSource
            | Self::DeleteReplica
            | Self::DeleteOtherReplica
            | Self::Milestone => Skip::GoesOn,
            _ => Skip::LeavesOut,
        }
    }

    /// What it does to the source a fence looks at afterwards.
    pub fn switches_source_off(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Hold | Self::Stonith)
    }

    /// It has the source stop, and stay so; whether that worked is the proof's to say.
    pub fn quiets_source(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Hold)
    }

    /// From here on the machine runs.
    pub fn activates(&self) -> bool {
        matches!(self, Self::Start | Self::StartSource)
    }

    /// Its outputs prove that the other machine is off.
    pub fn proves_off(&self) -> bool {
        matches!(self, Self::Fence | Self::ProveOldOff)
    }

    /// Its outputs are what an activation waits for.
    pub fn proves(&self) -> bool {
        self.proves_off() || *self == Self::ProveIsolation
    }

    /// Part of the host's bookkeeping, not of what people watch.
    pub fn is_milestone(&self) -> bool {
        matches!(self, Self::Milestone)
    }
}

/// What skipping a step means for those that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// They run as if it had succeeded.
    GoesOn,
    /// They are left out too.
    LeavesOut,
    /// It cannot be skipped.
    Refused,
}

impl Graph {
    /// The index of a step by its id.
    pub fn find(&self, id: &str) -> Option<StepIndex> {
        self.steps.iter().position(|step| step.id == id)
    }

    /// Adds a step and gives its index.
    pub(crate) fn add(&mut self, step: Step) -> StepIndex {
        debug_assert!(
            step.after.iter().all(|edge| edge.step < self.steps.len()),
            "edges point backwards"
        );
        self.steps.push(step);
        self.steps.len() - 1
    }
}
