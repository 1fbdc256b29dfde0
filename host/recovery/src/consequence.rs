//! What a job's records mean for its items. The item states in the store are this function over the journal, so they
//! can be rebuilt from it.

use crate::event::{Decision, Event, Outcome, StepResult};
use crate::freeze::FrozenItem;
use crate::graph::{Step, StepKind};
use crate::item::{ItemEvent, Recovered, Trouble};
use crate::job::{Job, Status};
use crate::operations::Operation;
use crate::proof::{FenceProof, ProofKind};
use crate::words::{Consistency, Millis, Pairs};

/// The consequences of a record for the items of a job. `job` has the record applied.
pub fn consequences(job: &Job, at: Millis, event: &Event) -> Vec<(String, ItemEvent)> {
    match event {
        Event::Started { .. } => every(job, |_| ItemEvent::Began {
            job: job.frozen.job.clone(),
            operation: job.frozen.operation,
        }),
        Event::Operator {
            decision: Decision::Retry { .. } | Decision::Skip { .. } | Decision::Repin { .. },
            ..
        } => every(job, |_| ItemEvent::Began {
            job: job.frozen.job.clone(),
            operation: job.frozen.operation,
        }),
        Event::Outcome {
            step,
            result: StepResult::Done { outputs },
        } => {
            let Some((step, _)) = job.step(*step) else {
                return Vec::new();
            };
            done(job, at, step, outputs).into_iter().collect()
        }
        Event::Ended { outcome, .. } => every(job, |item| ItemEvent::Ended {
            job: job.frozen.job.clone(),
            trouble: trouble(job, item, *outcome),
        }),
        _ => Vec::new(),
    }
}

fn every(job: &Job, event: impl Fn(&str) -> ItemEvent) -> Vec<(String, ItemEvent)> {
    job.frozen
        .items
        .keys()
        .map(|item| (item.clone(), event(item)))
        .collect()
}

fn done(job: &Job, at: Millis, step: &Step, outputs: &Pairs) -> Option<(String, ItemEvent)> {
    let item = step.items.first()?.clone();
    let test = job.frozen.operation == Operation::Test;
    let frozen = job.frozen.items.get(&item)?;
    let event = match &step.kind {
        StepKind::PrepareReplica => prepared(job, frozen, outputs.get("replica")?.clone()),
        StepKind::Seed => ItemEvent::Seeded,
        StepKind::Create => ItemEvent::Created {
            machine: outputs.get("machine")?.clone(),
            test,
            recovered: chosen(job, &item)?,
            test_until: ends(job, at),
        },
        StepKind::Start => {
            let proof = proof(job, &item);
            ItemEvent::Activated {
                test,
                held: proof.as_ref().is_some_and(|proof| proof.held == Some(true))
                    || outputs_of(job, &item, |kind| *kind == StepKind::Hold).is_some(),
                proof: proof.map(|proof| proof.kind),
                rto_ms: at.saturating_sub(job.frozen.requested_at),
                test_until: ends(job, at),
                fence_on_return: job.frozen.risk.as_ref().is_some_and(|risk| risk.fence_on_return),
            }
        }
        StepKind::Delete => ItemEvent::Deleted {
            test: job.frozen.operation == Operation::Cleanup,
        },
        StepKind::ChangePoint => ItemEvent::PointChanged {
            recovered: chosen(job, &item)?,
        },
        StepKind::DeleteTest => ItemEvent::Deleted { test: true },
        // A source that is proved off after a failover on a person's word.
        StepKind::Fence if matches!(job.frozen.operation, Operation::Fence | Operation::ChooseDirection) => {
            off(outputs)
        }
        // The old source is proved off before its disks are written. Elsewhere this is about what a failover made.
        StepKind::ProveOldOff if frozen.turn.is_some() => off(outputs),
        StepKind::Return => ItemEvent::Returned,
        StepKind::Shutdown | StepKind::Hold if job.frozen.operation.failover_kind().is_some() => {
            ItemEvent::SourceStopped
        }
        StepKind::DeleteSource => ItemEvent::AwayDeleted,
        StepKind::DeleteOtherReplica => ItemEvent::OtherReplicaDeleted,
        StepKind::Forget if job.frozen.operation == Operation::Release => ItemEvent::Released,
        StepKind::Forget => ItemEvent::Unprotected,
        StepKind::DoomPoints => ItemEvent::PointsDoomed,
        StepKind::DeletePoints => ItemEvent::PointsDeleted,
        _ => return None,
    };
    Some((item, event))
}

/// When a test ends by itself that is this far now.
fn ends(job: &Job, at: Millis) -> Option<Millis> {
    job.frozen.test_ttl_ms.map(|ttl| at.saturating_add(ttl))
}

/// What the proof that an old source is off means for the risk: a person's word was what began it.
fn off(outputs: &Pairs) -> ItemEvent {
    match FenceProof::of_step(outputs).map(|proof| proof.kind) {
        Some(ProofKind::HumanAttested) => ItemEvent::Attested,
        _ => ItemEvent::Fenced,
    }
}

/// The first replica of an item, or the one with which its replication turns round.
fn prepared(job: &Job, item: &FrozenItem, replica: String) -> ItemEvent {
    match &item.turn {
        None => ItemEvent::ReplicaPrepared {
            replica,
            options: job.frozen.options.clone(),
        },
        Some(turn) => ItemEvent::Turned {
            direction: job.frozen.direction,
            replica,
            location: turn.location,
            home: turn.home.clone(),
            options: job.frozen.options.clone(),
        },
    }
}

/// The point that a job's policy chose for an item.
pub fn chosen(job: &Job, item: &str) -> Option<Recovered> {
    let outputs = outputs_of(job, item, |kind| *kind == StepKind::Choose)?;
    let get = |name: &str| outputs.get(&format!("{name}/{item}"));
    Some(Recovered {
        point: get("point")?.clone(),
        source_time_ms: get("source-time-ms")?.parse().ok()?,
        consistency: if get("consistency")? == "app" {
            Consistency::App
        } else {
            Consistency::Crash
        },
        rpo_ms: get("rpo-ms").and_then(|text| text.parse().ok()),
        rto_ms: None,
    })
}

/// The proof on which a job activated an item, or would.
pub fn proof(job: &Job, item: &str) -> Option<FenceProof> {
    FenceProof::of_step(outputs_of(job, item, |kind| *kind == StepKind::Fence)?)
}

/// The outputs of the item's step of a kind, once it is done.
pub fn outputs_of<'a>(job: &'a Job, item: &str, fits: impl Fn(&StepKind) -> bool) -> Option<&'a Pairs> {
    let (_, state) = job.steps_of(item).find(|(step, _)| fits(&step.kind))?;
    (state.status == Status::Done).then_some(&state.outputs)
}

/// How an item came out of a job.
fn trouble(job: &Job, item: &str, outcome: Outcome) -> Option<Trouble> {
    match outcome {
        Outcome::Succeeded => None,
        Outcome::Abandoned => Some(Trouble::Abandoned),
        Outcome::Cancelled => Some(Trouble::Cancelled),
        Outcome::Failed => Some(Trouble::Failed),
        Outcome::CompletedWithErrors => {
            let bad = job.steps_of(item).any(|(step, state)| {
                let own = !matches!(
                    step.kind,
                    StepKind::Action { .. }
                        | StepKind::Gate { .. }
                        | StepKind::Shutdown
                        | StepKind::Hold
                        | StepKind::Release
                        | StepKind::Stonith
                );
                own && matches!(
                    state.status,
                    Status::Failed | Status::NotRun | Status::Skipped { goes_on: false }
                )
            });
            bad.then_some(Trouble::Failed)
        }
    }
}
