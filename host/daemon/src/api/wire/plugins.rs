//! Plugins and their versions.

use std::collections::BTreeMap;

use landfall_recovery::words::Pairs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// `runbook`, `hypervisor-adapter` or `recovery-point-policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Version that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `serving`; `pending` if an update waits for grants meanwhile; `suspect` if what serves fails by itself and
    /// nothing better is there; `failed` if nothing of that name serves.
    pub state: String,
    /// Why the newest is not served; an older version may serve all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Interfaces it requests.
    #[serde(default)]
    pub requests: Vec<String>,
    /// A policy's choices, with what each means.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: Pairs,
    /// Findings it can report, with what each means.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub findings: Pairs,
    /// The update that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingView>,
}

/// An update that asks for more than is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PendingView {
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// What would let it serve.
    pub wants: Vec<WantView>,
}

/// A line that is missing in the daemon's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WantView {
    /// The table it belongs to: `sites.north.grants`.
    pub place: String,
    /// The line.
    pub line: String,
    /// Without it the version cannot be linked there at all.
    pub required: bool,
}

/// Everything about a plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginDetail {
    /// As in the list.
    #[serde(flatten)]
    pub plugin: PluginView,
    /// Its directory.
    #[serde(default)]
    pub directory: String,
    /// What its manifest asks for, as written there.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub requested: serde_json::Value,
    /// Interfaces that the component imports.
    #[serde(default)]
    pub imports: Vec<String>,
    /// Interfaces that it exports.
    #[serde(default)]
    pub exports: Vec<String>,
    /// Where it is used, and what it gets there.
    #[serde(default)]
    pub bound: Vec<BoundView>,
    /// Versions that served, the last first.
    #[serde(default)]
    pub versions: Vec<PluginVersionView>,
    /// Faults of its own in the last minutes; three quarantine it.
    #[serde(default)]
    pub strikes: Vec<String>,
    /// Who signed it: a key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Unfinished jobs that are pinned to a version of it.
    #[serde(default)]
    pub pins: Vec<PinView>,
}

/// A plugin at one site, or as a runbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct BoundView {
    /// `sites.north` or `runbooks.webhook`.
    pub place: String,
    /// Interfaces that it gets: requested and granted.
    pub interfaces: Vec<String>,
    /// What the operator grants there.
    #[schema(value_type = Object)]
    pub grants: serde_json::Value,
    /// Lines without which it cannot be used there.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Limits of its calls.
    #[schema(value_type = Object)]
    pub limits: serde_json::Value,
}

/// A version that served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PluginVersionView {
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// Since when it served, the last time.
    pub at: u64,
    /// `serving`, `good`, `activate` or `rollback` (a person turned away from it), `quarantine` or `revoked`.
    pub state: String,
    /// Its files are kept, so that it can be activated.
    pub stored: bool,
}

/// A job that keeps a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PinView {
    /// The job.
    pub job: String,
    /// `site:north`, `runbook:webhook` or `policy:standard`.
    pub pin: String,
    /// The digest.
    pub digest: String,
}

/// One line of a plugin's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ChangeView {
    /// Counts the changes of the plugin.
    pub seq: u64,
    /// Host time.
    pub at: u64,
    /// The digest that served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The digest that serves since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `file`, `removed`, `activate`, `rollback`, `revoke` or `quarantine`.
    pub cause: String,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Which version shall serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PluginOrder {
    /// A digest, or at least 12 of its digits. `activate` wants one; `rollback` without one goes to the last good
    /// version before what serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why; kept in the history.
    #[serde(default)]
    pub reason: String,
}

/// Which version never runs again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RevokeRequest {
    /// A digest; at least 12 of its digits if this host has the version.
    pub digest: String,
    /// Why; kept in the history.
    pub reason: String,
}
