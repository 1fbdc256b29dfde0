//! Finds the daemon: its address and its token, from arguments, environment, or the files that it writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};

/// Where a daemon listens whose configuration does not say otherwise.
const SERVER: &str = "http://127.0.0.1:7420";

/// Which daemon is meant.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Connection {
    /// The daemon's address [default: what its data directory says, else http://127.0.0.1:7420]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "LANDFALL_SERVER",
        hide_env_values = true
    )]
    pub(crate) server: Option<String>,
    /// File with the daemon's token [default: `token` in the data directory]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "LANDFALL_TOKEN_FILE",
        hide_env_values = true
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The daemon's data directory [default: $XDG_STATE_HOME/landfall]
    #[arg(
        long,
        global = true,
        value_name = "DIRECTORY",
        env = "LANDFALL_DATA",
        hide_env_values = true
    )]
    pub(crate) data_dir: Option<PathBuf>,
}

/// A token, or why there is none: only a daemon that wants one makes that an error.
#[derive(Debug)]
pub(crate) struct Token {
    /// Where it is, or should be.
    pub(crate) path: PathBuf,
    /// What the file holds.
    pub(crate) value: io::Result<String>,
}

impl Connection {
    /// The daemon's address.
    pub(crate) fn address(&self) -> String {
        let written = || read(&self.data().join("address")).ok();
        self.server
            .clone()
            .or_else(written)
            .unwrap_or_else(|| SERVER.to_owned())
    }

    /// The daemon's token.
    pub(crate) fn token(&self) -> Token {
        let path = self.token_file.clone().unwrap_or_else(|| self.data().join("token"));
        Token {
            value: read(&path),
            path,
        }
    }

    /// The daemon's data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data)
    }
}

fn read(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// Where what can be made again is kept.
pub(crate) fn cache_directory() -> PathBuf {
    let cache = choose_base_strategy().map(|base| base.cache_dir());
    cache.unwrap_or_else(|_| std::env::temp_dir()).join("landfall")
}

/// Without a home directory there is nothing better than the current one.
fn default_data() -> PathBuf {
    let state = choose_base_strategy().ok().and_then(|base| base.state_dir());
    state.unwrap_or_else(|| PathBuf::from(".")).join("landfall")
}
