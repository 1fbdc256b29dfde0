//! Reads, on a connection that cannot write.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_recovery::event::Record;
use landfall_recovery::freeze::Frozen;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Rows, params};
use serde::de::DeserializeOwned;

use crate::batch::Space;
use crate::crc::JobFacts;
use crate::seal::Seal;
use crate::{StoreError, crc, writer};

/// A read-only view of what is committed. Calls block for the time of an indexed look-up.
#[derive(Debug, Clone)]
pub struct Reader {
    connection: Arc<Mutex<Connection>>,
}

/// A job's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// Its id.
    pub id: String,
    /// The plan's name, or the machine's.
    pub plan: String,
    /// What it does.
    pub operation: String,
    /// Host time.
    pub created_at: u64,
    /// None while it runs.
    pub ended_at: Option<u64>,
    /// Empty while it runs.
    pub outcome: String,
}

/// A record with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the whole journal.
    pub seq: u64,
    /// Whose.
    pub job: String,
    /// What.
    pub record: Record,
}

/// A job's frozen text and its verified journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// As it was written.
    pub frozen: String,
    /// In order.
    pub records: Vec<Stored>,
}

impl Reader {
    pub(crate) fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            connection: Arc::new(Mutex::new(open(file)?)),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A read leaves nothing half done, so a panic in one says nothing about the connection.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A state row.
    pub fn get<T: DeserializeOwned>(&self, space: Space, name: &str) -> Result<Option<T>, StoreError> {
        let found: Option<(String, u32)> = self
            .connection()
            .prepare_cached("SELECT value, crc FROM state WHERE space = ?1 AND name = ?2")?
            .query_row([space.name(), name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found.map(|(text, crc)| value(space, name, &text, crc)).transpose()
    }

    /// All rows of a space, by name.
    pub fn all<T: DeserializeOwned>(&self, space: Space) -> Result<Vec<(String, T)>, StoreError> {
        self.under(space, "")
    }

    /// The rows of a space whose names begin so, by name.
    pub fn under<T: DeserializeOwned>(&self, space: Space, prefix: &str) -> Result<Vec<(String, T)>, StoreError> {
        // The byte after all of UTF-8 ends the range.
        self.rows(
            space,
            "SELECT name, value, crc FROM state WHERE space = ?1 AND name >= ?2 AND name < ?2 || x'FF' ORDER BY name",
            params![space.name(), prefix],
        )
    }

    /// The rows of a space whose names begin so, by what follows.
    pub fn below<T: DeserializeOwned>(&self, space: Space, prefix: &str) -> Result<Vec<(String, T)>, StoreError> {
        let mut found = self.rows(
            space,
            "SELECT name, value, crc FROM state WHERE space = ?1 AND name >= ?2 AND substr(name, 1, length(?2)) = ?2
             ORDER BY name",
            params![space.name(), prefix],
        )?;
        for (name, _) in &mut found {
            *name = name.strip_prefix(prefix).unwrap_or(name).to_owned();
        }
        Ok(found)
    }

    /// The last rows of a space between two names, the last first.
    pub fn last<T: DeserializeOwned>(
        &self,
        space: Space,
        from: &str,
        before: &str,
        limit: u32,
    ) -> Result<Vec<T>, StoreError> {
        let found = self.rows(
            space,
            "SELECT name, value, crc FROM state WHERE space = ?1 AND name >= ?2 AND name < ?3
             ORDER BY name DESC LIMIT ?4",
            params![space.name(), from, before, limit],
        )?;
        Ok(found.into_iter().map(|(_, value)| value).collect())
    }

    fn rows<T: DeserializeOwned>(
        &self,
        space: Space,
        query: &str,
        arguments: impl rusqlite::Params,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(arguments)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, text): (String, String) = (row.get(0)?, row.get(1)?);
            let value = value(space, &name, &text, row.get(2)?)?;
            found.push((name, value));
        }
        Ok(found)
    }

    /// Jobs that have not ended.
    pub fn unfinished(&self) -> Result<Vec<JobSummary>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id, plan, operation, created_at, ended_at, outcome, crc FROM jobs WHERE outcome = '' ORDER BY id",
        )?;
        summaries(statement.query([])?)
    }

    /// Jobs, newest first, older than `before` if given.
    pub fn jobs(&self, before: Option<&str>, limit: u32) -> Result<Vec<JobSummary>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id, plan, operation, created_at, ended_at, outcome, crc FROM jobs
             WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        summaries(statement.query(params![before, limit])?)
    }

    /// One job's row.
    pub fn job(&self, id: &str) -> Result<Option<JobSummary>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT id, plan, operation, created_at, ended_at, outcome, crc FROM jobs WHERE id = ?1")?;
        Ok(summaries(statement.query([id])?)?.pop())
    }

    /// A job's frozen text and its journal, every record verified against its checksum and its chain.
    pub fn chain(&self, job: &str) -> Result<Option<Chain>, StoreError> {
        let begin = |frozen: &str| Chain {
            frozen: frozen.to_owned(),
            records: Vec::new(),
        };
        self.replay(job, begin, |chain, stored| chain.records.push(stored))
    }

    /// The same, but nothing is kept on the way: what `begin` makes of the frozen text is handed every record in turn. A
    /// large job's texts have tens of megabytes.
    pub fn replay<T>(
        &self,
        job: &str,
        begin: impl FnOnce(&str) -> T,
        mut each: impl FnMut(&mut T, Stored),
    ) -> Result<Option<T>, StoreError> {
        let connection = self.connection();
        let damaged = |seq, what| StoreError::Damaged {
            seq,
            job: job.to_owned(),
            what,
        };
        let mut statement = connection
            .prepare_cached("SELECT CAST(body AS TEXT), head FROM jobs JOIN frozen ON job = id WHERE id = ?1")?;
        let mut rows = statement.query([job])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let frozen = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let mut head: Vec<u8> = row.get(1)?;
        if writer::link(&[], frozen) != head {
            return Err(damaged(0, "the frozen job does not have its hash"));
        }
        let mut kept = begin(frozen);
        drop(rows);
        let mut statement =
            connection.prepare_cached("SELECT seq, body, crc, hash FROM journal WHERE job = ?1 ORDER BY seq")?;
        let mut rows = statement.query([job])?;
        while let Some(row) = rows.next()? {
            let seq = row.get::<_, i64>(0)?.cast_unsigned();
            let (body, crc, hash): (String, u32, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
            if crc32fast::hash(body.as_bytes()) != crc {
                return Err(damaged(seq, "its checksum does not fit"));
            }
            if writer::link(&head, &body) != hash {
                return Err(damaged(seq, "it does not follow the record before it"));
            }
            head = hash;
            each(&mut kept, stored(seq, job.to_owned(), &body)?);
        }
        Ok(Some(kept))
    }

    /// A job's frozen text and its records' texts, as they were written.
    pub fn texts(&self, job: &str) -> Result<Option<(String, Vec<String>)>, StoreError> {
        let connection = self.connection();
        let frozen: Option<String> = connection
            .prepare_cached("SELECT CAST(body AS TEXT) FROM frozen WHERE job = ?1")?
            .query_row([job], |row| row.get(0))
            .optional()?;
        let Some(frozen) = frozen else { return Ok(None) };
        let records = connection
            .prepare_cached("SELECT body FROM journal WHERE job = ?1 ORDER BY seq")?
            .query_map([job], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(Some((frozen, records)))
    }

    /// What a job was started with.
    pub fn frozen(&self, job: &str) -> Result<Option<Frozen>, StoreError> {
        let text: Option<String> = self
            .connection()
            .prepare_cached("SELECT CAST(body AS TEXT) FROM frozen WHERE job = ?1")?
            .query_row([job], |row| row.get(0))
            .optional()?;
        text.map(|text| serde_json::from_str(&text).map_err(|source| StoreError::Value("jobs", source)))
            .transpose()
    }

    /// Records after a number, of all jobs or one.
    pub fn after(&self, seq: u64, job: Option<&str>, limit: u32) -> Result<Vec<Stored>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT seq, job, body FROM journal WHERE seq > ?1 AND (?2 IS NULL OR job = ?2) ORDER BY seq LIMIT ?3",
        )?;
        let rows = statement.query_map(params![seq.cast_signed(), job, limit], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })?;
        rows.map(|row| {
            let (seq, job, body) = row?;
            stored(seq.cast_unsigned(), job, &body)
        })
        .collect()
    }

    /// The last seal of a job.
    pub fn seal(&self, job: &str) -> Result<Option<Seal>, StoreError> {
        Ok(self
            .connection()
            .prepare_cached("SELECT body, signature FROM seals WHERE job = ?1 ORDER BY number DESC LIMIT 1")?
            .query_row([job], |row| {
                Ok(Seal {
                    body: row.get(0)?,
                    signature: row.get(1)?,
                })
            })
            .optional()?)
    }

    /// The newest number in the journal.
    pub fn last_seq(&self) -> Result<u64, StoreError> {
        let last: Option<i64> = self
            .connection()
            .query_row("SELECT max(seq) FROM journal", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0).cast_unsigned())
    }
}

/// A connection that cannot write.
pub(crate) fn open(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(file, flags)?)
}

/// What a row says, if it is what was written.
fn value<T: DeserializeOwned>(space: Space, name: &str, text: &str, crc: u32) -> Result<T, StoreError> {
    if crc::of(&[space.name(), name, text]) != crc {
        return Err(StoreError::DamagedRow {
            table: space.name(),
            name: name.to_owned(),
        });
    }
    serde_json::from_str(text).map_err(|source| StoreError::Value(space.name(), source))
}

fn summaries(mut rows: Rows<'_>) -> Result<Vec<JobSummary>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let facts = JobFacts::read(row, 1)?;
        if facts.crc(&id) != row.get::<_, u32>(6)? {
            return Err(StoreError::DamagedRow {
                table: "jobs",
                name: id,
            });
        }
        found.push(JobSummary {
            id,
            plan: facts.plan,
            operation: facts.operation,
            created_at: facts.created_at.cast_unsigned(),
            ended_at: facts.ended_at.map(i64::cast_unsigned),
            outcome: facts.outcome,
        });
    }
    Ok(found)
}

fn stored(seq: u64, job: String, body: &str) -> Result<Stored, StoreError> {
    let record = serde_json::from_str(body).map_err(|source| StoreError::Value("journal", source))?;
    Ok(Stored { seq, job, record })
}
