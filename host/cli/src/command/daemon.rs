//! `landfall daemon`: runs the daemon in the foreground, as service managers want it.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use landfall_daemon::api::wire::Reloaded;
use tracing_subscriber::EnvFilter;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon until SIGTERM or ctrl-c; jobs go on at the next start
    Run {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = "landfall.toml")]
        config: PathBuf,
        /// Listen here, whatever the configuration says
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
        /// File to write the address to once the daemon is ready
        #[arg(long, value_name = "FILE")]
        ready_file: Option<PathBuf>,
    },
    /// Read the configuration again: grants, limits and secrets hold at once (SIGHUP does the same)
    Reload,
    /// Print the OpenAPI description of the daemon's HTTP API
    Openapi,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (config, listen, ready_file) = match self {
            Self::Run {
                config,
                listen,
                ready_file,
            } => (config, listen, ready_file),
            Self::Reload => return reload(context).await,
            Self::Openapi => return openapi(),
        };
        log(context.out);
        let data = context.connection.data_dir.clone();
        let options = landfall_daemon::Options {
            config,
            data,
            listen,
            ready_file,
        };
        let mut terminate = signal()?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        landfall_daemon::run(options, shutdown).await?;
        Ok(Exit::Ok)
    }
}

async fn reload(context: &Context) -> Result<Exit, Failure> {
    let reloaded: Reloaded = context.client()?.post(&["reload"], &()).await?;
    let line = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("{what}: {}\n", names.join(", ")),
    };
    context.out.one(&reloaded, || {
        let changed = line("holds now", &reloaded.changed);
        let text = changed + &line("only after a restart", &reloaded.restart);
        if text.is_empty() {
            "nothing in the file has changed; secrets and certificates were read again\n".to_owned()
        } else {
            text
        }
    })?;
    Ok(Exit::Ok)
}

fn openapi() -> Result<Exit, Failure> {
    crate::output::write(&landfall_daemon::api::openapi())?;
    Ok(Exit::Ok)
}

fn signal() -> Result<tokio::signal::unix::Signal, Failure> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| Failure::Internal(format!("cannot listen for signals: {error}")))
}

/// Logs to stderr: `LANDFALL_LOG` chooses what, `-v` says more, `-o json` writes a JSON line for each.
pub(super) fn log(out: Output) {
    let level = match (out.quiet, out.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "info,landfall=debug,landfall_daemon=debug,landfall_runtime=debug,landfall_lab=debug",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("LANDFALL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match out.format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json | Format::Jsonl => log.json().init(),
    }
}
