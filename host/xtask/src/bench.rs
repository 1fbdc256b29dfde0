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

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// Durable steps beside those of Restate, DBOS and Ansible; one that is absent is skipped with a word
    Peers,
    /// A plan of 1,000 lab machines, at full speed and against the ideal
    Plan,
    /// Plugin calls beside other ways to run code, and hostile plugins beside others
    Plugins,
    /// 10,000 lab machines in one plan, killed at half way: some minutes
    Scale,
    /// Durable steps of the executor and the store alone
    Steps,
}

impl What {
    fn benchmarks(self) -> &'static [&'static str] {
        match self {
            Self::Peers => &["durable"],
            Self::Plan => &["plan"],
            Self::Plugins => &["calls", "isolation", "reload"],
            Self::Scale => &["scale"],
            Self::Steps => &["steps"],
        }
    }
}

/// Builds the one peer that wants a program of ours, if its server is there. It is a workspace of its own: nothing else
/// needs what it needs.
fn peers() -> Result<()> {
    if !build::root()
        .join("target/peers/npm/node_modules/.bin/restate-server")
        .exists()
    {
        return Ok(());
    }
    let manifest = "tests/bench/peers/restate/Cargo.toml";
    let mut cargo = build::cargo(&["build", "--release", "--manifest-path", manifest]);
    check(cargo.env("CARGO_TARGET_DIR", build::root().join("target/peers/restate")))
}

pub(crate) fn run(what: &[What]) -> Result<()> {
    build::plugins()?;
    let bench = build::program("landfall-bench", &OPTIMISED)?;
    if what.contains(&What::Peers) {
        peers()?;
    }
    let names = what.iter().flat_map(|what| what.benchmarks());
    check(Command::new(bench).args(names).current_dir(build::root()))
}
