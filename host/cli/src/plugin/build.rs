//! `landfall plugin build`: from plugin crates to directories that the host can load.
//!
//! cargo decides what must be compiled again; the component is encoded again only if cargo's module is newer. A
//! directory that a running host watches never holds half a file: everything is written beside its place and renamed.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::component::{self, ComponentError, Surface};
use super::package::{self, Package, PackageError};
use super::toolchain::{self, TARGET, Toolchain, ToolchainError};

/// The release profile of every guest, whatever its workspace says: small, as the host compiles it once more, and
/// without unwinding, which has no place to go.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_STRIP", "true"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// What to build.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Directories of crates; none means the current one.
    pub(crate) paths: Vec<PathBuf>,
    /// None: `plugins` in the target directory of each crate's workspace.
    pub(crate) out: Option<PathBuf>,
    /// Every plugin crate of the workspaces of `paths`.
    pub(crate) all: bool,
}

/// What was built.
#[derive(Debug, Serialize)]
pub(crate) struct Built {
    pub(crate) toolchain: String,
    pub(crate) milliseconds: u128,
    pub(crate) plugins: Vec<BuiltPlugin>,
}

/// One plugin in its place.
#[derive(Debug, Serialize)]
pub(crate) struct BuiltPlugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) directory: PathBuf,
    pub(crate) bytes: usize,
    /// False: the component there was newer than all it is made of.
    pub(crate) changed: bool,
    #[serde(flatten)]
    pub(crate) surface: Surface,
}

/// Why there is no plugin.
#[derive(Debug, Error)]
pub(crate) enum BuildError {
    /// The crate or its manifest.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Two crates would overwrite each other.
    #[error("two crates call their plugin `{name}`: {first} and {second}; rename one")]
    SameName {
        /// The name.
        name: String,
        /// Its first user.
        first: PathBuf,
        /// Its second.
        second: PathBuf,
    },
    /// The compiler is missing.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The compiler has said why on stderr.
    #[error("cargo could not compile {crates}; its messages are above")]
    Compile {
        /// All crates of the one call.
        crates: String,
    },
    /// cargo succeeded, but not with the module that was asked for.
    #[error("cargo made no {module}.wasm for `{crate_name}`; is another crate in the workspace called the same?")]
    NoModule {
        /// The crate.
        crate_name: String,
        /// Its module.
        module: String,
    },
    /// The module is no plugin.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// Reading or writing failed.
    #[error("cannot {action} {path}")]
    Io {
        /// `read`, `write`, `run`.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Builds the plugins and says what it made. cargo's progress, and ours, goes to `notes` or stderr.
pub(crate) fn build(request: &Request, notes: &mut dyn Write) -> Result<Built, BuildError> {
    let began = Instant::now();
    let here = [PathBuf::from(".")];
    let paths = if request.paths.is_empty() {
        &here[..]
    } else {
        &request.paths
    };
    let packages = package::find(paths, request.all)?;
    refuse_same_names(&packages)?;
    let mut built = Built {
        toolchain: String::new(),
        milliseconds: 0,
        plugins: Vec::new(),
    };
    for workspace in workspaces(&packages) {
        let members: Vec<&Package> = packages
            .iter()
            .filter(|package| package.workspace == workspace)
            .collect();
        let toolchain = toolchain::find(&workspace, notes)?;
        if built.toolchain != toolchain.name {
            // A note that cannot be written is no reason not to build.
            let _ = writeln!(notes, "Compiling plugins with {}", toolchain.name);
            built.toolchain.clone_from(&toolchain.name);
        }
        let modules = compile(&toolchain, &workspace, &members)?;
        for package in members {
            built
                .plugins
                .push(finish(package, &modules, request.out.as_deref(), notes)?);
        }
    }
    built.milliseconds = began.elapsed().as_millis();
    Ok(built)
}

fn refuse_same_names(packages: &[Package]) -> Result<(), BuildError> {
    for (index, second) in packages.iter().enumerate() {
        let name = &second.manifest.plugin.name;
        if let Some(first) = packages
            .iter()
            .take(index)
            .find(|first| first.manifest.plugin.name == *name)
        {
            let (first, second) = (first.directory.clone(), second.directory.clone());
            return Err(BuildError::SameName {
                name: name.clone(),
                first,
                second,
            });
        }
    }
    Ok(())
}

fn workspaces(packages: &[Package]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = packages.iter().map(|package| package.workspace.clone()).collect();
    roots.sort();
    roots.dedup();
    roots
}

/// One cargo call for all crates of a workspace, into a target directory of its own: another compiler there would
/// throw away the host's work, and the host's ours. Returns the modules that cargo named.
fn compile(toolchain: &Toolchain, workspace: &Path, packages: &[&Package]) -> Result<Vec<PathBuf>, BuildError> {
    let target = packages
        .first()
        .map(|package| package.target_directory.join("guests"))
        .unwrap_or_default();
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .args(["build", "--release", "--lib", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target)
        .args(&toolchain.arguments)
        .current_dir(workspace)
        .envs(PROFILE)
        .envs(toolchain.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for package in packages {
        cargo.args(["--package", &package.crate_name]);
    }
    let output = cargo.output().map_err(|source| io("run", &toolchain.cargo, source))?;
    if !output.status.success() {
        let names: Vec<&str> = packages.iter().map(|package| package.crate_name.as_str()).collect();
        return Err(BuildError::Compile {
            crates: names.join(", "),
        });
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    Ok(artifacts.flat_map(|message| message.filenames).collect())
}

/// cargo prints one JSON object a line; only those with files matter here.
#[derive(Deserialize)]
struct Message {
    filenames: Vec<PathBuf>,
}

/// Makes the component of one module and puts it beside its manifest.
fn finish(
    package: &Package,
    modules: &[PathBuf],
    out: Option<&Path>,
    notes: &mut dyn Write,
) -> Result<BuiltPlugin, BuildError> {
    let about = &package.manifest.plugin;
    let file = format!("{}.wasm", package.target_name);
    let module = modules
        .iter()
        .find(|path| path.file_name().is_some_and(|name| *name == *file))
        .ok_or_else(|| BuildError::NoModule {
            crate_name: package.crate_name.clone(),
            module: package.target_name.clone(),
        })?;
    let out = out.map_or_else(|| package.target_directory.join("plugins"), Path::to_owned);
    let directory = out.join(&about.name);
    fs::create_dir_all(&directory).map_err(|source| io("write", &directory, source))?;
    let place = directory.join(&about.component);
    let changed = !is_newer(&place, module);
    let component = if changed {
        component::encode(&about.name, &read(module)?)?
    } else {
        read(&place)?
    };
    let surface = component::check(&package.manifest, &component)?;
    for request in surface.unused(&package.manifest) {
        let _ = writeln!(
            notes,
            "warning: {} requests `{request}` in plugin.toml and never uses it",
            about.name
        );
    }
    if changed {
        replace(&place, &component)?;
    }
    let manifest = read(&package.directory.join("plugin.toml"))?;
    let copy = directory.join("plugin.toml");
    if fs::read(&copy).ok().as_ref() != Some(&manifest) {
        replace(&copy, &manifest)?;
    }
    let (name, version) = (about.name.clone(), about.version.to_string());
    Ok(BuiltPlugin {
        name,
        version,
        directory,
        bytes: component.len(),
        changed,
        surface,
    })
}

fn is_newer(made: &Path, source: &Path) -> bool {
    let modified = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    match (modified(made), modified(source)) {
        (Some(made), Some(source)) => made > source,
        _ => false,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| io("read", path, source))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, bytes).map_err(|source| io("write", &beside, source))?;
    fs::rename(&beside, path).map_err(|source| io("write", path, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> BuildError {
    BuildError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

impl fmt::Display for Built {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for plugin in &self.plugins {
            let state = if plugin.changed { "built" } else { "unchanged" };
            let (name, version) = (&plugin.name, &plugin.version);
            writeln!(
                out,
                "{state:<9} {name} {version}  {} bytes  {}",
                plugin.bytes,
                plugin.directory.display()
            )?;
        }
        Ok(())
    }
}
