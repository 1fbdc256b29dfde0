//! Memory of the host for what may be forgotten at any time: a login, a cached look-up. Per site or runbook, and per
//! version of the plugin; gone with a restart.
//!
//! Request the interface `session`.
//!
//! ```no_run
//! use std::time::Duration;
//! use landfall_sdk::{Failure, session};
//!
//! fn token(log_in: impl Fn() -> Result<String, Failure>) -> Result<String, Failure> {
//!     if let Some(token) = session::get_text("token") {
//!         return Ok(token);
//!     }
//!     let token = log_in()?;
//!     session::set("token", &token, Some(Duration::from_secs(600)))?;
//!     Ok(token)
//! }
//! ```

use std::time::Duration;

use crate::Failure;
use crate::bindings::landfall::plugin::session;

pub use crate::bindings::landfall::plugin::session::{delete, get};

/// A value that is text; what is not UTF-8 is replaced.
pub fn get_text(key: &str) -> Option<String> {
    get(key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Kept until `ttl` is over, or the host forgets it.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<(), Failure> {
    let ttl = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    session::set(key, value.as_ref(), ttl)
}
