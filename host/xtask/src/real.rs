//! `cargo xtask real`: the program against platforms that nobody here wrote. What is played, and what it needs, is in
//! `tests/real`; this builds it, the program and the plugins.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, check};

/// Passes everything on: which platforms there are is not this program's to know.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let built = build::plugins()?;
    let real = build::program("landfall-real", &["--bin", "landfall-real"])?;
    let mut command = Command::new(real);
    command.args(arguments);
    command
        .arg("--landfall")
        .arg(&built.landfall)
        .arg("--plugins")
        .arg(&built.plugins);
    check(command.current_dir(build::root()))
}
