//! What runbooks meet: a receiver for their webhooks, whose calls go into the same ledger, and the machines' own web
//! servers, which answer only while the machine runs.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{ApiError, App};
use crate::clock::wall_ms;
use crate::entry::{Change, Entry, Outcome};
use crate::operation::Failure;

/// Headers that are kept beside the one that carries the key. Others may hold credentials.
const KEPT: [&str; 4] = ["content-type", "user-agent", "x-request-id", "traceparent"];

type Shared = State<Arc<App>>;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/hooks/{*path}", any(hook))
        .route("/http/{site}/{machine}", get(http))
}

async fn hook(
    State(app): Shared,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    let mut lab = app.lab();
    let header = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    let key = header(&lab.state.key_header).map(|(_, key)| key);
    let first = key.as_ref().and_then(|key| lab.state.webhook_keys.get(key).copied());
    if let Some(first) = first {
        let entry = Entry {
            key,
            note: Some(format!("known key, see {first}")),
            ..entry(&body, &uri, Vec::new())
        };
        let seq = lab.record(wall_ms(), entry)?;
        return Ok(Json(json!({"received": true, "seq": seq, "repeat_of": first})));
    }
    let kept = KEPT
        .into_iter()
        .chain([&*lab.state.key_header])
        .filter_map(header)
        .collect();
    let change = Change::Webhook {
        method: method.to_string(),
        path: uri.path().to_owned(),
        headers: kept,
        body: body.clone(),
    };
    let seq = lab.record(
        wall_ms(),
        Entry {
            key,
            ..entry(&body, &uri, vec![change])
        },
    )?;
    Ok(Json(json!({"received": true, "seq": seq})))
}

/// Job and step are known where the hook's body names them.
fn entry(body: &Value, uri: &Uri, change: Vec<Change>) -> Entry {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let result = if change.is_empty() {
        Outcome::Unchanged
    } else {
        Outcome::Changed
    };
    Entry {
        job: text("job"),
        step: text("step"),
        after: Some(uri.path().to_owned()),
        result,
        ..Entry::plain("webhook", "webhook", change)
    }
}

/// A machine's web server: there once the machine has booted.
async fn http(State(app): Shared, Path((site, machine)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "http", &[&machine]).await?;
    let answers = {
        let mut lab = app.lab();
        let wall = wall_ms();
        lab.settle(wall)?;
        let now = lab.state.clock.lab(lab.wall(wall));
        let started = lab
            .site(&site)?
            .machines
            .get(&machine)
            .and_then(|m| Some(m.started? + m.boot_ms));
        started.is_some_and(|ready| ready <= now)
    };
    if answers {
        return passage.answer("ok");
    }
    let message = format!("machine `{machine}` at site `{site}` does not answer");
    Err(Failure {
        code: "not-up".to_owned(),
        message,
        retryable: true,
        definite: true,
    }
    .into())
}
