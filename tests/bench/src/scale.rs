//! 10,000 lab machines in one plan, failed over after a loss of power at home: 60,000 steps, operations of 0.2 to 2 s,
//! the daemon killed at half way. Printed: the makespan over the ideal one, the daemon's memory, how long a killed one
//! takes until every job runs again, and what a person waits for an answer meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::{Times, millis};
use crate::plan::{ideal, seconds};
use crate::world::World;

const MACHINES: usize = 10_000;
const GROUPS: usize = 32;
/// Operations under way at a site: such that the ideal is two to three minutes.
const LIMIT: usize = 400;
/// How often somebody asks.
const ASK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn run() -> Result<()> {
    let mut world = World::start(MACHINES, GROUPS, LIMIT).await?;
    let begun = Instant::now();
    world.job("protect").await?;
    println!(
        "scale: protected {MACHINES} machines in {:.1} s, the daemon's memory was at most {} MB",
        begun.elapsed().as_secs_f64(),
        world.peak_mb()?
    );
    world.cut_power().await?;
    for operation in ["process", "create-machine", "start"] {
        world.latency(operation, 200, 2_000).await?;
    }
    let asked = Instant::now();
    let id = world.launch("unplanned-failover").await?;
    println!(
        "scale: frozen and accepted after {:.2} s",
        asked.elapsed().as_secs_f64()
    );
    let (mut answers, mut peak, mut resumed) = (Times::default(), 0, None);
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let before = Instant::now();
        let status = world.status(&id).await?;
        answers.push(before.elapsed());
        if status.ended {
            anyhow::ensure!(status.name == "succeeded", "the job is {}", status.name);
            break;
        }
        if resumed.is_none() && status.done * 2 > status.steps {
            peak = world.peak_mb()?;
            resumed = Some(world.kill_and_restart().await?);
        }
    }
    peak = peak.max(world.peak_mb()?);
    let job = world.finished(&id).await?;
    let check = world.check().await?;
    println!("scale: doubled {}, both active {}", check.doubled, check.both_active);
    println!(
        "scale: answers to a person: p50 {}, p99 {}",
        millis(answers.p50()),
        millis(answers.p99())
    );
    println!("scale: the daemon's memory was at most {peak} MB (300 MB)");
    println!(
        "scale: killed at half way, all goes on after {} (2 s)",
        millis(resumed.unwrap_or_default())
    );
    let running = job.ended_at - job.started_at;
    let durations = world.durations(&id).await?;
    let data = world.stop();
    let ideal = ideal(&data, &id, LIMIT, &durations)?;
    println!(
        "scale: {} steps, makespan {:.2} s / ideal {:.2} s = {:.3} (1.10)",
        job.steps,
        seconds(running),
        seconds(ideal),
        seconds(running) / seconds(ideal)
    );
    Ok(())
}
