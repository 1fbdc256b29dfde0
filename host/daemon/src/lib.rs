//! The daemon: drives the pure core with the store and the plugins, replicates beside jobs, and serves the API.
//!
//! Reading order: [`Options`] and [`run`] here, then `engine` (what the parts share), `start` (a request becomes a
//! job), `runner` (one task per job), `step` (carrying out one step), `replicate` (cycles beside jobs), `api`.

mod accept;
pub mod api;
mod backups;
mod clock;
mod config;
mod contract;
mod decisions;
mod documents;
mod engine;
pub mod evidence;
mod hex;
mod kept;
mod orphans;
mod plugins;
mod poll;
mod preflight;
mod problem;
mod reconcile;
mod reload;
pub mod replay;
mod replicate;
mod runner;
mod seals;
mod sites;
mod space;
mod start;
mod step;
mod upkeep;
mod views;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use landfall_recovery::codes;
use landfall_runtime::{RegistryError, Runtime, RuntimeError, RuntimeOptions};
use landfall_store::{Store, StoreError};

pub use config::{Config, ConfigError};

use crate::config::Live;
use crate::engine::Engine;
use crate::kept::Kept;

/// How the daemon is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Instead of the file's data directory.
    pub data: Option<PathBuf>,
    /// Instead of the file's address.
    pub listen: Option<SocketAddr>,
    /// Written when the daemon is ready, with its URL.
    pub ready_file: Option<PathBuf>,
}

/// Why the daemon does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory or the journal.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// The WebAssembly runtime.
    #[error("the plugin runtime cannot start")]
    Runtime(#[from] RuntimeError),
    /// The plugin directory.
    #[error("the plugin directory cannot be used")]
    Registry(#[from] RegistryError),
    /// The address or a file beside the journal.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It cannot go on: mostly the disk.
    #[error("the daemon stopped: {0}")]
    Fatal(String),
}

impl DaemonError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => codes::CONFIGURATION,
            Self::Io { .. } => codes::DATA_DIRECTORY,
            Self::Store(error) => error.code(),
            Self::Fatal(_) => codes::STORE,
            Self::Runtime(error) => error.code(),
            Self::Registry(error) => error.code(),
        }
    }
}

/// Runs the daemon until `shutdown` resolves. Jobs go on with the next start; nothing is lost by stopping at any time.
pub async fn run(options: Options, shutdown: impl Future<Output = ()> + Send) -> Result<(), DaemonError> {
    let mut config = Config::read(&options.config)?;
    let read = config.clone();
    if let Some(data) = options.data {
        config.data = data;
    }
    if let Some(listen) = options.listen {
        config.listen = listen;
    }
    config.check(&options.config)?;
    let trust = config.trust().map_err(|why| ConfigError::Key {
        path: options.config.display().to_string(),
        why,
    })?;
    let config = Arc::new(Live::new(options.config, read, config));
    let (live, config) = (Arc::clone(&config), config.now());
    let store = Store::open(&config.data)?;
    let mut plugins = RuntimeOptions::new(config.data.join("plugins"));
    let fatal = tokio::sync::watch::Sender::new(None);
    plugins.state = Arc::new(Kept::new(store.clone(), fatal.clone()));
    plugins.trust = trust;
    let runtime = Runtime::new(plugins)?;
    runtime.set_secrets(config.secrets.clone());
    let registry = plugins::open(&live, &store, &runtime, &fatal)?;
    registry.refresh().await?;
    let data = config.data.clone();
    let listen = config.listen;
    let engine = Arc::new(Engine::new(live, store, runtime, registry, fatal)?);
    let _watch = engine.registry.watch()?;
    // Before anything is begun.
    space::look(&engine);
    recover(&engine)?;
    tokio::spawn(space::watch(Arc::clone(&engine)));
    tokio::spawn(replicate::run(Arc::clone(&engine)));
    tokio::spawn(plugins::tidy(Arc::clone(&engine)));
    tokio::spawn(seals::run(Arc::clone(&engine)));
    tokio::spawn(backups::run(Arc::clone(&engine)));
    tokio::spawn(upkeep::run(Arc::clone(&engine)));
    tokio::spawn(hang_ups(Arc::clone(&engine)));

    let io = |what: String| move |source| DaemonError::Io { what, source };
    let token = token(&data)?;
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .map_err(io(format!("cannot listen on {listen}")))?;
    let address = listener
        .local_addr()
        .map_err(io("the listening address is unknown".to_owned()))?;
    let url = format!("http://{address}");
    write(&data.join("address"), &url)?;
    let ready = Arc::new(AtomicBool::new(true));
    let service = api::router(api::Shared::new(Arc::clone(&engine), &token, Arc::clone(&ready)));
    tracing::info!(%url, token = %data.join("token").display(), "the daemon is ready");
    if let Some(file) = options.ready_file {
        write(&file, &url)?;
    }
    // Streams of events never end by themselves, so stopping does not wait for clients.
    tokio::select! {
        served = async { axum::serve(listener, service).await } => served.map_err(io("the API stopped".to_owned())),
        reason = engine.failed() => Err(DaemonError::Fatal(reason)),
        () = shutdown => {
            ready.store(false, Ordering::Release);
            tracing::info!("the daemon stops; jobs go on when it starts again");
            Ok(())
        }
    }
}

/// SIGHUP asks for what `POST /api/v1/reload` does. A file that is wrong changes nothing and is told in the log.
async fn hang_ups(engine: Arc<Engine>) {
    let hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    let Ok(mut hang_up) = hang_up else {
        return;
    };
    while hang_up.recv().await.is_some() {
        if let Err(refusal) = reload::reload(&engine).await {
            tracing::error!(?refusal, "the configuration was not read again; what held still holds");
        }
    }
}

/// An error with its causes.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

/// Unfinished jobs go on. A job whose journal is damaged is left alone and named; the others go on.
fn recover(engine: &Arc<Engine>) -> Result<(), DaemonError> {
    for row in engine.store.reader().unfinished()? {
        match decisions::load(engine, &row.id) {
            Ok(job) => {
                tracing::info!(job = %row.id, plan = %row.plan, "an unfinished job goes on");
                runner::spawn(engine, job);
            }
            Err(refusal) => {
                tracing::error!(job = %row.id, ?refusal, "an unfinished job cannot be read and is left alone");
            }
        }
    }
    Ok(())
}

/// The API's token: made once, readable by the daemon's user alone.
fn token(data: &Path) -> Result<String, DaemonError> {
    let path = data.join("token");
    let io = |source| DaemonError::Io {
        what: format!("the token file {} cannot be used", path.display()),
        source,
    };
    if let Ok(token) = std::fs::read_to_string(&path)
        && !token.trim().is_empty()
    {
        return Ok(token.trim().to_owned());
    }
    // Two random UUIDs hold 244 random bits.
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    file.write_all(token.as_bytes()).map_err(io)?;
    Ok(token)
}

/// Whole or not at all, for those who wait for the file to appear.
fn write(path: &Path, text: &str) -> Result<(), DaemonError> {
    let temporary = path.with_extension("new");
    let io = |source| DaemonError::Io {
        what: format!("{} cannot be written", path.display()),
        source,
    };
    std::fs::write(&temporary, text).map_err(io)?;
    std::fs::rename(&temporary, path).map_err(io)
}
