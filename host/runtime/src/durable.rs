//! What plugins keep across calls and restarts: text by key, within a quota.
//!
//! The runtime writes nothing durable itself: whoever embeds it brings a [`StateStore`]. What an owner has is read once
//! and then answered from memory, which the quota bounds; a change is in the store before anybody sees it. Changes of
//! one owner pass one after the other, so that `swap` and the quota hold whatever calls run beside each other.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex as AsyncMutex;

use crate::endpoint::StateGrant;
use crate::manifest::Kind;
use crate::plugin::Plugin;

/// Longest key in bytes: a path or a URL's end, and no place for data.
pub(crate) const LONGEST_KEY: usize = 256;

/// Keys of one owner, so that a listing stays small and the store's index too.
const MOST_KEYS: usize = 10_000;

/// Keys in one answer, as the contract says.
const PAGE: usize = 1_000;

/// Whose state it is: all versions of a plugin share it, and an adapter has one for each site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The plugin's name.
    pub plugin: String,
    /// The site, for an adapter.
    pub site: Option<String>,
}

impl Owner {
    /// A plugin bound under this label: an adapter has state for each site.
    pub fn of(plugin: &Plugin, label: &str) -> Self {
        Self {
            plugin: plugin.name().to_owned(),
            site: (plugin.kind() == Kind::HypervisorAdapter).then(|| label.to_owned()),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plugin)?;
        self.site.iter().try_for_each(|site| write!(f, " at {site}"))
    }
}

/// Why a store did not do it.
pub type StoreFault = Box<dyn std::error::Error + Send + Sync>;

/// Keeps state for good. Only one process may write it, and only through one runtime.
pub trait StateStore: fmt::Debug + Send + Sync {
    /// All that an owner has. Asked once for each owner.
    fn load(&self, owner: &Owner) -> BoxFuture<'static, Result<BTreeMap<String, Vec<u8>>, StoreFault>>;

    /// Puts a value, or removes it; durable when it returns. Runs to its end even if the caller gave up.
    fn put(&self, owner: &Owner, key: &str, value: Option<&[u8]>) -> BoxFuture<'static, Result<(), StoreFault>>;
}

/// State that ends with the process: for tests, and for trying a plugin out.
#[derive(Debug, Default)]
pub struct MemoryState {
    rows: Mutex<BTreeMap<Owner, BTreeMap<String, Vec<u8>>>>,
}

impl MemoryState {
    /// As if this owner had kept that earlier.
    pub fn holding(owner: Owner, rows: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            rows: Mutex::new(BTreeMap::from([(owner, rows)])),
        }
    }

    /// What is there now, by owner and key.
    pub fn rows(&self) -> BTreeMap<Owner, BTreeMap<String, Vec<u8>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StateStore for MemoryState {
    fn load(&self, owner: &Owner) -> BoxFuture<'static, Result<BTreeMap<String, Vec<u8>>, StoreFault>> {
        let found = self.rows().remove(owner).unwrap_or_default();
        Box::pin(async { Ok(found) })
    }

    fn put(&self, owner: &Owner, key: &str, value: Option<&[u8]>) -> BoxFuture<'static, Result<(), StoreFault>> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let of_owner = rows.entry(owner.clone()).or_default();
        match value {
            Some(value) => of_owner.insert(key.to_owned(), value.to_vec()),
            None => of_owner.remove(key),
        };
        Box::pin(async { Ok(()) })
    }
}

/// Why state could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{0}")]
    Key(BadKey),
    #[error("{owner} would keep {wanted} bytes of state, and may keep {most}")]
    Quota { owner: Owner, wanted: u64, most: u64 },
    #[error("{0} keeps {MOST_KEYS} keys, which is the most")]
    TooManyKeys(Owner),
    #[error("the store does not take it: {0}")]
    Store(String),
}

/// When a change is made.
#[derive(Debug)]
pub(crate) enum OnlyIf {
    Always,
    /// This value is there, or none is.
    Holds(Option<Vec<u8>>),
}

/// A key that nobody can have.
#[derive(Debug, thiserror::Error)]
#[error("a key has 1 to {LONGEST_KEY} bytes and no control characters")]
pub(crate) struct BadKey;

pub(crate) fn check_key(key: &str) -> Result<(), BadKey> {
    if key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control) {
        return Err(BadKey);
    }
    Ok(())
}

/// What an owner has, and what it weighs.
#[derive(Debug, Default)]
struct Held {
    rows: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

/// None until it was read.
type Shared = Arc<AsyncMutex<Option<Held>>>;

/// All owners' state.
#[derive(Debug)]
pub(crate) struct Shelves {
    store: Arc<dyn StateStore>,
    held: Mutex<HashMap<Owner, Shared>>,
}

impl Shelves {
    pub(crate) fn new(store: Arc<dyn StateStore>) -> Self {
        Self {
            store,
            held: Mutex::default(),
        }
    }

    /// One owner's share.
    pub(crate) fn of(&self, owner: Owner, quota: StateGrant) -> Shelf {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Shelf {
            held: Arc::clone(held.entry(owner.clone()).or_default()),
            store: Arc::clone(&self.store),
            owner,
            quota,
        }
    }
}

/// One owner's state under its quota.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    owner: Owner,
    quota: StateGrant,
    store: Arc<dyn StateStore>,
    held: Shared,
}

impl Shelf {
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        check_key(key).map_err(StateError::Key)?;
        let mut held = self.held.lock().await;
        let held = self.read(&mut held).await?;
        Ok(held.rows.get(key).cloned())
    }

    /// In order; those behind `after`.
    pub(crate) async fn keys(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, StateError> {
        let mut held = self.held.lock().await;
        let held = self.read(&mut held).await?;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let behind = held.rows.range::<str, _>((from, Bound::Unbounded)).map(|(key, _)| key);
        Ok(behind
            .take_while(|key| key.starts_with(prefix))
            .take(PAGE)
            .cloned()
            .collect())
    }

    /// Puts or removes a value, under a condition; says whether it held. Dropped: it is done or not, as a whole.
    pub(crate) async fn change(
        &self,
        key: String,
        only_if: OnlyIf,
        value: Option<Vec<u8>>,
    ) -> Result<bool, StateError> {
        check_key(&key).map_err(StateError::Key)?;
        let this = self.clone();
        // A call that is cut off must not leave memory and store apart.
        let done = tokio::spawn(async move { this.carry_out(key, only_if, value).await }).await;
        done.map_err(|error| StateError::Store(error.to_string()))?
    }

    async fn carry_out(self, key: String, only_if: OnlyIf, value: Option<Vec<u8>>) -> Result<bool, StateError> {
        let mut held = self.held.lock().await;
        let held = self.read(&mut held).await?;
        let before = held.rows.get(&key);
        match &only_if {
            OnlyIf::Always => {}
            OnlyIf::Holds(expected) if expected.as_ref() == before => {}
            OnlyIf::Holds(_) => return Ok(false),
        }
        if value.as_ref() == before {
            return Ok(true);
        }
        let gone = before.map_or(0, |value| weight(&key, value));
        let bytes = held.bytes - gone + value.as_ref().map_or(0, |value| weight(&key, value));
        if value.is_some() {
            if bytes > self.quota.max_bytes && bytes > held.bytes {
                return Err(StateError::Quota {
                    owner: self.owner.clone(),
                    wanted: bytes,
                    most: self.quota.max_bytes,
                });
            }
            if before.is_none() && held.rows.len() >= MOST_KEYS {
                return Err(StateError::TooManyKeys(self.owner.clone()));
            }
        }
        let put = self.store.put(&self.owner, &key, value.as_deref()).await;
        put.map_err(|fault| StateError::Store(fault.to_string()))?;
        held.bytes = bytes;
        match value {
            Some(value) => held.rows.insert(key, value),
            None => held.rows.remove(&key),
        };
        Ok(true)
    }

    async fn read<'h>(&self, held: &'h mut Option<Held>) -> Result<&'h mut Held, StateError> {
        if held.is_none() {
            let rows = self.store.load(&self.owner).await;
            let rows = rows.map_err(|fault| StateError::Store(fault.to_string()))?;
            let bytes = rows.iter().map(|(key, value)| weight(key, value)).sum();
            *held = Some(Held { rows, bytes });
        }
        Ok(held.get_or_insert_default())
    }
}

/// What a row counts against the quota.
fn weight(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(shelves: &Shelves, site: &str, max_bytes: u64) -> Shelf {
        let owner = Owner {
            plugin: "p".to_owned(),
            site: Some(site.to_owned()),
        };
        shelves.of(owner, StateGrant { max_bytes })
    }

    async fn set(shelf: &Shelf, key: &str, value: &str) -> Result<bool, StateError> {
        shelf.change(key.to_owned(), OnlyIf::Always, Some(value.into())).await
    }

    #[tokio::test]
    async fn owners_do_not_see_each_other_and_versions_do() {
        let store = Arc::new(MemoryState::default());
        let shelves = Shelves::new(Arc::clone(&store) as _);
        set(&shelf(&shelves, "north", 100), "k", "v").await.unwrap();
        assert_eq!(
            shelf(&shelves, "north", 100).get("k").await.unwrap(),
            Some(b"v".to_vec())
        );
        assert_eq!(shelf(&shelves, "south", 100).get("k").await.unwrap(), None);
        // Another process, one day later.
        let shelves = Shelves::new(store);
        assert_eq!(
            shelf(&shelves, "north", 100).get("k").await.unwrap(),
            Some(b"v".to_vec())
        );
    }

    #[tokio::test]
    async fn a_quota_holds_and_what_shrinks_is_taken() {
        let shelves = Shelves::new(Arc::new(MemoryState::default()));
        let ten = shelf(&shelves, "north", 10);
        set(&ten, "k", "123456789").await.unwrap();
        assert!(matches!(
            set(&ten, "l", "").await,
            Err(StateError::Quota {
                wanted: 11,
                most: 10,
                ..
            })
        ));
        set(&ten, "k", "1").await.unwrap();
        set(&ten, "l", "2").await.unwrap();
        // The operator made the quota smaller: less than before is still taken.
        let two = shelf(&shelves, "north", 2);
        set(&two, "k", "").await.unwrap();
        assert!(matches!(set(&two, "m", "").await, Err(StateError::Quota { .. })));
        assert!(two.change("l".to_owned(), OnlyIf::Always, None).await.unwrap());
    }

    #[tokio::test]
    async fn swap_takes_only_what_is_expected() {
        let shelves = Shelves::new(Arc::new(MemoryState::default()));
        let shelf = shelf(&shelves, "north", 100);
        let swap = async |expected: Option<&str>, value: Option<&str>| {
            let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
            shelf
                .change("k".to_owned(), OnlyIf::Holds(bytes(expected)), bytes(value))
                .await
                .unwrap()
        };
        assert!(!swap(Some("a"), Some("b")).await);
        assert!(swap(None, Some("a")).await);
        assert!(!swap(None, Some("b")).await);
        assert!(swap(Some("a"), None).await);
        assert_eq!(shelf.get("k").await.unwrap(), None);
    }

    #[tokio::test]
    async fn keys_come_in_order_and_in_pages() {
        let shelves = Shelves::new(Arc::new(MemoryState::default()));
        let shelf = shelf(&shelves, "north", 1 << 20);
        for number in (0..1_001).rev() {
            set(&shelf, &format!("n/{number:04}"), "").await.unwrap();
        }
        set(&shelf, "o", "").await.unwrap();
        let first = shelf.keys("n/", None).await.unwrap();
        assert_eq!((first.len(), first[0].as_str()), (1_000, "n/0000"));
        let rest = shelf.keys("n/", Some(&first[999])).await.unwrap();
        assert_eq!(rest, ["n/1000"]);
        assert_eq!(shelf.keys("", Some("n/1000")).await.unwrap(), ["o"]);
        for bad in ["", "a\nb", &"x".repeat(257)] {
            assert!(matches!(shelf.get(bad).await, Err(StateError::Key(_))));
        }
    }

    #[derive(Debug)]
    struct Broken;

    impl StateStore for Broken {
        fn load(&self, _: &Owner) -> BoxFuture<'static, Result<BTreeMap<String, Vec<u8>>, StoreFault>> {
            Box::pin(async { Ok(BTreeMap::new()) })
        }

        fn put(&self, _: &Owner, _: &str, _: Option<&[u8]>) -> BoxFuture<'static, Result<(), StoreFault>> {
            Box::pin(async { Err("disk full".into()) })
        }
    }

    #[tokio::test]
    async fn what_the_store_did_not_take_is_not_there() {
        let shelf = shelf(&Shelves::new(Arc::new(Broken)), "north", 100);
        let error = set(&shelf, "k", "v").await.unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert_eq!(shelf.get("k").await.unwrap(), None);
    }
}
