//! Recovery-point policies: what they decided, what they would decide, and what they would keep. Nothing here changes
//! anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use landfall_recovery::codes;
use landfall_recovery::freeze::Pinned;
use landfall_recovery::words::{Direction, FailoverKind, Failure, Millis, Pairs};
use landfall_store::Space;
use serde::Deserialize;

use super::Shared;
use super::wire::{Problem, ReplayRequest, RetainRequest, VerdictView};
use crate::clock;
use crate::contract::from_call_error;
use crate::engine::{Engine, consistency_group};
use crate::problem::Refusal;
use crate::replay::{Input, Points, PolicyDecision, Replayed, replay};
use crate::replicate::RETAINER;

/// The policy and the choice of a question that names none: the product's own, and its default (F05).
const POLICY: &str = "standard";
const CHOICE: &str = "latest-processed";

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    job: Option<String>,
}

/// Decisions of policies, with their inputs, oldest first.
#[utoipa::path(get, path = "/api/v1/policies/decisions", params(("job" = Option<String>, Query)),
    responses((status = 200, body = Vec<PolicyDecision>)))]
pub(super) async fn decisions(
    State(shared): State<Shared>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<PolicyDecision>>, Refusal> {
    Ok(Json(recorded(&shared.engine, which.job.as_deref())?))
}

fn recorded(engine: &Engine, job: Option<&str>) -> Result<Vec<PolicyDecision>, Refusal> {
    let prefix = job.map(|job| format!("{job}/")).unwrap_or_default();
    let rows: Vec<(String, PolicyDecision)> = engine.store.reader().under(Space::Decision, &prefix)?;
    let decisions: Vec<_> = rows.into_iter().map(|(_, decision)| decision).collect();
    match job {
        Some(job) if decisions.is_empty() => {
            let what = format!("no decision of job `{job}` is recorded: it chose no point, or it was long ago");
            Err(Refusal::unknown(what))
        }
        _ => Ok(decisions),
    }
}

/// Lets a policy decide again over recorded decisions, over given ones, or over an item's present points.
#[utoipa::path(post, path = "/api/v1/policies/replay", request_body = ReplayRequest,
    responses((status = 200, body = Vec<Replayed>), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn run(
    State(shared): State<Shared>,
    Json(request): Json<ReplayRequest>,
) -> Result<Json<Vec<Replayed>>, Refusal> {
    let engine = &shared.engine;
    let decisions = match &request.item {
        Some(item) => vec![question(engine, item, &request)?],
        None if !request.decisions.is_empty() => request.decisions.clone(),
        None => recorded(engine, request.job.as_deref())?,
    };
    let mut rows = Vec::new();
    for decision in &decisions {
        let policy = engine.pinned_policy_of(&pinned(engine, decision, &request)?).await?;
        rows.extend(replay(&policy, decision, &request.otherwise).await);
    }
    Ok(Json(rows))
}

/// The version that is to decide: the one that was named, else what serves under the name that was given, else the very
/// version that decided then.
fn pinned(engine: &Engine, decision: &PolicyDecision, request: &ReplayRequest) -> Result<Pinned, Failure> {
    let name = request.policy.as_deref().unwrap_or(&decision.policy);
    let digest = match (&request.digest, &request.policy) {
        (Some(digest), _) => digest.clone(),
        (None, None) if !decision.digest.is_empty() => decision.digest.clone(),
        _ => return engine.pin_policy(name),
    };
    Ok(Pinned {
        plugin: name.to_owned(),
        version: decision.version.clone(),
        digest,
        config: Pairs::new(),
        grants: None,
    })
}

/// The question that a failover of this item would ask, now or with the points of an earlier time.
fn question(engine: &Arc<Engine>, name: &str, request: &ReplayRequest) -> Result<PolicyDecision, Refusal> {
    let world = engine.world();
    let unknown = || Refusal::unknown(format!("the inventory has no item `{name}`"));
    let item = world.inventory.items.get(name).ok_or_else(unknown)?;
    let group = consistency_group(&world.inventory, item);
    let members = match &group {
        Some(group) => world
            .inventory
            .replication_groups
            .get(group)
            .map(|group| group.members.clone())
            .unwrap_or_default(),
        None => vec![name.to_owned()],
    };
    let points = |item: String| Points {
        points: world.points.get(&item).cloned().unwrap_or_default().points,
        group: group.clone(),
        item,
    };
    let input = Input {
        choice: request.otherwise.choice.clone().unwrap_or_else(|| CHOICE.to_owned()),
        params: Pairs::new(),
        kind: FailoverKind::Unplanned,
        direction: Direction::Forward,
        now_ms: clock::now(),
        candidates: members.into_iter().map(points).collect(),
    };
    Ok(PolicyDecision {
        job: String::new(),
        step: String::new(),
        policy: POLICY.to_owned(),
        version: String::new(),
        digest: String::new(),
        input: match request.at_ms {
            Some(time) => input.at(time),
            None => input,
        },
        selections: Vec::new(),
    })
}

/// What a policy would keep of an item's points. Nothing is deleted.
#[utoipa::path(post, path = "/api/v1/policies/retain", request_body = RetainRequest,
    responses((status = 200, body = Vec<VerdictView>), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn retain(
    State(shared): State<Shared>,
    Json(request): Json<RetainRequest>,
) -> Result<Json<Vec<VerdictView>>, Refusal> {
    let engine = &shared.engine;
    let (item, _) = engine
        .item(&request.item)
        .ok_or_else(|| Refusal::unknown(format!("the inventory has no item `{}`", request.item)))?;
    let keep: Millis = request.keep_ms.unwrap_or(item.replication.retention_ms);
    let input = Input {
        choice: String::new(),
        params: Pairs::from([("keep-ms".to_owned(), keep.to_string())]),
        kind: FailoverKind::Planned,
        direction: Direction::Forward,
        now_ms: clock::now(),
        candidates: vec![Points {
            item: request.item.clone(),
            group: consistency_group(&engine.world().inventory, &item),
            points: engine
                .world()
                .points
                .get(&request.item)
                .cloned()
                .unwrap_or_default()
                .points,
        }],
    };
    let input = match request.at_ms {
        Some(time) => input.at(time),
        None => input,
    };
    let policy = request
        .policy
        .as_deref()
        .or(item.replication.retention_policy.as_deref())
        .unwrap_or(RETAINER);
    let policy = engine.pinned_policy_of(&engine.pin_policy(policy)?).await?;
    let verdicts = policy
        .retain(input.request())
        .await
        .map_err(|error| from_call_error(&error))?;
    let mut rows = Vec::new();
    for point in input.candidates.iter().flat_map(|candidate| &candidate.points) {
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict.point == point.id)
            .ok_or_else(|| {
                let what = format!("the policy said nothing about point `{}`", point.id);
                Refusal::refused(codes::NO_POINT_CHOSEN, what)
            })?;
        rows.push(VerdictView {
            item: request.item.clone(),
            point: point.id.clone(),
            source_time_ms: point.source_time_ms,
            keep: verdict.keep,
            reason: verdict.reason.clone(),
        });
    }
    Ok(Json(rows))
}
