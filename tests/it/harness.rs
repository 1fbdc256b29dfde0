//! What every test starts from: a lab and a daemon of its own, real processes in a directory of their own, and short
//! ways to speak to them as a person (`landfall ...`) or a program (HTTP) would.

pub(crate) mod answers;
pub(crate) mod api;
pub(crate) mod cli;
pub(crate) mod documents;
pub(crate) mod lab;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod world;

use std::time::{Duration, Instant};

/// Nothing in a test takes this long; what does has hung. Twice what a machine of two cores that is busy with
/// something else was seen to need.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at something that changes by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// The same for what takes longer, such as compilers.
pub(crate) fn eventually_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(
            began.elapsed() < patience,
            "in {} s it did not happen: {what}",
            patience.as_secs()
        );
        std::thread::sleep(LOOK_EVERY);
    }
}
