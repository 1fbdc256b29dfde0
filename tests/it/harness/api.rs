//! HTTP, as a program speaks it: to the daemon with its token, to the lab without.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use super::PATIENCE;

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Api {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// A status, and what came with it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    fn of(mut response: Response<Body>) -> Self {
        // A ledger has more than the client's own limit.
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string();
        Self {
            status: response.status().as_u16(),
            text: text.expect("the answer is text"),
        }
    }

    /// What a refusal says, or anything else, as the type that is expected.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in answer {}", self.text))
    }

    /// As [`Self::json`], if the status says that all went well.
    pub(crate) fn ok<T: DeserializeOwned>(&self) -> T {
        assert!(self.status < 300, "status {}: {}", self.status, self.text);
        self.json()
    }
}

impl Api {
    pub(crate) fn new(base: &str, token: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            base: base.to_owned(),
            token: token.map(str::to_owned),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// `HOST:PORT`.
    pub(crate) fn authority(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    fn authorised<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// None: nobody answers.
    pub(crate) fn try_get(&self, path: &str) -> Option<Answer> {
        let mut response = self.authorised(self.agent.get(self.url(path))).call().ok()?;
        let status = response.status().as_u16();
        // One that dies in the middle of its answer has not answered.
        let text = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_string()
            .ok()?;
        Some(Answer { status, text })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.try_get(path).expect("somebody answers").ok()
    }

    /// For what is no text.
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        let mut response = self
            .authorised(self.agent.get(self.url(path)))
            .call()
            .expect("somebody answers");
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(u64::MAX).read_to_vec();
        assert!(status < 300, "status {status} for {path}");
        bytes.expect("the answer is whole")
    }

    pub(crate) fn delete(&self, path: &str) {
        let answer = self.authorised(self.agent.delete(self.url(path))).call();
        let _: Value = Answer::of(answer.expect("somebody answers")).ok();
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[])
    }

    /// For who may die before it answers.
    pub(crate) fn post_into_the_void(&self, path: &str, body: &Value) {
        let _ = self.authorised(self.agent.post(self.url(path))).send_json(body);
    }

    pub(crate) fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.authorised(self.agent.post(self.url(path)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send_json(body).expect("somebody answers"))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        let request = self.authorised(self.agent.patch(self.url(path)));
        Answer::of(request.send_json(body).expect("somebody answers"))
    }

    /// A stream of events, read as they come: the id and the data of each record.
    pub(crate) fn events(&self, path: &str, after: Option<&str>) -> impl Iterator<Item = (u64, Value)> + use<> {
        let mut request = self.authorised(self.agent.get(self.url(path)));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.call().expect("somebody answers");
        let mut lines = BufReader::new(response.into_body().into_reader()).lines();
        std::iter::from_fn(move || {
            let (mut id, mut data, mut event) = (None, None, String::new());
            loop {
                let line = lines.next()?.ok()?;
                match line.split_once(':') {
                    Some(("id", value)) => id = value.trim().parse().ok(),
                    Some(("data", value)) => data = serde_json::from_str(value.trim()).ok(),
                    Some(("event", value)) => value.trim().clone_into(&mut event),
                    _ if line.is_empty() && event == "record" => return Some((id?, data?)),
                    _ => {}
                }
            }
        })
    }
}
