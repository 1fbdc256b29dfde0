//! Plugins: what serves, what does not, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use landfall_runtime::{Kind, PluginStatus};

use super::Shared;
use super::wire::{PluginView, Problem};
use crate::documents::choices;
use crate::engine::Engine;
use crate::problem::Refusal;

/// All plugins of the plugin directory.
#[utoipa::path(get, path = "/api/v1/plugins", responses((status = 200, body = Vec<PluginView>)))]
pub(super) async fn list(State(shared): State<Shared>) -> Json<Vec<PluginView>> {
    Json(
        shared
            .engine
            .registry
            .list()
            .into_iter()
            .map(|status| view(&shared.engine, status))
            .collect(),
    )
}

/// One plugin, with a policy's choices.
#[utoipa::path(get, path = "/api/v1/plugins/{plugin}", params(("plugin" = String, Path)),
    responses((status = 200, body = PluginView), (status = 404, body = Problem)))]
pub(super) async fn get(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<PluginView>, Refusal> {
    let status = shared
        .engine
        .registry
        .list()
        .into_iter()
        .find(|status| status.name == name);
    let status = status.ok_or_else(|| Refusal::unknown(format!("there is no plugin `{name}`")))?;
    let policy = status.kind == Some(Kind::RecoveryPointPolicy);
    let mut view = view(&shared.engine, status);
    if policy {
        view.choices = choices(&shared.engine, &name).await.unwrap_or_default();
    }
    Ok(Json(view))
}

fn view(engine: &Arc<Engine>, status: PluginStatus) -> PluginView {
    let serving = engine.registry.current(&status.name);
    PluginView {
        state: if serving.is_some() { "serving" } else { "failed" }.to_owned(),
        kind: status.kind.map(|kind| kind.as_str().to_owned()),
        version: status.version.map(|version| version.to_string()),
        digest: status.digest,
        error: status.error.map(|error| format!("{}: {}", error.code, error.message)),
        summary: status.summary,
        requests: status
            .requests
            .iter()
            .flat_map(|requests| &requests.interfaces)
            .map(|interface| interface.as_str().to_owned())
            .collect(),
        choices: std::collections::BTreeMap::new(),
        findings: serving
            .map(|plugin| plugin.info().findings.iter().cloned().collect())
            .unwrap_or_default(),
        name: status.name,
    }
}
