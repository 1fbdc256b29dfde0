//! `cargo xtask bench`: the benchmarks, with our own crates optimised too. Dependencies are optimised in the daily
//! profile already, so only our crates compile again.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, check};

/// Both programs, in the daily profile but for our own crates.
const OPTIMISED: [&str; 6] = [
    "--bin",
    "landfall",
    "--bin",
    "landfall-bench",
    "--config",
    "profile.dev.opt-level=3",
];

pub(crate) fn run() -> Result<()> {
    build::plugins()?;
    let bench = build::program("landfall-bench", &OPTIMISED)?;
    check(&mut Command::new(bench))
}
