//! What is to be built: crates with a `plugin.toml` beside their `Cargo.toml`, found by asking cargo.
//!
//! The manifest and the crate each say who the plugin is, and the host refuses a plugin that contradicts itself; so
//! the contradiction is found here, before anything is compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use landfall_runtime::Manifest;
use serde::Deserialize;
use thiserror::Error;

/// A crate that cannot become a plugin.
#[derive(Debug, Error)]
pub(crate) enum PackageError {
    /// cargo could not be started.
    #[error("cannot run cargo; install Rust from https://rustup.rs and try again")]
    NoCargo(#[source] std::io::Error),
    /// cargo does not understand the directory.
    #[error("{directory} is no crate that cargo can read: {why}")]
    NoCrate {
        /// As given.
        directory: PathBuf,
        /// cargo's last words.
        why: String,
    },
    /// A directory that is a crate, but no plugin.
    #[error("{directory} has no plugin.toml, so it is no plugin; add one (see the documentation of landfall-sdk)")]
    NoManifest {
        /// As given.
        directory: PathBuf,
    },
    /// `--all` found nothing.
    #[error("no crate in the workspace of {directory} has a plugin.toml")]
    NoPlugins {
        /// As given.
        directory: PathBuf,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A manifest with a mistake in it.
    #[error("{path} is not valid")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where, and what.
        #[source]
        source: toml::de::Error,
    },
    /// The manifest and the crate disagree, or the crate makes no module.
    #[error("{path}: {why}")]
    Mismatch {
        /// The file to change.
        path: PathBuf,
        /// What is wrong and what would be right.
        why: String,
    },
}

/// A plugin crate.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// The crate's name, for cargo.
    pub(crate) crate_name: String,
    /// The module's file name without `.wasm`.
    pub(crate) target_name: String,
    /// Where `plugin.toml` lies.
    pub(crate) directory: PathBuf,
    pub(crate) workspace: PathBuf,
    pub(crate) target_directory: PathBuf,
    pub(crate) manifest: Manifest,
}

/// The plugin crates at these directories, or with `all` every one in their workspaces.
pub(crate) fn find(directories: &[PathBuf], all: bool) -> Result<Vec<Package>, PackageError> {
    let mut found: Vec<Package> = Vec::new();
    for directory in directories {
        for package in of_directory(directory, all)? {
            if !found.iter().any(|known| known.directory == package.directory) {
                found.push(package);
            }
        }
    }
    Ok(found)
}

fn of_directory(directory: &Path, all: bool) -> Result<Vec<Package>, PackageError> {
    let metadata = metadata(directory)?;
    let here = directory.canonicalize().map_err(|source| PackageError::Read {
        path: directory.to_owned(),
        source,
    })?;
    let mut packages = Vec::new();
    for package in &metadata.packages {
        let Some(home) = package.manifest_path.parent() else {
            continue;
        };
        let wanted = if all {
            home.join("plugin.toml").exists()
        } else {
            home == here
        };
        if wanted {
            packages.push(load(package, home, &metadata)?);
        }
    }
    match packages.is_empty() {
        false => Ok(packages),
        true if all => Err(PackageError::NoPlugins {
            directory: directory.to_owned(),
        }),
        true => Err(PackageError::NoManifest {
            directory: directory.to_owned(),
        }),
    }
}

fn load(package: &CargoPackage, home: &Path, metadata: &Metadata) -> Result<Package, PackageError> {
    let path = home.join("plugin.toml");
    if !path.exists() {
        return Err(PackageError::NoManifest {
            directory: home.to_owned(),
        });
    }
    let manifest = manifest(&path)?;
    let about = &manifest.plugin;
    if about.version.to_string() != package.version {
        let why = format!(
            "the version is {}, but the crate's is {}; make them equal",
            about.version, package.version
        );
        return mismatch(&path, why);
    }
    let target = package
        .targets
        .iter()
        .find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"));
    let Some(target) = target else {
        let why = "the crate makes no module; add\n    [lib]\n    crate-type = [\"cdylib\"]".to_owned();
        return mismatch(&package.manifest_path, why);
    };
    Ok(Package {
        crate_name: package.name.clone(),
        target_name: target.name.replace('-', "_"),
        directory: home.to_owned(),
        workspace: metadata.workspace_root.clone(),
        target_directory: metadata.target_directory.clone(),
        manifest,
    })
}

/// Reads `plugin.toml` and checks what the host would not, as the builder names files by it.
pub(super) fn manifest(path: &Path) -> Result<Manifest, PackageError> {
    let text = fs::read_to_string(path).map_err(|source| PackageError::Read {
        path: path.to_owned(),
        source,
    })?;
    let manifest: Manifest = toml::from_str(&text).map_err(|source| PackageError::Manifest {
        path: path.to_owned(),
        source,
    })?;
    let about = &manifest.plugin;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if about.name.is_empty() || !about.name.chars().all(plain) {
        let why = format!("the name `{}` has more in it than a-z, 0-9 and dashes", about.name);
        return mismatch(path, why);
    }
    if about.component != format!("{}.wasm", about.name) {
        let why = format!("the component is `{}`; name it `{}.wasm`", about.component, about.name);
        return mismatch(path, why);
    }
    Ok(manifest)
}

fn mismatch<T>(path: &Path, why: String) -> Result<T, PackageError> {
    Err(PackageError::Mismatch {
        path: path.to_owned(),
        why,
    })
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<CargoPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    crate_types: Vec<String>,
}

fn metadata(directory: &Path) -> Result<Metadata, PackageError> {
    let no_crate = |why: String| PackageError::NoCrate {
        directory: directory.to_owned(),
        why,
    };
    if !directory.is_dir() {
        return Err(no_crate("there is no such directory".to_owned()));
    }
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .map_err(PackageError::NoCargo)?;
    if !output.status.success() {
        return Err(no_crate(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| no_crate(error.to_string()))
}
