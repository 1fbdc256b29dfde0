//! The state of a protected item, and the only events that change it.
//!
//! A state is (phase, direction, test overlay, operation in progress) and the references that were learnt on the way.
//! It is a fold: [`ItemState::apply`] is the one place where it changes, and every event comes from the journal of a
//! job. What may be asked of an item in a state is decided in [`crate::operations`].

use serde::{Deserialize, Serialize};

use crate::document::{Item, NetworkMapping, Side};
use crate::operations::Operation;
use crate::proof::ProofKind;
use crate::words::{Consistency, Direction, Millis, Pairs};

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
#[expect(clippy::struct_excessive_bools, reason = "independent facts, read by name")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<InProgress>,
    /// The job that last took it; an older job must not be reopened over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job: Option<String>,
    /// The replica, at the site that the item is replicated to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// The replica of the direction before, where the item runs now: of use again if it turns round once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_replica: Option<String>,
    /// The machine away from home, once created by a real failover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_machine: Option<String>,
    /// Where home is now, if not where the inventory says: a machine came back to another place, or as another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// A machine that a failover made and did not start: the next one removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Whether a failback goes to the machine that was there before, or makes a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// What the request for its present replication said to the adapters.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub options: Pairs,
    /// The machine that a test made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_machine: Option<String>,
    /// What it was last recovered to, test or real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Recovered>,
    /// It was activated on a person's word that the source is off; only a look at the source ends this.
    pub risk_accepted: bool,
    /// It was seen off, and nothing keeps it from starting by itself: only a look at it ends this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheld: bool,
    /// The old source was seen running beside it: until a person has decided, nothing else may be asked (F13).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub both_active: bool,
    /// Whoever accepted the risk also said that the old source is to be fenced when it is seen again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fence_on_return: bool,
    /// A real failover switched its source off, and no machine took its place yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source_stopped: bool,
    /// When its test ends by itself (F33).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_until: Option<Millis>,
    /// Commit has begun: the points count as deleted (F21).
    pub points_doomed: bool,
    /// Its state comes from a backup and was not compared with the sites yet: nothing may be asked of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

/// Where home is, once that is not what the inventory says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Home {
    /// The site.
    pub site: String,
    /// The machine there, once there is one.
    pub machine: Option<String>,
}

/// Where a machine comes back to (B05, B06).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// The machine that was there before: its disks get what changed.
    Original,
    /// A machine made anew.
    Alternate,
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
        /// What the request said to the adapters.
        options: Pairs,
    },
    /// The other site made a replica: the item is replicated in the other direction from now on.
    Turned {
        /// From now on.
        direction: Direction,
        /// Its reference.
        replica: String,
        /// Where it comes back to, in direction reverse.
        location: Option<Location>,
        /// Where home is, if the request moved it.
        home: Option<Home>,
        /// What the request said to the adapters.
        options: Pairs,
    },
    /// The first copy is a recovery point.
    Seeded,
    /// A machine was created from a point, powered off.
    Created {
        /// Its reference at the target.
        machine: String,
        /// In a test failover.
        test: bool,
        /// From which point.
        recovered: Recovered,
        /// When the test ends by itself, even if it goes no further.
        test_until: Option<Millis>,
    },
    /// The created machine runs.
    Activated {
        /// In a test failover.
        test: bool,
        /// On what evidence, unless it is a test.
        proof: Option<ProofKind>,
        /// From the request to now.
        rto_ms: Millis,
        /// When the test ends by itself.
        test_until: Option<Millis>,
        /// Something keeps the old source from starting by itself.
        held: bool,
        /// The old source is to be fenced when it is seen again.
        fence_on_return: bool,
    },
    /// A machine that a failed failover or a test left behind was deleted.
    Deleted {
        /// Which of the two.
        test: bool,
    },
    /// The recovered machine goes to another point.
    PointChanged {
        /// To this one.
        recovered: Recovered,
    },
    /// The old source is proved off: the risk is over.
    Fenced,
    /// A person vouches that it is off: it counts as off until it is seen running, and the risk stays.
    Attested,
    /// The recovered machine was given up for its source, which replicates again.
    Returned,
    /// A real failover switched the source off, or keeps it from starting.
    SourceStopped,
    /// After a failback the machine away from home was deleted (B27).
    AwayDeleted,
    /// The replica of the direction before is gone.
    OtherReplicaDeleted,
    /// Its replica is gone: it is not protected any more.
    Unprotected,
    /// A person let go of whatever is away from its home.
    Released,
    /// Commit has begun.
    PointsDoomed,
    /// Commit is over.
    PointsDeleted,
    /// The job let the item go.
    Ended {
        /// Which.
        job: String,
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
                    // A job that is taken up again does not undo what it did.
                    Operation::Test if self.overlay != Overlay::Tested => self.overlay = Overlay::Testing,
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
            ItemEvent::ReplicaPrepared { replica, options } => {
                self.replica = Some(replica.clone());
                self.options.clone_from(options);
                self.phase = Phase::Seeding;
            }
            ItemEvent::Turned { .. } => self.turn(event),
            ItemEvent::Seeded => self.phase = Phase::Protected,
            ItemEvent::Created {
                machine,
                test,
                recovered,
                test_until,
            } => {
                if *test {
                    self.test_machine = Some(machine.clone());
                    self.test_until = *test_until;
                } else {
                    // An adapter may make a machine anew over the disks of the one that is there.
                    let anew = self.placed(Direction::Reverse) != Some(machine);
                    if self.direction == Direction::Reverse && self.location.is_some() && anew {
                        self.location = Some(Location::Alternate);
                    }
                    self.created = Some(machine.clone());
                    self.place(Some(machine.clone()));
                }
                self.recovered = Some(recovered.clone());
            }
            ItemEvent::Activated {
                test,
                proof,
                rto_ms,
                test_until,
                held,
                fence_on_return,
            } => {
                if let Some(recovered) = &mut self.recovered {
                    recovered.rto_ms = Some(*rto_ms);
                }
                if *test {
                    self.overlay = Overlay::Tested;
                    self.test_until = *test_until;
                } else {
                    // A change of point ends nothing that was agreed to at the failover.
                    let before = self.phase == Phase::FailedOver;
                    let agreed = *fence_on_return || (before && self.fence_on_return);
                    self.unheld = !held && (!before || self.unheld);
                    self.phase = Phase::FailedOver;
                    self.created = None;
                    self.source_stopped = false;
                    self.risk_accepted = *proof == Some(ProofKind::HumanAttested);
                    self.fence_on_return = self.watched() && agreed;
                }
            }
            ItemEvent::Deleted { test: true } => self.forget_test(),
            ItemEvent::Deleted { test: false } => {
                self.created = None;
                self.place(None);
            }
            ItemEvent::PointChanged { recovered } => self.recovered = Some(recovered.clone()),
            ItemEvent::Fenced => self.clear_risk(),
            ItemEvent::Attested => self.both_active = false,
            ItemEvent::Returned => {
                self.clear_risk();
                self.source_stopped = false;
                // What was recovered is a leftover from now on, until it is deleted.
                let original = self.location == Some(Location::Original) && self.direction == Direction::Reverse;
                let machine = self.placed(self.direction).map(str::to_owned);
                self.created = machine.filter(|_| !original);
                self.phase = Phase::Protected;
                self.recovered = None;
            }
            ItemEvent::SourceStopped => self.source_stopped = true,
            ItemEvent::AwayDeleted => {
                self.target_machine = None;
                // It was proved off before.
                self.clear_risk();
            }
            ItemEvent::OtherReplicaDeleted => self.other_replica = None,
            ItemEvent::Unprotected => self.unprotect(),
            ItemEvent::Released => self.release(),
            ItemEvent::PointsDoomed => self.points_doomed = true,
            ItemEvent::PointsDeleted => {
                self.phase = Phase::Committed;
                // Where the machine away could not be deleted, it is nobody's from now on.
                if self.direction == Direction::Reverse {
                    self.target_machine = None;
                }
            }
            // Of a job that no longer has the item nothing follows.
            ItemEvent::Ended { job, trouble } if self.operation.as_ref().is_none_or(|held| held.job == *job) => {
                self.end(*trouble);
            }
            ItemEvent::Ended { .. } => {}
        }
    }

    fn turn(&mut self, event: &ItemEvent) {
        if let ItemEvent::Turned {
            direction,
            replica,
            location,
            home,
            options,
        } = event
        {
            // Asked for again after it broke off, it has turned already.
            if self.direction != *direction {
                self.other_replica = self.replica.take();
            }
            self.direction = *direction;
            self.phase = Phase::Reprotecting;
            self.replica = Some(replica.clone());
            self.location = *location;
            self.created = None;
            self.options.clone_from(options);
            self.points_doomed = false;
            if home.is_some() {
                self.home.clone_from(home);
            }
        }
    }

    /// Notes the machine at the site that the item is replicated to.
    fn place(&mut self, machine: Option<String>) {
        match self.direction {
            Direction::Forward => self.target_machine = machine,
            Direction::Reverse => {
                if let Some(home) = &mut self.home {
                    home.machine = machine;
                }
            }
        }
    }

    fn clear_risk(&mut self) {
        self.risk_accepted = false;
        self.unheld = false;
        self.both_active = false;
        self.fence_on_return = false;
    }

    fn forget_test(&mut self) {
        self.test_machine = None;
        self.test_until = None;
        self.overlay = Overlay::None;
    }

    /// What a broken failover left is nobody's from now on, if it is there still.
    fn forget_leftover(&mut self) {
        if self.leftover().is_some() {
            self.place(None);
        }
        self.created = None;
    }

    /// It counts as never protected; where its home is now stays known.
    fn release(&mut self) {
        self.forget_leftover();
        *self = Self {
            home: self.home.take().filter(|home| home.machine.is_some()),
            operation: self.operation.take(),
            last_job: self.last_job.take(),
            ..Self::default()
        };
    }

    /// Without its replica it is what it was before it was protected in this direction.
    fn unprotect(&mut self) {
        self.forget_test();
        self.forget_leftover();
        self.replica = None;
        self.source_stopped = false;
        self.options = Pairs::new();
        self.location = None;
        // A home that has no machine yet is none.
        self.home = self.home.take().filter(|home| home.machine.is_some());
        self.points_doomed = false;
        self.recovered = None;
        match self.direction {
            Direction::Forward => {
                self.phase = Phase::Unprotected;
                self.other_replica = None;
                self.clear_risk();
            }
            Direction::Reverse => {
                self.phase = Phase::Committed;
                self.direction = Direction::Forward;
                self.replica = self.other_replica.take();
            }
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
        if finished == Some(Operation::ResumeProtection) && trouble.is_none() {
            self.source_stopped = false;
            self.forget_leftover();
        }
        // A cleanup that is over has nothing more to clean, and neither has a test that broke off before it made a
        // machine.
        let cleaned = finished == Some(Operation::Cleanup) && trouble.is_none();
        if cleaned || (self.overlay == Overlay::Testing && self.test_machine.is_none()) {
            self.forget_test();
        }
    }

    /// The old source may run again, and is looked at until it is fenced.
    pub fn watched(&self) -> bool {
        self.risk_accepted || self.unheld
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
        matches!(self.phase, Phase::Seeding | Phase::Reprotecting | Phase::Protected)
            && self.replica.is_some()
            && !self.restored
    }

    /// It runs where it was replicated to.
    pub fn failed_over(&self) -> bool {
        matches!(self.phase, Phase::FailedOver | Phase::Committed)
    }

    /// It runs at home.
    pub fn at_home(&self) -> bool {
        self.failed_over() == (self.direction == Direction::Reverse)
    }

    /// The direction of whatever moves it next: back, once it has failed over.
    pub fn next_direction(&self) -> Direction {
        if self.failed_over() {
            self.direction.turned()
        } else {
            self.direction
        }
    }

    /// The machine at the site that it is replicated to in this direction.
    pub fn placed(&self, direction: Direction) -> Option<&str> {
        match direction {
            Direction::Forward => self.target_machine.as_deref(),
            Direction::Reverse => self.home.as_ref()?.machine.as_deref(),
        }
    }

    /// A machine that a broken failover left at the target. One that had been there before is none.
    pub fn leftover(&self) -> Option<&str> {
        if self.direction == Direction::Reverse && self.location == Some(Location::Original) {
            return None;
        }
        // Rows of earlier versions have no `created`.
        let early = (self.direction == Direction::Forward && !self.failed_over()).then_some(&self.target_machine);
        self.created
            .as_deref()
            .or_else(|| early.and_then(|machine| machine.as_deref()))
    }
}

/// An item as a job in this direction sees it: `source` is where the data comes from, `target_site` where it goes.
///
/// `home_networks` are the networks of the machine at home, by interface, for a way back that the inventory does not
/// describe.
pub fn oriented(item: &Item, state: &ItemState, direction: Direction, home_networks: &Pairs) -> Item {
    let mut item = item.clone();
    if let Some(home) = &state.home {
        item.source = Side {
            site: home.site.clone(),
            machine: home.machine.clone().unwrap_or_default(),
        };
    }
    if direction == Direction::Forward {
        return item;
    }
    let away = Side {
        site: item.target_site,
        machine: state.target_machine.clone().unwrap_or_default(),
    };
    let home = std::mem::replace(&mut item.source, away);
    item.target_site = home.site;
    let back = |mapping: &NetworkMapping| {
        let production = mapping
            .home
            .clone()
            .or_else(|| home_networks.get(&mapping.nic).cloned())?;
        Some(NetworkMapping {
            nic: mapping.nic.clone(),
            test: mapping.home_test.clone().unwrap_or_else(|| production.clone()),
            production,
            addresses: mapping.home_addresses.clone(),
            home: None,
            home_test: None,
            home_addresses: Vec::new(),
        })
    };
    item.networks = item.networks.iter().filter_map(back).collect();
    // Who can cut the power of the machine at home has no say away from it.
    item.fencing = None;
    item
}
