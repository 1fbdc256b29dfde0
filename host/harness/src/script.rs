//! The network of a test case: which requests it knows, what it does with each, and what was really asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use landfall_runtime::{StageReply, StageRequest};
use serde_json::Value;
use url::Url;

use crate::case::{Answer, Exchange, NetworkFault, Times};
use crate::report::Asked;

/// Text that is shown of a body.
const SHOWN: usize = 400;

/// Shared between the stage, which asks it, and the player, which adds to it and judges it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default, Clone)]
struct Inner {
    /// What comes of every request, instead of the exchanges.
    always: Option<StageReply>,
    exchanges: Vec<(Exchange, u32)>,
    asked: Vec<(StageRequest, Asked)>,
    /// Requests that no exchange fits, with the reason.
    strangers: Vec<String>,
}

impl Network {
    /// One that does the same with every request.
    pub(crate) fn answering(reply: StageReply) -> Self {
        let inner = Inner {
            always: Some(reply),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The far side as it is now, to come back to.
    pub(crate) fn fork(&self) -> Self {
        Self {
            inner: Arc::new(Mutex::new(self.lock().clone())),
        }
    }

    /// The far side is again as it was.
    pub(crate) fn set_back(&self, to: &Self) {
        let before = to.lock().clone();
        *self.lock() = before;
    }

    pub(crate) fn add(&self, exchanges: &[Exchange]) {
        self.lock()
            .exchanges
            .extend(exchanges.iter().cloned().map(|exchange| (exchange, 0)));
    }

    /// The first exchange that fits and is not used up. One that nobody wrote is a connection that nobody takes, so
    /// that the plugin ends by itself; the case fails for it later.
    pub(crate) fn answer(&self, request: StageRequest) -> (StageReply, u64) {
        let mut inner = self.lock();
        let found = inner
            .exchanges
            .iter()
            .position(|(exchange, used)| !is_used_up(exchange.times, *used) && misfit(exchange, &request).is_none());
        let always = inner.always.clone();
        let exchange = found.and_then(|index| inner.exchanges.get_mut(index));
        let (reply, took_ms) = if let Some(reply) = always {
            (reply, 0)
        } else if let Some((exchange, used)) = exchange {
            *used += 1;
            let took_ms = exchange.reply.as_ref().map_or(0, |reply| reply.takes_ms);
            (reply(exchange), took_ms)
        } else {
            let why = stranger(&request, &inner.exchanges);
            inner.strangers.push(why);
            (StageReply::Refused, 0)
        };
        let asked = Asked {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.iter().cloned().collect(),
            body: shown(&request.body),
            answer: words(&reply),
        };
        inner.asked.push((request, asked));
        (reply, took_ms)
    }

    /// What was asked since this was last called.
    pub(crate) fn take_asked(&self) -> Vec<(StageRequest, Asked)> {
        std::mem::take(&mut self.lock().asked)
    }

    /// What was asked and nobody wrote, since this was last called.
    pub(crate) fn take_strangers(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().strangers)
    }

    /// Exchanges that were not used as often as they say.
    pub(crate) fn left(&self) -> Vec<String> {
        let inner = self.lock();
        let left = inner
            .exchanges
            .iter()
            .filter_map(|(exchange, used)| match exchange.times {
                Times::Exactly(times) if *used < times => {
                    let name = name(exchange);
                    Some(match times {
                        1 => format!("{name} was scripted and never asked"),
                        times => format!("{name} was scripted {times} times and asked {used} times"),
                    })
                }
                _ => None,
            });
        left.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_used_up(times: Times, used: u32) -> bool {
    match times {
        Times::Exactly(times) => used >= times,
        Times::Any(_) => false,
    }
}

fn name(exchange: &Exchange) -> String {
    format!("{} {}", exchange.method.as_deref().unwrap_or("(any)"), exchange.url)
}

/// Why this exchange is not about this request; none if it is.
fn misfit(exchange: &Exchange, request: &StageRequest) -> Option<String> {
    if let Some(method) = &exchange.method
        && !method.eq_ignore_ascii_case(&request.method)
    {
        return Some(format!("the method is {}", request.method));
    }
    if !fits_url(&exchange.url, &request.url) {
        return Some(format!("the URL is {}", request.url));
    }
    for (name, wanted) in &exchange.headers {
        let mut values = request
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let found = values.next();
        let fits = found.is_some_and(|value| wanted == "*" || value == wanted) || values.any(|value| value == wanted);
        if !fits {
            return Some(match found {
                Some(value) => format!("the header `{name}` is `{value}`, not `{wanted}`"),
                None => format!("the header `{name}` is missing"),
            });
        }
    }
    let body = String::from_utf8_lossy(&request.body);
    if let Some(wanted) = &exchange.body
        && *wanted != body
    {
        return Some(format!("the body is {}", shown(&request.body)));
    }
    if let Some(missing) = exchange.body_contains.iter().find(|text| !body.contains(text.as_str())) {
        return Some(format!("the body does not hold `{missing}`: {}", shown(&request.body)));
    }
    if let Some(wanted) = &exchange.json {
        return match serde_json::from_slice::<Value>(&request.body) {
            Ok(found) => lacks(wanted, &found, "the body's").err(),
            Err(error) => Some(format!("the body is no JSON ({error}): {}", shown(&request.body))),
        };
    }
    None
}

/// Both as `url` writes them, so that `http://h` and `http://h/` are one.
fn fits_url(wanted: &str, found: &str) -> bool {
    if let Some(prefix) = wanted.strip_suffix('*') {
        return found.starts_with(prefix);
    }
    Url::parse(wanted).map_or_else(|_| wanted == found, |wanted| wanted.as_str() == found)
}

/// Whether everything in `wanted` is in `found`: objects may have more fields, lists are compared element by element,
/// and the text `*` stands for anything that is there. The error says what differs, and where.
pub(crate) fn lacks(wanted: &Value, found: &Value, place: &str) -> Result<(), String> {
    match (wanted, found) {
        (Value::String(any), found) if any == "*" && !found.is_null() => Ok(()),
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().try_for_each(|(name, wanted)| {
            let place = format!("{place} `{name}`");
            match found.get(name) {
                Some(found) => lacks(wanted, found, &place),
                None => Err(format!("{place} is missing")),
            }
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .try_for_each(|(index, (wanted, found))| lacks(wanted, found, &format!("{place} [{index}]"))),
        (wanted, found) if wanted == found => Ok(()),
        (wanted, found) => Err(format!("{place} is {found}, not {wanted}")),
    }
}

/// What was asked, and why nothing that is written fits: of the exchanges that are left, the most similar one.
fn stranger(request: &StageRequest, exchanges: &[(Exchange, u32)]) -> String {
    let StageRequest { method, url, .. } = request;
    let mut text = format!("{method} {url} was asked, and no [[http]] that is left fits");
    let mut near: Option<(bool, String)> = None;
    for (exchange, used) in exchanges {
        let same = fits_url(&exchange.url, url);
        let why = if is_used_up(exchange.times, *used) {
            format!("{}: is used up", name(exchange))
        } else {
            let why = misfit(exchange, request).unwrap_or_default();
            format!("{}: {why}", name(exchange))
        };
        if near.as_ref().is_none_or(|(best, _)| same && !best) {
            near = Some((same, why));
        }
    }
    if let Some((_, why)) = near {
        text.push_str("; nearest is ");
        text.push_str(&why);
    }
    text
}

fn reply(exchange: &Exchange) -> StageReply {
    match exchange.fault {
        Some(NetworkFault::Refused) => return StageReply::Refused,
        Some(NetworkFault::Timeout) => return StageReply::Timeout,
        Some(NetworkFault::Reset) => return StageReply::Reset,
        None => {}
    }
    let Answer {
        status,
        headers,
        body,
        json,
        takes_ms: _,
        cut,
    } = exchange.reply.clone().unwrap_or_default();
    let mut headers: Vec<(String, String)> = headers.into_iter().collect();
    let body = match (body, json) {
        (Some(body), _) => body,
        (None, Some(json)) => {
            if !headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            json.to_string()
        }
        (None, None) => String::new(),
    };
    StageReply::Answer {
        status,
        headers,
        body: Bytes::from(body),
        cut,
    }
}

fn words(reply: &StageReply) -> String {
    match reply {
        StageReply::Answer { status, cut: false, .. } => status.to_string(),
        StageReply::Answer { status, cut: true, .. } => format!("{status}, cut off"),
        StageReply::Refused => "refused".to_owned(),
        StageReply::Timeout => "timeout".to_owned(),
        StageReply::Reset => "reset".to_owned(),
    }
}

pub(crate) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), body.len()),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(toml: &str) -> Exchange {
        toml::from_str(toml).unwrap()
    }

    fn request(body: &str) -> StageRequest {
        StageRequest {
            method: "POST".to_owned(),
            url: "http://h/a?b=1".to_owned(),
            headers: vec![("x-key".to_owned(), "k".to_owned())],
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn a_request_fits_by_everything_that_is_said() {
        let fits = |toml: &str| misfit(&exchange(toml), &request(r#"{"a": {"b": [1, 2]}, "c": "x"}"#));
        for good in [
            "url = \"http://h/a?b=1\"",
            "url = \"http://h/*\"\nmethod = \"post\"\nheaders = { X-Key = \"k\" }",
            "url = \"*\"\njson = { a = { b = [1, 2] } }",
            "url = \"*\"\njson = { c = \"*\" }\nbody-contains = [\"[1, 2]\"]",
        ] {
            assert_eq!(fits(good), None, "{good}");
        }
        for (bad, why) in [
            ("url = \"http://h/a\"", "the URL is"),
            ("url = \"*\"\nmethod = \"GET\"", "the method is POST"),
            ("url = \"*\"\nheaders = { x-key = \"z\" }", "`x-key` is `k`, not `z`"),
            ("url = \"*\"\nheaders = { other = \"*\" }", "`other` is missing"),
            (
                "url = \"*\"\njson = { a = { b = [1, 3] } }",
                "the body's `a` `b` [1] is 2, not 3",
            ),
            ("url = \"*\"\njson = { d = \"*\" }", "`d` is missing"),
        ] {
            assert!(fits(bad).unwrap().contains(why), "{bad}: {:?}", fits(bad));
        }
    }

    #[test]
    fn what_is_used_up_or_never_asked_is_told() {
        let network = Network::default();
        network.add(&[
            exchange("url = \"http://h/a?b=1\"\ntimes = 2\nreply = { status = 503 }"),
            exchange("url = \"http://other/\""),
            exchange("url = \"http://maybe/\"\ntimes = \"any\""),
        ]);
        assert!(matches!(
            network.answer(request("")).0,
            StageReply::Answer { status: 503, .. }
        ));
        assert_eq!(network.left().len(), 2);
        network.answer(request(""));
        assert_eq!(network.answer(request("")).0, StageReply::Refused);
        let strangers = network.take_strangers();
        assert!(strangers[0].contains("http://h/a?b=1: is used up"), "{strangers:?}");
        assert_eq!(network.left(), ["(any) http://other/ was scripted and never asked"]);
    }
}
