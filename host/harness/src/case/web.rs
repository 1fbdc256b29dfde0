//! The network of a case: what is asked by HTTP, and what comes back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Pairs;

/// One request that the network knows, and what it does with it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exchange {
    /// `GET`, `POST`, ... [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The whole URL; a `*` at its end stands for anything.
    pub url: String,
    /// Headers that must be there with this value; `*` stands for any value.
    pub headers: Pairs,
    /// The whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Texts that the body must hold.
    pub body_contains: Vec<String>,
    /// What the JSON of the body must hold at least.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// How often it is asked: a number, or `"any"` [default: 1].
    pub times: Times,
    /// The answer [default: 200, with nothing in it].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Answer>,
    /// What goes wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<NetworkFault>,
}

/// How often an exchange is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Times {
    /// Exactly.
    Exactly(u32),
    /// As often as it comes, also never.
    Any(Any),
}

/// `"any"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Any {
    /// As often as it comes.
    Any,
}

impl Default for Times {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Pairs,
    /// Its body as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body as JSON.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// How long it takes; the clock moves by it.
    pub takes_ms: u64,
    /// The connection breaks where the body ends, before the length that was announced.
    pub cut: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Pairs::new(),
            body: None,
            json: None,
            takes_ms: 0,
            cut: false,
        }
    }
}

/// What can happen instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkFault {
    /// Nobody listens: the request certainly did not arrive.
    Refused,
    /// No answer in the time that the plugin waits; the clock moves by that time.
    Timeout,
    /// The connection breaks before an answer: the request may have arrived.
    Reset,
}
