//! `log`: a guest's lines become tracing events of the host, marked with plugin, version and digest.
//!
//! A line is data from a stranger: control characters are escaped so that it cannot forge other lines, and lines and
//! bytes are bounded per call, so that a loop cannot fill a disk. What is over is counted and dropped; a call that
//! floods the log nevertheless is ended.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{debug, error, info, trace, warn};

use crate::bindings::landfall::plugin::log::{Host, Level};
use crate::limits::Limits;
use crate::state::{GuestState, Record, Subject};

/// Longest line that is kept whole: a screen full of text.
pub(crate) const LONGEST_LINE: usize = 4_096;

/// What a call may still log.
#[derive(Debug)]
pub(crate) struct LogBudget {
    lines: u32,
    bytes: usize,
    /// Lines dropped after which the call is ended.
    flood: u32,
}

/// Ends a call that goes on logging.
#[derive(Debug, thiserror::Error)]
#[error("the plugin floods the log: {lines} lines were dropped")]
pub(crate) struct Flood {
    pub(crate) lines: u32,
}

impl LogBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            lines: limits.log_lines,
            bytes: limits.log_bytes as usize,
            flood: limits.flood(),
        }
    }

    fn take(&mut self, bytes: usize) -> bool {
        if self.lines == 0 || self.bytes < bytes {
            return false;
        }
        self.lines -= 1;
        self.bytes -= bytes;
        true
    }
}

/// Where the lines of one call go.
#[derive(Debug)]
pub(crate) struct Lines {
    subject: Arc<Subject>,
    record: Arc<Record>,
    budget: Mutex<LogBudget>,
}

impl Lines {
    pub(crate) fn new(subject: Arc<Subject>, record: Arc<Record>, limits: &Limits) -> Self {
        Self {
            subject,
            record,
            budget: Mutex::new(LogBudget::new(limits)),
        }
    }

    /// What it said last on its standard error.
    pub(crate) fn note_last_words(&self, text: &str) {
        self.record.note_stderr_line(tame(text));
    }

    pub(crate) fn write(&self, level: Level, message: &str) -> Result<(), Flood> {
        let line = tame(message);
        if level == Level::Error {
            // Kept even if the log is full: where an SDK puts a panic's text just before the trap.
            self.record.note_error_line(line.clone());
        }
        // Nothing panics while it holds this lock.
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if !budget.take(line.len()) {
            let lines = self.record.drop_line();
            return if lines >= budget.flood {
                Err(Flood { lines })
            } else {
                Ok(())
            };
        }
        drop(budget);
        if let Some(stage) = &self.subject.stage {
            stage.note_line(name_of(level), line.clone());
        }
        let (plugin, label) = (&self.subject.plugin, self.subject.label.as_str());
        let (name, digest) = (plugin.name.as_str(), plugin.digest.as_str());
        let version = &plugin.version;
        match level {
            Level::Trace => trace!(target: "landfall::plugin", plugin = name, %version, digest, label, "{line}"),
            Level::Debug => debug!(target: "landfall::plugin", plugin = name, %version, digest, label, "{line}"),
            Level::Info => info!(target: "landfall::plugin", plugin = name, %version, digest, label, "{line}"),
            Level::Warn => warn!(target: "landfall::plugin", plugin = name, %version, digest, label, "{line}"),
            Level::Error => error!(target: "landfall::plugin", plugin = name, %version, digest, label, "{line}"),
        }
        Ok(())
    }
}

impl Host for GuestState {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        Ok(self.log.write(level, &message)?)
    }
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// One printable line: control characters escaped, the end cut off if it is too long.
fn tame(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(LONGEST_LINE));
    for c in message.trim_end().chars() {
        if line.len() >= LONGEST_LINE {
            line.push('…');
            break;
        }
        if c.is_control() && c != '\t' {
            // Writing to a string cannot fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another_and_is_cut() {
        assert_eq!(tame("one\n2026 ERROR two\u{1b}[2J\n"), "one\\n2026 ERROR two\\u{1b}[2J");
        let long = tame(&"x".repeat(10_000));
        assert!(long.ends_with('…') && long.len() <= LONGEST_LINE + '…'.len_utf8());
    }

    #[test]
    fn lines_and_bytes_are_bounded() {
        let mut budget = LogBudget::new(&Limits {
            log_lines: 2,
            log_bytes: 10,
            ..Limits::default()
        });
        assert!(budget.take(4));
        assert!(!budget.take(7));
        assert!(budget.take(6));
        assert!(!budget.take(0));
    }
}
