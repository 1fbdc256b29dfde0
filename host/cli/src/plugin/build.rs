//! `landfall plugin build`: from plugin crates to directories that the host can load.
//!
//! cargo decides what must be compiled again; the component is encoded again only if cargo's module is newer. A
//! directory that a running host watches never holds half a file: everything is written beside its place and renamed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use landfall_recovery::codes;
use landfall_runtime::Manifest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::component::{self, ComponentError, Surface};
use super::guest::{self, GuestError, Project};
use super::new;
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
    /// Directories of crates and of projects in other languages; none means the current one.
    pub(crate) paths: Vec<PathBuf>,
    /// None: `plugins` in the target directory of each crate's workspace, or of each project.
    pub(crate) out: Option<PathBuf>,
    /// Every plugin crate of the workspaces of `paths`.
    pub(crate) all: bool,
}

/// What was built.
#[derive(Debug, Serialize)]
pub(crate) struct Built {
    pub(crate) toolchains: Vec<String>,
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
    /// False: the same component and manifest were there.
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
    /// The project, its tools or its source.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Two of them would overwrite each other.
    #[error("two directories call their plugin `{name}`: {first} and {second}; rename one")]
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

impl BuildError {
    /// The stable code, where there is one.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Package(_) | Self::SameName { .. } => Some(codes::PLUGIN_PROJECT),
            Self::Toolchain(_) => Some(codes::PLUGIN_TOOLS),
            Self::Compile { .. } | Self::NoModule { .. } => Some(codes::PLUGIN_SOURCE),
            Self::Component(_) => Some(codes::PLUGIN_SURFACE),
            Self::Guest(error) => match error {
                GuestError::Project(_) | GuestError::World(_) => Some(codes::PLUGIN_PROJECT),
                GuestError::Tools(_) => Some(codes::PLUGIN_TOOLS),
                GuestError::Source { .. } => Some(codes::PLUGIN_SOURCE),
                GuestError::Io { .. } => None,
            },
            Self::Io { .. } => None,
        }
    }
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
    let (projects, crates): (Vec<_>, Vec<_>) = paths.iter().cloned().partition(|path| guest::is_project(path));
    let packages = package::find(&crates, request.all)?;
    let projects = projects
        .iter()
        .map(|path| Project::load(path))
        .collect::<Result<Vec<_>, _>>()?;
    refuse_same_names(&packages, &projects)?;
    let mut built = Built {
        toolchains: Vec::new(),
        milliseconds: 0,
        plugins: Vec::new(),
    };
    for workspace in workspaces(&packages) {
        let members: Vec<&Package> = packages
            .iter()
            .filter(|package| package.workspace == workspace)
            .collect();
        let toolchain = toolchain::find(&workspace, notes)?;
        // A note that cannot be written is no reason not to build.
        let _ = writeln!(notes, "Compiling plugins with {}", toolchain.name);
        let modules = compile(&toolchain, &workspace, &members)?;
        for package in members {
            built
                .plugins
                .push(finish(package, &modules, request.out.as_deref(), notes)?);
        }
        built.used(toolchain.name);
    }
    for project in &projects {
        let made = project.make(notes)?;
        let out = request
            .out
            .clone()
            .unwrap_or_else(|| project.directory.join("target").join("plugins"));
        let component = read(&made.component)?;
        built
            .plugins
            .push(place(&project.manifest, &project.directory, &component, &out, notes)?);
        built.used(made.tool);
    }
    built.milliseconds = began.elapsed().as_millis();
    Ok(built)
}

impl Built {
    fn used(&mut self, toolchain: String) {
        if !self.toolchains.contains(&toolchain) {
            self.toolchains.push(toolchain);
        }
    }
}

fn refuse_same_names(packages: &[Package], projects: &[Project]) -> Result<(), BuildError> {
    let crates = packages.iter().map(|package| (&package.manifest, &package.directory));
    let others = projects.iter().map(|project| (&project.manifest, &project.directory));
    let mut seen: BTreeMap<&str, &PathBuf> = BTreeMap::new();
    for (manifest, directory) in crates.chain(others) {
        let name = manifest.plugin.name.as_str();
        match seen.insert(name, directory) {
            Some(first) if first != directory => {
                return Err(BuildError::SameName {
                    name: name.to_owned(),
                    first: first.clone(),
                    second: directory.clone(),
                });
            }
            _ => {}
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
        .arg("--config")
        .arg(remapped(workspace))
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

/// Makes the bytes of a component the same wherever it is built: panics name the files of their source, and whose home
/// directory that was is nobody's business.
fn remapped(workspace: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let registries = fs::read_dir(cargo.join("registry").join("src"))
        .into_iter()
        .flatten()
        .flatten();
    let registries = registries.map(|registry| (registry.path(), "/registry"));
    let sdk = new::sdk_home().map(|path| (path, "/landfall-sdk"));
    // The last that fits counts.
    let all = [(home, "/home")]
        .into_iter()
        .chain(registries)
        .chain(sdk)
        .chain([(workspace.to_owned(), "/plugin")]);
    let flags: Vec<String> = all
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    format!("target.{TARGET}.rustflags={}", toml::Value::from(flags))
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
    let there = out.join(&about.name).join(&about.component);
    let component = if is_newer(&there, module) {
        read(&there)?
    } else {
        component::encode(&about.name, &read(module)?)?
    };
    place(&package.manifest, &package.directory, &component, &out, notes)
}

/// Checks a component and puts it, with its manifest, where the host can load it. What is there already stays.
fn place(
    manifest: &Manifest,
    source: &Path,
    component: &[u8],
    out: &Path,
    notes: &mut dyn Write,
) -> Result<BuiltPlugin, BuildError> {
    let about = &manifest.plugin;
    let surface = component::check(manifest, component)?;
    for request in surface.unused(manifest) {
        let _ = writeln!(
            notes,
            "warning: {} requests `{request}` in plugin.toml and never uses it",
            about.name
        );
    }
    let directory = out.join(&about.name);
    fs::create_dir_all(&directory).map_err(|source| io("write", &directory, source))?;
    let text = read(&source.join("plugin.toml"))?;
    let mut changed = false;
    for (file, bytes) in [(about.component.as_str(), component), ("plugin.toml", &text)] {
        let path = directory.join(file);
        if fs::read(&path).ok().as_deref() != Some(bytes) {
            replace(&path, bytes)?;
            changed = true;
        }
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
