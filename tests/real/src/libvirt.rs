//! Two libvirt sites on this machine: two daemons without privileges, each with QEMU in software, and guests of a few
//! megabytes that count.

mod cleaner;
mod guest;
mod host;
mod measure;
mod packages;
mod site;
mod story;
mod tell;
mod trouble;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use self::cleaner::Cleaner;
use self::site::Site;
use crate::say;

pub(crate) use self::cleaner::clean;

/// What Debian has of it, and a kernel for the guests.
pub(crate) fn install() -> Result<()> {
    packages::install()?;
    packages::kernel().map(drop)
}

/// What is played.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Form {
    /// Three tiers: protect, test, cleanup, planned, commit, back, failback, unplanned; the daemon is killed twice
    Whole,
    /// One guest, to its commit
    Short,
    /// What goes wrong at a site: its daemon ends, a machine is deleted, its pool is full
    Trouble,
    /// Speed and memory of replication
    Measure,
}

/// The short form; where something is missing that is said, and nothing is installed.
pub(crate) fn run_if_installed(landfall: &Path, plugins: &Path) -> Result<()> {
    if let Some(missing) = packages::absent() {
        say(&format!(
            "\n!! SKIPPED: libvirt with real guests. Missing: {missing}\n!! `cargo xtask real libvirt --install` installs it.\n"
        ));
        return Ok(());
    }
    run(landfall, plugins, Form::Short)
}

/// Plays it, and cleans up.
pub(crate) fn run(landfall: &Path, plugins: &Path, form: Form) -> Result<()> {
    let (landfall, plugins) = (&landfall.canonicalize()?, &plugins.canonicalize()?);
    packages::install()?;
    let kernel = packages::kernel()?;
    let directory = tempfile::Builder::new()
        .prefix("lf-real-")
        .tempdir()
        .context("no temporary directory")?
        .keep();
    let cleaner = Cleaner::watch(&directory)?;
    let result = match form {
        Form::Whole => story::play(landfall, plugins, &directory, &kernel, false),
        Form::Short => story::play(landfall, plugins, &directory, &kernel, true),
        Form::Trouble => trouble::play(landfall, plugins, &directory, &kernel),
        Form::Measure => measure::play(landfall, plugins, &directory, &kernel),
    };
    match result {
        Ok(()) => cleaner.clean_all(),
        Err(error) => {
            // What happened is in the logs, so they stay.
            cleaner.end_only()?;
            Err(error.context(format!("it failed; logs and disks are in {}", directory.display())))
        }
    }
}

/// Two sites with one guest, for the conformance suite.
pub(crate) fn sites_until_ended(directory: &Path, ready: &Path) -> Result<()> {
    packages::install()?;
    let kernel = packages::kernel()?;
    let cleaner = Cleaner::watch(directory)?;
    let image = guest::image(directory, &kernel)?;
    let a = Site::up(directory, "a")?;
    let b = Site::up(directory, "b")?;
    a.pool()?;
    b.pool()?;
    a.guest(&image, "db", 0)?;
    a.boot("db")?;
    fs::write(ready, "unix:/").context("cannot say that it is ready")?;
    std::thread::park();
    drop((a, b));
    cleaner.end_only()
}
