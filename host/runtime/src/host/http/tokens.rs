//! Session tokens that were taken out of answers. They live in the host's memory alone: after a restart, or under
//! another version of a plugin, there is none, and the plugin logs in again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::destination::Target;
use crate::secret::Secret;
use crate::state::Subject;

/// Whose tokens, and the only origin that they are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    label: String,
    digest: String,
    /// Scheme, host and port.
    place: String,
}

impl Origin {
    pub(crate) fn new(subject: &Subject, target: &Target) -> Self {
        Self {
            label: subject.label.clone(),
            digest: subject.plugin.digest.clone(),
            place: target.origin(),
        }
    }
}

/// Tokens by the name that the grant gave them.
pub(crate) type Tokens = BTreeMap<String, Secret>;

/// All of them.
#[derive(Default)]
pub(crate) struct TokenStore(Mutex<HashMap<Origin, Tokens>>);

impl TokenStore {
    fn all(&self) -> MutexGuard<'_, HashMap<Origin, Tokens>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn at(&self, origin: &Origin) -> Tokens {
        self.all().get(origin).cloned().unwrap_or_default()
    }

    /// Names are the operator's, so there are no more than the grants have.
    pub(crate) fn keep(&self, origin: &Origin, name: &str, token: Secret) {
        let mut all = self.all();
        all.entry(origin.clone()).or_default().insert(name.to_owned(), token);
    }
}
