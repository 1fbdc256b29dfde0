//! Reading the configuration again while the daemon runs.
//!
//! Grants, limits and secrets change at once, for the next call of every plugin; what a job may do is still bounded by
//! the grants it was started with. Everything else waits for a restart and is named. A file with anything wrong in it
//! changes nothing.

use std::sync::Arc;

use landfall_recovery::codes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::{Config, RunbookConfig};
use crate::engine::Engine;
use crate::problem::Refusal;

/// What reading the configuration again did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// What holds now.
    pub changed: Vec<String>,
    /// What stands in the file and holds only after a restart.
    pub restart: Vec<String>,
}

/// Takes over what can change. Secrets and certificate files are read again even where the file says nothing new.
pub(crate) async fn reload(engine: &Arc<Engine>) -> Result<Reloaded, Refusal> {
    let reloaded = engine.config.reload();
    let reloaded = reloaded.map_err(|error| Refusal::refused(codes::CONFIGURATION, crate::words(&error)))?;
    engine.runtime.set_secrets(engine.config.now().secrets.clone());
    engine.forget_all_bindings();
    tracing::info!(changed = ?reloaded.changed, restart = ?reloaded.restart, "the configuration was read again");
    // An update may have waited for a grant.
    engine
        .registry
        .refresh()
        .await
        .map_err(|error| Refusal::internal(&error))?;
    Ok(reloaded)
}

/// What holds now with what can change taken from `fresh`; `read` is what the file said at the start.
pub(crate) fn merge(now: &Config, read: &Config, fresh: &Config) -> (Config, Reloaded) {
    let (mut next, mut reloaded) = (now.clone(), Reloaded::default());
    let Reloaded { changed, restart } = &mut reloaded;
    let note = |list: &mut Vec<String>, differs: bool, what: String| {
        if differs {
            list.push(what);
        }
    };
    for (name, differs) in [
        ("listen", read.listen != fresh.listen),
        ("data", read.data != fresh.data),
        ("plugins", read.plugins != fresh.plugins),
        ("trust", read.trust != fresh.trust),
        ("backup", read.backup != fresh.backup),
    ] {
        note(restart, differs, name.to_owned());
    }
    note(changed, next.min_free_mb != fresh.min_free_mb, "min-free-mb".to_owned());
    next.min_free_mb = fresh.min_free_mb;
    note(changed, next.secrets != fresh.secrets, "secrets".to_owned());
    next.secrets.clone_from(&fresh.secrets);
    for (name, site) in &mut next.sites {
        let Some(new) = fresh.sites.get(name) else {
            restart.push(format!("sites.{name}"));
            continue;
        };
        note(restart, site.adapter != new.adapter, format!("sites.{name}.adapter"));
        note(restart, site.config != new.config, format!("sites.{name}.config"));
        note(changed, site.grants != new.grants, format!("sites.{name}.grants"));
        note(changed, site.limits != new.limits, format!("sites.{name}.limits"));
        note(changed, site.limit != new.limit, format!("sites.{name}.limit"));
        site.grants.clone_from(&new.grants);
        (site.limits, site.limit) = (new.limits, new.limit);
    }
    for name in fresh.sites.keys().filter(|name| !now.sites.contains_key(*name)) {
        restart.push(format!("sites.{name}"));
    }
    let names: std::collections::BTreeSet<_> = now.runbooks.keys().chain(fresh.runbooks.keys()).collect();
    for name in names {
        // A runbook that is not named has nothing.
        let new = fresh.runbooks.get(name).cloned().unwrap_or_default();
        let first = !now.runbooks.contains_key(name);
        let old = next.runbooks.entry(name.clone()).or_insert_with(|| RunbookConfig {
            config: new.config.clone(),
            ..RunbookConfig::default()
        });
        note(
            changed,
            first && !new.config.is_empty(),
            format!("runbooks.{name}.config"),
        );
        note(restart, old.config != new.config, format!("runbooks.{name}.config"));
        note(changed, old.grants != new.grants, format!("runbooks.{name}.grants"));
        note(changed, old.limits != new.limits, format!("runbooks.{name}.limits"));
        (old.grants, old.limits) = (new.grants, new.limits);
    }
    (next, reloaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn grants_limits_and_secrets_change_and_the_rest_waits() {
        let old = config(
            r#"[sites.a]
            adapter = "lab"
            grants = { interfaces = ["clock"] }
            [sites.gone]
            adapter = "lab"
            [runbooks.hook.grants]
            interfaces = ["random"]"#,
        );
        let new = config(
            r#"listen = "127.0.0.1:1"
            [secrets]
            x = { env = "X" }
            [sites.a]
            adapter = "other"
            limit = 3
            limits = { wall-ms = 5 }
            grants = { interfaces = ["random"] }
            [sites.new]
            adapter = "lab"
            [runbooks.late]
            config = { url = "u" }
            grants = { interfaces = ["clock"] }"#,
        );
        let (next, reloaded) = merge(&old, &old, &new);
        assert_eq!(
            reloaded.changed,
            [
                "secrets",
                "sites.a.grants",
                "sites.a.limits",
                "sites.a.limit",
                "runbooks.hook.grants",
                "runbooks.late.config",
                "runbooks.late.grants"
            ]
        );
        assert_eq!(
            reloaded.restart,
            ["listen", "sites.a.adapter", "sites.gone", "sites.new"]
        );
        assert_eq!(
            (next.listen, next.sites["a"].adapter.as_str(), next.sites["a"].limit),
            (old.listen, "lab", 3)
        );
        assert_eq!(next.sites["a"].grants, new.sites["a"].grants);
        assert_eq!(next.runbooks["hook"], RunbookConfig::default());
        assert_eq!(next.runbooks["late"], new.runbooks["late"]);
        assert!(!next.sites.contains_key("new") && next.sites.contains_key("gone"));
        let (_, again) = merge(&next, &old, &new);
        assert!(
            again.changed.is_empty() && again.restart == reloaded.restart,
            "{again:?}"
        );
    }
}
