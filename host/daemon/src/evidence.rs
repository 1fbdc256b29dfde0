//! The evidence of a job: its journal byte by byte, the installation's signature under the end of its chain, what
//! follows from the two, and a second signature under that.
//!
//! Nobody has to believe the report. It is computed from the frozen job and the records alone, by the same fold as
//! everything else, so that who checks the file computes it again; and the records are those that were signed, since
//! each one's hash covers the one before it. But another version of Landfall may say the same in other words, so what
//! people read, the report and the page, is signed too, with the version that wrote it: any version can tell whether a
//! word of it was changed. No daemon and no database is needed for that, only the public key.

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
use serde_json::value::RawValue;

use crate::api::wire::{EventView, JobView};
use crate::clock;
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::views;

/// Raised when the file's form changes.
const FORM: u32 = 2;

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A job's evidence, as it is written to a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Evidence {
    /// Of the file.
    pub evidence: u32,
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
    /// What follows from these: a [`Report`], byte by byte as it was signed.
    pub report: Box<RawValue>,
    /// The signature under the report and the page: JSON of version, job, hash of the seal, report and page.
    pub shown: Seal,
}

/// What is signed of the words that people read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Shown {
    /// Version of the Landfall that wrote them.
    landfall: String,
    /// The job.
    job: String,
    /// Hash of the seal from whose records they follow.
    seal: String,
    /// SHA-256 of the report.
    report: String,
    /// SHA-256 of the page without the evidence that it carries.
    page: String,
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
    let words = words(&report).map_err(|error| Refusal::internal(&error))?;
    let shown = Shown {
        landfall: VERSION.to_owned(),
        job: id.to_owned(),
        seal: seal.hash(),
        report: sha256_hex(words.get().as_bytes()),
        page: sha256_hex(page::frame(&report, records.len(), &key).as_bytes()),
    };
    let body = serde_json::to_string(&shown).map_err(|error| Refusal::internal(&error))?;
    Ok(Evidence {
        evidence: FORM,
        public_key: key,
        job: id.to_owned(),
        frozen,
        records,
        seal,
        report: words,
        shown: engine.store.sign(body, &format!("evidence of job {id}"))?,
    })
}

/// A report as it stands in the file and in the page, where `<` would end the element that it stands in; JSON has
/// another way to write it.
fn words(report: &Report) -> Result<Box<RawValue>, serde_json::Error> {
    RawValue::from_string(serde_json::to_string(report)?.replace('<', "\\u003c"))
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
    /// A page for people, with the evidence inside.
    pub fn page(&self) -> Result<String, String> {
        let report: Report = serde_json::from_str(self.report.get())
            .map_err(|error| format!("the report is of another version of Landfall: {error}"))?;
        let json = serde_json::to_string(self).map_err(|error| error.to_string())?;
        let frame = page::frame(&report, self.records.len(), &self.public_key);
        Ok(page::carrying(&frame, &json))
    }

    /// Checks the words that people read: nobody changed them since the installation signed them.
    fn check_shown(&self, key: &str, frame: Option<&str>) -> Result<Shown, String> {
        let shown = self.shown.verified(key);
        let shown = shown.map_err(|why| format!("what was signed of the report is not accepted: {why}"))?;
        let shown: Shown = serde_json::from_str(shown)
            .map_err(|error| format!("what was signed of the report cannot be read: {error}"))?;
        if shown.job != self.job || shown.seal != self.seal.hash() {
            return Err("the report that was signed is about other records".to_owned());
        }
        if shown.report != sha256_hex(self.report.get().as_bytes()) {
            return Err("the report is not the one that was signed".to_owned());
        }
        if frame.is_some_and(|frame| shown.page != sha256_hex(frame.as_bytes())) {
            return Err("the page is not the one that was signed".to_owned());
        }
        Ok(shown)
    }

    fn check(&self, key: &str, frame: Option<&str>) -> Result<Checked, String> {
        let statement = self
            .seal
            .open(key)
            .map_err(|why| format!("the seal is not accepted: {why}"))?;
        if self.public_key != key {
            return Err("it names another key than the one that signed it".to_owned());
        }
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
        let shown = self.check_shown(key, frame)?;
        let report = Report::of(&self.frozen, &self.records)?;
        if report.job.hash != sha256_hex(self.frozen.as_bytes()) {
            return Err("the journal began with another frozen job".to_owned());
        }
        let words = words(&report).map_err(|error| error.to_string())?;
        let mut notes = Vec::new();
        if words.get() != self.report.get() {
            if shown.landfall == VERSION {
                return Err("the report is not what follows from the records".to_owned());
            }
            notes.push(format!(
                "the report is as Landfall {} signed it; this one, {VERSION}, says the same records in other words",
                shown.landfall
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

/// Checks a file, JSON or the page that carries it, against the public key of the installation.
pub fn check(text: &str, key: &str) -> Result<Checked, String> {
    let (frame, json) = match page::carried(text) {
        // A browser would show what it takes for the end of the element.
        Some((_, json)) if json.contains('<') => return Err("the page shows more than what was signed".to_owned()),
        Some((frame, json)) => (Some(frame), json),
        None => (None, text),
    };
    let form: Form = serde_json::from_str(json).map_err(|error| format!("this is no evidence of a job: {error}"))?;
    if form.evidence != FORM {
        let found = form.evidence;
        return Err(format!(
            "the evidence has form {found}, and this Landfall knows form {FORM}"
        ));
    }
    let evidence: Evidence =
        serde_json::from_str(json).map_err(|error| format!("this is no evidence of a job: {error}"))?;
    evidence.check(key.trim(), frame.as_deref())
}

/// What a file of any form says of itself.
#[derive(Deserialize)]
struct Form {
    evidence: u32,
}
