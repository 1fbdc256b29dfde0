//! The one thread that writes.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;

use rusqlite::{Connection, Transaction, params};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::directory::Held;
use crate::{Entry, StoreError};

/// Batches that wait; beyond this, callers wait with them.
const QUEUE: usize = 1024;
/// Batches in one commit: enough that the flush is shared, few enough that nobody waits long for strangers.
const GROUP: usize = 512;

type Answer = oneshot::Sender<Result<Vec<u64>, StoreError>>;

#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: tokio::sync::mpsc::Sender<(Batch, Answer)>,
}

impl Writer {
    pub(crate) fn start(connection: Connection, held: Held) -> Result<Self, StoreError> {
        let (queue, waiting) = tokio::sync::mpsc::channel(QUEUE);
        let (ready, started) = mpsc::channel();
        let spawned = thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let _ = ready.send(());
            run(connection, waiting);
            drop(held);
        });
        spawned.map_err(|source| StoreError::Directory {
            path: "thread".to_owned(),
            source,
        })?;
        started.recv().map_err(|_| StoreError::Closed)?;
        Ok(Self { queue })
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<Vec<u64>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((batch, answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

fn run(mut connection: Connection, mut waiting: tokio::sync::mpsc::Receiver<(Batch, Answer)>) {
    let mut heads = HashMap::new();
    let mut group = Vec::with_capacity(GROUP);
    while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
        let (batches, answers): (Vec<Batch>, Vec<Answer>) = group.drain(..).unzip();
        match commit(&mut connection, &mut heads, &batches) {
            Ok(numbers) => {
                for (answer, numbers) in answers.into_iter().zip(numbers) {
                    // Nobody waits any more: the batch is committed all the same.
                    let _ = answer.send(Ok(numbers));
                }
            }
            Err(error) => {
                // What is on disk is unknown now. Returning closes the queue, and every later commit is refused.
                tracing::error!(error = %chain(&error), "a commit failed; the store is closed");
                for answer in answers {
                    let _ = answer.send(Err(StoreError::Commit(chain(&error))));
                }
                return;
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Last hash of each job's chain.
type Heads = HashMap<String, Vec<u8>>;

fn commit(connection: &mut Connection, heads: &mut Heads, batches: &[Batch]) -> Result<Vec<Vec<u64>>, StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let numbers = batches
        .iter()
        .map(|batch| write(&transaction, heads, batch))
        .collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(numbers)
}

fn write(transaction: &Transaction<'_>, heads: &mut Heads, batch: &Batch) -> Result<Vec<u64>, StoreError> {
    for job in &batch.jobs {
        let head = link(&[], &job.frozen);
        transaction
            .prepare_cached(
                "INSERT INTO jobs (id, plan, operation, created_at, head, frozen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                job.id,
                job.plan,
                job.operation,
                job.created_at.cast_signed(),
                head,
                job.frozen
            ])?;
        heads.insert(job.id.clone(), head);
    }
    let numbers = batch
        .records
        .iter()
        .map(|entry| append(transaction, heads, entry))
        .collect::<Result<_, _>>()?;
    for (job, outcome, at) in &batch.endings {
        let ended_at = (!outcome.is_empty()).then_some(at.cast_signed());
        transaction
            .prepare_cached("UPDATE jobs SET outcome = ?2, ended_at = ?3 WHERE id = ?1")?
            .execute(params![job, outcome, ended_at])?;
        if !outcome.is_empty() {
            heads.remove(job);
        }
    }
    for (space, name, value) in &batch.states {
        match value {
            Some(value) => transaction
                .prepare_cached("INSERT OR REPLACE INTO state (space, name, value) VALUES (?1, ?2, ?3)")?
                .execute(params![space.name(), name, value])?,
            None => transaction
                .prepare_cached("DELETE FROM state WHERE space = ?1 AND name = ?2")?
                .execute(params![space.name(), name])?,
        };
    }
    for (space, rows) in &batch.kept {
        transaction
            .prepare_cached(
                "DELETE FROM state WHERE space = ?1 AND name <=
                 (SELECT name FROM state WHERE space = ?1 ORDER BY name DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![space.name(), rows])?;
    }
    Ok(numbers)
}

fn append(transaction: &Transaction<'_>, heads: &mut Heads, entry: &Entry) -> Result<u64, StoreError> {
    let body = serde_json::to_string(&entry.record).map_err(|source| StoreError::Value("journal", source))?;
    if !heads.contains_key(&entry.job) {
        heads.insert(entry.job.clone(), last_hash(transaction, &entry.job)?);
    }
    let head = heads.entry(entry.job.clone()).or_default();
    let hash = link(head, &body);
    let crc = crc32fast::hash(body.as_bytes());
    transaction
        .prepare_cached("INSERT INTO journal (job, body, crc, hash) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![entry.job, body, crc, hash])?;
    head.clone_from(&hash);
    Ok(transaction.last_insert_rowid().cast_unsigned())
}

/// Each record's hash covers the one before it; the chain begins with the frozen job, which follows nothing.
pub(crate) fn link(head: &[u8], body: &str) -> Vec<u8> {
    Sha256::new()
        .chain_update(head)
        .chain_update(body.as_bytes())
        .finalize()
        .to_vec()
}

fn last_hash(transaction: &Transaction<'_>, job: &str) -> Result<Vec<u8>, StoreError> {
    let last = transaction
        .prepare_cached("SELECT hash FROM journal WHERE job = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([job], |row| row.get(0));
    match last {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(transaction
            .prepare_cached("SELECT head FROM jobs WHERE id = ?1")?
            .query_row([job], |row| row.get(0))?),
        other => Ok(other?),
    }
}
