//! The endpoints of a case: one entry is one connection, with all that is said on it, in whatever calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, Times};

/// A connection that the plugin opens.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Connection {
    /// The name under which the plugin opens it.
    pub endpoint: String,
    /// The port that it names [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The tag that it opens it with [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How many connections like this one are opened: a number, or `"any"` [default: 1]. One that is warm again is not
    /// opened, and what was said on it goes on.
    pub times: Times,
    /// What is said, in this order. The plugin's part has to come, all of it.
    pub talk: Vec<Turn>,
    /// What goes wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<ConnectFault>,
}

/// Something that the plugin sends, and what comes of it. A turn without the first goes on with the one before.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Turn {
    /// Exactly these bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sends: Option<Data>,
    /// So many bytes, whatever they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sends_bytes: Option<usize>,
    /// Whatever it is, up to and with these bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sends_until: Option<Data>,
    /// What `sends-bytes` or `sends-until` must hold.
    pub contains: Vec<Data>,
    /// What the far side then says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Data>,
    /// Bytes of it that one read gets at most [default: all].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
    /// How long the far side takes; the clock moves by it when the plugin waits.
    pub takes_ms: u64,
    /// What the far side does last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
}

/// How a far side ends a talk. If it does not, it waits for the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It closes the connection.
    Close,
    /// The connection breaks.
    Reset,
    /// It takes everything and says nothing more: who waits for it does so until the call ends.
    Silence,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectFault {
    /// Nobody listens.
    Refused,
    /// Nobody answers; the clock moves by the five seconds that the host waits.
    Timeout,
    /// One side does not accept the other's certificate.
    Tls,
}
