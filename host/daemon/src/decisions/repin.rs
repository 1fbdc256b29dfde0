//! Going on with another version of a plugin than the one that the job was started with: the way on when that one was
//! revoked or is gone. The version is loaded and bound before anything is journalled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::event::Decision;
use landfall_recovery::freeze::Pinned;
use landfall_recovery::graph::{StepIndex, StepKind};
use landfall_recovery::job::{Job, Status};
use landfall_recovery::words::Failure;
use landfall_runtime::OrderError;

use super::find;
use crate::api::wire::DecisionRequest;
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::step::{runbook_key, site_key};

pub(super) async fn decide(engine: &Arc<Engine>, job: &Job, request: &DecisionRequest) -> Result<Decision, Refusal> {
    let reason = request.reason.trim().to_owned();
    let to = request.to.as_deref().unwrap_or_default();
    if reason.is_empty() || to.is_empty() {
        return Err(Refusal::bad_request("`repin` wants a digest and a reason".to_owned()));
    }
    let digest = engine.registry.resolve(to).await?;
    let plugin = engine.runtime.load_digest(&digest).await.map_err(OrderError::Load)?;
    let named = if request.steps.is_empty() {
        parked(job).collect()
    } else {
        request
            .steps
            .iter()
            .map(|id| find(job, id))
            .collect::<Result<Vec<_>, _>>()?
    };
    let called: BTreeSet<String> = named.iter().flat_map(|index| calls(job, *index)).collect();
    let ours = |pin: &&Pinned| pin.plugin == plugin.name();
    // A version that cannot be used for one site cannot be used for another.
    let old: BTreeSet<&str> = called
        .iter()
        .filter_map(|key| job.pins.get(key).filter(ours))
        .map(|pin| pin.digest.as_str())
        .collect();
    let mut pins = BTreeMap::new();
    for (key, pin) in job.pins.iter().filter(|(_, pin)| old.contains(pin.digest.as_str())) {
        let pinned = Pinned {
            version: plugin.identity().version.to_string(),
            digest: digest.clone(),
            ..pin.clone()
        };
        bind(engine, key, &pinned)
            .await
            .map_err(|failure| Refusal::refused(codes::REPIN_REFUSED, failure.to_string()))?;
        pins.insert(key.clone(), pinned);
    }
    if pins.is_empty() {
        let what = match request.steps.as_slice() {
            [] => format!(
                "no step of job {} waits for a version of `{}`",
                job.frozen.job,
                plugin.name()
            ),
            steps => format!("{} calls no plugin `{}`", steps.join(", "), plugin.name()),
        };
        return Err(Refusal::refused(codes::REPIN_REFUSED, what));
    }
    let steps = parked(job)
        .filter(|index| calls(job, *index).iter().any(|key| pins.contains_key(key)))
        .collect();
    Ok(Decision::Repin { pins, steps, reason })
}

/// Lets a job have what was granted since it began, and tries again what failed without it. Versions and configuration
/// stay as they are.
pub(super) fn regrant(engine: &Engine, job: &Job, request: &DecisionRequest) -> Result<Decision, Refusal> {
    let reason = request.reason.trim().to_owned();
    if reason.is_empty() {
        return Err(Refusal::bad_request("`regrant` wants a reason".to_owned()));
    }
    let config = engine.config.now();
    let mut pins = BTreeMap::new();
    for (key, pin) in job.pins.iter() {
        let grants = match key.split_once(':') {
            Some(("site", site)) => config.sites.get(site).map(|site| site.grants.clone()),
            Some(("runbook", name)) => Some(config.runbooks.get(name).cloned().unwrap_or_default().grants),
            _ => None,
        };
        let Some(grants) = grants else {
            continue;
        };
        let grants = serde_json::to_value(grants).map_err(|error| Refusal::internal(&error))?;
        if pin.grants.as_ref().is_some_and(|then| *then != grants) {
            let grants = Some(grants);
            pins.insert(key.clone(), Pinned { grants, ..pin.clone() });
        }
    }
    if pins.is_empty() {
        let what =
            "its grants are those that stand in the configuration; after a change there, `landfall daemon reload`";
        return Err(Refusal::refused(
            codes::REPIN_REFUSED,
            format!("job {}: {what}", job.frozen.job),
        ));
    }
    // Nothing to try again is no reason against it: a later step may need the grant.
    let steps = super::to_retry(job, request).unwrap_or_default();
    Ok(Decision::Repin { pins, steps, reason })
}

/// Steps that wait for their plugin.
fn parked(job: &Job) -> impl Iterator<Item = StepIndex> + '_ {
    job.stuck().filter(|index| {
        let status = job.steps.get(*index).map(|state| &state.status);
        matches!(status, Some(Status::Stuck { code, .. }) if codes::parks(code))
    })
}

/// What a step may call, by the names under which the job pins it.
fn calls(job: &Job, index: StepIndex) -> Vec<String> {
    let Some(step) = job.graph().steps.get(index) else {
        return Vec::new();
    };
    let sites = || {
        let items = step.items.iter().filter_map(|item| job.frozen.items.get(item));
        items.flat_map(|item| [site_key(&item.item.source.site), site_key(&item.item.target_site)])
    };
    match (&step.kind, &step.calls) {
        (StepKind::Action { .. }, Some(runbook)) => vec![runbook_key(runbook)],
        (StepKind::Choose, _) => {
            let policy = job
                .frozen
                .point
                .as_ref()
                .map(|point| format!("policy:{}", point.policy));
            sites().chain(policy).collect()
        }
        (StepKind::Check | StepKind::Sync | StepKind::Seed, _) | (_, None) => sites().collect(),
        (_, Some(site)) => vec![site_key(site)],
    }
}

/// What cannot be bound now cannot be called later.
async fn bind(engine: &Engine, key: &str, pinned: &Pinned) -> Result<(), Failure> {
    match key.split_once(':') {
        Some(("site", site)) => engine.pinned_adapter(site, pinned).await.map(|_| ()),
        Some(("runbook", runbook)) => engine.pinned_runbook(runbook, pinned).await.map(|_| ()),
        Some((_, policy)) => engine.pinned_policy(policy, pinned).await.map(|_| ()),
        None => Err(Failure::definite(codes::INTERNAL, format!("`{key}` is no pin"))),
    }
}
