//! Where the harness runs plugins: the host's own runtime, with compiled code kept between runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_runtime::{
    Adapter, BindError, Binding, Grants, LoadError, Plugin, Runtime, RuntimeError, RuntimeOptions, Stage,
};
use serde_json::{Value, json};
use url::Url;

use crate::case::{Act, Case};
use crate::scratch::Role;

/// Instances at once: one call runs at a time, and a fresh one may begin before the last is gone.
const INSTANCES: u32 = 8;

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

/// What the case grants, else all that the manifest requests. A manifest may ask for any host, and a grant names each:
/// so the destinations are those that the case scripts.
pub(crate) fn grants(plugin: &Plugin, case: &Case, acts: &[Act]) -> Result<Grants, String> {
    let value = case.grants.clone().unwrap_or_else(|| requested(plugin, acts));
    serde_json::from_value(value).map_err(|error| format!("grants: {error}"))
}

fn requested(plugin: &Plugin, acts: &[Act]) -> Value {
    let requests = serde_json::to_value(&plugin.manifest().requests).unwrap_or_default();
    let mut http: Vec<Value> = Vec::new();
    let scripted = acts
        .iter()
        .flat_map(|act| &act.http)
        .filter_map(|exchange| destination(&exchange.url));
    let named = requests.get("http").and_then(Value::as_array).into_iter().flatten();
    let exact = named.filter(|pattern| !pattern.to_string().contains("\"*\"")).cloned();
    for destination in exact.chain(scripted) {
        if !http.contains(&destination) {
            http.push(destination);
        }
    }
    let interfaces = requests.get("interfaces").cloned().unwrap_or_else(|| json!([]));
    json!({ "interfaces": interfaces, "http": http })
}

fn destination(url: &str) -> Option<Value> {
    let url = Url::parse(url).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    Some(json!({ "scheme": url.scheme(), "host": host, "port": port }))
}
