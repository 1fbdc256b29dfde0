//! What a call or a binding can fail with. Every error names plugin, version and digest.
//!
//! `definite` is the word that recovery rests on: true only if the effect certainly did not happen. The host knows it
//! without trusting the plugin, because a guest reaches the world only through requests that the host sends for it: if
//! none left, nothing happened.

use std::fmt;
use std::time::Duration;

use crate::contract::types::Failure;
use crate::grants::Denial;
use crate::manifest::Kind;

/// Which plugin, exactly.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// From the manifest.
    pub name: String,
    /// From the manifest.
    pub version: semver::Version,
    /// `sha256:` and 64 hex digits, over component and manifest.
    pub digest: String,
}

/// `sha256:` and as many digits as tell versions apart in a log line.
const SHORT_DIGEST: usize = "sha256:".len() + 12;

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.digest.get(..SHORT_DIGEST).unwrap_or(&self.digest);
        write!(f, "{} {} ({short})", self.name, self.version)
    }
}

/// One call did not give an answer that can be used.
#[derive(Debug)]
pub struct CallError {
    /// The plugin.
    pub plugin: Identity,
    /// The site or runbook it was bound for.
    pub label: String,
    /// The exported function.
    pub function: &'static str,
    /// Why.
    pub fault: Fault,
    /// What the plugin was refused during the call.
    pub denials: Vec<Denial>,
    /// A request left this host during the call.
    pub sent: bool,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The plugin itself says so.
    #[error("{}: {}", .0.code, .0.message)]
    Failure(Failure),
    /// The guest trapped: a bug in the plugin.
    #[error("the plugin trapped: {message}{}", .last_words.as_ref().map(|words| format!("; it last logged: {words}")).unwrap_or_default())]
    Trap {
        /// wasmtime's words.
        message: String,
        /// Function names, innermost first.
        backtrace: Vec<String>,
        /// The last error line that it logged, where the SDKs put a panic's text.
        last_words: Option<String>,
    },
    /// It computed too long.
    #[error("the plugin used up its CPU limit of {limit:?}")]
    CpuLimit {
        /// The limit.
        limit: Duration,
    },
    /// It took too long.
    #[error("{} its wall-clock limit of {limit:?}", if *.started { "the call exceeded" } else { "no instance was free within" })]
    WallLimit {
        /// The limit.
        limit: Duration,
        /// False: it never got to run.
        started: bool,
    },
    /// It wanted more memory.
    #[error("the plugin needed more than its memory limit of {} MiB", .limit >> 20)]
    MemoryLimit {
        /// Bytes.
        limit: usize,
    },
    /// The pool of instances was used up.
    #[error("no free instance: {0}")]
    Busy(String),
    /// A person revoked this version.
    #[error("this version was revoked")]
    Revoked,
    /// The host's own fault.
    #[error("the host could not make the call: {0}")]
    Host(String),
}

impl CallError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match &self.fault {
            Fault::Failure(_) | Fault::Trap { .. } if !self.denials.is_empty() => "LF0437",
            Fault::Failure(_) => "LF0430",
            Fault::Trap { .. } => "LF0431",
            Fault::CpuLimit { .. } => "LF0432",
            Fault::WallLimit { .. } => "LF0433",
            Fault::MemoryLimit { .. } => "LF0434",
            Fault::Busy(_) => "LF0435",
            Fault::Host(_) => "LF0436",
            Fault::Revoked => "LF0461",
        }
    }

    /// True only if the effect certainly did not happen: no request left this host, or the plugin vouches for it.
    pub fn definite(&self) -> bool {
        !self.sent || matches!(&self.fault, Fault::Failure(failure) if failure.definite)
    }

    /// The same call may work later without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match &self.fault {
            Fault::Failure(failure) => failure.retryable,
            Fault::WallLimit { .. } | Fault::Busy(_) => true,
            Fault::Trap { .. }
            | Fault::CpuLimit { .. }
            | Fault::MemoryLimit { .. }
            | Fault::Host(_)
            | Fault::Revoked => false,
        }
    }

    /// What the plugin itself reported, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.fault {
            Fault::Failure(failure) => Some(failure),
            _ => None,
        }
    }

    /// The line that would have granted what was refused, if there is one.
    pub fn grant_line(&self) -> Option<&str> {
        self.denials.iter().find_map(Denial::grant_line)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} for `{}`, {}: {}",
            self.plugin, self.label, self.function, self.fault
        )?;
        self.denials.iter().try_for_each(|denial| write!(f, "; {denial}"))
    }
}

impl std::error::Error for CallError {}

/// A plugin cannot be used as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The component imports an interface that was not requested, or not granted.
    #[error("{plugin} for `{label}`: {denial}")]
    NotGranted {
        /// The plugin.
        plugin: Box<Identity>,
        /// The site or runbook.
        label: String,
        /// What, and the line that would grant it.
        denial: Denial,
    },
    /// An adapter was wanted and this is a runbook, or the like.
    #[error("{plugin} for `{label}` is a {found}, and a {wanted} is needed")]
    WrongKind {
        /// The plugin.
        plugin: Box<Identity>,
        /// The site or runbook.
        label: String,
        /// What it is.
        found: Kind,
        /// What it should be.
        wanted: Kind,
    },
    /// wasmtime could not link it, although it could when it was loaded.
    #[error("{plugin} for `{label}` does not link")]
    Link {
        /// The plugin.
        plugin: Box<Identity>,
        /// The site or runbook.
        label: String,
        /// wasmtime's words.
        source: wasmtime::Error,
    },
}

impl BindError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotGranted { .. } => "LF0420",
            Self::WrongKind { .. } => "LF0421",
            Self::Link { .. } => "LF0422",
        }
    }

    /// The line for the operator's grants that would cure it, if one would.
    pub fn grant_line(&self) -> Option<&str> {
        match self {
            Self::NotGranted { denial, .. } => denial.grant_line(),
            Self::WrongKind { .. } | Self::Link { .. } => None,
        }
    }
}
