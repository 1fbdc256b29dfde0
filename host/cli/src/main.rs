//! The `landfall` command: reads the arguments, runs one command, says what failed, and ends with the exit code.

mod client;
mod command;
mod connection;
mod exit;
mod failure;
mod follow;
mod output;
mod plugin;
mod render;
mod style;
mod table;
mod units;

use std::process::ExitCode;

use clap::Parser;

/// A daemon's many threads each keep memory of their own with the system's allocator, and a large job leaves it in
/// pieces: half as much again as is used. This one gives it back, as `.cargo/config.toml` has it.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = command::Cli::parse();
    cli.color.apply();
    let format = cli.format();
    let exit = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(failure::Failure::Internal(format!("cannot start the runtime: {error}"))),
    };
    exit.unwrap_or_else(|failure| failure.report(format)).into()
}
