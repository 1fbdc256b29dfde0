//! `cargo xtask bench`: the benchmarks, with our own crates optimised too. Dependencies are optimised in the daily
//! profile already, so only our crates compile again.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, cargo, check};

/// The daily profile, but for our own crates.
const OPTIMISED: [&str; 2] = ["--config", "profile.dev.opt-level=3"];

pub(crate) fn run() -> Result<()> {
    let built = build::plugins()?;
    check(cargo(&["build", "--workspace", "--bin", "landfall", "--bin", "landfall-bench"]).args(OPTIMISED))?;
    check(&mut std::process::Command::new(
        build::target_directory().join("debug/landfall-bench"),
    ))
}
