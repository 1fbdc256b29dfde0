//! The runtime: one engine, its threads, and the two directories it keeps.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Handle, Runtime as Threads};
use tokio::sync::{Semaphore, watch};
use wasmtime::Engine;

use crate::cache::CodeCache;
use crate::content::ContentStore;
use crate::durable::{MemoryState, Shelves, StateStore};
use crate::engine::{self, Allocator};
use crate::host::http::{Clients, TokenStore};
use crate::linker::Linkers;
use crate::load::LoadError;
use crate::plugin::Plugin;
use crate::secret::Secrets;
use crate::transport::Pool;
use crate::trust::Trust;

/// Instances at once: more calls wait. Each holds 6 GiB of address space per memory, which any 64-bit Linux has.
const INSTANCES: u32 = 128;

/// For so many instances there is one more, for calls that are made on behalf of others.
const NESTED_SHARE: u32 = 16;

/// The largest component: a Python one with its interpreter has 18 to 40 MiB.
const LARGEST_COMPONENT: u64 = 64 << 20;

/// How to run.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Holds `plugins-store/` and `cache/`, both for this user alone.
    pub state_dir: PathBuf,
    /// Threads that run guests; by default all cores but one, which stays with the host.
    pub guest_threads: Option<usize>,
    /// Instances at once.
    pub instances: u32,
    /// Largest component in bytes.
    pub largest_component: u64,
    /// Keeps what plugins want kept; by default for as long as the process lives.
    pub state: Arc<dyn StateStore>,
    /// Who may sign plugins; by default nobody has to.
    pub trust: Trust,
}

impl RuntimeOptions {
    /// The defaults.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            guest_threads: None,
            instances: INSTANCES,
            largest_component: LARGEST_COMPONENT,
            state: Arc::new(MemoryState::default()),
            trust: Trust::default(),
        }
    }
}

/// The runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The state directory is not usable.
    #[error("the directory {path} cannot be used for plugins")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// wasmtime does not start on this machine.
    #[error("the WebAssembly engine does not start")]
    Engine(#[source] wasmtime::Error),
    /// The HTTP client does not start.
    #[error("the HTTP client does not start")]
    Http(#[source] reqwest::Error),
    /// The system gives no more threads.
    #[error("the threads for plugins do not start")]
    Threads(#[source] std::io::Error),
}

impl RuntimeError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "LF0440",
            Self::Engine(_) => "LF0441",
            Self::Http(_) => "LF0442",
            Self::Threads(_) => "LF0443",
        }
    }
}

/// Loads plugins and runs them. Clones share everything.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) allocator: Allocator,
    pub(crate) guests: GuestThreads,
    pub(crate) instances: Semaphore,
    /// How many of them one binding may have.
    pub(crate) share: usize,
    /// For calls that another call waits for: it cannot wait for those that wait for it.
    pub(crate) nested: Semaphore,
    /// One at a time: compiling takes all cores anyway, and memory for a large component by the gigabyte.
    pub(crate) compiling: Semaphore,
    pub(crate) cache: CodeCache,
    pub(crate) store: ContentStore,
    pub(crate) linkers: Linkers,
    pub(crate) trust: Trust,
    pub(crate) clients: Clients,
    /// Where the operator's secrets are now.
    pub(crate) secrets: ArcSwap<Secrets>,
    /// Session tokens that stay with the host.
    pub(crate) tokens: TokenStore,
    pub(crate) largest_component: u64,
    pub(crate) shelves: Shelves,
    /// Warm connections.
    pub(crate) pool: Arc<Pool>,
    /// What is loaded now, by digest, so that a version that jobs pin is never loaded twice.
    pub(crate) loaded: Mutex<HashMap<String, Weak<Plugin>>>,
    /// Versions that never run again.
    pub(crate) revoked: Mutex<BTreeSet<String>>,
    /// Counts versions that had their third strike, for whoever acts upon it.
    pub(crate) struck: watch::Sender<u64>,
}

impl Runtime {
    /// Starts the engine and its threads.
    pub fn new(options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let RuntimeOptions {
            state_dir,
            guest_threads,
            instances,
            largest_component,
            state,
            trust,
        } = options;
        let nested = (instances / NESTED_SHARE).max(1);
        let (engine, allocator) = engine::build(instances.saturating_add(nested)).map_err(RuntimeError::Engine)?;
        engine::start_ticking(&engine).map_err(RuntimeError::Threads)?;
        let directory = |path: PathBuf| move |source| RuntimeError::Directory { path, source };
        let (cache, store) = (state_dir.join("cache"), state_dir.join("plugins-store"));
        let shared = Shared {
            allocator,
            guests: GuestThreads::start(guest_threads).map_err(RuntimeError::Threads)?,
            share: (instances as usize / 2).max(1),
            instances: Semaphore::new(instances as usize),
            nested: Semaphore::new(nested as usize),
            compiling: Semaphore::new(1),
            cache: CodeCache::open(&cache, &engine).map_err(directory(cache))?,
            store: ContentStore::open(store.clone()).map_err(directory(store))?,
            linkers: Linkers::new(engine.clone()),
            secrets: ArcSwap::default(),
            tokens: TokenStore::default(),
            trust,
            clients: Clients::new().map_err(RuntimeError::Http)?,
            largest_component,
            shelves: Shelves::new(state),
            pool: Arc::default(),
            loaded: Mutex::default(),
            revoked: Mutex::default(),
            struck: watch::Sender::new(0),
            engine,
        };
        tracing::debug!(?allocator, instances, "plugin runtime started");
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How instances get their memory on this machine.
    pub fn allocator(&self) -> Allocator {
        self.shared.allocator
    }

    /// From the next request on, secrets are looked for here, and certificate files are read anew.
    pub fn set_secrets(&self, secrets: Secrets) {
        self.shared.clients.forget_certificates();
        self.shared.secrets.store(Arc::new(secrets));
    }

    /// Loads the plugin in this directory; see [`LoadError`] for all that can be wrong with it. Dropped: a running
    /// compilation goes on, and its result lands in the cache.
    pub async fn load(&self, directory: &std::path::Path) -> Result<Arc<Plugin>, LoadError> {
        crate::load::from_directory(&self.shared, directory).await
    }

    /// Loads exactly this version, as a job pinned it, from the content store.
    pub async fn load_digest(&self, digest: &str) -> Result<Arc<Plugin>, LoadError> {
        crate::load::from_store(&self.shared, digest).await
    }

    /// Digests of the versions in the content store.
    pub async fn stored(&self) -> std::io::Result<Vec<String>> {
        let shared = Arc::clone(&self.shared);
        let listed = tokio::task::spawn_blocking(move || shared.store.list()).await;
        listed.map_err(std::io::Error::other)?
    }

    /// Removes all other versions from the content store; gives their digests.
    pub(crate) async fn forget_all_but(&self, kept: BTreeSet<String>) -> std::io::Result<Vec<String>> {
        let shared = Arc::clone(&self.shared);
        let removed = tokio::task::spawn_blocking(move || shared.store.forget_all_but(&kept)).await;
        removed.map_err(std::io::Error::other)?
    }

    /// Ends this version's calls and never loads it again. Not durable: whoever decides it says it again at each start.
    pub fn revoke(&self, digest: &str) {
        let mut revoked = self.shared.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.insert(digest.to_owned());
        // Loads look at the set after they are remembered as alive, so one of the two sees it.
        if let Some(plugin) = crate::load::alive(&self.shared, digest) {
            plugin.health.revoke();
        }
    }
}

/// The threads that guests run on. Guests yield at every tick, so one thread serves many.
pub(crate) struct GuestThreads {
    /// Taken only when dropped.
    threads: Option<Threads>,
    handle: Handle,
}

impl GuestThreads {
    fn start(wanted: Option<usize>) -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = wanted.unwrap_or(cores.saturating_sub(1)).max(1);
        let threads = Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("landfall-guest")
            // New calls come in through the global queue. They go before guests that have run for a whole tick already,
            // however many those are.
            .global_queue_interval(1)
            .enable_all()
            .build()?;
        let handle = threads.handle().clone();
        Ok(Self {
            threads: Some(threads),
            handle,
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// The last reference may go inside async code, where waiting for threads is not allowed: they end by themselves.
impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
