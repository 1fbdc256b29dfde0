//! The WIT world of one plugin. Rust guests import what they use; Python and JavaScript guests import their whole world,
//! so theirs is generated from the manifest: the exports of its kind, the imports that it requests, and no other.

use std::path::{Path, PathBuf};

use landfall_runtime::{Interface, Manifest};
use thiserror::Error;
use wit_parser::{PackageName, Resolve, WorldId, WorldItem};

use super::sdk;

/// Its name; no world of the contract is called so.
pub(crate) const NAME: &str = "one-plugin";

/// Interfaces without authority, which need no request.
const ALWAYS: [&str; 3] = ["config", "log", "types"];

/// Why there is no world.
#[derive(Debug, Error)]
pub(crate) enum WorldError {
    /// `exports` names what the contract does not have.
    #[error("[build] exports `{name}`, which is no interface of the contract")]
    UnknownExport {
        /// As the manifest has it.
        name: String,
    },
    /// The contract that the program carries cannot be read: a fault of ours.
    #[error("the contract cannot be read")]
    Contract(#[source] anyhow::Error),
    /// The file system refused.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What the world has, by full name with version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct World {
    /// Also those that others need.
    pub(crate) imports: Vec<String>,
    /// Without package and version: `runbook-run`.
    pub(crate) exports: Vec<String>,
}

/// Writes the contract and the plugin's world into a directory that WIT tools can read.
pub(crate) fn lay_out(manifest: &Manifest, directory: &Path) -> Result<World, WorldError> {
    let write = |path: &str, text: &str| {
        let path = directory.join(path);
        sdk::write(&path, text.as_bytes()).map_err(|source| WorldError::Write { path, source })
    };
    for (path, text) in landfall_wit::FILES {
        write(path, text)?;
    }
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(directory).map_err(WorldError::Contract)?;
    let kind = resolve
        .select_world(&[package], Some(manifest.plugin.kind.as_str()))
        .map_err(WorldError::Contract)?;
    let contract = resolve
        .packages
        .get(package)
        .ok_or_else(|| WorldError::Contract(anyhow::anyhow!("it has no package")))?;
    let extra = manifest.build.iter().flat_map(|build| &build.exports);
    for name in extra {
        if !contract.interfaces.contains_key(name) {
            return Err(WorldError::UnknownExport { name: name.clone() });
        }
    }
    let text = source(&resolve, kind, &contract.name, manifest);
    write("one-plugin.wit", &text)?;
    read_back(directory)
}

/// The world's text: one line for each import and export.
fn source(resolve: &Resolve, kind: WorldId, contract: &PackageName, manifest: &Manifest) -> String {
    let own = format!("{}:{}/", contract.namespace, contract.name);
    let mut lines = vec![format!("package {contract};\n\nworld {NAME} {{")];
    for import in interfaces(resolve, kind, true) {
        let name = import.split('@').next().unwrap_or(&import);
        // Only what the world says itself: what an interface needs comes with it.
        let wanted = match Interface::of_import(name) {
            Some(interface) => manifest.requests.include(interface),
            None => name.strip_prefix(&own).is_some_and(|name| ALWAYS.contains(&name)),
        };
        if wanted {
            lines.push(format!("    import {};", local(&import, &own)));
        }
    }
    for export in interfaces(resolve, kind, false) {
        lines.push(format!("    export {};", local(&export, &own)));
    }
    let extra = manifest.build.iter().flat_map(|build| &build.exports);
    lines.extend(extra.map(|name| format!("    export {name};")));
    lines.push("}\n".to_owned());
    lines.join("\n")
}

/// A package names its own interfaces without itself.
fn local(name: &str, own: &str) -> String {
    match name.strip_prefix(own) {
        Some(rest) => rest.split('@').next().unwrap_or(rest).to_owned(),
        None => name.to_owned(),
    }
}

fn interfaces(resolve: &Resolve, world: WorldId, imports: bool) -> Vec<String> {
    let Some(world) = resolve.worlds.get(world) else {
        return Vec::new();
    };
    let items = if imports { &world.imports } else { &world.exports };
    items
        .iter()
        .filter(|(_, item)| matches!(item, WorldItem::Interface { .. }))
        .map(|(key, _)| resolve.name_world_key(key))
        .collect()
}

/// As the tools will see it.
fn read_back(directory: &Path) -> Result<World, WorldError> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(directory).map_err(WorldError::Contract)?;
    let world = resolve
        .select_world(&[package], Some(NAME))
        .map_err(WorldError::Contract)?;
    let plain = |name: String| {
        let name = name.rsplit('/').next().unwrap_or_default();
        name.split('@').next().unwrap_or_default().to_owned()
    };
    Ok(World {
        imports: interfaces(&resolve, world, true),
        exports: interfaces(&resolve, world, false).into_iter().map(plain).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(kind: &str, interfaces: &str, build: &str) -> Result<World, WorldError> {
        let text = format!(
            "[plugin]\nname = \"a\"\nversion = \"1.0.0\"\nkind = \"{kind}\"\ncomponent = \"a.wasm\"\n\
             [requests]\ninterfaces = {interfaces}\n[build]\nentry = \"a.py\"\n{build}"
        );
        let directory = tempfile::tempdir().unwrap();
        lay_out(&toml::from_str(&text).unwrap(), directory.path())
    }

    fn imports(world: &World, name: &str) -> bool {
        world
            .imports
            .iter()
            .any(|import| import.split('@').next() == Some(name))
    }

    #[test]
    fn what_is_not_requested_is_not_imported() {
        let plain = world("runbook", "[]", "").unwrap();
        assert_eq!(plain.exports, ["plugin", "runbook-run"]);
        assert!(imports(&plain, "landfall:plugin/log") && imports(&plain, "landfall:plugin/config"));
        assert!(!imports(&plain, "landfall:plugin/clock") && !imports(&plain, "wasi:http/outgoing-handler"));
    }

    #[test]
    fn what_is_requested_comes_with_what_it_needs() {
        let http = world("runbook", "[\"http\", \"clock\"]", "exports = [\"runbook-probe\"]").unwrap();
        for name in [
            "landfall:plugin/clock",
            "wasi:http/outgoing-handler",
            "wasi:http/types",
            "wasi:io/streams",
        ] {
            assert!(imports(&http, name), "{name}");
        }
        assert_eq!(http.exports, ["plugin", "runbook-run", "runbook-probe"]);
        assert_eq!(
            world("recovery-point-policy", "[]", "").unwrap().exports,
            ["plugin", "policy"]
        );
    }

    #[test]
    fn an_export_that_the_contract_does_not_have_is_named() {
        let error = world("runbook", "[]", "exports = [\"probe\"]").unwrap_err();
        assert!(error.to_string().contains("`probe`"), "{error}");
    }
}
