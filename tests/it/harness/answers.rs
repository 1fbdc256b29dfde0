//! What the programs answer, as far as tests look at it. Written anew here and not taken from the host's crates: the
//! wire format is a promise to other programs, and these are one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) requested_at: u64,
    pub(crate) ended_at: Option<u64>,
    pub(crate) hash: String,
    #[serde(default)]
    pub(crate) allowed_actions: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) items: Vec<JobItem>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    pub(crate) plugins: BTreeMap<String, String>,
}

impl Job {
    pub(crate) fn step(&self, id: &str) -> &Step {
        let known = || self.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>();
        let found = self.steps.iter().find(|step| step.id == id);
        found.unwrap_or_else(|| panic!("the job has no step {id}, only {:?}", known()))
    }

    pub(crate) fn item(&self, name: &str) -> &JobItem {
        let found = self.items.iter().find(|item| item.item == name);
        found.unwrap_or_else(|| panic!("the job has no item {name}"))
    }

    /// Nothing more happens by itself.
    pub(crate) fn rests(&self) -> bool {
        self.ended_at.is_some() || self.status == "stuck"
    }

    /// Ids of the steps in a status.
    pub(crate) fn steps_in(&self, status: &str) -> Vec<&str> {
        let fits = self.steps.iter().filter(|step| step.status == status);
        fits.map(|step| step.id.as_str()).collect()
    }

    pub(crate) fn has_kind(&self, kind: &str) -> bool {
        self.steps.iter().any(|step| step.kind == kind)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JobItem {
    pub(crate) item: String,
    pub(crate) machine: Option<String>,
    pub(crate) stage: Option<String>,
    pub(crate) status: String,
    pub(crate) point: Option<Point>,
    pub(crate) point_known_after: Option<String>,
    pub(crate) rpo_ms: Option<u64>,
    pub(crate) rto_ms: Option<u64>,
    pub(crate) proof: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) stage: String,
    #[serde(default)]
    pub(crate) items: Vec<String>,
    pub(crate) class: String,
    pub(crate) status: String,
    pub(crate) attempt: u32,
    pub(crate) begun_at: Option<u64>,
    pub(crate) ended_at: Option<u64>,
    #[serde(default)]
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) sends: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Finding {
    pub(crate) id: String,
    pub(crate) severity: String,
    pub(crate) subject: String,
    pub(crate) cause: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Item {
    pub(crate) phase: String,
    pub(crate) direction: String,
    pub(crate) test: String,
    pub(crate) trouble: Option<String>,
    pub(crate) active_site: String,
    pub(crate) target_machine: Option<String>,
    pub(crate) test_machine: Option<String>,
    pub(crate) risk_accepted: bool,
    pub(crate) rpo_ms: Option<u64>,
    pub(crate) rpo_target_ms: u64,
    pub(crate) points: usize,
    pub(crate) seeded_percent: Option<u8>,
    pub(crate) bytes_sent: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Point {
    pub(crate) id: String,
    pub(crate) source_time_ms: u64,
    pub(crate) consistency: String,
    #[serde(default)]
    pub(crate) group_mark: Option<String>,
    pub(crate) processed: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Points {
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    pub(crate) digest: Option<String>,
    pub(crate) state: String,
    pub(crate) error: Option<String>,
    pub(crate) summary: Option<String>,
}

/// What went wrong.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Problem {
    pub(crate) code: String,
}

/// What the lab found by reading a whole disk.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Disk {
    pub(crate) last: Option<u64>,
    pub(crate) valid: bool,
    pub(crate) problem: Option<String>,
    pub(crate) incarnations: Vec<Span>,
}

/// Records by one writer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Span {
    pub(crate) incarnation: u64,
    pub(crate) last: u64,
}

/// A line of the lab's ledger.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) site: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) operation: String,
    pub(crate) machine: Option<String>,
    pub(crate) result: String,
    /// INSTALLATION@EPOCH, where an installation gave the order.
    pub(crate) caller: String,
    pub(crate) note: Option<String>,
    pub(crate) change: Vec<Value>,
}

impl Line {
    /// The action that sent this webhook, as its body says.
    pub(crate) fn action(&self) -> Option<&str> {
        self.change
            .iter()
            .find_map(|change| change.pointer("/body/action")?.as_str())
    }
}

/// The lab's judgement on its ledger.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) doubled: Vec<Value>,
    pub(crate) both_active: Vec<Value>,
    pub(crate) lost: Vec<Lost>,
}

/// What a recovered machine lacks.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Lost {
    pub(crate) item: Option<String>,
    pub(crate) lost: u64,
}
