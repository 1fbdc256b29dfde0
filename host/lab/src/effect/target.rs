//! The target's part: replicas, points, and the machines that are made from them.

use super::{Context, Effect, Link};
use crate::autonomous::{self, Feed};
use crate::disk::{Base, Disk};
use crate::entry::Change;
use crate::fault::hash;
use crate::operation::{
    ChangePoint, Consistency, CreateMachine, DeletePoints, Failure, NetworkMapping, PrepareReplica, ReceiveComplete,
};
use crate::state::{Content, Machine, Nic, Parent, Place, Point, Replica, Replication};

/// What a machine writes that came from outside the lab, in records per 1,000 seconds: as much as a defined machine
/// does by default.
const FOREIGN_RATE: u64 = 10_000;

impl Context<'_> {
    /// One replica an item: asking again gives the same.
    pub(super) fn prepare_replica(&self, prepare: &PrepareReplica) -> Result<Effect, Failure> {
        if let Some(id) = self.site.items.get(&prepare.item) {
            return Ok(Effect::none(format!("replica {id}")).with("replica", id.clone()));
        }
        let replication = self.site.settings.replication;
        let source = self.find_source(prepare);
        if replication == Replication::Autonomous && source.is_none() {
            let message = format!(
                "no other site of this lab has a machine `{}` to replicate",
                prepare.machine.id
            );
            return Err(Failure::refused("not-found", message));
        }
        let lineage = source
            .as_ref()
            .and_then(|place| self.state.sites.get(&place.site)?.machines.get(&place.machine))
            .map_or_else(
                || format!("{}/{}", prepare.source_site, prepare.machine.id),
                |source| source.lineage.clone(),
            );
        let id = format!("rp-{}", self.seq);
        let replica = Replica {
            id: id.clone(),
            source_site: prepare.source_site.clone(),
            machine: prepare.machine.clone(),
            lineage,
            source,
            stamp: self.stamp(&prepare.item),
            replication,
            since: self.now,
            points: Vec::new(),
            generation: 0,
            sealed: 0,
            received: 0,
            deleted: std::collections::BTreeSet::new(),
            deleted_until: 0,
        };
        let mut effect = Effect::of(
            Change::ReplicaMade {
                replica: Box::new(replica),
            },
            "none",
            format!("replica {id}"),
        );
        effect.made = Some(id.clone());
        Ok(effect.with("replica", id))
    }

    /// The lab's machine behind a name from outside: at the site of that name, else at any other site.
    fn find_source(&self, prepare: &PrepareReplica) -> Option<Place> {
        let named = self.state.sites.get_key_value(&prepare.source_site);
        named
            .into_iter()
            .chain(&self.state.sites)
            .filter(|(name, _)| *name != self.name)
            .find(|(_, site)| site.machines.contains_key(&prepare.machine.id))
            .map(|(name, _)| Place {
                site: name.clone(),
                machine: prepare.machine.id.clone(),
            })
    }

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

    pub(super) fn create_machine(&self, create: &CreateMachine) -> Result<Effect, Failure> {
        let replica = self.replica(&create.replica)?;
        let point = self.usable_point(replica, &create.point)?;
        self.check_networks(create)?;
        if let Some(capacity) = self.site.settings.capacity
            && self.site.machines.len() as u64 >= capacity
        {
            let message = format!("site `{}` holds {capacity} machines and not one more", self.name);
            return Err(Failure::refused("no-capacity", message));
        }
        let id = format!("vm-{}", self.seq);
        let (disk, link) = self.disk_from(replica, &point, &id);
        let machine = self.recovered(create, replica, id.clone(), disk);
        let after = format!("{} point={}", machine.describe(), point.id);
        let mut effect = Effect::of(
            Change::MachineMade {
                machine: Box::new(machine),
            },
            "none",
            after,
        );
        effect.made = Some(id.clone());
        effect.link = link;
        Ok(effect.with("machine", id))
    }

    fn recovered(&self, create: &CreateMachine, replica: &Replica, id: String, disk: Disk) -> Machine {
        let facts = &replica.machine;
        let source = replica.source.as_ref().and_then(|place| {
            let site = self.state.sites.get(&place.site)?;
            Some((place, site, site.machines.get(&place.machine)?))
        });
        Machine {
            id,
            name: create.name.clone(),
            origin: facts.origin.clone(),
            os: facts.os.clone(),
            cpus: create.cpus.or(facts.cpus).unwrap_or(1),
            memory_bytes: create.memory_bytes.or(facts.memory_bytes).unwrap_or(0),
            disk_bytes: facts.disks.first().map_or(0, |disk| disk.bytes),
            nics: create
                .networks
                .iter()
                .enumerate()
                .map(|(number, mapping)| self.nic(number, mapping))
                .collect(),
            on: false,
            autostart: false,
            before_hold: None,
            fenced: false,
            cut_off: false,
            rate: source.map_or(FOREIGN_RATE, |(_, _, machine)| machine.rate),
            boot_ms: source.map_or(0, |(_, _, machine)| machine.boot_ms),
            started: None,
            disk,
            marks: std::collections::BTreeMap::new(),
            prepared: std::collections::BTreeSet::new(),
            lineage: replica.lineage.clone(),
            parent: source.map(|(place, site, _)| Parent {
                place: place.clone(),
                until: site.lost.map_or(self.now, |lost| lost.since),
            }),
            stamp: Some(self.stamp(&create.item)),
            isolated: create.isolated,
            readers: 0,
            ext: create.ext.clone(),
        }
    }

    /// Without a wish the machine gets an address that no other machine of this lab has.
    fn nic(&self, number: usize, mapping: &NetworkMapping) -> Nic {
        let addresses = if mapping.addresses.is_empty() {
            // Four nics a line are more than any machine has; below 10.128 are the addresses of defined machines.
            let [.., _, _, a, b, c] = (self.seq * 4 + number as u64).to_be_bytes();
            vec![format!("10.{}.{b}.{c}", a | 0x80)]
        } else {
            mapping.addresses.clone()
        };
        Nic {
            id: mapping.nic.clone(),
            network: Some(mapping.network.clone()),
            addresses,
        }
    }

    fn check_networks(&self, create: &CreateMachine) -> Result<(), Failure> {
        for mapping in &create.networks {
            let Some(network) = self.site.networks.get(&mapping.network) else {
                let message = format!("site `{}` has no network `{}`", self.name, mapping.network);
                return Err(Failure::refused("unknown-network", message));
            };
            if create.isolated && !network.isolated {
                let message = format!(
                    "network `{}` is not isolated, and a test may use no other",
                    mapping.network
                );
                return Err(Failure::refused("not-isolated", message));
            }
        }
        Ok(())
    }

    fn usable_point(&self, replica: &Replica, id: &str) -> Result<Point, Failure> {
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
    fn disk_from(&self, replica: &Replica, point: &Point, machine: &str) -> (Disk, Option<Link>) {
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
        self.check_unused(machine)?;
        let point = self.usable_point(replica, &change.point)?;
        let (disk, link) = self.disk_from(replica, &point, &machine.id);
        let (before, after) = (machine.disk.base_records(), disk.base_records());
        let change = Change::DiskReplaced {
            machine: machine.id.clone(),
            disk,
        };
        let mut effect = Effect::of(change, format!("{before} records"), format!("{after} records"));
        effect.link = link;
        Ok(effect)
    }

    pub(super) fn delete_machine(&self, id: &str) -> Result<Effect, Failure> {
        let Some(machine) = self.site.machines.get(id) else {
            return Ok(Effect::none("none"));
        };
        self.check_unused(machine)?;
        Ok(Effect::of(
            Change::MachineGone { machine: id.to_owned() },
            machine.describe(),
            "none",
        ))
    }

    /// A disk that something writes or reads is not taken away.
    fn check_unused(&self, machine: &Machine) -> Result<(), Failure> {
        if machine.on {
            return Err(Failure::refused(
                "running",
                format!("machine `{}` runs; stop it first", machine.id),
            ));
        }
        if machine.readers > 0 {
            let message = format!("machine `{}` is being replicated from site `{}`", machine.id, self.name);
            return Err(Failure::refused("replicating", message));
        }
        Ok(())
    }
}
