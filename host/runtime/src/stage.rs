//! A stage: what stands in for the world while a plugin is tested.
//!
//! Everything that a plugin can tell the world by passes here instead: a clock that moves only as the test says, random
//! bytes from a seed, and HTTP answers from a script. Grants, addresses, limits and body sizes are checked before, as
//! always, so a test sees the refusals that the operator would. A stage can also leave the network in place and only
//! watch, for conformance runs against a real site.
//!
//! A binding without a stage, which is every binding of the daemon, pays one comparison for all this.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use wasmtime_wasi_http::Error;

use crate::durable::{MemoryState, Shelves};
use crate::grants::Denial;

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

/// Answers a request. The second value is how long the answer took, in milliseconds of the stage's clock.
pub type Script = Box<dyn Fn(StageRequest) -> (StageReply, u64) + Send + Sync>;

/// Sees a request and what came back, or why nothing did.
pub type Watcher = Box<dyn Fn(StageRequest, Result<StageReply, String>) + Send + Sync>;

/// See the module.
pub struct Stage {
    /// None: the host's own clock and random bytes.
    scripted: Option<Scripted>,
    watcher: Option<Watcher>,
    /// What plugins keep on this stage; nobody else sees it.
    pub(crate) shelves: Shelves,
    lines: Mutex<Vec<StageLine>>,
    denials: Mutex<Vec<Denial>>,
}

struct Scripted {
    now_ms: AtomicU64,
    /// When the call that runs now has used up its wall-clock limit, by this clock.
    ends_ms: AtomicU64,
    random: Mutex<u64>,
    answer: Script,
}

impl Stage {
    /// Nothing is real: the clock stands at `now_ms`, random follows from the seed, `answer` is the network.
    pub fn scripted(now_ms: u64, seed: u64, answer: Script) -> Self {
        Self {
            scripted: Some(Scripted {
                now_ms: AtomicU64::new(now_ms),
                ends_ms: AtomicU64::new(u64::MAX),
                // Zero would stay zero.
                random: Mutex::new(seed | 1 << 63),
                answer,
            }),
            watcher: None,
            shelves: Shelves::new(Arc::new(MemoryState::default())),
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

    /// The scripted clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> Option<u64> {
        self.scripted
            .as_ref()
            .map(|scripted| scripted.now_ms.load(Ordering::Acquire))
    }

    /// Moves the scripted clock on.
    pub fn advance(&self, milliseconds: u64) {
        if let Some(scripted) = &self.scripted {
            let later = |now: u64| Some(now.saturating_add(milliseconds));
            // The closure always gives a value.
            let _ = scripted.now_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
        }
    }

    /// A call begins, and has this long. By the stage's clock, so that what a guest learns of it is every time alike.
    pub(crate) fn begin(&self, wall: Duration) {
        if let Some(scripted) = &self.scripted {
            let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
            let ends = scripted.now_ms.load(Ordering::Acquire).saturating_add(wall);
            scripted.ends_ms.store(ends, Ordering::Release);
        }
    }

    /// What is left of the call that runs now, in milliseconds of the scripted clock.
    pub(crate) fn left_ms(&self) -> Option<u64> {
        let scripted = self.scripted.as_ref()?;
        let (ends, now) = (
            scripted.ends_ms.load(Ordering::Acquire),
            scripted.now_ms.load(Ordering::Acquire),
        );
        Some(ends.saturating_sub(now))
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
        Stage::scripted(now, seed, Box::new(|_| (StageReply::Timeout, 0)))
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
        stage.advance(u64::MAX);
        assert_eq!(stage.now_ms(), Some(u64::MAX));
    }
}
