//! `plugin.toml`: who a plugin says it is, and the most it will ever ask for.
//!
//! A manifest grants nothing. What a plugin may use is what it requests here and the operator grants (see `grants`),
//! so an update that quietly needs more gets no more than before.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::destination::{HttpPattern, Names, Star};
use crate::grants::Interface;

/// Longest name: it becomes part of file names, log fields and finding ids.
const LONGEST_NAME: usize = 64;

/// What a plugin is, and with it the world that its component must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An action before or after a group.
    Runbook,
    /// Speaks for one site.
    HypervisorAdapter,
    /// Chooses recovery points and which to keep.
    RecoveryPointPolicy,
}

impl Kind {
    /// The name of the kind and of its world in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runbook => "runbook",
            Self::HypervisorAdapter => "hypervisor-adapter",
            Self::RecoveryPointPolicy => "recovery-point-policy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The whole of `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The `[plugin]` table.
    pub plugin: About,
    /// The `[requests]` table: the upper bound of what can be granted.
    #[serde(default)]
    pub requests: Requests,
    /// The `[build]` table: the author's, and nothing to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// The `[scratch]` table: the author's too, and read by `landfall plugin check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<serde_json::Value>,
}

/// The `[build]` table: how `landfall plugin build` makes the component of a plugin that is no Rust crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The source file that holds the plugin, beside the manifest. Its ending says the language: `.py`, `.js`, `.ts`.
    pub entry: String,
    /// Optional interfaces that the plugin exports, such as `runbook-probe`.
    #[serde(default)]
    pub exports: Vec<String>,
}

/// The `[plugin]` table. Name, version and kind must equal what the component's `describe` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Lower case letters, digits and dashes.
    pub name: String,
    /// Semantic version.
    pub version: semver::Version,
    /// Which world the component fits.
    pub kind: Kind,
    /// File name of the component, beside the manifest.
    pub component: String,
    /// One line for lists.
    #[serde(default)]
    pub summary: String,
}

/// The `[requests]` table. `log` and `config` need no request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Interfaces that the component imports.
    #[serde(default)]
    pub interfaces: BTreeSet<Interface>,
    /// Where it may want to send requests; `"*"` stands for anything.
    #[serde(default)]
    pub http: Vec<HttpPattern>,
    /// Names of secrets that it may want to sign with; `"*"` stands for any.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub hmac: Names,
    /// Names of endpoints that it may want to open; `"*"` stands for any.
    #[serde(default)]
    pub transport: Endpoints,
}

/// Endpoints that a manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Endpoints {
    /// `"*"`: their names follow from the configuration.
    Any(Star),
    /// These.
    Named(BTreeSet<String>),
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Endpoints {
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any(Star::Star) => true,
            Self::Named(names) => names.contains(name),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }
}

impl Requests {
    /// Whether this interface was asked for; naming an HTTP destination asks for `http`, and an endpoint for
    /// `transport`.
    pub fn include(&self, interface: Interface) -> bool {
        let named = match interface {
            Interface::Http => !self.http.is_empty(),
            Interface::Signing => !self.hmac.is_empty(),
            Interface::Transport => !self.transport.is_empty(),
            _ => false,
        };
        named || self.interfaces.contains(&interface)
    }
}

impl Manifest {
    /// Parses and checks; the error is text for the author, with the line where TOML gives one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let About { name, component, .. } = &self.plugin;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) || name.starts_with('-') {
            return Err(format!(
                "plugin.name {name:?}: use 1 to {LONGEST_NAME} lower case letters, digits and dashes, and start with no dash"
            ));
        }
        if component.is_empty() || component.starts_with('.') || component.contains(['/', '\\', '\0']) {
            return Err(format!(
                "plugin.component {component:?}: name a file in the directory of plugin.toml"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [plugin]
        name = "lab"
        version = "0.1.0"
        kind = "hypervisor-adapter"
        component = "lab.wasm"
        summary = "The virtual datacenter"

        [requests]
        interfaces = ["clock", "buffers"]
        http = [{ scheme = "http", host = "*", port = "*" }]
    "#;

    #[test]
    fn a_good_manifest_parses() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(manifest.plugin.kind, Kind::HypervisorAdapter);
        assert!(manifest.requests.include(Interface::Http));
        assert!(!manifest.requests.include(Interface::Random));
    }

    #[test]
    fn how_it_is_built_is_read_and_may_be_left_out() {
        assert_eq!(Manifest::parse(GOOD).unwrap().build, None);
        let python = format!("{GOOD}\n[build]\nentry = \"app.py\"\nexports = [\"runbook-probe\"]\n");
        let build = Manifest::parse(&python).unwrap().build.unwrap();
        assert_eq!((build.entry.as_str(), build.exports.len()), ("app.py", 1));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Manifest::parse(&GOOD.replace("summary", "sumary")).unwrap_err();
        assert!(error.contains("sumary") && error.contains("summary"), "{error}");
    }

    #[test]
    fn a_component_outside_the_directory_is_refused() {
        for path in ["../lab.wasm", "/lab.wasm", "", ".lab.wasm"] {
            let error = Manifest::parse(&GOOD.replace("lab.wasm", path)).unwrap_err();
            assert!(error.contains("plugin.component"), "{error}");
        }
    }
}
