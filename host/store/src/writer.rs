//! The one thread that writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, mpsc};
use std::thread;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::directory::Held;
use crate::mark::{self, Mark};
use crate::seal::{Head, Key, Seal, Statement, hex};
use crate::{Entry, Identity, StoreError, crc, schema};

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
    pub(crate) fn start(
        connection: Connection,
        (held, mark): (Held, Mark),
        signer: Signer,
    ) -> Result<Self, StoreError> {
        let (queue, waiting) = tokio::sync::mpsc::channel(QUEUE);
        let (ready, started) = mpsc::channel();
        let spawned = thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let _ = ready.send(());
            run(connection, &mark, &signer, waiting);
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

/// Who signs, and as whom.
pub(crate) struct Signer {
    identity: Arc<Identity>,
    key: Arc<Key>,
}

impl Signer {
    pub(crate) fn new(identity: Arc<Identity>, key: Arc<Key>) -> Self {
        Self { identity, key }
    }
}

fn run(
    mut connection: Connection,
    mark: &Mark,
    signer: &Signer,
    mut waiting: tokio::sync::mpsc::Receiver<(Batch, Answer)>,
) {
    let mut heads = HashMap::new();
    let mut group = Vec::with_capacity(GROUP);
    while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
        let (batches, answers): (Vec<Batch>, Vec<Answer>) = group.drain(..).unzip();
        match commit(&mut connection, Some(mark), signer, &mut heads, &batches) {
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

/// The end of each job's chain.
pub(crate) type Heads = HashMap<String, End>;

#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    hash: Vec<u8>,
    records: u64,
}

pub(crate) fn commit(
    connection: &mut Connection,
    mark: Option<&Mark>,
    signer: &Signer,
    heads: &mut Heads,
    batches: &[Batch],
) -> Result<Vec<Vec<u64>>, StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let numbers = batches
        .iter()
        .map(|batch| write(&transaction, signer, heads, batch))
        .collect::<Result<_, _>>()?;
    let commits = schema::count_commit(&transaction)?;
    transaction.commit()?;
    if let Some(mark) = mark {
        mark.set(commits).map_err(|source| StoreError::File {
            path: mark::NAME.to_owned(),
            source,
        })?;
    }
    Ok(numbers)
}

fn write(
    transaction: &Transaction<'_>,
    signer: &Signer,
    heads: &mut Heads,
    batch: &Batch,
) -> Result<Vec<u64>, StoreError> {
    for job in &batch.jobs {
        let head = link(&[], &job.frozen);
        let facts = crc::JobFacts {
            plan: job.plan.clone(),
            operation: job.operation.clone(),
            created_at: job.created_at.cast_signed(),
            ended_at: None,
            outcome: String::new(),
        };
        transaction
            .prepare_cached(
                "INSERT INTO jobs (id, plan, operation, created_at, head, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                job.id,
                job.plan,
                job.operation,
                job.created_at.cast_signed(),
                head,
                facts.crc(&job.id)
            ])?;
        transaction
            .prepare_cached("INSERT INTO frozen (job, body) VALUES (?1, zeroblob(?2))")?
            .execute(params![job.id, job.frozen.len().cast_signed()])?;
        let row = transaction.last_insert_rowid();
        transaction
            .blob_open("main", "frozen", "body", row, false)?
            .write_all_at(job.frozen.as_bytes(), 0)?;
        let end = End { hash: head, records: 0 };
        heads.insert(job.id.clone(), end);
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
        crc::set_job(transaction, job)?;
        if !outcome.is_empty() {
            seal(transaction, signer, heads, Some(job), *at)?;
            heads.remove(job);
        }
    }
    for (space, name, value) in &batch.states {
        match value {
            Some(value) => transaction
                .prepare_cached("INSERT OR REPLACE INTO state (space, name, value, crc) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    space.name(),
                    name,
                    value,
                    crc::of(&[space.name(), name, value])
                ])?,
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
    for (job, at) in &batch.seals {
        seal(transaction, signer, heads, job.as_deref(), *at)?;
    }
    Ok(numbers)
}

/// Signs the end of a job's chain, or of all that have not ended.
fn seal(
    transaction: &Transaction<'_>,
    signer: &Signer,
    heads: &mut Heads,
    job: Option<&str>,
    at: u64,
) -> Result<(), StoreError> {
    let names: Vec<String> = match job {
        Some(job) => vec![job.to_owned()],
        None => transaction
            .prepare_cached("SELECT id FROM jobs WHERE outcome = ''")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?,
    };
    let mut jobs = BTreeMap::new();
    for name in names {
        let end = end_of(transaction, heads, &name)?;
        let head = Head {
            records: end.records,
            hash: hex(&end.hash),
        };
        jobs.insert(name, head);
    }
    let before: Option<(i64, Seal)> = transaction
        .prepare_cached("SELECT number, body, signature FROM seals ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| {
            let seal = Seal {
                body: row.get(1)?,
                signature: row.get(2)?,
            };
            Ok((row.get(0)?, seal))
        })
        .optional()?;
    let last: Option<i64> = transaction
        .prepare_cached("SELECT max(seq) FROM journal")?
        .query_row([], |row| row.get(0))?;
    let statement = Statement {
        installation: signer.identity.installation.clone(),
        epoch: signer.identity.epoch,
        number: before.as_ref().map_or(0, |(number, _)| number.cast_unsigned()) + 1,
        previous: before.map(|(_, seal)| seal.hash()).unwrap_or_default(),
        at,
        last: last.unwrap_or(0).cast_unsigned(),
        jobs,
    };
    let seal = signer.key.seal(&statement)?;
    transaction
        .prepare_cached("INSERT INTO seals (number, job, body, signature) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![statement.number.cast_signed(), job, seal.body, seal.signature])?;
    Ok(())
}

fn append(transaction: &Transaction<'_>, heads: &mut Heads, entry: &Entry) -> Result<u64, StoreError> {
    let body = serde_json::to_string(&entry.record).map_err(|source| StoreError::Value("journal", source))?;
    let end = end_of(transaction, heads, &entry.job)?;
    let hash = link(&end.hash, &body);
    let crc = crc32fast::hash(body.as_bytes());
    transaction
        .prepare_cached("INSERT INTO journal (job, body, crc, hash) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![entry.job, body, crc, hash])?;
    end.hash = hash;
    end.records += 1;
    Ok(transaction.last_insert_rowid().cast_unsigned())
}

/// From memory, else from the file: a job's chain is read once in the life of a daemon.
fn end_of<'h>(transaction: &Transaction<'_>, heads: &'h mut Heads, job: &str) -> Result<&'h mut End, StoreError> {
    if !heads.contains_key(job) {
        heads.insert(job.to_owned(), last_end(transaction, job)?);
    }
    Ok(heads.entry(job.to_owned()).or_default())
}

/// The hash, in hexadecimal, at the end of the chain of a frozen job and its records.
pub fn chain_end(frozen: &str, records: &[String]) -> String {
    let head = link(&[], frozen);
    hex(&records.iter().fold(head, |head, body| link(&head, body)))
}

/// Each record's hash covers the one before it; the chain begins with the frozen job, which follows nothing.
pub(crate) fn link(head: &[u8], body: &str) -> Vec<u8> {
    Sha256::new()
        .chain_update(head)
        .chain_update(body.as_bytes())
        .finalize()
        .to_vec()
}

fn last_end(transaction: &Transaction<'_>, job: &str) -> Result<End, StoreError> {
    let records: i64 = transaction
        .prepare_cached("SELECT count(*) FROM journal WHERE job = ?1")?
        .query_row([job], |row| row.get(0))?;
    let last = if records == 0 {
        "SELECT head FROM jobs WHERE id = ?1"
    } else {
        "SELECT hash FROM journal WHERE job = ?1 ORDER BY seq DESC LIMIT 1"
    };
    Ok(End {
        hash: transaction.prepare_cached(last)?.query_row([job], |row| row.get(0))?,
        records: records.cast_unsigned(),
    })
}
