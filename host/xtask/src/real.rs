//! `cargo xtask real`: the whole cycle on hypervisors that are real. What runs, and which there are, stands in `tests/real`.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, Built, check};

/// How much of it.
#[expect(clippy::struct_excessive_bools, reason = "options that exclude each other")]
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Form {
    /// Only what `test` runs too
    #[arg(long)]
    short: bool,
    /// What goes wrong at a site
    #[arg(long)]
    trouble: bool,
    /// Speed and memory of replication
    #[arg(long)]
    measure: bool,
    /// Only install what it needs from Debian
    #[arg(long)]
    install: bool,
}

pub(crate) fn run(what: &str, form: Form) -> Result<()> {
    if form.install {
        return check(program()?.arg(format!("{what}-install")));
    }
    let built = build::plugins()?;
    let mut command = story(what, &built)?;
    for (wanted, name) in [
        (form.short, "short"),
        (form.trouble, "trouble"),
        (form.measure, "measure"),
    ] {
        if wanted {
            command.args(["--form", name]);
        }
    }
    check(&mut command)
}

/// The short form of each, where what it needs is there; where it is not, that is said.
pub(crate) fn short(built: &Built) -> Result<()> {
    check(&mut story("short", built)?)
}

fn program() -> Result<Command> {
    let mut command = Command::new(build::program("landfall-real", &["--bin", "landfall-real"])?);
    command.current_dir(build::root());
    Ok(command)
}

fn story(what: &str, built: &Built) -> Result<Command> {
    let mut command = program()?;
    command.arg(what);
    command
        .arg("--landfall")
        .arg(&built.landfall)
        .arg("--plugins")
        .arg(&built.plugins);
    Ok(command)
}
