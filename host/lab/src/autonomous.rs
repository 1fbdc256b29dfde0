//! Replication that the lab does by itself: a replica's points follow from the source's disk and the time, so they are
//! computed when somebody asks and cost nothing in between.
//!
//! The replica is `lag` behind. What was still on its way when the source's site was lost never arrives. While the
//! source machine is off and its site is there, nothing is on its way, and the replica holds everything.

use crate::operation::Consistency;
use crate::state::{Content, Machine, Place, Point, Replica, Settings, Site, State, Written};

/// An autonomous replica with what its points follow from.
pub(crate) struct Feed<'a> {
    state: &'a State,
    settings: &'a Settings,
    replica: &'a Replica,
    source: &'a Site,
    machine: &'a Machine,
    now: u64,
}

impl<'a> Feed<'a> {
    /// None if the source machine does not exist.
    pub(crate) fn new(state: &'a State, target: &'a Site, replica: &'a Replica, now: u64) -> Option<Self> {
        let Place { site, machine } = replica.source.as_ref()?;
        let source = state.sites.get(site)?;
        let machine = source.machines.get(machine)?;
        Some(Self {
            state,
            settings: &target.settings,
            replica,
            source,
            machine,
            now,
        })
    }

    /// The source's moment up to which the replica holds its data.
    pub(crate) fn horizon(&self) -> u64 {
        let horizon = match self.source.lost {
            Some(lost) => lost.since.saturating_sub(self.settings.lag_ms),
            None if self.machine.on => self.now.saturating_sub(self.settings.lag_ms),
            None => self.now,
        };
        horizon.max(self.replica.since)
    }

    /// The source's disk, of which points are prefixes.
    pub(crate) fn disk(&self) -> &'a crate::disk::Disk {
        &self.machine.disk
    }

    /// A point of the source's disk at a moment.
    pub(crate) fn point(&self, id: String, at: u64, consistency: Consistency, processed: bool) -> Point {
        Point {
            id,
            source_time_ms: self.state.clock.wall(at),
            consistency,
            group_mark: None,
            processed,
            mark: None,
            by: self.replica.source.clone().map(|place| Written {
                place,
                incarnation: self.machine.disk.incarnation(),
            }),
            content: Content::Source {
                at,
                bytes: self.machine.disk.bytes(at),
            },
        }
    }

    /// The points that were made by themselves, oldest first.
    fn regular(&self) -> Vec<Point> {
        let interval = self.settings.interval_ms.max(1);
        let (newest, oldest) = (
            self.horizon() / interval,
            self.replica.since.max(self.replica.deleted_until) / interval,
        );
        let mut points: Vec<Point> = (oldest + 1..=newest)
            .rev()
            .filter(|number| !self.was_cut_off(number * interval))
            .take(usize::try_from(self.settings.keep_points).unwrap_or(usize::MAX))
            .map(|number| self.regular_point(number, number * interval))
            .filter(|point| !self.replica.deleted.contains(&point.id))
            .collect();
        points.reverse();
        points
    }

    fn regular_point(&self, number: u64, at: u64) -> Point {
        let app = self.settings.app_every > 0 && number.is_multiple_of(self.settings.app_every);
        let consistency = if app { Consistency::App } else { Consistency::Crash };
        // Moments are multiples of the interval, so all replicas have a point at the same one.
        Point {
            group_mark: Some(format!("auto-{at}")),
            ..self.point(format!("auto-{at}"), at, consistency, true)
        }
    }

    fn was_cut_off(&self, at: u64) -> bool {
        let sent = at + self.settings.lag_ms;
        self.source
            .outages
            .iter()
            .any(|(from, to)| (*from..*to).contains(&at) || (*from..*to).contains(&sent))
    }

    /// All points: those made by themselves, those that were asked for, and what has arrived since.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut points = self.regular();
        points.extend(self.replica.points.iter().cloned());
        let horizon = self.horizon();
        points.push(self.point(format!("pending-{horizon}"), horizon, Consistency::Crash, false));
        points.sort_by_key(|point| point.source_time_ms);
        points
    }
}

/// A replica's points, oldest first, whoever moves its data.
pub(crate) fn points(state: &State, site: &Site, replica: &Replica, now: u64) -> Vec<Point> {
    match Feed::new(state, site, replica, now).filter(|_| is_autonomous(replica)) {
        Some(feed) => feed.points(),
        None => replica.points.clone(),
    }
}

/// Whether the lab moves this replica's data.
pub(crate) fn is_autonomous(replica: &Replica) -> bool {
    replica.replication == crate::state::Replication::Autonomous
}
