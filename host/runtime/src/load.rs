//! From files to a plugin that can be called: read, check, compile, link, describe, keep.
//!
//! Everything works on the bytes that were read first, so a file that changes meanwhile cannot mix two versions. A
//! plugin enters the content store only when it passed all checks.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

use crate::bindings::exports::landfall::plugin as exports;
use crate::cache::{Facts, Origin};
use crate::call::{Callee, Guest, OtherTypes};
use crate::content::{Content, MANIFEST};
use crate::contract::plugin::Info;
use crate::error::{CallError, Fault, Identity};
use crate::grants::{Effective, Grants, Interface};
use crate::health::Health;
use crate::inspect::{self, Unfit};
use crate::limits::Limits;
use crate::manifest::{Kind, Manifest};
use crate::plugin::Plugin;
use crate::runtime::Shared;
use crate::session::Sessions;
use crate::state::{GuestState, Subject};
use crate::trust::{self, SIGNATURE, SUMS, Signed};
use crate::{digest, files, manifest};

/// A manifest is a page of text.
const LARGEST_MANIFEST: u64 = 64 << 10;

/// `describe` gives constants; even an interpreter starts well within this.
const DESCRIBE_WALL: Duration = Duration::from_secs(10);

/// Why a plugin is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The manifest, or the component that it names, is not there.
    #[error("{} is missing", .path.display())]
    MissingFile {
        /// Which file.
        path: PathBuf,
    },
    /// `plugin.toml` cannot be understood.
    #[error("{MANIFEST}: {0}")]
    Manifest(String),
    /// Larger than the host takes.
    #[error("{} is larger than {} KiB, the most that is loaded", .path.display(), .limit >> 10)]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// Not WebAssembly at all.
    #[error("the component is no WebAssembly: it does not begin with `\\0asm`")]
    NotWasm,
    /// The file's end is missing.
    #[error("the component is cut off: {0}; copy it again")]
    Truncated(String),
    /// The file is damaged.
    #[error("the component is damaged: {0}")]
    Malformed(String),
    /// A module instead of a component.
    #[error("this is a core module; make it a component (`landfall plugin build`, or `wasm-tools component new`)")]
    CoreModule,
    /// Machine code.
    #[error("this is compiled machine code, which is never taken from a package; ship the component it was made from")]
    Precompiled,
    /// Built for another major line of the contract.
    #[error("{0}")]
    WrongVersion(String),
    /// It does not fit its kind's world.
    #[error("the component does not fit its world: {0}")]
    WrongWorld(String),
    /// wasmtime refuses to compile it.
    #[error("the component does not compile")]
    Compile(#[source] wasmtime::Error),
    /// `describe` gave no answer.
    #[error("the component does not describe itself")]
    Describe(#[source] Box<CallError>),
    /// Manifest and component contradict each other.
    #[error("{MANIFEST} says {field} `{manifest}`, and the component says `{component}`")]
    Mismatch {
        /// `name`, `version` or `kind`.
        field: &'static str,
        /// In the manifest.
        manifest: String,
        /// In the component.
        component: String,
    },
    /// A file that nothing may be made of.
    #[error("{} {why}", .path.display())]
    Unsafe {
        /// Which file or directory.
        path: PathBuf,
        /// What is the matter with it.
        why: &'static str,
    },
    /// Reading or keeping files failed.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This version was never loaded here, or was cleaned away.
    #[error("the version {0} is not in the content store; put that version's files back into the plugin directory")]
    NotInStore(String),
    /// What the store holds is not what was put there.
    #[error("the version {0} is damaged in the content store; put that version's files back into the plugin directory")]
    Damaged(String),
    /// Signatures are required, and it has none.
    #[error("it is not signed; `{SUMS}` and `{SIGNATURE}` are needed")]
    Unsigned,
    /// Its signature is no good.
    #[error("its signature is not accepted: {0}")]
    Signature(String),
    /// A file is not the one that was signed.
    #[error("{0} is not the file that was signed")]
    Altered(String),
    /// A file was not signed.
    #[error("{0} is not among the files that were signed")]
    NotListed(String),
    /// A person took it out of service for good.
    #[error("the version {0} was revoked")]
    Revoked(String),
    /// The host failed.
    #[error("the load was lost: {0}")]
    Host(String),
}

impl LoadError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingFile { .. } => "LF0401",
            Self::Manifest(_) => "LF0402",
            Self::TooLarge { .. } => "LF0403",
            Self::NotWasm => "LF0404",
            Self::Truncated(_) => "LF0405",
            Self::Malformed(_) => "LF0406",
            Self::CoreModule => "LF0407",
            Self::Precompiled => "LF0408",
            Self::WrongVersion(_) => "LF0490",
            Self::WrongWorld(_) => "LF0409",
            Self::Compile(_) => "LF0410",
            Self::Describe(_) => "LF0411",
            Self::Mismatch { .. } => "LF0412",
            Self::Io { .. } => "LF0413",
            Self::Unsafe { .. } => "LF0451",
            Self::NotInStore(_) => "LF0414",
            Self::Damaged(_) => "LF0415",
            Self::Host(_) => "LF0416",
            Self::Revoked(_) => "LF0461",
            Self::Unsigned => "LF0465",
            Self::Signature(_) => "LF0466",
            Self::Altered(_) => "LF0467",
            Self::NotListed(_) => "LF0468",
        }
    }
}

impl From<Unfit> for LoadError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NotWasm => Self::NotWasm,
            Unfit::CoreModule => Self::CoreModule,
            Unfit::Precompiled => Self::Precompiled,
            Unfit::Truncated(text) => Self::Truncated(text),
            Unfit::Malformed(text) => Self::Malformed(text),
            Unfit::WrongVersion(text) => Self::WrongVersion(text),
            Unfit::WrongWorld(text) => Self::WrongWorld(text),
        }
    }
}

pub(crate) async fn from_directory(shared: &Arc<Shared>, directory: &Path) -> Result<Arc<Plugin>, LoadError> {
    let content = read(shared, directory).await?;
    from_content(shared, content).await
}

/// The author's files, as they are now.
pub(crate) async fn read(shared: &Shared, directory: &Path) -> Result<Content, LoadError> {
    let (directory, limit) = (directory.to_owned(), shared.largest_component);
    blocking(move || read_files(&directory, limit)).await?
}

/// As [`read`], where whoever can write decides what runs: nobody but this user and root may.
pub(crate) async fn read_guarded(shared: &Shared, directory: &Path) -> Result<Content, LoadError> {
    let (directory, limit) = (directory.to_owned(), shared.largest_component);
    blocking(move || {
        guarded(&directory)?;
        for entry in std::fs::read_dir(&directory).map_err(|source| io_error(&directory, source))? {
            guarded(&entry.map_err(|source| io_error(&directory, source))?.path())?;
        }
        read_files(&directory, limit)
    })
    .await?
}

fn io_error(path: &Path, source: io::Error) -> LoadError {
    LoadError::Io {
        path: path.to_owned(),
        source,
    }
}

fn guarded(path: &Path) -> Result<(), LoadError> {
    let about = std::fs::metadata(path).map_err(|source| io_error(path, source))?;
    match files::foreign(&about) {
        None => Ok(()),
        Some(why) => Err(LoadError::Unsafe {
            path: path.to_owned(),
            why,
        }),
    }
}

pub(crate) async fn from_store(shared: &Arc<Shared>, digest: &str) -> Result<Arc<Plugin>, LoadError> {
    if let Some(plugin) = alive(shared, digest) {
        return usable(shared, plugin);
    }
    let digits = digest::digits(digest)
        .ok_or_else(|| LoadError::NotInStore(digest.to_owned()))?
        .to_owned();
    let (store, wanted) = (Arc::clone(shared), digest.to_owned());
    let content = blocking(move || match store.store.read(&digits) {
        Ok(content) if digest::of_plugin(&content.manifest, &content.component) == wanted => Ok(content),
        Ok(_) => {
            if let Err(error) = store.store.forget(&digits) {
                tracing::warn!(%error, digits, "a damaged version could not be removed");
            }
            Err(LoadError::Damaged(wanted))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LoadError::NotInStore(wanted)),
        Err(source) => Err(LoadError::Io {
            path: digits.into(),
            source,
        }),
    })
    .await??;
    from_content(shared, content).await
}

fn read_files(directory: &Path, limit: u64) -> Result<Content, LoadError> {
    let manifest = read_file(&directory.join(MANIFEST), LARGEST_MANIFEST)?;
    let component = read_file(&directory.join(&parse(&manifest)?.plugin.component), limit)?;
    let signed = match (text(directory, SUMS)?, text(directory, SIGNATURE)?) {
        (Some(sums), Some(signature)) => Some(Signed { sums, signature }),
        _ => None,
    };
    Ok(Content {
        manifest,
        component,
        signed,
    })
}

/// A text that may be missing.
fn text(directory: &Path, name: &str) -> Result<Option<String>, LoadError> {
    match read_file(&directory.join(name), trust::LARGEST) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(LoadError::MissingFile { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let path = path.to_owned();
    let file = match open(&path) {
        Err(LoadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::MissingFile { path });
        }
        opened => opened?,
    };
    let read = Ok(file).and_then(|file: File| {
        // An interpreter has tens of megabytes: they are read into one piece of memory. One byte more than is taken, so
        // that a file that grows while it is read is noticed too.
        let size = file.metadata()?.len().min(limit);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.take(limit + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    match read {
        Ok(bytes) if bytes.len() as u64 > limit => Err(LoadError::TooLarge { path, limit }),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LoadError::MissingFile { path }),
        Err(source) => Err(LoadError::Io { path, source }),
    }
}

/// A plain file inside its directory: a link may lead to another name there, and no further, or an error about what it
/// leads to would show what only the daemon may read. Opening never waits, as it would for a pipe.
fn open(path: &Path) -> Result<File, LoadError> {
    let unsafe_for = |why| LoadError::Unsafe {
        path: path.to_owned(),
        why,
    };
    let real = |path: &Path| path.canonicalize().map_err(|source| io_error(path, source));
    let file = real(path)?;
    let directory = real(path.parent().unwrap_or(Path::new(".")))?;
    if !file.starts_with(&directory) {
        return Err(unsafe_for("leads out of the plugin's directory"));
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(&file);
    let opened = opened.map_err(|source| io_error(path, source))?;
    let about = opened.metadata().map_err(|source| io_error(path, source))?;
    if about.is_file() {
        Ok(opened)
    } else {
        Err(unsafe_for("is no plain file"))
    }
}

fn parse(manifest: &[u8]) -> Result<Manifest, LoadError> {
    let text = std::str::from_utf8(manifest).map_err(|error| LoadError::Manifest(error.to_string()))?;
    manifest::Manifest::parse(text).map_err(LoadError::Manifest)
}

pub(crate) async fn from_content(shared: &Arc<Shared>, content: Content) -> Result<Arc<Plugin>, LoadError> {
    let content = Arc::new(content);
    let hashed = Arc::clone(&content);
    let (digest, code) = blocking(move || digest::of_parts(&hashed.manifest, &hashed.component)).await?;
    refuse_revoked(shared, &digest)?;
    let manifest = parse(&content.manifest)?;
    let signed_by = shared.trust.check(&content, &manifest.plugin.component)?;
    if let Some(plugin) = alive(shared, &digest) {
        keep(shared, &digest, content).await?;
        return Ok(plugin);
    }
    let (host, cached) = (Arc::clone(shared), code.clone());
    let known = blocking(move || host.cache.read(&host.engine, &cached)).await?;
    let (component, surface, info, origin) = if let Some((component, facts)) = known {
        // What was found out about these bytes when they were compiled is as true as the code.
        facts.surface.check(manifest.plugin.kind)?;
        (component, facts.surface, Some(facts.info.into()), Origin::Cache)
    } else {
        let surface = inspect::surface(&content.component)?;
        surface.check(manifest.plugin.kind)?;
        (compile(shared, &content).await?, surface, None, Origin::Compiler)
    };
    // With everything linked: what cannot be satisfied now never can be, whatever is granted.
    let everything = shared
        .linkers
        .with(&Interface::ALL.into())
        .map_err(LoadError::Compile)?;
    let pre = everything
        .instantiate_pre(&component)
        .map_err(|error| LoadError::WrongWorld(format!("{error:#}{}", surface.newer_than_host())))?;

    let identity = Identity {
        name: manifest.plugin.name.clone(),
        version: manifest.plugin.version.clone(),
        digest,
    };
    let info = if let Some(info) = info {
        info
    } else {
        let info = describe(shared, pre, &identity, manifest.plugin.kind).await?;
        let facts = Facts {
            surface: surface.clone(),
            info: (&info).into(),
        };
        let (host, compiled) = (Arc::clone(shared), component.clone());
        blocking(move || host.cache.store(&code, &compiled, &facts)).await?;
        info
    };
    agree(&manifest, &info)?;
    keep(shared, &identity.digest, content).await?;

    let plugin = Arc::new(Plugin {
        identity,
        manifest,
        info,
        surface,
        component,
        origin,
        signed_by,
        health: Arc::new(Health::new(shared.struck.clone())),
        sessions: Sessions::default(),
    });
    remember(shared, &plugin);
    usable(shared, plugin)
}

/// One at a time, see [`Shared::compiling`].
async fn compile(shared: &Arc<Shared>, content: &Arc<Content>) -> Result<Component, LoadError> {
    let _slot = shared
        .compiling
        .acquire()
        .await
        .map_err(|error| LoadError::Host(error.to_string()))?;
    let (host, content) = (Arc::clone(shared), Arc::clone(content));
    let compiled = blocking(move || Component::from_binary(&host.engine, &content.component)).await?;
    compiled.map_err(LoadError::Compile)
}

/// Asked again once it is remembered as loaded: a revocation meanwhile found it there, or is found here.
fn usable(shared: &Shared, plugin: Arc<Plugin>) -> Result<Arc<Plugin>, LoadError> {
    refuse_revoked(shared, plugin.digest())?;
    Ok(plugin)
}

fn refuse_revoked(shared: &Shared, digest: &str) -> Result<(), LoadError> {
    let revoked = shared.revoked.lock().unwrap_or_else(PoisonError::into_inner);
    if revoked.contains(digest) {
        return Err(LoadError::Revoked(digest.to_owned()));
    }
    Ok(())
}

/// Asks the component who it is, with everything linked and nothing granted, and checks the types of its exports on the way.
async fn describe(
    shared: &Arc<Shared>,
    pre: InstancePre<GuestState>,
    identity: &Identity,
    kind: Kind,
) -> Result<Info, LoadError> {
    let subject = Subject {
        plugin: identity.clone(),
        label: "describe".to_owned(),
        config: Arc::default(),
        interfaces: BTreeSet::new(),
        stage: None,
        shelf: None,
        session: Arc::default(),
    };
    let callee = Callee {
        shared: Arc::clone(shared),
        subject: Arc::new(subject),
        effective: Arc::new(Effective {
            requests: manifest::Requests::default(),
            grants: Grants::default(),
            pinned: None,
        }),
        health: Arc::new(Health::new(shared.struck.clone())),
        limits: Limits {
            wall: DESCRIBE_WALL,
            ..Limits::default()
        },
        share: Arc::new(Semaphore::new(1)),
        timings: None,
        programs: None,
        nested: false,
        pre,
    };
    let pre = callee.pre.clone();
    let answer = callee.call("describe", move |guest| {
        Box::pin(async move {
            let exported = typed(&pre, kind, guest).map_err(|error| OtherTypes(format!("{error:#}")))?;
            Ok(Ok(exported.call_describe(&mut guest.store).await?))
        })
    });
    answer.await.map_err(|error| match error.fault {
        // Nothing ran: an export has other types than this contract.
        Fault::Host(text) => LoadError::WrongWorld(text),
        _ => LoadError::Describe(Box::new(error)),
    })
}

/// Compares the types of all required exports with the contract's.
fn typed(pre: &InstancePre<GuestState>, kind: Kind, guest: &mut Guest) -> wasmtime::Result<exports::plugin::Guest> {
    let (store, instance) = (&mut guest.store, &guest.instance);
    match kind {
        Kind::Runbook => {
            exports::runbook_run::GuestIndices::new(pre)?.load(&mut *store, instance)?;
        }
        Kind::HypervisorAdapter => {
            exports::adapter::GuestIndices::new(pre)?.load(&mut *store, instance)?;
        }
        Kind::RecoveryPointPolicy => {
            exports::policy::GuestIndices::new(pre)?.load(&mut *store, instance)?;
        }
    }
    exports::plugin::GuestIndices::new(pre)?.load(store, instance)
}

fn agree(manifest: &Manifest, info: &Info) -> Result<(), LoadError> {
    let about = &manifest.plugin;
    let pairs = [
        ("name", about.name.clone(), &info.name),
        ("version", about.version.to_string(), &info.version),
        ("kind", about.kind.to_string(), &info.kind),
    ];
    for (field, manifest, component) in pairs {
        if manifest != *component {
            return Err(LoadError::Mismatch {
                field,
                manifest,
                component: component.clone(),
            });
        }
    }
    Ok(())
}

async fn keep(shared: &Arc<Shared>, digest: &str, content: Arc<Content>) -> Result<(), LoadError> {
    let Some(digits) = digest::digits(digest).map(str::to_owned) else {
        return Err(LoadError::Host(format!("{digest} is no digest")));
    };
    let host = Arc::clone(shared);
    let path = PathBuf::from(&digits);
    let kept = blocking(move || host.store.keep(&digits, &content)).await?;
    kept.map_err(|source| LoadError::Io { path, source })
}

pub(crate) fn alive(shared: &Shared, digest: &str) -> Option<Arc<Plugin>> {
    shared
        .loaded
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(digest)
        .and_then(Weak::upgrade)
}

/// Every version that is in somebody's hands.
pub(crate) fn all_alive(shared: &Shared) -> Vec<Arc<Plugin>> {
    let loaded = shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.values().filter_map(Weak::upgrade).collect()
}

fn remember(shared: &Shared, plugin: &Arc<Plugin>) {
    let mut loaded = shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.retain(|_, known| known.strong_count() > 0);
    loaded.insert(plugin.digest().to_owned(), Arc::downgrade(plugin));
}

/// File and compiler work off the async threads. A panic in the compiler becomes an error of this one load.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LoadError::Host(error.to_string()))
}
