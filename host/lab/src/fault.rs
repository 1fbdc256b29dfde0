//! What can be made to go wrong or to take time: faults that match requests, and latencies by operation. Both are part
//! of the state, so a restarted lab misbehaves exactly as it was told before.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::operation::Failure;

/// How a matching request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// No effect; the answer is a failure.
    Fail,
    /// The effect happens; the answer is a failure all the same.
    FailAfterEffect,
    /// The effect happens; the connection is closed without an answer.
    LoseReply,
    /// It never ends.
    Hang,
    /// It takes `delay_ms` longer.
    Slow,
}

/// A rule; what is none matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// Given by the lab.
    #[serde(default)]
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) site: Option<String>,
    /// An operation of the contract, or a read: see API.md.
    #[serde(default)]
    pub(crate) operation: Option<String>,
    /// The machine's or replica's id, or the item.
    #[serde(default)]
    pub(crate) machine: Option<String>,
    /// Only stops that are (not) forced.
    #[serde(default)]
    pub(crate) forced: Option<bool>,
    pub(crate) mode: Mode,
    /// None: for ever.
    #[serde(default)]
    pub(crate) times: Option<u32>,
    #[serde(default = "default_code")]
    pub(crate) code: String,
    #[serde(default = "default_message")]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) retryable: bool,
    /// What the failure claims; a fault after the effect ought to leave it false.
    #[serde(default)]
    pub(crate) definite: bool,
    /// Lab milliseconds, for `slow`.
    #[serde(default)]
    pub(crate) delay_ms: u64,
}

fn default_code() -> String {
    "injected".to_owned()
}

fn default_message() -> String {
    "the lab was told to fail here".to_owned()
}

impl Fault {
    /// Whether the rule fits a request.
    pub(crate) fn matches(&self, site: &str, operation: &str, subjects: &[&str], forced: Option<bool>) -> bool {
        self.site.as_deref().is_none_or(|wanted| wanted == site)
            && self.operation.as_deref().is_none_or(|wanted| wanted == operation)
            && self.machine.as_deref().is_none_or(|wanted| subjects.contains(&wanted))
            && self.forced.is_none_or(|wanted| forced == Some(wanted))
    }

    /// The failure that it makes.
    pub(crate) fn failure(&self) -> Failure {
        Failure {
            code: self.code.clone(),
            message: self.message.clone(),
            retryable: self.retryable,
            definite: self.definite,
        }
    }
}

/// How long something takes, in lab milliseconds; what is none matches everything. The last one that fits counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latency {
    #[serde(default)]
    pub(crate) site: Option<String>,
    #[serde(default)]
    pub(crate) operation: Option<String>,
    pub(crate) min_ms: u64,
    pub(crate) max_ms: u64,
}

impl Latency {
    /// Whether the rule fits a request.
    pub(crate) fn matches(&self, site: &str, operation: &str) -> bool {
        self.site.as_deref().is_none_or(|wanted| wanted == site)
            && self.operation.as_deref().is_none_or(|wanted| wanted == operation)
    }

    /// A length between the bounds: the same for the same seed and number.
    pub(crate) fn draw(&self, seed: u64, number: u64) -> u64 {
        let range = self.max_ms.saturating_sub(self.min_ms) + 1;
        self.min_ms + hash(&format!("{seed}/{number}")) % range
    }
}

/// The first eight bytes of the text's SHA-256 as a number.
pub(crate) fn hash(text: &str) -> u64 {
    Sha256::digest(text.as_bytes())
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_keeps_its_bounds_and_repeats_with_its_seed() {
        let latency = Latency {
            site: None,
            operation: None,
            min_ms: 200,
            max_ms: 2_000,
        };
        let draws: Vec<u64> = (0..200).map(|number| latency.draw(1, number)).collect();
        assert!(draws.iter().all(|draw| (200..=2_000).contains(draw)));
        assert_eq!(
            draws,
            (0..200).map(|number| latency.draw(1, number)).collect::<Vec<_>>()
        );
        assert_ne!(
            draws,
            (0..200).map(|number| latency.draw(2, number)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_fault_matches_what_it_names() {
        let fault: Fault =
            serde_json::from_str(r#"{"operation":"shutdown","machine":"m","forced":false,"mode":"hang"}"#).unwrap();
        assert!(fault.matches("a", "shutdown", &["m"], Some(false)));
        assert!(!fault.matches("a", "shutdown", &["m"], Some(true)));
        assert!(!fault.matches("a", "shutdown", &["n"], Some(false)));
        assert!(!fault.matches("a", "start", &["m"], None));
    }
}
