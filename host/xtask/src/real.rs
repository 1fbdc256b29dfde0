//! `cargo xtask real`: the program against platforms that nobody here wrote. What is played, and what it needs, is in
//! `tests/real`; this builds it, the program and the plugins.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, check};

/// Passes everything on: which platforms there are is not this program's to know.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let real = build::program("landfall-real", &["--bin", "landfall-real"])?;
    let mut command = Command::new(real);
    command.args(arguments).current_dir(build::root());
    if arguments == ["install"] {
        // Before anything was built: a machine that is to test everything begins with it.
        return check(&mut command);
    }
    let built = build::plugins()?;
    check(
        command
            .arg("--landfall")
            .arg(&built.landfall)
            .arg("--plugins")
            .arg(&built.plugins),
    )
}

/// The short form of every platform that is installed; the others are named, loudly.
pub(crate) fn installed() -> Result<()> {
    run(&["installed".to_owned()])
}
