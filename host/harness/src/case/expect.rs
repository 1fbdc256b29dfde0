//! What must come of a call.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Data, Pairs};

/// What must come of a call. What is not named is not looked at.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// How it ends [default: `failure` if `code`, `definite` or `retryable` is expected, else `done`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Outputs that `done` gives at least. `*` stands for any value.
    pub outputs: Pairs,
    /// The failure's code, or the host's (`LF0431`) where the host ended the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Text in the failure's message, in the reason of `skip`, in the note of `again`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the effect certainly did not happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definite: Option<bool>,
    /// Whether the same call may work later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// The pause that `again` or `running` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u32>,
    /// ITEM = POINT, for `select`.
    pub selected: Pairs,
    /// ITEM = the ids of exactly those points that `retain` keeps.
    pub kept: BTreeMap<String, Vec<String>>,
    /// What the answer holds at least, as JSON, for all other functions.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Texts, each in some line of the log.
    pub log: Vec<String>,
    /// Texts, each in some refusal of the host.
    pub denied: Vec<String>,
    /// Requests that were answered or failed, in this call with all its polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<usize>,
    /// Connections that were opened or tried in this call; warm ones are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Programs that were run in this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<usize>,
    /// What the plugin keeps afterwards at least. `*` stands for any value.
    pub state: BTreeMap<String, Data>,
    /// Keys of what it does not keep afterwards.
    pub no_state: Vec<String>,
    /// How often the function was called: once, and once more for each poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<usize>,
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With an answer; for `run`, `undo`, `submit`: it is over.
    Done,
    /// It wants to be called again, or is running.
    Again,
    /// Not needed.
    Skip,
    /// The plugin reports a failure.
    Failure,
    /// The host ended the call, or did not begin it: a trap, a limit, an interface that was not granted.
    Fault,
}
