//! Durable steps: the executor and the store alone, with effects that cost nothing.
//!
//! Many at once: as a job's task does it, one turn folds what came in, asks the executor, commits, and starts. One after
//! the other, with a HANDLE: two commits a step, beside the least that a disk could do for the same promise, two appends
//! of 300 bytes to a file that has its blocks already, each with fdatasync, by turns.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landfall_recovery::document::{Plan, PointChoice};
use landfall_recovery::event::{Event, Record, StepResult};
use landfall_recovery::executor::{Limits, Next, decide};
use landfall_recovery::freeze::{Frozen, sha256_hex};
use landfall_recovery::graph::{Edge, Graph, Stage, Step, StepIndex, StepKind, Wait};
use landfall_recovery::job::Job;
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Direction, EffectClass, EffectFacts, Pairs};
use landfall_store::{Batch, JobRow, Store};

use crate::figures::{Times, micros, ratio};

/// Steps of the wide job, and how many of them are under way at once.
const MANY: u32 = 30_000;
const IN_FLIGHT: usize = 256;
/// Steps of the long one.
const CHAIN: usize = 1_500;
/// A record is about as long.
const APPEND: usize = 300;

pub(crate) async fn run() -> Result<()> {
    once().await.map(|_| ())
}

/// What came of it, in steps a second.
pub(crate) struct Speed {
    pub(crate) many: f64,
    pub(crate) chain: f64,
    /// Of the disk, for 300 bytes.
    pub(crate) fdatasync: Duration,
}

/// Both, in a new directory.
pub(crate) async fn once() -> Result<Speed> {
    let place = tempfile::tempdir()?;
    let many = many(place.path()).await?;
    let (chain, fdatasync) = chain(place.path()).await?;
    Ok(Speed { many, chain, fdatasync })
}

fn frozen(steps: usize, chained: bool) -> Arc<Frozen> {
    let step = |index: usize| Step {
        id: format!("shutdown/machine-{index}"),
        kind: StepKind::Shutdown,
        stage: Stage::Failover,
        calls: Some("site".to_owned()),
        group: None,
        items: vec![format!("machine-{index}")],
        after: index
            .checked_sub(1)
            .filter(|_| chained)
            .map(|step| Edge {
                step,
                wait: Wait::Success,
            })
            .into_iter()
            .collect(),
        effect: EffectFacts::new(EffectClass::Keyed),
        retries: 0,
        timeout_ms: 60_000,
        stops_job: true,
    };
    Arc::new(Frozen {
        installation: "bench".to_owned(),
        epoch: 1,
        job: if chained { "chain" } else { "many" }.to_owned(),
        operation: Operation::PlannedFailover,
        direction: Direction::Forward,
        plan: Plan {
            name: "bench".to_owned(),
            description: String::new(),
            point: PointChoice::default(),
            shutdown: true,
            test_network: None,
            fence_max_age_ms: 60_000,
            rto_ms: None,
            groups: Vec::new(),
            dependencies: BTreeMap::new(),
            actions: Vec::new(),
        },
        items: BTreeMap::new(),
        point: None,
        processes_first: false,
        fence_max_age_ms: 60_000,
        risk: None,
        shutdown: None,
        keep: None,
        test_ttl_ms: None,
        options: Pairs::new(),
        injections: BTreeMap::new(),
        plugins: BTreeMap::new(),
        findings: Vec::new(),
        requested_at: 0,
        requested_by: "bench".to_owned(),
        graph: Graph {
            steps: (0..steps).map(step).collect(),
        },
    })
}

/// A job with its store: what a job's task is, without plugins.
struct Runner {
    store: Store,
    job: Job,
    batch: Batch,
    now: u64,
}

impl Runner {
    fn new(place: &Path, frozen: &Arc<Frozen>) -> Result<Self> {
        let store = Store::open(&place.join(&frozen.job))?;
        let mut batch = Batch::new();
        let text = serde_json::to_string(&**frozen)?;
        batch.job(JobRow {
            id: frozen.job.clone(),
            plan: "bench".to_owned(),
            operation: "planned-failover".to_owned(),
            created_at: 0,
            frozen: text.clone(),
        });
        let mut runner = Self {
            store,
            job: Job::new(Arc::clone(frozen), 0),
            batch,
            now: 0,
        };
        let hash = sha256_hex(text.as_bytes());
        runner.record(Event::Started { hash });
        Ok(runner)
    }

    fn record(&mut self, event: Event) {
        self.now += 1;
        self.job.apply(self.now, &event);
        let record = Record { at: self.now, event };
        self.batch.record(&self.job.frozen.job.clone(), record);
    }

    /// Steps that may begin, with their INTENTs recorded.
    fn begin(&mut self, limits: &Limits) -> Vec<StepIndex> {
        let mut begun = Vec::new();
        for next in decide(&self.job, self.now, limits).next {
            match next {
                Next::Begin {
                    step,
                    attempt,
                    generation,
                } => {
                    let key = self.job.key(step, generation);
                    let arguments = sha256_hex(key.as_bytes());
                    self.record(Event::Intent {
                        step,
                        attempt,
                        generation,
                        key,
                        class: EffectClass::Keyed,
                        arguments,
                    });
                    begun.push(step);
                }
                Next::Expire { .. } => {}
                Next::Ask { event } => self.record(event),
                Next::End { outcome, reason } => self.record(Event::Ended { outcome, reason }),
            }
        }
        begun
    }

    fn done(&mut self, step: StepIndex) {
        let outputs = Pairs::from([("machine".to_owned(), format!("machine-{step}"))]);
        let result = StepResult::Done {
            outputs: Arc::new(outputs),
        };
        self.record(Event::Outcome { step, result });
    }

    async fn commit(&mut self) -> Result<()> {
        self.store.commit(std::mem::take(&mut self.batch)).await?;
        Ok(())
    }
}

async fn many(place: &Path) -> Result<f64> {
    let limits = Limits {
        default: IN_FLIGHT,
        ..Limits::default()
    };
    let mut runner = Runner::new(place, &frozen(MANY as usize, false))?;
    runner.commit().await?;
    let began = Instant::now();
    let (mut commits, mut latency) = (0, Times::default());
    let (reports, mut inbox) = tokio::sync::mpsc::channel(IN_FLIGHT);
    while runner.job.outcome.is_none() {
        for step in runner.begin(&limits) {
            let reports = reports.clone();
            // Starts once its INTENT is durable, and is over at once.
            tokio::spawn(async move { reports.send(step).await });
        }
        let before = Instant::now();
        runner.commit().await?;
        latency.push(before.elapsed());
        commits += 1;
        if runner.job.outcome.is_none() {
            let step = inbox.recv().await.context("a step reports")?;
            runner.done(step);
            while let Ok(step) = inbox.try_recv() {
                runner.done(step);
            }
        }
    }
    let speed = f64::from(MANY) / began.elapsed().as_secs_f64();
    println!("steps: {MANY} durable steps, {IN_FLIGHT} in flight: {speed:.0} steps/s ({commits} commits, {latency})");
    Ok(speed)
}

async fn chain(place: &Path) -> Result<(f64, Duration)> {
    let limits = Limits {
        default: 1,
        ..Limits::default()
    };
    let mut runner = Runner::new(place, &frozen(CHAIN, true))?;
    let mut raw = Raw::new(&place.join("raw"))?;
    runner.begin(&limits);
    runner.commit().await?;
    let (mut steps, mut appends, mut ratios) = (Times::default(), Times::default(), Vec::new());
    for step in 0..CHAIN {
        let before = Instant::now();
        let handle = format!("task-{step}");
        runner.record(Event::Handle { step, handle });
        runner.commit().await?;
        runner.done(step);
        runner.begin(&limits);
        runner.commit().await?;
        let took = before.elapsed();
        steps.push(took);
        let least = raw.twice()?;
        appends.push(least);
        ratios.push(ratio(least, took));
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    println!("steps: one after the other, with a HANDLE (two commits): {steps}");
    println!("steps: two appends of {APPEND} bytes with fdatasync:     {appends}");
    let (speed, fdatasync) = (1.0 / steps.p50().as_secs_f64(), appends.p50() / 2);
    println!(
        "steps: appends / step = {median:.2} (at least 0.6), {speed:.0} steps/s; fdatasync {}",
        micros(fdatasync)
    );
    Ok((speed, fdatasync))
}

/// A file that has all its blocks.
struct Raw {
    file: File,
    at: u64,
}

impl Raw {
    fn new(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        file.write_all(&vec![0; 2 * CHAIN * APPEND])?;
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    fn twice(&mut self) -> Result<Duration> {
        let before = Instant::now();
        for _ in 0..2 {
            self.file.write_all_at(&[7; APPEND], self.at)?;
            self.file.sync_data()?;
            self.at += APPEND as u64;
        }
        Ok(before.elapsed())
    }
}
