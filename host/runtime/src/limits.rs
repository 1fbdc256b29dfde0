//! What one call may use, and the meters that hold it to that.
//!
//! Time is limited twice: CPU by the thread's own clock, asked whenever the engine's epoch passes, so that waiting for
//! a slow site costs nothing and a loop is stopped within two ticks; and wall time by a timeout around the whole call.
//! Memory is the sum over all memories and tables of all instances in a component.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use wasmtime::ResourceLimiter;

use crate::engine::{LARGEST_MEMORY, LARGEST_TABLE};

/// Bytes that the host keeps for one table element: a pointer.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Lines that a call may write for each line that is kept, before the call is ended. A chatty plugin is no reason to
/// stop a failover; a loop that logs is.
const FLOOD: u32 = 100;

/// Limits of one call. The defaults fit short calls of a plugin in any language; Python needs the most of all. Values
/// outside of what makes sense are refused where they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// CPU time of the guest, including its start. At most an hour.
    #[serde(rename = "cpu-ms", with = "milliseconds")]
    pub cpu: Duration,
    /// From the moment the call is made to its answer, waiting for a free instance included. At most an hour.
    #[serde(rename = "wall-ms", with = "milliseconds")]
    pub wall: Duration,
    /// Bytes in all memories and tables together: from one page (64 KiB) to 256 MiB, which is the room of the pool.
    #[serde(deserialize_with = "between::<_, 0x1_0000, LARGEST_MEMORY>")]
    pub memory: usize,
    /// Elements in all tables together. At most a million.
    #[serde(deserialize_with = "between::<_, 1, 1_000_000>")]
    pub table_elements: usize,
    /// Lines that reach the host's log; what is over is counted and dropped. A call that writes a hundred times as many
    /// is ended. At most 100,000.
    #[serde(deserialize_with = "at_most::<_, 100_000>")]
    pub log_lines: u32,
    /// Bytes of those lines. At most 64 MiB.
    #[serde(deserialize_with = "at_most::<_, 0x400_0000>")]
    pub log_bytes: u32,
    /// Bytes that pass from the guest to the host at once: an answer, or the arguments of one call to the host. From
    /// 4 KiB to 256 MiB.
    #[serde(deserialize_with = "between::<_, 0x1000, LARGEST_MEMORY>")]
    pub pass_bytes: usize,
    /// Largest HTTP body, in each direction. Bodies live in host memory, outside of `memory`. At most 256 MiB.
    #[serde(deserialize_with = "between::<_, 0x1000, LARGEST_MEMORY>")]
    pub body_bytes: usize,
    /// Streams, requests, buffers and other resources of the host that the guest holds at once. From 16 to 100,000.
    #[serde(deserialize_with = "between::<_, 16, 100_000>")]
    pub handles: usize,
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
            // The largest need seen was 7,688 (Python).
            table_elements: 50_000,
            log_lines: 200,
            log_bytes: 64 << 10,
            // The largest answer is a page of extents or machines; disk data goes through buffers in pieces.
            pass_bytes: 8 << 20,
            // Four of the largest slices of disk that the host moves in one call, and more than any page of a list.
            body_bytes: 16 << 20,
            // A call has a few streams and a request; a hundred times that is a leak in the guest.
            handles: 1_000,
        }
    }
}

impl Limits {
    /// Lines after which a call that goes on logging is ended.
    pub(crate) fn flood(&self) -> u32 {
        self.log_lines.max(1).saturating_mul(FLOOD)
    }
}

fn between<'de, D: Deserializer<'de>, const LEAST: usize, const MOST: usize>(from: D) -> Result<usize, D::Error> {
    let value = usize::deserialize(from)?;
    if (LEAST..=MOST).contains(&value) {
        return Ok(value);
    }
    Err(D::Error::custom(format!("{value} is not between {LEAST} and {MOST}")))
}

fn at_most<'de, D: Deserializer<'de>, const MOST: u32>(from: D) -> Result<u32, D::Error> {
    let value = u32::deserialize(from)?;
    if value <= MOST {
        return Ok(value);
    }
    Err(D::Error::custom(format!("{value} is more than {MOST}")))
}

/// As operators write durations.
mod milliseconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// An hour: what takes longer is no call but work, and returns a handle.
    const LONGEST: u64 = 3_600_000;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = u64::deserialize(from)?;
        if (1..=LONGEST).contains(&value) {
            return Ok(Duration::from_millis(value));
        }
        Err(D::Error::custom(format!(
            "{value} is not between 1 and {LONGEST} milliseconds"
        )))
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

    /// Of all polls that have ended.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
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

/// A growth that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `memory`.
    Memory,
    /// `table-elements`.
    Tables,
}

/// Adds up all memories and tables of a store; wasmtime's own limits are per memory.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    bytes: Share,
    elements: Share,
    /// Why the last growth was refused: the guest may go on, but mostly it traps soon after.
    refused: Option<Refused>,
}

/// What is used of one limit.
#[derive(Debug)]
struct Share {
    limit: usize,
    used: usize,
    /// What the last permitted growth added, given back if it then failed.
    last: usize,
}

impl Share {
    fn of(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            last: 0,
        }
    }

    fn grow(&mut self, more: usize) -> bool {
        let wanted = self.used.saturating_add(more);
        let fits = wanted <= self.limit;
        self.last = if fits { more } else { 0 };
        self.used = if fits { wanted } else { self.used };
        fits
    }

    fn give_back(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
    }
}

impl MemoryLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bytes: Share::of(limits.memory),
            elements: Share::of(limits.table_elements),
            refused: None,
        }
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

/// A growth beyond what the module itself declares as its most fails without any limit of ours.
fn exceeds_own(desired: usize, maximum: Option<usize>, largest: usize) -> bool {
    maximum.is_some_and(|maximum| desired > maximum && maximum < largest)
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if exceeds_own(desired, maximum, LARGEST_MEMORY) {
            return Ok(false);
        }
        let fits = self.bytes.grow(desired.saturating_sub(current));
        if !fits {
            self.refused = Some(Refused::Memory);
        }
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.bytes.give_back();
        self.refused = Some(Refused::Memory);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if exceeds_own(desired, maximum, LARGEST_TABLE) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        if !self.elements.grow(more) {
            self.refused = Some(Refused::Tables);
            return Ok(false);
        }
        let fits = self.bytes.grow(more.saturating_mul(TABLE_ELEMENT));
        if !fits {
            self.elements.give_back();
            self.refused = Some(Refused::Memory);
        }
        Ok(fits)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.elements.give_back();
        self.bytes.give_back();
        self.refused = Some(Refused::Tables);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(memory: usize, table_elements: usize) -> MemoryLimiter {
        MemoryLimiter::new(&Limits {
            memory,
            table_elements,
            ..Limits::default()
        })
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = limiter(3 << 16, 1 << 16);
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.table_growing(0, (1 << 16) / TABLE_ELEMENT, None).unwrap());
        assert_eq!(limiter.refused(), None);
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory));
    }

    #[test]
    fn tables_have_a_limit_of_their_own() {
        let mut limiter = limiter(1 << 20, 100);
        assert!(limiter.table_growing(0, 60, None).unwrap());
        assert!(limiter.table_growing(0, 40, None).unwrap());
        assert!(!limiter.table_growing(40, 41, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Tables));
    }

    #[test]
    fn what_a_module_denies_itself_is_no_breach() {
        let mut limiter = limiter(1 << 20, 100);
        assert!(!limiter.memory_growing(1 << 16, 2 << 16, Some(1 << 16)).unwrap());
        assert!(!limiter.table_growing(10, 20, Some(10)).unwrap());
        assert_eq!(limiter.refused(), None);
        assert_eq!((limiter.bytes.used, limiter.elements.used), (0, 0));
    }

    #[test]
    fn a_growth_that_failed_is_given_back() {
        let mut limiter = limiter(1 << 20, 100);
        assert!(limiter.table_growing(0, 60, None).unwrap());
        limiter.table_grow_failed(wasmtime::format_err!("no room")).unwrap();
        assert_eq!((limiter.bytes.used, limiter.elements.used), (0, 0));
    }

    #[test]
    fn limits_that_make_no_sense_are_refused_where_they_are_read() {
        for (bad, words) in [
            ("cpu-ms = 0", "0 is not between 1 and 3600000 milliseconds"),
            ("wall-ms = 3600001", "3600001 is not between 1 and 3600000 milliseconds"),
            ("memory = 65535", "65535 is not between 65536 and 268435456"),
            ("memory = 268435457", "is not between"),
            ("table-elements = 0", "is not between 1 and 1000000"),
            ("log-lines = 100001", "100001 is more than 100000"),
            ("pass-bytes = 1", "is not between 4096"),
            ("body-bytes = 4095", "is not between 4096"),
            ("handles = 15", "is not between 16 and 100000"),
            ("memory = -1", "invalid value"),
            ("fuel = 1", "unknown field `fuel`"),
        ] {
            let error = toml::from_str::<Limits>(bad).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(bad), "{bad}: {error}");
        }
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
