//! Building plugins: from crates with a `plugin.toml` to directories that the host can load.

mod build;
mod component;
mod package;
mod toolchain;

pub(crate) use build::{BuildError, Request, build};

/// Whether this directory holds a plugin's source, rather than a plugin that is built.
pub(crate) fn is_source(directory: &std::path::Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("plugin.toml")).unwrap_or_default();
    let is_project = toml::from_str::<toml::Table>(&manifest).is_ok_and(|table| table.contains_key("build"));
    is_project || directory.join("Cargo.toml").exists()
}
