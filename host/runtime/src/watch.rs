//! Hot reload: what happens in the plugin directory leads to a refresh of the registry.
//!
//! The parent directory is watched, not files: editors and `cp` replace files, and a watch dies with what it watches.
//! Events only say "look again"; a quiet moment is waited for, and a slow regular look makes up for events that file
//! systems of other machines never send.

use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::registry::{Registry, RegistryError};

/// Events of one `cp -r` come within this of each other.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// A storm of writes must not keep everything else from being seen.
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
    /// Starts to watch the plugin directory, on the async runtime that this is called from.
    pub fn watch(&self) -> Result<Watch, RegistryError> {
        // One waiting signal is enough: it says "look again", however often.
        let (signal, signals) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let only_read = event.is_ok_and(|event| event.kind.is_access());
            if !only_read {
                // A full channel holds a signal already.
                let _ = signal.try_send(());
            }
        })
        .map_err(RegistryError::Watch)?;
        watcher
            .watch(self.directory(), RecursiveMode::Recursive)
            .map_err(RegistryError::Watch)?;
        let task = tokio::spawn(follow(self.clone(), signals));
        Ok(Watch {
            task,
            _watcher: watcher,
        })
    }
}

async fn follow(registry: Registry, mut signals: mpsc::Receiver<()>) {
    let mut settled = true;
    loop {
        let patience = if settled { REGULAR_LOOK } else { DEBOUNCE };
        match timeout(patience, signals.recv()).await {
            Ok(Some(())) => quiet(&mut signals).await,
            Ok(None) => return,
            Err(_) => {}
        }
        settled = registry.refresh().await.unwrap_or_else(|error| {
            tracing::warn!(
                code = error.code(),
                error = &error as &dyn std::error::Error,
                "plugins were not refreshed"
            );
            true
        });
    }
}

/// Waits until no event came for a while.
async fn quiet(signals: &mut mpsc::Receiver<()>) {
    let end = Instant::now() + LONGEST_DEBOUNCE;
    while Instant::now() < end {
        if timeout_at((Instant::now() + DEBOUNCE).min(end), signals.recv())
            .await
            .is_err()
        {
            return;
        }
    }
}
