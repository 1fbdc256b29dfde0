//! `cargo xtask real`: the whole cycle on hypervisors that are real. What runs stands in `tests/real`.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, check};

/// Which hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// Two libvirt daemons with QEMU and real guests
    Libvirt,
}

pub(crate) fn run(what: What, short: bool) -> Result<()> {
    let built = build::plugins()?;
    let program = build::program("landfall-real", &["--bin", "landfall-real"])?;
    let mut command = Command::new(program);
    match what {
        What::Libvirt => command.arg("libvirt"),
    };
    command
        .arg("--landfall")
        .arg(&built.landfall)
        .arg("--plugins")
        .arg(&built.plugins);
    if short {
        command.arg("--short");
    }
    check(command.current_dir(build::root()))
}
