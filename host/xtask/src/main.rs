//! `cargo xtask`: what developers run. It drives cargo and the built `landfall` as anybody else would, and links
//! nothing of the host, so that it is there within seconds on a machine that has compiled nothing yet.

mod battery;
mod bench;
mod build;
mod demo;
mod drift;
mod freeze;
mod generate;
mod real;
mod requirements;
mod suite;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Developer commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Build everything, and watch a three-tier application fail over from one virtual site to another
    Demo,
    /// Everything that CI runs: format, lints, plugins, drift, documentation, all tests, real platforms
    Test,
    /// Build `landfall` and compile all plugins of this repository into `target/plugins`
    BuildPlugins,
    /// Measure
    Bench {
        /// What; all of it if nothing is said
        #[arg(value_enum, default_values = ["plan", "plugins", "steps"])]
        what: Vec<bench::What>,
    },
    /// Break everything that can break, and count what was lost, doubled, or active twice
    Battery {
        /// Within twenty minutes, as CI runs it
        #[arg(long)]
        ci: bool,
        /// Put the table into the README
        #[arg(long)]
        write: bool,
        /// Only the tests with this in their name, such as `t03`
        filter: Option<String>,
    },
    /// Play a whole life of protected machines against a real platform: `cargo xtask real --help` names them
    Real {
        /// The platform, and `--short` for the main path alone
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Keep a copy of the plugin contract as it is now, for the fence against incompatible changes
    Freeze,
    /// Write the generated files: command reference, schemas, the table of requirements
    Generate,
    /// Fail if a generated file is not what `generate` would write
    Drift,
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Demo => demo::run(),
        Command::Test => suite::run(),
        Command::BuildPlugins => build::plugins().map(|_| ()),
        Command::Bench { what } => bench::run(&what),
        Command::Battery { ci, write, filter } => battery::run(ci, write, filter.as_deref()),
        Command::Real { arguments } => real::run(&arguments),
        Command::Freeze => freeze::run(),
        Command::Generate => generate::run(),
        Command::Drift => drift::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on stderr. Where nobody reads it there is nobody to tell.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}

/// A line on stdout.
fn print(words: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{words}")?)
}
