//! The reload storm: two versions of a plugin are published in turn, by order and by files, while calls go on all the
//! time. Every decision is committed to a real store before it is acted on, as in the daemon. Also: how long a load
//! takes with the code compiled already, and how long from a closed file to a served version.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use landfall_runtime::{
    Binding, Decision, Grants, Keeper, Limits, Order, Policy, Registry, RegistryOptions, Runtime, RuntimeOptions,
};
use landfall_store::{Batch, Space, Store};

use crate::figures::{Times, millis};

const ORDERS: usize = 10_000;
const FILES: usize = 100;
const CALLERS: usize = 4;
const LOADS: usize = 50;

/// As the daemon keeps decisions.
struct Ledger(Store);

impl Keeper for Ledger {
    fn keep(&self, decision: Decision) -> BoxFuture<'_, std::io::Result<()>> {
        async move {
            let mut batch = Batch::new();
            if let Some((name, remembered)) = &decision.plugin {
                batch
                    .put(Space::PluginVersions, name, remembered)
                    .map_err(std::io::Error::other)?;
            }
            if let Some(change) = &decision.change {
                let row = format!("{}/{:020}", change.plugin, change.seq);
                batch
                    .put(Space::PluginChange, &row, change)
                    .map_err(std::io::Error::other)?;
            }
            self.0.commit(batch).await.map_err(std::io::Error::other)?;
            Ok(())
        }
        .boxed()
    }
}

pub(crate) async fn run() -> Result<()> {
    let shipped = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .context("no target directory")?
        .join("plugins/standard");
    let place = tempfile::tempdir()?;
    loads(place.path(), &shipped).await?;
    // One with an interpreter inside takes minutes to build, so it is named by who has one.
    if let Some(other) = std::env::var_os("LANDFALL_BENCH_PLUGIN") {
        loads(place.path(), Path::new(&other)).await?;
    }
    storm(place.path(), &shipped).await
}

/// Each load in a runtime that knows nothing yet, as after a start.
async fn loads(place: &Path, plugin: &Path) -> Result<()> {
    let state = place.join("loads");
    let mut times = Times::default();
    let mut size = 0;
    for load in 0..=LOADS {
        let runtime = Runtime::new(RuntimeOptions::new(&state))?;
        let began = Instant::now();
        let loaded = runtime.load(plugin).await?;
        // The first one compiles.
        if load > 0 {
            times.push(began.elapsed());
        }
        size = fs::metadata(plugin.join(&loaded.manifest().plugin.component))?.len();
    }
    println!(
        "reload: load of {} KB with its code compiled already: {times}",
        size / 1_000
    );
    Ok(())
}

async fn storm(place: &Path, plugin: &Path) -> Result<()> {
    let plugins = place.join("plugins");
    let directory = plugins.join("standard");
    fs::create_dir_all(&directory)?;
    for file in ["plugin.toml", "standard.wasm"] {
        fs::copy(plugin.join(file), directory.join(file))?;
    }
    let runtime = Runtime::new(RuntimeOptions::new(place.join("storm")))?;
    let options = RegistryOptions {
        keeper: Arc::new(Ledger(Store::open(&place.join("data"))?)),
        ..RegistryOptions::new(&plugins)
    };
    let registry = Registry::open(runtime.clone(), options)?;
    registry.refresh().await?;
    let manifest = fs::read_to_string(directory.join("plugin.toml"))?;
    let serving = || registry.current("standard").context("it serves");
    let first = serving()?;
    write(&directory, &manifest, "the other one")?;
    registry.refresh().await?;
    let second = serving()?;
    ensure!(first.digest() != second.digest(), "two versions are needed");

    let (over, calls, failed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (registry, runtime) = (registry.clone(), runtime.clone());
            let (over, calls, failed) = (Arc::clone(&over), Arc::clone(&calls), Arc::clone(&failed));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let answered = call(&registry, &runtime).await.is_some();
                    calls.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(!answered), Ordering::Relaxed);
                }
            })
        })
        .collect();

    let versions = [first.digest().to_owned(), second.digest().to_owned()];
    let mut orders = Times::default();
    for digest in versions.iter().cycle().take(ORDERS) {
        let began = Instant::now();
        let order = Order {
            who: "bench".to_owned(),
            reason: String::new(),
            request: None,
        };
        registry.activate("standard", digest, order).await?;
        orders.push(began.elapsed());
        ensure!(serving()?.digest() == digest, "what was activated serves");
    }
    let _watch = registry.watch()?;
    let mut files = Times::default();
    for file in 0..FILES {
        let summary = format!("file {file}");
        let mut changes = registry.changes();
        write(&directory, &manifest, &summary)?;
        let began = Instant::now();
        while serving()?.manifest().plugin.summary != summary {
            tokio::time::timeout(Duration::from_secs(20), changes.changed()).await??;
        }
        files.push(began.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await?;
    }
    println!("reload: {ORDERS} publishes by order: {orders}");
    println!(
        "reload: {FILES} publishes by file, from closed to live: p50 {}, p90 {}, p99 {} (300 ms of it are the debounce)",
        millis(files.p50()),
        millis(files.at(900)),
        millis(files.p99())
    );
    println!(
        "reload: meanwhile {} calls, {} failed",
        calls.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed)
    );
    ensure!(failed.load(Ordering::Relaxed) == 0, "calls failed");
    Ok(())
}

/// As new work does it: whatever serves now is bound and called.
async fn call(registry: &Registry, runtime: &Runtime) -> Option<()> {
    let plugin = registry.current("standard")?;
    let (grants, limits) = (Grants::default(), Limits::default());
    let binding = Binding::new(runtime, plugin, "bench", Arc::default(), grants, limits).ok()?;
    Policy::new(binding).ok()?.choices().await.ok().map(|_| ())
}

/// Another version: the same component under a manifest with another summary, renamed into place.
fn write(directory: &Path, manifest: &str, summary: &str) -> Result<()> {
    let lines = manifest.lines().map(|line| match line.strip_prefix("summary") {
        Some(_) => format!("summary = \"{summary}\"\n"),
        None => format!("{line}\n"),
    });
    let new = directory.join(".new");
    fs::write(&new, lines.collect::<String>())?;
    Ok(fs::rename(new, directory.join("plugin.toml"))?)
}
