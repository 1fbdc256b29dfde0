//! `landfall plugin`: commands for those who write plugins and those who install them.

mod build;
mod component;
mod package;
mod toolchain;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

/// The subcommands of `landfall plugin`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compile plugin crates to components, each into a directory of its own beside its `plugin.toml`.
    Build {
        /// Directories of plugin crates; the current one if none is given.
        paths: Vec<PathBuf>,
        /// Where the plugins go; by default `target/plugins` of the crate's workspace.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Every crate with a `plugin.toml` in the workspaces of the given directories.
        #[arg(long)]
        all: bool,
        /// How to print the result.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// How a result is printed.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Something the caller gave cannot be used as it is.
const REFUSED: u8 = 5;

impl Command {
    /// Runs the command: data goes to stdout, all else to stderr.
    pub(crate) fn run(self) -> ExitCode {
        let Self::Build {
            paths,
            out,
            all,
            output,
        } = self;
        let mut notes = anstream::stderr().lock();
        match build::build(&build::Request { paths, out, all }, &mut notes) {
            Ok(built) => match print(&built, output) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            },
            Err(error) => {
                let _ = writeln!(notes, "error: {:#}", anyhow::Error::new(error));
                ExitCode::from(REFUSED)
            }
        }
    }
}

fn print(built: &build::Built, output: Output) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match output {
        Output::Text => write!(out, "{built}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(built)?)?,
    }
    Ok(())
}
