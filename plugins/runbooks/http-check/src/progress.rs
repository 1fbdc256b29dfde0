//! Which machines have passed and which are still missing, as the bytes that the host keeps between two calls.

use std::collections::VecDeque;

use landfall_sdk::{Context, Failure};
use serde::{Deserialize, Serialize};

/// The deadline is on the host's clock: its monotonic one would not survive the host's restart.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) deadline_ms: u64,
    pub(crate) passed: Vec<(String, u16)>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// The last call ran out of time before everybody was asked.
    pub(crate) cut_short: bool,
}

/// A machine that has not passed yet.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) item: String,
    /// What it last answered, or why it did not.
    pub(crate) last: String,
}

impl Progress {
    pub(crate) fn begin(context: &Context, deadline_ms: u64) -> Self {
        let waiting = |item: &String| Waiting {
            item: item.clone(),
            last: "was not asked yet".to_owned(),
        };
        let waiting = context.machines.iter().map(|machine| waiting(&machine.item)).collect();
        Self {
            deadline_ms,
            passed: Vec::new(),
            waiting,
            cut_short: false,
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Text and numbers: there is nothing that could fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.waiting.is_empty()
    }

    /// No pause after a round that was cut short, and none that would outlast the deadline.
    pub(crate) fn pause_ms(&self, interval_ms: u64, now_ms: u64) -> u64 {
        if self.cut_short {
            0
        } else {
            interval_ms.min(self.deadline_ms.saturating_sub(now_ms))
        }
    }

    pub(crate) fn outputs(&self) -> Vec<(String, String)> {
        self.passed
            .iter()
            .map(|(item, status)| (format!("status/{item}"), status.to_string()))
            .collect()
    }

    pub(crate) fn note(&self) -> String {
        let all = self.passed.len() + self.waiting.len();
        let next = self
            .waiting
            .front()
            .map(|one| format!("; {} {}", one.item, one.last))
            .unwrap_or_default();
        format!("{} of {all} machines answer{next}", self.passed.len())
    }

    /// Trying again may well help: the machines may only need longer.
    pub(crate) fn failure(&self) -> Failure {
        let missing: Vec<String> = self
            .waiting
            .iter()
            .map(|one| format!("{} ({})", one.item, one.last))
            .collect();
        let message = format!("not up in time: {}", missing.join(", "));
        let details = self
            .waiting
            .iter()
            .map(|one| (one.item.clone(), one.last.clone()))
            .collect();
        Failure {
            details,
            ..Failure::definite("not-up", message).retryable()
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use landfall_sdk::MachineContext;

    pub(crate) fn machine(item: &str) -> MachineContext {
        MachineContext {
            item: item.to_owned(),
            source_site: "a".to_owned(),
            target_site: "b".to_owned(),
            source_machine: None,
            target_machine: Some("vm-9".to_owned()),
            addresses: vec!["10.0.0.5".to_owned()],
            point: None,
            point_time_ms: None,
            consistency: None,
            params: vec![],
            ext: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let waiting = Waiting {
            item: "db".to_owned(),
            last: "answered 503".to_owned(),
        };
        Progress {
            deadline_ms: 9_000,
            passed: vec![("web".to_owned(), 200)],
            waiting: [waiting].into(),
            cut_short: false,
        }
    }

    #[test]
    fn survives_the_trip_through_the_host() {
        assert_eq!(Progress::from_bytes(&progress().to_bytes()), Some(progress()));
        assert_eq!(Progress::from_bytes(b"{}"), None);
    }

    #[test]
    fn the_failure_says_which_machine_answered_what() {
        let failure = progress().failure();
        assert_eq!(failure.message, "not up in time: db (answered 503)");
        assert_eq!(failure.details, [("db".to_owned(), "answered 503".to_owned())]);
    }

    #[test]
    fn pauses_never_outlast_the_deadline() {
        assert_eq!(progress().pause_ms(5_000, 1_000), 5_000);
        assert_eq!(progress().pause_ms(5_000, 8_500), 500);
        assert_eq!(
            Progress {
                cut_short: true,
                ..progress()
            }
            .pause_ms(5_000, 1_000),
            0
        );
    }

    #[test]
    fn the_note_counts() {
        assert_eq!(progress().note(), "1 of 2 machines answer; db answered 503");
    }
}
