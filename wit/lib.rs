//! The plugin contract as directories that WIT tools can read. Build scripts (the runtime's, the Rust SDK's) and tests use
//! them where they lie; the command carries the text, as it builds plugins where no checkout is.

/// Our WIT files, with the WASI packages they name under `deps`.
pub const DIRECTORY: &str = concat!(env!("OUT_DIR"), "/wit");

/// The same directory as text, path by path: what an installed program lays out for the tools of other languages.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The version of the contract in [`DIRECTORY`].
pub const VERSION: &str = env!("LANDFALL_CONTRACT");

/// Every frozen version, with a directory like [`DIRECTORY`]. Plugins built for one of the same major still run.
pub const FROZEN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/frozen.rs"));
