//! What can be written, as data.

use landfall_recovery::event::Record;
use serde::Serialize;

use crate::StoreError;

/// Everything here is committed together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) jobs: Vec<JobRow>,
    pub(crate) records: Vec<Entry>,
    pub(crate) endings: Vec<(String, String, u64)>,
    pub(crate) states: Vec<(Space, String, Option<String>)>,
    pub(crate) kept: Vec<(Space, u32)>,
    pub(crate) seals: Vec<(Option<String>, u64)>,
}

/// A new job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Its id; ids sort by time.
    pub id: String,
    /// The plan's name, or the machine's.
    pub plan: String,
    /// What it does.
    pub operation: String,
    /// Host time.
    pub created_at: u64,
    /// The frozen job as JSON: never changed.
    pub frozen: String,
}

/// One record of a job's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub job: String,
    /// What.
    pub record: Record,
}

/// Kinds of state rows, each a table of values by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// States of items.
    Item,
    /// Progress of each item's replication.
    Progress,
    /// Cycles under way, by replication unit.
    Cycle,
    /// The catalogue of recovery points, by item.
    Points,
    /// Applied plans: text and value.
    Plan,
    /// The applied inventory, under one name.
    Inventory,
    /// Answers by idempotency key.
    Request,
    /// Machines as a site last listed them.
    Machines,
    /// Results of tests, by plan.
    Tested,
    /// Decisions of policies with their inputs, by job and step.
    Decision,
    /// What plugins keep, by owner and key.
    Plugin,
    /// What was decided about each plugin's versions, by plugin.
    PluginVersions,
    /// Its history, by plugin and number.
    PluginChange,
    /// Plugin versions that never run again, by digest.
    Revoked,
    /// How restored items came to count again, by item and time.
    Reconciled,
}

impl Space {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::Progress => "progress",
            Self::Cycle => "cycle",
            Self::Points => "points",
            Self::Plan => "plan",
            Self::Inventory => "inventory",
            Self::Request => "request",
            Self::Machines => "machines",
            Self::Tested => "tested",
            Self::Decision => "decision",
            Self::Plugin => "plugin",
            Self::PluginVersions => "plugin-versions",
            Self::PluginChange => "plugin-change",
            Self::Revoked => "revoked",
            Self::Reconciled => "reconciled",
        }
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job. Its first record belongs into the same batch.
    pub fn job(&mut self, row: JobRow) -> &mut Self {
        self.jobs.push(row);
        self
    }

    /// Adds a record to a job's journal.
    pub fn record(&mut self, job: &str, record: Record) -> &mut Self {
        self.records.push(Entry {
            job: job.to_owned(),
            record,
        });
        self
    }

    /// Notes that a job ended, so that a restart does not read it again; an empty outcome reopens it.
    pub fn ending(&mut self, job: &str, outcome: &str, at: u64) -> &mut Self {
        self.endings.push((job.to_owned(), outcome.to_owned(), at));
        self
    }

    /// Puts a state row.
    pub fn put<T: Serialize>(&mut self, space: Space, name: &str, value: &T) -> Result<&mut Self, StoreError> {
        let text = serde_json::to_string(value).map_err(|source| StoreError::Value(space.name(), source))?;
        self.states.push((space, name.to_owned(), Some(text)));
        Ok(self)
    }

    /// Removes a state row.
    pub fn remove(&mut self, space: Space, name: &str) -> &mut Self {
        self.states.push((space, name.to_owned(), None));
        self
    }

    /// Keeps only so many rows of a space, those whose names come last: names that begin with a job's id sort by time.
    pub fn keep_last(&mut self, space: Space, rows: u32) -> &mut Self {
        self.kept.push((space, rows));
        self
    }

    /// Signs how far a job's journal goes now, after what else is in this batch; without a job, those of all that have
    /// not ended. A job that ends is sealed by itself.
    pub fn seal(&mut self, job: Option<&str>, at: u64) -> &mut Self {
        self.seals.push((job.map(ToOwned::to_owned), at));
        self
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.records.is_empty()
            && self.endings.is_empty()
            && self.states.is_empty()
            && self.kept.is_empty()
            && self.seals.is_empty()
    }
}
