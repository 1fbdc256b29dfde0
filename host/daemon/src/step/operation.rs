//! An operation at a site: submit, then watch the handle; or ask by key what became of it.

use std::time::Duration;

use landfall_recovery::words::{Failure, Pairs};
use landfall_runtime::Adapter;
use landfall_runtime::contract::adapter::Operation;
use landfall_runtime::contract::types::{Call, ProbeAnswer, Progress};

use super::{Begin, Report, Task};
use crate::contract::{from_call_error, from_failure, from_pairs, pairs};
use crate::poll::Word;

/// How often a probe is repeated while the far side may still be settling.
const PROBE_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(task: &Task, site: &str, operation: Operation, ext: &Pairs, begin: Begin) -> Report {
    let adapter = match adapter(task, site).await {
        Ok(adapter) => adapter,
        Err(failure) => return Report::Failed(unbound(failure, &begin)),
    };
    let call = Call {
        ext: pairs(ext),
        ..task.call()
    };
    match begin {
        Begin::Send => match adapter.submit(call, operation).await {
            Ok(progress) => from_progress(progress),
            Err(error) => Report::Failed(from_call_error(&error)),
        },
        Begin::Probe => probe(task, &adapter, &call, operation).await,
        Begin::Attach { handle, after_ms } => watch(task, &adapter, handle, after_ms).await,
    }
}

/// The plugin cannot be called. If an effect may be under way already, that says nothing about it.
pub(super) fn unbound(failure: Failure, begin: &Begin) -> Failure {
    let definite = failure.definite && matches!(begin, Begin::Send);
    Failure { definite, ..failure }
}

/// The adapter that the job is pinned to for a site.
pub(super) async fn adapter(task: &Task, site: &str) -> Result<Adapter, Failure> {
    task.engine.adapter_of(&task.pins, site).await
}

/// The name under which a job pins a site's adapter.
pub(crate) fn site_key(site: &str) -> String {
    format!("site:{site}")
}

fn from_progress(progress: Progress) -> Report {
    match progress {
        Progress::Running(running) => Report::Handle {
            handle: running.handle,
            after_ms: running.poll_after_ms,
        },
        Progress::Done(outputs) => Report::done(from_pairs(outputs)),
        Progress::Failed(failure) => Report::Failed(from_failure(failure)),
    }
}

async fn watch(task: &Task, adapter: &Adapter, handle: String, after_ms: u32) -> Report {
    let mut words = task.engine.pollers.watch(adapter, handle, after_ms);
    let mut told = (None, String::new());
    while let Some(word) = words.recv().await {
        let now = match word {
            Word::Progress(Progress::Running(running)) => (running.percent, running.note),
            Word::Progress(Progress::Done(outputs)) => return Report::done(from_pairs(outputs)),
            Word::Progress(Progress::Failed(failure)) => return Report::Failed(from_failure(failure)),
            // The version that knows the handle is gone; what it polled goes on or not.
            Word::Gone(failure) => return doubtful(failure),
            Word::Silence(why) => (None, format!("the site does not answer: {why}")),
        };
        if now != told {
            task.note(now.0, now.1.clone()).await;
            told = now;
        }
    }
    // The poller is gone only with the daemon; the handle is durable and polled again after the restart.
    std::future::pending().await
}

async fn probe(task: &Task, adapter: &Adapter, call: &Call, operation: Operation) -> Report {
    let settled = tokio::time::Instant::now() + Duration::from_millis(task.step().effect.settle_ms);
    loop {
        match adapter.probe(call.clone(), operation.clone()).await {
            Err(error) => return doubtful(from_call_error(&error)),
            Ok(ProbeAnswer::Done(outputs)) => return Report::done(from_pairs(outputs)),
            Ok(ProbeAnswer::Running(running)) => {
                return Report::Handle {
                    handle: running.handle,
                    after_ms: running.poll_after_ms,
                };
            }
            Ok(ProbeAnswer::Unknown(why)) => {
                let step = task.step();
                let ways = step.ways_out(&task.frozen.job);
                let reason = format!("the far side cannot tell whether `{}` happened: {why}; {ways}", step.id);
                return Report::Stuck {
                    code: landfall_recovery::codes::IN_DOUBT,
                    reason,
                };
            }
            Ok(ProbeAnswer::Absent) if tokio::time::Instant::now() >= settled => return Report::Absent,
            Ok(ProbeAnswer::Absent) => tokio::time::sleep(PROBE_EVERY).await,
        }
    }
}

/// A probe that failed changed nothing, but the effect that it asked about is as open as before.
fn doubtful(failure: Failure) -> Report {
    Report::Failed(Failure {
        definite: false,
        unsent: false,
        ..failure
    })
}
