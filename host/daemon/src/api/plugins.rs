//! Plugins: what serves, what does not and why, and which version shall.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use landfall_runtime::{
    Aside, Change, Grants, Kind, Limits, Order, OrderError, Plugin, PluginStatus, Remembered, State as PluginState,
    Want,
};
use serde::Deserialize;

use super::jobs::once;
use super::wire::{
    BoundView, ChangeView, PendingView, PinView, PluginDetail, PluginOrder, PluginVersionView, PluginView, Problem,
    RevokeRequest, WantView,
};
use super::{Shared, who};
use crate::accept;
use crate::documents::choices;
use crate::engine::Engine;
use crate::plugins;
use crate::problem::Refusal;
use crate::start::answered;

/// Lines of history on a page unless the request says otherwise, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 1_000;

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

/// Everything about one plugin.
#[utoipa::path(get, path = "/api/v1/plugins/{plugin}", params(("plugin" = String, Path)),
    responses((status = 200, body = PluginDetail), (status = 404, body = Problem)))]
pub(super) async fn get(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<PluginDetail>, Refusal> {
    let engine = &shared.engine;
    let all = engine.registry.list();
    let status = all.into_iter().find(|status| status.name == name);
    let status = status.or_else(|| engine.registry.gone(&name));
    let status = status.ok_or_else(|| Refusal::unknown_plugin(format!("there is no plugin `{name}`")))?;
    let mut detail = detail(engine, status).await;
    if detail.plugin.kind.as_deref() == Some(Kind::RecoveryPointPolicy.as_str()) {
        detail.plugin.choices = choices(engine, &name).await.unwrap_or_default();
    }
    Ok(Json(detail))
}

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    before: Option<u64>,
    limit: Option<u32>,
}

/// What served when, and why, the last first.
#[utoipa::path(get, path = "/api/v1/plugins/{plugin}/history",
    params(("plugin" = String, Path), ("before" = Option<u64>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = Vec<ChangeView>), (status = 404, body = Problem)))]
pub(super) async fn history(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Vec<ChangeView>>, Refusal> {
    if shared.engine.registry.remembered(&name).is_none() {
        return Err(Refusal::unknown_plugin(format!("no plugin `{name}` ever served here")));
    }
    let limit = paging.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let changes = plugins::history(&shared.engine, &name, paging.before, limit)?;
    Ok(Json(changes.into_iter().map(change).collect()))
}

/// Serves this version for new jobs. What it asks for beyond the one before it is accepted knowingly.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/activate", request_body = PluginOrder,
    params(("plugin" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = PluginView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn activate(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Json<PluginView>, Refusal> {
    choose(shared, name, headers, body, true).await
}

/// Goes back to a version that served before.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/rollback", request_body = PluginOrder,
    params(("plugin" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = PluginView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn rollback(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Json<PluginView>, Refusal> {
    choose(shared, name, headers, body, false).await
}

async fn choose(
    shared: Shared,
    name: String,
    headers: HeaderMap,
    body: axum::body::Bytes,
    forward: bool,
) -> Result<Json<PluginView>, Refusal> {
    let request: PluginOrder = if body.is_empty() {
        PluginOrder::default()
    } else {
        read(&body)?
    };
    if forward && request.digest.is_none() {
        return Err(Refusal::bad_request(
            "`activate` wants the digest of a version".to_owned(),
        ));
    }
    let engine = Arc::clone(&shared.engine);
    let verb = if forward { "activate" } else { "rollback" };
    let Some(order) = order(&engine, &headers, &format!("{name}/{verb}"), &body, request.reason)? else {
        return one(&engine, &name);
    };
    // A task of its own: a client that goes away in the middle must not leave a decision that is recorded and not
    // acted on.
    let (registry, plugin) = (engine.registry.clone(), name.clone());
    let done = tokio::spawn(async move {
        let digest = match &request.digest {
            Some(text) => Some(registry.resolve(text).await?),
            None => None,
        };
        match digest.as_deref().filter(|_| forward) {
            Some(digest) => registry.activate(&plugin, digest, order).await,
            None => registry.roll_back(&plugin, digest.as_deref(), order).await,
        }
    });
    done.await.map_err(|error| Refusal::internal(&error))??;
    one(&engine, &name)
}

/// Takes a version out of service for good: its calls end, new jobs never get it, and jobs that are pinned to it wait.
#[utoipa::path(post, path = "/api/v1/plugins/revoke", request_body = RevokeRequest,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Vec<PluginView>), (status = 409, body = Problem)))]
pub(super) async fn revoke(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Json<Vec<PluginView>>, Refusal> {
    let request: RevokeRequest = read(&body)?;
    if request.reason.trim().is_empty() {
        return Err(Refusal::bad_request("`revoke` wants a reason".to_owned()));
    }
    let engine = Arc::clone(&shared.engine);
    if let Some(order) = order(&engine, &headers, "revoke", &body, request.reason)? {
        // As in `choose`.
        let registry = engine.registry.clone();
        let done = tokio::spawn(async move {
            let digest = registry.resolve(&request.digest).await?;
            registry.revoke(&digest, order).await?;
            Ok::<_, OrderError>(digest)
        });
        done.await.map_err(|error| Refusal::internal(&error))??;
        engine.forget_bindings();
    }
    Ok(list(State(shared)).await)
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))
}

/// None: the same request was carried out before.
fn order(
    engine: &Engine,
    headers: &HeaderMap,
    what: &str,
    body: &[u8],
    reason: String,
) -> Result<Option<Order>, Refusal> {
    let once = once(headers, &[what.as_bytes(), b"\n", body].concat())?;
    if let Some(once) = &once
        && answered(engine, once)?.is_some()
    {
        return Ok(None);
    }
    Ok(Some(Order {
        who: who(headers),
        reason,
        request: once.map(|once| (once.key, once.fingerprint)),
    }))
}

fn one(engine: &Arc<Engine>, name: &str) -> Result<Json<PluginView>, Refusal> {
    let all = engine.registry.list();
    let status = all.into_iter().find(|status| status.name == name);
    let status = status.ok_or_else(|| Refusal::unknown_plugin(format!("there is no plugin `{name}`")))?;
    Ok(Json(view(engine, status)))
}

fn view(engine: &Engine, status: PluginStatus) -> PluginView {
    let serving = engine.registry.current(&status.name);
    let state = match (&serving, &status.waiting, &status.suspect) {
        (None, ..) if status.state == PluginState::Pending => "loading",
        (None, ..) => "failed",
        (Some(_), _, Some(_)) => "suspect",
        (Some(_), Some(_), None) => "pending",
        (Some(_), None, None) => "serving",
    };
    let suspect = status.suspect.as_ref().map(suspect);
    PluginView {
        state: state.to_owned(),
        kind: status.kind.map(|kind| kind.as_str().to_owned()),
        version: status.version.map(|version| version.to_string()),
        digest: status.digest,
        error: suspect.or(status.error.map(|error| format!("{}: {}", error.code, error.message))),
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
        pending: status.waiting.map(|waiting| PendingView {
            version: waiting.version,
            digest: waiting.digest,
            wants: waiting.wants.into_iter().map(want).collect(),
        }),
        name: status.name,
    }
}

fn suspect(aside: &Aside) -> String {
    let code = landfall_recovery::codes::PLUGIN_SUSPECT;
    format!(
        "{code}: it fails by itself and no earlier good version is there: {}",
        aside.reason
    )
}

fn want(want: Want) -> WantView {
    WantView {
        place: want.place,
        line: want.line,
        required: want.required,
    }
}

fn change(change: Change) -> ChangeView {
    ChangeView {
        seq: change.seq,
        at: change.at_ms,
        from: change.from,
        to: change.to,
        version: change.version,
        cause: change.cause.as_str().to_owned(),
        who: change.who,
        reason: change.reason,
    }
}

async fn detail(engine: &Arc<Engine>, status: PluginStatus) -> PluginDetail {
    let serving = engine.registry.current(&status.name);
    let stored = engine.runtime.stored().await.unwrap_or_default();
    let remembered = engine.registry.remembered(&status.name);
    let pins = pins(engine, &status.name);
    let mut detail = PluginDetail {
        directory: status.source.display().to_string(),
        strikes: status.strikes.clone(),
        versions: remembered.map_or_else(Vec::new, |remembered| versions(engine, &remembered, &stored)),
        pins,
        plugin: view(engine, status),
        ..PluginDetail::default()
    };
    if let Some(plugin) = serving {
        detail.requested = serde_json::to_value(&plugin.manifest().requests).unwrap_or_default();
        detail.signed_by = plugin.signed_by().map(str::to_owned);
        detail.imports = plugin.imports();
        detail.exports = plugin.exports();
        detail.bound = accept::places(&engine.config.now(), plugin.name(), plugin.kind())
            .into_iter()
            .map(|(place, grants)| bound(engine, &plugin, place, &grants))
            .collect();
    }
    detail
}

fn bound(engine: &Engine, plugin: &Plugin, place: String, grants: &Grants) -> BoundView {
    let config = engine.config.now();
    let limits = match place.split_once('.') {
        Some(("sites", site)) => config.sites.get(site).map(|site| site.limits),
        Some(("runbooks", runbook)) => config.runbooks.get(runbook).map(|runbook| runbook.limits),
        _ => None,
    };
    let names = plugin.effective(grants);
    BoundView {
        interfaces: names.iter().map(|interface| interface.as_str().to_owned()).collect(),
        grants: serde_json::to_value(grants).unwrap_or_default(),
        missing: plugin.lacks(grants).iter().map(ToString::to_string).collect(),
        limits: serde_json::to_value(limits.unwrap_or(Limits::default())).unwrap_or_default(),
        place,
    }
}

fn versions(engine: &Engine, remembered: &Remembered, stored: &[String]) -> Vec<PluginVersionView> {
    let revoked = engine.registry.revoked();
    let state = |digest: &String| match remembered.aside.get(digest) {
        _ if revoked.contains_key(digest) => "revoked",
        _ if remembered.serving.as_ref() == Some(digest) => "serving",
        Some(aside) => aside.cause.as_str(),
        None => "good",
    };
    let all = remembered.served.iter().rev();
    all.map(|served| PluginVersionView {
        version: served.version.clone(),
        at: served.at_ms,
        state: state(&served.digest).to_owned(),
        stored: stored.contains(&served.digest),
        digest: served.digest.clone(),
    })
    .collect()
}

/// Unfinished jobs that keep versions of this plugin.
fn pins(engine: &Engine, plugin: &str) -> Vec<PinView> {
    let mut found = Vec::new();
    for (id, handle) in engine.jobs().iter() {
        let pins = Arc::clone(&handle.job().pins);
        found.extend(
            pins.iter()
                .filter(|(_, pin)| pin.plugin == plugin)
                .map(|(key, pin)| PinView {
                    job: id.clone(),
                    pin: key.clone(),
                    digest: pin.digest.clone(),
                }),
        );
    }
    found.sort_by(|one, other| (&one.job, &one.pin).cmp(&(&other.job, &other.pin)));
    found
}
