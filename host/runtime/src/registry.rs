//! Which version of each plugin new work gets, and why the others are not served.
//!
//! Readers take one atomic pointer; a table is replaced as a whole, and only with plugins that passed every check.
//! One bad plugin never stops the others, and a bad update leaves the old version serving with the error beside it.
//! Jobs do not read this table again: they pinned a digest, and hold the plugin or load it by that digest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::load::LoadError;
use crate::manifest::{Kind, Requests};
use crate::plugin::Plugin;
use crate::runtime::Runtime;

/// A directory that looks the same twice this long apart is not being written any more.
const SETTLE: Duration = Duration::from_millis(100);

/// Write permission for everybody: what lies in the directory is executed with what the operator granted to a name.
const WRITABLE_BY_ALL: u32 = 0o002;

/// The plugin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be made or read.
    #[error("the plugin directory {} cannot be used", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody can put plugins into it.
    #[error("everybody can write to the plugin directory {}; run `chmod o-w` on it", .0.display())]
    Writable(PathBuf),
    /// Changes cannot be watched for.
    #[error("the plugin directory cannot be watched for changes")]
    Watch(#[source] notify::Error),
}

impl RegistryError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "LF0450",
            Self::Writable(_) => "LF0451",
            Self::Watch(_) => "LF0452",
        }
    }
}

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
}

/// The plugins under one directory. Clones share it.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    directory: PathBuf,
    table: ArcSwap<Table>,
    /// Counts published tables.
    generation: watch::Sender<u64>,
    /// One refresh at a time, so that an older version can never be published late.
    refreshing: Mutex<()>,
}

type Table = BTreeMap<PathBuf, Entry>;

#[derive(Debug, Clone, Default)]
struct Entry {
    /// None: not read yet.
    seen: Option<Fingerprint>,
    serving: Option<Arc<Plugin>>,
    loaded_at_ms: Option<u64>,
    error: Option<StatusError>,
}

/// Names, sizes and times of a directory's files: whether it is worth reading again.
type Fingerprint = BTreeSet<(PathBuf, u64, Option<SystemTime>)>;

impl Registry {
    /// An empty registry for this directory, which is made if it is missing. Call [`Self::refresh`] to fill it.
    pub fn new(runtime: Runtime, directory: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        use std::os::unix::fs::MetadataExt;
        let directory = directory.into();
        let usable = fs::create_dir_all(&directory).and_then(|()| fs::metadata(&directory));
        match usable {
            Ok(found) if found.mode() & WRITABLE_BY_ALL != 0 => return Err(RegistryError::Writable(directory)),
            Ok(_) => {}
            Err(source) => {
                return Err(RegistryError::Directory {
                    path: directory,
                    source,
                });
            }
        }
        let shared = Shared {
            runtime,
            directory,
            table: ArcSwap::default(),
            generation: watch::Sender::new(0),
            refreshing: Mutex::new(()),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The directory whose subdirectories are plugins.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// The version that new work gets.
    pub fn current(&self, name: &str) -> Option<Arc<Plugin>> {
        let table = self.shared.table.load();
        table
            .values()
            .filter_map(|entry| entry.serving.as_ref())
            .find(|plugin| plugin.name() == name)
            .cloned()
    }

    /// All plugin directories, by name.
    pub fn list(&self) -> Vec<PluginStatus> {
        let table = self.shared.table.load();
        let mut all: Vec<_> = table
            .iter()
            .map(|(directory, entry)| status(directory, entry))
            .collect();
        all.sort_by(|one, other| (&one.name, &one.source).cmp(&(&other.name, &other.source)));
        all
    }

    /// Changes whenever [`Self::list`] does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// Looks at every directory and loads what changed, one after the other; each is published as soon as it is ready.
    /// Returns false if something is still being written, so that another look is worth while. Dropped: what was
    /// published stays.
    pub async fn refresh(&self) -> Result<bool, RegistryError> {
        let _one = self.shared.refreshing.lock().await;
        let found = self.scan().await?;
        let known = self.shared.table.load_full();
        let changed: Vec<_> = found
            .iter()
            .filter(|(path, seen)| known.get(*path).is_none_or(|entry| entry.seen.as_ref() != Some(*seen)))
            .collect();
        if changed.is_empty() && known.len() == found.len() {
            return Ok(true);
        }
        // Directories that are gone first, so that a renamed one finds its name free.
        self.publish(|table| {
            table.retain(|path, _| found.contains_key(path));
            for (path, _) in &changed {
                table.entry((*path).clone()).or_default();
            }
        });
        // At the first look nothing is known to be moving, and a start should not wait.
        let settled = if known.is_empty() {
            found.clone()
        } else {
            self.scan_again().await?
        };
        for (path, seen) in &changed {
            if settled.get(*path) == Some(*seen) {
                self.load(path, (*seen).clone()).await;
            }
        }
        Ok(settled == found)
    }

    async fn scan_again(&self) -> Result<BTreeMap<PathBuf, Fingerprint>, RegistryError> {
        tokio::time::sleep(SETTLE).await;
        self.scan().await
    }

    async fn scan(&self) -> Result<BTreeMap<PathBuf, Fingerprint>, RegistryError> {
        let path = self.shared.directory.clone();
        let scanned = tokio::task::spawn_blocking(move || scan(&path)).await;
        scanned
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| RegistryError::Directory {
                path: self.shared.directory.clone(),
                source,
            })
    }

    async fn load(&self, path: &Path, seen: Fingerprint) {
        let loaded = self.shared.runtime.load(path).await;
        // What may be cured without a change of these files is looked at again: the host's own trouble, and a name
        // that another directory gives up.
        let host = matches!(&loaded, Err(LoadError::Io { .. } | LoadError::Host(_)));
        let loaded = loaded.map_err(|error| describe(error.code(), &error));
        let owner = loaded
            .as_ref()
            .ok()
            .and_then(|plugin| self.owner_of(plugin.name(), path));
        let again = host || owner.is_some();
        let loaded = loaded.and_then(|plugin| match owner {
            Some(owner) => Err(duplicate(plugin.name(), &owner)),
            None => Ok(plugin),
        });
        match &loaded {
            Ok(plugin) => tracing::info!(plugin = %plugin.identity(), origin = ?plugin.origin(), "plugin serves"),
            Err(error) => {
                let StatusError { code, message } = error;
                tracing::warn!(path = %path.display(), code, message, "plugin not loaded");
            }
        }
        self.publish(|table| {
            let entry = table.entry(path.to_owned()).or_default();
            entry.seen = if again { None } else { Some(seen) };
            match loaded {
                Ok(plugin) => {
                    let same = entry
                        .serving
                        .as_ref()
                        .is_some_and(|old| old.digest() == plugin.digest());
                    entry.loaded_at_ms = if same { entry.loaded_at_ms } else { Some(now_ms()) };
                    entry.serving = Some(plugin);
                    entry.error = None;
                }
                Err(error) => entry.error = Some(error),
            }
        });
    }

    /// Another directory that serves this name.
    fn owner_of(&self, name: &str, path: &Path) -> Option<PathBuf> {
        let table = self.shared.table.load();
        let serves = |entry: &Entry| entry.serving.as_ref().is_some_and(|plugin| plugin.name() == name);
        table
            .iter()
            .find(|(other, entry)| *other != path && serves(entry))
            .map(|(other, _)| other.clone())
    }

    /// Only called under the refresh lock, so no change of another is lost.
    fn publish(&self, change: impl FnOnce(&mut Table)) {
        let mut table = Table::clone(&self.shared.table.load());
        change(&mut table);
        self.shared.table.store(Arc::new(table));
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

/// Subdirectories, except hidden ones, with what lies in them.
fn scan(directory: &Path) -> io::Result<BTreeMap<PathBuf, Fingerprint>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() && !hidden {
            // A directory that vanishes meanwhile is not there any more.
            let Ok(files) = fs::read_dir(&path) else { continue };
            let print = |file: fs::DirEntry| {
                let about = fs::metadata(file.path()).ok()?;
                Some((file.path(), about.len(), about.modified().ok()))
            };
            found.insert(path, files.filter_map(Result::ok).filter_map(print).collect());
        }
    }
    Ok(found)
}

fn duplicate(name: &str, owner: &Path) -> StatusError {
    let message = format!(
        "the name `{name}` is taken by the plugin in {}; remove one of the two",
        owner.display()
    );
    StatusError {
        code: "LF0417".to_owned(),
        message,
    }
}

/// The whole chain of causes in one line.
fn describe(code: &str, error: &LoadError) -> StatusError {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    StatusError {
        code: code.to_owned(),
        message,
    }
}

fn status(directory: &Path, entry: &Entry) -> PluginStatus {
    let plugin = entry.serving.as_deref();
    let state = match (plugin, &entry.error) {
        (Some(_), _) => State::Serving,
        (None, Some(_)) => State::Failed,
        (None, None) => State::Pending,
    };
    let directory_name = || directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
    }
}

#[expect(clippy::disallowed_methods, reason = "shown to people; nothing is decided by it")]
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
