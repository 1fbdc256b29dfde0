//! Durable values by key, for what must survive the host's restart: a cursor, a change number. An adapter has one set
//! for each site, a runbook has one; other versions of the same plugin see it too.
//!
//! Request the interface `state`. Not part of a job: what a step decides by belongs into its outputs.
//!
//! ```no_run
//! use landfall_sdk::{Failure, state};
//!
//! fn next_change() -> Result<u64, Failure> {
//!     let last = state::get_text("change")?.and_then(|text| text.parse().ok()).unwrap_or(0);
//!     state::set("change", (last + 1).to_string())?;
//!     Ok(last + 1)
//! }
//! ```

use crate::Failure;
use crate::bindings::landfall::plugin::state;

pub use crate::bindings::landfall::plugin::state::{delete, get, keys};

/// A value that is text; what is not UTF-8 is replaced.
pub fn get_text(key: &str) -> Result<Option<String>, Failure> {
    let value = get(key)?;
    Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Durable when it returns. Beyond the operator's quota it fails with `quota-exceeded`.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), Failure> {
    state::set(key, value.as_ref())
}

/// Replaces only what is as expected (none: not there), and says whether it did. Calls run beside each other.
pub fn swap(key: &str, expected: Option<&[u8]>, value: Option<&[u8]>) -> Result<bool, Failure> {
    state::swap(key, expected, value)
}
