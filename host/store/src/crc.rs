//! Checksums of rows. They find decay; who wants to deceive is found by the chains and their seals.

use rusqlite::{Connection, params};

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
        .query_row([id], |row| {
            Ok(JobFacts {
                plan: row.get(0)?,
                operation: row.get(1)?,
                created_at: row.get(2)?,
                ended_at: row.get(3)?,
                outcome: row.get(4)?,
            })
        })?;
    connection
        .prepare_cached("UPDATE jobs SET crc = ?2 WHERE id = ?1")?
        .execute(params![id, facts.crc(id)])?;
    Ok(())
}
