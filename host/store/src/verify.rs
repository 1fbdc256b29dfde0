//! Is the journal what was written? Everything is read, in one view of the file, also beside a running daemon.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::crc::JobFacts;
use crate::directory::DATABASE;
use crate::seal::{Head, Seal, hex};
use crate::{StoreError, crc, read, schema, writer};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// Whose journal.
    pub installation: String,
    /// Its epoch.
    pub epoch: u64,
    /// With which the seals were verified.
    pub public_key: String,
    /// Jobs.
    pub jobs: u64,
    /// Records of all jobs.
    pub records: u64,
    /// Signed statements.
    pub seals: u64,
    /// Jobs that ended before seals were known.
    pub unsealed: u64,
    /// Rows of state.
    pub rows: u64,
    /// Everything that is wrong; empty if all is well.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// A job, a seal, a row.
    pub place: String,
    /// In a sentence.
    pub what: String,
}

/// Verifies the journal in a data directory; with a key, as that installation's.
pub fn verify(directory: &Path, key: Option<&str>) -> Result<Verified, StoreError> {
    verify_file(&directory.join(DATABASE), key)
}

/// As [`verify`], of a backup.
pub fn verify_file(file: &Path, key: Option<&str>) -> Result<Verified, StoreError> {
    let mut connection = read::open(file)?;
    let transaction = connection.transaction()?;
    schema::present(&transaction)?;
    let mut found = Verified::default();
    let own = match schema::identity(&transaction) {
        Ok((identity, _)) => {
            found.installation = identity.installation;
            found.epoch = identity.epoch;
            identity.public_key
        }
        Err(error) => {
            found.problem("the installation", error.to_string());
            String::new()
        }
    };
    found.public_key = key.map_or(own, ToOwned::to_owned);
    pages(&transaction, &mut found)?;
    let signed = seals(&transaction, &mut found)?;
    jobs(&transaction, &signed, &mut found)?;
    chains(&transaction, signed, &mut found)?;
    found.rows = crc::each_damaged(&transaction, |row| {
        found.problem(format!("state {row}"), "its checksum does not fit");
    })?;
    Ok(found)
}

impl Verified {
    fn problem(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem {
            place: place.into(),
            what: what.into(),
        });
    }
}

/// By job, what seals say of it: the seal's number and the head.
type Signed = BTreeMap<String, Vec<(u64, Head)>>;

/// SQLite's own look at its pages and indices.
fn pages(connection: &Connection, found: &mut Verified) -> Result<(), StoreError> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let mut lines = statement.query([])?;
    while let Some(line) = lines.next()? {
        let line: String = line.get(0)?;
        if line != "ok" {
            found.problem("landfall.db", line);
        }
    }
    Ok(())
}

fn seals(connection: &Connection, found: &mut Verified) -> Result<Signed, StoreError> {
    let mut signed = Signed::new();
    let mut previous = String::new();
    let mut statement = connection.prepare("SELECT number, body, signature FROM seals ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        let seal = Seal {
            body: row.get(1)?,
            signature: row.get(2)?,
        };
        found.seals += 1;
        let place = format!("seal {number}");
        if number != found.seals {
            found.problem(&place, format!("seal {} is missing before it", found.seals));
            found.seals = number;
        }
        match seal.open(&found.public_key) {
            Err(why) => found.problem(&place, why),
            Ok(statement) => {
                if statement.number != number || statement.previous != previous {
                    found.problem(&place, "it does not follow the seal before it");
                }
                if statement.installation != found.installation {
                    found.problem(&place, "it is another installation's");
                }
                for (job, head) in statement.jobs {
                    signed.entry(job).or_default().push((number, head));
                }
            }
        }
        previous = seal.hash();
    }
    Ok(signed)
}

fn jobs(connection: &Connection, signed: &Signed, found: &mut Verified) -> Result<(), StoreError> {
    // A backup may be older than the table of its own that frozen jobs have now.
    let frozen = if schema::known(connection)? < 3 {
        "frozen"
    } else {
        "(SELECT CAST(body AS TEXT) FROM frozen WHERE job = id)"
    };
    let mut statement = connection.prepare(&format!(
        "SELECT id, plan, operation, created_at, ended_at, outcome, crc, head, {frozen} FROM jobs ORDER BY id",
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found.jobs += 1;
        let id: String = row.get(0)?;
        let facts = JobFacts::read(row, 1)?;
        let place = format!("job {id}");
        if facts.crc(&id) != row.get::<_, u32>(6)? {
            found.problem(&place, "its row does not have its checksum");
        }
        let frozen = row.get::<_, Option<String>>(8)?.unwrap_or_default();
        if writer::link(&[], &frozen) != row.get::<_, Vec<u8>>(7)? {
            found.problem(&place, "the frozen job does not have its hash");
        }
        if !facts.outcome.is_empty() && !signed.contains_key(&id) {
            found.unsealed += 1;
        }
    }
    for id in signed.keys() {
        let known = connection
            .prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?
            .exists([id])?;
        if !known {
            found.problem(format!("job {id}"), "it was sealed, and is not there");
        }
    }
    Ok(())
}

fn chains(connection: &Connection, mut signed: Signed, found: &mut Verified) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare("SELECT seq, job, body, crc, hash FROM journal NOT INDEXED ORDER BY job, seq")?;
    let mut rows = statement.query([])?;
    let mut chain: Option<(String, Vec<u8>, u64)> = None;
    while let Some(row) = rows.next()? {
        found.records += 1;
        let seq = row.get::<_, i64>(0)?.cast_unsigned();
        let (job, body, crc, hash): (String, String, u32, Vec<u8>) =
            (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        let (head, records) = match chain.take() {
            Some((current, head, records)) if current == job => (head, records),
            _ => (head(connection, &job)?, 0),
        };
        let place = || format!("record {seq} of job {job}");
        if crc32fast::hash(body.as_bytes()) != crc {
            found.problem(place(), "its checksum does not fit");
        }
        if writer::link(&head, &body) != hash {
            found.problem(place(), "it does not follow the record before it");
        }
        let records = records + 1;
        if let Some(heads) = signed.get_mut(&job) {
            heads.retain(|(number, head)| {
                if head.records == records && head.hash != hex(&hash) {
                    found.problem(place(), format!("it is not the record that seal {number} names"));
                }
                head.records > records
            });
        }
        chain = Some((job, hash, records));
    }
    for (job, heads) in signed {
        for (number, head) in heads {
            // A job is sealed with no records only as it was frozen.
            if head.records > 0 {
                let what = format!("seal {number} names {} records, and some are not there", head.records);
                found.problem(format!("job {job}"), what);
            }
        }
    }
    Ok(())
}

/// What a job's chain begins with; nothing if the job is not there, and then its first record does not follow.
fn head(connection: &Connection, job: &str) -> Result<Vec<u8>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT head FROM jobs WHERE id = ?1")?;
    let mut rows = statement.query([job])?;
    Ok(match rows.next()? {
        Some(row) => row.get(0)?,
        None => Vec::new(),
    })
}
