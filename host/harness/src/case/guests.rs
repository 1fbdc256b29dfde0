//! The programs that a runbook runs inside its machines, and what comes of each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, Pairs, Times};

/// A program that the plugin runs.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    /// The program.
    pub program: String,
    /// All of its arguments [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
    /// In whose machine, an item of the context [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// On which side [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Variables that it has at least; `*` stands for any value.
    pub environment: Pairs,
    /// Its whole standard input [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Data>,
    /// How often it is run: a number, or `"any"` [default: 1].
    pub times: Times,
    /// How long it takes; the clock moves by it.
    pub takes_ms: u64,
    /// How it ends [default: with 0, and nothing printed].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// What goes wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<ProgramFault>,
}

/// The contract's enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The machine where the item comes from.
    Source,
    /// The machine where it was brought up.
    Target,
}

/// The contract's `guest-exit`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: Data,
    /// Standard error.
    pub stderr: Data,
    /// There was more than could be handed over.
    pub truncated: bool,
}

/// The adapter's failure to run it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProgramFault {
    /// The failure's code.
    pub code: String,
    /// In the adapter's words.
    pub message: String,
    /// The same may work later.
    pub retryable: bool,
    /// Something left the host, so the program may have run.
    pub sent: bool,
}

impl Default for ProgramFault {
    fn default() -> Self {
        Self {
            code: "unreachable".to_owned(),
            message: "the machine's agent does not answer".to_owned(),
            retryable: true,
            sent: false,
        }
    }
}
