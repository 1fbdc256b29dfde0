//! Where the harness runs plugins: the host's own runtime, with compiled code kept between runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_runtime::{
    Adapter, BindError, Binding, Grants, Interface, LoadError, Plugin, Runtime, RuntimeError, RuntimeOptions, Secrets,
    Stage,
};
use serde_json::{Value, json};
use url::Url;

use crate::case::{Act, Case};
use crate::scratch::Role;

/// Instances at once: one call runs at a time, and a fresh one may begin before the last is gone.
const INSTANCES: u32 = 8;

/// The host of scripted endpoints: a name that leads nowhere, by RFC 2606.
const SOMEWHERE: &str = "endpoint.invalid";

/// Their port, where a case names none.
const SOME_PORT: u16 = 1;

/// A runtime for tests.
#[derive(Clone)]
pub struct Home {
    runtime: Runtime,
    state: PathBuf,
}

/// A plugin cannot be tested at all.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The runtime does not start.
    #[error("the plugin runtime does not start")]
    Runtime(#[from] RuntimeError),
    /// The plugin does not load.
    #[error("the plugin does not load")]
    Load(#[from] LoadError),
}

impl HomeError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Runtime(error) => error.code(),
            Self::Load(error) => error.code(),
        }
    }
}

impl Home {
    /// Compiled code is kept in `state`, for this user alone.
    pub fn open(state: &Path) -> Result<Self, HomeError> {
        let options = RuntimeOptions {
            instances: INSTANCES,
            ..RuntimeOptions::new(state)
        };
        Ok(Self {
            runtime: Runtime::new(options)?,
            state: state.to_owned(),
        })
    }

    /// As after a restart of the host: nothing is left but what is on disk.
    pub(crate) fn restarted(&self) -> Result<Self, HomeError> {
        Self::open(&self.state)
    }

    /// Where secrets are, from the next request on.
    pub(crate) fn set_secrets(&self, secrets: Secrets) {
        self.runtime.set_secrets(secrets);
    }

    /// The version that another home loaded.
    pub(crate) async fn load_digest(&self, digest: &str) -> Result<Arc<Plugin>, HomeError> {
        Ok(self.runtime.load_digest(digest).await?)
    }

    /// An adapter in one role of a scratch site.
    pub(crate) fn bind_role(
        &self,
        plugin: &Arc<Plugin>,
        name: &str,
        role: &Role,
        stage: Arc<Stage>,
    ) -> Result<Adapter, String> {
        let grants = match &role.grants {
            Value::Null => Grants::default(),
            grants => {
                serde_json::from_value(grants.clone()).map_err(|error| format!("[scratch.{name}.grants]: {error}"))?
            }
        };
        let config = Arc::new(role.config.clone());
        let limits = role.limits.unwrap_or_default();
        let binding = Binding::new(&self.runtime, Arc::clone(plugin), name, config, grants, limits);
        binding
            .and_then(|binding| Adapter::new(binding.on_stage(stage)))
            .map_err(|error| error.to_string())
    }

    /// Loads the plugin in this directory, with all the checks of the daemon.
    pub async fn load(&self, directory: &Path) -> Result<Arc<Plugin>, HomeError> {
        Ok(self.runtime.load(directory).await?)
    }

    /// The plugin with a case's configuration, grants and limits, on a stage.
    pub(crate) fn bind(
        &self,
        plugin: &Arc<Plugin>,
        case: &Case,
        grants: Grants,
        stage: Arc<Stage>,
    ) -> Result<Binding, BindError> {
        let limits = case.limits.unwrap_or_default();
        let config = Arc::new(case.config.clone());
        let label = plugin.name().to_owned();
        let binding = Binding::new(&self.runtime, Arc::clone(plugin), label, config, grants, limits)?;
        Ok(binding.on_stage(stage))
    }
}

/// What the case grants, else all that the manifest requests. A manifest may ask for any host, endpoint or secret, and
/// a grant names each: so they are those that the case itself names.
pub(crate) fn grants(plugin: &Plugin, case: &Case, acts: &[Act]) -> Result<Grants, String> {
    let value = case.grants.clone().unwrap_or_else(|| requested(plugin, case, acts));
    serde_json::from_value(value).map_err(|error| format!("grants: {error}"))
}

fn requested(plugin: &Plugin, case: &Case, acts: &[Act]) -> Value {
    let requests = serde_json::to_value(&plugin.manifest().requests).unwrap_or_default();
    let secrets: Vec<&String> = case.secrets.keys().collect();
    let mut http: Vec<Value> = Vec::new();
    let scripted = acts
        .iter()
        .flat_map(|act| &act.http)
        .filter_map(|exchange| destination(&exchange.url, &secrets));
    let named = requests.get("http").and_then(Value::as_array).into_iter().flatten();
    let exact = named.filter(|pattern| !pattern.to_string().contains("\"*\"")).cloned();
    for destination in exact.chain(scripted) {
        if !http.contains(&destination) {
            http.push(destination);
        }
    }
    // Also those that naming a value asks for: guests in Python and JavaScript import them whether a case uses them or not.
    let asked = |interface: &Interface| plugin.manifest().requests.include(*interface);
    let interfaces: Vec<Interface> = Interface::ALL.into_iter().filter(asked).collect();
    let named = requests
        .get("transport")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let named = named.filter_map(Value::as_str).map(|name| (name, None));
    let scripted = acts.iter().flat_map(|act| &act.transport);
    let scripted = scripted.map(|connection| (connection.endpoint.as_str(), connection.port));
    let transport = endpoints(named.chain(scripted));
    json!({ "interfaces": interfaces, "http": http, "transport": transport, "hmac": secrets })
}

fn destination(url: &str, secrets: &[&String]) -> Option<Value> {
    let url = Url::parse(url).ok()?;
    let (scheme, host, port) = (url.scheme(), url.host_str()?, url.port_or_known_default()?);
    Some(match secrets {
        [] => json!({ "scheme": scheme, "host": host, "port": port }),
        secrets => json!({ "scheme": scheme, "host": host, "port": port, "secrets": secrets }),
    })
}

/// Each with the ports that the case names. Where they lead is never looked at: the far sides are scripted.
fn endpoints<'c>(named: impl Iterator<Item = (&'c str, Option<u16>)>) -> Value {
    let mut ports: BTreeMap<&str, Option<(u16, u16)>> = BTreeMap::new();
    for (name, port) in named {
        let range = ports.entry(name).or_default();
        if let Some(port) = port {
            let (first, last) = range.unwrap_or((port, port));
            *range = Some((first.min(port), last.max(port)));
        }
    }
    let endpoint = |(name, range): (&str, Option<(u16, u16)>)| {
        let (first, last) = range.unwrap_or((SOME_PORT, SOME_PORT));
        let endpoint = json!({ "tcp": SOMEWHERE, "ports": format!("{first}-{last}") });
        (name.to_owned(), endpoint)
    };
    ports
        .into_iter()
        .map(endpoint)
        .collect::<serde_json::Map<_, _>>()
        .into()
}
