//! The answer to a request that held credentials: tokens are taken out of it, and values that the server repeats.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use reqwest::Body;
use wasmtime_wasi_http::Error;

use super::dress::Credentials;
use crate::scrub::{Needles, Scrubber};

/// The largest answer in which a token is looked for by JSON pointer, and the largest that is collected to learn its
/// new length; longer ones stream.
const LARGEST_COLLECTED: usize = 256 << 10;

/// What a guest is answered whose session the host does not know: what a server answers when a session has ended, so
/// that whoever can log in again does.
pub(super) fn session_lost(name: &str) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    if let Ok(name) = HeaderValue::from_str(name) {
        response.headers_mut().insert("landfall-session-lost", name);
    }
    response
}

/// What the guest may see of an answer.
pub(super) async fn undress(
    credentials: &Credentials,
    mut needles: Needles,
    response: Response<Body>,
) -> Result<Response<Body>, Error> {
    let (mut parts, body) = response.into_parts();
    credentials.capture_headers(&mut parts.headers, &mut needles);
    let pointers = credentials.pointers();
    if needles.is_empty() && pointers.is_empty() {
        return Ok(Response::from_parts(parts, body));
    }
    if let Some(encoding) = encoding(&parts.headers) {
        return Err(Error::HttpResponseContentCoding(Some(encoding)));
    }
    let length = length(&parts.headers);
    let small = length.is_some_and(|length| length <= LARGEST_COLLECTED as u64);
    if pointers.is_empty() && !small {
        let body = match needles.scrubber(length.is_some()) {
            Some(scrubber) => Body::wrap_stream(scrubbed(body, scrubber)),
            None => body,
        };
        clean(&mut parts.headers, &needles);
        return Ok(Response::from_parts(parts, body));
    }
    let body = collect(body).await?;
    let mut body = body.to_vec();
    if !pointers.is_empty()
        && let Some(other) = take_tokens(credentials, &pointers, &body, &mut needles)
    {
        body = other;
    }
    if let Some(other) = needles.scrubber(false).and_then(|scrubber| scrubber.whole(&body)) {
        body = other;
    }
    clean(&mut parts.headers, &needles);
    // An answer to HEAD announces what it does not hold.
    if length.is_some() && !body.is_empty() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let mut encodings = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    encodings.find(|encoding| !encoding.eq_ignore_ascii_case("identity"))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Values in header lines become placeholders.
fn clean(headers: &mut HeaderMap, needles: &Needles) {
    let Some(scrubber) = needles.scrubber(false) else {
        return;
    };
    for value in headers.values_mut() {
        let clean = scrubber.whole(value.as_bytes());
        if let Some(clean) = clean.and_then(|clean| HeaderValue::from_bytes(&clean).ok()) {
            *value = clean;
        }
    }
}

async fn collect(body: Body) -> Result<Bytes, Error> {
    let collected = Limited::new(body, LARGEST_COLLECTED).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::HttpResponseBodySize(Some(LARGEST_COLLECTED as u64))
        } else {
            Error::HttpResponseIncomplete
        }
    })
}

/// Keeps the strings at the pointers, and gives the document with placeholders in their place if there were any.
fn take_tokens(
    credentials: &Credentials,
    pointers: &[(&str, &str)],
    body: &[u8],
    needles: &mut Needles,
) -> Option<Vec<u8>> {
    let mut document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let mut taken = false;
    for (pointer, name) in pointers {
        if let Some(serde_json::Value::String(token)) = document.pointer_mut(pointer)
            && token.len() >= crate::secret::SHORTEST
        {
            credentials.keep(name, token.as_bytes(), needles);
            *token = format!("{{{{captured:{name}}}}}");
            taken = true;
        }
    }
    taken.then(|| serde_json::to_vec(&document).ok()).flatten()
}

fn scrubbed(body: Body, scrubber: Scrubber) -> impl futures_util::Stream<Item = reqwest::Result<Bytes>> + Send {
    let pieces = body.into_data_stream();
    stream::unfold((pieces, Some(scrubber)), |(mut pieces, scrubber)| async move {
        let mut scrubber = scrubber?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    let clean = scrubber.push(&piece);
                    // An empty piece would be an empty chunk, which ends a body.
                    if !clean.is_empty() {
                        return Some((Ok(Bytes::from(clean)), (pieces, Some(scrubber))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), (pieces, None))),
                None => return Some((Ok(Bytes::from(scrubber.finish())), (pieces, None))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_session_looks_like_one_that_ended() {
        let response = session_lost("vc-session");
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["landfall-session-lost"], "vc-session");
    }
}
