//! Plugins in Python and JavaScript: a directory with `plugin.toml`, whose `[build]` names the source file.
//!
//! The plugin's world, the SDK and a main module that ties both to the author's file are laid out in `target/guest`; then
//! the language's own tool makes the component there. It takes a while, so a component is made again only if something
//! that goes into it is another than last time.

mod javascript;
mod python;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use landfall_runtime::{Kind, Manifest};
use serde::Serialize;
use thiserror::Error;

use super::package::{self, PackageError};
use super::sdk;
use super::tools::{Tool, ToolsError};
use super::world::{self, WorldError};

/// Nothing below these goes into a component.
const NO_SOURCE: [&str; 4] = ["target", "node_modules", "__pycache__", "tests"];

/// Why there is no component.
#[derive(Debug, Error)]
pub(crate) enum GuestError {
    /// The directory is no project.
    #[error(transparent)]
    Project(#[from] PackageError),
    /// The tools are missing.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// The manifest asks for a world that there is not.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The tool refused the source.
    #[error("{tool} made no component of {}:\n{why}", .entry.display())]
    Source {
        /// Which tool.
        tool: &'static str,
        /// The author's file.
        entry: PathBuf,
        /// What it said.
        why: String,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", .path.display())]
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

/// The languages beside Rust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Python,
    JavaScript,
}

/// A plugin that is no crate.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) directory: PathBuf,
    pub(crate) manifest: Manifest,
    entry: String,
    language: Language,
}

/// What the main module must know of the manifest.
#[derive(Debug, Serialize)]
struct About<'a> {
    name: &'a str,
    version: String,
    kind: &'static str,
    summary: &'a str,
    entry: &'a str,
    exports: &'a [String],
}

/// A component, and what made it.
pub(crate) struct Made {
    pub(crate) component: PathBuf,
    pub(crate) tool: String,
}

/// Whether the directory holds such a project; a crate is none, whatever else it has.
pub(crate) fn is_project(directory: &Path) -> bool {
    directory.join("plugin.toml").exists() && !directory.join("Cargo.toml").exists()
}

impl Project {
    /// Reads and checks the manifest.
    pub(crate) fn load(directory: &Path) -> Result<Self, GuestError> {
        let directory = directory
            .canonicalize()
            .map_err(|source| io("read", directory, source))?;
        let path = directory.join("plugin.toml");
        let manifest = package::manifest(&path)?;
        let mismatch = |why: String| {
            GuestError::Project(PackageError::Mismatch {
                path: path.clone(),
                why,
            })
        };
        let Some(build) = &manifest.build else {
            let why = "there is no Cargo.toml beside it, so it needs to say what to build:\n    [build]\n    entry = \"app.py\"\n\
                       (or app.js, app.ts)";
            return Err(mismatch(why.to_owned()));
        };
        let entry = build.entry.clone();
        let language = match Path::new(&entry).extension().and_then(|ending| ending.to_str()) {
            Some("py") => Language::Python,
            Some("js" | "mjs" | "ts") => Language::JavaScript,
            _ => {
                return Err(mismatch(format!(
                    "[build] entry is `{entry}`; name a file that ends in .py, .js or .ts"
                )));
            }
        };
        if !directory.join(&entry).is_file() {
            return Err(mismatch(format!(
                "[build] entry is `{entry}`, and there is no such file"
            )));
        }
        Ok(Self {
            directory,
            manifest,
            entry,
            language,
        })
    }

    /// Where everything is made.
    fn work(&self) -> PathBuf {
        self.directory.join("target").join("guest")
    }

    fn about(&self) -> About<'_> {
        let about = &self.manifest.plugin;
        About {
            name: &about.name,
            version: about.version.to_string(),
            kind: about.kind.as_str(),
            summary: &about.summary,
            entry: &self.entry,
            exports: self.manifest.build.as_ref().map_or(&[], |build| &build.exports),
        }
    }

    /// The module of the SDK that makes the exports of this kind.
    fn glue(&self) -> &'static str {
        match self.manifest.plugin.kind {
            Kind::Runbook => "runbook",
            Kind::HypervisorAdapter => "adapter",
            Kind::RecoveryPointPolicy => "policy",
        }
    }

    /// Makes the component, unless it is there already.
    pub(crate) fn make(&self, notes: &mut dyn Write) -> Result<Made, GuestError> {
        let tool = match self.language {
            Language::Python => super::tools::python(notes)?,
            Language::JavaScript => super::tools::javascript(notes)?,
        };
        let work = self.work();
        let (component, mark) = (work.join("component.wasm"), work.join("made-of"));
        let made_of = self.inputs(&tool)?;
        if component.exists() && fs::read_to_string(&mark).is_ok_and(|text| text == made_of) {
            return Ok(Made {
                component,
                tool: tool.name,
            });
        }
        // A note that cannot be written is no reason not to build.
        let name = &self.manifest.plugin.name;
        let _ = writeln!(notes, "Making the component of {name} with {} (some 20 s)", tool.name);
        if work.exists() {
            fs::remove_dir_all(&work).map_err(|source| io("write", &work, source))?;
        }
        let world = world::lay_out(&self.manifest, &work.join("wit"))?;
        match self.language {
            Language::Python => python::make(self, &tool, &world, &component)?,
            Language::JavaScript => javascript::make(self, &tool, &world, &component)?,
        }
        fs::write(&mark, made_of).map_err(|source| io("write", &mark, source))?;
        Ok(Made {
            component,
            tool: tool.name,
        })
    }

    /// Tells one set of inputs from another: sources, SDK, contract and tool.
    fn inputs(&self, tool: &Tool) -> Result<String, GuestError> {
        let mut sources = Vec::new();
        collect(&self.directory, "", &mut sources)?;
        sources.sort();
        let mut all: Vec<(&str, &[u8])> = vec![("tool", tool.name.as_bytes())];
        all.extend(sources.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        all.extend(landfall_wit::FILES.iter().map(|(name, text)| (*name, text.as_bytes())));
        let sdk = sdk::below(match self.language {
            Language::Python => "python/landfall",
            Language::JavaScript => "js",
        });
        all.extend(sdk.map(|(name, bytes): (&str, &[u8])| (name, bytes)));
        Ok(sdk::fingerprint(all.into_iter()))
    }
}

/// The author's files that can go into a component.
fn collect(directory: &Path, prefix: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<(), GuestError> {
    let entries = fs::read_dir(directory).map_err(|source| io("read", directory, source))?;
    for entry in entries {
        let path = entry.map_err(|source| io("read", directory, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let document = path.extension().is_some_and(|ending| ending == "md");
        if name.starts_with('.') || document || NO_SOURCE.contains(&name.as_str()) {
            continue;
        }
        let below = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{below}/"), found)?;
        } else {
            found.push((below, fs::read(&path).map_err(|source| io("read", &path, source))?));
        }
    }
    Ok(())
}

fn lay_out_sdk(prefix: &str, directory: &Path) -> Result<(), GuestError> {
    sdk::lay_out(prefix, directory).map_err(|source| io("write", directory, source))
}

fn write(path: &Path, text: &str) -> Result<(), GuestError> {
    sdk::write(path, text.as_bytes()).map_err(|source| io("write", path, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> GuestError {
    GuestError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
