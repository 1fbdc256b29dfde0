//! The inventory and the plans, as YAML in and out.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use landfall_store::{Batch, Space};
use serde::Deserialize;

use super::Shared;
use super::wire::{DocumentView, Problem};
use crate::documents::{apply_inventory, apply_plan, plan_view};
use crate::engine::INVENTORY;
use crate::problem::Refusal;
use crate::start::readiness;

#[derive(Debug, Deserialize)]
pub(super) struct Apply {
    /// Only say what is wrong; store nothing.
    #[serde(default)]
    check: bool,
}

/// The applied inventory.
#[utoipa::path(get, path = "/api/v1/inventory", responses((status = 200, body = DocumentView), (status = 404, body = Problem)))]
pub(super) async fn get_inventory(State(shared): State<Shared>) -> Result<Json<DocumentView>, Refusal> {
    let world = shared.engine.world();
    let applied = world
        .inventory_text
        .clone()
        .ok_or_else(|| Refusal::unknown("no inventory was applied yet".to_owned()))?;
    Ok(Json(DocumentView {
        name: INVENTORY.to_owned(),
        applied_at: Some(applied.at),
        changed: false,
        machines: world.inventory.items.len(),
        groups: world.inventory.replication_groups.len(),
        warnings: Vec::new(),
        readiness: None,
        text: Some(applied.text),
    }))
}

/// Applies an inventory, or with `check=true` says what is wrong with it.
#[utoipa::path(put, path = "/api/v1/inventory", params(("check" = Option<bool>, Query)), request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = DocumentView), (status = 422, body = Problem)))]
pub(super) async fn put_inventory(
    State(shared): State<Shared>,
    Query(apply): Query<Apply>,
    text: String,
) -> Result<Json<DocumentView>, Refusal> {
    // A task of its own, so that memory follows the commit even if the client goes away between the two.
    let applied = tokio::spawn(async move { apply_inventory(&shared.engine, text, apply.check).await });
    Ok(Json(applied.await.map_err(|error| Refusal::internal(&error))??))
}

/// All plans.
#[utoipa::path(get, path = "/api/v1/plans", responses((status = 200, body = Vec<DocumentView>)))]
pub(super) async fn list_plans(State(shared): State<Shared>) -> Json<Vec<DocumentView>> {
    let plans: Vec<_> = shared.engine.world().plans.values().cloned().collect();
    let view = |applied: std::sync::Arc<crate::engine::AppliedPlan>| {
        let resolved = applied.plan.resolved(&shared.engine.world().inventory);
        DocumentView {
            applied_at: Some(applied.applied.at),
            readiness: Some(readiness(&shared.engine, &applied.plan)),
            ..plan_view(&resolved, Vec::new())
        }
    };
    Json(plans.into_iter().map(view).collect())
}

/// Applies a plan, or with `check=true` says what is wrong with it.
#[utoipa::path(put, path = "/api/v1/plans", params(("check" = Option<bool>, Query)), request_body(content = String, content_type = "application/yaml"),
    responses((status = 200, body = DocumentView), (status = 422, body = Problem)))]
pub(super) async fn put_plan(
    State(shared): State<Shared>,
    Query(apply): Query<Apply>,
    text: String,
) -> Result<Json<DocumentView>, Refusal> {
    // A task of its own, so that memory follows the commit even if the client goes away between the two.
    let applied = tokio::spawn(async move { apply_plan(&shared.engine, text, apply.check).await });
    Ok(Json(applied.await.map_err(|error| Refusal::internal(&error))??))
}

/// One plan, with its text.
#[utoipa::path(get, path = "/api/v1/plans/{plan}", params(("plan" = String, Path)),
    responses((status = 200, body = DocumentView), (status = 404, body = Problem)))]
pub(super) async fn get_plan(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<DocumentView>, Refusal> {
    let (applied, inventory) = {
        let world = shared.engine.world();
        (world.plans.get(&name).cloned(), std::sync::Arc::clone(&world.inventory))
    };
    let applied = applied.ok_or_else(|| Refusal::unknown(format!("there is no plan `{name}`")))?;
    Ok(Json(DocumentView {
        applied_at: Some(applied.applied.at),
        readiness: Some(readiness(&shared.engine, &applied.plan)),
        text: Some(applied.applied.text.clone()),
        ..plan_view(&applied.plan.resolved(&inventory), Vec::new())
    }))
}

/// Forgets a plan. Jobs that were started with it keep it.
#[utoipa::path(delete, path = "/api/v1/plans/{plan}", params(("plan" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete_plan(State(shared): State<Shared>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    if !shared.engine.world().plans.contains_key(&name) {
        return Err(Refusal::unknown(format!("there is no plan `{name}`")));
    }
    let mut batch = Batch::new();
    batch.remove(Space::Plan, &name);
    shared.engine.commit(batch).await?;
    shared.engine.world_mut().plans.remove(&name);
    Ok(StatusCode::NO_CONTENT)
}
