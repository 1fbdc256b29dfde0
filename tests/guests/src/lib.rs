//! Plugins that do harm, each in one way of its own, and small well-meant ones for tests. They are components of hand-
//! written WebAssembly, made without a wasm toolchain, and never shipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy knows test functions, not their helpers"
)]

mod fixture;
mod hostile;
mod http;

pub use fixture::{Fixture, RESULT};
pub use hostile::{Hostile, endless_reader, hostile, large_answer, trap_after_effect, wasi_probe};
