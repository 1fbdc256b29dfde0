//! Cheap checks of a component's bytes, before anything is compiled: each way to be wrong has its own words.
//!
//! One pass over the file finds a cut-off end, and the names of all imports and exports. They are compared with what
//! the kind's world requires and what the host knows. Types are compared later, by wasmtime, when it links.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use semver::Version;
use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::{Engine, Precompiled};

use crate::grants::Interface;
use crate::manifest::Kind;

/// The version of the contract that this host speaks, as `wit/` says. It understands every version of its major line,
/// see `wit/VERSIONING.md`; a test parses the text.
static CONTRACT: LazyLock<Version> =
    LazyLock::new(|| Version::parse(env!("LANDFALL_CONTRACT")).unwrap_or(Version::new(0, 0, 0)));

/// The oldest version of that line.
fn oldest() -> Version {
    if CONTRACT.major == 0 {
        Version::new(0, CONTRACT.minor, 0)
    } else {
        Version::new(CONTRACT.major, 0, 0)
    }
}

/// The WASI that it links.
const WASI: Version = Version::new(0, 2, 12);

/// Interfaces without authority: linked for every kind. The WASI ones are inert.
const HARMLESS: [&str; 9] = [
    "landfall:plugin/config",
    "landfall:plugin/log",
    "landfall:plugin/types",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// What a component imports and exports, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surface {
    pub(crate) imports: BTreeSet<String>,
    pub(crate) exports: BTreeSet<String>,
}

/// Why bytes are no component that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    NotWasm,
    CoreModule,
    Precompiled,
    Truncated(String),
    Malformed(String),
    WrongVersion(String),
    WrongWorld(String),
}

/// Reads the surface, and refuses everything that is no whole component.
pub(crate) fn surface(bytes: &[u8]) -> Result<Surface, Unfit> {
    match Engine::detect_precompiled(bytes) {
        Some(Precompiled::Module | Precompiled::Component) => return Err(Unfit::Precompiled),
        None => {}
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Unfit::NotWasm);
    }
    let mut surface = Surface::default();
    // Sections of components and modules inside are also passed by; only the outermost one's names count.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| unreadable(&error))? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => return Err(Unfit::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    surface
                        .imports
                        .insert(import.map_err(|error| unreadable(&error))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    surface
                        .exports
                        .insert(export.map_err(|error| unreadable(&error))?.name.name.to_owned());
                }
            }
            Payload::UnknownSection { id, range, .. } => {
                return Err(Unfit::Malformed(format!(
                    "no such section: {id} at offset {}",
                    range.start
                )));
            }
            _ => {}
        }
    }
    Ok(surface)
}

fn unreadable(error: &wasmparser::BinaryReaderError) -> Unfit {
    let text = error.to_string();
    // The parser has no kind for this; a test holds the words.
    if text.contains("unexpected end") {
        Unfit::Truncated(text)
    } else {
        Unfit::Malformed(text)
    }
}

impl Surface {
    /// Whether it fits the kind's world: all required exports, and no import that this kind cannot have.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), Unfit> {
        self.check_version()?;
        let missing: Vec<_> = required(kind)
            .into_iter()
            .filter(|name| !self.has_export(name))
            .collect();
        if self.exports.is_empty() {
            // Tools write exports last, so this is also what a file looks like that was cut off between two sections.
            return Err(Unfit::WrongWorld(
                "it exports nothing at all; it is no plugin, or its copy was cut off".to_owned(),
            ));
        }
        if !missing.is_empty() {
            let looks = [Kind::Runbook, Kind::HypervisorAdapter, Kind::RecoveryPointPolicy]
                .into_iter()
                .find(|other| *other != kind && required(*other).iter().all(|name| self.has_export(name)))
                .map(|other| format!("; it looks like a {other}"))
                .unwrap_or_default();
            let missing = missing.join("`, `");
            return Err(Unfit::WrongWorld(format!(
                "a {kind} must export `{missing}` at version {}{looks}",
                *CONTRACT
            )));
        }
        let unknown: Vec<_> = self
            .imports
            .iter()
            .filter(|name| !is_known(kind, name))
            .map(String::as_str)
            .collect();
        if !unknown.is_empty() {
            let unknown = unknown.join("`, `");
            return Err(Unfit::WrongWorld(format!(
                "it imports `{unknown}`, which this host does not give to a {kind}{}",
                self.newer_than_host()
            )));
        }
        Ok(())
    }

    /// The versions of the contract among all names: mostly one.
    fn versions(&self) -> BTreeSet<Version> {
        let names = self.imports.iter().chain(&self.exports).map(|name| split(name));
        names
            .filter(|(name, _)| name.starts_with("landfall:plugin/"))
            .filter_map(|(_, version)| version)
            .collect()
    }

    /// Another major line has other types: nothing of it can be linked.
    fn check_version(&self) -> Result<(), Unfit> {
        let Some(version) = self
            .versions()
            .into_iter()
            .find(|version| !is_compatible(version, &CONTRACT))
        else {
            return Ok(());
        };
        let (age, cure) = if version > *CONTRACT {
            ("newer", "update the host, or build the plugin with an older SDK")
        } else {
            ("older", "build the plugin with a newer SDK")
        };
        Err(Unfit::WrongVersion(format!(
            "it was built for version {version} of the plugin contract, {age} than what this host supports: {} to {}; \
             {cure}",
            oldest(),
            *CONTRACT
        )))
    }

    /// Why something of this major line may still be missing here; empty if the component is not newer.
    pub(crate) fn newer_than_host(&self) -> String {
        match self.versions().pop_last() {
            Some(version) if version > *CONTRACT => format!(
                "; it was built for version {version} of the plugin contract, and this host supports {} to {}: update the \
                 host, or build the plugin with an older SDK",
                oldest(),
                *CONTRACT
            ),
            _ => String::new(),
        }
    }

    /// Whether the optional interface is exported.
    pub(crate) fn has_export(&self, interface: &str) -> bool {
        self.exports.iter().any(|export| is(export, interface))
    }

    /// The interfaces among the imports that need a grant.
    pub(crate) fn needs(&self) -> BTreeSet<Interface> {
        self.imports
            .iter()
            .filter_map(|import| Interface::of_import(split(import).0))
            .collect()
    }
}

fn required(kind: Kind) -> [&'static str; 2] {
    let own = match kind {
        Kind::Runbook => "landfall:plugin/runbook-run",
        Kind::HypervisorAdapter => "landfall:plugin/adapter",
        Kind::RecoveryPointPolicy => "landfall:plugin/policy",
    };
    ["landfall:plugin/plugin", own]
}

fn is_known(kind: Kind, import: &str) -> bool {
    let (name, version) = split(import);
    let spoken = if name.starts_with("wasi:") { &WASI } else { &*CONTRACT };
    if !version.is_some_and(|version| is_compatible(&version, spoken)) {
        return false;
    }
    let harmless = |known: &str| name == known || (known.ends_with('/') && name.starts_with(known));
    HARMLESS.into_iter().any(harmless)
        || Interface::of_import(name).is_some_and(|interface| match kind {
            // An adapter runs programs in machines; a runbook has it do so.
            Kind::HypervisorAdapter => interface != Interface::Guests,
            Kind::Runbook => interface != Interface::Buffers,
            Kind::RecoveryPointPolicy => false,
        })
}

fn is(found: &str, wanted: &str) -> bool {
    let (name, at) = split(found);
    name == wanted && at.is_some_and(|at| is_compatible(&at, &CONTRACT))
}

fn split(name: &str) -> (&str, Option<Version>) {
    match name.split_once('@') {
        Some((name, version)) => (name, Version::parse(version).ok()),
        None => (name, None),
    }
}

/// As the component model's linker sees it: the same major, or the same minor below 1.0.
fn is_compatible(one: &Version, other: &Version) -> bool {
    one.major == other.major && (one.major > 0 || one.minor == other.minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface_of(imports: &[&str], exports: &[&str]) -> Surface {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Surface {
            imports: set(imports),
            exports: set(exports),
        }
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert_eq!(surface(b"hello"), Err(Unfit::NotWasm));
        assert_eq!(surface(&wat::parse_str("(module)").unwrap()), Err(Unfit::CoreModule));
        let whole = wat::parse_str(r#"(component (core module (memory 1) (data (i32.const 0) "abc")))"#).unwrap();
        assert_eq!(surface(&whole), Ok(Surface::default()));
        for end in 9..whole.len() {
            match surface(&whole[..end]) {
                Err(Unfit::Truncated(_)) => {}
                // Cut exactly between two sections: a shorter component, which then lacks exports.
                Ok(surface) => assert_eq!(surface, Surface::default()),
                other => panic!("cut at {end}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_wrong_world_names_what_is_wrong() {
        let runbook = surface_of(
            &[],
            &["landfall:plugin/plugin@0.1.0", "landfall:plugin/runbook-run@0.1.3"],
        );
        assert_eq!(runbook.check(Kind::Runbook), Ok(()));
        let Err(Unfit::WrongWorld(text)) = runbook.check(Kind::HypervisorAdapter) else {
            panic!()
        };
        assert_eq!(
            text,
            format!(
                "a hypervisor-adapter must export `landfall:plugin/adapter` at version {}; it looks like a runbook",
                *CONTRACT
            )
        );
    }

    #[test]
    fn another_major_line_is_refused_with_the_range_and_a_newer_patch_is_not() {
        assert!(*CONTRACT > Version::new(0, 0, 0), "the contract's version is a version");
        let built_for = |version: &str| {
            let export = |name| format!("landfall:plugin/{name}@{version}");
            surface_of(&[], &[&export("plugin"), &export("runbook-run")]).check(Kind::Runbook)
        };
        assert_eq!(built_for("0.1.0"), Ok(()));
        assert_eq!(built_for("0.1.99"), Ok(()));
        for (version, age) in [("0.0.9", "older"), ("0.2.0", "newer"), ("1.0.0", "newer")] {
            let Err(Unfit::WrongVersion(text)) = built_for(version) else {
                panic!("{version}")
            };
            let range = format!("{age} than what this host supports: 0.1.0 to {}", *CONTRACT);
            assert!(text.contains(version) && text.contains(&range), "{text}");
        }
    }

    #[test]
    fn an_unknown_import_is_named() {
        let exports = ["landfall:plugin/plugin@0.1.0", "landfall:plugin/policy@0.1.0"];
        for bad in [
            "landfall:plugin/clock@0.1.0",
            "landfall:plugin/state@0.1.1",
            "landfall:plugin/nothing@0.1.7",
            "wasi:http/types@0.2.12",
            "wasi:io/poll@0.3.0",
            "acme:x/y@1.0.0",
            "plain",
        ] {
            let Err(Unfit::WrongWorld(text)) = surface_of(&[bad], &exports).check(Kind::RecoveryPointPolicy) else {
                panic!()
            };
            assert!(text.contains(bad), "{text}");
        }
        let inert = surface_of(&["wasi:cli/environment@0.2.6", "landfall:plugin/log@0.1.0"], &exports);
        assert_eq!(inert.check(Kind::RecoveryPointPolicy), Ok(()));
    }
}
