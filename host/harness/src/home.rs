//! Where the harness runs plugins: the host's own runtime, with compiled code kept between runs.

use std::path::Path;
use std::sync::Arc;

use landfall_runtime::{BindError, Binding, Grants, LoadError, Plugin, Runtime, RuntimeError, RuntimeOptions, Stage};
use serde_json::{Value, json};
use url::Url;

use crate::case::{Act, Case};

/// Instances at once: one call runs at a time, and a fresh one may begin before the last is gone.
const INSTANCES: u32 = 8;

/// A runtime for tests.
#[derive(Clone)]
pub struct Home {
    runtime: Runtime,
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
        })
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
