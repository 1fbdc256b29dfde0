//! A scratch site: something of an adapter's platform that may be changed and thrown away.
//!
//! The manifest says how to start one and how to reach it; `landfall plugin check --scratch FILE` says it instead, for a
//! site that runs already. In all texts `{url}`, `{host}`, `{port}`, `{ready}`, `{dir}`, `{plugin}` and `{landfall}` are
//! replaced; where a text is nothing but `{port}`, it becomes the number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use landfall_runtime::Secrets;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use url::Url;

/// A management server in a small machine boots within this.
const START_PATIENCE: Duration = Duration::from_mins(5);

/// Between two looks whether it listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the site may take for one operation, unless the manifest says more.
const OPERATION_MS: u64 = 300_000;

/// The `[scratch]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scratch {
    /// Starts the site, in the plugin's directory, and is ended with it. It says that it listens by writing its URL to
    /// `{ready}`; if that is not among its arguments, by taking connections at `{port}`. Left out: the site is there.
    #[serde(default)]
    pub command: Vec<String>,
    /// Where the site is, where no command writes it [default: `http://127.0.0.1:{port}`].
    #[serde(default)]
    pub url: Option<String>,
    /// Requests that make what the suite needs.
    #[serde(default)]
    pub prepare: Vec<Prepare>,
    /// A machine at the source that may be protected, shut down and started.
    pub machine: Option<String>,
    /// A network at the target that reaches nothing.
    pub isolated_network: Option<String>,
    /// How long one operation may take.
    #[serde(default = "operation_ms")]
    pub patience_ms: u64,
    /// Where the secrets are that the grants name, as in the daemon's configuration.
    #[serde(default)]
    secrets: Value,
    /// The site in the source role.
    pub source: Option<Role>,
    /// The site in the target role.
    pub target: Option<Role>,
}

fn operation_ms() -> u64 {
    OPERATION_MS
}

/// One role's configuration and grants, as in the daemon's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Role {
    /// For the adapter.
    pub config: BTreeMap<String, String>,
    /// What it may do.
    pub grants: Value,
    /// Of a call.
    pub limits: Option<landfall_runtime::Limits>,
}

/// One request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Prepare {
    /// [default: POST]
    #[serde(default = "post")]
    pub method: String,
    /// Where to.
    pub url: String,
    /// The body.
    #[serde(default)]
    pub json: Option<Value>,
}

fn post() -> String {
    "POST".to_owned()
}

/// Why there is no scratch site.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// `[scratch]` cannot be understood.
    #[error("[scratch]: {0}")]
    Invalid(String),
    /// The command cannot be started, or no port is free.
    #[error("the scratch site does not start: {what}")]
    Start {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It ended, or does not listen.
    #[error("the scratch site is not ready: {0}")]
    NotReady(String),
    /// A request of `prepare` was refused.
    #[error("the scratch site cannot be prepared: {0}")]
    Prepare(String),
}

/// A site that runs. Dropped, it is ended.
pub(crate) struct Site {
    /// With everything replaced.
    pub(crate) scratch: Scratch,
    _child: Option<Child>,
    _directory: TempDir,
}

/// From the manifest's or the operator's table.
pub fn scratch(value: &Value) -> Result<Scratch, ScratchError> {
    let scratch: Scratch =
        serde_json::from_value(value.clone()).map_err(|error| ScratchError::Invalid(error.to_string()))?;
    scratch.secrets().map(|_| scratch)
}

impl Scratch {
    /// Places of secrets, none of their values.
    pub(crate) fn secrets(&self) -> Result<Secrets, ScratchError> {
        let invalid = |why: String| ScratchError::Invalid(format!("secrets: {why}"));
        if self.secrets.is_null() {
            return Ok(Secrets::default());
        }
        let secrets: Secrets =
            serde_json::from_value(self.secrets.clone()).map_err(|error| invalid(error.to_string()))?;
        secrets.check().map_err(invalid)?;
        Ok(secrets)
    }
}

impl Site {
    /// Starts it and makes what the suite needs. `plugin` is the directory of the plugin's source.
    pub(crate) async fn start(scratch: &Scratch, plugin: &Path) -> Result<Self, ScratchError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| ScratchError::Start { what, source }
        };
        let directory = tempfile::tempdir().map_err(failed("a temporary directory"))?;
        let ready = directory.path().join("ready");
        let mut words = BTreeMap::from([
            ("{dir}", directory.path().display().to_string()),
            ("{ready}", ready.display().to_string()),
            ("{plugin}", plugin.display().to_string()),
            ("{port}", free_port().map_err(failed("a free port"))?.to_string()),
            (
                "{landfall}",
                program().map_err(failed("this program"))?.display().to_string(),
            ),
        ]);
        let command: Vec<String> = scratch.command.iter().map(|word| replace(word, &words)).collect();
        let mut child = match command.split_first() {
            Some((program, arguments)) => Some(
                Command::new(program)
                    .args(arguments)
                    .current_dir(plugin)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::inherit())
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(failed(&command.join(" ")))?,
            ),
            None => None,
        };
        let url = if scratch.command.iter().any(|word| word.contains("{ready}")) {
            let child = child.as_mut();
            written(&ready, child).await?
        } else {
            let url = scratch
                .url
                .clone()
                .unwrap_or_else(|| "http://127.0.0.1:{port}".to_owned());
            let url = replace(&url, &words);
            listening(&url, child.as_mut()).await?;
            url
        };
        let parsed = Url::parse(&url).map_err(|error| ScratchError::NotReady(format!("{url}: {error}")))?;
        words.insert("{url}", url.trim_end_matches('/').to_owned());
        words.insert("{host}", parsed.host_str().unwrap_or_default().to_owned());
        if let Some(port) = parsed.port_or_known_default() {
            words.insert("{port}", port.to_string());
        }
        let scratch = filled(scratch, &words);
        for request in &scratch.prepare {
            prepare(request).await?;
        }
        Ok(Self {
            scratch,
            _child: child,
            _directory: directory,
        })
    }
}

fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// The system gives one that nobody has; whoever takes it first afterwards is most likely the site.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn replace(text: &str, words: &BTreeMap<&str, String>) -> String {
    words
        .iter()
        .fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
}

fn filled(scratch: &Scratch, words: &BTreeMap<&str, String>) -> Scratch {
    let text = |text: &String| replace(text, words);
    let role = |role: &Role| Role {
        config: role
            .config
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        grants: filled_value(&role.grants, words),
        limits: role.limits,
    };
    Scratch {
        command: scratch.command.iter().map(text).collect(),
        url: scratch.url.as_ref().map(text),
        prepare: scratch
            .prepare
            .iter()
            .map(|request| Prepare {
                method: request.method.clone(),
                url: text(&request.url),
                json: request.json.as_ref().map(|json| filled_value(json, words)),
            })
            .collect(),
        machine: scratch.machine.as_ref().map(text),
        isolated_network: scratch.isolated_network.as_ref().map(text),
        patience_ms: scratch.patience_ms,
        secrets: filled_value(&scratch.secrets, words),
        source: scratch.source.as_ref().map(role),
        target: scratch.target.as_ref().map(role),
    }
}

fn filled_value(value: &Value, words: &BTreeMap<&str, String>) -> Value {
    match value {
        Value::String(text) if text == "{port}" => {
            let port = replace(text, words);
            port.parse::<u16>().map_or(Value::String(port), Value::from)
        }
        Value::String(text) => Value::String(replace(text, words)),
        Value::Array(list) => list.iter().map(|value| filled_value(value, words)).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), filled_value(value, words)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn ended(child: Option<&mut Child>) -> Result<(), ScratchError> {
    match child.map(Child::try_wait) {
        Some(Ok(Some(status))) => Err(ScratchError::NotReady(format!("its command ended: {status}"))),
        _ => Ok(()),
    }
}

async fn written(ready: &Path, mut child: Option<&mut Child>) -> Result<String, ScratchError> {
    let began = Instant::now();
    while began.elapsed() < START_PATIENCE {
        if let Ok(url) = std::fs::read_to_string(ready)
            && !url.trim().is_empty()
        {
            return Ok(url.trim().to_owned());
        }
        ended(child.as_deref_mut())?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(ScratchError::NotReady(format!(
        "nothing was written to {}",
        ready.display()
    )))
}

async fn listening(url: &str, mut child: Option<&mut Child>) -> Result<(), ScratchError> {
    let parsed = Url::parse(url).map_err(|error| ScratchError::NotReady(format!("{url}: {error}")))?;
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        return Err(ScratchError::NotReady(format!("{url} has no host and port")));
    };
    let began = Instant::now();
    while began.elapsed() < START_PATIENCE {
        if TcpStream::connect((host.trim_matches(['[', ']']), port)).await.is_ok() {
            return Ok(());
        }
        ended(child.as_deref_mut())?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(ScratchError::NotReady(format!("nobody takes connections at {url}")))
}

async fn prepare(request: &Prepare) -> Result<(), ScratchError> {
    let Prepare { method, url, json } = request;
    let failed = |why: String| ScratchError::Prepare(format!("{method} {url}: {why}"));
    let method_ = method.parse().map_err(|_| failed("no such method".to_owned()))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut sent = client.request(method_, url);
    if let Some(json) = json {
        sent = sent.json(json);
    }
    let answer = sent.send().await.map_err(|error| failed(error.to_string()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    Err(failed(format!("{status} {body}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_replaced_everywhere_and_a_port_is_a_number() {
        let table = json!({
            "command": ["site", "{port}"], "machine": "db", "secrets": { "login": { "file": "{url}/password" } },
            "target": { "config": { "url": "{url}/b" }, "grants": { "http": [{ "host": "{host}", "port": "{port}" }] } },
        });
        let words = BTreeMap::from([
            ("{url}", "http://h:7".to_owned()),
            ("{host}", "h".to_owned()),
            ("{port}", "7".to_owned()),
        ]);
        let filled = filled(&scratch(&table).unwrap(), &words);
        let target = filled.target.unwrap();
        assert_eq!(target.config["url"], "http://h:7/b");
        assert_eq!(target.grants, json!({ "http": [{ "host": "h", "port": 7 }] }));
        assert_eq!(filled.command, ["site", "7"]);
        assert_eq!(filled.secrets["login"]["file"], "http://h:7/password");
        let plain = scratch(&json!({ "secrets": { "login": { "value": "hunter2" } } }));
        assert!(plain.unwrap_err().to_string().contains("unknown field `value`"));
        assert!(
            scratch(&json!({ "comand": [] }))
                .unwrap_err()
                .to_string()
                .contains("comand")
        );
    }
}
