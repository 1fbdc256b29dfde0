//! Hot reload: what happens in the plugin directory leads to a refresh of the registry.
//!
//! The parent directory is watched, not files: editors and `cp` replace files, and a watch dies with what it watches.
//! Events only say which plugin directory to look at; each has a quiet moment of its own, so that one that is written
//! all the time holds no other up. A slow regular look makes up for events that file systems of other machines never
//! send.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::registry::{Registry, RegistryError};

/// Events of one `cp -r` come within this of each other.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// A directory that is never quiet is looked at all the same: what is torn is noticed while it is read.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(5);

/// For network file systems, and for events that were lost.
const REGULAR_LOOK: Duration = Duration::from_secs(30);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    task: JoinHandle<()>,
    _watcher: RecommendedWatcher,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// Starts to watch the plugin directory, on the async runtime that this is called from, and to act upon versions
    /// that fail by themselves.
    pub fn watch(&self) -> Result<Watch, RegistryError> {
        let touched = Arc::new(Touched::default());
        // Events carry whole paths, and the directory may have been given as a relative one or through a link.
        let root = self.directory().to_owned();
        let whole = root.canonicalize().map_err(|source| RegistryError::Directory {
            path: root.clone(),
            source,
        })?;
        let (noted, prefix) = (Arc::clone(&touched), whole.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.kind.is_access() => {}
            Ok(event) => noted.note(event.paths.iter().filter_map(|path| plugin_of(&root, &prefix, path))),
            // Events were lost: everything is looked at.
            Err(_) => noted.note([root.clone()].into_iter()),
        })
        .map_err(RegistryError::Watch)?;
        watcher
            .watch(&whole, RecursiveMode::Recursive)
            .map_err(RegistryError::Watch)?;
        // From here on no third strike goes unseen, and one that came before is acted upon at once.
        let mut struck = self.struck();
        struck.mark_changed();
        let task = tokio::spawn(follow(self.clone(), touched, struck));
        Ok(Watch {
            task,
            _watcher: watcher,
        })
    }
}

/// The plugin's directory that a path lies in, or the root itself.
fn plugin_of(root: &Path, whole: &Path, path: &Path) -> Option<PathBuf> {
    let inside = path.strip_prefix(whole).ok()?;
    Some(inside.iter().next().map_or(root.to_owned(), |name| root.join(name)))
}

/// When each directory was touched: first and last since it was looked at.
#[derive(Debug, Default)]
struct Touched {
    times: Mutex<HashMap<PathBuf, (Instant, Instant)>>,
    news: Notify,
}

impl Touched {
    fn note(&self, paths: impl Iterator<Item = PathBuf>) {
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        for path in paths {
            times.entry(path).or_insert((now, now)).1 = now;
        }
        drop(times);
        self.news.notify_one();
    }

    /// When the next directory has been quiet for long enough.
    fn due(&self) -> Option<Instant> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.values().map(|(first, last)| due(*first, *last)).min()
    }

    /// Forgets the directories that are due, and gives the others.
    fn take(&self, now: Instant) -> BTreeSet<PathBuf> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.retain(|_, (first, last)| due(*first, *last) > now);
        times.keys().cloned().collect()
    }
}

fn due(first: Instant, last: Instant) -> Instant {
    (last + DEBOUNCE).min(first + LONGEST_DEBOUNCE)
}

async fn follow(registry: Registry, touched: Arc<Touched>, mut struck: watch::Receiver<u64>) {
    let mut regular = Instant::now() + REGULAR_LOOK;
    loop {
        let due = touched.due().unwrap_or(regular).min(regular);
        tokio::select! {
            () = touched.news.notified() => continue,
            struck = struck.changed() => {
                if struck.is_ok() {
                    registry.quarantine().await;
                }
                continue;
            }
            () = sleep_until(due) => {}
        }
        let looked = if Instant::now() < regular {
            registry.refresh_quiet(&touched.take(Instant::now())).await
        } else {
            regular = Instant::now() + REGULAR_LOOK;
            registry.refresh().await
        };
        match looked {
            // Something was being written, and there may be no event to come.
            Ok(false) => touched.note([registry.directory().to_owned()].into_iter()),
            Ok(true) => {}
            Err(error) => tracing::warn!(
                code = error.code(),
                error = &error as &dyn std::error::Error,
                "plugins were not refreshed"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_under_the_name_that_the_registry_uses() {
        let of = |path: &str| plugin_of(Path::new("plugins"), Path::new("/srv/plugins"), Path::new(path));
        assert_eq!(of("/srv/plugins/it/it.wasm").unwrap(), Path::new("plugins/it"));
        assert_eq!(of("/srv/plugins").unwrap(), Path::new("plugins"));
        assert_eq!(of("/elsewhere/it"), None);
    }
}
