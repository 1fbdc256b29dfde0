//! What the journal holds of a job. A job's status is a fold of these (see [`crate::job`]); nothing else is needed to
//! go on after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::freeze::Pinned;
use crate::graph::StepIndex;
use crate::words::{EffectClass, Failure, Millis, Pairs};

/// A record of a job's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The job exists; its frozen form has this hash.
    Started {
        /// SHA-256 of the frozen job.
        hash: String,
    },
    /// About to have an effect. Durable before the effect begins.
    Intent {
        /// Which step.
        step: StepIndex,
        /// Counts every try of the step.
        attempt: u32,
        /// Counts the keys of the step; a new one only after a definite failure.
        generation: u32,
        /// Sent with the effect: the same for every attempt of a generation.
        key: String,
        /// What may be assumed after a crash.
        class: EffectClass,
        /// SHA-256 of the call's arguments.
        arguments: String,
    },
    /// The far side works on it.
    Handle {
        /// Which step.
        step: StepIndex,
        /// The adapter's handle, or a runbook's resume bytes in hexadecimal.
        handle: String,
    },
    /// The step is over, or this try of it is.
    Outcome {
        /// Which step.
        step: StepIndex,
        /// How it went.
        result: StepResult,
    },
    /// It cannot be told what happened, or a person is needed for another reason.
    Stuck {
        /// Which step.
        step: StepIndex,
        /// Stable code.
        code: String,
        /// For the person.
        reason: String,
    },
    /// A person decided something.
    Operator {
        /// Who.
        who: String,
        /// What.
        decision: Decision,
    },
    /// The journal was restored from a backup that is older than what the job did: any step that is not over here may
    /// have happened.
    Restored {
        /// The installation's epoch from now on.
        epoch: u64,
    },
    /// Nothing runs any more and nothing will.
    Ended {
        /// How it went.
        outcome: Outcome,
        /// In a sentence.
        reason: String,
    },
}

/// How a try of a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum StepResult {
    /// It happened.
    Done {
        /// What came of it; shared by all who keep it.
        outputs: Arc<Pairs>,
    },
    /// It did not, or may not have.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Not needed.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// What a person decides about a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "decision")]
pub enum Decision {
    /// Try these steps again; it also reopens a job that has ended.
    Retry {
        /// Stuck or failed steps.
        steps: Vec<StepIndex>,
    },
    /// Go on without this step.
    Skip {
        /// Stuck or failed.
        step: StepIndex,
        /// Why.
        reason: String,
    },
    /// Vouch that the source of a waiting machine is off.
    Attest {
        /// The fence step.
        step: StepIndex,
        /// On what grounds.
        reason: String,
    },
    /// Answer a gate.
    Answer {
        /// The gate.
        step: StepIndex,
        /// Go on.
        approved: bool,
        /// Why, or anything else worth keeping.
        reason: String,
    },
    /// Go on with other versions of plugins, and try the steps again that waited for them.
    Repin {
        /// By name of site, runbook or policy, as they were pinned at the start.
        pins: BTreeMap<String, Pinned>,
        /// Stuck for want of their plugin.
        steps: Vec<StepIndex>,
        /// Why.
        reason: String,
    },
    /// Start nothing new; end when what runs is over.
    Cancel {
        /// Why.
        reason: String,
    },
    /// End at once, whatever the state; what runs is left alone.
    Abandon {
        /// Why.
        reason: String,
    },
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All steps succeeded or were not needed.
    Succeeded,
    /// It ran to its end, and some steps failed.
    CompletedWithErrors,
    /// An error stopped it.
    Failed,
    /// A person stopped it.
    Cancelled,
    /// A person gave it up.
    Abandoned,
}

/// A record with its place in the job's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Host time.
    pub at: Millis,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
