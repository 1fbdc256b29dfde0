//! What people decide about jobs: retry, skip, attest, repin, cancel, abandon. Each is checked against the job's state, then
//! journalled with who and why, then acted on.

mod repin;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use landfall_recovery::codes;
use landfall_recovery::document::Side;
use landfall_recovery::event::{Decision, Outcome, StepResult};
use landfall_recovery::freeze::Frozen;
use landfall_recovery::graph::{Skip, StepIndex, StepKind};
use landfall_recovery::job::{Job, Status};
use landfall_recovery::operations::Operation;
use landfall_recovery::proof::{FenceProof, ProofKind};
use landfall_recovery::words::{Failure, Pairs};

use crate::api::wire::DecisionRequest;
use crate::clock;
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::runner::{self, Handle};
use crate::step::{Report, present, proved};

/// Carries out a decision and gives the job's handle.
pub(crate) async fn decide(
    engine: &Arc<Engine>,
    id: &str,
    verb: &str,
    request: &DecisionRequest,
    who: &str,
) -> Result<Handle, Refusal> {
    let running = engine.jobs().get(id).cloned();
    let Some(handle) = running else {
        return reopen(engine, id, verb, request, who).await;
    };
    if verb == "regrant" {
        let decision = repin::regrant(engine, &handle.job(), request)?;
        take(&handle, who, decision, None).await?;
        return Ok(handle);
    }
    if verb == "repin" {
        let job = handle.job().clone();
        let decision = repin::decide(engine, &job, request).await?;
        take(&handle, who, decision, None).await?;
        return Ok(handle);
    }
    compared(engine, &handle.job(), verb)?;
    let (decision, outcome) = decision(&handle.job(), verb, request, who)?;
    take(&handle, who, decision, outcome).await?;
    Ok(handle)
}

/// A job that came out of a backup goes on only when its machines were compared with the sites.
fn compared(engine: &Engine, job: &Job, verb: &str) -> Result<(), Refusal> {
    if job.held.is_none() || matches!(verb, "cancel" | "abandon") {
        return Ok(());
    }
    let id = &job.frozen.job;
    if verb != "retry" {
        let why = format!("job {id} was restored from a backup; `landfall job retry {id}` lets it go on first");
        return Err(Refusal::refused(codes::JOB_RESTORED, why));
    }
    let world = engine.world();
    let open = |item: &&String| world.items.get(*item).is_some_and(|state| state.restored);
    let open: Vec<&str> = job.frozen.items.keys().filter(open).map(String::as_str).collect();
    if open.is_empty() {
        return Ok(());
    }
    let why = format!("these were not compared with the sites yet: {}", open.join(", "));
    Err(Refusal::refused(codes::NEEDS_RECONCILE, why))
}

async fn take(
    handle: &Handle,
    who: &str,
    decision: Decision,
    outcome: Option<(StepIndex, StepResult)>,
) -> Result<(), Refusal> {
    let taken = handle.decide(who.to_owned(), decision, outcome).await;
    let id = handle.job().frozen.job.clone();
    match taken {
        Some(true) => Ok(()),
        Some(false) => {
            let why = format!("the step moved on just now; look at job {id} again");
            Err(Refusal::refused(codes::SKIP_REFUSED, why))
        }
        None => Err(Refusal::refused(codes::JOB_OVER, format!("job {id} ended just now"))),
    }
}

/// Reopens a job that has ended. Everything is checked before its task is started.
async fn reopen(
    engine: &Arc<Engine>,
    id: &str,
    verb: &str,
    request: &DecisionRequest,
    who: &str,
) -> Result<Handle, Refusal> {
    let over = |why: &str| Refusal::refused(codes::JOB_OVER, format!("job {id} {why}"));
    let job = load(engine, id)?;
    if matches!(job.outcome, Some((Outcome::Succeeded | Outcome::Abandoned, _))) {
        return Err(over("is final"));
    }
    if !matches!(verb, "retry" | "skip" | "regrant") {
        return Err(over(&format!("has ended; there is nothing to {verb}")));
    }
    // Sites are asked before the lock is taken: one that is slow to answer holds nobody else's failover.
    if let Some(item) = ran_again(engine, &job).await {
        let why = format!("was synchronised before the source of `{item}` ran again; start a new planned failover");
        return Err(over(&why));
    }
    // Reopening a job takes its items' locks again, as freezing one does.
    let _freezing = engine.freezing.lock().await;
    let row = engine.store.reader().job(id)?;
    if engine.jobs().contains_key(id) || row.is_none_or(|row| row.ended_at != job.ended_at) {
        return Err(over("was reopened just now; look at it and ask again"));
    }
    let touched = {
        let world = engine.world();
        let other = |item: &&String| {
            world
                .items
                .get(*item)
                .is_none_or(|state| state.last_job.as_deref() != Some(id))
        };
        job.frozen.items.keys().find(other).cloned()
    };
    if let Some(item) = touched {
        return Err(over(&format!(
            "cannot be reopened: another job has touched `{item}` since"
        )));
    }
    let (decision, outcome) = match verb {
        "regrant" => (repin::regrant(engine, &job, request)?, None),
        _ => decision(&job, verb, request, who)?,
    };
    let handle = runner::spawn(engine, job);
    take(&handle, who, decision, outcome).await?;
    Ok(handle)
}

/// An item of a planned failover whose source was shut down and synchronised, and runs now: what it wrote since would
/// be lost (F22).
async fn ran_again(engine: &Arc<Engine>, job: &Job) -> Option<String> {
    if job.frozen.operation != Operation::PlannedFailover {
        return None;
    }
    let mut asked = Vec::new();
    for (name, item) in &job.frozen.items {
        let done = |kind: &StepKind| {
            job.steps_of(name)
                .any(|(step, state)| step.kind == *kind && state.status == Status::Done)
        };
        if !done(&StepKind::Sync) || done(&StepKind::Start) {
            continue;
        }
        // The fence found it running: what became of it since says nothing of what it wrote.
        let ran = job.steps_of(name).any(|(step, state)| {
            let failure = state.failure.as_ref();
            step.kind == StepKind::Fence && failure.is_some_and(|failure| failure.code == codes::NOT_FENCED)
        });
        if ran {
            return Some(name.clone());
        }
        asked.push((name.clone(), item.item.source.clone()));
    }
    // A source that cannot be asked is judged by the fence step.
    let runs = stream::iter(asked)
        .map(|(name, source)| async move { engine.is_on(&source.site, source.machine).await.then_some(name) });
    let mut runs = std::pin::pin!(runs.buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready));
    runs.next().await
}

/// Machines whose power is asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// A job from the store.
pub(crate) fn load(engine: &Engine, id: &str) -> Result<Job, Refusal> {
    let begin = |frozen: &str| serde_json::from_str::<Frozen>(frozen).map(|frozen| (Arc::new(frozen), None));
    let found = engine.store.reader().replay(id, begin, |found, stored| {
        if let Ok((frozen, job)) = found {
            let record = &stored.record;
            job.get_or_insert_with(|| Job::new(Arc::clone(frozen), record.at))
                .apply(record.at, &record.event);
        }
    })?;
    let (frozen, job) = found
        .ok_or_else(|| Refusal::unknown_job(format!("there is no job {id}")))?
        .map_err(|error| Refusal::internal(&error))?;
    Ok(job.unwrap_or_else(|| Job::new(frozen, 0)))
}

type Decided = (Decision, Option<(StepIndex, StepResult)>);

fn decision(job: &Job, verb: &str, request: &DecisionRequest, who: &str) -> Result<Decided, Refusal> {
    let reason = request.reason.trim().to_owned();
    let wordless = verb == "retry" || (verb == "answer" && request.approve == Some(true));
    if !wordless && reason.is_empty() {
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
        "answer" => return answer(job, request, who, reason),
        "cancel" => Decision::Cancel { reason },
        "abandon" => {
            settled(job)?;
            Decision::Abandon { reason }
        }
        other => return Err(Refusal::bad_request(format!("there is no decision `{other}`"))),
    };
    Ok((decision, None))
}

/// What may start a machine any moment is not turned one's back on: the next job would be told that nothing runs.
fn settled(job: &Job) -> Result<(), Refusal> {
    let starts = |index: &StepIndex| job.step(*index).is_some_and(|(step, _)| step.kind.activates());
    let Some((step, _)) = job.running().find(starts).and_then(|index| job.step(index)) else {
        return Ok(());
    };
    if job.held.is_some() {
        return Ok(());
    }
    let (id, step) = (&job.frozen.job, &step.id);
    let why = format!(
        "`{step}` is under way and may start a machine; `landfall job cancel {id}` begins nothing new, and when `{step}` is over \
         the job can be abandoned"
    );
    Err(Refusal::refused(codes::START_UNDER_WAY, why))
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
    job.steps.get(index).is_some_and(|state| state.status.is_troubled())
}

fn to_retry(job: &Job, request: &DecisionRequest) -> Result<Vec<StepIndex>, Refusal> {
    if request.steps.is_empty() {
        // What nobody can tell about is retried by name only: each wants a person's look of its own.
        let safe = |index: &StepIndex| {
            let status = job.steps.get(*index).map(|state| &state.status);
            let doubt = matches!(status, Some(Status::Stuck { code, .. }) if code == codes::IN_DOUBT);
            troubled(job, *index) && !doubt
        };
        let steps: Vec<StepIndex> = (0..job.steps.len()).filter(safe).collect();
        if steps.is_empty() && job.outcome.is_none() && job.held.is_none() {
            let what = "nothing failed; a step in doubt is retried by its name, once you know that it did not happen";
            return Err(Refusal::refused(codes::SKIP_REFUSED, what.to_owned()));
        }
        return Ok(steps);
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
        .is_some_and(|step| step.kind.skip(job.frozen.operation) == Skip::Refused)
    {
        return Err(refused("is a proof; without it no machine is activated"));
    }
    let source = |kind: &StepKind| matches!(kind, StepKind::Shutdown | StepKind::Sync);
    if job.frozen.operation == Operation::PlannedFailover
        && job.graph().steps.get(index).is_some_and(|step| source(&step.kind))
    {
        return Err(refused(
            "keeps a planned failover from losing data; fail over unplanned instead",
        ));
    }
    if !troubled(job, index) {
        return Err(refused("is neither stuck nor failed"));
    }
    Ok(index)
}

/// A person answers a gate: that is its outcome, with name and reason.
fn answer(job: &Job, request: &DecisionRequest, who: &str, reason: String) -> Result<Decided, Refusal> {
    let (index, id) = one(job, request)?;
    let gate = job
        .graph()
        .steps
        .get(index)
        .is_some_and(|step| matches!(step.kind, StepKind::Gate { .. }));
    let status = job.steps.get(index).map(|state| &state.status);
    if !gate || !matches!(status, Some(Status::Stuck { .. })) {
        let what = format!("step `{id}` is no gate that waits for an answer");
        return Err(Refusal::refused(codes::SKIP_REFUSED, what));
    }
    let approved = request
        .approve
        .ok_or_else(|| Refusal::bad_request("say `approve`: true or false".to_owned()))?;
    let result = if approved {
        let mut outputs = Pairs::from([("approved-by".to_owned(), who.to_owned())]);
        if !reason.is_empty() {
            outputs.insert("reason".to_owned(), reason.clone());
        }
        StepResult::Done {
            outputs: Arc::new(outputs),
        }
    } else {
        let failure = Failure::definite(codes::GATE_REFUSED, format!("{who} said no: {reason}"));
        StepResult::Failed { failure }
    };
    let decision = Decision::Answer {
        step: index,
        approved,
        reason,
    };
    Ok((decision, Some((index, result))))
}

/// A person vouches that the source of a waiting machine is off: that is its proof, with name and reason.
fn attest(job: &Job, request: &DecisionRequest, who: &str, reason: String) -> Result<Decided, Refusal> {
    let (index, id) = one(job, request)?;
    let kinds = [StepKind::Fence, StepKind::ProveOldOff];
    let step = job.graph().steps.get(index).filter(|step| kinds.contains(&step.kind));
    let item = step.and_then(|step| job.frozen.items.get(step.items.first()?));
    let waits = matches!(
        job.steps.get(index).map(|state| &state.status),
        Some(Status::Stuck { .. })
    );
    let Some(item) = item.filter(|_| waits) else {
        return Err(Refusal::refused(
            codes::SKIP_REFUSED,
            format!("step `{id}` does not wait for a fence proof"),
        ));
    };
    let subject = match step.map(|step| &step.kind) {
        Some(StepKind::ProveOldOff) => Side {
            site: item.item.target_site.clone(),
            machine: present(&job.frozen, item).unwrap_or_default(),
        },
        _ => item.item.source.clone(),
    };
    let observed_at = clock::now();
    let proof = FenceProof {
        site: subject.site,
        machine: subject.machine,
        kind: ProofKind::HumanAttested,
        evidence: Pairs::from([
            ("attested-by".to_owned(), who.to_owned()),
            ("reason".to_owned(), reason.clone()),
        ]),
        observed_at,
        held: None,
    };
    let Report::Done { outputs, .. } = proved(&proof) else {
        return Err(Refusal::bad_request("the proof cannot be written".to_owned()));
    };
    let decision = Decision::Attest { step: index, reason };
    let result = StepResult::Done {
        outputs: Arc::new(outputs),
    };
    Ok((decision, Some((index, result))))
}
