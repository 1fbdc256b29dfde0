//! Decisions of people, and the host's own when a version fails by itself: durable first, then published.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::history::{Aside, Cause, Change, Decision, Order, Remembered, Revocation, Served};
use super::{Registry, StatusError, Table, Want, now_ms};
use crate::digest;
use crate::health::STRIKES;
use crate::load::LoadError;
use crate::plugin::Plugin;

/// A digest may be shortened to this many digits: versions of a lifetime do not collide in 48 bits.
const DIGITS_MIN: usize = 12;

/// Revoking does not wait for a compiler: a replacement that is not ready in this time comes later.
const REPLACEMENT: Duration = Duration::from_secs(2);

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No directory holds it.
    #[error("no plugin `{0}` is installed")]
    UnknownPlugin(String),
    /// The digest names no version, or several, or one of another plugin.
    #[error("{0}")]
    Version(String),
    /// The version cannot be loaded.
    #[error("the version cannot be used")]
    Load(#[source] LoadError),
    /// It cannot be linked with what is granted.
    #[error("it needs grants first: {}", .0.iter().map(|want| format!("[{}] {}", want.place, want.line)).collect::<Vec<_>>().join("; "))]
    Grants(Vec<Want>),
    /// Something else was decided meanwhile.
    #[error("the plugin changed meanwhile; look at it and ask again")]
    Changed,
    /// It could not be made durable, so it was not done.
    #[error("the decision could not be recorded")]
    NotKept(#[source] io::Error),
}

impl OrderError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownPlugin(_) => "LF0460",
            Self::Version(_) | Self::Changed => "LF0464",
            Self::Load(error) => error.code(),
            Self::Grants(_) => "LF0463",
            Self::NotKept(_) => "LF0506",
        }
    }
}

impl Registry {
    /// The whole digest that a person means by a prefix of at least 12 digits, among the versions that are stored.
    pub async fn resolve(&self, text: &str) -> Result<String, OrderError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        let whole = format!("sha256:{digits}");
        if digest::digits(&whole).is_some() {
            return Ok(whole);
        }
        if digits.len() < DIGITS_MIN || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let what = format!("`{text}` is no digest: give `sha256:` and at least {DIGITS_MIN} of its digits");
            return Err(OrderError::Version(what));
        }
        let stored = self.shared.runtime.stored().await.map_err(OrderError::NotKept)?;
        let found: Vec<_> = stored.iter().filter(|stored| stored.starts_with(&whole)).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(OrderError::Version(format!(
                "no stored version has the digest {text}..."
            ))),
            _ => Err(OrderError::Version(format!(
                "{} versions begin with {text}",
                found.len()
            ))),
        }
    }

    /// Serves this version from now on. What it asks for beyond the one before it is accepted knowingly.
    pub async fn activate(&self, name: &str, digest: &str, order: Order) -> Result<Arc<Plugin>, OrderError> {
        self.choose(name, digest, Cause::Activate, order).await
    }

    /// Goes back: to this version, or to the last good one before what serves.
    pub async fn roll_back(&self, name: &str, to: Option<&str>, order: Order) -> Result<Arc<Plugin>, OrderError> {
        let table = self.table();
        home(&table, name).ok_or_else(|| OrderError::UnknownPlugin(name.to_owned()))?;
        let remembered = table.remembered(name);
        let last = remembered.before(remembered.serving.as_deref(), &table.revoked);
        let Some(to) = to.or(last.map(|served| served.digest.as_str())) else {
            let what = format!("no version of `{name}` served before that could be gone back to");
            return Err(OrderError::Version(what));
        };
        if remembered.serving.as_deref() == Some(to) {
            return Err(OrderError::Version(format!("{to} serves already")));
        }
        self.choose(name, to, Cause::Rollback, order).await
    }

    async fn choose(&self, name: &str, digest: &str, cause: Cause, order: Order) -> Result<Arc<Plugin>, OrderError> {
        let known = self.table();
        home(&known, name).ok_or_else(|| OrderError::UnknownPlugin(name.to_owned()))?;
        let plugin = self
            .shared
            .runtime
            .load_digest(digest)
            .await
            .map_err(OrderError::Load)?;
        if plugin.name() != name {
            let what = format!("{digest} is a version of `{}`, not of `{name}`", plugin.name());
            return Err(OrderError::Version(what));
        }
        let _deciding = self.shared.deciding.lock().await;
        let table = self.table();
        let path = home(&table, name).ok_or_else(|| OrderError::UnknownPlugin(name.to_owned()))?;
        // Loading took its time: going back is judged by what served when it was asked for.
        if cause == Cause::Rollback && table.remembered(name).serving != known.remembered(name).serving {
            return Err(OrderError::Changed);
        }
        let serving = table.entries.get(&path).and_then(|entry| entry.serving.clone());
        let trusted = table.remembered(name).suspect.is_none() && plugin.strikes().is_empty();
        // What serves already needs nothing more than it has.
        if trusted && serving.as_ref().is_some_and(|serving| serving.digest() == digest) {
            return Ok(plugin);
        }
        let missing: Vec<Want> = serving.map_or_else(Vec::new, |serving| (self.shared.accept)(&plugin, &serving));
        let required: Vec<Want> = missing.into_iter().filter(|want| want.required).collect();
        if !required.is_empty() {
            return Err(OrderError::Grants(required));
        }
        self.switch(&path, Arc::clone(&plugin), cause, order).await?;
        plugin.forgive();
        Ok(plugin)
    }

    /// Takes a version out of service for good. The calls under way end, and new jobs get the last good version.
    pub async fn revoke(&self, digest: &str, order: Order) -> Result<(), OrderError> {
        let serves = |table: &Table| {
            let entry = table.entries.values().filter_map(|entry| entry.serving.clone());
            entry.into_iter().find(|plugin| plugin.digest() == digest)
        };
        let replacement = match serves(&self.table()) {
            Some(plugin) => tokio::time::timeout(REPLACEMENT, self.last_good(plugin.name(), digest))
                .await
                .ok()
                .flatten(),
            None => None,
        };
        let _deciding = self.shared.deciding.lock().await;
        let table = self.table();
        let owner = |(name, known): (&String, &Arc<Remembered>)| {
            let known_here = known.served.iter().any(|version| version.digest == digest);
            (known_here || known.aside.contains_key(digest)).then(|| name.clone())
        };
        let revocation = Revocation {
            at_ms: now_ms(),
            who: order.who.clone(),
            reason: order.reason.clone(),
            plugin: table.plugins.iter().find_map(owner),
        };
        let revoked = Some((digest.to_owned(), revocation));
        match serves(&table).and_then(|plugin| Some((home(&table, plugin.name())?, plugin))) {
            None => self.keep(None, None, revoked, order.request, |_| {}).await?,
            Some((path, plugin)) => {
                let name = plugin.name().to_owned();
                let mut remembered = table.remembered(&name);
                let replacement = replacement.filter(|replacement| replacement.name() == name);
                let change = match &replacement {
                    Some(to) => remembered.serve(&name, served(to), Cause::Revoke, &order),
                    None => remembered.stop(&name, Cause::Revoke, &order, now_ms()),
                };
                let keeps = Some((name, remembered));
                let publish = |table: &mut Table| {
                    let entry = table.entries.entry(path).or_default();
                    (entry.serving, entry.loaded_at_ms) = (replacement, Some(now_ms()));
                    if entry.content.as_deref() == Some(digest) {
                        let error = LoadError::Revoked(digest.to_owned());
                        entry.error = Some(StatusError::new(error.code(), &error));
                        (entry.content, entry.waiting) = (None, None);
                    }
                };
                self.keep(keeps, Some(change), revoked, order.request, publish).await?;
            }
        }
        tracing::warn!(
            digest,
            who = order.who,
            reason = order.reason,
            "a plugin version was revoked"
        );
        self.shared.runtime.revoke(digest);
        Ok(())
    }

    /// Acts upon versions that failed by themselves too often: new work gets the last good version. If there is none
    /// the version goes on serving, since nothing better exists, and is marked.
    pub(crate) async fn quarantine(&self) {
        for plugin in crate::load::all_alive(&self.shared.runtime.shared) {
            let strikes = plugin.strikes();
            if strikes.len() >= STRIKES {
                let reason = strikes.last().map_or("", String::as_str);
                self.quarantine_one(
                    &plugin,
                    Order::of_host(format!("{} faults, the last: {reason}", strikes.len())),
                )
                .await;
            }
        }
    }

    async fn quarantine_one(&self, plugin: &Arc<Plugin>, order: Order) {
        let (name, digest) = (plugin.name(), plugin.digest());
        let known = self.table().remembered(name);
        let quarantined = known
            .aside
            .get(digest)
            .is_some_and(|aside| aside.cause == Cause::Quarantine);
        if quarantined || known.suspect.is_some() {
            return;
        }
        let replacement = self.last_good(name, digest).await;
        let _deciding = self.shared.deciding.lock().await;
        let table = self.table();
        let mut remembered = table.remembered(name);
        let serves = remembered.serving.as_deref() == Some(digest);
        let place = table.place_of(name).map(|(path, _)| path.clone()).filter(|_| serves);
        let done = match (place, replacement) {
            (Some(path), Some(to)) => {
                tracing::error!(plugin = %plugin.identity(), reason = order.reason, to = %to.identity(), "quarantined");
                self.switch(&path, to, Cause::Quarantine, order).await
            }
            (Some(_), None) => {
                tracing::error!(plugin = %plugin.identity(), reason = order.reason, "suspect, and there is nothing better");
                let change = remembered.suspect(name, &order, now_ms());
                self.keep(Some((name.to_owned(), remembered)), Some(change), None, None, |_| {})
                    .await
            }
            // It serves no new work; it is not gone back to either.
            (None, _) if table.plugins.contains_key(name) => {
                let aside = Aside::new(Cause::Quarantine, &order, now_ms());
                remembered.set_aside(digest.to_owned(), aside);
                self.keep(Some((name.to_owned(), remembered)), None, None, None, |_| {})
                    .await
            }
            (None, _) => Ok(()),
        };
        if let Err(error) = done {
            tracing::error!(
                plugin = name,
                error = &error as &dyn std::error::Error,
                "quarantine was not recorded"
            );
        }
    }

    /// The last version before this one that loads, links with what is granted, and does not fail by itself.
    async fn last_good(&self, name: &str, digest: &str) -> Option<Arc<Plugin>> {
        let table = self.table();
        let mut remembered = table.remembered(name);
        let serving = self.current(name)?;
        while let Some(candidate) = remembered
            .before(Some(digest), &table.revoked)
            .map(|served| served.digest.clone())
        {
            if let Ok(plugin) = self.shared.runtime.load_digest(&candidate).await {
                let linked = (self.shared.accept)(&plugin, &serving)
                    .iter()
                    .all(|want| !want.required);
                if linked && plugin.strikes().len() < STRIKES {
                    return Some(plugin);
                }
            }
            remembered.served.retain(|served| served.digest != candidate);
        }
        None
    }

    /// Records that another version serves, and serves it. The caller holds `deciding`.
    pub(super) async fn switch(
        &self,
        path: &Path,
        to: Arc<Plugin>,
        cause: Cause,
        order: Order,
    ) -> Result<(), OrderError> {
        let table = self.table();
        let name = to.name().to_owned();
        let serving = table.entries.get(path).and_then(|entry| entry.serving.clone());
        if let Some(other) = serving.filter(|serving| serving.name() != name) {
            // The directory holds another plugin now.
            let mut remembered = table.remembered(other.name());
            let change = remembered.stop(other.name(), Cause::Removed, &order, now_ms());
            let stopped = |table: &mut Table| {
                table.entries.entry(path.to_owned()).or_default().serving = None;
            };
            let kept = Some((other.name().to_owned(), remembered));
            self.keep(kept, Some(change), None, None, stopped).await?;
        }
        let mut remembered = self.table().remembered(&name);
        remembered.directory = super::look::name_of(path);
        let change = remembered.serve(&name, served(&to), cause, &order);
        // What lies in the directory may have been set aside by this.
        let content = self.table().entries.get(path).and_then(|entry| entry.content.clone());
        let held = content.and_then(|content| {
            let aside = remembered.aside.get(&content)?;
            let error = super::look::set_aside(&content, aside);
            Some((content, error))
        });
        let digest = to.digest().to_owned();
        tracing::info!(plugin = %to.identity(), cause = cause.as_str(), origin = ?to.origin(), "plugin serves");
        let publish = |table: &mut Table| {
            let entry = table.entries.entry(path.to_owned()).or_default();
            (entry.serving, entry.loaded_at_ms) = (Some(to), Some(now_ms()));
            if entry.content.as_ref() == Some(&digest) || cause == Cause::File {
                (entry.error, entry.waiting) = (None, None);
            } else if let Some((content, error)) = held {
                (entry.error, entry.waiting) = (Some(error), None);
                entry.content = Some(content);
            }
        };
        self.keep(Some((name, remembered)), Some(change), None, order.request, publish)
            .await
    }

    /// Durable, then published. The caller holds `deciding`.
    pub(super) async fn keep(
        &self,
        plugin: Option<(String, Remembered)>,
        change: Option<Change>,
        revoked: Option<(String, Revocation)>,
        request: Option<(String, String)>,
        publish: impl FnOnce(&mut Table),
    ) -> Result<(), OrderError> {
        let decision = Decision {
            plugin: plugin.clone(),
            change,
            revoked: revoked.clone(),
            request,
        };
        self.shared.keeper.keep(decision).await.map_err(OrderError::NotKept)?;
        self.publish(|table| {
            table
                .plugins
                .extend(plugin.map(|(name, remembered)| (name, Arc::new(remembered))));
            if let Some((digest, revocation)) = revoked {
                Arc::make_mut(&mut table.revoked).insert(digest, revocation);
            }
            publish(table);
        });
        Ok(())
    }
}

/// The directory that a plugin serves from, or did before its files broke.
fn home(table: &Table, name: &str) -> Option<PathBuf> {
    if let Some((path, _)) = table.place_of(name) {
        return Some(path.clone());
    }
    let directory = &table.plugins.get(name)?.directory;
    let ours = |path: &&PathBuf| super::look::name_of(path) == *directory;
    table.entries.keys().find(ours).cloned()
}

fn served(plugin: &Plugin) -> Served {
    Served {
        digest: plugin.digest().to_owned(),
        version: plugin.identity.version.to_string(),
        at_ms: now_ms(),
    }
}
