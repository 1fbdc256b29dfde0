//! The clock of a scripted stage. It stands still until a guest waits, and then moves on to what is waited for, at once:
//! a minute of silence takes no time, and is every time a minute.
//!
//! Whatever will happen later says so with [`StageClock::expect`]. Who waits moves the clock to the first such moment.
//! Where nothing is to come any more within the call, its time is up, and the call ends as it would after all of its
//! wall-clock limit.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// See the module. Clones are one clock.
#[derive(Debug, Clone)]
pub struct StageClock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    times: Mutex<Times>,
    /// The time of the call that runs now is up.
    is_over: watch::Sender<bool>,
    began: Instant,
    began_ms: u64,
}

#[derive(Debug)]
struct Times {
    now_ms: u64,
    /// When the call that runs now has used up its wall-clock limit, by this clock.
    ends_ms: u64,
    /// Moments at which something happens.
    due: BTreeSet<u64>,
}

impl StageClock {
    /// Stands at this moment, in milliseconds since 1970.
    pub fn at(now_ms: u64) -> Self {
        let times = Times {
            now_ms,
            ends_ms: u64::MAX,
            due: BTreeSet::new(),
        };
        let inner = Inner {
            times: Mutex::new(times),
            is_over: watch::Sender::new(false),
            began: Instant::now(),
            began_ms: now_ms,
        };
        Self { inner: Arc::new(inner) }
    }

    /// In milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.times().now_ms
    }

    /// Moves it on.
    pub fn advance(&self, milliseconds: u64) {
        let mut times = self.times();
        times.now_ms = times.now_ms.saturating_add(milliseconds);
    }

    /// What is left of the call that runs now.
    pub fn left_ms(&self) -> u64 {
        let times = self.times();
        times.ends_ms.saturating_sub(times.now_ms)
    }

    /// Something will happen then: who waits for it waits until that moment.
    pub fn expect(&self, at_ms: u64) {
        self.times().due.insert(at_ms);
    }

    /// Returns when so much time has passed. A call that has less left ends here. Dropped: the clock stands where it is.
    pub async fn pass(&self, milliseconds: u64) {
        let until = self.now_ms().saturating_add(milliseconds);
        self.expect(until);
        self.until(|| self.now_ms() >= until).await;
    }

    /// A call begins, and has this long.
    pub(crate) fn begin(&self, wall: Duration) {
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let mut times = self.times();
        times.ends_ms = times.now_ms.saturating_add(wall);
        self.inner.is_over.send_replace(false);
    }

    /// Resolves when the time of the call that runs now is up.
    pub(crate) async fn over(&self) {
        let mut is_over = self.inner.is_over.subscribe();
        if is_over.wait_for(|over| *over).await.is_err() {
            // The sender lives as long as this clock.
            std::future::pending::<()>().await;
        }
    }

    /// This clock's time as the host's own kind of moment, for what expires.
    pub(crate) fn instant(&self) -> Instant {
        let passed = self.now_ms().saturating_sub(self.inner.began_ms);
        let passed = self.inner.began.checked_add(Duration::from_millis(passed));
        passed.unwrap_or(self.inner.began)
    }

    /// Waits for something on the stage. A guest may wait for several things at once: all of them get to look at the
    /// clock before it moves, and it moves once.
    pub(crate) async fn until(&self, mut has_happened: impl FnMut() -> bool) {
        loop {
            if has_happened() {
                return;
            }
            let before = self.now_ms();
            tokio::task::yield_now().await;
            if has_happened() {
                return;
            }
            if self.now_ms() == before && !self.move_on() {
                self.inner.is_over.send_replace(true);
                std::future::pending::<()>().await;
            }
        }
    }

    /// To the next moment at which something happens. False: there is none within the call, whose end it is then.
    fn move_on(&self) -> bool {
        let mut times = self.times();
        let now = times.now_ms;
        times.due.retain(|at| *at > now);
        let next = times.due.first().copied().filter(|at| *at < times.ends_ms);
        times.now_ms = next.unwrap_or(times.ends_ms);
        next.is_some()
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Nothing panics while it holds this lock.
        self.inner.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> StageClock {
        let clock = StageClock::at(1_000);
        clock.begin(Duration::from_secs(1));
        clock
    }

    #[tokio::test]
    async fn what_is_first_comes_first_and_takes_no_time() {
        let clock = clock();
        let first = tokio::select! {
            () = clock.pass(300) => 300,
            () = clock.pass(200) => 200,
        };
        assert_eq!((first, clock.now_ms(), clock.left_ms()), (200, 1_200, 800));
        clock.pass(100).await;
        assert_eq!(clock.now_ms(), 1_300);
    }

    #[tokio::test]
    async fn a_call_ends_where_nothing_comes_any_more() {
        for wait in [1_000, 5_000] {
            let clock = clock();
            tokio::select! {
                () = clock.pass(wait) => panic!("the call has less than {wait} ms"),
                () = clock.over() => {}
            }
            assert_eq!((clock.now_ms(), clock.left_ms()), (2_000, 0));
            // The next one has all of its time again.
            clock.begin(Duration::from_secs(1));
            clock.pass(999).await;
            assert_eq!(clock.now_ms(), 2_999);
        }
    }

    #[test]
    fn it_does_not_run_over() {
        let clock = clock();
        clock.advance(u64::MAX);
        assert_eq!(clock.now_ms(), u64::MAX);
        clock.instant();
    }
}
