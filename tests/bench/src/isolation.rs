//! Hostile guests beside well-meant ones. For each kind: the code that ends its call, how long that takes, and by how
//! much it delays the calls of others, measured from the call to the moment when a guest's thread takes it up: beside
//! none, beside one and beside four that begin again as soon as they are stopped.
//!
//! Then how far a CPU limit is overrun. Everything runs with the daemon's own settings.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use landfall_guests::{Fixture, Hostile, hostile};
use landfall_runtime::{CallError, Limits, Runtime, RuntimeOptions};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::calls::{Ours, call, context};
use crate::figures::{Times, millis};

/// Well-meant calls for each figure, and how often one begins: enough for a p99, at a rate that leaves the thread idle.
const CALLS: usize = 800;
const EVERY: Duration = Duration::from_millis(4);
/// Endless loops that are stopped to see how far they overrun.
const LOOPS: usize = 200;
const LOOP_LIMIT: Duration = Duration::from_millis(50);

pub(crate) async fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = Runtime::new(RuntimeOptions::new(directory.path().join("state")))?;
    let harmless = Fixture::new("runbook")
        .named("harmless", "1.0.0")
        .answering("effect")
        .answering("run");
    let harmless = harmless.write(&directory.path().join("harmless"));
    let mut others = Ours::load(&runtime, &harmless).await?;
    let alone = delay(&mut others).await?;
    println!(
        "isolation: hand-over p99 of others beside none: {}",
        millis(alone.p99())
    );
    println!(
        "{:<18} {:<8} {:>13} {:>16} {:>16}",
        "hostile guest", "code", "stopped after", "p99 beside one", "p99 beside four"
    );
    let mut worst = (Duration::ZERO, Duration::ZERO);
    for kind in hostile() {
        let path = kind.fixture.write(&directory.path().join(kind.name));
        let stopped = stopped(&runtime, &path, &kind).await?;
        let one = beside(&runtime, &path, 1, &mut others).await?;
        let four = beside(&runtime, &path, 4, &mut others).await?;
        worst = (worst.0.max(one.p99()), worst.1.max(four.p99()));
        println!(
            "{:<18} {:<8} {:>13} {:>16} {:>16}",
            kind.name,
            stopped.0,
            millis(stopped.1),
            millis(one.p99()),
            millis(four.p99())
        );
    }
    let again = delay(&mut others).await?;
    let base = alone.p99().min(again.p99());
    println!(
        "isolation: hand-over p99 of others beside none, again: {}",
        millis(again.p99())
    );
    println!(
        "isolation: rises by at most {} beside one (15 ms), {} beside four (60 ms)",
        millis(worst.0.saturating_sub(base)),
        millis(worst.1.saturating_sub(base))
    );
    overrun(&runtime, &directory.path().join("endless-loop")).await
}

/// The code that ends one call, and when.
async fn stopped(runtime: &Runtime, path: &Path, kind: &Hostile) -> Result<(&'static str, Duration)> {
    let limits = Limits {
        wall: if kind.code == "LF0433" {
            Duration::from_secs(1)
        } else {
            Limits::default().wall
        },
        ..Limits::default()
    };
    let ours = Ours::limited(runtime, path, limits).await?;
    let began = Instant::now();
    let error = ours.runbook().run(call(), context(), None).await.err();
    let code = error.as_ref().map_or("none", CallError::code);
    Ok((code, began.elapsed()))
}

/// The delay of others while this many of a kind run.
async fn beside(runtime: &Runtime, path: &Path, count: usize, others: &mut Ours) -> Result<Times> {
    let hostile = Ours::load(runtime, path).await?;
    let running: Vec<_> = (0..count)
        .map(|_| {
            let runbook = hostile.runbook();
            tokio::spawn(async move {
                loop {
                    // How it ends was looked at before.
                    let _ = runbook.run(call(), context(), None).await;
                }
            })
        })
        .collect();
    // Until all have begun.
    sleep(Duration::from_millis(200)).await;
    let times = delay(others).await;
    for task in running {
        task.abort();
        let _ = task.await;
    }
    times
}

/// Calls that begin at set times, whether or not earlier ones are over.
async fn delay(others: &mut Ours) -> Result<Times> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        ticks.tick().await;
        let runbook = others.runbook();
        calls.push(tokio::spawn(async move { runbook.run(call(), context(), None).await }));
    }
    let mut times = Times::default();
    for call in calls {
        call.await?.context("a well-meant call failed")?;
        times.push(others.timing().await?.waited);
    }
    Ok(times)
}

/// How far endless loops run beyond their limit, on the clock on the wall and on the processor's.
async fn overrun(runtime: &Runtime, path: &Path) -> Result<()> {
    let limits = Limits {
        cpu: LOOP_LIMIT,
        ..Limits::default()
    };
    let mut ours = Ours::limited(runtime, path, limits).await?;
    let (mut wall, mut cpu) = (Times::default(), Times::default());
    for _ in 0..LOOPS {
        let _ = ours.runbook().run(call(), context(), None).await;
        let timing = ours.timing().await?;
        wall.push(timing.ran.saturating_sub(LOOP_LIMIT));
        cpu.push(timing.cpu.saturating_sub(LOOP_LIMIT));
    }
    for (clock, times) in [("wall", wall), ("processor", cpu)] {
        println!(
            "isolation: a CPU limit of {} is overrun by p50 {}, p99 {} of {clock} time (at most 20 ms, idle machine)",
            millis(LOOP_LIMIT),
            millis(times.p50()),
            millis(times.p99())
        );
    }
    Ok(())
}
