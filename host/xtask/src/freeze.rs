//! `cargo xtask freeze`: keeps a copy of the contract as it is now. From then on a test refuses every change that a
//! plugin built for this version would not survive (`wit/VERSIONING.md`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{check, output, root};

pub(crate) fn run() -> Result<()> {
    let wit = root().join("wit");
    let types = fs::read_to_string(wit.join("types.wit"))?;
    let version = types
        .lines()
        .find_map(|line| line.strip_prefix("package landfall:plugin@")?.strip_suffix(';'))
        .context("wit/types.wit names no package version")?;
    let frozen = wit.join("frozen");
    let place = frozen.join(version);
    if place.exists() {
        bail!("version {version} is frozen already; give the package in wit/*.wit a new version first");
    }
    // A contract that breaks its own line is not worth keeping.
    check(crate::build::cargo(&["test", "--workspace", "--test", "it", "no_incompatible_change"]).arg("--quiet"))?;
    fs::create_dir_all(&place)?;
    for file in texts(&wit)? {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(&file, place.join(name))?;
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(&frozen)? {
        let directory = entry?.path();
        if directory.is_dir() {
            all.extend(texts(&directory)?);
        }
    }
    let mut names = Vec::new();
    for file in &all {
        names.push(file.strip_prefix(&frozen)?);
    }
    names.sort();
    let sums = output(Command::new("sha256sum").args(names).current_dir(&frozen))?;
    fs::write(frozen.join("SHA256SUMS"), sums)?;
    crate::print(&format!("wit/frozen/{version} holds the contract; commit it"))
}

fn texts(directory: &std::path::Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            found.push(path);
        }
    }
    Ok(found)
}
