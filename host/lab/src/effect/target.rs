//! The target's part: received data, points, and what becomes of both.

use super::{Context, Effect, Link};
use crate::autonomous::{self, Feed};
use crate::disk::{Base, Disk};
use crate::entry::Change;
use crate::fault::hash;
use crate::operation::{ChangePoint, Consistency, DeletePoints, Failure, ReceiveComplete};
use crate::state::{Content, Machine, Point, Replica, Written};

impl Context<'_> {
    pub(super) fn receive_complete(&self, receive: &ReceiveComplete) -> Result<Effect, Failure> {
        let replica = self.replica(&receive.replica)?;
        let state = format!("{} points", replica.points.len());
        if replica
            .points
            .iter()
            .any(|point| point.mark.as_deref() == Some(&*receive.mark))
        {
            return Ok(Effect::none(state));
        }
        let Some(store) = self.blobs.store(self.name, &receive.replica) else {
            return Err(Failure::refused(
                "autonomous",
                "the lab itself moves this replica's data",
            ));
        };
        let covered = store.covered();
        if covered < receive.bytes {
            let message = format!(
                "mark `{}` has {} bytes, but only the first {covered} have arrived: write the rest, then complete it",
                receive.mark, receive.bytes
            );
            return Err(Failure::refused("incomplete", message));
        }
        let point = Point {
            id: format!("pd-{}", self.seq),
            source_time_ms: receive.source_time_ms,
            consistency: receive.consistency,
            group_mark: receive.group_mark.clone(),
            processed: false,
            mark: Some(receive.mark.clone()),
            by: self.writer(replica, &receive.mark),
            content: Content::File {
                generation: store.generation(),
                bytes: receive.bytes,
            },
        };
        let after = format!("{} points, newest {} pending", replica.points.len() + 1, point.id);
        Ok(Effect::of(
            Change::Received {
                replica: receive.replica.clone(),
                point,
            },
            state,
            after,
        ))
    }

    /// Whose bytes a mark holds, if it is one of this lab's machines.
    fn writer(&self, replica: &Replica, mark: &str) -> Option<Written> {
        let place = replica.source.as_ref()?;
        let machine = self.state.sites.get(&place.site)?.machines.get(&place.machine)?;
        machine.marks.contains_key(mark).then(|| Written {
            place: place.clone(),
            incarnation: machine.disk.incarnation(),
        })
    }

    pub(super) fn process(&self, id: &str) -> Result<Effect, Failure> {
        let replica = self.replica(id)?;
        let state = format!("{} points", replica.points.len());
        let (pending, point) = if autonomous::is_autonomous(replica) {
            (None, self.process_autonomous(replica)?)
        } else {
            let pending = replica.points.iter().rev().find(|point| !point.processed);
            (pending.map(|point| point.id.clone()), pending.cloned())
        };
        let Some(point) = point else {
            return Ok(Effect::none(state));
        };
        let point = Point {
            id: format!("pt-{}", self.seq),
            processed: true,
            ..point
        };
        let output = point.id.clone();
        let change = Change::Processed {
            replica: id.to_owned(),
            pending,
            point,
        };
        Ok(Effect::of(change, state, format!("newest point {output}")).with("point", output))
    }

    /// None if nothing came since the last time.
    fn process_autonomous(&self, replica: &Replica) -> Result<Option<Point>, Failure> {
        let feed = Feed::new(self.state, self.site, replica, self.now)
            .ok_or_else(|| Failure::refused("not-found", "the machine that this replica follows does not exist"))?;
        let horizon = feed.horizon();
        let point = feed.point(String::new(), horizon, Consistency::Crash, true);
        let newest = replica
            .points
            .last()
            .filter(|newest| newest.content.bytes() == point.content.bytes());
        Ok(newest.is_none().then_some(point))
    }

    pub(super) fn delete_points(&self, delete: &DeletePoints) -> Result<Effect, Failure> {
        let replica = self.replica(&delete.replica)?;
        let there = autonomous::points(self.state, self.site, replica, self.now);
        let gone = match &delete.points {
            Some(named) => there.iter().filter(|point| named.contains(&point.id)).count(),
            None => there.len(),
        };
        let before = format!("{} points", there.len());
        if gone == 0 {
            return Ok(Effect::none(before));
        }
        let change = Change::PointsGone {
            replica: delete.replica.clone(),
            points: delete.points.clone(),
        };
        Ok(Effect::of(change, before, format!("{} points", there.len() - gone)))
    }

    pub(super) fn delete_replica(&self, id: &str) -> Effect {
        if !self.site.replicas.contains_key(id) {
            return Effect::none("none");
        }
        Effect::of(
            Change::ReplicaGone { replica: id.to_owned() },
            format!("replica {id}"),
            "none",
        )
    }

    pub(super) fn usable_point(&self, replica: &Replica, id: &str) -> Result<Point, Failure> {
        let points = autonomous::points(self.state, self.site, replica, self.now);
        let Some(point) = points.into_iter().find(|point| point.id == id) else {
            let message = format!("replica `{}` has no recovery point `{id}`", replica.id);
            return Err(Failure::refused("unknown-point", message));
        };
        if !point.processed {
            let message = format!("`{id}` was received but not processed; `process` makes it a recovery point");
            return Err(Failure::refused("not-processed", message));
        }
        Ok(point)
    }

    /// A disk with exactly the point's bytes, and the file that it needs.
    pub(super) fn disk_from(&self, replica: &Replica, point: &Point, machine: &str) -> (Disk, Option<Link>) {
        let to = format!("bases/{}/{machine}-{}", self.name, self.seq);
        let (base, link) = match point.content {
            _ if point.content.bytes() == 0 => (None, None),
            Content::File { generation, bytes } => {
                let from = crate::blobs::generation_name(self.name, &replica.id, generation);
                (
                    Some(Base::File {
                        name: to.clone(),
                        bytes,
                    }),
                    Some(Link { from, to }),
                )
            }
            Content::Source { bytes, .. } => match Feed::new(self.state, self.site, replica, self.now) {
                Some(feed) => {
                    let mut disk = feed.disk().clone();
                    let from = disk.rename_base(&to);
                    (
                        Some(Base::Disk {
                            disk: Box::new(disk),
                            bytes,
                        }),
                        from.map(|from| Link { from, to }),
                    )
                }
                None => (None, None),
            },
        };
        (Disk::new(hash(&replica.lineage), self.seq, base), link)
    }

    pub(super) fn change_point(&self, change: &ChangePoint) -> Result<Effect, Failure> {
        let (machine, replica) = (self.machine(&change.machine)?, self.replica(&change.replica)?);
        Self::check_off(machine)?;
        let point = self.usable_point(replica, &change.point)?;
        let (disk, link) = self.disk_from(replica, &point, &machine.id);
        let (before, after) = (machine.disk.base_records(), disk.base_records());
        let change = Change::DiskReplaced {
            machine: machine.id.clone(),
            disk,
        };
        let mut effect = Effect::of(change, format!("{before} records"), format!("{after} records"));
        effect
            .changes
            .extend(self.beginning(&point).map(|beginning| Change::Began {
                machine: machine.id.clone(),
                beginning,
            }));
        effect.link = link;
        Ok(effect)
    }

    pub(super) fn delete_machine(&self, id: &str) -> Result<Effect, Failure> {
        let Some(machine) = self.site.machines.get(id) else {
            return Ok(Effect::none("none"));
        };
        Self::check_off(machine)?;
        // Nobody's own machine goes while a replica reads it; one that a failover made goes when it came home.
        if machine.readers > 0 && machine.stamp.is_none() {
            let message = format!("machine `{id}` is being replicated from site `{}`", self.name);
            return Err(Failure::refused("replicating", message));
        }
        Ok(Effect::of(
            Change::MachineGone { machine: id.to_owned() },
            machine.describe(),
            "none",
        ))
    }

    fn check_off(machine: &Machine) -> Result<(), Failure> {
        if machine.on {
            return Err(Failure::refused(
                "running",
                format!("machine `{}` runs; stop it first", machine.id),
            ));
        }
        Ok(())
    }
}
