//! What to ask of a machine, and whether its answer is the expected one. Nothing here calls the host.

use landfall_sdk::http::{Statuses, encode_component};
use landfall_sdk::{Failure, MachineContext, duration_ms, pair};

/// A machine with a few services boots in less; one that needs longer says so in the plan.
const TIMEOUT: &str = "5m";

/// Seldom enough not to load a machine that is just starting.
const INTERVAL: &str = "5s";

/// The action's parameters, understood.
#[derive(Debug)]
pub(crate) struct Check {
    url: String,
    status: Statuses,
    body: Option<String>,
    pub(crate) timeout_ms: u64,
    pub(crate) interval_ms: u64,
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Up(u16),
    /// With what was wrong.
    Down(String),
}

impl Check {
    pub(crate) fn of(params: &[(String, String)]) -> Result<Self, Failure> {
        let url = pair(params, "url")
            .ok_or_else(|| bad("`url` is missing; give it as in `http://{address}:8080/health`".to_owned()))?;
        let status = pair(params, "expect-status").map(Statuses::parse).transpose();
        let duration = |name: &str, default: &str| {
            duration_ms(pair(params, name).unwrap_or(default)).map_err(|why| bad(format!("`{name}`: {why}")))
        };
        Ok(Self {
            url: url.to_owned(),
            status: status
                .map_err(|why| bad(format!("`expect-status`: {why}")))?
                .unwrap_or_default(),
            body: pair(params, "expect-body").map(str::to_owned),
            timeout_ms: duration("timeout", TIMEOUT)?,
            interval_ms: duration("interval", INTERVAL)?,
        })
    }

    /// The URL with the machine's own values; the error says which of them it does not have yet.
    pub(crate) fn url_for(&self, machine: &MachineContext) -> Result<String, String> {
        let mut url = self.url.replace("{item}", &encode_component(&machine.item));
        url = url.replace("{site}", &encode_component(&machine.target_site));
        if url.contains("{machine}") {
            let id = machine
                .target_machine
                .as_deref()
                .ok_or("it does not exist at the target yet")?;
            url = url.replace("{machine}", &encode_component(id));
        }
        if url.contains("{address}") {
            let address = machine.addresses.first().ok_or("it has no address yet")?;
            // Only IPv6 has colons, and wants brackets in a URL.
            let host = if address.contains(':') {
                format!("[{address}]")
            } else {
                encode_component(address)
            };
            url = url.replace("{address}", &host);
        }
        Ok(url)
    }

    /// The body is read only if it can still decide.
    pub(crate) fn needs_body(&self, status: u16) -> bool {
        self.body.is_some() && self.status.contains(status)
    }

    pub(crate) fn judge(&self, status: u16, body: &str) -> Seen {
        match &self.body {
            _ if !self.status.contains(status) => Seen::Down(format!("answered {status}")),
            Some(text) if !body.contains(text.as_str()) => Seen::Down(format!("answered {status} without `{text}`")),
            _ => Seen::Up(status),
        }
    }
}

fn bad(message: String) -> Failure {
    Failure::definite("bad-params", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::testing::machine;

    fn check(params: &[(&str, &str)]) -> Result<Check, Failure> {
        let params: Vec<_> = params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Check::of(&params)
    }

    #[test]
    fn fills_in_what_belongs_to_the_machine() {
        let check = check(&[("url", "http://{address}:8080/{site}/{item}?m={machine}")]).unwrap();
        let mut web = machine("web/1");
        assert_eq!(check.url_for(&web).unwrap(), "http://10.0.0.5:8080/b/web%2F1?m=vm-9");
        web.addresses = vec!["fe80::1".to_owned()];
        assert!(check.url_for(&web).unwrap().starts_with("http://[fe80::1]:8080/"));
        web.addresses.clear();
        assert_eq!(check.url_for(&web).unwrap_err(), "it has no address yet");
    }

    #[test]
    fn judges_status_and_body() {
        let check = check(&[("url", "http://h/"), ("expect-status", "200"), ("expect-body", "ready")]).unwrap();
        assert_eq!(check.judge(200, "is ready"), Seen::Up(200));
        assert_eq!(
            check.judge(200, "starting"),
            Seen::Down("answered 200 without `ready`".to_owned())
        );
        assert_eq!(check.judge(503, ""), Seen::Down("answered 503".to_owned()));
        assert!(check.needs_body(200) && !check.needs_body(503));
    }

    #[test]
    fn mistakes_in_parameters_are_definite() {
        for params in [
            &[][..],
            &[("url", "http://h/"), ("timeout", "soon")],
            &[("url", "http://h/"), ("expect-status", "ok")],
        ] {
            assert!(check(params).unwrap_err().definite, "{params:?}");
        }
    }
}
