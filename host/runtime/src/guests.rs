//! Programs inside machines, as a runbook's call sees them: by item and side. Who knows which machines the call is
//! about, and how to reach them, is whoever embeds the runtime.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::contract::guests::Side;
use crate::contract::types::{Failure, GuestCommand, GuestExit};
use crate::error::Refusal;

/// Why a program did not run, or is not known to have run.
#[derive(Debug)]
pub enum GuestFault {
    /// It was not even tried.
    Refused(Refusal),
    /// The adapter tried. `sent`: something left this host, so the program may have run.
    Failed {
        /// In the adapter's words, or the host's.
        failure: Failure,
        /// See above.
        sent: bool,
    },
}

/// Runs programs inside the machines of one call, and of no other.
pub trait GuestPrograms: Send + Sync {
    /// Waits for the program's end, at most `left`. Dropped: it may run on.
    fn exec(
        &self,
        item: String,
        side: Side,
        command: GuestCommand,
        left: Duration,
    ) -> BoxFuture<'static, Result<GuestExit, GuestFault>>;
}
