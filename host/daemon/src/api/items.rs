//! Protected items: their states, what may be asked of them, and their points.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use landfall_recovery::operations::allowed_operations;
use serde::Deserialize;

use super::wire::{ItemView, OrphansView, PointsView, Problem, ReconcileRequest, ReconcileView};
use super::{Shared, who};
use crate::clock;
use crate::problem::Refusal;
use crate::replicate::{CycleError, refresh};
use crate::start::{facts, observe};
use crate::views;

/// All items.
#[utoipa::path(get, path = "/api/v1/items", responses((status = 200, body = Vec<ItemView>)))]
pub(super) async fn list(State(shared): State<Shared>) -> Json<Vec<ItemView>> {
    let now = clock::now();
    let world = shared.engine.world();
    Json(
        world
            .inventory
            .items
            .keys()
            .filter_map(|name| views::item(&world, name, now))
            .collect(),
    )
}

/// One item, with the answer for every operation. Its sites are asked now.
#[utoipa::path(get, path = "/api/v1/items/{item}", params(("item" = String, Path)),
    responses((status = 200, body = ItemView), (status = 404, body = Problem)))]
pub(super) async fn get(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<ItemView>, Refusal> {
    let engine = &shared.engine;
    let (_, state) = engine.item(&name).ok_or_else(|| unknown(&name))?;
    let sites = observe(engine, std::slice::from_ref(&name), None, None).await;
    let facts = facts(engine, &name, &sites, None);
    let mut view = views::item(&engine.world(), &name, clock::now()).ok_or_else(|| unknown(&name))?;
    view.operations = allowed_operations(&name, &state, &facts)
        .into_iter()
        .map(|(operation, permission)| (operation.name().to_owned(), permission))
        .collect();
    Ok(Json(view))
}

#[derive(Debug, Deserialize)]
pub(super) struct Points {
    /// Ask the target now.
    #[serde(default)]
    refresh: bool,
}

/// An item's recovery points, from the catalogue or, with `refresh=true`, from the target.
#[utoipa::path(get, path = "/api/v1/items/{item}/points", params(("item" = String, Path), ("refresh" = Option<bool>, Query)),
    responses((status = 200, body = PointsView), (status = 404, body = Problem)))]
pub(super) async fn points(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<Points>,
) -> Result<Json<PointsView>, Refusal> {
    let engine = &shared.engine;
    let (item, state) = engine.item(&name).ok_or_else(|| unknown(&name))?;
    if query.refresh && state.replica.is_some() {
        let target = engine.adapter(&item.target_site).await?;
        let read = refresh(engine, &name, &target).await;
        read.map_err(CycleError::into_failure)?;
    }
    let catalogue = engine.world().points.get(&name).cloned();
    Ok(Json(PointsView {
        item: name,
        observed_at: catalogue.as_ref().map(|catalogue| catalogue.observed_at),
        points: catalogue
            .iter()
            .flat_map(|catalogue| &catalogue.points)
            .map(views::point)
            .collect(),
    }))
}

fn unknown(name: &str) -> Refusal {
    Refusal::unknown(format!("the inventory has no item `{name}`"))
}

/// Compares items with their sites: those that are named, else all whose state was restored from a backup. Nothing changes
/// but that a restored state counts again.
#[utoipa::path(post, path = "/api/v1/reconcile", request_body = ReconcileRequest,
    responses((status = 200, body = Vec<ReconcileView>), (status = 404, body = Problem)))]
pub(super) async fn reconcile(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Json(request): Json<ReconcileRequest>,
) -> Result<Json<Vec<ReconcileView>>, Refusal> {
    let accept = request.accept.map(|why| why.trim().to_owned());
    if accept.as_deref().is_some_and(str::is_empty) {
        return Err(Refusal::bad_request(
            "accepting the restored state wants a reason".to_owned(),
        ));
    }
    let (engine, who) = (Arc::clone(&shared.engine), who(&headers));
    // A task of its own: a client that goes away must not leave an item that is durable and unknown to everybody else.
    let compared =
        tokio::spawn(
            async move { crate::reconcile::reconcile(&engine, &request.items, accept.as_deref(), &who).await },
        );
    let answers = compared.await.map_err(|error| Refusal::internal(&error))??;
    Ok(Json(answers))
}

/// What carries this installation's stamp at the sites and no item knows of. Every site is asked now.
#[utoipa::path(get, path = "/api/v1/orphans", responses((status = 200, body = OrphansView)))]
pub(super) async fn orphans(State(shared): State<Shared>) -> Json<OrphansView> {
    Json(crate::orphans::find(&shared.engine).await)
}
