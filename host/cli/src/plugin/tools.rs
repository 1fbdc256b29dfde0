//! What makes components of Python and JavaScript: found on this machine, or installed once into the user's cache.
//!
//! Versions are pinned, so that two people build alike. An installation lives in a directory named after its version,
//! under a lock, and counts only once a mark was written into it: one that was interrupted is made again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use etcetera::{BaseStrategy, choose_base_strategy};
use thiserror::Error;

use super::sdk;
use super::toolchain::{install_debian, note, output};

/// It embeds CPython; older ones know other WASI versions than the contract's.
const COMPONENTIZE_PY: &str = "0.25.1";

/// In an installation that is whole.
const WHOLE: &str = "whole";

/// What the JavaScript tools run on; older ones lack what they use.
const OLDEST_NODE: u32 = 20;

/// No tool, with what would give one.
#[derive(Debug, Error)]
pub(crate) enum ToolsError {
    /// A program that others bring.
    #[error("{needed_for} plugins need {program}: {why}\nrun\n    {cure}\nand try again")]
    Missing {
        /// `Python`, `JavaScript`.
        needed_for: &'static str,
        /// What is missing.
        program: &'static str,
        /// What it came to.
        why: String,
        /// A command.
        cure: String,
    },
    /// A download failed.
    #[error("cannot install {what} into {}: {why}\n{hint}", .directory.display())]
    Install {
        /// Name and version.
        what: String,
        /// Where.
        directory: PathBuf,
        /// The installer's last words.
        why: String,
        /// What else would do.
        hint: String,
    },
    /// The cache cannot be used.
    #[error("cannot use {}", .path.display())]
    Cache {
        /// Which directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no place for a cache.
    #[error("this user has no home directory, so there is no place for build tools; set XDG_CACHE_HOME")]
    NoHome,
}

/// A tool that is there.
#[derive(Debug)]
pub(crate) struct Tool {
    /// For people: which, and where from.
    pub(crate) name: String,
    /// `componentize-py` itself, or the directory that has `node_modules`.
    pub(crate) path: PathBuf,
}

/// `componentize-py`: on the path in the pinned version, else in an environment of its own.
pub(crate) fn python(notes: &mut dyn Write) -> Result<Tool, ToolsError> {
    if is_componentize_py(Path::new("componentize-py")) {
        return Ok(Tool {
            name: format!("componentize-py {COMPONENTIZE_PY} (on the path)"),
            path: "componentize-py".into(),
        });
    }
    let install = |directory: &Path, notes: &mut dyn Write| install_componentize_py(directory, notes);
    let check = |directory: &Path| is_componentize_py(&program(directory));
    let directory = installed(&format!("componentize-py-{COMPONENTIZE_PY}"), check, install, notes)?;
    Ok(Tool {
        name: format!("componentize-py {COMPONENTIZE_PY} (in {})", directory.display()),
        path: program(&directory),
    })
}

fn program(directory: &Path) -> PathBuf {
    directory.join("bin").join("componentize-py")
}

fn is_componentize_py(program: &Path) -> bool {
    output(Command::new(program).arg("--version")).is_ok_and(|words| words.trim().ends_with(COMPONENTIZE_PY))
}

fn install_componentize_py(directory: &Path, notes: &mut dyn Write) -> Result<(), ToolsError> {
    let environment = || output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory));
    if let Err(first) = environment() {
        let packages = ["python3", "python3-venv"];
        let made = install_debian(&packages, notes).and_then(|()| environment());
        made.map_err(|second| ToolsError::Missing {
            needed_for: "Python",
            program: "python3 with its `venv` module",
            why: format!("{first}; {second}"),
            cure: "sudo apt-get install python3 python3-venv    (Debian; elsewhere: Python 3.10 or later)".to_owned(),
        })?;
    }
    let wanted = format!("componentize-py=={COMPONENTIZE_PY}");
    let mut pip = Command::new(directory.join("bin").join("python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", &wanted]);
    output(&mut pip).map(|_| ()).map_err(|why| ToolsError::Install {
        what: format!("componentize-py {COMPONENTIZE_PY}"),
        directory: directory.to_owned(),
        why,
        hint: format!(
            "`pip install {wanted}` must work here; a componentize-py {COMPONENTIZE_PY} on the path will do too"
        ),
    })
}

/// `componentize-js` and the bundler before it, in the versions of the lock file that the program carries.
pub(crate) fn javascript(notes: &mut dyn Write) -> Result<Tool, ToolsError> {
    let node = node(notes)?;
    let locked = || sdk::below("js/tools").filter(|(name, _)| name.starts_with("package"));
    let install = |directory: &Path, _: &mut dyn Write| {
        for (name, bytes) in locked() {
            let path = directory.join(name);
            sdk::write(&path, bytes).map_err(|source| ToolsError::Cache { path, source })?;
        }
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel",
            "error",
        ])
        .current_dir(directory);
        output(&mut npm).map(|_| ()).map_err(|why| ToolsError::Install {
            what: "componentize-js and esbuild".to_owned(),
            directory: directory.to_owned(),
            why,
            hint: "`npm install` must be able to reach its registry here".to_owned(),
        })
    };
    let name = format!("componentize-js-{}", sdk::fingerprint(locked()));
    let directory = installed(&name, |_| true, install, notes)?;
    Ok(Tool {
        name: format!("componentize-js on Node.js {node} (in {})", directory.display()),
        path: directory,
    })
}

/// The version of Node.js; npm is there too.
fn node(notes: &mut dyn Write) -> Result<String, ToolsError> {
    let ask = || -> Result<String, String> {
        let version = output(Command::new("node").arg("--version"))?;
        let version = version.trim().trim_start_matches('v').to_owned();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST_NODE) {
            return Err(format!("node is {version}, and {OLDEST_NODE} is the oldest that does"));
        }
        output(Command::new("npm").arg("--version")).map(|_| version)
    };
    ask().or_else(|first| {
        let found = install_debian(&["nodejs", "npm"], notes).and_then(|()| ask());
        found.map_err(|second| ToolsError::Missing {
            needed_for: "JavaScript",
            program: "Node.js 20 or later, with npm",
            why: if first == second {
                first
            } else {
                format!("{first}; {second}")
            },
            cure: "sudo apt-get install nodejs npm    (or from https://nodejs.org)".to_owned(),
        })
    })
}

/// The directory of a whole installation; made by `install` if there is none.
fn installed(
    name: &str,
    check: impl Fn(&Path) -> bool,
    install: impl Fn(&Path, &mut dyn Write) -> Result<(), ToolsError>,
    notes: &mut dyn Write,
) -> Result<PathBuf, ToolsError> {
    let cache = |path: &Path| {
        let path = path.to_owned();
        move |source| ToolsError::Cache { path, source }
    };
    let strategy = choose_base_strategy().map_err(|_| ToolsError::NoHome)?;
    let all = strategy.cache_dir().join("landfall").join("toolchains");
    fs::create_dir_all(&all).map_err(cache(&all))?;
    let directory = all.join(name);
    let whole = |directory: &Path| directory.join(WHOLE).exists() && check(directory);
    if whole(&directory) {
        return Ok(directory);
    }
    let lock = all.join(format!("{name}.lock"));
    let held = File::create(&lock).map_err(cache(&lock))?;
    // Let go of when the file is closed, however this ends.
    held.lock().map_err(cache(&lock))?;
    if whole(&directory) {
        return Ok(directory);
    }
    note(notes, &format!("Installing {name}, once (some 20 s and a download)"));
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(cache(&directory))?;
    }
    fs::create_dir_all(&directory).map_err(cache(&directory))?;
    install(&directory, notes)?;
    let mark = directory.join(WHOLE);
    File::create(&mark)
        .and_then(|file| file.sync_all())
        .map_err(cache(&mark))?;
    Ok(directory)
}
