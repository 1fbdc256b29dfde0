//! The file's format, and the settings without which nothing is promised.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::seal::{Key, Seal, hex};
use crate::{Identity, StoreError, crc, faults};

/// Raised with every change of the tables; a file with a higher number is refused.
const FORMAT: i64 = 4;

/// Of an installation that was never restored.
pub(crate) const FIRST_EPOCH: u64 = 1;

pub(crate) const TABLES: &str = "
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

/// Format 2: seals, and a checksum of every row on which something is decided.
const SECOND: &str = "
CREATE TABLE seals (number INTEGER PRIMARY KEY, job TEXT, body TEXT NOT NULL, signature TEXT NOT NULL) STRICT;
CREATE INDEX seals_job ON seals (job, number);
ALTER TABLE meta ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
";

/// Format 3: what a job was started with is megabytes, and stands apart from the row that lists it and is rewritten.
const THIRD: &str = "
CREATE TABLE frozen (job TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO frozen SELECT id, frozen FROM jobs;
ALTER TABLE jobs DROP COLUMN frozen;
";

/// Format 4: as a blob it can be written piece by piece. As a text SQLite copies it twice on its way into the file.
const FOURTH: &str = "
ALTER TABLE frozen RENAME TO frozen_text;
CREATE TABLE frozen (job TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
INSERT INTO frozen SELECT job, CAST(body AS BLOB) FROM frozen_text;
DROP TABLE frozen_text;
";

/// Opens the file for writing, makes its tables if it is new, and checks what SQLite made of the settings.
pub(crate) fn open(file: &Path) -> Result<(Connection, Identity, Key), StoreError> {
    let mut connection = Connection::open(file)?;
    // WAL keeps readers and the writer apart; FULL flushes every commit; without mmap an I/O error is an error and
    // not a signal.
    setting(&connection, "journal_mode", "wal")?;
    setting(&connection, "mmap_size", "0")?;
    if faults::broken("sync") {
        connection.pragma_update(None, "synchronous", "OFF")?;
    } else {
        connection.pragma_update(None, "synchronous", "FULL")?;
        check(&connection, "synchronous", "2")?;
    }
    let found = known(&connection)?;
    whole(&connection)?;
    if found < FORMAT {
        let transaction = connection.transaction()?;
        if found < 1 {
            transaction.execute_batch(TABLES)?;
            let installation = uuid::Uuid::now_v7().simple().to_string();
            transaction.execute(
                "INSERT INTO meta VALUES ('installation', ?1), ('epoch', ?2)",
                [installation, FIRST_EPOCH.to_string()],
            )?;
        }
        if found < 2 {
            second(&transaction)?;
        }
        if found < 3 {
            transaction.execute_batch(THIRD)?;
        }
        transaction.execute_batch(FOURTH)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
    }
    rows_are_whole(&connection)?;
    let (identity, key) = identity(&connection)?;
    last_checkpoint(&connection, &identity)?;
    Ok((connection, identity, key))
}

/// Checksums find rows that decayed, but not rows that an index or a page hides: nobody asks for what nobody sees. So
/// SQLite looks at all its pages and indices once, at start: some 100 MB a second.
fn whole(connection: &Connection) -> Result<(), StoreError> {
    let said: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said == "ok" {
        Ok(())
    } else {
        Err(StoreError::Pages(said))
    }
}

/// A bit that turns over in a row's own name hides it from who asks for that name. So every row is looked at once.
fn rows_are_whole(connection: &Connection) -> Result<(), StoreError> {
    let mut first = None;
    crc::each_damaged(connection, |row| {
        first.get_or_insert(row);
    })?;
    match first {
        None => Ok(()),
        Some(name) => Err(StoreError::DamagedRow { table: "state", name }),
    }
}

/// The file's format, if it is not newer than this program.
pub(crate) fn known(connection: &Connection) -> Result<i64, StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat { found, known: FORMAT });
    }
    Ok(found)
}

/// Of the present format: a file that is only read is not taken over.
pub(crate) fn present(connection: &Connection) -> Result<(), StoreError> {
    let found = known(connection)?;
    if found < FORMAT {
        return Err(StoreError::OlderFormat { found, known: FORMAT });
    }
    Ok(())
}

/// Brings a file of the first format to the second.
fn second(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    transaction.execute_batch(SECOND)?;
    transaction.execute("INSERT INTO meta (name, value) VALUES ('key', ?1)", [Key::generate()?])?;
    transaction.execute("INSERT INTO meta (name, value) VALUES ('commits', '0')", [])?;
    let meta: Vec<(String, String)> = rows(transaction, "SELECT name, value FROM meta", |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    for (name, value) in meta {
        set_meta(transaction, &name, &value)?;
    }
    let jobs = rows(transaction, "SELECT id FROM jobs", |row| row.get::<_, String>(0))?;
    for id in jobs {
        crc::set_job(transaction, &id)?;
    }
    let state: Vec<(String, String)> = rows(transaction, "SELECT space, name FROM state", |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    for (space, name) in state {
        let value: String = transaction
            .prepare_cached("SELECT value FROM state WHERE space = ?1 AND name = ?2")?
            .query_row([&space, &name], |row| row.get(0))?;
        transaction
            .prepare_cached("UPDATE state SET crc = ?3 WHERE space = ?1 AND name = ?2")?
            .execute(params![space, name, crc::of(&[&space, &name, &value])])?;
    }
    Ok(())
}

fn rows<T>(
    transaction: &Transaction<'_>,
    query: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    Ok(transaction
        .prepare(query)?
        .query_map([], read)?
        .collect::<Result<_, _>>()?)
}

/// Who this installation is.
pub(crate) fn identity(connection: &Connection) -> Result<(Identity, Key), StoreError> {
    let key = Key::read(&meta(connection, "key")?)?;
    let identity = Identity {
        installation: meta(connection, "installation")?,
        epoch: meta(connection, "epoch")?.parse().map_err(|_| damaged("epoch"))?,
        public_key: key.public(),
    };
    Ok((identity, key))
}

/// What was open when it was last sealed must be there, as it was.
fn last_checkpoint(connection: &Connection, identity: &Identity) -> Result<(), StoreError> {
    let last = connection
        .query_row(
            "SELECT number, body, signature FROM seals WHERE job IS NULL ORDER BY number DESC LIMIT 1",
            [],
            |row| {
                let seal = Seal {
                    body: row.get(1)?,
                    signature: row.get(2)?,
                };
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), seal))
            },
        )
        .optional()?;
    let Some((number, seal)) = last else { return Ok(()) };
    let refuse = |what: String| StoreError::Sealed { number, what };
    let statement = seal.open(&identity.public_key).map_err(refuse)?;
    for (job, head) in statement.jobs.iter().filter(|(_, head)| head.records > 0) {
        let found: Option<Vec<u8>> = connection
            .prepare_cached("SELECT hash FROM journal WHERE job = ?1 ORDER BY seq LIMIT 1 OFFSET ?2")?
            .query_row(params![job, head.records.cast_signed() - 1], |row| row.get(0))
            .optional()?;
        if found.as_deref().map(hex).as_ref() != Some(&head.hash) {
            return Err(refuse(format!(
                "record {} of job {job} is another one, or missing",
                head.records
            )));
        }
    }
    Ok(())
}

/// How often something was committed.
pub(crate) fn commits(connection: &Connection) -> Result<u64, StoreError> {
    meta(connection, COMMITS)?.parse().map_err(|_| damaged(COMMITS))
}

/// Counts the commit that this transaction will be.
pub(crate) fn count_commit(transaction: &Transaction<'_>) -> Result<u64, StoreError> {
    let commits = commits(transaction)? + 1;
    set_meta(transaction, COMMITS, &commits.to_string())?;
    Ok(commits)
}

const COMMITS: &str = "commits";

pub(crate) fn set_meta(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value, crc) VALUES (?1, ?2, ?3)")?
        .execute(params![name, value, crc::of(&[name, value])])?;
    Ok(())
}

fn meta(connection: &Connection, name: &'static str) -> Result<String, StoreError> {
    let found: Option<(String, u32)> = connection
        .prepare_cached("SELECT value, crc FROM meta WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((value, crc)) if crc::of(&[name, &value]) == crc => Ok(value),
        _ => Err(damaged(name)),
    }
}

fn damaged(name: &str) -> StoreError {
    StoreError::DamagedRow {
        table: "meta",
        name: name.to_owned(),
    }
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
