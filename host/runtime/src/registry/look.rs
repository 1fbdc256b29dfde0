//! What lies in the plugin directory, and what it leads to.
//!
//! A directory is read between two looks at its names, sizes and times. If those differ somebody is writing, and
//! nothing of it is used: no version is ever made of two.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::history::{Cause, Order};
use super::{Registry, RegistryError, StatusError, now_ms};
use crate::files;
use crate::load::{self, LoadError};
use crate::plugin::Plugin;

/// A directory that looks the same twice this long apart is not being written any more. Only asked where no event of
/// the file system said when it was last touched.
const SETTLE: Duration = Duration::from_millis(100);

/// Names, inodes, sizes and times (of content and of metadata) of a directory's files.
pub(super) type Fingerprint = BTreeSet<(PathBuf, u64, u64, (i64, i64), (i64, i64))>;

type Found = BTreeMap<PathBuf, Fingerprint>;

impl Registry {
    /// Looks at every directory and loads what changed, one after the other; each is published as soon as it is ready.
    /// Returns false if something is still being written, so that another look is worth while. Also judges updates
    /// that wait for grants again. Dropped: what was published stays.
    pub async fn refresh(&self) -> Result<bool, RegistryError> {
        let _one = self.shared.looking.lock().await;
        let found = self.scan().await?;
        // At the first look nothing is known to be moving, and a start should not wait.
        let calm = self.table().entries.is_empty() || !self.differs(&found);
        let settled = if calm {
            found.clone()
        } else {
            tokio::time::sleep(SETTLE).await;
            self.scan().await?
        };
        let loaded = self
            .take_all(&found, |path, seen| settled.get(path) == Some(seen))
            .await;
        Ok(loaded && settled == found)
    }

    /// As [`Self::refresh`], for who knows from events that all directories but some have been quiet for a while.
    pub(crate) async fn refresh_quiet(&self, busy: &BTreeSet<PathBuf>) -> Result<bool, RegistryError> {
        let _one = self.shared.looking.lock().await;
        let found = self.scan().await?;
        Ok(self.take_all(&found, |path, _| !busy.contains(path)).await)
    }

    /// False if a directory was being written.
    async fn take_all(&self, found: &Found, settled: impl Fn(&PathBuf, &Fingerprint) -> bool) -> bool {
        let known = self.table();
        let gone: Vec<_> = known
            .entries
            .keys()
            .filter(|path| !found.contains_key(*path))
            .cloned()
            .collect();
        let is_new = |path: &PathBuf, seen: &Fingerprint| {
            let entry = known.entries.get(path);
            entry.is_none_or(|entry| entry.seen.as_ref() != Some(seen))
        };
        let mut changed: Vec<_> = found.iter().filter(|(path, seen)| is_new(path, seen)).collect();
        // Directories that are gone first, so that a renamed one finds its name free.
        for path in gone {
            self.remove(&path).await;
        }
        if !changed.is_empty() {
            let _deciding = self.shared.deciding.lock().await;
            self.publish(|table| {
                for (path, _) in &changed {
                    table.entries.entry((*path).clone()).or_default();
                }
            });
        }
        // Of two directories with one name, the one that had it before keeps it.
        let owners: BTreeSet<&str> = known.plugins.values().map(|known| known.directory.as_str()).collect();
        changed.sort_by_key(|(path, _)| !owners.contains(name_of(path).as_str()));
        let mut all = true;
        for (path, seen) in changed {
            all &= !settled(path, seen) || self.take(path, seen).await;
        }
        self.judge_again().await;
        all
    }

    fn differs(&self, found: &Found) -> bool {
        let table = self.table();
        table.entries.len() != found.len()
            || found
                .iter()
                .any(|(path, seen)| table.entries.get(path).and_then(|entry| entry.seen.as_ref()) != Some(seen))
    }

    async fn scan(&self) -> Result<Found, RegistryError> {
        let path = self.shared.directory.clone();
        let scanned = tokio::task::spawn_blocking(move || scan(&path)).await;
        scanned
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| RegistryError::Directory {
                path: self.shared.directory.clone(),
                source,
            })
    }

    /// Reads and loads one directory. False if it changed while it was read.
    async fn take(&self, path: &Path, seen: &Fingerprint) -> bool {
        let host = &self.shared.runtime.shared;
        let read = load::read_guarded(host, path).await;
        let directory = path.to_owned();
        let after = tokio::task::spawn_blocking(move || fingerprint(&directory)).await;
        if !after.is_ok_and(|after| after.as_ref() == Some(seen)) {
            self.restore(path, None).await;
            return false;
        }
        let loaded = match read {
            Ok(content) => load::from_content(host, content).await,
            Err(error) => Err(error),
        };
        match loaded {
            Ok(plugin) => {
                self.restore(path, Some(plugin.name())).await;
                self.offer(path, Some(seen), plugin).await;
            }
            Err(error) => {
                // A version that served before a restart goes on serving, whatever lies there now.
                self.restore(path, None).await;
                // The host's own trouble may be cured without a change of these files.
                let again = matches!(error, LoadError::Io { .. } | LoadError::Host(_));
                let error = StatusError::new(error.code(), &error);
                self.refuse(path, Some(seen).filter(|_| !again), error, None).await;
            }
        }
        true
    }

    /// Notes why what lies in a directory is not served.
    async fn refuse(&self, path: &Path, seen: Option<&Fingerprint>, error: StatusError, content: Option<String>) {
        let StatusError { code, message } = &error;
        tracing::warn!(path = %path.display(), code, message, "plugin not loaded");
        let _deciding = self.shared.deciding.lock().await;
        self.publish(|table| {
            let entry = table.entries.entry(path.to_owned()).or_default();
            entry.seen = seen.cloned();
            entry.error = Some(error);
            entry.waiting = None;
            entry.content = content;
        });
    }

    /// Serves what was serving when the host stopped, or the last good version if nothing is. Nothing happens if the
    /// directory serves something.
    async fn restore(&self, path: &Path, name: Option<&str>) {
        let table = self.table();
        if table.entries.get(path).is_some_and(|entry| entry.serving.is_some()) {
            return;
        }
        let ours = |known: &str| {
            table
                .plugins
                .get(known)
                .is_some_and(|known| known.directory == name_of(path))
        };
        let Some(name) = name.or_else(|| table.plugins.keys().map(String::as_str).find(|known| ours(known))) else {
            return;
        };
        let Some(remembered) = table.plugins.get(name).filter(|_| table.place_of(name).is_none()) else {
            return;
        };
        let last = remembered.before(None, &table.revoked).map(|served| &served.digest);
        let Some(digest) = remembered.serving.as_ref().or(last) else {
            return;
        };
        match self.shared.runtime.load_digest(digest).await {
            Ok(plugin) if plugin.name() == name => self.serve_again(path, plugin).await,
            Ok(_) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(plugin = name, digest, error, "the version that served cannot be loaded");
            }
        }
    }

    async fn serve_again(&self, path: &Path, plugin: Arc<Plugin>) {
        let _deciding = self.shared.deciding.lock().await;
        let table = self.table();
        let free = table.entries.get(path).is_some_and(|entry| entry.serving.is_none());
        if !free || table.place_of(plugin.name()).is_some() {
            return;
        }
        let remembered = table.remembered(plugin.name());
        if remembered.serving.as_deref() != Some(plugin.digest()) {
            let order = Order::of_host("nothing else serves");
            // A commit that failed is the daemon's to act upon, and leaves everything as it was.
            let _ = self.switch(path, plugin, Cause::File, order).await;
            return;
        }
        tracing::info!(plugin = %plugin.identity(), "plugin serves again");
        let at_ms = remembered.served.last().map(|served| served.at_ms);
        self.publish(|table| {
            let entry = table.entries.entry(path.to_owned()).or_default();
            (entry.serving, entry.loaded_at_ms) = (Some(plugin), at_ms);
        });
    }

    /// A version that lies in a directory and passed all checks: it serves, unless something stands against it.
    async fn offer(&self, path: &Path, seen: Option<&Fingerprint>, plugin: Arc<Plugin>) {
        let deciding = self.shared.deciding.lock().await;
        let table = self.table();
        let (name, digest) = (plugin.name().to_owned(), plugin.digest().to_owned());
        let remembered = table.remembered(&name);
        let owner = table.place_of(&name).filter(|(owner, _)| *owner != path);
        let serving = table.entries.get(path).and_then(|entry| entry.serving.clone());
        let refused = if let Some((owner, _)) = owner {
            // Not remembered as seen: the other directory may give the name up.
            Some((None, duplicate(&name, owner), None))
        } else {
            let aside = remembered.aside.get(&digest);
            aside.map(|aside| (seen, set_aside(&digest, aside), Some(digest.clone())))
        };
        if let Some((seen, error, content)) = refused {
            drop(deciding);
            return self.refuse(path, seen, error, content).await;
        }
        if serving.as_ref().is_some_and(|serving| serving.digest() == digest) {
            return self.note(path, seen, &plugin);
        }
        let before = serving.filter(|serving| serving.name() == name);
        let wants = before.map_or_else(Vec::new, |before| (self.shared.accept)(&plugin, &before));
        if !wants.is_empty() {
            let error = pending(&wants);
            let known = table.entries.get(path).and_then(|entry| entry.waiting.as_ref());
            if known.is_some_and(|(known, lacks)| known.digest() == digest && *lacks == wants) {
                return;
            }
            tracing::warn!(plugin = %plugin.identity(), message = error.message, "an update waits for grants");
            return self.publish(|table| {
                let entry = table.entries.entry(path.to_owned()).or_default();
                entry.seen = seen.cloned();
                entry.error = Some(error);
                entry.content = Some(digest);
                entry.waiting = Some((plugin, wants));
            });
        }
        let order = Order {
            who: "files".to_owned(),
            reason: format!("the files in {} changed", name_of(path)),
            request: None,
        };
        if self.switch(path, Arc::clone(&plugin), Cause::File, order).await.is_ok() {
            self.note(path, seen, &plugin);
        }
    }

    /// What lies in the directory is what serves, or was just decided about.
    fn note(&self, path: &Path, seen: Option<&Fingerprint>, plugin: &Arc<Plugin>) {
        self.publish(|table| {
            let entry = table.entries.entry(path.to_owned()).or_default();
            entry.seen = seen.cloned();
            entry.content = Some(plugin.digest().to_owned());
            (entry.error, entry.waiting) = (None, None);
        });
    }

    /// Updates that waited may have been granted what they want.
    async fn judge_again(&self) {
        let waits: Vec<_> = self
            .table()
            .entries
            .iter()
            .filter_map(|(path, entry)| Some((path.clone(), entry.seen.clone(), entry.waiting.clone()?.0)))
            .collect();
        for (path, seen, plugin) in waits {
            self.offer(&path, seen.as_ref(), plugin).await;
        }
    }

    /// A directory is gone: its plugin serves no new work. What jobs hold they keep.
    async fn remove(&self, path: &Path) {
        let _deciding = self.shared.deciding.lock().await;
        let table = self.table();
        let serving = table.entries.get(path).and_then(|entry| entry.serving.clone());
        let decision = serving.map(|plugin| {
            let mut remembered = table.remembered(plugin.name());
            let order = Order::of_host(format!("the directory {} is gone", name_of(path)));
            let change = remembered.stop(plugin.name(), Cause::Removed, &order, now_ms());
            // Whatever comes under that name again is a first install.
            remembered.directory.clear();
            (plugin.name().to_owned(), remembered, change)
        });
        let removed = |table: &mut super::Table| {
            table.entries.remove(path);
        };
        match decision {
            None => self.publish(removed),
            Some((name, remembered, change)) => {
                tracing::info!(plugin = name, path = %path.display(), "plugin removed");
                // As in `serve_again`.
                let _ = self
                    .keep(Some((name, remembered)), Some(change), None, None, removed)
                    .await;
            }
        }
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Subdirectories, except hidden ones, with what lies in them.
fn scan(directory: &Path) -> io::Result<Found> {
    // Whoever can write here decides what runs. Asked at every look, since it may change.
    if let Some(why) = files::foreign(&fs::metadata(directory)?) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it {why}")));
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() && !hidden {
            // A directory that vanishes meanwhile is not there any more.
            let Some(seen) = fingerprint(&path) else { continue };
            found.insert(path, seen);
        }
    }
    Ok(found)
}

fn fingerprint(directory: &Path) -> Option<Fingerprint> {
    use std::os::unix::fs::MetadataExt;
    let print = |file: fs::DirEntry| {
        let about = fs::metadata(file.path()).ok()?;
        let times = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
        Some((file.path(), about.ino(), about.len(), times.0, times.1))
    };
    let files = fs::read_dir(directory).ok()?;
    Some(files.filter_map(Result::ok).filter_map(print).collect())
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

pub(super) fn set_aside(digest: &str, aside: &super::Aside) -> StatusError {
    let super::Aside { cause, who, reason, .. } = aside;
    let message = format!(
        "what lies in the directory ({digest}) was set aside by {who} ({}: {reason}); other files, or `landfall plugin \
         activate`, change what serves",
        cause.as_str()
    );
    StatusError {
        code: "LF0462".to_owned(),
        message,
    }
}

fn pending(wants: &[super::Want]) -> StatusError {
    let lines: Vec<_> = wants
        .iter()
        .map(|want| format!("[{}] {}", want.place, want.line))
        .collect();
    let message = format!(
        "the update asks for more than is granted, and the version before it serves; add to the configuration: {}",
        lines.join("; ")
    );
    StatusError {
        code: "LF0463".to_owned(),
        message,
    }
}
