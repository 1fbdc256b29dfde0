//! The source's part, and power: stop, hold, start, fence, snapshot.

use super::{Context, Effect};
use crate::entry::Change;
use crate::operation::{BootPrepare, Failure, Hold, Release, Snapshot};
use crate::state::{Machine, Mark};

impl Context<'_> {
    pub(super) fn power_off(&self, id: &str) -> Result<Effect, Failure> {
        let machine = self.machine(id)?;
        if !machine.on {
            return Ok(Effect::none(machine.describe()));
        }
        Ok(self.described(
            machine,
            Change::Power {
                machine: id.to_owned(),
                on: false,
            },
        ))
    }

    pub(super) fn start(&self, id: &str) -> Result<Effect, Failure> {
        let machine = self.machine(id)?;
        if machine.fenced {
            let message = format!("machine `{id}` is fenced; `hold` with `held: false` lifts that");
            return Err(Failure::refused("fenced", message));
        }
        if machine.on {
            return Ok(Effect::none(machine.describe()));
        }
        if !machine.facts.available {
            let message = format!("machine `{id}` was lost; restore it from backup first");
            return Err(Failure::refused("unavailable", message));
        }
        if let Some(replica) = &machine.bound {
            let message = format!("the disks of machine `{id}` belong to replica `{replica}`, which is written to");
            return Err(Failure::refused("bound", message));
        }
        Ok(self.described(
            machine,
            Change::Power {
                machine: id.to_owned(),
                on: true,
            },
        ))
    }

    pub(super) fn hold(&self, hold: &Hold) -> Result<Effect, Failure> {
        let machine = self.machine(&hold.machine)?;
        let is_so = if hold.held {
            machine.before_hold.is_some() && !machine.autostart
        } else {
            machine.before_hold.is_none() && !machine.fenced
        };
        if is_so {
            return Ok(Effect::none(machine.describe()));
        }
        Ok(self.described(
            machine,
            Change::Hold {
                machine: hold.machine.clone(),
                held: hold.held,
            },
        ))
    }

    pub(super) fn fence(&self, id: &str) -> Result<Effect, Failure> {
        let machine = self.machine(id)?;
        if machine.fenced && !machine.on {
            return Ok(Effect::none(machine.describe()));
        }
        Ok(self.described(machine, Change::Fence { machine: id.to_owned() }))
    }

    pub(super) fn boot_prepare(&self, prepare: &BootPrepare) -> Result<Effect, Failure> {
        let machine = self.machine(&prepare.machine)?;
        let after = format!("{} prepared", prepare.extra_step);
        if machine.prepared.contains(&prepare.extra_step) {
            return Ok(Effect::none(after));
        }
        let change = Change::Prepared {
            machine: prepare.machine.clone(),
            extra_step: prepare.extra_step.clone(),
        };
        Ok(Effect::of(
            change,
            format!("{} not prepared", prepare.extra_step),
            after,
        ))
    }

    /// One barrier: all members are marked at one instant, by one line.
    pub(super) fn snapshot(&self, snapshot: &Snapshot) -> Result<Effect, Failure> {
        if snapshot.quiesce && !self.site.settings.app_consistent {
            let message = format!("site `{}` cannot quiesce a guest; ask without `quiesce`", self.name);
            return Err(Failure::refused("cannot-quiesce", message));
        }
        if snapshot.members.is_empty() {
            return Err(Failure::refused("invalid", "a snapshot needs at least one member"));
        }
        let (mut marks, mut effect) = (Vec::new(), Effect::default());
        for (number, member) in snapshot.members.iter().enumerate() {
            let machine = self.machine(&member.machine)?;
            if !machine.facts.available {
                let message = format!("machine `{}` was lost; there is nothing to read", machine.id);
                return Err(Failure::refused("unavailable", message));
            }
            let excluded = excluded(machine, snapshot.exclude.get(&member.item).map_or("", String::as_str))?;
            let id = format!("mk-{}-{number}", self.seq);
            effect = effect
                .with(format!("mark/{}", member.item), id.clone())
                .with(format!("source-time-ms/{}", member.item), self.wall.to_string());
            let mark = Mark {
                id,
                group: snapshot.group_mark.clone(),
                bytes: machine.disk.bytes(self.now),
                at: self.now,
                quiesced: snapshot.quiesce,
                excluded,
            };
            marks.push((member.machine.clone(), mark));
        }
        effect.after = Some(format!("{} marks of {}", marks.len(), snapshot.group_mark));
        effect.changes.push(Change::Marks { marks });
        Ok(effect)
    }

    /// What is released already, or belongs to a machine that is gone, needs no change.
    pub(super) fn release(&self, release: &Release) -> Effect {
        let Some(machine) = self.site.machines.get(&release.machine) else {
            return Effect::none("no machine");
        };
        let held = machine.marks.len();
        if !release.marks.iter().any(|mark| machine.marks.contains_key(mark)) {
            return Effect::none(format!("{held} marks"));
        }
        let left = machine
            .marks
            .keys()
            .filter(|mark| !release.marks.contains(mark))
            .count();
        let change = Change::Released {
            machine: release.machine.clone(),
            marks: release.marks.clone(),
        };
        Effect::of(change, format!("{held} marks"), format!("{left} marks"))
    }

    /// A change of one machine, described by its state before and after.
    fn described(&self, machine: &Machine, change: Change) -> Effect {
        let mut after = machine.clone();
        crate::fold::preview(&mut after, &change, self.now);
        Effect::of(change, machine.describe(), after.describe())
    }
}

/// The disks that are left out. The records lie on the first one, so that one stays.
fn excluded(machine: &Machine, named: &str) -> Result<Vec<String>, Failure> {
    let named: Vec<&str> = named.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    let disks = machine.all_disks();
    if let Some(first) = disks.first().filter(|first| named.contains(&&*first.id)) {
        let message = format!(
            "disk `{}` of `{}` starts the machine and cannot be left out",
            first.id, machine.id
        );
        return Err(Failure::refused("invalid", message));
    }
    // One that is not there cannot be copied either: away from home there are only those that were sent.
    let there = named.into_iter().filter(|id| disks.iter().any(|disk| disk.id == *id));
    Ok(there.map(str::to_owned).collect())
}
