//! `cargo xtask test`: everything that CI runs, cheapest first, so that a slip in the format is not found after ten
//! minutes of compiling.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::build::{self, cargo, check};
use crate::{drift, real, say};

pub(crate) fn run() -> Result<()> {
    let began = Instant::now();
    stage("format", || check(&mut cargo(&["fmt", "--all", "--check"])))?;
    stage("lints", || {
        check(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))
    })?;
    stage("plugins", || build::plugins().map(|_| ()))?;
    stage("generated files", drift::run)?;
    stage("documentation", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
        check(doc.env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    stage("tests", tests)?;
    stage("real platforms", real::installed)?;
    say(&format!("\nall stages passed in {} s", began.elapsed().as_secs()));
    Ok(())
}

fn stage(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("\n== {name}"));
    work().with_context(|| format!("stage `{name}`"))
}

/// nextest runs tests side by side and prints one summary line; without it cargo does the same work.
fn tests() -> Result<()> {
    build::shim()?;
    if has_nextest() {
        return check(&mut cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]));
    }
    check(&mut cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast"]))
}

fn has_nextest() -> bool {
    let mut asked: Command = cargo(&["nextest", "--version"]);
    asked
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
