//! The one place where the daemon reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use landfall_recovery::words::Millis;

/// Host time now.
#[expect(clippy::disallowed_methods, reason = "the one place that owns the wall clock")]
pub(crate) fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
