//! The site's web API: what it answers, and what its errors mean.

use landfall_sdk::http::Request;
use landfall_sdk::{Failure, ProbeAnswer, Progress, Running, config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A call has 30 seconds: whoever does not answer in this time is down, and there is time left to say so.
const PATIENCE_MS: u64 = 10_000;

#[derive(Deserialize)]
pub struct Page {
    pub machines: Vec<Machine>,
    pub next: Option<String>,
}

#[derive(Deserialize)]
pub struct Machine {
    pub id: String,
    pub name: String,
    pub origin: String,
    pub power: String,
    pub cpus: Option<u32>,
    pub memory_bytes: Option<u64>,
}

#[derive(Deserialize)]
pub struct Networks {
    pub networks: Vec<Network>,
}

#[derive(Deserialize)]
pub struct Network {
    pub id: String,
    pub name: String,
    pub isolated: bool,
}

#[derive(Deserialize)]
pub struct PowerState {
    pub power: String,
    pub autostart: Option<bool>,
}

#[derive(Deserialize)]
pub struct Tasks {
    pub tasks: Vec<Task>,
}

#[derive(Deserialize)]
pub struct Task {
    pub state: String,
    pub handle: Option<String>,
    #[serde(default)]
    pub note: String,
    pub failure: Option<Trouble>,
}

#[derive(Deserialize)]
pub struct Trouble {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub retryable: bool,
    #[serde(default)]
    pub definite: bool,
}

impl Task {
    fn running(&self) -> Running {
        Running {
            handle: self.handle.clone().unwrap_or_default(),
            percent: None,
            note: self.note.clone(),
            poll_after_ms: 500,
        }
    }

    pub fn progress(self) -> Result<Progress, Failure> {
        Ok(match (self.state.as_str(), self.failure) {
            ("running", _) => Progress::Running(Self { failure: None, ..self }.running()),
            ("done", _) => Progress::Done(Vec::new()),
            (_, Some(trouble)) => Progress::Failed(trouble.into()),
            (state, None) => return Err(Failure::in_doubt("bad-answer", format!("the site says `{state}`"))),
        })
    }

    pub fn probed(self) -> Result<ProbeAnswer, Failure> {
        Ok(match self.state.as_str() {
            "absent" => ProbeAnswer::Absent,
            "running" => ProbeAnswer::Running(self.running()),
            "done" => ProbeAnswer::Done(Vec::new()),
            state => ProbeAnswer::Unknown(format!("the site says `{state}`")),
        })
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let failure = match trouble.definite {
            true => Failure::definite(&trouble.code, trouble.message),
            false => Failure::in_doubt(&trouble.code, trouble.message),
        };
        if trouble.retryable { failure.retryable() } else { failure }
    }
}

pub fn get<T: DeserializeOwned>(path: &str) -> Result<T, Failure> {
    exchange(Request::get(&address(path)?)?)
}

pub fn post<T: DeserializeOwned>(path: &str, body: &Value) -> Result<T, Failure> {
    exchange(Request::post(&address(path)?)?.header("content-type", "application/json").body(body.to_string()))
}

fn address(path: &str) -> Result<String, Failure> {
    let url = config::get("url")
        .ok_or_else(|| Failure::definite("not-configured", "no `url` is configured: name the site's address"))?;
    Ok(format!("{}/{path}", url.trim_end_matches('/')))
}

fn exchange<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let answer = request.timeout_ms(PATIENCE_MS).send()?;
    let status = answer.status();
    let body = answer.bytes()?;
    let unreadable = |error| Failure::in_doubt("bad-answer", format!("the site's answer cannot be read: {error}"));
    if status < 400 {
        return serde_json::from_slice(&body).map_err(unreadable);
    }
    // The site says whether anything happened; where it says nothing, it is in doubt.
    Err(serde_json::from_slice::<Trouble>(&body).map_or_else(
        |_| Failure::in_doubt("server-error", format!("the site answered {status}")),
        Failure::from,
    ))
}
