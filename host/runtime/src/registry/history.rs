//! What was decided about the versions of a plugin, and what follows from it. Nothing here reads a file or a clock.
//!
//! A version that was rolled back from, quarantined or replaced by hand is *set aside*: that its files still lie in
//! the plugin directory does not bring it back. Only a person does, or files with other content.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Versions of one plugin that can be gone back to. Nobody looks further, and the row is rewritten with each change.
const SERVED_MAX: usize = 50;

/// Versions set aside that are remembered. Forgetting the oldest would only matter if its files came back.
const ASIDE_MAX: usize = 200;

/// Changes of one plugin that are kept: a build on every commit of a busy team fills this in months. More would make
/// the history a log, and the log has them.
pub const HISTORY_MAX: u64 = 1_000;

/// Why another version serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Files in the plugin directory changed.
    File,
    /// The plugin's directory is gone.
    Removed,
    /// A person chose this version.
    Activate,
    /// A person went back from a version.
    Rollback,
    /// A person took a version out of service for good.
    Revoke,
    /// The host went back from a version that failed by itself, three times in a short while.
    Quarantine,
}

impl Cause {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Removed => "removed",
            Self::Activate => "activate",
            Self::Rollback => "rollback",
            Self::Revoke => "revoke",
            Self::Quarantine => "quarantine",
        }
    }
}

/// Who wants a change, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
    /// A request's key and what was asked under it, for whoever keeps decisions: kept together with the change.
    pub request: Option<(String, String)>,
}

impl Order {
    /// By the host itself.
    pub(crate) fn of_host(reason: impl Into<String>) -> Self {
        Self {
            who: "host".to_owned(),
            reason: reason.into(),
            request: None,
        }
    }
}

/// One line of a plugin's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// Counts the changes of this plugin.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The plugin.
    pub plugin: String,
    /// The digest that served.
    pub from: Option<String>,
    /// The digest that serves; the same as before if the host found nothing better.
    pub to: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Why.
    pub cause: Cause,
    /// By whom.
    pub who: String,
    /// In words.
    pub reason: String,
}

/// A version that served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Served {
    /// Its digest.
    pub digest: String,
    /// Its version.
    pub version: String,
    /// Since when it served, the last time.
    pub at_ms: u64,
}

/// Why a version is not served though its files are there, or what is held against the one that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Aside {
    /// What was decided.
    pub cause: Cause,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// By whom.
    pub who: String,
    /// In words.
    pub reason: String,
}

/// What is remembered of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Remembered {
    /// Number of its last change.
    pub seq: u64,
    /// Name of the directory that it was loaded from.
    pub directory: String,
    /// The digest that new work gets.
    pub serving: Option<String>,
    /// Versions that served, the latest last, each once.
    pub served: Vec<Served>,
    /// Versions that files do not bring back.
    pub aside: BTreeMap<String, Aside>,
    /// The version that serves fails by itself, and there is nothing better.
    pub suspect: Option<Aside>,
}

/// A version that never runs again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Revocation {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// By whom.
    pub who: String,
    /// Why.
    pub reason: String,
    /// The plugin, if this host knew the version.
    pub plugin: Option<String>,
}

/// Everything that is remembered, at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// By plugin name.
    pub plugins: BTreeMap<String, Remembered>,
    /// By digest.
    pub revoked: BTreeMap<String, Revocation>,
}

/// What is made durable before it is acted on: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The plugin's line of history, and how it is remembered from now on.
    pub plugin: Option<(String, Remembered)>,
    /// For the history.
    pub change: Option<Change>,
    /// A digest that never runs again.
    pub revoked: Option<(String, Revocation)>,
    /// The request that asked for it.
    pub request: Option<(String, String)>,
}

/// Keeps decisions.
pub trait Keeper: Send + Sync {
    /// Resolves once the decision is durable. Dropped: it may be, or not.
    fn keep(&self, decision: Decision) -> BoxFuture<'_, io::Result<()>>;
}

/// Keeps decisions as long as the process lives: for those who try plugins out.
#[derive(Debug, Default)]
pub struct Forgetful {
    kept: Mutex<(Past, VecDeque<Change>)>,
}

impl Forgetful {
    /// What a registry that starts now would remember.
    pub fn past(&self) -> Past {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// All changes, oldest first.
    pub fn history(&self) -> Vec<Change> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.iter().cloned().collect()
    }
}

impl Keeper for Forgetful {
    fn keep(&self, decision: Decision) -> BoxFuture<'_, io::Result<()>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.plugins.extend(decision.plugin);
        kept.0.revoked.extend(decision.revoked);
        kept.1.extend(decision.change);
        while kept.1.len() as u64 > HISTORY_MAX {
            kept.1.pop_front();
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Remembered {
    /// Another version serves from now on. The one before it is set aside if a person or the host turned away from it.
    pub(crate) fn serve(&mut self, plugin: &str, to: Served, cause: Cause, order: &Order) -> Change {
        let from = self.serving.take();
        let at_ms = to.at_ms;
        if let Some(from) = from.clone().filter(|from| *from != to.digest)
            && matches!(cause, Cause::Activate | Cause::Rollback | Cause::Quarantine)
        {
            self.set_aside(from, Aside::new(cause, order, at_ms));
        }
        self.aside.remove(&to.digest);
        self.suspect = None;
        self.serving = Some(to.digest.clone());
        self.served.retain(|served| served.digest != to.digest);
        let change = self.change(plugin, from, Some(&to), cause, order, at_ms);
        self.served.push(to);
        let over = self.served.len().saturating_sub(SERVED_MAX);
        self.served.drain(..over);
        change
    }

    /// Nothing serves from now on.
    pub(crate) fn stop(&mut self, plugin: &str, cause: Cause, order: &Order, at_ms: u64) -> Change {
        let from = self.serving.take();
        self.suspect = None;
        self.change(plugin, from, None, cause, order, at_ms)
    }

    /// The version that serves fails by itself, and nothing better is there.
    pub(crate) fn suspect(&mut self, plugin: &str, order: &Order, at_ms: u64) -> Change {
        self.suspect = Some(Aside::new(Cause::Quarantine, order, at_ms));
        let to = self.served.last().cloned();
        self.change(
            plugin,
            self.serving.clone(),
            to.as_ref(),
            Cause::Quarantine,
            order,
            at_ms,
        )
    }

    pub(crate) fn set_aside(&mut self, digest: String, aside: Aside) {
        self.aside.insert(digest, aside);
        if self.aside.len() > ASIDE_MAX {
            let oldest = self.aside.iter().min_by_key(|(_, aside)| aside.at_ms);
            if let Some(oldest) = oldest.map(|(digest, _)| digest.clone()) {
                self.aside.remove(&oldest);
            }
        }
    }

    /// The last version before this one that nobody turned away from.
    pub(crate) fn before(&self, digest: Option<&str>, revoked: &BTreeMap<String, Revocation>) -> Option<&Served> {
        let bad = |digest: &str| {
            let aside = self.aside.get(digest).map(|aside| aside.cause);
            matches!(aside, Some(Cause::Rollback | Cause::Quarantine)) || revoked.contains_key(digest)
        };
        self.served
            .iter()
            .rev()
            .find(|served| Some(served.digest.as_str()) != digest && !bad(&served.digest))
    }

    fn change(
        &mut self,
        plugin: &str,
        from: Option<String>,
        to: Option<&Served>,
        cause: Cause,
        order: &Order,
        at_ms: u64,
    ) -> Change {
        self.seq += 1;
        Change {
            seq: self.seq,
            at_ms,
            plugin: plugin.to_owned(),
            from,
            to: to.map(|to| to.digest.clone()),
            version: to.map(|to| to.version.clone()),
            cause,
            who: order.who.clone(),
            reason: order.reason.clone(),
        }
    }
}

impl Aside {
    pub(crate) fn new(cause: Cause, order: &Order, at_ms: u64) -> Self {
        Self {
            cause,
            at_ms,
            who: order.who.clone(),
            reason: order.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str) -> Served {
        Served {
            digest: digest.to_owned(),
            version: digest.to_owned(),
            at_ms: 7,
        }
    }

    fn after(steps: &[(&str, Cause)]) -> Remembered {
        let mut remembered = Remembered::default();
        for (digest, cause) in steps {
            remembered.serve("it", version(digest), *cause, &Order::of_host("because"));
        }
        remembered
    }

    fn before(remembered: &Remembered) -> Option<String> {
        let digest = remembered.serving.as_deref();
        remembered
            .before(digest, &BTreeMap::new())
            .map(|served| served.digest.clone())
    }

    #[test]
    fn c05_going_back_twice_goes_back_two_versions() {
        let mut it = after(&[("a", Cause::File), ("b", Cause::File), ("c", Cause::File)]);
        for wanted in ["b", "a"] {
            assert_eq!(before(&it).as_deref(), Some(wanted));
            it.serve("it", version(wanted), Cause::Rollback, &Order::of_host(""));
        }
        assert_eq!(before(&it), None);
        assert_eq!(it.aside.keys().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn a_version_that_was_only_replaced_by_hand_can_be_gone_back_to() {
        let mut it = after(&[("a", Cause::File), ("b", Cause::Activate)]);
        assert_eq!(it.aside["a"].cause, Cause::Activate);
        assert_eq!(before(&it).as_deref(), Some("a"));
        let change = it.serve("it", version("a"), Cause::Rollback, &Order::of_host("why"));
        assert_eq!(
            (change.seq, change.from.as_deref(), change.to.as_deref()),
            (3, Some("b"), Some("a"))
        );
        assert!(it.aside.contains_key("b") && !it.aside.contains_key("a"));
    }

    #[test]
    fn neither_a_revoked_nor_a_quarantined_version_is_gone_back_to() {
        let it = after(&[
            ("a", Cause::File),
            ("b", Cause::File),
            ("c", Cause::File),
            ("d", Cause::Quarantine),
        ]);
        assert_eq!(it.aside.keys().collect::<Vec<_>>(), ["c"]);
        let revocation = Revocation {
            at_ms: 0,
            who: String::new(),
            reason: String::new(),
            plugin: None,
        };
        let revoked = BTreeMap::from([("b".to_owned(), revocation)]);
        let found = it.before(Some("d"), &revoked).map(|served| served.digest.as_str());
        assert_eq!(found, Some("a"));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut it = Remembered::default();
        for n in 0..500 {
            it.serve("it", version(&n.to_string()), Cause::Rollback, &Order::of_host(""));
        }
        assert_eq!((it.served.len(), it.aside.len(), it.seq), (SERVED_MAX, ASIDE_MAX, 500));
        assert_eq!(it.served.last().map(|served| served.digest.as_str()), Some("499"));
    }
}
