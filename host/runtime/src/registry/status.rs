//! What an operator sees of a plugin.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Aside, Entry, Registry, Table, Want};
use crate::manifest::{Kind, Requests};
use crate::plugin::Plugin;

/// Whether a plugin is in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New work gets this version; an error beside it is that of a newer one.
    Serving,
    /// Seen, and being checked for the first time.
    Pending,
    /// Not usable; the error says why.
    Failed,
}

/// A stable code and what went wrong, with all causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusError {
    /// `LF04..`.
    pub code: String,
    /// One line.
    pub message: String,
}

impl StatusError {
    /// The whole chain of causes in one line.
    pub(super) fn new(code: &str, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self {
            code: code.to_owned(),
            message,
        }
    }
}

/// An update that asks for more than is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its digest.
    pub digest: String,
    /// Its version.
    pub version: String,
    /// What would let it serve.
    pub wants: Vec<Want>,
}

/// One plugin directory, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// From the manifest; the directory's name while none was readable.
    pub name: String,
    /// Of the version that serves.
    pub kind: Option<Kind>,
    /// Of the version that serves.
    pub version: Option<semver::Version>,
    /// Of the version that serves.
    pub digest: Option<String>,
    /// From the manifest of the version that serves.
    pub summary: Option<String>,
    /// In service or not.
    pub state: State,
    /// Why this version, or a newer one, is not served.
    pub error: Option<StatusError>,
    /// Milliseconds since 1970.
    pub loaded_at_ms: Option<u64>,
    /// What it asks for.
    pub requests: Option<Requests>,
    /// Where it lies.
    pub source: PathBuf,
    /// The update in its directory waits for grants.
    pub waiting: Option<Waiting>,
    /// What lies in its directory is set aside: its digest.
    pub held: Option<String>,
    /// The version that serves fails by itself, and there is nothing better.
    pub suspect: Option<Aside>,
    /// Faults of the version that serves in the last minutes.
    pub strikes: Vec<String>,
}

impl Registry {
    /// All plugin directories, by name.
    pub fn list(&self) -> Vec<PluginStatus> {
        let table = self.table();
        let mut all: Vec<_> = table
            .entries
            .iter()
            .map(|(directory, entry)| status(&table, directory, entry))
            .collect();
        all.sort_by(|one, other| (&one.name, &one.source).cmp(&(&other.name, &other.source)));
        all
    }
}

impl Registry {
    /// A plugin that served and whose directory is gone: its versions may be kept, and jobs may go on with them.
    pub fn gone(&self, name: &str) -> Option<PluginStatus> {
        let table = self.table();
        let remembered = table.plugins.get(name)?;
        let directory = self.shared.directory.join(&remembered.directory);
        let error = StatusError {
            code: "LF0460".to_owned(),
            message: "its directory is gone: new jobs cannot use it, those that began with it can".to_owned(),
        };
        let entry = Entry {
            error: Some(error),
            ..Entry::default()
        };
        Some(PluginStatus {
            name: name.to_owned(),
            ..status(&table, &directory, &entry)
        })
    }
}

impl Entry {
    /// What lies in the directory, if it was set aside.
    fn held(&self, table: &Table) -> Option<String> {
        let content = self.content.as_ref()?;
        let name = self.serving.as_ref()?.name();
        let aside = &table.plugins.get(name)?.aside;
        aside.contains_key(content).then(|| content.clone())
    }
}

fn status(table: &Table, directory: &Path, entry: &Entry) -> PluginStatus {
    let plugin = entry.serving.as_deref();
    let state = match (plugin, &entry.error) {
        (Some(_), _) => State::Serving,
        (None, Some(_)) => State::Failed,
        (None, None) => State::Pending,
    };
    let directory_name = || directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let waiting = |(plugin, wants): &(std::sync::Arc<Plugin>, Vec<Want>)| Waiting {
        digest: plugin.digest().to_owned(),
        version: plugin.identity.version.to_string(),
        wants: wants.clone(),
    };
    PluginStatus {
        name: plugin.map_or_else(directory_name, |plugin| plugin.name().to_owned()),
        kind: plugin.map(Plugin::kind),
        version: plugin.map(|plugin| plugin.identity.version.clone()),
        digest: plugin.map(|plugin| plugin.digest().to_owned()),
        summary: plugin.map(|plugin| plugin.manifest.plugin.summary.clone()),
        state,
        error: entry.error.clone(),
        loaded_at_ms: entry.loaded_at_ms,
        requests: plugin.map(|plugin| plugin.manifest.requests.clone()),
        source: directory.to_owned(),
        waiting: entry.waiting.as_ref().map(waiting),
        held: entry.held(table),
        suspect: plugin
            .and_then(|plugin| table.plugins.get(plugin.name()))
            .and_then(|remembered| remembered.suspect.clone()),
        strikes: plugin.map(Plugin::strikes).unwrap_or_default(),
    }
}
