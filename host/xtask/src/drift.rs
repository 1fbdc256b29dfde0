//! `cargo xtask drift`: a generated file that nobody generated again is a lie, so it fails the suite.

use std::fs;

use anyhow::{Result, ensure};

use crate::{build, generate, say};

pub(crate) fn run() -> Result<()> {
    let files = generate::all()?;
    let differs = |file: &&generate::Generated| {
        fs::read_to_string(build::root().join(file.path)).ok().as_ref() != Some(&file.text)
    };
    let stale: Vec<&str> = files.iter().filter(differs).map(|file| file.path).collect();
    ensure!(
        stale.is_empty(),
        "generated files are out of date: {}; run `cargo xtask generate`",
        stale.join(", ")
    );
    say(&format!("{} generated files are up to date", files.len()));
    Ok(())
}
