//! The daemon's configuration: one TOML file, read at start. What it grants to plugins is here and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use landfall_recovery::words::Pairs;
use landfall_runtime::{Grants, Limits, SecretError, Secrets, Trust};
use serde::Deserialize;

use crate::reload::{self, Reloaded};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Where the API listens. Loopback only: there is no TLS here.
    #[serde(default = "listen_default")]
    pub listen: SocketAddr,
    /// Journal, token, compiled plugins. Relative to the file.
    #[serde(default = "data_default")]
    pub data: PathBuf,
    /// A directory of plugin directories. Relative to the file.
    #[serde(default = "plugins_default")]
    pub plugins: PathBuf,
    /// Who may sign plugins.
    #[serde(default)]
    pub trust: TrustConfig,
    /// With less left on the data directory's disk nothing new is begun.
    #[serde(default = "min_free_default")]
    pub min_free_mb: u64,
    /// Backups by the clock; none without it.
    #[serde(default)]
    pub backup: Option<BackupConfig>,
    /// By name.
    #[serde(default)]
    pub sites: BTreeMap<String, SiteConfig>,
    /// Where secrets are, by name. No value stands in the file.
    #[serde(default)]
    pub secrets: Secrets,
    /// By plugin name; a runbook that is not here has no grants and an empty configuration.
    #[serde(default)]
    pub runbooks: BTreeMap<String, RunbookConfig>,
}

/// Whom to believe about plugins.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrustConfig {
    /// Minisign public keys (`RW...`). With any, a plugin that none of them signed is refused.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// Backups that the daemon makes by itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BackupConfig {
    /// Where they go. Relative to the file; better on another disk.
    pub directory: PathBuf,
    /// How often.
    #[serde(default = "every_default")]
    pub every_minutes: NonZeroU64,
    /// How many are kept.
    #[serde(default = "keep_default")]
    pub keep: NonZeroUsize,
}

/// An hour of decisions can be looked up by hand.
fn every_default() -> NonZeroU64 {
    NonZeroU64::new(60).unwrap_or(NonZeroU64::MIN)
}

/// Two days of them.
fn keep_default() -> NonZeroUsize {
    NonZeroUsize::new(48).unwrap_or(NonZeroUsize::MIN)
}

/// A site: an adapter, its configuration and what it may reach.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SiteConfig {
    /// The adapter plugin's name.
    pub adapter: String,
    /// For the adapter.
    #[serde(default)]
    pub config: Pairs,
    /// What it may use and reach.
    #[serde(default)]
    pub grants: Grants,
    /// Limits of its calls.
    #[serde(default)]
    pub limits: Limits,
    /// Operations of one job under way at once.
    #[serde(default = "limit_default")]
    pub limit: usize,
}

/// What a runbook is given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunbookConfig {
    /// For the runbook.
    #[serde(default)]
    pub config: Pairs,
    /// What it may use and reach.
    #[serde(default)]
    pub grants: Grants,
    /// Limits of its calls.
    #[serde(default)]
    pub limits: Limits,
}

/// A job of 10,000 machines writes some 100 MB.
fn min_free_default() -> u64 {
    256
}

fn listen_default() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7420))
}

fn data_default() -> PathBuf {
    PathBuf::from("landfall-data")
}

fn plugins_default() -> PathBuf {
    PathBuf::from("plugins")
}

/// What one hypervisor manager takes without queueing inside.
pub(crate) const LIMIT_DEFAULT: usize = 64;

fn limit_default() -> usize {
    LIMIT_DEFAULT
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not valid; the message has the place.
    #[error("the configuration {path} is not valid:\n{message}")]
    Parse {
        /// Which.
        path: String,
        /// The parser's words, with the line.
        message: String,
    },
    /// Other hosts could reach the API, which has no TLS.
    #[error(
        "the configuration {path} lets the API listen on {listen}, which other hosts can reach; use a loopback address"
    )]
    NotLoopback {
        /// Which.
        path: String,
        /// What it says.
        listen: SocketAddr,
    },
    /// The table of secrets makes no sense.
    #[error("the configuration {path} cannot be used: {why}")]
    Secrets {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A grant that makes no sense.
    #[error("the configuration {path} grants something to `{who}` that cannot be: {why}")]
    Grant {
        /// Which.
        path: String,
        /// The site or runbook.
        who: String,
        /// What is wrong.
        why: String,
    },
    /// A key that is none.
    #[error("the configuration {path}, trust.keys: {why}")]
    Key {
        /// Which.
        path: String,
        /// In words.
        why: String,
    },
    /// Nothing could ever be done there.
    #[error("the configuration {path} lets site `{site}` have no operation at all; `limit` is at least 1")]
    NoOperations {
        /// Which.
        path: String,
        /// The site.
        site: String,
    },
}

/// The configuration as it is now: grants, limits and secrets change while the daemon runs.
#[derive(Debug)]
pub(crate) struct Live {
    /// Where it was read.
    file: PathBuf,
    /// As it stood there when it was last read.
    read: RwLock<Config>,
    now: RwLock<Arc<Config>>,
}

impl Live {
    /// `now` differs from `read` in what the command line said.
    pub(crate) fn new(file: PathBuf, read: Config, now: Config) -> Self {
        Self {
            file,
            read: RwLock::new(read),
            now: RwLock::new(Arc::new(now)),
        }
    }

    pub(crate) fn now(&self) -> Arc<Config> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again and takes over what can change; all of it, or nothing if anything in it is wrong.
    pub(crate) fn reload(&self) -> Result<Reloaded, ConfigError> {
        let fresh = Config::read(&self.file)?;
        fresh.check(&self.file)?;
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        let (next, reloaded) = reload::merge(&self.now(), &read, &fresh);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        // What waits for a restart is still told at the next reload.
        read.secrets = fresh.secrets;
        Ok(reloaded)
    }
}

impl Config {
    /// What the form of the file cannot say; asked again once the command line had its say.
    pub(crate) fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let path = path.display().to_string();
        if !self.listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback {
                path,
                listen: self.listen,
            });
        }
        if let Err(why) = self.secrets.check() {
            return Err(ConfigError::Secrets { path, why });
        }
        if let Err(why) = self.trust() {
            return Err(ConfigError::Key { path, why });
        }
        let sites = self.sites.iter().map(|(name, site)| (name, &site.grants));
        let runbooks = self.runbooks.iter().map(|(name, runbook)| (name, &runbook.grants));
        for (who, grants) in sites.chain(runbooks) {
            if let Err(why) = grants.check(&self.secrets) {
                return Err(ConfigError::Grant {
                    path,
                    who: who.clone(),
                    why,
                });
            }
        }
        match self.sites.iter().find(|(_, site)| site.limit == 0) {
            Some((name, _)) => Err(ConfigError::NoOperations {
                path,
                site: name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Everything that can be said of the file without a daemon: of the whole, and of each secret in a file. What stands
    /// in an environment is the daemon's to know. None of it shows a value.
    pub fn inspect(path: &Path) -> Vec<(String, Result<String, String>)> {
        let config = Self::read(path).and_then(|config| config.check(path).map(|()| config));
        let config = match config {
            Ok(config) => config,
            Err(error) => return vec![("configuration".to_owned(), Err(crate::words(&error)))],
        };
        let mut found = vec![("configuration".to_owned(), Ok(format!("{} is valid", path.display())))];
        found.extend(config.secrets.names().map(|name| {
            let read = match config.secrets.try_read(name) {
                Ok(()) => Ok("can be read".to_owned()),
                Err(SecretError::NoVariable(name)) => Ok(format!("{name} is looked for in the daemon's environment")),
                Err(error) => Err(error.to_string()),
            };
            (format!("secret {name}"), read)
        }));
        found
    }

    pub(crate) fn trust(&self) -> Result<Trust, String> {
        Trust::new(&self.trust.keys)
    }

    /// Reads the file; its relative paths become relative to its directory.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: shown.clone(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: shown.clone(),
            message: error.to_string(),
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        config.data = base.join(&config.data);
        config.plugins = base.join(&config.plugins);
        if let Some(backup) = &mut config.backup {
            backup.directory = base.join(&backup.directory);
        }
        let sites = config.sites.values_mut().map(|site| &mut site.grants);
        let runbooks = config.runbooks.values_mut().map(|runbook| &mut runbook.grants);
        sites.chain(runbooks).for_each(|grants| grants.resolve_paths(base));
        config.secrets.rebase(base);
        Ok(config)
    }
}
