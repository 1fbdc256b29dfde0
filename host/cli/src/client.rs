//! Speaks the daemon's HTTP API. Every answer is either the type that was asked for or a `Failure`.

pub(crate) mod events;

use std::time::Duration;

use landfall_daemon::api::wire::Problem;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::{Connection, Token};
use crate::failure::Failure;

/// The daemon is on this machine or near: who does not take a connection within this time does not answer.
const CONNECT: Duration = Duration::from_secs(5);

/// Preflight asks whole sites before the daemon answers; longer than this nobody waits without a word.
const ANSWER: Duration = Duration::from_mins(5);

/// How often a request that may be repeated is sent when the connection breaks before its answer.
const TRIES: u32 = 3;

/// Between two of these.
const PAUSE: Duration = Duration::from_millis(500);

/// A daemon's client.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Token,
}

impl Client {
    /// Nothing is sent yet.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let address = connection.address();
        let wrong = |why: String| Failure::Usage(format!("`{address}` is no address of a daemon: {why}"));
        let base = Url::parse(&address).map_err(|error| wrong(error.to_string()))?;
        if base.cannot_be_a_base() || base.host().is_none() {
            return Err(wrong("write it as http://HOST:PORT".to_owned()));
        }
        // A proxy has no business between an operator and a daemon on the same machine.
        let http = reqwest::Client::builder().connect_timeout(CONNECT).no_proxy().build();
        let http = http.map_err(|error| Failure::Internal(format!("cannot set up HTTP: {error}")))?;
        Ok(Self {
            http,
            base,
            token: connection.token(),
        })
    }

    /// Where it speaks to.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Reads.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        self.get_where(path, &[]).await
    }

    /// Reads, with parameters.
    pub(crate) async fn get_where<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let response = self
            .send(self.request(Method::GET, &api(path), query).timeout(ANSWER))
            .await?;
        self.json(response).await
    }

    /// Reads text that needs no token: `/livez`, `/readyz`.
    pub(crate) async fn probe(&self, path: &str) -> Result<(StatusCode, HeaderMap), Failure> {
        let response = self
            .exchange(self.request(Method::GET, &[path], &[]).timeout(CONNECT))
            .await?;
        Ok((response.status(), response.headers().clone()))
    }

    /// Reads from outside `/api/v1`.
    pub(crate) async fn get_root<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self
            .send(self.request(Method::GET, &[path], &[]).timeout(ANSWER))
            .await?;
        self.json(response).await
    }

    /// Puts a document.
    pub(crate) async fn put_text<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        text: String,
    ) -> Result<T, Failure> {
        let request = self.request(Method::PUT, &api(path), query).timeout(ANSWER);
        let response = self
            .send(request.header(CONTENT_TYPE, "application/yaml").body(text))
            .await?;
        self.json(response).await
    }

    /// Asks for something. The key makes it safe to ask again when the answer got lost, which is done here.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<T, Failure> {
        let key = uuid::Uuid::now_v7().to_string();
        let mut tries = 1;
        loop {
            let request = self.request(Method::POST, &api(path), &[]).timeout(ANSWER);
            let sent = self.send(request.header("idempotency-key", &key).json(body)).await;
            match sent {
                Err(Failure::Unreachable { source, .. }) if tries < TRIES && !source.is_connect() => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => return self.json(other?).await,
            }
        }
    }

    /// Removes.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        self.send(self.request(Method::DELETE, &api(path), &[]).timeout(ANSWER))
            .await
            .map(|_| ())
    }

    /// Opens a job's stream of events, behind the one that was seen last.
    pub(crate) async fn events(&self, job: &str, seen: Option<&str>) -> Result<Response, Failure> {
        let mut request = self.request(Method::GET, &api(&["jobs", job, "events"]), &[]);
        request = request.header(ACCEPT, "text/event-stream");
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        self.send(request).await
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        // Only an address without a host has no segments, and `new` refused those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token.value {
            Ok(token) => request.bearer_auth(token),
            Err(_) => request,
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let unreachable = |source| Failure::Unreachable {
            url: self.address().to_owned(),
            source,
        };
        request.send().await.map_err(|error| unreachable(error.without_url()))
    }

    /// Sends, and takes every status but success for a failure.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.exchange(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if let (StatusCode::UNAUTHORIZED, Err(error)) = (status, &self.token.value) {
            let source = std::io::Error::new(error.kind(), error.to_string());
            return Err(Failure::NoToken {
                path: self.token.path.clone(),
                source,
            });
        }
        match response.json::<Problem>().await {
            Ok(problem) => Err(Failure::Problem(Box::new(problem))),
            Err(_) => Err(self.stranger(format!("status {status} without an explanation"))),
        }
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        response.json().await.map_err(|error| {
            if error.is_decode() {
                let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                return self.stranger(format!("its answer cannot be read: {cause}"));
            }
            Failure::Unreachable {
                url: self.address().to_owned(),
                source: error.without_url(),
            }
        })
    }

    fn stranger(&self, why: String) -> Failure {
        Failure::Stranger {
            url: self.address().to_owned(),
            why,
        }
    }
}

/// The path below `/api/v1`. Segments are encoded one by one, so a name cannot climb out of its place.
fn api<'a>(path: &[&'a str]) -> Vec<&'a str> {
    [&["api", "v1"], path].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(server: &str) -> Result<Client, Failure> {
        Client::new(&Connection {
            server: Some(server.to_owned()),
            ..Connection::default()
        })
    }

    #[test]
    fn names_stay_in_their_segment() {
        let client = client("http://127.0.0.1:7420/").unwrap();
        let request = client.request(
            Method::GET,
            &api(&["items", "../jobs?x"]),
            &[("refresh", "true".to_owned())],
        );
        let url = request.build().unwrap().url().to_string();
        assert_eq!(url, "http://127.0.0.1:7420/api/v1/items/..%2Fjobs%3Fx?refresh=true");
    }

    #[test]
    fn an_address_needs_a_host() {
        assert!(matches!(client("7420"), Err(Failure::Usage(_))));
        assert!(matches!(client("unix:/run/landfall"), Err(Failure::Usage(_))));
    }
}
