//! Two libvirt sites on this machine: two daemons without privileges, each with QEMU in software, and guests of a few
//! megabytes that count.

mod agent;
mod between;
mod breaks;
mod cleaner;
mod doors;
mod full;
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
use crate::{Built, skipped};

pub(crate) use self::cleaner::clean;

/// What is played; the whole story, or its short form, if nothing is said.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Form {
    /// What goes wrong at a site: its daemon ends, answers break off, a machine is deleted, a disk is full, a
    /// certificate is not trusted
    #[arg(long)]
    trouble: bool,
    /// Only a guest with two disks and an agent, and its application-consistent points
    #[arg(long)]
    agent: bool,
    /// Speed and memory of replication
    #[arg(long)]
    measure: bool,
}

/// The short form; where something is missing that is said, and nothing is installed.
pub(crate) fn run_if_installed(built: &Built) -> Result<()> {
    if let Some(missing) = packages::absent() {
        skipped("libvirt", &missing);
        return Ok(());
    }
    let form = Form {
        trouble: false,
        agent: false,
        measure: false,
    };
    run(built, form)
}

/// What it needs of Debian.
pub(crate) fn install() -> Result<()> {
    packages::install().map(drop)
}

/// Plays it, and cleans up.
pub(crate) fn run(built: &Built, form: Form) -> Result<()> {
    let (landfall, plugins) = (&built.landfall, &built.plugins);
    let kernel = packages::install()?;
    let directory = tempfile::Builder::new()
        .prefix("lf-real-")
        .tempdir()
        .context("no temporary directory")?
        .keep();
    let cleaner = Cleaner::watch(&directory)?;
    let result = if form.trouble {
        trouble::play(landfall, plugins, &directory, &kernel)
    } else if form.agent {
        guest::image(&directory, &kernel).and_then(|image| agent::play(landfall, plugins, &directory, &image))
    } else if form.measure {
        measure::play(landfall, plugins, &directory, &kernel)
    } else {
        play(landfall, plugins, &directory, &kernel, built.short)
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

fn play(landfall: &Path, plugins: &Path, directory: &Path, kernel: &packages::Kernel, short: bool) -> Result<()> {
    let image = guest::image(directory, kernel)?;
    story::play(landfall, plugins, directory, &image, short)?;
    if short {
        return Ok(());
    }
    // Its guests count on, and others need the processors now.
    for site in ["north", "south"] {
        cleaner::end_all(&directory.join(site))?;
    }
    agent::play(landfall, plugins, directory, &image)
}

/// Two sites with one guest, for the conformance suite.
pub(crate) fn sites_until_ended(directory: &Path, ready: &Path) -> Result<()> {
    let kernel = packages::install()?;
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
