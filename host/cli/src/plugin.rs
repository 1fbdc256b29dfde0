//! Making plugins: a project to begin with, and from crates and projects to directories that the host can load.

mod build;
mod component;
mod guest;
mod new;
mod package;
mod sdk;
mod toolchain;
mod tools;
mod world;

pub(crate) use build::{BuildError, Request, build};
pub(crate) use new::{Language, NewError, Wish, new};

/// Where `build` put the plugin of this source when it last ran, if it did: in the target directory of its project or
/// of a workspace around it.
pub(crate) fn place_of(source: &std::path::Path) -> Option<std::path::PathBuf> {
    let manifest = std::fs::read_to_string(source.join("plugin.toml")).ok()?;
    let name = toml::from_str::<landfall_runtime::Manifest>(&manifest)
        .ok()?
        .plugin
        .name;
    let source = source.canonicalize().ok()?;
    let named = std::env::var_os("CARGO_TARGET_DIR").map(std::path::PathBuf::from);
    let targets = named
        .into_iter()
        .chain(source.ancestors().map(|above| above.join("target")));
    let mut places = targets.map(|target| target.join("plugins").join(&name));
    places.find(|place| place.join("plugin.toml").exists())
}

/// Whether this directory holds a plugin's source, rather than a plugin that is built: the manifest, which says how it
/// is built, lies in both.
pub(crate) fn is_source(directory: &std::path::Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("plugin.toml")).unwrap_or_default();
    let manifest = toml::from_str::<landfall_runtime::Manifest>(&manifest).ok();
    let entry = manifest.and_then(|manifest| manifest.build).map(|build| build.entry);
    entry.is_some_and(|entry| directory.join(entry).exists()) || directory.join("Cargo.toml").exists()
}
