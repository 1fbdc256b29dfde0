//! `clock`: the host's clocks, for plugins that were granted them. Policies never are, so that a decision can be
//! replayed.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use crate::bindings::landfall::plugin::clock::Host;
use crate::grants::Interface;
use crate::state::GuestState;

/// The arbitrary moment from which monotonic time counts: the first question.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Host for GuestState {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the interface that gives guests the time"
    )]
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.subject.expect(Interface::Clock)?;
        if let Some(now) = self.subject.stage.as_ref().and_then(|stage| stage.now_ms()) {
            return Ok(now);
        }
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_ms(&mut self) -> wasmtime::Result<u64> {
        self.subject.expect(Interface::Clock)?;
        if let Some(now) = self.subject.stage.as_ref().and_then(|stage| stage.now_ms()) {
            return Ok(now);
        }
        Ok(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
