//! Turns a compiled module into a component, and checks it as the host would, while its author still sees the code.

use landfall_runtime::{Interface, Kind, Manifest};
use serde::Serialize;
use thiserror::Error;
use wit_component::{ComponentEncoder, DecodedWasm};

/// A module that cannot become the plugin its manifest promises.
#[derive(Debug, Error)]
pub(crate) enum ComponentError {
    /// The encoder refused it.
    #[error("the module of `{plugin}` cannot become a component")]
    Encode {
        /// The plugin's name.
        plugin: String,
        /// The encoder's reason.
        #[source]
        source: anyhow::Error,
    },
    /// The component is valid, but not what the manifest says.
    #[error("`{plugin}`: {why}")]
    Unfit {
        /// The plugin's name.
        plugin: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

/// What a component imports and exports, by full interface name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Surface {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Encodes and validates.
pub(crate) fn encode(plugin: &str, module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let component = || ComponentEncoder::default().validate(true).module(module)?.encode();
    component().map_err(|source| ComponentError::Encode {
        plugin: plugin.to_owned(),
        source,
    })
}

/// Reads the component's imports and exports, and compares them with the manifest.
pub(crate) fn check(manifest: &Manifest, component: &[u8]) -> Result<Surface, ComponentError> {
    let plugin = &manifest.plugin.name;
    let unfit = |why: String| ComponentError::Unfit {
        plugin: plugin.clone(),
        why,
    };
    let decoded = wit_component::decode(component).map_err(|source| ComponentError::Encode {
        plugin: plugin.clone(),
        source,
    })?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(unfit("it holds interfaces only, and no code".to_owned()));
    };
    let world = resolve
        .worlds
        .get(world)
        .ok_or_else(|| unfit("it has no world".to_owned()))?;
    let surface = Surface {
        imports: world.imports.keys().map(|key| resolve.name_world_key(key)).collect(),
        exports: world.exports.keys().map(|key| resolve.name_world_key(key)).collect(),
    };
    surface.fits(manifest).map_err(unfit)?;
    Ok(surface)
}

impl Surface {
    fn fits(&self, manifest: &Manifest) -> Result<(), String> {
        let (interface, call) = match manifest.plugin.kind {
            Kind::Runbook => ("landfall:plugin/runbook-run@", "export_runbook!"),
            Kind::HypervisorAdapter => ("landfall:plugin/adapter@", "export_adapter!"),
            Kind::RecoveryPointPolicy => ("landfall:plugin/policy@", "export_policy!"),
        };
        if !self.exports.iter().any(|export| export.starts_with(interface)) {
            let found = if self.exports.is_empty() {
                "nothing".to_owned()
            } else {
                self.exports.join(", ")
            };
            return Err(format!(
                "it exports {found}; its kind needs `landfall_sdk::{call}(YourType);` in the crate"
            ));
        }
        let missing: Vec<_> = self.needs().filter(|need| !manifest.requests.include(*need)).collect();
        if !missing.is_empty() {
            let list: Vec<_> = missing.iter().map(|need| format!("\"{need}\"")).collect();
            let list = list.join(", ");
            return Err(format!(
                "it uses what plugin.toml does not request; add {list} to `interfaces`"
            ));
        }
        Ok(())
    }

    /// The interfaces among the imports that must be requested.
    fn needs(&self) -> impl Iterator<Item = Interface> {
        Interface::ALL.into_iter().filter(|interface| {
            let prefix = match interface {
                Interface::Http => "wasi:http/outgoing-handler@".to_owned(),
                own => format!("landfall:plugin/{own}@"),
            };
            self.imports.iter().any(|import| import.starts_with(&prefix))
        })
    }

    /// Requests that nothing uses: harmless, but an operator would be asked to grant them.
    pub(crate) fn unused(&self, manifest: &Manifest) -> Vec<Interface> {
        let used: Vec<_> = self.needs().collect();
        Interface::ALL
            .into_iter()
            .filter(|one| manifest.requests.include(*one) && !used.contains(one))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(interfaces: &str) -> Manifest {
        let text = format!(
            "[plugin]\nname = \"a\"\nversion = \"1.0.0\"\nkind = \"runbook\"\ncomponent = \"a.wasm\"\n\
             [requests]\ninterfaces = {interfaces}\n"
        );
        toml::from_str(&text).unwrap()
    }

    fn surface(imports: &[&str], exports: &[&str]) -> Surface {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Surface {
            imports: owned(imports),
            exports: owned(exports),
        }
    }

    #[test]
    fn an_import_must_be_requested() {
        let found = surface(&["landfall:plugin/clock@0.1.0"], &["landfall:plugin/runbook-run@0.1.0"]);
        assert!(found.fits(&manifest("[]")).unwrap_err().contains("\"clock\""));
        assert_eq!(found.fits(&manifest("[\"clock\"]")), Ok(()));
        assert_eq!(found.unused(&manifest("[\"clock\", \"random\"]")), [Interface::Random]);
    }

    #[test]
    fn a_kind_needs_its_export() {
        let why = surface(&[], &[]).fits(&manifest("[]")).unwrap_err();
        assert!(
            why.contains("exports nothing") && why.contains("export_runbook!"),
            "{why}"
        );
    }

    #[test]
    fn bytes_that_are_no_module_are_refused() {
        assert!(matches!(encode("a", b"hello"), Err(ComponentError::Encode { .. })));
    }
}
