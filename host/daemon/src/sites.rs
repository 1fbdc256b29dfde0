//! Plugins bound for sites, runbooks and policies: the ones that serve now, and the ones that a job is pinned to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use landfall_recovery::codes;
use landfall_recovery::freeze::Pinned;
use landfall_recovery::operations::{SiteFacts, WayBack};
use landfall_recovery::words::{Direction, Failure, Millis, Pairs};
use landfall_runtime::contract::adapter::{Features, Power, PowerAnswer};
use landfall_runtime::{Adapter, Binding, Grants, Kind, Limits, LoadError, Plugin, Policy, Runbook};

use crate::clock;
use crate::contract::{self, from_call_error};
use crate::engine::Engine;
use crate::step::site_key;

/// Bindings that were made, by what they were made from.
#[derive(Default)]
pub(crate) struct Bindings {
    made: Mutex<HashMap<BindingKey, Binding>>,
}

/// Label, digest, configuration, and the grants of then and now with the limits.
type BindingKey = (String, String, Vec<(String, String)>, String);

/// Versions that a job calls, by site, runbook and policy.
pub(crate) type Pins = BTreeMap<String, Pinned>;

/// A policy decides from its arguments alone, and about thousands of points at most.
fn no_grants() -> Grants {
    Grants::default()
}

impl Engine {
    /// The adapter that serves a site now.
    pub(crate) async fn adapter(&self, site: &str) -> Result<Adapter, Failure> {
        let pinned = self.pin_site(site)?;
        self.pinned_adapter(site, &pinned).await
    }

    /// A machine is read as on. Not if it cannot be read.
    pub(crate) async fn is_on(&self, site: &str, machine: String) -> bool {
        let Ok(adapter) = self.adapter(site).await else {
            return false;
        };
        let seen = adapter.power_state(machine).await;
        matches!(seen, Ok(PowerAnswer { power: Power::On, .. }))
    }

    /// The adapter that a job is pinned to.
    pub(crate) async fn pinned_adapter(&self, site: &str, pinned: &Pinned) -> Result<Adapter, Failure> {
        let config = self.config.now();
        let config = config.sites.get(site).ok_or_else(|| unknown_site(site))?;
        let binding = self.bind(site, pinned, &config.grants, config.limits).await?;
        Adapter::new(binding).map_err(|error| Failure::definite(error.code(), error.to_string()))
    }

    /// The adapter that a job calls for a site; one that it did not pin is the one that serves.
    pub(crate) async fn adapter_of(&self, pins: &Pins, site: &str) -> Result<Adapter, Failure> {
        match pins.get(&site_key(site)) {
            Some(pinned) => self.pinned_adapter(site, pinned).await,
            None => self.adapter(site).await,
        }
    }

    /// The runbook that a job is pinned to.
    pub(crate) async fn pinned_runbook(&self, name: &str, pinned: &Pinned) -> Result<Runbook, Failure> {
        let config = self.config.now().runbooks.get(name).cloned().unwrap_or_default();
        let binding = self.bind(name, pinned, &config.grants, config.limits).await?;
        Runbook::new(binding).map_err(|error| Failure::definite(error.code(), error.to_string()))
    }

    /// The policy that a job is pinned to.
    pub(crate) async fn pinned_policy(&self, name: &str, pinned: &Pinned) -> Result<Policy, Failure> {
        let binding = self.bind(name, pinned, &no_grants(), Limits::default()).await?;
        Policy::new(binding).map_err(|error| Failure::definite(error.code(), error.to_string()))
    }

    /// The policy of exactly this version, under its own name.
    pub(crate) async fn pinned_policy_of(&self, pinned: &Pinned) -> Result<Policy, Failure> {
        self.pinned_policy(&pinned.plugin, pinned).await
    }

    /// What serves a site now, as a job would pin it.
    pub(crate) fn pin_site(&self, site: &str) -> Result<Pinned, Failure> {
        let config = self.config.now();
        let config = config.sites.get(site).ok_or_else(|| unknown_site(site))?;
        self.pin(&config.adapter, &config.config, &config.grants)
    }

    /// What serves a runbook now.
    pub(crate) fn pin_runbook(&self, name: &str) -> Result<Pinned, Failure> {
        let config = self.config.now().runbooks.get(name).cloned().unwrap_or_default();
        self.pin(name, &config.config, &config.grants)
    }

    /// What serves a policy now.
    pub(crate) fn pin_policy(&self, name: &str) -> Result<Pinned, Failure> {
        let serving = self.registry.current(name);
        if let Some(other) = serving
            .map(|plugin| plugin.kind())
            .filter(|kind| *kind != Kind::RecoveryPointPolicy)
        {
            return Err(Failure::definite(
                codes::UNKNOWN_POLICY,
                format!(
                    "plugin `{name}` is no recovery-point policy: it is of kind `{}`",
                    other.as_str()
                ),
            ));
        }
        self.pin(name, &Pairs::new(), &no_grants())
    }

    fn pin(&self, plugin: &str, config: &Pairs, grants: &Grants) -> Result<Pinned, Failure> {
        let serving = self.registry.current(plugin).ok_or_else(|| {
            Failure::definite(
                codes::UNKNOWN_PLUGIN,
                format!("no plugin `{plugin}` serves; see `landfall plugin list`"),
            )
        })?;
        Ok(Pinned {
            plugin: plugin.to_owned(),
            version: serving.identity().version.to_string(),
            digest: serving.digest().to_owned(),
            config: config.clone(),
            grants: serde_json::to_value(grants).ok(),
        })
    }

    async fn bind(&self, label: &str, pinned: &Pinned, grants: &Grants, limits: Limits) -> Result<Binding, Failure> {
        let pairs = pinned
            .config
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let given = serde_json::to_string(&(&pinned.grants, grants, limits)).unwrap_or_default();
        let key = (label.to_owned(), pinned.digest.clone(), pairs, given);
        if let Some(binding) = self
            .bindings
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(binding.clone());
        }
        let plugin = self.plugin(pinned).await?;
        let config = Arc::new(pinned.config.clone());
        let then = pinned.grants.clone().map(serde_json::from_value).transpose();
        let then = then.map_err(|error| {
            let what = format!("what was granted to `{label}` when the job began cannot be read: {error}");
            Failure::definite(codes::INTERNAL, what)
        })?;
        let binding = Binding::pinned(&self.runtime, plugin, label, config, grants.clone(), then, limits)
            .map_err(|error| Failure::definite(error.code(), error.to_string()))?;
        self.bindings
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, binding.clone());
        Ok(binding)
    }

    /// The exact version, from what serves or from the content store. Never another one (design: pinned).
    async fn plugin(&self, pinned: &Pinned) -> Result<Arc<Plugin>, Failure> {
        if let Some(serving) = self
            .registry
            .current(&pinned.plugin)
            .filter(|plugin| plugin.digest() == pinned.digest)
        {
            return Ok(serving);
        }
        self.runtime.load_digest(&pinned.digest).await.map_err(|error| {
            let what = format!("{} {} ({})", pinned.plugin, pinned.version, pinned.digest);
            let code = match error {
                LoadError::Revoked(_) => codes::PLUGIN_REVOKED,
                _ => codes::DIGEST_MISSING,
            };
            let ways = codes::explain(code).map_or("", |page| page.cure);
            Failure::definite(
                code,
                format!("the pinned plugin {what} cannot be loaded: {error}. {ways}"),
            )
        })
    }

    /// Lets go of bindings of versions that nobody asks for any more: they hold compiled code in memory.
    pub(crate) fn forget_bindings(&self) {
        let pinned = self.pinned_digests();
        let serves = |name: &str, digest: &str| self.registry.current(name).is_some_and(|now| now.digest() == digest);
        let mut made = self.bindings.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(_, digest, ..), binding| pinned.contains(digest) || serves(binding.plugin().name(), digest));
    }

    /// The next call of every plugin is bound anew, with what is granted then.
    pub(crate) fn forget_all_bindings(&self) {
        self.bindings
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What running jobs are pinned to.
    pub(crate) fn pinned_digests(&self) -> BTreeSet<String> {
        let jobs = self.jobs();
        jobs.values()
            .flat_map(|handle| {
                handle
                    .job()
                    .pins
                    .values()
                    .map(|pin| pin.digest.clone())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Asks a site what it can do with machines of an origin in a direction, and notes the answer.
    pub(crate) async fn site_facts(&self, site: &str, origin: &str, direction: Direction) -> SiteFacts {
        let observed_at = clock::now();
        let mut answer = self.ask(site, origin, direction).await;
        if is_read_again(&answer, observed_at) {
            answer = self.ask(site, origin, direction).await;
        }
        let facts = match answer {
            Ok(features) => {
                let said = |name: &str| {
                    let pair = features.ext.iter().find(|(known, _)| known == name);
                    pair.map(|(_, value)| value.as_str())
                };
                SiteFacts {
                    reachable: true,
                    error: None,
                    source: features.source,
                    target: features.target,
                    planned_failover: features.planned_failover,
                    syncs_on_shutdown: said("sync-on-shutdown") == Some("yes"),
                    way_back: match said("way-back") {
                        Some("reverse-replication") => WayBack::ReverseReplication,
                        Some("planned-failover") => WayBack::PlannedFailover,
                        _ => WayBack::Reprotect,
                    },
                    point_choices: said("point-choices")
                        .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect()),
                    observed_at,
                }
            }
            Err(failure) => SiteFacts {
                error: Some(failure.to_string()),
                observed_at,
                ..SiteFacts::default()
            },
        };
        self.world_mut().sites.insert(site.to_owned(), facts.clone());
        facts
    }

    async fn ask(&self, site: &str, origin: &str, direction: Direction) -> Result<Features, Failure> {
        let adapter = self.adapter(site).await?;
        // `health` goes to the site; `get-features` may be answered by the plugin alone.
        adapter.health().await.map_err(|error| from_call_error(&error))?;
        let features = adapter
            .get_features(origin.to_owned(), contract::direction(direction))
            .await;
        features.map_err(|error| from_call_error(&error))
    }
}

/// A second try of a read must come within this after the first began: a site that is silent is not waited for twice.
const AGAIN_WITHIN_MS: Millis = 2_000;

/// Whether a read that began then is to be tried once more: its answer broke off, and one lost connection is no reason
/// to refuse what a person asks for.
pub(crate) fn is_read_again<T>(answer: &Result<T, Failure>, began: Millis) -> bool {
    let broke_off = answer.as_ref().is_err_and(|failure| failure.retryable);
    broke_off && clock::now().saturating_sub(began) < AGAIN_WITHIN_MS
}

fn unknown_site(site: &str) -> Failure {
    Failure::definite(
        codes::UNKNOWN_SITE,
        format!("the daemon's configuration has no site `{site}`"),
    )
}
