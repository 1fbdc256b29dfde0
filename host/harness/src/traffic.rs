//! What went over the network during a conformance run: shown with a failure, and written as JSON lines on request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_runtime::{StageReply, StageRequest, Watcher};
use serde::Serialize;

use crate::script::shown;

/// Headers whose value lets somebody in. A stored credential never comes this far; a login that the adapter made may.
const SECRET: [&str; 5] = [
    "authorization",
    "cookie",
    "set-cookie",
    "proxy-authorization",
    "x-auth-token",
];

/// Requests of one check that are shown with its failure.
const SHOWN: usize = 12;

/// One exchange.
#[derive(Debug, Clone, Serialize)]
pub struct Exchanged {
    /// From 1.
    pub number: usize,
    /// `source` or `target`.
    pub role: &'static str,
    /// The check during which it happened.
    pub check: &'static str,
    /// `GET`, `POST`, ...
    pub method: String,
    /// Where to.
    pub url: String,
    /// The adapter's own headers, without credentials.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body.
    pub body: String,
    /// HTTP status; none if there was no answer.
    pub status: Option<u16>,
    /// The answer's headers.
    pub answer_headers: Vec<(String, String)>,
    /// The beginning of the answer's body, or why there is none.
    pub answer: String,
}

/// Shared between the stages that see the traffic and the suite.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    check: &'static str,
    seen: Vec<Exchanged>,
}

impl Traffic {
    pub(crate) fn watcher(&self, role: &'static str) -> Watcher {
        let traffic = self.clone();
        Box::new(move |request, reply| traffic.note(role, request, reply))
    }

    fn note(&self, role: &'static str, request: StageRequest, reply: Result<StageReply, String>) {
        let (status, answer_headers, answer) = match reply {
            Ok(StageReply::Answer {
                status,
                headers,
                body,
                cut,
            }) => {
                let end = if cut { " (cut off)" } else { "" };
                (Some(status), open(headers), format!("{}{end}", shown(&body)))
            }
            Ok(other) => (None, Vec::new(), format!("{other:?}")),
            Err(why) => (None, Vec::new(), why),
        };
        let mut inner = self.lock();
        let exchanged = Exchanged {
            number: inner.seen.len() + 1,
            role,
            check: inner.check,
            method: request.method,
            url: request.url,
            headers: open(request.headers),
            body: shown(&request.body),
            status,
            answer_headers,
            answer,
        };
        inner.seen.push(exchanged);
    }

    /// What follows belongs to this check.
    pub(crate) fn begin(&self, check: &'static str) {
        self.lock().check = check;
    }

    /// The last requests of a check, one a line.
    pub(crate) fn of(&self, check: &'static str) -> Vec<String> {
        let inner = self.lock();
        let mut lines: Vec<String> = inner
            .seen
            .iter()
            .rev()
            .filter(|one| one.check == check)
            .take(SHOWN)
            .map(|one| {
                let status = one
                    .status
                    .map_or_else(|| one.answer.clone(), |status| status.to_string());
                format!("#{} {} {} {} -> {status}", one.number, one.role, one.method, one.url)
            })
            .collect();
        lines.reverse();
        lines
    }

    pub(crate) fn all(&self) -> Vec<Exchanged> {
        self.lock().seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers
        .into_iter()
        .map(|(name, value)| {
            let is_secret = SECRET.contains(&name.to_ascii_lowercase().as_str());
            let value = if is_secret { "(not recorded)".to_owned() } else { value };
            (name, value)
        })
        .collect()
}
