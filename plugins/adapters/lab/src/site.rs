//! The lab's API as this adapter uses it: one base address, JSON both ways, and failures in the contract's words.
//!
//! What matters is the honesty about failures. The lab's own are passed on as they are. A request that certainly was
//! not sent is a definite failure; any other missing answer leaves the effect in doubt.

use landfall_sdk::buffers::Buffer;
use landfall_sdk::http::{Error, Method, Request, Response, encode_component};
use landfall_sdk::{Failure, config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long a read may take: the lab answers reads at once unless it was told to be slow, and a site that does not
/// answer for this long is as good as gone.
const READ_TIMEOUT_MS: u64 = 10_000;

/// The site that the operator configured.
pub(crate) struct Site {
    /// `URL/sites/SITE`
    base: String,
}

/// The lab's form of a failure.
#[derive(Deserialize)]
pub(crate) struct LabFailure {
    code: String,
    message: String,
    retryable: bool,
    definite: bool,
}

impl From<LabFailure> for Failure {
    fn from(failure: LabFailure) -> Self {
        let LabFailure {
            code,
            message,
            retryable,
            definite,
        } = failure;
        Self {
            code,
            message,
            retryable,
            definite,
            details: Vec::new(),
        }
    }
}

impl Site {
    /// Reads `url` and `site`.
    pub(crate) fn configured() -> Result<Self, Failure> {
        Self::named(config::get("url"), config::get("site"))
    }

    fn named(url: Option<String>, site: Option<String>) -> Result<Self, Failure> {
        let missing = |name: &str| {
            Failure::definite(
                "not-configured",
                format!("the site's configuration has no `{name}`; see the adapter's schema"),
            )
        };
        let url = url.filter(|url| !url.is_empty()).ok_or_else(|| missing("url"))?;
        let site = site.filter(|site| !site.is_empty()).ok_or_else(|| missing("site"))?;
        Ok(Self {
            base: format!("{}/sites/{}", url.trim_end_matches('/'), encode_component(&site)),
        })
    }

    /// Reads something.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = Request::get(&self.address(path))
            .map_err(unreachable)?
            .timeout_ms(READ_TIMEOUT_MS);
        parsed(request.send().map_err(unreachable)?)
    }

    /// Sends something that can have an effect, or wait.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, timeout_ms: u64) -> Result<T, Failure> {
        let request = Request::post(&self.address(path)).map_err(unreachable)?;
        let request = request
            .header("content-type", "application/json")
            .timeout_ms(timeout_ms);
        parsed(request.body(body.to_string()).send().map_err(unreachable)?)
    }

    /// Appends bytes to the buffer and says how many. They do not enter the plugin.
    pub(crate) fn download(&self, path: &str, buffer: &Buffer) -> Result<u64, Failure> {
        let response = Request::get(&self.address(path))
            .map_err(unreachable)?
            .send()
            .map_err(unreachable)?;
        checked(response)?.into_buffer(buffer).map_err(unreachable)
    }

    /// Sends what the buffer holds. The bytes do not enter the plugin.
    pub(crate) fn upload(&self, path: &str, buffer: &Buffer) -> Result<(), Failure> {
        let request = Request::new(Method::Put, &self.address(path)).map_err(unreachable)?;
        let request = request.header("content-type", "application/octet-stream");
        checked(request.send_from(buffer).map_err(unreachable)?).map(drop)
    }

    fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}

/// What is not a success becomes the failure that it names.
fn checked(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if (200..300).contains(&status) {
        return Ok(response);
    }
    Err(refusal(status, &response.bytes().map_err(unreachable)?))
}

fn refusal(status: u16, body: &[u8]) -> Failure {
    match serde_json::from_slice::<LabFailure>(body) {
        Ok(failure) => failure.into(),
        Err(_) => Failure::in_doubt(
            "unexpected-answer",
            format!("the lab answered {status} and did not say why"),
        ),
    }
}

fn parsed<T: DeserializeOwned>(response: Response) -> Result<T, Failure> {
    let bytes = checked(response)?.bytes().map_err(unreachable)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::in_doubt(
            "unexpected-answer",
            format!("the lab's answer is not what this adapter knows: {error}"),
        )
    })
}

/// One code for a site that does not answer, however it does not; whether the request was sent is in `definite`.
fn unreachable(error: Error) -> Failure {
    match error {
        Error::NotSent(_) | Error::InDoubt(_) | Error::Unreadable(_) => Failure {
            code: "unreachable".to_owned(),
            ..Failure::from(error)
        },
        Error::Invalid(_) | Error::Denied => error.into(),
    }
}

/// `name=value` pairs as a query, without those that have no value.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given = pairs
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode_component((*value)?))));
    given.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_configured_site() {
        let site = Site::named(Some("http://127.0.0.1:7000/".into()), Some("a b".into())).unwrap();
        assert_eq!(site.address("networks"), "http://127.0.0.1:7000/sites/a%20b/networks");
        assert_eq!(
            Site::named(None, Some("a".into())).err().unwrap().code,
            "not-configured"
        );
    }

    #[test]
    fn only_what_was_not_sent_is_definite() {
        let refused = unreachable(Error::NotSent("connection refused".into()));
        assert_eq!(
            (&*refused.code, refused.retryable, refused.definite),
            ("unreachable", true, true)
        );
        let silent = unreachable(Error::InDoubt("connection terminated".into()));
        assert_eq!(
            (&*silent.code, silent.retryable, silent.definite),
            ("unreachable", true, false)
        );
        assert_eq!(unreachable(Error::Denied).code, "denied");
    }

    #[test]
    fn the_labs_failures_are_passed_on() {
        let body = br#"{"code":"stale-epoch","message":"over","retryable":false,"definite":true}"#;
        let failure = refusal(409, body);
        assert_eq!((&*failure.code, failure.definite), ("stale-epoch", true));
        assert!(!refusal(502, b"<html>").definite);
    }

    #[test]
    fn a_query_leaves_out_what_is_none() {
        assert_eq!(
            query(&[("since", None), ("mark", Some("m/1")), ("cursor", Some("5"))]),
            "mark=m%2F1&cursor=5"
        );
    }
}
