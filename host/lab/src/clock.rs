//! The lab's clock: the wall clock, run faster or slower. Durations inside the lab (latencies, lags, how fast records
//! appear) are lab time; every time that is given to the outside is wall time.
//!
//! The scale may change while the lab runs, so the clock is a list of straight pieces. What was once converted stays
//! so: a record that was read yesterday bears the same time today.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The wall clock: milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this module owns the lab's time")]
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// From `wall` on, lab time runs at `milli` thousandths of wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    wall: u64,
    lab: u64,
    milli: u64,
}

/// Converts between wall milliseconds since 1970 and lab milliseconds. Both start equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    pieces: Vec<Piece>,
}

impl Clock {
    /// Runs at `milli` thousandths (at least 1) from this wall time on.
    pub(crate) fn set_scale(&mut self, wall: u64, milli: u64) {
        let lab = self.lab(wall);
        self.pieces.push(Piece {
            wall,
            lab,
            milli: milli.max(1),
        });
    }

    /// Thousandths of wall time.
    pub(crate) fn scale(&self) -> u64 {
        self.pieces.last().map_or(1000, |piece| piece.milli)
    }

    /// Lab time at this wall time.
    pub(crate) fn lab(&self, wall: u64) -> u64 {
        match self
            .pieces
            .iter()
            .rev()
            .find(|piece| piece.wall <= wall)
            .or(self.pieces.first())
        {
            Some(piece) => piece.lab + wall.saturating_sub(piece.wall) * piece.milli / 1000,
            None => wall,
        }
    }

    /// The first wall time at which lab time is `lab`.
    pub(crate) fn wall(&self, lab: u64) -> u64 {
        match self
            .pieces
            .iter()
            .rev()
            .find(|piece| piece.lab < lab)
            .or(self.pieces.first())
        {
            Some(piece) => piece.wall + (lab.saturating_sub(piece.lab) * 1000).div_ceil(piece.milli),
            None => lab,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_time_runs_at_the_scale_and_never_jumps() {
        let mut clock = Clock::default();
        clock.set_scale(1000, 1000);
        clock.set_scale(2000, 10_000);
        clock.set_scale(3000, 500);
        assert_eq!(clock.lab(2000), 2000);
        assert_eq!(clock.lab(2001), 2010);
        assert_eq!(clock.lab(3000), 12_000);
        assert_eq!(clock.lab(3010), 12_005);
        assert_eq!(clock.wall(2010), 2001);
        assert_eq!(clock.wall(12_005), 3010);
    }

    #[test]
    fn what_was_converted_before_a_change_stays_so() {
        let mut clock = Clock::default();
        clock.set_scale(0, 3000);
        let now = 1001;
        let before: Vec<u64> = (1..=clock.lab(now)).map(|lab| clock.wall(lab)).collect();
        clock.set_scale(now, 70);
        let after: Vec<u64> = (1..=clock.lab(now)).map(|lab| clock.wall(lab)).collect();
        assert_eq!(before, after);
    }
}
