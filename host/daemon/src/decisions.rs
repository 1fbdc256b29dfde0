//! What people decide about jobs: retry, skip, attest, cancel, abandon. Each is checked against the job's state, then
//! journalled with who and why, then acted on.

use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::event::{Decision, Outcome, StepResult};
use landfall_recovery::freeze::Frozen;
use landfall_recovery::graph::{Skip, StepIndex, StepKind};
use landfall_recovery::job::{Job, Status};
use landfall_recovery::proof::{FenceProof, ProofKind};
use landfall_recovery::words::Pairs;

use crate::api::wire::DecisionRequest;
use crate::clock;
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::runner::{self, Handle};
use crate::step::{Report, proved};

/// Carries out a decision and gives the job's handle.
pub(crate) async fn decide(
    engine: &Arc<Engine>,
    id: &str,
    verb: &str,
    request: &DecisionRequest,
    who: &str,
) -> Result<Handle, Refusal> {
    // Reopening a job takes its items' locks again, as freezing one does.
    let _freezing = engine.freezing.lock().await;
    let handle = open(engine, id)?;
    let (decision, outcome) = {
        let job = handle.job();
        decision(&job, verb, request, who)?
    };
    if !handle.decide(who.to_owned(), decision, outcome).await {
        return Err(Refusal::refused(codes::JOB_OVER, format!("job {id} ended just now")));
    }
    Ok(handle)
}

/// The job's task: the one that runs, or a new one for a job that has ended and may be reopened.
fn open(engine: &Arc<Engine>, id: &str) -> Result<Handle, Refusal> {
    if let Some(handle) = engine.jobs().get(id) {
        return Ok(handle.clone());
    }
    let job = load(engine, id)?;
    let over = |why: &str| Refusal::refused(codes::JOB_OVER, format!("job {id} {why}"));
    if matches!(job.outcome, Some((Outcome::Succeeded | Outcome::Abandoned, _))) {
        return Err(over("is final"));
    }
    let world = engine.world();
    let touched = job.frozen.items.keys().find(|item| {
        let left = world.items.get(*item).and_then(|state| state.operation.as_ref());
        left.is_some_and(|operation| operation.job != id) || !world.items.contains_key(*item)
    });
    if let Some(item) = touched {
        return Err(over(&format!(
            "cannot be reopened: another job has touched `{item}` since"
        )));
    }
    drop(world);
    Ok(runner::spawn(engine, job))
}

/// A job from the store.
pub(crate) fn load(engine: &Engine, id: &str) -> Result<Job, Refusal> {
    let chain = engine
        .store
        .reader()
        .chain(id)?
        .ok_or_else(|| Refusal::unknown_job(format!("there is no job {id}")))?;
    let frozen: Frozen = serde_json::from_str(&chain.frozen).map_err(|error| Refusal::internal(&error))?;
    Ok(Job::fold(
        Arc::new(frozen),
        chain.records.iter().map(|stored| &stored.record),
    ))
}

type Decided = (Decision, Option<(StepIndex, StepResult)>);

fn decision(job: &Job, verb: &str, request: &DecisionRequest, who: &str) -> Result<Decided, Refusal> {
    let reason = request.reason.trim().to_owned();
    if verb != "retry" && reason.is_empty() {
        return Err(Refusal::bad_request(format!("`{verb}` wants a reason")));
    }
    let decision = match verb {
        "retry" => Decision::Retry {
            steps: to_retry(job, request)?,
        },
        "skip" => Decision::Skip {
            step: to_skip(job, request)?,
            reason,
        },
        "attest" => return attest(job, request, who, reason),
        "cancel" => Decision::Cancel { reason },
        "abandon" => Decision::Abandon { reason },
        other => return Err(Refusal::bad_request(format!("there is no decision `{other}`"))),
    };
    Ok((decision, None))
}

fn find(job: &Job, id: &str) -> Result<StepIndex, Refusal> {
    job.graph().find(id).ok_or_else(|| {
        let names = job.graph().steps.iter().map(|step| step.id.as_str());
        let near = landfall_recovery::diagnostic::nearest(id, names)
            .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        Refusal::unknown_job(format!("job {} has no step `{id}`{near}", job.frozen.job))
    })
}

fn troubled(job: &Job, index: StepIndex) -> bool {
    let status = job.steps.get(index).map(|state| &state.status);
    matches!(
        status,
        Some(Status::Stuck { .. } | Status::Failed | Status::Backoff { .. })
    )
}

fn to_retry(job: &Job, request: &DecisionRequest) -> Result<Vec<StepIndex>, Refusal> {
    if request.steps.is_empty() {
        return Ok((0..job.steps.len()).filter(|index| troubled(job, *index)).collect());
    }
    let mut steps = Vec::new();
    for id in &request.steps {
        let index = find(job, id)?;
        if !troubled(job, index) {
            return Err(Refusal::refused(
                codes::SKIP_REFUSED,
                format!("step `{id}` is neither stuck nor failed"),
            ));
        }
        steps.push(index);
    }
    Ok(steps)
}

fn one(job: &Job, request: &DecisionRequest) -> Result<(StepIndex, String), Refusal> {
    match request.steps.as_slice() {
        [id] => Ok((find(job, id)?, id.clone())),
        _ => Err(Refusal::bad_request("name exactly one step".to_owned())),
    }
}

fn to_skip(job: &Job, request: &DecisionRequest) -> Result<StepIndex, Refusal> {
    let (index, id) = one(job, request)?;
    let refused = |why: &str| Refusal::refused(codes::SKIP_REFUSED, format!("step `{id}` {why}"));
    if job
        .graph()
        .steps
        .get(index)
        .is_some_and(|step| step.kind.skip() == Skip::Refused)
    {
        return Err(refused("is a proof; without it no machine is activated"));
    }
    if !troubled(job, index) {
        return Err(refused("is neither stuck nor failed"));
    }
    Ok(index)
}

/// A person vouches that the source of a waiting machine is off: that is its proof, with name and reason.
fn attest(job: &Job, request: &DecisionRequest, who: &str, reason: String) -> Result<Decided, Refusal> {
    let (index, id) = one(job, request)?;
    let step = job.graph().steps.get(index).filter(|step| step.kind == StepKind::Fence);
    let item = step.and_then(|step| job.frozen.items.get(step.items.first()?));
    let Some(item) = item.filter(|_| troubled(job, index)) else {
        return Err(Refusal::refused(
            codes::SKIP_REFUSED,
            format!("step `{id}` does not wait for a fence proof"),
        ));
    };
    let observed_at = clock::now();
    let proof = FenceProof {
        site: item.item.source.site.clone(),
        machine: item.item.source.machine.clone(),
        kind: ProofKind::HumanAttested,
        evidence: Pairs::from([
            ("attested-by".to_owned(), who.to_owned()),
            ("reason".to_owned(), reason.clone()),
        ]),
        observed_at,
        held: None,
    };
    let Report::Done { outputs, .. } = proved(&proof, observed_at) else {
        return Err(Refusal::bad_request("the proof cannot be written".to_owned()));
    };
    let decision = Decision::Attest { step: index, reason };
    Ok((decision, Some((index, StepResult::Done { outputs }))))
}
