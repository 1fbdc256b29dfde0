//! The `landfall` command.

mod plugin;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    version,
    about = "Disaster-recovery automation: recovery plans, run by sandboxed plugins"
)]
enum Command {
    /// Build, check and list plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Plugin(command) => command.run(),
    }
}
