//! A stage: what stands in for the world while a plugin is tested.
//!
//! Everything that a plugin can tell the world by passes here instead: a clock that moves only as the test says, random
//! bytes from a seed, HTTP answers and far sides of connections from a script, and secrets with values that are none.
//! Grants, addresses, limits and body sizes are checked before, as always, so a test sees the refusals that the operator
//! would. A stage can also leave the network in place and only watch, for conformance runs against a real site.
//!
//! A binding without a stage, which is every binding of the daemon, pays one comparison for all this.

mod clock;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::Instant;
use wasmtime_wasi_http::Error;

use crate::dial::{CONNECT_TIMEOUT, DialError};
use crate::durable::{MemoryState, Shelves};
use crate::grants::Denial;
use crate::secret::{Secret, SecretError};
use crate::session::Session;
use crate::transport::{Key, Pool, Socket};

pub use clock::StageClock;

/// A request as the guest made it: before the host added a credential or replaced a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRequest {
    /// `GET`, `POST`, ...
    pub method: String,
    /// As it was checked.
    pub url: String,
    /// Names in lower case; values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageReply {
    /// An answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// Header lines.
        headers: Vec<(String, String)>,
        /// The body, or what comes of it.
        body: Bytes,
        /// The connection breaks after the body.
        cut: bool,
    },
    /// Nobody listens: the request certainly did not arrive.
    Refused,
    /// No answer in the time that the guest waits.
    Timeout,
    /// The connection broke before an answer came: the request may have arrived.
    Reset,
}

/// A line that the guest logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// With control characters escaped.
    pub text: String,
}

/// A connection that the guest wants, and may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageDial {
    /// The name under which the operator granted it.
    pub endpoint: String,
    /// None for a Unix socket.
    pub port: Option<u16>,
    /// What must have been agreed on a warm one.
    pub tag: String,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageFault {
    /// Nobody listens.
    Refused,
    /// Nobody answers in the time that the host waits.
    Timeout,
    /// One side does not accept the other's certificate.
    Tls,
}

/// Makes the far side of a new connection. What it has to say it says at once, or [expects](StageClock::expect) to.
pub type Dial = Box<dyn Fn(StageDial) -> Result<Box<dyn Socket>, StageFault> + Send + Sync>;

/// Answers a request. The second value is how long the answer took, in milliseconds of the stage's clock.
pub type Script = Box<dyn Fn(StageRequest) -> (StageReply, u64) + Send + Sync>;

/// Sees a request and what came back, or why nothing did.
pub type Watcher = Box<dyn Fn(StageRequest, Result<StageReply, String>) + Send + Sync>;

/// A world of which nothing is real.
pub struct Scenery {
    /// Moves as the test says, and by what guests wait for.
    pub clock: StageClock,
    /// What random follows from.
    pub seed: u64,
    /// The network.
    pub answer: Script,
    /// The endpoints.
    pub dial: Dial,
    /// What plugins have kept, and where they keep it.
    pub state: Arc<MemoryState>,
    /// What is not forgotten yet when the test begins.
    pub session: BTreeMap<String, Vec<u8>>,
    /// Values of secrets, by name.
    pub secrets: BTreeMap<String, String>,
}

impl Scenery {
    /// Nobody is there, and nothing was kept.
    pub fn empty(now_ms: u64) -> Self {
        Self {
            clock: StageClock::at(now_ms),
            seed: 0,
            answer: Box::new(|_| (StageReply::Refused, 0)),
            dial: Box::new(|_| Err(StageFault::Refused)),
            state: Arc::default(),
            session: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }
}

/// See the module.
pub struct Stage {
    /// None: the host's own clock, random bytes and network.
    scripted: Option<Scripted>,
    watcher: Option<Watcher>,
    /// What plugins keep on this stage; nobody else sees it.
    pub(crate) shelves: Shelves,
    lines: Mutex<Vec<StageLine>>,
    denials: Mutex<Vec<Denial>>,
}

struct Scripted {
    clock: StageClock,
    random: Mutex<u64>,
    answer: Script,
    dial: Dial,
    /// Of connections to scripted far sides; they outlive no stage.
    pool: Arc<Pool>,
    session: BTreeMap<String, Vec<u8>>,
    secrets: BTreeMap<String, Secret>,
}

impl Stage {
    /// Nothing is real.
    pub fn scripted(scenery: Scenery) -> Self {
        let Scenery {
            clock,
            seed,
            answer,
            dial,
            state,
            session,
            secrets,
        } = scenery;
        let secret = |(name, value): (String, String)| (name, Secret::new(value.into_bytes()));
        let scripted = Scripted {
            clock,
            // Zero would stay zero.
            random: Mutex::new(seed | 1 << 63),
            answer,
            dial,
            pool: Arc::default(),
            session,
            secrets: secrets.into_iter().map(secret).collect(),
        };
        Self {
            scripted: Some(scripted),
            watcher: None,
            shelves: Shelves::new(state),
            lines: Mutex::default(),
            denials: Mutex::default(),
        }
    }

    /// Everything is real, and `watcher` sees the traffic.
    pub fn watched(watcher: Watcher) -> Self {
        Self {
            scripted: None,
            watcher: Some(watcher),
            shelves: Shelves::new(Arc::new(MemoryState::default())),
            lines: Mutex::default(),
            denials: Mutex::default(),
        }
    }

    /// The scripted clock.
    pub fn clock(&self) -> Option<&StageClock> {
        self.scripted.as_ref().map(|scripted| &scripted.clock)
    }

    /// What the scripted clock says, in milliseconds since 1970.
    pub fn now_ms(&self) -> Option<u64> {
        self.clock().map(StageClock::now_ms)
    }

    /// Moves the scripted clock on.
    pub fn advance(&self, milliseconds: u64) {
        if let Some(clock) = self.clock() {
            clock.advance(milliseconds);
        }
    }

    /// A call begins, and has this long. By the stage's clock, so that what a guest learns of it is every time alike.
    pub(crate) fn begin(&self, wall: Duration) {
        if let Some(clock) = self.clock() {
            clock.begin(wall);
        }
    }

    /// Resolves when the time of the call that runs now is up by the scripted clock; never by the real one.
    pub(crate) async fn over(&self) {
        match self.clock() {
            Some(clock) => clock.over().await,
            None => std::future::pending().await,
        }
    }

    /// What is left of the call that runs now, in milliseconds of the scripted clock.
    pub(crate) fn left_ms(&self) -> Option<u64> {
        self.clock().map(StageClock::left_ms)
    }

    /// What the scripted clock says, as a moment.
    pub(crate) fn instant(&self) -> Option<Instant> {
        self.clock().map(StageClock::instant)
    }

    /// Where scripted connections are kept warm.
    pub(crate) fn pool(&self) -> Option<Arc<Pool>> {
        self.scripted.as_ref().map(|scripted| Arc::clone(&scripted.pool))
    }

    /// A session as the test has it begin.
    pub(crate) fn session(&self) -> Session {
        let session = Session::default();
        if let Some(scripted) = &self.scripted {
            for (key, value) in &scripted.session {
                // What has no room is forgotten, as it may be at any time.
                let _ = session.set(key.clone(), value.clone(), None, scripted.clock.instant());
            }
        }
        session
    }

    /// The test's value of a secret, where there is a script: else the operator's counts.
    pub(crate) fn secret(&self, name: &str) -> Option<Result<Secret, SecretError>> {
        let found = self.scripted.as_ref()?.secrets.get(name).cloned();
        let none = || SecretError::Unfit("the test gives it no value".to_owned());
        Some(found.ok_or_else(none))
    }

    /// The script's far side, if there is a script.
    pub(crate) async fn dial(&self, key: &Key) -> Option<Result<Box<dyn Socket>, DialError>> {
        let scripted = self.scripted.as_ref()?;
        let wanted = StageDial {
            endpoint: key.name.clone(),
            port: key.port,
            tag: key.tag.clone(),
        };
        Some(match (scripted.dial)(wanted) {
            Ok(socket) => Ok(socket),
            Err(StageFault::Refused) => Err(DialError::Unreachable(io::ErrorKind::ConnectionRefused.into())),
            Err(StageFault::Tls) => Err(DialError::Tls(io::Error::other("the certificate is not accepted"))),
            Err(StageFault::Timeout) => {
                let wait = u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
                scripted.clock.pass(wait).await;
                Err(DialError::Timeout)
            }
        })
    }

    /// The lines logged since this was last asked.
    pub fn take_lines(&self) -> Vec<StageLine> {
        std::mem::take(&mut lock(&self.lines))
    }

    /// What was refused since this was last asked.
    pub fn take_denials(&self) -> Vec<Denial> {
        std::mem::take(&mut lock(&self.denials))
    }

    pub(crate) fn note_line(&self, level: &'static str, text: String) {
        lock(&self.lines).push(StageLine { level, text });
    }

    pub(crate) fn note_denials(&self, denials: Vec<Denial>) {
        lock(&self.denials).extend(denials);
    }

    /// The next bytes of xorshift64*, whose high half is the good one; none if random is real.
    pub(crate) fn random(&self, bytes: &mut [u8]) -> bool {
        let Some(scripted) = &self.scripted else {
            return false;
        };
        let mut state = lock(&scripted.random);
        for byte in bytes {
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            *byte = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0];
        }
        true
    }

    /// The script's answer, if there is a script. `patience` is how long the guest would wait, if it said.
    pub(crate) fn answer(
        &self,
        request: StageRequest,
        patience: Option<Duration>,
    ) -> Option<Result<http::Response<reqwest::Body>, Error>> {
        let scripted = self.scripted.as_ref()?;
        let (reply, took_ms) = (scripted.answer)(request);
        let asked = patience.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
        let left = self.left_ms().unwrap_or(u64::MAX);
        let patience = asked.unwrap_or(left).min(left);
        let late = took_ms > patience || reply == StageReply::Timeout;
        self.advance(if late { patience } else { took_ms });
        if late {
            return Some(Err(Error::ConnectionReadTimeout));
        }
        Some(match reply {
            StageReply::Answer {
                status,
                headers,
                body,
                cut,
            } => response(status, &headers, body, cut),
            StageReply::Refused => Err(Error::ConnectionRefused),
            StageReply::Timeout => Err(Error::ConnectionReadTimeout),
            StageReply::Reset => Err(Error::ConnectionTerminated),
        })
    }

    /// Shows the watcher, if there is one, what really came, and gives it on.
    pub(crate) async fn show(
        &self,
        request: StageRequest,
        response: Result<http::Response<reqwest::Body>, Error>,
    ) -> Result<http::Response<reqwest::Body>, Error> {
        let Some(watcher) = &self.watcher else {
            return response;
        };
        let (parts, body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => {
                watcher(request, Err(error.to_string()));
                return Err(error);
            }
        };
        let (body, cut) = match body.collect().await {
            Ok(collected) => (collected.to_bytes(), false),
            // How much came is not known to the collector; what the guest must see is that it broke.
            Err(_) => (Bytes::new(), true),
        };
        let reply = StageReply::Answer {
            status: parts.status.as_u16(),
            headers: texts(&parts.headers),
            body: body.clone(),
            cut,
        };
        watcher(request, Ok(reply));
        Ok(http::Response::from_parts(parts, stream(body, cut)))
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.scripted.is_some() { "scripted" } else { "watched" };
        write!(out, "Stage({what})")
    }
}

/// Header lines that are text.
pub(crate) fn texts(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

fn response(
    status: u16,
    headers: &[(String, String)],
    body: Bytes,
    cut: bool,
) -> Result<http::Response<reqwest::Body>, Error> {
    let start = http::Response::builder().status(status);
    let built = headers
        .iter()
        .fold(start, |response, (name, value)| response.header(name, value))
        .body(stream(body, cut));
    built.map_err(|error| Error::InternalError(Some(format!("the script's answer: {error}"))))
}

fn stream(body: Bytes, cut: bool) -> reqwest::Body {
    if !cut {
        return body.into();
    }
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    reqwest::Body::wrap_stream(futures_util::stream::iter([Ok(body), Err(broken)]))
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(now: u64, seed: u64) -> Stage {
        Stage::scripted(Scenery {
            seed,
            answer: Box::new(|_| (StageReply::Timeout, 0)),
            ..Scenery::empty(now)
        })
    }

    #[test]
    fn random_follows_from_the_seed_and_never_dries_up() {
        let draw = |seed| {
            let mut bytes = [0; 64];
            assert!(silent(0, seed).random(&mut bytes));
            bytes
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(0).iter().any(|byte| *byte != 0));
    }

    #[test]
    fn a_timeout_takes_as_long_as_the_guest_waits() {
        let stage = silent(1_000, 1);
        let request = StageRequest {
            method: "GET".to_owned(),
            url: "http://h/".to_owned(),
            headers: vec![],
            body: Bytes::new(),
        };
        let answer = stage.answer(request, Some(Duration::from_secs(3))).unwrap();
        assert!(matches!(answer, Err(Error::ConnectionReadTimeout)));
        assert_eq!(stage.now_ms(), Some(4_000));
    }
}
