//! A runbook: the effect happens in the call without `resume`; what it hands back is durable before the next call.

use std::sync::Arc;
use std::time::Duration;

use landfall_recovery::words::Failure;
use landfall_runtime::Runbook;
use landfall_runtime::contract::runbook::{Context, Outcome};
use landfall_runtime::contract::types::ProbeAnswer;

use super::guests::Programs;
use super::{Begin, Report, Task};
use crate::contract::{from_call_error, from_pairs};
use crate::hex::{from_hex, to_hex};
use crate::runner::Note;

pub(super) async fn run(task: &Task, name: &str, context: Context, begin: Begin) -> Report {
    let runbook = match runbook(task, name).await {
        Ok(runbook) => runbook.with_programs(Arc::new(Programs::new(task, &context.machines))),
        Err(failure) => return Report::Failed(super::operation::unbound(failure, &begin)),
    };
    match begin {
        Begin::Send => call(task, &runbook, context, None).await,
        Begin::Probe => probe(task, &runbook, context).await,
        Begin::Attach { handle, after_ms } => {
            tokio::time::sleep(Duration::from_millis(u64::from(after_ms))).await;
            match from_hex(&handle) {
                Some(resume) => call(task, &runbook, context, Some(resume)).await,
                None => Report::Failed(Failure::definite(
                    landfall_recovery::codes::INTERNAL,
                    "the recorded resume state is not hexadecimal",
                )),
            }
        }
    }
}

async fn runbook(task: &Task, name: &str) -> Result<Runbook, Failure> {
    match task.pins.get(&runbook_key(name)) {
        Some(pinned) => task.engine.pinned_runbook(name, pinned).await,
        None => Err(Failure::definite(
            landfall_recovery::codes::INTERNAL,
            format!("the job pins no runbook `{name}`"),
        )),
    }
}

/// The name under which a job pins a runbook.
pub(crate) fn runbook_key(name: &str) -> String {
    format!("runbook:{name}")
}

async fn call(task: &Task, runbook: &Runbook, context: Context, resume: Option<Vec<u8>>) -> Report {
    let poll = resume.is_some();
    match runbook.run(task.call(), context, resume).await {
        Ok(Outcome::Done(outputs)) => Report::done(from_pairs(outputs)),
        Ok(Outcome::Skip(reason)) => Report::Skipped { reason },
        Ok(Outcome::Again(again)) => {
            task.report(Report::Note(Note {
                percent: None,
                text: again.note,
            }))
            .await;
            Report::Handle {
                handle: to_hex(&again.resume),
                after_ms: again.after_ms,
            }
        }
        Err(error) => {
            let failure = from_call_error(&error);
            // A poll has no effect, but the effect that it polls has begun: a failure is only definite if the runbook
            // itself says that nothing happened.
            let definite = if poll {
                error.failure().is_some_and(|failure| failure.definite)
            } else {
                failure.definite
            };
            Report::Failed(Failure { definite, ..failure })
        }
    }
}

async fn probe(task: &Task, runbook: &Runbook, context: Context) -> Report {
    let unknown = |why: &str| Report::Stuck {
        code: landfall_recovery::codes::IN_DOUBT,
        reason: format!("it cannot be told whether `{}` happened: {why}", task.step().id),
    };
    match runbook.probe(task.call(), context).await {
        Ok(Some(ProbeAnswer::Done(outputs))) => Report::done(from_pairs(outputs)),
        Ok(Some(ProbeAnswer::Running(running))) => Report::Handle {
            handle: to_hex(running.handle.as_bytes()),
            after_ms: running.poll_after_ms,
        },
        Ok(Some(ProbeAnswer::Absent)) => {
            tokio::time::sleep(Duration::from_millis(task.step().effect.settle_ms)).await;
            Report::Absent
        }
        Ok(Some(ProbeAnswer::Unknown(why))) => unknown(&why),
        Ok(None) => unknown("the runbook has no probe"),
        Err(error) => Report::Failed(Failure {
            definite: false,
            ..from_call_error(&error)
        }),
    }
}
