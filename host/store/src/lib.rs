//! The only code that writes durable state: an append-only journal of jobs, and the state rows that go with it.
//!
//! One idea: a write is data, a [`Batch`], and all of a batch is in one transaction. A thread of its own owns the one
//! writing connection; it takes every batch that waits, commits them together (group commit: one disk flush for many
//! batches), and answers each only after the commit. So whoever has an answer may act on it, and nobody else may.
//!
//! A commit that fails is the end: the store refuses everything from then on, and the daemon stops rather than act
//! unrecorded. SQLite is the bundled one, in WAL mode with full synchronisation; the settings are read back, because
//! SQLite ignores what it does not understand.

mod backup;
mod batch;
mod crc;
mod directory;
pub mod faults;
mod mark;
mod read;
mod schema;
mod seal;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;

use landfall_recovery::codes;

pub use backup::{Restored, backup, restore};
pub use batch::{Batch, Entry, JobRow, Space};
pub use read::{Chain, JobSummary, Reader, Stored};
pub use seal::{Head, Seal, Statement};
pub use verify::{Problem, Verified, verify, verify_file};
pub use writer::chain_end;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory does not exist and cannot be made, or its permissions cannot be set.
    #[error("the data directory {path} cannot be used")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the directory.
    #[error("another daemon uses the data directory {0}")]
    InUse(String),
    /// SQLite refused.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// SQLite does not run with the durability that was asked for.
    #[error("the database runs with {setting} = {found}, not {wanted}")]
    Setting {
        /// Name of the pragma.
        setting: &'static str,
        /// Asked for.
        wanted: &'static str,
        /// Read back.
        found: String,
    },
    /// Written by a newer Landfall.
    #[error("the database has format {found}, and this Landfall knows formats up to {known}")]
    NewerFormat {
        /// In the file.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// Written by an earlier Landfall, and read where nothing may be changed.
    #[error(
        "the database has format {found}, and this Landfall reads format {known}; the daemon takes it over when it starts, and a restore does"
    )]
    OlderFormat {
        /// In the file.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// A record is not what was written.
    #[error("record {seq} of job {job} is damaged: {what}")]
    Damaged {
        /// Its number in the journal.
        seq: u64,
        /// Whose.
        job: String,
        /// How that shows.
        what: &'static str,
    },
    /// The database itself is damaged.
    #[error("the database is damaged: {0}")]
    Pages(String),
    /// A row is not what was written.
    #[error("the row `{name}` of {table} is damaged")]
    DamagedRow {
        /// Which table, or space of state.
        table: &'static str,
        /// Which row.
        name: String,
    },
    /// Something that was committed is gone.
    #[error("the database has {commits} commits, and had {marked}: its end is lost, or it is an older copy")]
    Behind {
        /// That are there.
        commits: u64,
        /// That were there.
        marked: u64,
    },
    /// The journal lacks, or has changed, what was signed.
    #[error("the journal is not what seal {number} says: {what}; `landfall journal verify` tells more")]
    Sealed {
        /// The seal.
        number: u64,
        /// How that shows.
        what: String,
    },
    /// The installation's key cannot be made or used.
    #[error("the installation's key cannot be used: {0}")]
    Key(String),
    /// A file that stands in the way.
    #[error("{0} exists already, and is not overwritten")]
    Exists(String),
    /// What is left of a database that is gone.
    #[error(
        "{0} is left of a database that is not there any more, and would be taken for the restored one's; move it away"
    )]
    Leftover(String),
    /// A file cannot be read or written.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A backup is not what it should be.
    #[error("{path} is not sound: {what}")]
    Unsound {
        /// Which.
        path: String,
        /// The first thing that is wrong.
        what: String,
    },
    /// A value cannot be written as, or read from, JSON.
    #[error("a value of {0} cannot be converted")]
    Value(&'static str, #[source] serde_json::Error),
    /// An earlier commit failed, and nothing is accepted any more.
    #[error("an earlier commit failed; the store is closed")]
    Closed,
    /// The commit that this batch was part of failed.
    #[error("the commit failed: {0}")]
    Commit(String),
}

impl StoreError {
    /// Its stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Directory { .. } | Self::InUse(_) => codes::DATA_DIRECTORY,
            Self::Behind { .. } => codes::BEHIND,
            Self::Exists(_) | Self::Leftover(_) | Self::File { .. } | Self::Unsound { .. } => codes::BACKUP,
            _ => codes::STORE,
        }
    }
}

/// The store of one installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    writer: writer::Writer,
    reader: Reader,
    identity: Arc<Identity>,
    key: Arc<seal::Key>,
}

/// Who this installation is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Unique for life.
    pub installation: String,
    /// Raised when a backup is restored.
    pub epoch: u64,
    /// In minisign's format, in one line: what seals are verified with.
    pub public_key: String,
}

impl Identity {
    /// A daemon of an earlier epoch may still run somewhere.
    pub fn was_restored(&self) -> bool {
        self.epoch > schema::FIRST_EPOCH
    }
}

/// Who the installation in a data directory is; a daemon may run.
pub fn identity(directory: &Path) -> Result<Identity, StoreError> {
    let connection = read::open(&directory.join(directory::DATABASE))?;
    schema::known(&connection)?;
    Ok(schema::identity(&connection)?.0)
}

impl Store {
    /// Opens the store of a data directory, which is made if it does not exist, and takes its lock.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let held = directory::take(directory)?;
        let file = directory.join(directory::DATABASE);
        let (connection, identity, key) = schema::open(&file)?;
        let mark = mark::Mark::open(directory, schema::commits(&connection)?)?;
        let reader = Reader::open(&file)?;
        let (identity, key) = (Arc::new(identity), Arc::new(key));
        let signer = writer::Signer::new(Arc::clone(&identity), Arc::clone(&key));
        Ok(Self {
            writer: writer::Writer::start(connection, (held, mark), signer)?,
            reader,
            identity,
            key,
        })
    }

    /// Commits a batch. The answer has the journal numbers of its records, in order.
    ///
    /// Dropping the future does not take the batch back: it is committed or it is not, as if nobody had waited.
    pub async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        self.writer.commit(batch).await
    }

    /// Reads. They see what is committed.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Who this installation is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Signs words with the installation's key, outside the journal. The comment is shown by who verifies them.
    pub fn sign(&self, body: String, comment: &str) -> Result<Seal, StoreError> {
        self.key.sign(body, comment)
    }
}

#[cfg(test)]
mod tests;
