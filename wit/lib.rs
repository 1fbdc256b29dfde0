//! The plugin contract as a directory that WIT tools can read. Used by build scripts only: the runtime's, the Rust
//! SDK's, and that of the command that writes the contract out for other languages.

/// Our WIT files, with the WASI packages they name under `deps`.
pub const DIRECTORY: &str = concat!(env!("OUT_DIR"), "/wit");
