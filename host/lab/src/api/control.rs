//! The hand behind the lab: sites, faults, latencies, time, the ledger and its judgement. Nothing here asks whether a
//! site is lost: this is the test's side, not the datacenter's.

use std::sync::Arc;

use axum::body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{ApiError, App, Body, Params, blocking};
use crate::clock::wall_ms;
use crate::entry::{Change, Entry};
use crate::facts::{Profile, SiteFacts};
use crate::fault::{Fault, Latency};
use crate::lab::{Lab, new_site};
use crate::operation::Failure;
use crate::state::{Network, Settings, Status};

type Shared = State<Arc<App>>;
type Answer = Result<Json<Value>, ApiError>;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/control/state", get(state))
        .route("/control/settings", patch(settings))
        .route("/control/sites", post(make_site))
        .route("/control/sites/{site}", get(site).patch(change_site))
        .route("/control/sites/{site}/facts", get(facts).patch(change_facts))
        .route("/control/sites/{site}/lost", post(lost))
        .route("/control/sites/{site}/back", post(back))
        .route("/control/networks", post(network))
        .route("/control/networks/{site}/{network}", delete(remove_network))
        .route("/control/faults", get(faults).post(fault).delete(clear_faults))
        .route("/control/faults/{id}", delete(remove_fault))
        .route("/control/latency", post(latency).delete(clear_latency))
        .route("/control/check", get(check))
        .route("/control/ledger", get(ledger))
}

/// Writes one line by the control API's hand.
pub(super) fn control(lab: &mut Lab, operation: &str, site: Option<&str>, change: Vec<Change>) -> Result<u64, Failure> {
    let entry = Entry {
        site: site.map(str::to_owned),
        ..Entry::plain("control", operation, change)
    };
    lab.record(wall_ms(), entry)
}

async fn state(State(app): Shared) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let wall = lab.wall(wall_ms());
    let state = &lab.state;
    let running = state
        .tasks
        .values()
        .filter(|task| matches!(task.status, Status::Running { .. }))
        .count();
    Ok(Json(json!({
        "seq": state.seq,
        "now_ms": wall,
        "lab_ms": state.clock.lab(wall),
        "time_scale": seconds(state.clock.scale()),
        "seed": state.seed,
        "key_header": state.key_header,
        "tasks": {"running": running, "all": state.tasks.len()},
        "webhooks": state.webhooks,
        "faults": state.faults,
        "latencies": state.latencies,
        "sites": state.sites.keys().map(|name| Ok((name.clone(), site_json(&lab, name)?)))
            .collect::<Result<serde_json::Map<_, _>, Failure>>()?,
    })))
}

/// Thousandths as a number that people write.
#[expect(clippy::cast_precision_loss, reason = "scales and rates are far below 2^52")]
pub(super) fn seconds(thousandths: u64) -> f64 {
    thousandths as f64 / 1000.0
}

fn site_json(lab: &Lab, name: &str) -> Result<Value, Failure> {
    let site = lab.site(name)?;
    let wall = |lab_ms| lab.state.clock.wall(lab_ms);
    Ok(json!({
        "settings": site.settings,
        "facts": site.facts,
        "networks": site.networks.values().collect::<Vec<_>>(),
        "machines": site.machines.len(),
        "running": site.machines.values().filter(|machine| machine.on).count(),
        "replicas": site.replicas.len(),
        "lost": site.lost.map(|lost| json!({"since_ms": wall(lost.since), "machines_off": lost.machines_off})),
    }))
}

async fn site(State(app): Shared, Path(name): Path<String>) -> Answer {
    let answer = site_json(&app.lab(), &name)?;
    Ok(Json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsPatch {
    time_scale: Option<f64>,
    seed: Option<u64>,
    key_header: Option<String>,
}

async fn settings(State(app): Shared, Body(ask): Body<SettingsPatch>) -> Answer {
    let scale = ask
        .time_scale
        .map(crate::scale_milli)
        .transpose()
        .map_err(ApiError::invalid)?;
    let change = [
        scale.map(|milli| Change::Scale { milli }),
        ask.seed.map(|seed| Change::Seed { seed }),
        ask.key_header.map(|name| Change::KeyHeader {
            name: name.to_ascii_lowercase(),
        }),
    ];
    let seq = {
        let mut lab = app.lab();
        lab.settle(wall_ms())?;
        control(&mut lab, "settings", None, change.into_iter().flatten().collect())?
    };
    app.disturb();
    Ok(Json(json!({"seq": seq})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSite {
    id: String,
    profile: Option<Profile>,
}

async fn make_site(State(app): Shared, Body(ask): Body<NewSite>) -> Answer {
    // The name becomes part of file names.
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if ask.id.is_empty() || ask.id.len() > 32 || !ask.id.chars().all(is_plain) {
        return Err(ApiError::invalid("a site's id is 1 to 32 of a-z, 0-9 and `-`"));
    }
    let mut lab = app.lab();
    if lab.site(&ask.id).is_ok() {
        return Err(Failure::refused("exists", format!("there is a site `{}` already", ask.id)).into());
    }
    let mut changes = new_site();
    if ask.profile.is_some() {
        changes.push(Change::SiteFacts {
            facts: Box::new(SiteFacts::of(ask.profile)),
        });
    }
    let seq = control(&mut lab, "make-site", Some(&ask.id), changes)?;
    Ok(Json(json!({"seq": seq})))
}

/// What the request names is changed, the rest stays.
async fn change_site(State(app): Shared, Path(name): Path<String>, Body(ask): Body<Value>) -> Answer {
    let mut lab = app.lab();
    let settings: Settings = merged(&lab.site(&name)?.settings, ask)?;
    control(
        &mut lab,
        "site-settings",
        Some(&name),
        vec![Change::SiteSettings { settings }],
    )?;
    let answer = site_json(&lab, &name)?;
    Ok(Json(answer))
}

async fn facts(State(app): Shared, Path(name): Path<String>) -> Answer {
    let answer = json!(app.lab().site(&name)?.facts);
    Ok(Json(answer))
}

/// What the request names is changed, the rest stays; a site that becomes one of another kind is a sound one first.
async fn change_facts(State(app): Shared, Path(name): Path<String>, Body(ask): Body<Value>) -> Answer {
    let mut lab = app.lab();
    let mut facts = lab.site(&name)?.facts.clone();
    if let Some(profile) = ask.get("profile") {
        let profile = serde_json::from_value(profile.clone()).map_err(|error| ApiError::invalid(error.to_string()))?;
        if profile != facts.profile {
            facts = SiteFacts::of(profile);
        }
    }
    let facts: SiteFacts = merged(&facts, ask)?;
    let answer = json!(facts);
    let facts = Box::new(facts);
    control(&mut lab, "site-facts", Some(&name), vec![Change::SiteFacts { facts }])?;
    Ok(Json(answer))
}

pub(super) fn merged<T: Serialize + serde::de::DeserializeOwned>(old: &T, ask: Value) -> Result<T, ApiError> {
    let mut value = serde_json::to_value(old).map_err(|error| ApiError::invalid(error.to_string()))?;
    if let (Some(fields), Value::Object(asked)) = (value.as_object_mut(), ask) {
        fields.extend(asked);
    }
    serde_json::from_value(value).map_err(|error| ApiError::invalid(error.to_string()))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Loss {
    machines_off: bool,
}

async fn lost(State(app): Shared, Path(name): Path<String>, Body(loss): Body<Loss>) -> Answer {
    let seq = {
        let mut lab = app.lab();
        let wall = wall_ms();
        lab.settle(wall)?;
        lab.site(&name)?;
        if loss.machines_off {
            drop_tasks(&mut lab, wall, &name)?;
        }
        control(
            &mut lab,
            "site-lost",
            Some(&name),
            vec![Change::SiteLost {
                machines_off: loss.machines_off,
            }],
        )?
    };
    app.disturb();
    Ok(Json(json!({"seq": seq})))
}

/// What a site without power was about to do does not happen.
fn drop_tasks(lab: &mut Lab, wall: u64, site: &str) -> Result<(), Failure> {
    let failure = Failure {
        code: "power-lost".to_owned(),
        message: "the site lost power before the operation had any effect".to_owned(),
        retryable: true,
        definite: true,
    };
    let is_running = |status: &Status| matches!(status, Status::Running { .. });
    let tasks = lab
        .state
        .tasks
        .values()
        .filter(|task| task.site == site && is_running(&task.status));
    let handles: Vec<String> = tasks.map(|task| task.handle.clone()).collect();
    for handle in handles {
        lab.drop_task(wall, site, &handle, failure.clone())?;
    }
    Ok(())
}

async fn back(State(app): Shared, Path(name): Path<String>) -> Answer {
    let seq = {
        let mut lab = app.lab();
        lab.site(&name)?;
        control(&mut lab, "site-back", Some(&name), vec![Change::SiteBack])?
    };
    app.disturb();
    Ok(Json(json!({"seq": seq})))
}

#[derive(Deserialize)]
struct NewNetwork {
    site: String,
    #[serde(flatten)]
    network: Network,
}

async fn network(State(app): Shared, Body(ask): Body<NewNetwork>) -> Answer {
    let mut lab = app.lab();
    lab.site(&ask.site)?;
    let seq = control(
        &mut lab,
        "network",
        Some(&ask.site),
        vec![Change::NetworkSet { network: ask.network }],
    )?;
    Ok(Json(json!({"seq": seq})))
}

async fn remove_network(State(app): Shared, Path((site, network)): Path<(String, String)>) -> Answer {
    let mut lab = app.lab();
    lab.site(&site)?;
    let seq = control(&mut lab, "network", Some(&site), vec![Change::NetworkGone { network }])?;
    Ok(Json(json!({"seq": seq})))
}

async fn faults(State(app): Shared) -> Answer {
    Ok(Json(json!({"faults": app.lab().state.faults})))
}

async fn fault(State(app): Shared, Body(mut fault): Body<Fault>) -> Answer {
    if fault.times == Some(0) {
        return Err(ApiError::invalid(
            "`times` is at least 1; leave it out for a fault that stays",
        ));
    }
    let mut lab = app.lab();
    fault.id = lab.state.seq + 1;
    control(&mut lab, "fault", None, vec![Change::FaultSet { fault: fault.clone() }])?;
    Ok(Json(json!(fault)))
}

async fn remove_fault(State(app): Shared, Path(id): Path<u64>) -> Answer {
    let seq = control(&mut app.lab(), "fault", None, vec![Change::FaultGone { id }])?;
    Ok(Json(json!({"seq": seq})))
}

async fn clear_faults(State(app): Shared) -> Answer {
    let mut lab = app.lab();
    let gone = lab
        .state
        .faults
        .iter()
        .map(|fault| Change::FaultGone { id: fault.id })
        .collect();
    let seq = control(&mut lab, "fault", None, gone)?;
    Ok(Json(json!({"seq": seq})))
}

async fn latency(State(app): Shared, Body(latency): Body<Latency>) -> Answer {
    if latency.max_ms < latency.min_ms {
        return Err(ApiError::invalid("`max_ms` is less than `min_ms`"));
    }
    let seq = control(&mut app.lab(), "latency", None, vec![Change::LatencySet { latency }])?;
    Ok(Json(json!({"seq": seq})))
}

async fn clear_latency(State(app): Shared) -> Answer {
    let seq = control(&mut app.lab(), "latency", None, vec![Change::LatenciesGone])?;
    Ok(Json(json!({"seq": seq})))
}

async fn check(State(app): Shared) -> Result<Response, ApiError> {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let verdict = lab.verdict();
    Ok(Json(verdict).into_response())
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

/// The ledger's lines as they are in the file.
async fn ledger(State(app): Shared, Params(ask): Params<After>) -> Result<Response, ApiError> {
    let (path, start, length) = {
        let mut lab = app.lab();
        lab.settle(wall_ms())?;
        lab.lines_after(ask.after)
    };
    let mut file = tokio::fs::File::from_std(blocking(move || std::fs::File::open(path)).await?);
    let moved = file.seek(std::io::SeekFrom::Start(start)).await;
    moved.map_err(|error| Failure::refused("disk", error.to_string()))?;
    let lines = body::Body::from_stream(ReaderStream::new(file.take(length)));
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, lines).into_response())
}
