//! What to send, and what an answer means. Nothing here calls the host.

use landfall_sdk::http::Statuses;
use landfall_sdk::{Call, Context, Failure, duration_ms, pair};

use crate::body::body;

/// Long enough for a receiver that does its work before it answers, short of the host's limit for a call.
const TIMEOUT: &str = "30s";

const HEADER: &str = "header.";

/// Everything that a request is made of.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) expected: Statuses,
    pub(crate) timeout_ms: u64,
    pub(crate) keyed: bool,
}

impl Delivery {
    pub(crate) fn of(call: &Call, context: &Context, config: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let url = setting(context, "url", &config)
            .ok_or_else(|| bad("`url` is missing; give it as a parameter or in the plugin's configuration"))?;
        let param = |name: &str| pair(&context.params, name);
        let expected = param("expect-status").map(Statuses::parse).transpose();
        let expected = expected
            .map_err(|why| bad(format!("`expect-status`: {why}")))?
            .unwrap_or_default();
        let timeout_ms =
            duration_ms(param("timeout").unwrap_or(TIMEOUT)).map_err(|why| bad(format!("`timeout`: {why}")))?;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let own = context
            .params
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(HEADER)?, value)));
        headers.extend(own.map(|(name, value)| (name.to_owned(), value.clone())));
        let key = key_header(context, &config);
        let keyed = key.is_some();
        headers.extend(key.map(|name| (name, call.key.clone())));
        Ok(Self {
            url,
            headers,
            body: body(call, context, is_own),
            expected,
            timeout_ms,
            keyed,
        })
    }
}

/// The header that carries the key, if the receiver is said to know one.
pub(crate) fn key_header(context: &Context, config: impl Fn(&str) -> Option<String>) -> Option<String> {
    setting(context, "key-header", config)
}

/// A parameter, else the configuration; empty text counts as absent.
fn setting(context: &Context, name: &str, config: impl Fn(&str) -> Option<String>) -> Option<String> {
    pair(&context.params, name)
        .map(str::to_owned)
        .or_else(|| config(name))
        .filter(|text| !text.is_empty())
}

/// Parameters for the request itself. Headers may hold a credential's placeholder, which must not reach a body.
fn is_own(name: &str) -> bool {
    matches!(name, "url" | "key-header" | "expect-status" | "timeout") || name.starts_with(HEADER)
}

fn bad(message: impl Into<String>) -> Failure {
    Failure::definite("bad-params", message)
}

/// Whether the answer means that the work is done, certainly not done, or neither.
pub(crate) fn judge(status: u16, expected: &Statuses, keyed: bool) -> Result<(), Failure> {
    let message = format!("the receiver answered {status}");
    let failure = match status {
        status if expected.contains(status) => return Ok(()),
        // Receivers that know keys say so while the first request under the key is being worked on.
        409 if keyed => Failure::in_doubt("conflict", message).retryable(),
        408 | 425 | 429 => Failure::definite("busy", message).retryable(),
        400..=499 => Failure::definite("refused", message),
        500..=599 => Failure::in_doubt("server-error", message).retryable(),
        _ => Failure::in_doubt("unexpected-status", message),
    };
    Err(failure.detail("status", status.to_string()))
}

#[cfg(test)]
mod tests {
    use landfall_sdk::{Consistency, Direction, FailoverKind, MachineContext};

    use super::*;

    fn call() -> Call {
        Call {
            installation: "i".to_owned(),
            epoch: 1,
            job: Some("j1".to_owned()),
            step: "s7".to_owned(),
            attempt: 1,
            key: "k-123".to_owned(),
            remaining_ms: 10_000,
            ext: vec![],
        }
    }

    fn context(params: &[(&str, &str)]) -> Context {
        let machine = MachineContext {
            item: "web-1".to_owned(),
            source_site: "a".to_owned(),
            target_site: "b".to_owned(),
            source_machine: Some("vm-1".to_owned()),
            target_machine: None,
            addresses: vec![],
            point: Some("p9".to_owned()),
            point_time_ms: Some(5),
            consistency: Some(Consistency::App),
            params: vec![],
            ext: vec![],
        };
        Context {
            plan: "hrweb".to_owned(),
            operation: "failover".to_owned(),
            kind: Some(FailoverKind::Planned),
            direction: Direction::Forward,
            group: Some("web".to_owned()),
            phase: "after".to_owned(),
            action: "tell".to_owned(),
            machines: vec![machine],
            outputs: vec![],
            params: params
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ext: vec![],
        }
    }

    fn nothing(_name: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_body_is_the_documented_one_and_holds_no_header() {
        let context = context(&[
            ("url", "http://h/"),
            ("header.X-Auth", "{{secret:hook}}"),
            ("colour", "red"),
        ]);
        let delivery = Delivery::of(&call(), &context, nothing).unwrap();
        assert_eq!(
            String::from_utf8(delivery.body).unwrap(),
            r#"{"plan":"hrweb","operation":"failover","kind":"planned","direction":"forward","group":"web","phase":"after","action":"tell","installation":"i","job":"j1","step":"s7","key":"k-123","machines":[{"item":"web-1","source_site":"a","target_site":"b","source_machine":"vm-1","target_machine":null,"addresses":[],"point":"p9","point_time_ms":5,"consistency":"app","params":{}}],"params":{"colour":"red"}}"#
        );
    }

    #[test]
    fn every_attempt_sends_the_same_bytes() {
        let context = context(&[("url", "http://h/")]);
        let bodies = [1, 2].map(|attempt| {
            let call = Call {
                attempt,
                remaining_ms: u64::from(attempt),
                ..call()
            };
            Delivery::of(&call, &context, nothing).unwrap().body
        });
        assert_eq!(bodies[0], bodies[1]);
    }

    #[test]
    fn the_key_goes_into_the_named_header_and_a_parameter_beats_the_configuration() {
        let config = |name: &str| Some(format!("configured-{name}"));
        let keyed = Delivery::of(&call(), &context(&[("key-header", "Idempotency-Key")]), config).unwrap();
        assert!(keyed.keyed);
        assert_eq!(keyed.url, "configured-url");
        assert!(
            keyed
                .headers
                .contains(&("Idempotency-Key".to_owned(), "k-123".to_owned()))
        );
        assert_eq!(
            key_header(&context(&[]), config).as_deref(),
            Some("configured-key-header")
        );
        assert_eq!(key_header(&context(&[]), nothing), None);
    }

    #[test]
    fn mistakes_in_parameters_are_definite() {
        for params in [
            &[][..],
            &[("url", "http://h/"), ("timeout", "soon")],
            &[("url", "http://h/"), ("expect-status", "ok")],
        ] {
            let failure = Delivery::of(&call(), &context(params), nothing).unwrap_err();
            assert!(failure.definite && !failure.retryable, "{params:?}");
        }
    }

    #[test]
    fn an_answer_is_done_definite_or_in_doubt() {
        let expected = Statuses::default();
        assert_eq!(judge(204, &expected, false), Ok(()));
        let verdict = |status, keyed| judge(status, &expected, keyed).map_err(|one| (one.definite, one.retryable));
        assert_eq!(verdict(404, false), Err((true, false)));
        assert_eq!(verdict(429, false), Err((true, true)));
        assert_eq!(verdict(409, false), Err((true, false)));
        assert_eq!(verdict(409, true), Err((false, true)));
        assert_eq!(verdict(503, true), Err((false, true)));
        assert_eq!(verdict(302, false), Err((false, false)));
        assert_eq!(judge(404, &Statuses::parse("404").unwrap(), false), Ok(()));
    }
}
