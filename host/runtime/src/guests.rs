//! Programs inside machines, as a runbook's call sees them: by item and side. Who knows which machines the call is
//! about, and how to reach them, is whoever embeds the runtime.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::contract::guests::Side;
use crate::contract::runbook::MachineContext;
use crate::contract::types::{Failure, GuestCommand, GuestExit};
use crate::error::Refusal;

/// Why a program did not run, or is not known to have run.
#[derive(Debug)]
pub enum GuestFault {
    /// It was not even tried.
    Refused(Refusal),
    /// The adapter tried. `sent`: something left this host, so the program may have run.
    Failed {
        /// In the adapter's words, or the host's.
        failure: Failure,
        /// See above.
        sent: bool,
    },
}

/// Runs programs inside the machines of one call, and of no other.
pub trait GuestPrograms: Send + Sync {
    /// Waits for the program's end, at most `left`. Dropped: it may run on.
    fn exec(
        &self,
        item: String,
        side: Side,
        command: GuestCommand,
        left: Duration,
    ) -> BoxFuture<'static, Result<GuestExit, GuestFault>>;
}

/// The site and the machine there, if it is one of this call.
pub fn machine_at(machines: &[MachineContext], item: &str, side: Side) -> Result<(String, String), GuestFault> {
    let refused = |code, word, what| GuestFault::Refused(Refusal { code, word, what });
    let machine = machines.iter().find(|machine| machine.item == item).ok_or_else(|| {
        let what = format!("`{item}` is no machine of this call; a runbook reaches only those in its context");
        refused("LF0479", "not-in-call", what)
    })?;
    let (there, found) = match side {
        Side::Source => (&machine.source_site, &machine.source_machine),
        Side::Target => (&machine.target_site, &machine.target_machine),
    };
    let found = found.clone().ok_or_else(|| {
        let what = format!("`{item}` has no machine at site `{there}` yet");
        refused("LF0478", "no-machine", what)
    })?;
    Ok((there.clone(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_of_the_call_are_reached() {
        let machine = MachineContext {
            item: "db".into(),
            source_site: "north".into(),
            target_site: "south".into(),
            source_machine: Some("m1".into()),
            target_machine: None,
            addresses: vec![],
            point: None,
            point_time_ms: None,
            consistency: None,
            params: vec![],
            ext: vec![],
        };
        let machines = [machine];
        let word = |item, side| match machine_at(&machines, item, side) {
            Err(GuestFault::Refused(refusal)) => refusal.word,
            _ => "found",
        };
        assert_eq!(
            machine_at(&machines, "db", Side::Source).unwrap(),
            ("north".into(), "m1".into())
        );
        assert_eq!(
            (word("db", Side::Target), word("web", Side::Source)),
            ("no-machine", "not-in-call")
        );
        // The names of machines and sites are no items, and nothing is a pattern.
        let long = "db".repeat(1 << 20);
        for forged in [
            "",
            "m1",
            "north",
            "*",
            "DB",
            "db ",
            "db\0",
            "../db",
            "d\u{200b}b",
            long.as_str(),
        ] {
            assert_eq!(word(forged, Side::Source), "not-in-call", "{forged:.20}");
        }
    }
}
