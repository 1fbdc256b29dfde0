//! Whether the daemon lives and is ready, and who it is.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use super::Shared;
use super::wire::{Problem, Reloaded, VersionView};
use crate::problem::Refusal;

/// What needs no token: probes of process managers, and the API's description.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route(
            "/openapi.json",
            get(|| async { ([("content-type", "application/json")], super::openapi()) }),
        )
}

/// Ready once every unfinished job runs again and the plugins were looked at.
async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// Counts that a monitoring system draws; the text format is three lines a number.
async fn metrics(State(shared): State<Shared>) -> String {
    let engine = &shared.engine;
    let stuck = engine
        .jobs()
        .values()
        .filter(|handle| handle.job().stuck().next().is_some())
        .count();
    let running = engine.jobs().len();
    let seq = engine.store.reader().last_seq().unwrap_or(0);
    let mut text = String::new();
    for (name, kind, help, value) in [
        (
            "landfall_jobs_running",
            "gauge",
            "Jobs that have not ended.",
            running as u64,
        ),
        (
            "landfall_paused",
            "gauge",
            "1 while nothing new is begun for want of room.",
            u64::from(engine.shortage().is_some()),
        ),
        (
            "landfall_jobs_stuck",
            "gauge",
            "Jobs that wait for a person.",
            stuck as u64,
        ),
        (
            "landfall_journal_records_total",
            "counter",
            "Records in the journal.",
            seq,
        ),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    let _ = writeln!(
        text,
        "# HELP landfall_rpo_seconds Age of the newest received data.\n# TYPE landfall_rpo_seconds gauge"
    );
    let now = crate::clock::now();
    for (item, progress) in &engine.world().progress {
        if let Some(rpo) = progress.rpo_ms(now) {
            let _ = writeln!(
                text,
                "landfall_rpo_seconds{{item=\"{item}\"}} {}.{:03}",
                rpo / 1000,
                rpo % 1000
            );
        }
    }
    text
}

/// The program and the installation.
#[utoipa::path(get, path = "/version", responses((status = 200, body = VersionView)))]
pub(super) async fn version(State(shared): State<Shared>) -> Json<VersionView> {
    let identity = shared.engine.store.identity();
    Json(VersionView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        installation: identity.installation.clone(),
        epoch: identity.epoch,
        paused: shared.engine.shortage(),
    })
}

/// Reads the configuration again: grants, limits and secrets hold at once, and what waits for a restart is named. A
/// file with anything wrong in it changes nothing.
#[utoipa::path(post, path = "/api/v1/reload",
    responses((status = 200, body = Reloaded), (status = 409, body = Problem)))]
pub(super) async fn reload(State(shared): State<Shared>) -> Result<Json<Reloaded>, Refusal> {
    crate::reload::reload(&shared.engine).await.map(Json)
}
