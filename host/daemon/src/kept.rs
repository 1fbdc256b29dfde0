//! What plugins keep, in the daemon's own database: the same writer, the same file, the same backup.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use landfall_runtime::{Owner, StateStore, StoreFault};
use landfall_store::{Batch, Space, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::engine::commit;
use crate::hex::{from_hex, to_hex};

/// Parts of a row's name. No key holds it, so the last one begins the key whatever the site is called.
const SEPARATOR: char = '\u{1f}';

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    store: Store,
    fatal: watch::Sender<Option<String>>,
}

/// A value as it stands in the database, readable where it is text.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Value {
    Text(String),
    Hex(String),
}

impl Kept {
    pub(crate) fn new(store: Store, fatal: watch::Sender<Option<String>>) -> Self {
        Self { store, fatal }
    }
}

fn row_prefix(owner: &Owner) -> String {
    let site = owner.site.as_deref().unwrap_or_default();
    format!("{}{SEPARATOR}{site}{SEPARATOR}", owner.plugin)
}

impl Value {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(to_hex(bytes)),
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Hex(digits) => from_hex(&digits),
        }
    }
}

impl StateStore for Kept {
    fn load(&self, owner: &Owner) -> BoxFuture<'static, Result<BTreeMap<String, Vec<u8>>, StoreFault>> {
        let (reader, prefix) = (self.store.reader().clone(), row_prefix(owner));
        Box::pin(async move {
            let rows = tokio::task::spawn_blocking(move || reader.below::<Value>(Space::Plugin, &prefix)).await??;
            let row = |(key, value): (String, Value)| {
                let bytes = value
                    .into_bytes()
                    .ok_or_else(|| format!("the value of `{key}` is damaged"))?;
                Ok((key, bytes))
            };
            // A site's name may hold the separator, and then its rows begin as those of a shorter name.
            let own = rows.into_iter().filter(|(key, _)| !key.contains(SEPARATOR));
            own.map(row).collect()
        })
    }

    fn put(&self, owner: &Owner, key: &str, value: Option<&[u8]>) -> BoxFuture<'static, Result<(), StoreFault>> {
        let name = format!("{}{key}", row_prefix(owner));
        let mut batch = Batch::new();
        let filled = match value {
            Some(value) => batch.put(Space::Plugin, &name, &Value::of(value)),
            None => Ok(batch.remove(Space::Plugin, &name)),
        };
        let filled = filled.map(|_| ());
        let (store, fatal) = (self.store.clone(), self.fatal.clone());
        Box::pin(async move {
            filled?;
            commit(&store, &fatal, batch).await?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use landfall_store::JobRow;

    use super::*;

    fn owner(plugin: &str, site: Option<&str>) -> Owner {
        Owner {
            plugin: plugin.to_owned(),
            site: site.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_only_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::new(Store::open(directory.path()).unwrap(), watch::Sender::new(None));
        let (north, odd) = (owner("lab", Some("north")), owner("lab", Some("north\u{1f}x")));
        for (key, value) in [
            ("a", Some(&b"text"[..])),
            ("b", Some(&[0xff, 0])),
            ("c", Some(b"x")),
            ("c", None),
        ] {
            kept.put(&north, key, value).await.unwrap();
        }
        kept.put(&odd, "a", Some(b"other")).await.unwrap();
        drop(kept);
        // The writer's thread ends with its last user, and gives the directory free a moment later.
        let store = loop {
            match Store::open(directory.path()) {
                Ok(store) => break store,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let kept = Kept::new(store, watch::Sender::new(None));
        let rows = kept.load(&north).await.unwrap();
        let wanted = [("a".to_owned(), b"text".to_vec()), ("b".to_owned(), vec![0xff, 0])];
        assert_eq!(rows, wanted.into());
        assert_eq!(kept.load(&odd).await.unwrap().len(), 1);
        for stranger in [
            owner("lab", None),
            owner("la", Some("north")),
            owner("lab", Some("nort")),
        ] {
            assert!(kept.load(&stranger).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_commit_that_fails_ends_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let (store, fatal) = (Store::open(directory.path()).unwrap(), watch::Sender::new(None));
        let kept = Kept::new(store.clone(), fatal.clone());
        kept.put(&owner("lab", None), "a", Some(b"text")).await.unwrap();
        assert_eq!(*fatal.borrow(), None);
        // The store closes at its first failure: here a job that is written twice.
        let row = JobRow {
            id: "j".to_owned(),
            plan: "p".to_owned(),
            operation: "test".to_owned(),
            created_at: 1,
            frozen: "{}".to_owned(),
        };
        let mut twice = Batch::new();
        twice.job(row.clone()).job(row);
        store.commit(twice).await.unwrap_err();
        kept.put(&owner("lab", None), "a", Some(b"more")).await.unwrap_err();
        assert!(fatal.borrow().is_some(), "nobody was told");
    }
}
