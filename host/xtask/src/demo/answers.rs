//! The few fields of JSON answers that the demo looks at.

use serde::Deserialize;
use serde_json::Value;

/// A job, as `landfall -o json` prints it.
#[derive(Debug, Deserialize)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) operation: String,
    pub(super) status: String,
    pub(super) items: Vec<JobItem>,
}

/// A machine of a job.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct JobItem {
    pub(super) item: String,
    pub(super) target_site: String,
    pub(super) machine: Option<String>,
    pub(super) point: Option<Point>,
    pub(super) rpo_ms: Option<u64>,
    pub(super) rto_ms: Option<u64>,
}

/// A recovery point.
#[derive(Debug, Deserialize)]
pub(super) struct Point {
    pub(super) id: String,
}

/// A protected item.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    pub(super) phase: String,
    pub(super) points: usize,
}

/// What the lab found by reading a whole disk.
#[derive(Debug, Deserialize)]
pub(super) struct Disk {
    pub(super) records: u64,
    pub(super) last: Option<u64>,
    pub(super) valid: bool,
    pub(super) problem: Option<String>,
    pub(super) incarnations: Vec<Span>,
}

/// Records by one writer.
#[derive(Debug, Deserialize)]
pub(super) struct Span {
    pub(super) incarnation: u64,
    pub(super) last: u64,
}

/// A line of the lab's ledger.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) operation: String,
    pub(super) result: String,
    pub(super) job: Option<String>,
    pub(super) change: Vec<Value>,
}

/// The lab's judgement on its ledger.
#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    pub(super) entries: u64,
    pub(super) doubled: Vec<Value>,
    pub(super) both_active: Vec<Value>,
}
