//! What is held against a version while it runs: faults of its own making, and that a person revoked it.
//!
//! Only what the code itself did counts: a trap, too much memory, processor time that the thread's clock confirms. A
//! slow site, a full host or a refused request never does, so that no site can take the adapter away that it needs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Fault;

/// One may be an accident and two a coincidence; a version that fails by itself three times is worse than none.
pub(crate) const STRIKES: usize = 3;

/// Older ones are forgotten: a fault a week is something for the author, not for the operator on the worst day.
pub(crate) const WINDOW: Duration = Duration::from_mins(10);

/// One version's record, shared by all that call it.
#[derive(Debug)]
pub(crate) struct Health {
    strikes: Mutex<VecDeque<(Instant, String)>>,
    revoked: watch::Sender<bool>,
    /// Told when a version has had its third strike.
    struck: watch::Sender<u64>,
}

impl Health {
    pub(crate) fn new(struck: watch::Sender<u64>) -> Self {
        Self {
            strikes: Mutex::default(),
            revoked: watch::Sender::new(false),
            struck,
        }
    }

    /// Looks at how a call ended. A guest that falls over what it was refused is badly granted, not broken.
    pub(crate) fn note(&self, fault: &Fault, refused: bool) {
        let own = fault.is_strike() && !(refused && matches!(fault, Fault::Trap { .. }));
        if own && self.strike(Instant::now(), fault.to_string()) {
            self.struck.send_modify(|count| *count += 1);
        }
    }

    /// True if that was one too many.
    fn strike(&self, now: Instant, what: String) -> bool {
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut strikes, now);
        strikes.push_back((now, what));
        // What is over the number says nothing new.
        if strikes.len() > STRIKES {
            strikes.pop_front();
        }
        strikes.len() >= STRIKES
    }

    /// What it did, oldest first.
    pub(crate) fn strikes(&self) -> Vec<String> {
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut strikes, Instant::now());
        strikes.iter().map(|(_, what)| what.clone()).collect()
    }

    /// A person trusts it again.
    pub(crate) fn forgive(&self) {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends the calls under way and refuses new ones, for good.
    pub(crate) fn revoke(&self) {
        self.revoked.send_replace(true);
    }

    /// Resolves when it is revoked. Dropped: nothing happens.
    pub(crate) async fn revoked(&self) {
        // The sender is this struct's own and cannot be gone.
        let _ = self.revoked.subscribe().wait_for(|revoked| *revoked).await;
    }
}

fn forget(strikes: &mut VecDeque<(Instant, String)>, now: Instant) {
    strikes.retain(|(at, _)| now.saturating_duration_since(*at) < WINDOW);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (Health, watch::Receiver<u64>) {
        let struck = watch::Sender::new(0);
        let seen = struck.subscribe();
        (Health::new(struck), seen)
    }

    fn trap() -> Fault {
        Fault::Trap {
            message: "unreachable".to_owned(),
            backtrace: Vec::new(),
            last_words: None,
        }
    }

    #[test]
    fn three_strikes_in_a_window_are_too_many_and_older_ones_are_forgotten() {
        let (health, _) = health();
        let (began, strike) = (Instant::now(), |at| health.strike(at, "trapped".to_owned()));
        assert!(!strike(began) && !strike(began));
        let later = began + WINDOW;
        assert!(!strike(later) && !strike(later) && strike(later) && strike(later));
    }

    #[test]
    fn faults_of_its_own_count_and_can_be_forgiven() {
        let (health, seen) = health();
        let limit = WINDOW;
        for fault in [trap(), Fault::MemoryLimit { limit: 1 }, Fault::CpuLimit { limit }] {
            assert_eq!(*seen.borrow(), 0);
            health.note(&fault, false);
        }
        assert_eq!((*seen.borrow(), health.strikes().len()), (1, 3));
        health.forgive();
        assert!(health.strikes().is_empty());
    }

    #[test]
    fn slow_sites_full_hosts_and_refusals_never_count() {
        let (health, _) = health();
        for _ in 0..STRIKES {
            health.note(&trap(), true);
            health.note(&Fault::Busy(String::new()), false);
            health.note(&Fault::Host(String::new()), false);
            let (limit, started) = (WINDOW, true);
            health.note(&Fault::WallLimit { limit, started }, false);
        }
        assert!(health.strikes().is_empty());
    }
}
