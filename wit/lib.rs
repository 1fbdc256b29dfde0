//! The plugin contract as a directory that WIT tools can read. Build scripts (the runtime's, the Rust SDK's) use it
//! where it lies; the command carries its text, as it builds plugins where no checkout is.

/// Our WIT files, with the WASI packages they name under `deps`.
pub const DIRECTORY: &str = concat!(env!("OUT_DIR"), "/wit");

/// The same directory as text, path by path: what an installed program lays out for the tools of other languages.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));
