//! `landfall lab`: two virtual sites in one process behind an HTTP API, and the oracle of all tests.
//!
//! Every effect on a site is a line in an append-only ledger, and the lab's state is the fold of those lines; so it
//! can be asked afterwards what really happened, and it survives its own restart. Machines really hold data, so what a
//! recovery lost is counted by reading disks. `API.md` is the reference of the API.

mod activity;
mod api;
mod autonomous;
mod blobs;
mod check;
mod clock;
mod disk;
mod effect;
mod entry;
mod facts;
mod fault;
mod fold;
mod lab;
mod ledger;
mod operation;
mod record;
mod server;
mod state;
mod task;

#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Options of `landfall lab`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Directory of the ledger and the replicas' data; it is made if it is missing
    #[arg(long, value_name = "DIRECTORY")]
    pub data: PathBuf,
    /// How many times faster than the wall clock the lab lives; a restarted lab keeps its own
    #[arg(long, value_name = "FACTOR", value_parser = parse_scale)]
    pub time_scale: Option<f64>,
    /// File to write the lab's URL to, once it listens
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Why the lab did not start or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The data directory or the ledger cannot be used.
    #[error("the lab's data at {} cannot be used", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// A line of the ledger is damaged.
    #[error("line {number} of {} is no ledger entry", path.display())]
    Line {
        /// The ledger.
        path: PathBuf,
        /// The line, from 1.
        number: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A line of the ledger is missing or was put in.
    #[error("line {number} of {} carries the number {seq}", path.display())]
    Order {
        /// The ledger.
        path: PathBuf,
        /// The line, from 1.
        number: u64,
        /// The number that it carries.
        seq: u64,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The ready file cannot be written.
    #[error("cannot write {}", path.display())]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The process cannot be told to stop.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
    /// The time scale makes no sense.
    #[error("{0}")]
    Scale(String),
}

/// Runs the lab until SIGTERM or ctrl-c. Dropping the future stops it as hard as a kill does, and harms nothing.
///
/// # Errors
/// See [`LabError`]; once it listens, only the loss of its ledger ends it.
pub async fn run(options: Options) -> Result<(), LabError> {
    let address = options.listen;
    let failed = |source| LabError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(LabError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(LabError::Signal)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(listener, options, stop).await
}

/// Serves the lab on a listener until `shutdown` is over; `options.listen` is not looked at.
///
/// # Errors
/// See [`LabError`].
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), LabError> {
    let scale = options
        .time_scale
        .map(scale_milli)
        .transpose()
        .map_err(LabError::Scale)?;
    let lab = lab::Lab::open(&options.data, clock::wall_ms(), scale)?;
    let address = listener.local_addr().map_err(|source| LabError::Listen {
        address: options.listen,
        source,
    })?;
    let url = format!("http://{address}");
    tracing::info!(%url, data = %options.data.display(), entries = lab.state.seq, "the lab is ready");
    let app = api::App::new(lab);
    if let Some(path) = &options.ready_file {
        write_whole(path, &url).map_err(|source| LabError::ReadyFile {
            path: path.clone(),
            source,
        })?;
    }
    server::serve(listener, app, shutdown).await;
    Ok(())
}

/// Writes a file so that a reader finds all of it or nothing.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}

/// A time scale in thousandths.
fn scale_milli(scale: f64) -> Result<u64, String> {
    // Slower than a thousandth nothing would ever end; faster than a million, the first millisecond is a quarter hour.
    if (0.001..=1e6).contains(&scale) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let milli = (scale * 1000.0).round() as u64;
        return Ok(milli);
    }
    Err(format!("a time scale of {scale} is not between 0.001 and 1000000"))
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    scale_milli(scale).map(|_| scale)
}
