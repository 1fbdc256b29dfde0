//! `wasi:http`: requests of guests, to granted destinations only.
//!
//! The URL that is checked is the URL that is sent: `url::Url` normalises it once, and reqwest sends that object. No
//! user information, no redirects, no proxy, no `Host` header of the guest's choice. A request's body is collected
//! before the request is sent, so a guest that traps half way has sent nothing; a response streams. HTTP/1.1 with one
//! pool of warm connections for all plugins: authentication is per request, never per connection.
//!
//! When a call is dropped its store goes, and with it every request of it that is still running.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::{Host, Url};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::address::{self, CheckedResolver, RefusedName, UnknownName};
use crate::grants::{Denial, Effective, HttpGrant, Remedy};
use crate::stage::{self, Stage, StageRequest};
use crate::state::Record;

/// A site that does not answer a connection within this is down as far as one call is concerned.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections are given up before common servers (60 s and more) do, so that none dies under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests of one call that are under way at once, so that their bodies stay within eight times the limit (128 MiB);
/// more wait.
const MOST_AT_ONCE: usize = 8;

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// The client that all plugins share.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(CheckedResolver))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
    };
    builder().build().or_else(|error| {
        // A machine without any certificate authority can still reach sites over plain HTTP.
        tracing::warn!(%error, "no certificate authorities found on this machine: requests over https will fail");
        builder().tls_certs_only([]).build()
    })
}

/// What one call may send, and where that is written down.
pub(crate) struct Gate {
    client: reqwest::Client,
    effective: Arc<Effective>,
    record: Arc<Record>,
    deadline: Instant,
    /// Bytes, in each direction.
    largest_body: usize,
    under_way: Arc<Semaphore>,
    stage: Option<Arc<Stage>>,
}

impl Gate {
    pub(crate) fn new(
        client: reqwest::Client,
        effective: Arc<Effective>,
        record: Arc<Record>,
        deadline: Instant,
        largest_body: usize,
        stage: Option<Arc<Stage>>,
    ) -> Self {
        Self {
            client,
            effective,
            record,
            deadline,
            largest_body,
            under_way: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            stage,
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
        let url = match self.admit(&request) {
            Ok(url) => url,
            Err(error) => {
                // A guest may write its body after the request is handled. With nobody reading it would see a broken
                // stream instead of the refusal. Ends with the body or with the store.
                tokio::spawn(Limited::new(request.into_body(), self.largest_body).collect());
                return Box::new(async { Err(error) });
            }
        };
        let call = Outgoing {
            client: self.client.clone(),
            record: Arc::clone(&self.record),
            deadline: self.deadline,
            largest_body: self.largest_body,
            under_way: Arc::clone(&self.under_way),
            stage: self.stage.clone(),
        };
        Box::new(call.send(url, request, options.unwrap_or_default()))
    }
}

impl Gate {
    fn admit(&self, request: &http::Request<WasiBody>) -> Result<Url, Error> {
        if matches!(*request.method(), http::Method::CONNECT | http::Method::TRACE) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let url = Url::parse(&request.uri().to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        match check(&self.effective, &url) {
            Ok(()) => Ok(url),
            Err(denial) => {
                tracing::debug!(target: "landfall::plugin", %denial, "request refused");
                self.record.deny(denial);
                Err(Error::HttpRequestDenied)
            }
        }
    }
}

/// Whether this URL may be requested at all.
fn check(effective: &Effective, url: &Url) -> Result<(), Denial> {
    let never = |why: &str| {
        let origin = url.origin().ascii_serialization();
        Denial {
            what: format!("a request to {origin}"),
            remedy: Remedy::Never(why.to_owned()),
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(never("a URL carries no user name or password"));
    }
    let destination = HttpGrant::of(url).ok_or_else(|| never("only http and https are spoken"))?;
    let literal = match url.host() {
        Some(Host::Ipv4(v4)) => Some(v4.into()),
        Some(Host::Ipv6(v6)) => Some(v6.into()),
        Some(Host::Domain(_)) | None => None,
    };
    if let Some(why) = literal.and_then(address::refused) {
        return Err(never(why));
    }
    effective.check_destination(&destination)
}

/// One admitted request.
struct Outgoing {
    client: reqwest::Client,
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
            client,
            record,
            deadline,
            largest_body,
            under_way,
            stage,
        } = self;
        let _slot = under_way.acquire().await.map_err(|_| Error::ConnectionLimitReached)?;
        let (parts, body) = request.into_parts();
        let body = collect(body, largest_body, &record).await?;
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
            && let Some(answer) = stage.answer(request.clone(), patience)
        {
            if !matches!(answer, Err(Error::ConnectionRefused)) {
                record.request_leaves();
            }
            let response = answer?.map(|body| stream(body, largest_body, record));
            return Ok((response, Box::new(async { Ok(()) })));
        }
        let request = client
            .request(parts.method, url.clone())
            .headers(parts.headers)
            .body(body)
            .timeout(left);
        record.request_leaves();
        let response = match tokio::time::timeout(patience, request.send()).await {
            Ok(Ok(response)) => Ok(http::Response::from(response)),
            Ok(Err(error)) => {
                if error.is_connect() {
                    record.request_did_not_leave();
                }
                Err(translate(&error, &record, &url))
            }
            Err(_) => Err(Error::ConnectionReadTimeout),
        };
        let response = match seen {
            Some((stage, request)) => stage.show(request, response).await,
            None => response,
        }?;
        let response = response.map(|body| stream(body, largest_body, record));
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

/// The code that a guest sees, chosen so that SDKs can tell "down" from "refused" from "slow".
fn translate(error: &reqwest::Error, record: &Record, url: &Url) -> Error {
    tracing::debug!(target: "landfall::plugin", error = error as &dyn StdError, "request failed");
    if let Some(refused) = cause::<RefusedName>(error) {
        let what = format!("a request to {}", url.origin().ascii_serialization());
        record.deny(Denial {
            what,
            remedy: Remedy::Never(refused.to_string()),
        });
        return Error::DestinationIpProhibited;
    }
    if cause::<UnknownName>(error).is_some() {
        return Error::DnsError {
            rcode: Some("the name does not resolve".to_owned()),
            info_code: None,
        };
    }
    if error.is_connect() && error.is_timeout() {
        return Error::ConnectionTimeout;
    }
    if error.is_timeout() {
        return Error::HttpResponseTimeout;
    }
    let io = cause::<std::io::Error>(error).map(std::io::Error::kind);
    match io {
        Some(std::io::ErrorKind::ConnectionRefused) => Error::ConnectionRefused,
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe) => Error::ConnectionTerminated,
        Some(std::io::ErrorKind::InvalidData) if error.is_connect() => Error::TlsCertificateError,
        _ if error.is_connect() => Error::DestinationUnavailable,
        _ if error.is_request() => Error::ConnectionTerminated,
        _ => Error::HttpProtocolError,
    }
}

/// The first error of this type in the chain of causes.
fn cause<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Grants;
    use crate::manifest::Requests;

    fn verdict(url: &str) -> Result<(), Denial> {
        let requests: Requests = toml::from_str(r#"http = [{ scheme = "*", host = "*", port = "*" }]"#).unwrap();
        let grants: Grants = toml::from_str(
            r#"http = [{ scheme = "http", host = "127.0.0.1", port = 9000 }, { scheme = "https", host = "vc.example", port = 443 },
                       { scheme = "http", host = "169.254.169.254", port = 80 }]"#,
        )
        .unwrap();
        check(&Effective { requests, grants }, &Url::parse(url).unwrap())
    }

    #[test]
    fn only_what_is_granted_passes() {
        for good in [
            "http://127.0.0.1:9000/a/../b?c",
            "http://127.1:9000",
            "https://VC.example/",
            "https://vc.example:443/",
        ] {
            verdict(good).unwrap();
        }
        for bad in [
            "http://127.0.0.1:9001/",
            "https://127.0.0.1:9000/",
            "http://vc.example/",
            "https://vc.example.:443/",
        ] {
            assert!(verdict(bad).unwrap_err().grant_line().is_some(), "{bad}");
        }
    }

    #[test]
    fn what_is_never_allowed_names_no_line() {
        for never in [
            "http://me@127.0.0.1:9000/",
            "http://:x@127.0.0.1:9000/",
            "ftp://vc.example/",
            "http://169.254.169.254/",
            "http://[::ffff:a9fe:a9fe]/",
        ] {
            let denial = verdict(never).unwrap_err();
            assert!(matches!(denial.remedy, Remedy::Never(_)), "{never}: {denial}");
        }
    }
}
