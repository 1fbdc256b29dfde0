//! What one call may use, and the meters that hold it to that.
//!
//! Time is limited twice: CPU by the thread's own clock, asked whenever the engine's epoch passes, so that waiting for
//! a slow site costs nothing and a loop is stopped within two ticks; and wall time by a timeout around the whole call.
//! Memory is the sum over all memories and tables of all instances in a component.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// Bytes that the host keeps for one table element: a pointer.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Limits of one call. The defaults fit short calls of a plugin in any language; Python needs the most of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// CPU time of the guest, including its start.
    #[serde(rename = "cpu-ms", with = "milliseconds")]
    pub cpu: Duration,
    /// From the moment the call is made to its answer, waiting for a free instance included.
    #[serde(rename = "wall-ms", with = "milliseconds")]
    pub wall: Duration,
    /// Bytes in all memories and tables together.
    pub memory: usize,
    /// Lines that reach the host's log; what is over is counted and dropped.
    pub log_lines: u32,
    /// Bytes of those lines.
    pub log_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A Rust plugin needs well under a millisecond, a JavaScript one a few; a page of 10,000 machines a
            // hundred times that.
            cpu: Duration::from_secs(2),
            // Calls are short; long work returns a handle. The slowest real management servers answer within this.
            wall: Duration::from_secs(30),
            // The largest need seen in a component was 16.4 MiB (JavaScript, Python).
            memory: 64 << 20,
            log_lines: 200,
            log_bytes: 64 << 10,
        }
    }
}

/// As operators write durations.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// CPU time of one call: the sum of what the thread used while it polled the call.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    budget: u64,
    used: AtomicU64,
    /// The thread's clock when the running poll began.
    entered: AtomicU64,
    exhausted: AtomicBool,
}

impl CpuMeter {
    pub(crate) fn new(budget: Duration) -> Self {
        Self {
            budget: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
            used: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
        }
    }

    /// A poll begins on this thread. Relaxed is enough: a task is polled by one thread at a time.
    pub(crate) fn enter(&self) {
        self.entered.store(thread_nanoseconds(), Ordering::Relaxed);
    }

    /// The poll ends.
    pub(crate) fn leave(&self) {
        self.used.store(self.spent(), Ordering::Relaxed);
    }

    fn spent(&self) -> u64 {
        let now = thread_nanoseconds().saturating_sub(self.entered.load(Ordering::Relaxed));
        self.used.load(Ordering::Relaxed).saturating_add(now)
    }

    /// Asked inside a poll. Once true, it stays true, and tells the trap that follows from others.
    pub(crate) fn is_over_budget(&self) -> bool {
        let over = self.spent() >= self.budget;
        self.exhausted.fetch_or(over, Ordering::Relaxed) || over
    }

    pub(crate) fn was_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }
}

fn thread_nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds.unwrap_or(0))
}

/// Adds up all memories and tables of a store; wasmtime's own limits are per memory.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// What the last permitted growth added, given back if it then failed.
    last: usize,
    refused: bool,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            last: 0,
            refused: false,
        }
    }

    /// True once a growth was refused: the guest may go on, but mostly it traps soon after.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let wanted = self.used.saturating_add(bytes);
        let fits = wanted <= self.limit;
        self.last = if fits { bytes } else { 0 };
        self.used = if fits { wanted } else { self.used };
        self.refused |= !fits;
        fits
    }

    fn give_back(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
        self.refused = true;
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT)))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = MemoryLimiter::new(3 << 16);
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.table_growing(0, (1 << 16) / TABLE_ELEMENT, None).unwrap());
        assert!(!limiter.was_refused());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert!(limiter.was_refused());
    }

    #[test]
    fn limits_are_written_in_milliseconds_and_bytes() {
        let limits: Limits = toml::from_str("wall-ms = 1500\nlog-lines = 5").unwrap();
        let wanted = Limits {
            wall: Duration::from_millis(1_500),
            log_lines: 5,
            ..Limits::default()
        };
        assert_eq!(limits, wanted);
        assert_eq!(
            toml::from_str::<Limits>(&toml::to_string(&wanted).unwrap()).unwrap(),
            wanted
        );
    }

    #[test]
    fn cpu_counts_only_inside_polls() {
        let meter = CpuMeter::new(Duration::from_millis(5));
        meter.enter();
        meter.leave();
        std::thread::sleep(Duration::from_millis(20));
        meter.enter();
        assert!(!meter.is_over_budget());
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(200) && !meter.is_over_budget() {}
        assert!(meter.was_exhausted());
    }
}
