//! `wasi:http`: requests of guests, to granted destinations only.
//!
//! The URL that is checked is the URL that is sent: `url::Url` normalises it once, and reqwest sends that object. No
//! user information, no redirects, no proxy, no `Host` header of the guest's choice. A request's body is collected
//! before the request is sent, so a guest that traps half way has sent nothing; a response streams. HTTP/1.1 with one
//! pool of warm connections for all plugins: authentication is per request, never per connection.
//!
//! When a call is dropped its store goes, and with it every request of it that is still running.

mod admit;
mod client;
mod dress;
mod paced;
#[cfg(test)]
mod tests;
mod tokens;
mod undress;

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::destination::{HttpGrant, Target};
use crate::grants::{Denial, Effective, Remedy};
use crate::runtime::Shared;
use crate::stage::{self, Stage, StageRequest};
use crate::state::{Record, Subject};

use client::CONNECT_TIMEOUT;
pub(crate) use client::{Clients, try_client};
use dress::{Asked, Credentials};
pub(crate) use tokens::TokenStore;

/// Requests of one call that are under way at once, so that their bodies stay within eight times the limit (128 MiB);
/// more wait.
const MOST_AT_ONCE: usize = 8;

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// What one call may send, and where that is written down.
pub(crate) struct Gate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) effective: Arc<Effective>,
    record: Arc<Record>,
    deadline: Instant,
    /// Bytes, in each direction.
    largest_body: usize,
    under_way: Arc<Semaphore>,
    subject: Arc<Subject>,
}

impl Gate {
    pub(crate) fn new(
        shared: Arc<Shared>,
        effective: Arc<Effective>,
        record: Arc<Record>,
        deadline: Instant,
        largest_body: usize,
        subject: Arc<Subject>,
    ) -> Self {
        Self {
            shared,
            effective,
            record,
            deadline,
            largest_body,
            under_way: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            subject,
        }
    }
}

impl WasiHttpHooks for Gate {
    /// reqwest sets it from the URL that was checked.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _outcome: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let (url, target, grant) = match self.admit(&request) {
            Ok(admitted) => admitted,
            Err(error) => {
                // A guest may write its body after the request is handled. With nobody reading it would see a broken
                // stream instead of the refusal. Ends with the body or with the store.
                tokio::spawn(Limited::new(request.into_body(), self.largest_body).collect());
                return Box::new(async { Err(error) });
            }
        };
        let call = Outgoing {
            credentials: Credentials::new(&self.shared, &self.effective, &self.subject, grant, target),
            record: Arc::clone(&self.record),
            deadline: self.deadline,
            largest_body: self.largest_body,
            under_way: Arc::clone(&self.under_way),
            stage: self.subject.stage.clone(),
        };
        Box::new(call.send(url, request, options.unwrap_or_default()))
    }
}

impl Gate {
    fn admit(&self, request: &http::Request<WasiBody>) -> Result<(Url, Target, HttpGrant), Error> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        match admit::admit(&self.effective, request.method().as_str(), &url) {
            Ok((target, grant)) => Ok((url, target, grant)),
            Err(denial) => Err(refuse(&self.record, denial)),
        }
    }
}

fn refuse(record: &Record, denial: Denial) -> Error {
    tracing::debug!(target: "landfall::plugin", %denial, "request refused");
    record.deny(denial);
    Error::HttpRequestDenied
}

/// One admitted request.
struct Outgoing {
    credentials: Credentials,
    record: Arc<Record>,
    deadline: Instant,
    largest_body: usize,
    under_way: Arc<Semaphore>,
    stage: Option<Arc<Stage>>,
}

impl Outgoing {
    /// Dropped: the connection is closed, and the request may or may not have had its effect.
    async fn send(self, url: Url, request: http::Request<WasiBody>, options: RequestOptions) -> Result<Sent, Error> {
        let Self {
            credentials,
            record,
            deadline,
            largest_body,
            under_way,
            stage,
        } = self;
        let _slot = under_way.acquire().await.map_err(|_| Error::ConnectionLimitReached)?;
        let (mut parts, body) = request.into_parts();
        let body = collect(body, largest_body, &record).await?;
        let refused = |denial| refuse(&record, denial);
        admit::clean(&mut parts.headers, &credentials.grant).map_err(refused)?;
        if let Asked::Lost(name) = credentials.check(&parts.headers, &body).map_err(refused)? {
            let response = undress::session_lost(&name).map(|body| stream(body, largest_body, record));
            return Ok((response, Box::new(async { Ok(()) })));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let asked = options
            .first_byte_timeout
            .map(|first| first + options.connect_timeout.unwrap_or(CONNECT_TIMEOUT));
        let patience = asked.unwrap_or(left);
        let seen = stage.map(|stage| {
            let request = StageRequest {
                method: parts.method.to_string(),
                url: url.to_string(),
                headers: stage::texts(&parts.headers),
                body: body.clone(),
            };
            (stage, request)
        });
        if let Some((stage, request)) = &seen
            && let Some(answer) = stage.answer(request.clone(), asked)
        {
            if !matches!(answer, Err(Error::ConnectionRefused)) {
                record.request_leaves();
            }
            let needles = credentials.needles(&credentials.staged(stage));
            let response = undress::undress(&credentials, needles, answer?).await?;
            let response = response.map(|body| stream(body, largest_body, record));
            return Ok((response, Box::new(async { Ok(()) })));
        }
        let values = credentials.read().await.map_err(refused)?;
        let body = credentials.dress(&values, &mut parts.headers, body).map_err(refused)?;
        let needles = credentials.needles(&values);
        drop(values);
        let client = credentials.shared.clients.of(&credentials.grant);
        let client = client.map_err(|why| refused(uncertified(&url, why)))?;
        let request = client
            .request(parts.method, url.clone())
            .headers(parts.headers)
            .body(body)
            .timeout(left);
        record.request_leaves();
        let response = match tokio::time::timeout(patience, request.send()).await {
            Ok(Ok(response)) => undress::undress(&credentials, needles, response.into()).await,
            Ok(Err(error)) => {
                tracing::debug!(target: "landfall::plugin", error = &error as &dyn StdError, "request failed");
                if error.is_connect() {
                    record.request_did_not_leave();
                }
                if let Some(denial) = misled(&error, &credentials, &url) {
                    record.deny(denial);
                }
                Err(client::translate(&error))
            }
            Err(_) => Err(Error::ConnectionReadTimeout),
        };
        let response = match seen {
            Some((stage, request)) => stage.show(request, response).await,
            None => response,
        }?;
        let response = response.map(|body| stream(body, largest_body, record));
        let response = match options.between_bytes_timeout {
            Some(pause) => response.map(|body| paced::paced(body, pause)),
            None => response,
        };
        Ok((response, Box::new(async { Ok(()) })))
    }
}

async fn collect(body: WasiBody, largest: usize, record: &Record) -> Result<Bytes, Error> {
    let collected = Limited::new(body, largest).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            record.note_oversize(format!(
                "a request had more than the {largest} bytes of `limits.body-bytes`"
            ));
            return Error::HttpRequestBodySize(Some(largest as u64));
        }
        error
            .downcast::<Error>()
            .map_or_else(|other| Error::InternalError(Some(other.to_string())), |error| *error)
    })
}

fn stream(body: reqwest::Body, largest: usize, record: Arc<Record>) -> WasiBody {
    let limited = Limited::new(body, largest).map_err(move |error| {
        if error.is::<LengthLimitError>() {
            record.note_oversize(format!(
                "an answer had more than the {largest} bytes of `limits.body-bytes`"
            ));
            return Error::HttpResponseBodySize(Some(largest as u64));
        }
        match error.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => Error::HttpResponseTimeout,
            _ => Error::HttpResponseIncomplete,
        }
    });
    limited.boxed_unsync()
}

fn uncertified(url: &Url, why: String) -> Denial {
    Denial {
        what: format!("the grant for {}", url.origin().ascii_serialization()),
        remedy: Remedy::Secret(why),
    }
}

/// The request would have reached somebody whom it was not meant for: the name led to an address where it must not go,
/// or the server could not prove who it is.
fn misled(error: &reqwest::Error, credentials: &Credentials, url: &Url) -> Option<Denial> {
    let origin = url.origin().ascii_serialization();
    if let Some(why) = client::distrusted(error) {
        return Some(Denial {
            what: format!("a request to {origin}"),
            remedy: Remedy::Distrusted(why),
        });
    }
    let refused = client::refused_name(error)?;
    Some(if refused.private {
        Denial {
            what: format!("a request to {origin}, as {refused}, and that"),
            remedy: credentials.effective.private_remedy(&credentials.target),
        }
    } else {
        Denial {
            what: format!("a request to {origin}"),
            remedy: Remedy::Never(refused.to_string()),
        }
    })
}
