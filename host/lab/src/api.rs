//! The HTTP side: what all handlers share. `API.md` is the reference of what they offer.
//!
//! A handler takes the lab's lock for one short step and never holds it while it waits or touches a disk's bytes.

mod control;
mod data;
mod hooks;
mod machines;
mod sites;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::clock::wall_ms;
use crate::fault::{Fault, Mode};
use crate::lab::Lab;
use crate::operation::Failure;

/// The largest request: 64 MiB is a slice of disk larger than any host should hold in memory, and a hundred thousand
/// machines in one request.
const BODY_LIMIT: usize = 64 << 20;

/// What every handler gets.
pub(crate) struct App {
    lab: Mutex<Lab>,
    /// Something is due earlier than before, or time runs differently.
    pub(crate) rescheduled: Notify,
    /// Whoever waits must look again: a task was ended, a site was lost, time runs differently, the lab stops.
    disturbed: Notify,
    closing: AtomicBool,
}

impl App {
    pub(crate) fn new(lab: Lab) -> Arc<Self> {
        Arc::new(Self {
            lab: Mutex::new(lab),
            rescheduled: Notify::new(),
            disturbed: Notify::new(),
            closing: AtomicBool::new(false),
        })
    }

    /// The lab. A panic while it was held would have left state and ledger apart only until the next restart.
    pub(crate) fn lab(&self) -> MutexGuard<'_, Lab> {
        self.lab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody who waits looks again.
    fn disturb(&self) {
        self.rescheduled.notify_one();
        self.disturbed.notify_waiters();
    }

    /// The lab stops: whoever waits is let go.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.disturb();
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Lets a call to a site in: not if the site is lost, and not without the faults and the latency that were set for
    /// it. Dropping the future at any point leaves at most a fault used up.
    async fn enter(&self, site: &str, operation: &str, subjects: &[&str]) -> Result<Passage, ApiError> {
        let (fault, latency) = {
            let mut lab = self.lab();
            let wall = wall_ms();
            lab.settle(wall)?;
            if lab.site(site)?.lost.is_some() {
                return Err(ApiError::Dropped);
            }
            let fault = lab.fault(site, operation, subjects, None);
            if let Some(fault) = &fault {
                lab.use_fault(wall, site, operation, fault)?;
            }
            (fault, lab.latency(site, operation))
        };
        let mode = fault.as_ref().map(|fault| fault.mode);
        let extra = fault.as_ref().map_or(0, |fault| fault.delay_ms);
        self.pause(latency + if mode == Some(Mode::Slow) { extra } else { 0 })
            .await;
        match (mode, fault) {
            (Some(Mode::Fail), Some(fault)) => Err(fault.failure().into()),
            (Some(Mode::Hang), _) => {
                self.hang().await;
                Err(ApiError::Dropped)
            }
            (Some(Mode::LoseReply | Mode::FailAfterEffect), fault) => Ok(Passage(fault)),
            _ => Ok(Passage(None)),
        }
    }

    /// Waits for a length of lab time.
    async fn pause(&self, lab_ms: u64) {
        if lab_ms > 0 {
            let scale = self.lab().state.clock.scale();
            tokio::time::sleep(Duration::from_millis(lab_ms * 1000 / scale)).await;
        }
    }

    async fn hang(&self) {
        loop {
            let disturbed = self.disturbed.notified();
            if self.is_closing() {
                return;
            }
            disturbed.await;
        }
    }
}

/// A call to a site that was let in, with what is to become of its answer.
struct Passage(Option<Fault>);

impl Passage {
    /// The answer, or what the caller gets in its place.
    fn answer(self, response: impl IntoResponse) -> Result<Response, ApiError> {
        match self.0 {
            Some(fault) if fault.mode == Mode::LoseReply => Err(ApiError::Dropped),
            Some(fault) => Err(fault.failure().into()),
            None => Ok(response.into_response()),
        }
    }

    fn json(self, value: impl Serialize) -> Result<Response, ApiError> {
        self.answer(Json(value))
    }
}

/// Marks a response that must not be sent: the server closes the connection instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped;

/// Why a call has no good answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    Failure(Failure),
    Dropped,
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl ApiError {
    fn invalid(message: impl Into<String>) -> Self {
        Failure::refused("invalid", message).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => (status(&failure), Json(failure)).into_response(),
            Self::Dropped => {
                let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
                response.extensions_mut().insert(Dropped);
                response
            }
        }
    }
}

fn status(failure: &Failure) -> StatusCode {
    match &*failure.code {
        "not-found" | "unknown-site" | "unknown-mark" | "unknown-network" | "unknown-path" => StatusCode::NOT_FOUND,
        "invalid" | "out-of-range" => StatusCode::BAD_REQUEST,
        "too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "ledger" | "disk" => StatusCode::INTERNAL_SERVER_ERROR,
        _ if failure.retryable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

/// A JSON body. What is wrong with it is said in the lab's own form.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::from(Failure::refused("too-large", error.body_text())),
                _ => ApiError::invalid(error.body_text()),
            })?;
        // A request without a body asks for the defaults.
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|error| ApiError::invalid(format!("the JSON body: {error}")))
    }
}

/// The query's parameters, likewise.
struct Params<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|error| ApiError::invalid(error.body_text()))
    }
}

/// Work on files, off the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let result = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    result.map_err(|error| {
        let message = format!("the lab's own files: {error}");
        Failure {
            code: "disk".to_owned(),
            message,
            retryable: true,
            definite: false,
        }
        .into()
    })
}

async fn unknown_path(request: Request) -> ApiError {
    let message = format!(
        "there is no {} {}; host/lab/API.md lists what there is",
        request.method(),
        request.uri()
    );
    Failure::refused("unknown-path", message).into()
}

/// All of the API.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(sites::routes())
        .merge(data::routes())
        .merge(control::routes())
        .merge(machines::routes())
        .merge(hooks::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_path)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app)
}
