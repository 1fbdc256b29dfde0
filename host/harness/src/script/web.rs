//! HTTP in a case: which requests the network knows, and what was really asked.

use bytes::Bytes;
use landfall_runtime::{StageReply, StageRequest};
use serde_json::Value;
use url::Url;

use super::{is_used_up, lacks, never, shown};
use crate::case::{Answer, Exchange, NetworkFault};
use crate::report::Asked;

/// The exchanges, with how often each was used, and what was asked.
#[derive(Debug, Default, Clone)]
pub(super) struct Web {
    pub(super) exchanges: Vec<(Exchange, u32)>,
    pub(super) asked: Vec<(StageRequest, Asked)>,
}

impl Web {
    /// The first exchange that fits and is not used up, else why there is none.
    pub(super) fn answer(&mut self, request: &StageRequest) -> Result<(StageReply, u64), String> {
        let found = self
            .exchanges
            .iter_mut()
            .find(|(exchange, used)| !is_used_up(exchange.times, *used) && misfit(exchange, request).is_none());
        let Some((exchange, used)) = found else {
            return Err(stranger(request, &self.exchanges));
        };
        *used += 1;
        let took_ms = exchange.reply.as_ref().map_or(0, |reply| reply.takes_ms);
        Ok((reply(exchange), took_ms))
    }

    pub(super) fn note(&mut self, request: StageRequest, reply: &StageReply) {
        let asked = Asked {
            method: request.method.clone(),
            url: request.url.clone(),
            headers: request.headers.iter().cloned().collect(),
            body: shown(&request.body),
            answer: words(reply),
        };
        self.asked.push((request, asked));
    }

    /// Exchanges that were not used as often as they say.
    pub(super) fn left(&self) -> impl Iterator<Item = String> {
        let left = |(exchange, used): &(Exchange, u32)| never(&name(exchange), exchange.times, *used, "asked");
        self.exchanges.iter().filter_map(left)
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
        let exchanges = [
            exchange("url = \"http://h/a?b=1\"\ntimes = 2\nreply = { status = 503 }"),
            exchange("url = \"http://other/\""),
            exchange("url = \"http://maybe/\"\ntimes = \"any\""),
        ];
        let mut web = Web {
            exchanges: exchanges.map(|exchange| (exchange, 0)).to_vec(),
            asked: Vec::new(),
        };
        let answer = web.answer(&request("")).unwrap();
        assert!(matches!(answer.0, StageReply::Answer { status: 503, .. }));
        assert_eq!(web.left().count(), 2);
        web.answer(&request("")).unwrap();
        let why = web.answer(&request("")).unwrap_err();
        assert!(why.contains("http://h/a?b=1: is used up"), "{why}");
        let left: Vec<String> = web.left().collect();
        assert_eq!(left, ["(any) http://other/ was scripted and never asked"]);
    }
}
