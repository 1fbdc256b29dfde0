//! The vocabulary that every other module uses. Names are the field's standard terms; the words of the plugin
//! contract (`wit/types.wit`) mean the same here.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, on the host's clock unless a name says otherwise.
pub type Millis = u64;

/// A span of time as people write it, in milliseconds: `30s`, `5m`, `24h`, `1d 12h`, `2w`. A day has 24 hours, whatever a
/// calendar says of it.
///
/// # Errors
/// What is written is no span, or a negative one.
pub fn span(text: &str) -> Result<Millis, String> {
    let no_span = |_| format!("`{text}` is not a span of time; write 30s, 5m, 24h or 7d");
    let span: jiff::Span = text.trim().parse().map_err(no_span)?;
    let whole = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(no_span)?;
    u64::try_from(whole.as_millis()).map_err(|_| format!("`{text}` is negative"))
}

/// Text by name: parameters and outputs.
pub type Pairs = BTreeMap<String, String>;

/// Why a machine is brought up elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverKind {
    /// In an isolated network; touches neither source nor replication (F33).
    Test,
    /// Source shut down and synchronised first; loses nothing (F22).
    Planned,
    /// The source may be gone; runs to the end whatever fails (F18).
    Unplanned,
}

impl fmt::Display for FailoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test => "test",
            Self::Planned => "planned",
            Self::Unplanned => "unplanned",
        })
    }
}

/// `Forward` leads away from the site at which an item was first protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From home to the other site.
    #[default]
    Forward,
    /// Back home.
    Reverse,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub fn turned(self) -> Self {
        match self {
            Self::Forward => Self::Reverse,
            Self::Reverse => Self::Forward,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        })
    }
}

/// What a recovery point's data can be trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut.
    Crash,
    /// Applications were quiesced.
    App,
}

/// What may be assumed about an effect that may or may not have happened; see [`crate::executor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectClass {
    /// Changes nothing.
    Read,
    /// Repeating it changes nothing more.
    Idempotent,
    /// The far side drops a second request with the same key.
    Keyed,
    /// The far side can be asked by key whether it happened.
    Probeable,
    /// None of these.
    OneShot,
}

impl EffectClass {
    /// Sending it again under the same key cannot double the effect.
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::Read | Self::Idempotent | Self::Keyed)
    }
}

/// An effect class, with how long the far side may take to show what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EffectFacts {
    /// The class that the plugin declared.
    pub class: EffectClass,
    /// For `probeable`: absent counts only after this many milliseconds.
    pub settle_ms: u64,
}

impl EffectFacts {
    /// An effect of this class that settles at once.
    pub const fn new(class: EffectClass) -> Self {
        Self { class, settle_ms: 0 }
    }
}

/// A recovery point, as the target reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecoveryPoint {
    /// The target's id.
    pub id: String,
    /// On the source's clock.
    pub source_time_ms: Millis,
    /// Crash or application.
    pub consistency: Consistency,
    /// Equal for the points that one barrier made.
    pub group_mark: Option<String>,
    /// False: received, not yet usable.
    pub processed: bool,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Goes on; recorded in the job.
    Warning,
    /// Refuses the operation.
    Error,
}

/// What preflight has to say about a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// PLUGIN/ID, or a host code `LF....`.
    pub id: String,
    /// Whether it refuses the operation.
    pub severity: Severity,
    /// The item, site or action it is about.
    pub subject: String,
    /// What is the matter.
    pub cause: String,
    /// What to do.
    pub cure: String,
}

/// Why an effect did not happen, or may not have; the plugin's words or the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// Stable.
    pub code: String,
    /// For the operator.
    pub message: String,
    /// May work later without anybody changing anything.
    pub retryable: bool,
    /// The effect certainly did not happen.
    pub definite: bool,
    /// Nothing left this host: definite for this try, and no word about earlier ones under the same key.
    #[serde(default)]
    pub unsent: bool,
}

impl Failure {
    /// A failure of the host's own making before anything was sent.
    pub fn definite(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
            definite: true,
            unsent: true,
        }
    }
}

impl Failure {
    /// The far side said that nothing happened under the key, in this try or an earlier one: only then may the next
    /// try have a new key.
    pub fn frees_key(&self) -> bool {
        self.definite && !self.unsent
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}
/// JSON that the core carries from those who understand it to those who do. Kept as text: of ten thousand machines it is
/// a tenth of what the parsed values are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Carried(Box<serde_json::value::RawValue>);

impl Carried {
    /// A value as JSON.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The value again.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for Carried {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_days_and_weeks() {
        const DAY: Millis = 86_400_000;
        assert_eq!(span("30s"), Ok(30_000));
        assert_eq!(
            [span("36h"), span("1d12h"), span("1d 12h")],
            [Ok(DAY * 3 / 2), Ok(DAY * 3 / 2), Ok(DAY * 3 / 2)]
        );
        assert_eq!([span("7d"), span("2w"), span("0s")], [Ok(7 * DAY), Ok(14 * DAY), Ok(0)]);
        for wrong in ["", "soon", "1y", "2 months", "-1h", "99999999999h", "5"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
