//! The file's format, and the settings without which nothing is promised.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::{Identity, StoreError};

/// Raised with every change of the tables; a file with a higher number is refused.
const FORMAT: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    plan TEXT NOT NULL,
    operation TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT NOT NULL DEFAULT '',
    head BLOB NOT NULL,
    frozen TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_unfinished ON jobs (id) WHERE outcome = '';
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    body TEXT NOT NULL,
    crc INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX journal_job ON journal (job, seq);
CREATE TABLE state (
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (space, name)
) STRICT, WITHOUT ROWID;
";

/// Opens the file for writing, makes its tables if it is new, and checks what SQLite made of the settings.
pub(crate) fn open(file: &Path) -> Result<(Connection, Identity), StoreError> {
    let mut connection = Connection::open(file)?;
    // WAL keeps readers and the writer apart; FULL flushes every commit; without mmap an I/O error is an error and
    // not a signal.
    setting(&connection, "journal_mode", "wal")?;
    setting(&connection, "mmap_size", "0")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    check(&connection, "synchronous", "2")?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat { found, known: FORMAT });
    }
    if found == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute(
            "INSERT INTO meta VALUES ('installation', ?1), ('epoch', '1')",
            [uuid::Uuid::now_v7().simple().to_string()],
        )?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
    }
    let identity = Identity {
        installation: meta(&connection, "installation")?,
        epoch: meta(&connection, "epoch")?.parse().unwrap_or(1),
    };
    Ok((connection, identity))
}

fn meta(connection: &Connection, name: &str) -> Result<String, StoreError> {
    let value = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    Ok(value.unwrap_or_default())
}

fn setting(connection: &Connection, name: &'static str, wanted: &'static str) -> Result<(), StoreError> {
    connection.pragma_update_and_check(None, name, wanted, |_| Ok(()))?;
    check(connection, name, wanted)
}

fn check(connection: &Connection, name: &'static str, wanted: &'static str) -> Result<(), StoreError> {
    let found = connection.pragma_query_value(None, name, |row| {
        row.get::<_, rusqlite::types::Value>(0).map(|value| match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        })
    })?;
    if found == wanted {
        Ok(())
    } else {
        Err(StoreError::Setting {
            setting: name,
            wanted,
            found,
        })
    }
}
