//! The plugins' durable side: decisions of the registry in the store, and what becomes of versions nobody needs.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use landfall_runtime::{Change, Decision, HISTORY_MAX, Keeper, OrderError, Past, Registry, RegistryOptions, Runtime};
use landfall_store::{Batch, Space, Store, StoreError};
use tokio::sync::watch;

use crate::DaemonError;
use crate::accept;
use crate::config::Live;
use crate::engine::{Engine, commit};
use crate::problem::Refusal;
use crate::start::Answered;

/// Old versions cost only disk.
const TIDY_EVERY: Duration = Duration::from_hours(24);

/// Decisions in the store.
struct Ledger {
    store: Store,
    fatal: watch::Sender<Option<String>>,
}

impl Keeper for Ledger {
    fn keep(&self, decision: Decision) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let batch = batch(&decision).map_err(io::Error::other)?;
            let committed = commit(&self.store, &self.fatal, batch).await;
            committed.map(|_| ()).map_err(io::Error::other)
        }
        .boxed()
    }
}

fn batch(decision: &Decision) -> Result<Batch, StoreError> {
    let mut batch = Batch::new();
    if let Some((name, remembered)) = &decision.plugin {
        batch.put(Space::PluginVersions, name, remembered)?;
    }
    if let Some(change) = &decision.change {
        batch.put(Space::PluginChange, &row(&change.plugin, change.seq), change)?;
        if let Some(old) = change.seq.checked_sub(HISTORY_MAX) {
            batch.remove(Space::PluginChange, &row(&change.plugin, old));
        }
    }
    if let Some((digest, revocation)) = &decision.revoked {
        batch.put(Space::Revoked, digest, revocation)?;
    }
    if let Some((key, fingerprint)) = &decision.request {
        let answered = Answered {
            fingerprint: fingerprint.clone(),
            job: String::new(),
        };
        batch.put(Space::Request, key, &answered)?;
    }
    Ok(batch)
}

/// Twenty digits hold any number, so that names sort as numbers do. No plugin's name has a slash.
fn row(plugin: &str, seq: u64) -> String {
    format!("{plugin}/{seq:020}")
}

/// The registry, with all that was decided before.
pub(crate) fn open(
    live: &Arc<Live>,
    store: &Store,
    runtime: &Runtime,
    fatal: &watch::Sender<Option<String>>,
) -> Result<Registry, DaemonError> {
    let reader = store.reader();
    let past = Past {
        plugins: reader.all(Space::PluginVersions)?.into_iter().collect(),
        revoked: reader.all(Space::Revoked)?.into_iter().collect(),
    };
    let ledger = Ledger {
        store: store.clone(),
        fatal: fatal.clone(),
    };
    let (judge, config) = (Arc::clone(live), live.now());
    let options = RegistryOptions {
        past,
        keeper: Arc::new(ledger),
        accept: Arc::new(move |new, old| accept::wants(&judge.now(), new, old)),
        ..RegistryOptions::new(&config.plugins)
    };
    Ok(Registry::open(runtime.clone(), options)?)
}

/// A plugin's changes, the last first.
pub(crate) fn history(
    engine: &Engine,
    plugin: &str,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Change>, StoreError> {
    let end = row(plugin, before.unwrap_or(u64::MAX));
    engine
        .store
        .reader()
        .last(Space::PluginChange, &row(plugin, 0), &end, limit)
}

/// Lets go of what nobody needs: bindings whenever a version changed, stored versions at the start and daily.
pub(crate) async fn tidy(engine: Arc<Engine>) {
    let mut changes = engine.registry.changes();
    let mut day = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            news = changes.changed() => match news {
                Ok(()) => engine.forget_bindings(),
                Err(_) => return,
            },
            _ = day.tick() => match collect(&engine).await {
                Ok(removed) if removed.is_empty() => {}
                Ok(removed) => tracing::info!(versions = removed.len(), "old plugin versions were removed"),
                Err(error) => tracing::warn!(%error, "old plugin versions were not removed"),
            },
        }
    }
}

async fn collect(engine: &Engine) -> io::Result<Vec<String>> {
    // No job is frozen, and none reopened, between looking at what is pinned and removing the rest.
    let _freezing = engine.freezing.lock().await;
    let mut pinned = engine.pinned_digests();
    pinned.extend(pinned_on_disk(engine).map_err(io::Error::other)?);
    engine.registry.collect(pinned).await
}

/// What unfinished jobs, and ended ones that may be opened again, were started with.
fn pinned_on_disk(engine: &Engine) -> Result<BTreeSet<String>, StoreError> {
    let reader = engine.store.reader();
    let mut jobs: BTreeSet<String> = reader.unfinished()?.into_iter().map(|row| row.id).collect();
    let last: BTreeSet<String> = {
        let world = engine.world();
        world.items.values().filter_map(|item| item.last_job.clone()).collect()
    };
    for id in last {
        let row = reader.job(&id)?;
        if row.is_some_and(|row| !matches!(row.outcome.as_str(), "succeeded" | "abandoned")) {
            jobs.insert(id);
        }
    }
    let mut digests = BTreeSet::new();
    for job in jobs {
        let frozen = reader.frozen(&job)?;
        digests.extend(
            frozen
                .into_iter()
                .flat_map(|frozen| frozen.plugins.into_values().map(|pin| pin.digest)),
        );
    }
    Ok(digests)
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        let mut detail = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            detail = format!("{detail}: {cause}");
        }
        match &error {
            OrderError::UnknownPlugin(_) => Self::unknown_plugin(detail),
            _ => Self::refused(error.code(), detail),
        }
    }
}
