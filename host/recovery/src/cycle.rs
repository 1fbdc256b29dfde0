//! Replication in the host's words: what is known of an item's data at the target, what a cycle under way has done,
//! and when the next one is due. The cycle itself, which talks to adapters, is the daemon's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::Replication;
use crate::words::{Consistency, Millis};

/// A mark that the target has received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mark {
    /// The source's id of the snapshot.
    pub mark: String,
    /// On the source's clock.
    pub source_time_ms: Millis,
    /// Host time when the snapshot was asked for: the RPO counts from here.
    pub host_time_ms: Millis,
    /// Crash or application.
    pub consistency: Consistency,
}

/// What is known of one item's replication. Kept in a row of its own, not in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// The newest mark that is complete at the target.
    pub received: Option<Mark>,
    /// Host time of the newest mark that was made a recovery point.
    pub point_at: Option<Millis>,
    /// Host time of the newest application-consistent mark.
    pub app_at: Option<Millis>,
    /// Number of the cycle that is under way, or was last.
    pub cycle: u64,
    /// Bytes moved in all.
    pub bytes_sent: u64,
    /// Of the transfer under way: bytes done and to do.
    pub transfer: Option<(u64, u64)>,
    /// The source no longer knows the mark: the next cycle sends everything.
    #[serde(default)]
    pub resync: bool,
    /// Marks that the source could not forget yet.
    #[serde(default)]
    pub unreleased: Vec<String>,
    /// Why the last cycle failed, and when.
    pub error: Option<(String, Millis)>,
}

impl Progress {
    /// Age of the newest received data, in host time. None: nothing was received, or the clock was ahead when it was,
    /// so that nobody knows.
    pub fn rpo_ms(&self, now: Millis) -> Option<Millis> {
        now.checked_sub(self.received.as_ref()?.host_time_ms)
    }

    /// The promise is broken: the newest received data is older than the target, or of unknown age.
    pub fn misses(&self, target_ms: Millis, now: Millis) -> bool {
        self.received.is_some() && self.rpo_ms(now).is_none_or(|rpo| rpo > target_ms)
    }
}

/// A cycle under way: durable before its first effect, so that a restart goes on with the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cycle {
    /// Names its keys, with the installation and the unit.
    pub number: u64,
    /// Counts the keys of this cycle; a new one only after a definite failure.
    #[serde(default)]
    pub generation: u32,
    /// The name of the barrier.
    pub group_mark: String,
    /// Whether the source quiesces.
    pub consistency: Consistency,
    /// Whether the members share the barrier for consistency, or it is just one machine.
    pub grouped: bool,
    /// Host time just before the snapshot is asked for.
    pub host_time_ms: Millis,
    /// Whether the received data is made a recovery point at once.
    pub makes_point: bool,
    /// By item.
    pub members: BTreeMap<String, Member>,
}

/// One item in a cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    /// The mark since which changes are sent; none: everything.
    pub since: Option<String>,
    /// The snapshot's mark and source time, once it was made.
    pub mark: Option<(String, Millis)>,
    /// Bytes up to here are at the target: where to go on.
    pub sent_to: u64,
    /// The target said that the mark is complete.
    pub received: bool,
}

/// What the next cycle of a unit is for, if one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Whether the source quiesces.
    pub consistency: Consistency,
    /// Whether a recovery point is made of it.
    pub makes_point: bool,
}

/// How much earlier than its target a cycle begins, as a divisor: data moves twice as often as the RPO asks, so that
/// one slow cycle breaks no promise.
const CYCLES_PER_RPO: Millis = 2;

/// When the next cycle is due, in host time. A mark of later than now is from a clock that was ahead: at once, as
/// nothing else says how old it is.
pub fn next_cycle_at(progress: &Progress, replication: &Replication, now: Millis) -> Millis {
    progress
        .received
        .as_ref()
        .filter(|mark| mark.host_time_ms <= now)
        .map_or(0, |mark| mark.host_time_ms + replication.rpo_ms / CYCLES_PER_RPO)
}

/// What a cycle that begins now is for.
pub fn due(progress: &Progress, replication: &Replication, now: Millis, app_consistent: bool) -> Due {
    let passed = |last: Option<Millis>, every: Millis| last.is_none_or(|last| last > now || now - last >= every);
    let app = app_consistent
        && replication
            .app_consistent_every_ms
            .is_some_and(|every| passed(progress.app_at, every));
    Due {
        consistency: if app { Consistency::App } else { Consistency::Crash },
        // An application-consistent state is worth a point of its own.
        makes_point: app || passed(progress.point_at, replication.points_every_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICATION: Replication = Replication {
        rpo_ms: 10_000,
        points_every_ms: 60_000,
        app_consistent_every_ms: Some(300_000),
        retention_ms: 0,
        retention_policy: None,
    };

    #[test]
    fn cycles_run_twice_per_rpo_and_points_at_their_own_cadence() {
        let mut progress = Progress::default();
        assert_eq!(next_cycle_at(&progress, &REPLICATION, 6_000), 0);
        assert_eq!(
            due(&progress, &REPLICATION, 5, true),
            Due {
                consistency: Consistency::App,
                makes_point: true
            }
        );
        let mark = Mark {
            mark: "m".into(),
            source_time_ms: 1,
            host_time_ms: 1_000,
            consistency: Consistency::App,
        };
        progress.received = Some(mark);
        progress.app_at = Some(1_000);
        progress.point_at = Some(1_000);
        assert_eq!(next_cycle_at(&progress, &REPLICATION, 6_000), 6_000);
        assert_eq!(
            due(&progress, &REPLICATION, 6_000, true),
            Due {
                consistency: Consistency::Crash,
                makes_point: false
            }
        );
        assert_eq!(
            due(&progress, &REPLICATION, 61_000, true),
            Due {
                consistency: Consistency::Crash,
                makes_point: true
            }
        );
        assert_eq!(
            due(&progress, &REPLICATION, 301_000, false),
            Due {
                consistency: Consistency::Crash,
                makes_point: true
            }
        );
        assert_eq!(progress.rpo_ms(9_000), Some(8_000));
    }

    #[test]
    fn f32_after_a_clock_that_was_ahead_everything_is_due_and_the_rpo_is_unknown() {
        let ahead = 1_000_000;
        let progress = Progress {
            received: Some(Mark {
                mark: "m".into(),
                source_time_ms: 1,
                host_time_ms: ahead,
                consistency: Consistency::App,
            }),
            app_at: Some(ahead),
            point_at: Some(ahead),
            ..Progress::default()
        };
        let now = 5_000;
        assert!(next_cycle_at(&progress, &REPLICATION, now) <= now);
        let all = Due {
            consistency: Consistency::App,
            makes_point: true,
        };
        assert_eq!(due(&progress, &REPLICATION, now, true), all);
        assert_eq!(progress.rpo_ms(now), None);
        assert!(progress.misses(10_000, now));
        assert!(!progress.misses(10_000, ahead + 10_000) && progress.misses(10_000, ahead + 10_001));
        assert!(!Progress::default().misses(10_000, now));
    }
}
