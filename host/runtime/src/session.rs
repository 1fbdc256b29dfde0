//! What plugins may have to forget: logins and look-ups, in memory only.
//!
//! Held by the loaded version of a plugin, for each site or runbook that it is bound for, so it goes with the version,
//! and no other site sees it. What is over the bound pushes out what is oldest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::durable::{BadKey, check_key};

/// Bytes that one site or runbook has here: many logins, and no cache of a whole inventory.
const ROOM: usize = 1 << 20;

/// What an entry counts besides its bytes, so that a million empty ones do not fit.
const ENTRY: usize = 128;

/// Longest time to live, which is as good as none and cannot overflow the clock.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Why an entry is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Key(BadKey),
    #[error("an entry of {0} bytes is more than the {ROOM} that a session has")]
    TooLarge(usize),
}

/// The sessions of one version of a plugin, by site or runbook.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_label: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    pub(crate) fn of(&self, label: &str) -> Arc<Session> {
        let mut by_label = self.by_label.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(by_label.entry(label.to_owned()).or_default())
    }
}

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    entries: HashMap<String, Entry>,
    /// Keys by age.
    order: BTreeMap<u64, String>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    until: Instant,
    number: u64,
}

impl Session {
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Vec<u8>> {
        let mut held = self.held();
        if held.entries.get(key)?.until <= now {
            held.remove(key);
            return None;
        }
        held.entries.get(key).map(|entry| entry.value.clone())
    }

    pub(crate) fn set(
        &self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<(), SessionError> {
        check_key(&key).map_err(SessionError::Key)?;
        let weight = weight(&key, &value);
        if weight > ROOM {
            return Err(SessionError::TooLarge(value.len()));
        }
        let mut held = self.held();
        held.remove(&key);
        held.bytes += weight;
        while held.bytes > ROOM {
            let Some((_, oldest)) = held.order.pop_first() else {
                break;
            };
            held.remove(&oldest);
        }
        let number = held.next;
        held.next += 1;
        held.order.insert(number, key.clone());
        let until = now + ttl.unwrap_or(LONGEST).min(LONGEST);
        held.entries.insert(key, Entry { value, until, number });
        Ok(())
    }

    pub(crate) fn delete(&self, key: &str) {
        self.held().remove(key);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it holds this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.number);
            self.bytes -= weight(key, &entry.value);
        }
    }
}

fn weight(key: &str, value: &[u8]) -> usize {
    // The key is held twice.
    2 * key.len() + value.len() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_at_its_time() {
        let (session, now) = (Session::default(), Instant::now());
        let (brief, no_end) = (Some(Duration::from_millis(10)), Some(Duration::MAX));
        session.set("login".to_owned(), b"t".to_vec(), brief, now).unwrap();
        session.set("other".to_owned(), b"u".to_vec(), no_end, now).unwrap();
        assert_eq!(session.get("login", now), Some(b"t".to_vec()));
        let later = now + Duration::from_millis(10);
        assert_eq!((session.get("login", later), session.get("login", now)), (None, None));
        assert_eq!(session.get("other", later), Some(b"u".to_vec()));
        session.delete("other");
        assert_eq!(session.get("other", later), None);
        assert_eq!(session.held().bytes, 0);
    }

    #[test]
    fn what_is_oldest_makes_room() {
        let (session, now) = (Session::default(), Instant::now());
        let quarter = || vec![0; ROOM / 4 - 200];
        for key in ["a", "b", "c", "d", "a", "e"] {
            session.set(key.to_owned(), quarter(), None, now).unwrap();
        }
        let there = |key| session.get(key, now).is_some();
        assert!(!there("b") && there("a") && there("c") && there("d") && there("e"));
        assert!(session.held().bytes <= ROOM);
        let error = session.set("f".to_owned(), vec![0; ROOM], None, now).unwrap_err();
        assert!(matches!(error, SessionError::TooLarge(_)) && there("a"));
    }

    #[test]
    fn a_million_empty_entries_do_not_fit() {
        let (session, now) = (Session::default(), Instant::now());
        for number in 0..20_000 {
            session.set(number.to_string(), vec![], None, now).unwrap();
        }
        assert!(session.held().entries.len() <= ROOM / ENTRY);
    }
}
