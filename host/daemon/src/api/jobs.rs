//! Jobs: asking for them, looking at them, deciding about them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_recovery::freeze::sha256_hex;
use landfall_recovery::job::Job;
use landfall_store::JobSummary;
use serde::Deserialize;

use super::wire::{DecisionRequest, JobRequest, JobView, Page, Problem, RecordedView};
use super::{Shared, who};
use crate::decisions::{decide as take, load};
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::start::{Once, Started, sends, start};
use crate::step::{runbook_key, site_key};
use crate::views;

/// A longer key is no key but data.
const KEY_MAX: usize = 200;
/// Jobs on a page unless the request says otherwise, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 500;

/// Starts a job, or with `dry-run` shows what it would do. Under the same `Idempotency-Key` the same request gives the
/// same job. The answer names the job; only a dry run's has its steps, which `GET` shows of a job that runs.
#[utoipa::path(post, path = "/api/v1/jobs", request_body = JobRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = JobView), (status = 200, body = JobView, description = "dry run"),
              (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Response, Refusal> {
    let request: JobRequest = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is not a job request: {error}")))?;
    let engine = &shared.engine;
    let once = once(&headers, &body)?;
    let (engine, who) = (Arc::clone(engine), who(&headers));
    // A task of its own: a client that goes away in the middle must not leave a durable job that nobody runs.
    let started = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { start(&engine, request, &who, once).await }
    });
    match started.await.map_err(|error| Refusal::internal(&error))?? {
        Started::Job(handle) => {
            let id = handle.job().frozen.job.clone();
            Ok(accepted(view(&engine, &id, false)?))
        }
        Started::Before(id) => Ok(accepted(view(&engine, &id, false)?)),
        Started::Dry(job) => Ok(Json(with_received(&engine, dry(&job))).into_response()),
    }
}

fn accepted(view: JobView) -> Response {
    let location = format!("/api/v1/jobs/{}", view.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response()
}

pub(super) fn once(headers: &HeaderMap, body: &[u8]) -> Result<Option<Once>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_MAX);
    let key =
        key.ok_or_else(|| Refusal::bad_request(format!("an Idempotency-Key has 1 to {KEY_MAX} visible letters")))?;
    Ok(Some(Once {
        key: key.to_owned(),
        fingerprint: sha256_hex(body),
    }))
}

fn dry(job: &Job) -> JobView {
    let mut view = views::job(job, &std::collections::HashMap::new(), true);
    view.id = String::new();
    "dry-run".clone_into(&mut view.status);
    view.allowed_actions.clear();
    for (index, step) in view.steps.iter_mut().enumerate() {
        step.sends = Some(sends(job, index));
    }
    view
}

/// A job as it is: the running one, or the journal's.
pub(super) fn view(engine: &Arc<Engine>, id: &str, steps: bool) -> Result<JobView, Refusal> {
    let running = engine.jobs().get(id).cloned();
    if let Some(handle) = running {
        let (job, notes) = (handle.job(), handle.notes());
        let mut view = views::job(&job, &notes, steps);
        drop((job, notes));
        if view.ended_at.is_none()
            && let Some(why) = engine.shortage()
        {
            view.reason.get_or_insert(format!("nothing new is begun: {why}"));
        }
        return Ok(with_received(engine, view));
    }
    let job = load(engine, id)?;
    Ok(views::job(&job, &std::collections::HashMap::new(), steps))
}

/// How new the data is that `latest` will go to, while the point is not chosen (F11).
fn with_received(engine: &Engine, mut view: JobView) -> JobView {
    let world = engine.world();
    for item in view.items.iter_mut().filter(|item| item.point_known_after.is_some()) {
        let received = world
            .progress
            .get(&item.item)
            .and_then(|progress| progress.received.as_ref());
        item.newest_received_ms = received.map(|mark| mark.source_time_ms);
    }
    view
}

/// The job's journal with the signature under its end, and what follows from it: see `landfall evidence verify`.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/evidence", params(("job" = String, Path)),
    responses((status = 200, body = serde_json::Value, description = "the evidence"), (status = 404, body = Problem)))]
pub(super) async fn evidence(
    State(shared): State<Shared>,
    Path(job): Path<String>,
) -> Result<Json<crate::evidence::Evidence>, Refusal> {
    Ok(Json(crate::evidence::collect(&shared.engine, &job).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    before: Option<String>,
    limit: Option<u32>,
}

/// Jobs, newest first, without their machines and steps.
#[utoipa::path(get, path = "/api/v1/jobs", params(("before" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Page<JobView>), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(shared): State<Shared>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<JobView>>, Refusal> {
    let engine = &shared.engine;
    let limit = paging.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    if let Some(before) = &paging.before
        && engine.store.reader().job(before)?.is_none()
    {
        return Err(Refusal::unknown_job(format!("there is no job {before}")));
    }
    let rows = engine.store.reader().jobs(paging.before.as_deref(), limit)?;
    let next = rows
        .last()
        .filter(|_| rows.len() == limit as usize)
        .map(|row| row.id.clone());
    let items = rows.into_iter().map(|row| summary(engine, row)).collect();
    Ok(Json(Page { items, next }))
}

/// A list does not fold journals: ended jobs are shown from their rows.
fn summary(engine: &Arc<Engine>, row: JobSummary) -> JobView {
    if let Some(handle) = engine.jobs().get(&row.id).cloned() {
        return views::summary(&handle.job());
    }
    JobView {
        id: row.id,
        operation: row.operation,
        plan: row.plan,
        status: if row.outcome.is_empty() {
            "running".to_owned()
        } else {
            row.outcome
        },
        reason: None,
        requested_by: String::new(),
        requested_at: row.created_at,
        ended_at: row.ended_at,
        hash: String::new(),
        counts: std::collections::BTreeMap::new(),
        allowed_actions: Vec::new(),
        findings: Vec::new(),
        items: Vec::new(),
        steps: Vec::new(),
        plugins: std::collections::BTreeMap::new(),
    }
}

/// One job, with its steps.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", params(("job" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub(super) async fn get(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Json<JobView>, Refusal> {
    Ok(Json(view(&shared.engine, &id, true)?))
}

/// Which step.
#[derive(Debug, Deserialize)]
pub(super) struct RecordedQuery {
    step: String,
}

/// What a step sent to a plugin, for a test of that plugin.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/recorded", params(("job" = String, Path), ("step" = String, Query)),
    responses((status = 200, body = RecordedView), (status = 404, body = Problem)))]
pub(super) async fn recorded(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<RecordedQuery>,
) -> Result<Json<RecordedView>, Refusal> {
    let running = shared.engine.jobs().get(&id).cloned();
    let view = match running {
        Some(handle) => record(&handle.job(), &query.step),
        None => record(&load(&shared.engine, &id)?, &query.step),
    };
    let unknown = || Refusal::unknown_job(format!("no step `{}` of job {id} calls a plugin", query.step));
    view.map(Json).ok_or_else(unknown)
}

fn record(job: &Job, name: &str) -> Option<RecordedView> {
    let index = job.frozen.graph.steps.iter().position(|step| step.id == name)?;
    let (step, state) = job.step(index)?;
    let sends = sends(job, index);
    let text = |key: &str| sends.get(key).and_then(serde_json::Value::as_str);
    let pinned = match text("call")? {
        "action" => job.frozen.plugins.get(&runbook_key(text("runbook")?)),
        "operation" => job.frozen.plugins.get(&site_key(text("site")?)),
        _ => None,
    }?;
    Some(RecordedView {
        plugin: pinned.plugin.clone(),
        version: pinned.version.clone(),
        digest: pinned.digest.clone(),
        config: pinned.config.clone(),
        installation: job.frozen.installation.clone(),
        epoch: job.frozen.epoch,
        job: job.frozen.job.clone(),
        step: step.id.clone(),
        attempt: state.attempt.max(1),
        key: job.key(index, state.generation),
        begun_at: state.begun_at,
        sends,
    })
}

/// Decides about a job: `retry`, `skip`, `attest`, `repin`, `regrant`, `cancel` or `abandon`.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/{decision}", request_body = DecisionRequest,
    params(("job" = String, Path), ("decision" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn decide(
    State(shared): State<Shared>,
    Path((id, decision)): Path<(String, String)>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Json<JobView>, Refusal> {
    let request: DecisionRequest = if body.is_empty() {
        DecisionRequest::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Refusal::bad_request(format!("the body is not a decision: {error}")))?
    };
    let (engine, who, job) = (Arc::clone(&shared.engine), who(&headers), id.clone());
    let taken = tokio::spawn(async move { take(&engine, &job, &decision, &request, &who).await.map(|_| ()) });
    taken.await.map_err(|error| Refusal::internal(&error))??;
    Ok(Json(view(&shared.engine, &id, true)?))
}
