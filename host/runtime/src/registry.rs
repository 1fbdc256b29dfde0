//! Which version of each plugin new work gets, and why the others are not served.
//!
//! Readers take one atomic pointer; a table is replaced as a whole, and only with plugins that passed every check.
//! One bad plugin never stops the others, and a bad update leaves the old version serving with the error beside it.
//! Jobs do not read this table again: they pinned a digest, and hold the plugin or load it by that digest.
//!
//! Publishing is: all checks, then the decision made durable by the [`Keeper`], then the swap. So whatever new work
//! got, the history says why, and a restart serves it again. Files and people both lead there: `look` (what lies in
//! the directory), `decide` (what a person or the host chose); `history` is what follows from it, as pure functions.

mod decide;
mod history;
mod look;
mod status;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fs, io};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};

use crate::files;
use crate::plugin::Plugin;
use crate::runtime::Runtime;

pub use decide::OrderError;
pub use history::{
    Aside, Cause, Change, Decision, Forgetful, HISTORY_MAX, Keeper, Order, Past, Remembered, Revocation, Served,
};
pub use status::{PluginStatus, State, StatusError, Waiting};

use look::Fingerprint;

/// Versions of a plugin, beside the one that serves, whose files are kept to go back to.
const KEPT_TO_GO_BACK: usize = 5;

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
    /// Others can put plugins into it.
    #[error("the plugin directory {} {why}", .path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// How.
        why: &'static str,
    },
    /// Changes cannot be watched for.
    #[error("the plugin directory cannot be watched for changes")]
    Watch(#[source] notify::Error),
}

impl RegistryError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "LF0450",
            Self::Foreign { .. } => "LF0451",
            Self::Watch(_) => "LF0452",
        }
    }
}

/// Something that must be granted before a version can be served.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Want {
    /// Whose grants lack it: `sites.north.grants`.
    pub place: String,
    /// The line that would grant it.
    pub line: String,
    /// Without it the version cannot even be linked there; else it only asks for more than the one before it.
    pub required: bool,
}

/// What an update (first) lacks to replace what serves (second).
pub type Accept = Arc<dyn Fn(&Plugin, &Plugin) -> Vec<Want> + Send + Sync>;

/// How a registry is opened.
pub struct RegistryOptions {
    /// The directory whose subdirectories are plugins.
    pub directory: PathBuf,
    /// What was decided before.
    pub past: Past,
    /// Makes decisions durable.
    pub keeper: Arc<dyn Keeper>,
    /// Judges updates.
    pub accept: Accept,
}

impl RegistryOptions {
    /// Remembers nothing beyond this process, and accepts every update.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            past: Past::default(),
            keeper: Arc::new(Forgetful::default()),
            accept: Arc::new(|_, _| Vec::new()),
        }
    }
}

/// The plugins under one directory. Clones share it.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    directory: PathBuf,
    keeper: Arc<dyn Keeper>,
    accept: Accept,
    table: ArcSwap<Table>,
    /// Counts published tables.
    generation: watch::Sender<u64>,
    /// One look at the files at a time, so that older content can never be published late.
    looking: Mutex<()>,
    /// One decision at a time. Held for a commit and no longer, so that revoking waits for no compiler.
    deciding: Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Table {
    entries: BTreeMap<PathBuf, Entry>,
    plugins: BTreeMap<String, Arc<Remembered>>,
    revoked: Arc<BTreeMap<String, Revocation>>,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    /// None: not read yet.
    seen: Option<Fingerprint>,
    serving: Option<Arc<Plugin>>,
    loaded_at_ms: Option<u64>,
    /// Of what lies in the directory, if that is not what serves.
    error: Option<StatusError>,
    /// An update that asks for more than is granted.
    waiting: Option<(Arc<Plugin>, Vec<Want>)>,
    /// Digest of what lies in the directory, if it passed all checks.
    content: Option<String>,
}

impl Table {
    /// Where a plugin of this name serves.
    fn place_of(&self, name: &str) -> Option<(&PathBuf, &Entry)> {
        let serves = |entry: &Entry| entry.serving.as_ref().is_some_and(|plugin| plugin.name() == name);
        self.entries.iter().find(|(_, entry)| serves(entry))
    }

    fn remembered(&self, name: &str) -> Remembered {
        self.plugins
            .get(name)
            .map(|remembered| Remembered::clone(remembered))
            .unwrap_or_default()
    }
}

impl Registry {
    /// An empty registry for this directory, which remembers nothing beyond this process.
    pub fn new(runtime: Runtime, directory: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        Self::open(runtime, RegistryOptions::new(directory))
    }

    /// An empty registry for a directory, which is made if it is missing. Call [`Self::refresh`] to fill it.
    pub fn open(runtime: Runtime, options: RegistryOptions) -> Result<Self, RegistryError> {
        let RegistryOptions {
            directory,
            past,
            keeper,
            accept,
        } = options;
        let usable = fs::create_dir_all(&directory).and_then(|()| fs::metadata(&directory));
        match usable {
            Ok(found) => {
                if let Some(why) = files::foreign(&found) {
                    return Err(RegistryError::Foreign { path: directory, why });
                }
            }
            Err(source) => {
                return Err(RegistryError::Directory {
                    path: directory,
                    source,
                });
            }
        }
        for digest in past.revoked.keys() {
            runtime.revoke(digest);
        }
        let table = Table {
            entries: BTreeMap::new(),
            plugins: past
                .plugins
                .into_iter()
                .map(|(name, remembered)| (name, Arc::new(remembered)))
                .collect(),
            revoked: Arc::new(past.revoked),
        };
        let shared = Shared {
            runtime,
            directory,
            keeper,
            accept,
            table: ArcSwap::from_pointee(table),
            generation: watch::Sender::new(0),
            looking: Mutex::new(()),
            deciding: Mutex::new(()),
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
        let (_, entry) = table.place_of(name)?;
        entry.serving.clone()
    }

    /// Changes whenever [`Self::list`] does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// What is remembered of a plugin, also one whose directory is gone.
    pub fn remembered(&self, name: &str) -> Option<Arc<Remembered>> {
        self.shared.table.load().plugins.get(name).cloned()
    }

    /// Versions that never run again.
    pub fn revoked(&self) -> Arc<BTreeMap<String, Revocation>> {
        Arc::clone(&self.shared.table.load().revoked)
    }

    /// Removes what nobody needs from the content store: it keeps what serves, what lies in the plugin directory, the
    /// last versions of each plugin that can be gone back to, and what the caller names. Gives the digests removed.
    pub async fn collect(&self, pinned: impl IntoIterator<Item = String>) -> io::Result<Vec<String>> {
        // Nothing is loaded and published meanwhile.
        let (_looking, _deciding) = (self.shared.looking.lock().await, self.shared.deciding.lock().await);
        let mut kept: std::collections::BTreeSet<String> = pinned.into_iter().collect();
        let table = self.shared.table.load_full();
        for entry in table.entries.values() {
            kept.extend(entry.serving.iter().map(|plugin| plugin.digest().to_owned()));
            kept.extend(entry.waiting.iter().map(|(plugin, _)| plugin.digest().to_owned()));
            kept.extend(entry.content.clone());
        }
        for remembered in table.plugins.values() {
            kept.extend(remembered.serving.clone());
            let last = remembered.served.iter().rev().take(KEPT_TO_GO_BACK + 1);
            kept.extend(last.map(|served| served.digest.clone()));
        }
        self.shared.runtime.forget_all_but(kept).await
    }

    /// Changes when a version had its third strike.
    pub(crate) fn struck(&self) -> watch::Receiver<u64> {
        self.shared.runtime.shared.struck.subscribe()
    }

    fn table(&self) -> Arc<Table> {
        self.shared.table.load_full()
    }

    /// Only called by who holds `deciding`, so no change of another is lost.
    fn publish(&self, change: impl FnOnce(&mut Table)) {
        let mut table = Table::clone(&self.shared.table.load());
        change(&mut table);
        self.shared.table.store(Arc::new(table));
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

#[expect(clippy::disallowed_methods, reason = "shown to people; nothing is decided by it")]
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
