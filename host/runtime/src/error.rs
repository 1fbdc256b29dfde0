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
    /// A body that was larger than the limit, in words.
    pub oversize: Option<String>,
    /// What a host interface did not do for it.
    pub refusals: Vec<Refusal>,
}

/// Something that a host interface did not do, though it was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its stable code.
    pub code: &'static str,
    /// The word that the plugin was given as a failure's code.
    pub word: &'static str,
    /// A sentence, with the cure where there is one.
    pub what: String,
}

impl Refusal {
    /// What the plugin gets. Never definite: the plugin may have sent something before, and if not the host knows it.
    pub(crate) fn to_failure(&self, retryable: bool) -> Failure {
        Failure {
            code: self.word.to_owned(),
            message: self.what.clone(),
            retryable,
            definite: false,
            details: vec![("landfall".to_owned(), self.code.to_owned())],
        }
    }
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
    #[error("the plugin needed more than its memory limit of {}", bytes(*.limit))]
    MemoryLimit {
        /// Bytes.
        limit: usize,
    },
    /// It wanted larger tables.
    #[error("the plugin needed more than its limit of {limit} table elements")]
    TableLimit {
        /// Elements.
        limit: usize,
    },
    /// Its calls nested too deep.
    #[error("the plugin's stack overflowed: a recursion without end, or too deep{}", .backtrace.first().map(|place| format!(", in {place}")).unwrap_or_default())]
    StackOverflow {
        /// Function names, innermost first.
        backtrace: Vec<String>,
    },
    /// An answer, or the arguments of one call to the host, were too large.
    #[error("the plugin passed more than {} to the host at once", bytes(*.limit))]
    PassLimit {
        /// Bytes.
        limit: usize,
    },
    /// It went on logging long after its lines were dropped.
    #[error("the plugin wrote {lines} log lines, and {limit} are kept of a call")]
    LogLimit {
        /// Lines it wrote.
        lines: u32,
        /// Lines that are kept.
        limit: u32,
    },
    /// It holds too many streams, requests and other resources of the host.
    #[error("the plugin holds more than {limit} resources of the host at once; drop those that are done with")]
    HandleLimit {
        /// Resources.
        limit: usize,
    },
    /// What it passed is not what the contract says: a handle it does not own, text that is no UTF-8, a list that ends
    /// outside of its memory, more random bytes than are given at once.
    #[error("the plugin broke the contract: {message}")]
    Contract {
        /// What, in wasmtime's or the host's words.
        message: String,
        /// Function names, innermost first; empty for an answer.
        backtrace: Vec<String>,
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

/// As operators write sizes.
fn bytes(count: usize) -> String {
    match count {
        count if count >= 1 << 20 && count % (1 << 20) == 0 => format!("{} MiB", count >> 20),
        count if count >= 1 << 10 && count % (1 << 10) == 0 => format!("{} KiB", count >> 10),
        count => format!("{count} bytes"),
    }
}

impl Fault {
    /// Counts towards quarantine: the plugin itself is at fault, whatever its site does. A slow site, a refusal, a body
    /// that a site made too large and the host's own trouble never count.
    pub fn is_strike(&self) -> bool {
        match self {
            Self::Trap { .. }
            | Self::CpuLimit { .. }
            | Self::MemoryLimit { .. }
            | Self::TableLimit { .. }
            | Self::StackOverflow { .. }
            | Self::PassLimit { .. }
            | Self::LogLimit { .. }
            | Self::HandleLimit { .. }
            | Self::Contract { .. } => true,
            Self::Failure(_) | Self::WallLimit { .. } | Self::Busy(_) | Self::Host(_) | Self::Revoked => false,
        }
    }
}

impl CallError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match &self.fault {
            Fault::Failure(_) | Fault::Trap { .. } if let Some(denial) = self.denials.first() => denial.code(),
            Fault::Failure(_) | Fault::Trap { .. } if self.oversize.is_some() => "LF0446",
            Fault::Failure(failure) => self.refusal(failure).map_or("LF0430", |refusal| refusal.code),
            Fault::Trap { .. } => self.refusals.first().map_or("LF0431", |refusal| refusal.code),
            Fault::CpuLimit { .. } => "LF0432",
            Fault::WallLimit { .. } => "LF0433",
            Fault::MemoryLimit { .. } => "LF0434",
            Fault::Busy(_) => "LF0435",
            Fault::Host(_) => "LF0436",
            Fault::Revoked => "LF0461",
            Fault::StackOverflow { .. } => "LF0438",
            Fault::PassLimit { .. } => "LF0439",
            Fault::TableLimit { .. } => "LF0444",
            Fault::LogLimit { .. } => "LF0445",
            Fault::HandleLimit { .. } => "LF0447",
            Fault::Contract { .. } => "LF0448",
        }
    }

    /// The refusal that the plugin's failure hands on, if it does.
    fn refusal(&self, failure: &Failure) -> Option<&Refusal> {
        self.refusals.iter().find(|refusal| refusal.word == failure.code)
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
            _ => false,
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
        self.denials.iter().try_for_each(|denial| write!(f, "; {denial}"))?;
        self.oversize
            .iter()
            .try_for_each(|oversize| write!(f, "; {oversize}"))?;
        // What the plugin handed on is there already.
        let said = self.failure().map_or("", |failure| failure.message.as_str());
        let untold = self.refusals.iter().filter(|refusal| !said.contains(&refusal.what));
        untold
            .into_iter()
            .try_for_each(|refusal| write!(f, "; {}", refusal.what))
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
