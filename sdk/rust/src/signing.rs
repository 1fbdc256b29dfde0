//! Signatures with keys that never enter a plugin.
//!
//! Request the keys by name: `hmac = ["webhook"]`, or `"*"` in it where names come from the configuration.
//!
//! ```no_run
//! use landfall_sdk::Failure;
//! use landfall_sdk::signing::{Hash, hmac};
//!
//! fn signature(body: &str) -> Result<String, Failure> {
//!     let signed = hmac("webhook", Hash::Sha256, &[body])?;
//!     Ok(signed.iter().map(|byte| format!("{byte:02x}")).collect())
//! }
//! ```

use crate::Failure;
use crate::bindings::landfall::plugin::signing;

pub use crate::bindings::landfall::plugin::signing::Hash;

/// HMAC of the first message under the named key, of the second under that result, and so on: one message signs,
/// several derive a key first, as clouds want it.
pub fn hmac(key: &str, hash: Hash, messages: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, Failure> {
    let messages: Vec<Vec<u8>> = messages.iter().map(|message| message.as_ref().to_vec()).collect();
    signing::hmac(key, hash, &messages)
}
