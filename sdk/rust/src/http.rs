//! A small blocking HTTP client over `wasi:http`, reaching only what the operator granted.
//!
//! Credentials are not its business: the host adds them to a granted request, so no secret ever enters a plugin.
//! Redirects are not followed. What it must never do is hide whether a request was sent: see [`Error`].

mod body;
mod error;
mod statuses;
mod url;

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use crate::buffers::Buffer;

pub use crate::bindings::wasi::http::types::Method;
pub use error::Error;
pub use statuses::Statuses;
use url::Url;
pub use url::encode_component;

/// What [`Response::bytes`] and [`Response::text`] read at most. Answers to plugins are small documents, while disk
/// data goes through [`Response::into_buffer`]; and a guest's memory is bounded.
pub const MAX_BODY: usize = 4 << 20;

/// A request that was not sent yet.
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout_ms: Option<u64>,
}

impl Request {
    /// Fails if the URL is not `http` or `https`, names no host, or holds credentials.
    pub fn new(method: Method, url: &str) -> Result<Self, Error> {
        let url = Url::parse(url)?;
        Ok(Self {
            method,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: None,
        })
    }

    /// A GET request.
    pub fn get(url: &str) -> Result<Self, Error> {
        Self::new(Method::Get, url)
    }

    /// A POST request.
    pub fn post(url: &str) -> Result<Self, Error> {
        Self::new(Method::Post, url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body, from the plugin's memory.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// How long to wait until the answer begins, the connection included. The host's limit for the whole call
    /// holds as well.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Sends the request and waits until the answer begins. Any status is an answer.
    pub fn send(self) -> Result<Response, Error> {
        self.exchange(self.body.len() as u64, |out| body::send_bytes(out, &self.body))
    }

    /// Sends the request with what a buffer of the host holds as its body: the bytes never enter the plugin's memory.
    /// A function of its own, so that only a plugin that calls it imports `buffers`.
    pub fn send_from(self, buffer: &Buffer) -> Result<Response, Error> {
        self.exchange(buffer.len(), |out| body::send_buffer(out, buffer))
    }

    fn exchange(&self, length: u64, write: impl FnOnce(OutgoingBody) -> Result<(), String>) -> Result<Response, Error> {
        let request = self.outgoing(length)?;
        let out = request
            .body()
            .map_err(|()| Error::Invalid("the request has no body to write".to_owned()))?;
        let pending = handle(request, self.options()).map_err(Error::from_code)?;
        // A refused or broken request closes the body's stream, and then only the answer says why.
        let written = write(out);
        match (receive(&pending), written) {
            (Some(Ok(inner)), _) => Ok(Response { inner }),
            (Some(Err(code)), _) => Err(Error::from_code(code)),
            (None, Err(stream)) => Err(Error::InDoubt(format!("sending the body failed: {stream}"))),
            (None, Ok(())) => Err(Error::InDoubt("the host lost the answer".to_owned())),
        }
    }

    fn outgoing(&self, length: u64) -> Result<OutgoingRequest, Error> {
        let headers = Fields::new();
        // Without it a body would be chunked, which small servers do not read.
        if length > 0 || !matches!(self.method, Method::Get | Method::Head) {
            append(&headers, "content-length", &length.to_string())?;
        }
        for (name, value) in &self.headers {
            append(&headers, name, value)?;
        }
        let request = OutgoingRequest::new(headers);
        let scheme = if self.url.https { Scheme::Https } else { Scheme::Http };
        request
            .set_method(&self.method)
            .and_then(|()| request.set_scheme(Some(&scheme)))
            .and_then(|()| request.set_authority(Some(&self.url.authority)))
            .and_then(|()| request.set_path_with_query(Some(&self.url.path_with_query)))
            .map_err(|()| Error::Invalid(format!("the host takes no such request to {}", self.url.authority)))?;
        Ok(request)
    }

    fn options(&self) -> Option<RequestOptions> {
        // WASI has one for the connection and one for what follows it: both together are what was asked for.
        let nanoseconds = self.timeout_ms?.saturating_mul(1_000_000) / 2;
        let options = RequestOptions::new();
        // A host without such a timeout says so here; its limit for the whole call holds in any case.
        let _ = options.set_connect_timeout(Some(nanoseconds));
        let _ = options.set_first_byte_timeout(Some(nanoseconds));
        Some(options)
    }
}

fn append(headers: &Fields, name: &str, value: &str) -> Result<(), Error> {
    headers.append(name, value.as_bytes()).map_err(|_| {
        Error::Invalid(format!(
            "the header `{name}` is not allowed or holds a forbidden character"
        ))
    })
}

/// None: the host gave no answer though it said that it was ready.
fn receive(pending: &FutureIncomingResponse) -> Option<Result<IncomingResponse, ErrorCode>> {
    pending.subscribe().block();
    pending.get()?.ok()
}

/// An answer. Its body can be read once.
pub struct Response {
    inner: IncomingResponse,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.inner.status()
    }

    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.inner.headers().get(name).into_iter().next()?;
        String::from_utf8(value).ok()
    }

    /// The body, at most [`MAX_BODY`].
    pub fn bytes(self) -> Result<Vec<u8>, Error> {
        body::receive_bytes(&self.inner, MAX_BODY)
    }

    /// The body as text, at most [`MAX_BODY`]; what is not UTF-8 is replaced.
    pub fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// Appends the body to a buffer of the host and says how many bytes it had. They never enter the plugin's memory.
    pub fn into_buffer(self, buffer: &Buffer) -> Result<u64, Error> {
        body::receive_buffer(&self.inner, buffer)
    }
}
