//! The fold: how one ledger line changes the state. It is total and silent: a line was checked before it was written,
//! and the same lines always give the same state, which is all that a restart does.

use crate::activity::Activity;
use crate::disk::Disk;
use crate::entry::{Change, Entry};
use crate::facts::{MachineFacts, SiteFacts};
use crate::fault::hash;
use crate::state::{
    Beginning, Lost, Machine, MachineSpec, Mark, Place, Point, Replica, Replication, Site, State, Status, Task,
};

impl State {
    /// Takes in one line.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        (self.seq, self.at_ms) = (entry.seq, entry.at_ms);
        let site = entry.site.as_deref().unwrap_or_default();
        for change in &entry.change {
            self.change(site, change);
        }
    }

    /// The lab time of the last line.
    fn now(&self) -> u64 {
        self.clock.lab(self.at_ms)
    }

    fn change(&mut self, site: &str, change: &Change) {
        match change {
            Change::SiteMade => {
                self.sites.entry(site.to_owned()).or_default();
            }
            Change::Accepted { task } => {
                self.remember(task.clone().key, site, &task.handle);
                self.tasks.insert(task.handle.clone(), Task::clone(task));
            }
            Change::Settled {
                handle,
                key,
                operation,
                status,
                remember,
            } => {
                self.settled(site, handle, key, operation, status, *remember);
            }
            Change::FaultSet { fault } => self.faults.push(fault.clone()),
            Change::FaultUsed { id } => self.fault_used(*id),
            Change::FaultGone { id } => self.faults.retain(|fault| fault.id != *id),
            Change::LatencySet { latency } => {
                self.latencies
                    .retain(|old| (&old.site, &old.operation) != (&latency.site, &latency.operation));
                self.latencies.push(latency.clone());
            }
            Change::LatenciesGone => self.latencies.clear(),
            Change::Scale { milli } => self.clock.set_scale(self.at_ms, *milli),
            Change::Seed { seed } => self.seed = *seed,
            Change::KeyHeader { name } => self.key_header.clone_from(name),
            Change::Webhook { headers, .. } => self.webhook(headers),
            Change::ReplicaMade { replica } => self.replica_made(site, replica),
            Change::ReplicaGone { replica } => self.replica_gone(site, replica),
            _ => self.change_site(site, change),
        }
    }

    fn change_site(&mut self, name: &str, change: &Change) {
        let now = self.now();
        let Some(site) = self.sites.get_mut(name) else { return };
        let mut scope = Scope {
            name,
            now,
            line: (self.seq, self.at_ms),
            activity: &mut self.activity,
        };
        match change {
            Change::SiteSettings { settings } => site.settings = settings.clone(),
            Change::SiteFacts { facts } => site.facts = SiteFacts::clone(facts),
            Change::SiteLost { machines_off } => scope.lose(site, *machines_off),
            Change::SiteBack => scope.back(site),
            Change::NetworkSet { network } => {
                site.networks.insert(network.id.clone(), network.clone());
            }
            Change::NetworkGone { network } => {
                site.networks.remove(network);
            }
            Change::MachinesDefined { machines } => {
                for spec in machines {
                    scope.define(site, spec);
                }
            }
            Change::MachineMade { machine } => {
                site.machines.insert(machine.id.clone(), Machine::clone(machine));
            }
            Change::MachineGone { machine } => {
                if let Some(machine) = site.machines.remove(machine) {
                    scope.activity.set(name, &machine, false, scope.line);
                }
            }
            Change::Marks { marks } => {
                for (machine, mark) in marks {
                    if let Some(machine) = site.machines.get_mut(machine) {
                        machine.marks.insert(mark.id.clone(), mark.clone());
                    }
                }
            }
            Change::TakenOver { installation, epoch } => {
                site.epochs.insert(installation.clone(), *epoch);
            }
            Change::Received { replica, point } => {
                if let Some(replica) = site.replicas.get_mut(replica) {
                    received(replica, point);
                }
            }
            Change::Processed {
                replica,
                pending,
                point,
            } => {
                if let Some(replica) = site.replicas.get_mut(replica) {
                    processed(replica, pending.as_deref(), point);
                }
            }
            Change::PointsGone { replica, points } => {
                if let Some(replica) = site.replicas.get_mut(replica) {
                    points_gone(replica, points.as_deref(), now);
                }
            }
            _ => {
                if let Some(machine) = machine_of(change).and_then(|id| site.machines.get_mut(id)) {
                    scope.change_machine(machine, change);
                }
            }
        }
    }

    fn remember(&mut self, key: String, site: &str, handle: &str) {
        if let Some(site) = self.sites.get_mut(site) {
            site.keys.insert(key, handle.to_owned());
        }
    }

    fn settled(&mut self, site: &str, handle: &str, key: &str, operation: &str, status: &Status, remember: bool) {
        if remember {
            self.remember(key.to_owned(), site, handle);
        } else if let Some(site) = self.sites.get_mut(site)
            && site.keys.get(key).is_some_and(|known| known == handle)
        {
            site.keys.remove(key);
        }
        let task = Task {
            handle: handle.to_owned(),
            site: site.to_owned(),
            key: key.to_owned(),
            operation: operation.to_owned(),
            status: status.clone(),
        };
        self.tasks.insert(handle.to_owned(), task);
    }

    fn fault_used(&mut self, id: u64) {
        if let Some(times) = self
            .faults
            .iter_mut()
            .find(|fault| fault.id == id)
            .and_then(|fault| fault.times.as_mut())
        {
            *times = times.saturating_sub(1);
        }
        self.faults.retain(|fault| fault.times != Some(0));
    }

    fn webhook(&mut self, headers: &[(String, String)]) {
        self.webhooks += 1;
        if let Some((_, key)) = headers.iter().find(|(name, _)| *name == self.key_header) {
            self.webhook_keys.insert(key.clone(), self.seq);
        }
    }

    fn replica_made(&mut self, site: &str, replica: &Replica) {
        if let Some(site) = self.sites.get_mut(site) {
            site.items.insert(replica.stamp.item.clone(), replica.id.clone());
            if let Some(original) = replica.original.as_ref().and_then(|id| site.machines.get_mut(id)) {
                original.bound = Some(replica.id.clone());
            }
            site.replicas.insert(replica.id.clone(), replica.clone());
        }
        if let Some(machine) = self.read_machine(replica) {
            machine.readers += 1;
        }
    }

    fn replica_gone(&mut self, site: &str, replica: &str) {
        let Some(site) = self.sites.get_mut(site) else { return };
        let Some(replica) = site.replicas.remove(replica) else {
            return;
        };
        if site.items.get(&replica.stamp.item) == Some(&replica.id) {
            site.items.remove(&replica.stamp.item);
        }
        let original = replica.original.as_ref().and_then(|id| site.machines.get_mut(id));
        if let Some(original) = original.filter(|original| original.bound.as_deref() == Some(&*replica.id)) {
            original.bound = None;
        }
        if let Some(machine) = self.read_machine(&replica) {
            machine.readers = machine.readers.saturating_sub(1);
        }
    }

    /// The machine whose disk an autonomous replica reads.
    fn read_machine(&mut self, replica: &Replica) -> Option<&mut Machine> {
        let Place { site, machine } = replica
            .source
            .as_ref()
            .filter(|_| replica.replication == Replication::Autonomous)?;
        self.sites.get_mut(site)?.machines.get_mut(machine)
    }
}

/// What a change of machines needs beside its site.
struct Scope<'a> {
    name: &'a str,
    now: u64,
    line: (u64, u64),
    activity: &'a mut Activity,
}

impl Scope<'_> {
    fn power(&mut self, machine: &mut Machine, on: bool) {
        machine.cut_off = false;
        if machine.on == on {
            return;
        }
        machine.on = on;
        if on {
            machine.disk.begin(self.now, machine.rate);
            machine.started = Some(self.now);
        } else {
            machine.disk.end(self.now);
            machine.started = None;
        }
        self.activity.set(self.name, machine, on, self.line);
    }

    fn define(&mut self, site: &mut Site, spec: &MachineSpec) {
        let lineage = format!("{}/{}", self.name, spec.id);
        let mut machine = Machine {
            id: spec.id.clone(),
            name: spec.name.clone().unwrap_or_else(|| spec.id.clone()),
            origin: spec.origin.clone().unwrap_or_else(|| "kvm".to_owned()),
            os: spec.os.clone(),
            cpus: spec.cpus,
            memory_bytes: spec.memory_bytes,
            disk_bytes: spec.disks.first().map_or(spec.disk_bytes, |disk| disk.bytes),
            disks: spec.disks.clone(),
            nics: spec.nics.clone(),
            on: false,
            autostart: spec.autostart,
            before_hold: None,
            fenced: false,
            cut_off: false,
            rate: rate(spec.records_per_second),
            boot_ms: spec.boot_ms,
            started: None,
            disk: Disk::new(hash(&lineage), self.line.0, None),
            marks: std::collections::BTreeMap::new(),
            prepared: std::collections::BTreeSet::new(),
            lineage,
            parent: None,
            stamp: None,
            isolated: false,
            readers: 0,
            bound: None,
            beginning: None,
            ext: spec.ext.clone(),
            facts: spec.facts.clone(),
        };
        self.power(&mut machine, spec.on);
        site.machines.insert(spec.id.clone(), machine);
    }

    fn lose(&mut self, site: &mut Site, machines_off: bool) {
        let since = site.lost.map_or(self.now, |lost| lost.since);
        site.lost = Some(Lost { since, machines_off });
        for machine in site.machines.values_mut().filter(|machine| machines_off && machine.on) {
            self.power(machine, false);
            machine.cut_off = true;
        }
    }

    /// With the power, whatever starts by itself comes back: the danger that holding a machine is for.
    fn back(&mut self, site: &mut Site) {
        if let Some(lost) = site.lost.take() {
            site.outages.push((lost.since, self.now));
        }
        for machine in site.machines.values_mut().filter(|machine| machine.cut_off) {
            let starts = machine.autostart && !machine.fenced;
            self.power(machine, starts);
        }
    }

    fn change_machine(&mut self, machine: &mut Machine, change: &Change) {
        match change {
            Change::Power { on, .. } => self.power(machine, *on),
            Change::Autostart { autostart, .. } => machine.autostart = *autostart,
            Change::Hold { held: true, .. } => {
                machine.before_hold.get_or_insert(machine.autostart);
                machine.autostart = false;
            }
            Change::Hold { held: false, .. } => {
                machine.autostart = machine.before_hold.take().unwrap_or(machine.autostart);
                machine.fenced = false;
            }
            Change::Fence { .. } => {
                self.power(machine, false);
                machine.before_hold.get_or_insert(machine.autostart);
                machine.autostart = false;
                machine.fenced = true;
            }
            Change::Rate { rate, .. } => {
                machine.rate = *rate;
                if machine.on {
                    machine.disk.begin(self.now, *rate);
                }
            }
            Change::Boot { boot_ms, .. } => machine.boot_ms = *boot_ms,
            Change::Prepared { extra_step, .. } => {
                machine.prepared.insert(extra_step.clone());
            }
            Change::DiskReplaced { disk, .. } => {
                machine.disk = disk.clone();
                machine.marks.clear();
                machine.beginning = None;
            }
            Change::Began { beginning, .. } => begin(machine, beginning, self.now),
            Change::Disks { disks, .. } => machine.disks.clone_from(disks),
            Change::MachineFacts { facts, .. } => machine.facts = MachineFacts::clone(facts),
            Change::Reattached { parent, nics, rate, .. } => {
                (machine.bound, machine.parent, machine.rate) = (None, parent.clone(), *rate);
                machine.nics.clone_from(nics);
            }
            Change::Released { marks, .. } => machine.marks.retain(|id, _| !marks.contains(id)),
            _ => {}
        }
    }
}

/// What a change would make of a machine, without making it.
pub(crate) fn preview(machine: &mut Machine, change: &Change, now: u64) {
    let mut activity = Activity::default();
    Scope {
        name: "",
        now,
        line: (0, 0),
        activity: &mut activity,
    }
    .change_machine(machine, change);
}

/// The machine that a change of one machine names.
fn machine_of(change: &Change) -> Option<&str> {
    match change {
        Change::Power { machine, .. }
        | Change::Autostart { machine, .. }
        | Change::Hold { machine, .. }
        | Change::Fence { machine }
        | Change::Rate { machine, .. }
        | Change::Boot { machine, .. }
        | Change::Prepared { machine, .. }
        | Change::DiskReplaced { machine, .. }
        | Change::Began { machine, .. }
        | Change::Disks { machine, .. }
        | Change::MachineFacts { machine, .. }
        | Change::Reattached { machine, .. }
        | Change::Released { machine, .. } => Some(machine),
        _ => None,
    }
}

/// A mark of what the disk holds before anything is written to it.
pub(crate) fn begin(machine: &mut Machine, beginning: &Beginning, now: u64) {
    let mark = Mark {
        id: beginning.mark.clone(),
        group: String::new(),
        bytes: beginning.bytes,
        at: now,
        quiesced: false,
        excluded: Vec::new(),
    };
    machine.marks.insert(mark.id.clone(), mark);
    machine.beginning = Some(beginning.clone());
}

fn received(replica: &mut Replica, point: &Point) {
    if let crate::state::Content::File { generation, bytes } = point.content {
        let held = if generation == replica.generation {
            replica.sealed
        } else {
            0
        };
        (replica.generation, replica.sealed, replica.received) = (generation, held.max(bytes), bytes);
    }
    replica.points.push(point.clone());
}

fn processed(replica: &mut Replica, pending: Option<&str>, point: &Point) {
    if let Some(place) = pending.and_then(|id| replica.points.iter().position(|point| point.id == id)) {
        let kept = replica.points.split_off(place + 1);
        replica.points.retain(|point| point.processed);
        replica.points.extend(kept);
    }
    // By time, so that what was received meanwhile stays newest.
    let place = replica
        .points
        .iter()
        .position(|other| other.source_time_ms > point.source_time_ms);
    replica
        .points
        .insert(place.unwrap_or(replica.points.len()), point.clone());
}

fn points_gone(replica: &mut Replica, points: Option<&[String]>, now: u64) {
    let Some(named) = points else {
        replica.points.clear();
        replica.deleted.clear();
        replica.deleted_until = now;
        return;
    };
    replica.points.retain(|point| !named.contains(&point.id));
    if replica.replication == Replication::Autonomous {
        replica.deleted.extend(named.iter().cloned());
    }
}

/// Records per 1,000 seconds. Negative or absurd rates are cut to what makes sense.
pub(crate) fn rate(records_per_second: f64) -> u64 {
    // A million records a second is 64 MB/s: more than a test can want.
    let rate = (records_per_second.clamp(0.0, 1e6) * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let rate = rate as u64;
    rate
}
