//! The state of a protected item, and the only events that change it.
//!
//! A state is (phase, direction, test overlay, operation in progress) and the references that were learnt on the way.
//! It is a fold: [`ItemState::apply`] is the one place where it changes, and every event comes from the journal of a
//! job. What may be asked of an item in a state is decided in [`crate::operations`].

use serde::{Deserialize, Serialize};

use crate::operations::Operation;
use crate::proof::ProofKind;
use crate::words::{Consistency, Direction, Millis};

/// Where an item stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Known from the inventory, not replicated.
    #[default]
    Unprotected,
    /// A replica exists and gets its first full copy.
    Seeding,
    /// Replicated; can fail over.
    Protected,
    /// Runs at the target; the recovery point can still be changed.
    FailedOver,
    /// Runs at the target for good; its points are gone.
    Committed,
    /// Being protected in the other direction.
    Reprotecting,
}

/// A test failover beside the real life of the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlay {
    /// No test machine.
    #[default]
    None,
    /// A test failover runs, or broke off half way.
    Testing,
    /// A test machine runs.
    Tested,
    /// It is being removed, or that broke off.
    Cleaning,
}

/// How the last operation ended, where not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// It failed; the same operation may be asked for again.
    Failed,
    /// A person cancelled it.
    Cancelled,
    /// A person gave it up, whatever its state.
    Abandoned,
}

/// The job that holds the item, or the one that left it in trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InProgress {
    /// The job's id.
    pub job: String,
    /// What it does.
    pub operation: Operation,
    /// None while the job lives and holds the item's lock.
    pub trouble: Option<Trouble>,
}

/// What an item was recovered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recovered {
    /// The point's id at the target.
    pub point: String,
    /// Its time at the source.
    pub source_time_ms: Millis,
    /// Crash or application.
    pub consistency: Consistency,
    /// Age of the data when the failover was asked for, in host time.
    pub rpo_ms: Option<Millis>,
    /// From the request to the started machine.
    pub rto_ms: Option<Millis>,
}

/// Everything the host knows about an item that a job may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ItemState {
    /// Where it stands.
    pub phase: Phase,
    /// Which way its replication goes.
    pub direction: Direction,
    /// Its test.
    pub overlay: Overlay,
    /// Who works on it, or who left it in trouble.
    pub operation: Option<InProgress>,
    /// The job that last took it; an older job must not be reopened over it.
    #[serde(default)]
    pub last_job: Option<String>,
    /// The replica at the target.
    pub replica: Option<String>,
    /// The machine at the target, once created by a real failover.
    pub target_machine: Option<String>,
    /// The machine that a test made.
    pub test_machine: Option<String>,
    /// What it was last recovered to, test or real.
    pub recovered: Option<Recovered>,
    /// It was activated on a person's word that the source is off; only a look at the source ends this.
    pub risk_accepted: bool,
    /// Commit has begun: the points count as deleted (F21).
    pub points_doomed: bool,
    /// Its state comes from a backup and was not compared with the sites yet: nothing may be asked of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemEvent {
    /// A job took the item.
    Began {
        /// The job's id.
        job: String,
        /// What it does.
        operation: Operation,
    },
    /// The target made a replica.
    ReplicaPrepared {
        /// Its reference.
        replica: String,
    },
    /// The first full copy is a recovery point.
    Seeded,
    /// A machine was created from a point, powered off.
    Created {
        /// Its reference at the target.
        machine: String,
        /// In a test failover.
        test: bool,
        /// From which point.
        recovered: Recovered,
    },
    /// The created machine runs.
    Activated {
        /// In a test failover.
        test: bool,
        /// On what evidence, unless it is a test.
        proof: Option<ProofKind>,
        /// From the request to now.
        rto_ms: Millis,
    },
    /// A machine that a failed failover or a test left behind was deleted.
    Deleted {
        /// Which of the two.
        test: bool,
    },
    /// Commit has begun.
    PointsDoomed,
    /// Commit is over.
    PointsDeleted,
    /// The job let the item go.
    Ended {
        /// None if all went well.
        trouble: Option<Trouble>,
    },
}

impl ItemState {
    /// The state after an event. Events come from the journal only, so none is refused here: legality was decided
    /// before the job was frozen.
    pub fn apply(&mut self, event: &ItemEvent) {
        match event {
            ItemEvent::Began { job, operation } => {
                match operation {
                    Operation::Test => self.overlay = Overlay::Testing,
                    Operation::Cleanup => self.overlay = Overlay::Cleaning,
                    _ => {}
                }
                self.last_job = Some(job.clone());
                self.operation = Some(InProgress {
                    job: job.clone(),
                    operation: *operation,
                    trouble: None,
                });
            }
            ItemEvent::ReplicaPrepared { replica } => {
                self.replica = Some(replica.clone());
                self.phase = Phase::Seeding;
            }
            ItemEvent::Seeded => self.phase = Phase::Protected,
            ItemEvent::Created {
                machine,
                test,
                recovered,
            } => {
                if *test {
                    self.test_machine = Some(machine.clone());
                } else {
                    self.target_machine = Some(machine.clone());
                }
                self.recovered = Some(recovered.clone());
            }
            ItemEvent::Activated { test, proof, rto_ms } => {
                if let Some(recovered) = &mut self.recovered {
                    recovered.rto_ms = Some(*rto_ms);
                }
                if *test {
                    self.overlay = Overlay::Tested;
                } else {
                    self.phase = Phase::FailedOver;
                    self.risk_accepted = *proof == Some(ProofKind::HumanAttested);
                }
            }
            ItemEvent::Deleted { test: true } => {
                self.test_machine = None;
                self.overlay = Overlay::None;
            }
            ItemEvent::Deleted { test: false } => self.target_machine = None,
            ItemEvent::PointsDoomed => self.points_doomed = true,
            ItemEvent::PointsDeleted => self.phase = Phase::Committed,
            ItemEvent::Ended { trouble } => self.end(*trouble),
        }
    }

    fn end(&mut self, trouble: Option<Trouble>) {
        let finished = self.operation.as_ref().map(|operation| operation.operation);
        if trouble.is_some() {
            if let Some(operation) = &mut self.operation {
                operation.trouble = trouble;
            }
        } else {
            self.operation = None;
        }
        // A cleanup that is over has nothing more to clean, and neither has a test that broke off before it made a
        // machine.
        let cleaned = finished == Some(Operation::Cleanup) && trouble.is_none();
        if cleaned || (self.overlay == Overlay::Testing && self.test_machine.is_none()) {
            self.overlay = Overlay::None;
        }
    }

    /// The job that holds the item's lock.
    pub fn holder(&self) -> Option<&str> {
        self.operation
            .as_ref()
            .filter(|operation| operation.trouble.is_none())
            .map(|operation| operation.job.as_str())
    }

    /// Its data is moved by replication cycles.
    pub fn replicates(&self) -> bool {
        matches!(self.phase, Phase::Seeding | Phase::Protected) && self.replica.is_some() && !self.restored
    }
}
