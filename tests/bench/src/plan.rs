//! A plan of 1,000 lab machines in 10 groups, failed over twice through the real binary, every step durable.
//!
//! First with a lab that answers at once: what remains is Landfall, printed as steps a second. Then with operations of
//! 0.2 to 2 s: the makespan is printed over the ideal one, which is the same executor in virtual time at zero cost,
//! fed with the times that the lab's ledger says each operation took.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use landfall_recovery::executor::Limits;
use landfall_recovery::freeze::Frozen;
use landfall_recovery::graph::Step;
use landfall_recovery::simulate::makespan_ms;
use landfall_store::Store;

use crate::world::World;

const MACHINES: usize = 1_000;
const GROUPS: usize = 10;
/// The daemon's default of operations under way at a site.
const LIMIT: usize = 64;

pub(crate) async fn run() -> Result<()> {
    println!("fdatasync of 4 KiB here: {}", fdatasync()?);
    fail_over("latency 0", None).await?;
    fail_over("latency 0.2-2 s", Some((200, 2_000))).await
}

async fn fail_over(name: &str, latency: Option<(u64, u64)>) -> Result<()> {
    let world = World::start(MACHINES, GROUPS, LIMIT).await?;
    let begun = Instant::now();
    world.job("protect").await?;
    println!(
        "{name}: protected {MACHINES} machines in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    if let Some((min, max)) = latency {
        for operation in ["shutdown", "hold", "process", "create-machine", "start"] {
            world.latency(operation, min, max).await?;
        }
    }
    let job = world.job("planned-failover").await?;
    let (steps, makespan) = (job.steps, job.ended_at - job.requested_at);
    let preparing = job.started_at - job.requested_at;
    let running = job.ended_at - job.started_at;
    println!(
        "{name}: {steps} steps in {:.2} s = {:.0} steps/s (request to frozen: {:.2} s, whole: {:.2} s)",
        seconds(running),
        f64::from(steps) / seconds(running),
        seconds(preparing),
        seconds(makespan),
    );
    let check = world.check().await?;
    println!(
        "{name}: doubled {}, both active {}, records lost {}",
        check.doubled, check.both_active, check.lost
    );
    if latency.is_some() {
        let durations = world.durations(&job.id).await?;
        let data = world.stop();
        let ideal = ideal(&data, &job.id, LIMIT, &durations)?;
        println!(
            "{name}: makespan {:.2} s / ideal {:.2} s = {:.3}",
            seconds(running),
            seconds(ideal),
            seconds(running) / seconds(ideal)
        );
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of a benchmark are far below 2^52"
)]
pub(crate) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// The makespan of the same executor in virtual time, at no cost of its own.
pub(crate) fn ideal(data: &std::path::Path, job: &str, limit: usize, durations: &HashMap<String, u64>) -> Result<u64> {
    let store = Store::open(data)?;
    let chain = store.reader().chain(job)?.context("the job is not in the journal")?;
    let frozen: Frozen = serde_json::from_str(&chain.frozen)?;
    let limits = Limits {
        default: limit,
        ..Limits::default()
    };
    let duration = |step: &Step| durations.get(&step.id).copied().unwrap_or(0);
    Ok(makespan_ms(&Arc::new(frozen), &limits, duration))
}

/// The disk's own speed, without which no figure of a durable program means anything.
fn fdatasync() -> Result<String> {
    use std::io::Write;
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[0; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    Ok(format!("p50 {:?}, p99 {:?}", at(50), at(99)))
}
