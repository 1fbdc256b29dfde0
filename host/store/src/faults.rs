//! Where the fault battery kills the process, and what it breaks on purpose to see that it would notice. All of it is
//! compiled in only with the feature `faults`, which no release has; without it every call here is nothing.
//!
//! The battery speaks through two files in the working directory: `faults.kill` lists the points that were died at, and
//! the process dies at each further one once; `faults.mutant` names what is broken.

/// The process dies here, if the battery wants it to.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn point(_: &str, _: impl FnOnce() -> String) {}

/// Whether this safeguard was taken out on purpose.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn broken(_: &str) -> bool {
    false
}

#[cfg(feature = "faults")]
pub use on::{broken, point};

#[cfg(feature = "faults")]
mod on {
    use std::collections::HashSet;
    use std::fs::{File, OpenOptions, read_to_string};
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    struct Kill {
        died_at: HashSet<String>,
        file: File,
    }

    static KILL: OnceLock<Option<Mutex<Kill>>> = OnceLock::new();
    static MUTANT: OnceLock<String> = OnceLock::new();

    fn kill() -> Option<Kill> {
        let died_at = read_to_string("faults.kill").ok()?.lines().map(str::to_owned).collect();
        let file = OpenOptions::new().append(true).open("faults.kill").ok()?;
        Some(Kill { died_at, file })
    }

    /// The process dies here, the first time that it comes by.
    pub fn point(place: &str, what: impl FnOnce() -> String) {
        let Some(kill) = KILL.get_or_init(|| kill().map(Mutex::new)) else {
            return;
        };
        let name = format!("{place} {}", what());
        let mut kill = kill.lock().unwrap_or_else(PoisonError::into_inner);
        if kill.died_at.insert(name.clone()) {
            let _ = writeln!(kill.file, "{name}");
            // A signal to itself, as `kill -9` from outside would be: nothing is tidied up.
            std::process::abort();
        }
    }

    /// Whether this safeguard was taken out on purpose.
    pub fn broken(safeguard: &str) -> bool {
        MUTANT
            .get_or_init(|| read_to_string("faults.mutant").unwrap_or_default())
            .trim()
            == safeguard
    }
}
