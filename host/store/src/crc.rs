//! Checksums of rows. They find decay; who wants to deceive is found by the chains and their seals.

use rusqlite::{Connection, Row, params};

use crate::StoreError;

/// Of the parts of a row, so that no byte can wander from one to the next.
pub(crate) fn of(parts: &[&str]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in parts {
        crc.update(&part.len().to_le_bytes());
        crc.update(part.as_bytes());
    }
    crc.finalize()
}

/// Reads every row of state and names those that are not what was written, as `SPACE NAME`. Gives the number of all.
pub(crate) fn each_damaged(connection: &Connection, mut found: impl FnMut(String)) -> Result<u64, StoreError> {
    let mut statement = connection.prepare("SELECT space, name, value, crc FROM state")?;
    let mut rows = statement.query([])?;
    let mut all = 0;
    while let Some(row) = rows.next()? {
        all += 1;
        let (space, name, value): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if of(&[&space, &name, &value]) != row.get::<_, u32>(3)? {
            found(format!("{space} {name}"));
        }
    }
    Ok(all)
}

/// What is in a job's row beside the frozen job, which its chain begins with.
#[derive(Debug, Clone)]
pub(crate) struct JobFacts {
    pub(crate) plan: String,
    pub(crate) operation: String,
    pub(crate) created_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) outcome: String,
}

impl JobFacts {
    /// From a row that has `plan, operation, created_at, ended_at, outcome` from this column on.
    pub(crate) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            plan: row.get(first)?,
            operation: row.get(first + 1)?,
            created_at: row.get(first + 2)?,
            ended_at: row.get(first + 3)?,
            outcome: row.get(first + 4)?,
        })
    }

    pub(crate) fn crc(&self, id: &str) -> u32 {
        let ended_at = self.ended_at.map(|at| at.to_string()).unwrap_or_default();
        let created_at = self.created_at.to_string();
        of(&[id, &self.plan, &self.operation, &created_at, &ended_at, &self.outcome])
    }
}

/// Writes a job's checksum anew, after its row was changed.
pub(crate) fn set_job(connection: &Connection, id: &str) -> Result<(), StoreError> {
    let facts = connection
        .prepare_cached("SELECT plan, operation, created_at, ended_at, outcome FROM jobs WHERE id = ?1")?
        .query_row([id], |row| JobFacts::read(row, 0))?;
    connection
        .prepare_cached("UPDATE jobs SET crc = ?2 WHERE id = ?1")?
        .execute(params![id, facts.crc(id)])?;
    Ok(())
}
