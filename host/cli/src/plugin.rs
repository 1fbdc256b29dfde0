//! Building plugins: from crates with a `plugin.toml` to directories that the host can load.

mod build;
mod component;
mod package;
mod toolchain;

pub(crate) use build::{BuildError, Request, build};
