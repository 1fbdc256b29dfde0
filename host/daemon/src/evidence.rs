//! The evidence of a job: its journal byte by byte, the installation's signature under the end of its chain, and what
//! follows from the two.
//!
//! Nobody has to believe the report. It is computed from the frozen job and the records alone, by the same fold as
//! everything else, so that who checks the file computes it again; and the records are those that were signed, since
//! each one's hash covers the one before it. No daemon and no database is needed for that, only the public key.

mod page;

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_recovery::consequence::{outputs_of, proof};
use landfall_recovery::event::Record;
use landfall_recovery::executor::ISOLATION;
use landfall_recovery::freeze::{Frozen, sha256_hex};
use landfall_recovery::graph::StepKind;
use landfall_recovery::job::Job;
use landfall_recovery::proof::{FenceProof, IsolationProof};
use landfall_store::{Seal, StoreError, chain_end};
use serde::{Deserialize, Serialize};

use crate::api::wire::{EventView, JobView};
use crate::clock;
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::views;

/// Raised when the file's form changes.
const FORM: u32 = 1;

/// A job's evidence, as it is written to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Evidence {
    /// Of the file.
    pub evidence: u32,
    /// Version of the Landfall that wrote it.
    pub landfall: String,
    /// The installation's, for whoever has none from elsewhere to compare.
    pub public_key: String,
    /// The job.
    pub job: String,
    /// What it was started with, as it was written.
    pub frozen: String,
    /// Its journal, each record as it was written.
    pub records: Vec<String>,
    /// The signature under the end of the chain.
    pub seal: Seal,
    /// What follows from these.
    pub report: Report,
}

/// What a job did, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    /// The job with all its steps, attempts and plugin digests.
    pub job: JobView,
    /// From the request to the last machine that was started; absent if none was.
    pub rto_ms: Option<u64>,
    /// What the plan aims at.
    pub rto_target_ms: Option<u64>,
    /// By item: the greatest loss of data that the inventory aims at.
    pub rpo_targets_ms: BTreeMap<String, u64>,
    /// By item: the proof on which its machine was started.
    pub fence_proofs: BTreeMap<String, FenceProof>,
    /// By item of a test: the proof that its networks reach nothing else.
    pub isolation_proofs: BTreeMap<String, IsolationProof>,
    /// Every record in words. Numbers count the job's own records.
    pub journal: Vec<EventView>,
}

/// What a check of evidence found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// The installation that signed.
    pub installation: String,
    /// Its epoch then.
    pub epoch: u64,
    /// The job.
    pub job: String,
    /// Its records.
    pub records: u64,
    /// Host time of the signature.
    pub sealed_at: u64,
    /// The job had ended by then.
    pub ended: bool,
    /// What was not compared, and why.
    pub notes: Vec<String>,
}

/// Collects a job's evidence; the end of its journal is signed now, unless it was at its end already.
pub(crate) async fn collect(engine: &Engine, id: &str) -> Result<Evidence, Refusal> {
    let reader = engine.store.reader();
    if reader.job(id)?.is_none() {
        return Err(unknown(id));
    }
    let key = engine.store.identity().public_key.clone();
    let known = reader.seal(id)?;
    let (frozen, records) = reader.texts(id)?.ok_or_else(|| unknown(id))?;
    let reaches = |seal: &Seal| {
        let statement = seal.open(&key).ok()?;
        (statement.jobs.get(id)?.records == records.len() as u64).then_some(())
    };
    let (seal, mut records) = match known {
        Some(seal) if reaches(&seal).is_some() => (seal, records),
        _ => {
            let mut batch = landfall_store::Batch::new();
            batch.seal(Some(id), clock::now());
            engine.commit(batch).await?;
            let seal = reader.seal(id)?.ok_or(StoreError::Closed)?;
            // A running job may have gone on since: what is signed is what is shown.
            (seal, reader.texts(id)?.map_or(records, |(_, records)| records))
        }
    };
    let statement = seal.open(&key).map_err(|why| Refusal::damaged(&why))?;
    let signed = statement.jobs.get(id).map_or(0, |head| head.records);
    records.truncate(usize::try_from(signed).unwrap_or(usize::MAX));
    let report = Report::of(&frozen, &records).map_err(|why| Refusal::damaged(&why))?;
    Ok(Evidence {
        evidence: FORM,
        landfall: env!("CARGO_PKG_VERSION").to_owned(),
        public_key: key,
        job: id.to_owned(),
        frozen,
        records,
        seal,
        report,
    })
}

fn unknown(id: &str) -> Refusal {
    Refusal::unknown_job(format!("there is no job {id}"))
}

impl Report {
    /// From what was written, and nothing else.
    fn of(frozen: &str, records: &[String]) -> Result<Self, String> {
        let frozen: Frozen =
            serde_json::from_str(frozen).map_err(|error| format!("the frozen job cannot be read: {error}"))?;
        let records: Vec<Record> = records
            .iter()
            .enumerate()
            .map(|(index, text)| {
                serde_json::from_str(text).map_err(|error| format!("record {} cannot be read: {error}", index + 1))
            })
            .collect::<Result<_, _>>()?;
        let job = Job::fold(Arc::new(frozen), &records);
        let frozen = &job.frozen;
        let view = views::job(&job, &std::collections::HashMap::new(), true);
        let steps = &frozen.graph.steps;
        Ok(Self {
            rto_ms: view.items.iter().filter_map(|item| item.rto_ms).max(),
            rto_target_ms: frozen.plan.rto_ms,
            rpo_targets_ms: frozen
                .items
                .iter()
                .map(|(name, item)| (name.clone(), item.item.replication.rpo_ms))
                .collect(),
            fence_proofs: frozen
                .items
                .keys()
                .filter_map(|item| Some((item.clone(), proof(&job, item)?)))
                .collect(),
            isolation_proofs: frozen
                .items
                .keys()
                .filter_map(|item| Some((item.clone(), isolation(&job, item)?)))
                .collect(),
            journal: (1..)
                .zip(&records)
                .map(|(number, record)| views::event(steps, &frozen.job, number, record))
                .collect(),
            job: view,
        })
    }
}

fn isolation(job: &Job, item: &str) -> Option<IsolationProof> {
    let outputs = outputs_of(job, item, |kind| *kind == StepKind::ProveIsolation)?;
    serde_json::from_str(outputs.get(ISOLATION)?).ok()
}

impl Evidence {
    /// From a file: JSON, or the page that carries it.
    pub fn read(text: &str) -> Result<Self, String> {
        let json = page::carried(text).unwrap_or_else(|| text.to_owned());
        let evidence: Self =
            serde_json::from_str(&json).map_err(|error| format!("this is no evidence of a job: {error}"))?;
        if evidence.evidence != FORM {
            let found = evidence.evidence;
            return Err(format!(
                "the evidence has form {found}, and this Landfall knows form {FORM}"
            ));
        }
        if page::carried(text).is_some() && evidence.is_ours() && evidence.page() != text {
            return Err("the page does not show what it carries".to_owned());
        }
        Ok(evidence)
    }

    /// A page for people, with the evidence inside.
    pub fn page(&self) -> String {
        page::of(self)
    }

    fn is_ours(&self) -> bool {
        self.landfall == env!("CARGO_PKG_VERSION")
    }

    /// Checks all of it against the public key of the installation.
    pub fn check(&self, key: &str) -> Result<Checked, String> {
        let statement = self
            .seal
            .open(key)
            .map_err(|why| format!("the seal is not accepted: {why}"))?;
        let head = statement
            .jobs
            .get(&self.job)
            .ok_or_else(|| format!("the seal says nothing of job {}", self.job))?;
        if head.records != self.records.len() as u64 {
            let (signed, found) = (head.records, self.records.len());
            return Err(format!("{signed} records were signed, and {found} are here"));
        }
        if chain_end(&self.frozen, &self.records) != head.hash {
            return Err("the frozen job or a record is not the one that was signed".to_owned());
        }
        let frozen: Frozen =
            serde_json::from_str(&self.frozen).map_err(|error| format!("the frozen job cannot be read: {error}"))?;
        if frozen.job != self.job || frozen.installation != statement.installation {
            return Err("the frozen job is another one, or another installation's".to_owned());
        }
        let report = Report::of(&self.frozen, &self.records)?;
        if report.job.hash != sha256_hex(self.frozen.as_bytes()) {
            return Err("the journal began with another frozen job".to_owned());
        }
        let mut notes = Vec::new();
        if report != self.report {
            if self.is_ours() {
                return Err("the report is not what follows from the records".to_owned());
            }
            notes.push(format!(
                "the report was written by Landfall {}, whose words differ from this one's: read the one that this \
                 program makes of the records",
                self.landfall
            ));
        }
        Ok(Checked {
            installation: statement.installation,
            epoch: statement.epoch,
            job: self.job.clone(),
            records: head.records,
            sealed_at: statement.at,
            ended: report.job.ended_at.is_some(),
            notes,
        })
    }
}
