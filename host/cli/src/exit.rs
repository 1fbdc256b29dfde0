//! What the exit code says, so that a script knows what happened without reading a word.

use std::process::ExitCode;

/// How a command ended. The numbers are part of the interface and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Ok,
    /// A fault in Landfall itself.
    Internal,
    /// The command line makes no sense; clap uses the same number.
    Usage,
    /// A job failed, was cancelled, or completed with errors.
    JobFailed,
    /// A job needs a person.
    Stuck,
    /// Refused: an invalid document, or an operation that is not legal now.
    Refused,
    /// No daemon answers, or it does not take our token.
    Unreachable,
    /// The user stopped watching; the job goes on. The number that shells use for ctrl-c.
    Detached,
}

/// Shown at the end of the top-level help.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    internal error
  2    wrong usage
  3    the job failed, was cancelled, or completed with errors
  4    the job is stuck or waits for a person
  5    refused: invalid plan, inventory or configuration, or an operation that is not legal now
  6    the daemon does not answer, or does not accept the token
  130  detached: the job goes on";

impl Exit {
    /// The process's exit code.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::JobFailed => 3,
            Self::Stuck => 4,
            Self::Refused => 5,
            Self::Unreachable => 6,
            Self::Detached => 130,
        }
    }

    /// What the status of a job means for whoever waited for it.
    pub(crate) fn of_job(status: &str) -> Self {
        match status {
            "succeeded" | "dry-run" => Self::Ok,
            "stuck" => Self::Stuck,
            _ => Self::JobFailed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
