//! Pursuing what an effect is about: look, and if what is wanted is not so, do the next thing towards it.
//!
//! The same function begins an effect and polls it. What it remembers between two looks, the task that it began, is in
//! the host's session memory and may be forgotten: then it looks, and vCenter refuses a second task beside the first.

use landfall_sdk::adapter_types::Power;
use landfall_sdk::{Failure, Progress, clock, session};

use crate::autostart;
use crate::fault::Trouble;
use crate::handle::{Goal, Handle, Made};
use crate::machine::Vm;
use crate::point;
use crate::settings;
use crate::tag;
use crate::task::{self, Seen, State, running};
use crate::vcenter::Vcenter;
use crate::xml::{element, reference};

/// In place of a task: the guest was asked to shut down, which vCenter does not follow.
const ASKED: &str = "asked";

/// The task that was begun towards a goal.
pub(crate) fn begun(handle: &str) -> Option<String> {
    session::get_text(&format!("task/{handle}")).filter(|task| task != ASKED)
}

/// How a goal stands after this look, and what was done towards it. Without `acts` it is only looked at.
pub(crate) fn goal(
    vcenter: &Vcenter,
    (handle, machine, goal): (&str, &str, &Goal),
    seen: &Seen,
    acts: bool,
) -> Result<Progress, Trouble> {
    let memory = format!("task/{handle}");
    let vm = seen.machines.get(machine);
    if is_reached(goal, vm) {
        session::delete(&memory);
        // Again: a crash between its making and its tagging leaves none, and a probe changes nothing.
        if let Some(vm) = vm.filter(|vm| *goal == Goal::On && vm.ours().is_some()) {
            tag::attach(&vm.id);
        }
        return Ok(Progress::Done(Vec::new()));
    }
    let vm = vm.ok_or_else(|| autostart::missing(machine))?;
    let remembered = session::get_text(&memory);
    let is_asked = remembered.as_deref() == Some(ASKED);
    if let Some(id) = remembered.filter(|_| !is_asked) {
        let task = seen.tasks.get(&id);
        match task.map(|task| &task.state) {
            Some(State::Running) => return Ok(running(handle, task, "")),
            Some(State::Failed(fault)) => {
                session::delete(&memory);
                return Err(Trouble::Fault(fault.clone()));
            }
            // What was read beside the task may be older than its end: the next look decides.
            Some(State::Done) | None => {
                session::delete(&memory);
                return Ok(running(handle, task, ""));
            }
        }
    }
    if !acts {
        return Ok(running(handle, None, "waits for its turn"));
    }
    let next = match goal {
        Goal::GuestOff(until) if is_asked && clock::now_ms() < *until => None,
        Goal::GuestOff(_) if is_asked => Some(late(vm).and_then(|()| vm_task(vcenter, "PowerOffVM_Task", vm))),
        goal => Some(act(vcenter, vm, goal)),
    };
    match next {
        None => {}
        Some(Ok(task)) => session::set(&memory, task, None)?,
        // Somebody's task is in the way, or the state is another by now: the next look tells.
        Some(Err(trouble)) if trouble.is("TaskInProgress") || trouble.is("InvalidPowerState") => {}
        Some(Err(trouble)) => return Err(trouble),
    }
    let note = if matches!(goal, Goal::GuestOff(_)) {
        "the guest shuts down"
    } else {
        ""
    };
    Ok(running(handle, None, note))
}

fn is_reached(goal: &Goal, vm: Option<&Vm>) -> bool {
    match (goal, vm) {
        (Goal::Gone | Goal::Stopped | Goal::PointsGone(_), None) => true,
        (_, None) | (Goal::Gone, Some(_)) => false,
        (Goal::On, Some(vm)) => vm.power() == Power::On,
        (Goal::Off | Goal::Stopped | Goal::GuestOff(_), Some(vm)) => vm.power() == Power::Off,
        (Goal::Fenced, Some(vm)) => vm.power() == Power::Off && vm.is_template,
        (Goal::PointsGone(asked), Some(vm)) => point::ours(&vm.snapshots, asked.as_deref()).is_empty(),
    }
}

/// The next thing towards a goal; gives the task.
fn act(vcenter: &Vcenter, vm: &Vm, goal: &Goal) -> Result<String, Trouble> {
    match goal {
        Goal::On => vm_task(vcenter, "PowerOnVM_Task", vm),
        Goal::Fenced if vm.power() == Power::Off => {
            vcenter.call("MarkAsTemplate", &this(vm), |_| Ok(()))?;
            Ok(ASKED.to_owned())
        }
        Goal::Off | Goal::Stopped | Goal::Fenced => vm_task(vcenter, "PowerOffVM_Task", vm),
        Goal::GuestOff(_) => match vcenter.call("ShutdownGuest", &this(vm), |_| Ok(())) {
            Ok(()) => Ok(ASKED.to_owned()),
            Err(trouble) if trouble.is("ToolsUnavailable") && settings::powers_off()? => {
                vm_task(vcenter, "PowerOffVM_Task", vm)
            }
            Err(trouble) => Err(trouble),
        },
        Goal::PointsGone(asked) => match point::ours(&vm.snapshots, asked.as_deref()).first() {
            Some(snapshot) => {
                let this = reference("_this", "VirtualMachineSnapshot", &snapshot.id);
                let how = "<removeChildren>false</removeChildren><consolidate>true</consolidate>";
                vcenter.start("RemoveSnapshot_Task", &(this + how))
            }
            None => Ok(ASKED.to_owned()),
        },
        Goal::Gone => {
            destroyable(vm)?;
            vm_task(vcenter, "Destroy_Task", vm)
        }
    }
}

/// Nothing is ever deleted that Landfall did not make, whatever the inventory says.
fn destroyable(vm: &Vm) -> Result<(), Failure> {
    let Vm { id, name, .. } = vm;
    if vm.ours().is_none() {
        let message =
            format!("`{name}` ({id}) was not made by Landfall and is left alone; delete it by hand if it is to go");
        return Err(Failure::definite("not-ours", message));
    }
    if vm.power() == Power::Off {
        return Ok(());
    }
    let message = format!("`{name}` ({id}) is not off, so it is not deleted; stop it first");
    Err(Failure::definite("not-off", message))
}

fn late(vm: &Vm) -> Result<(), Trouble> {
    if settings::powers_off()? {
        return Ok(());
    }
    let message = format!(
        "the guest of `{}` did not shut down in time and runs on; shut it down by hand, raise `shutdown-patience`, or set \
         `power-off = \"true\"` for the site",
        vm.name
    );
    Err(Failure::in_doubt("still-on", message).retryable().into())
}

fn this(vm: &Vm) -> String {
    reference("_this", "VirtualMachine", &vm.id)
}

fn vm_task(vcenter: &Vcenter, method: &str, vm: &Vm) -> Result<String, Trouble> {
    vcenter.start(method, &this(vm))
}

/// How it stands with something that is made by a task.
pub(crate) fn made(
    vcenter: &Vcenter,
    (handle, task_id, made): (&str, &str, &Made),
    seen: &Seen,
) -> Result<Progress, Trouble> {
    let task = seen.tasks.get(task_id);
    match task.map(|task| &task.state) {
        Some(State::Running) => return Ok(running(handle, task, "")),
        Some(State::Failed(fault)) => return Err(Trouble::Fault(fault.clone())),
        Some(State::Done) | None => {}
    }
    let result = task.and_then(|task| task.result.as_deref());
    match made {
        Made::Machine { uuid } => {
            if let Some(id) = vcenter.find_machine(uuid)? {
                tag::attach(&id);
                return Ok(output("machine", &id));
            }
            let Some(id) = result else { return Err(lost(task_id)) };
            let made = task::machine(vcenter, id)?;
            let ours = made.filter(|vm| vm.stamp.as_ref().is_some_and(|stamp| stamp.uuid() == *uuid));
            let Some(vm) = ours else { return Err(anothers(task_id)) };
            // vCenter gave it a UUID of its own. With ours it is found by key, and known from a copy.
            let specification = format!("<spec>{}</spec>", element("instanceUuid", uuid));
            vcenter.start("ReconfigVM_Task", &(this(&vm) + &specification))?;
            Ok(running(handle, None, "the clone gets its UUID"))
        }
        Made::Point { machine, name } | Made::Replica { machine, name } => {
            let snapshots = seen.machines.get(machine).map(|vm| &*vm.snapshots).unwrap_or_default();
            if let Some(point) = snapshots.iter().find(|one| one.name == *name) {
                return Ok(match made {
                    Made::Replica { .. } => output("replica", machine),
                    _ => output("point", &point.id),
                });
            }
            match result {
                Some(id) if snapshots.iter().any(|one| one.id == id) => Err(anothers(task_id)),
                // The machine was read before the task ended.
                Some(_) if seen.machines.contains_key(machine) => Ok(running(handle, task, "")),
                _ => Err(lost(task_id)),
            }
        }
    }
}

/// What an effect that makes something gives.
pub(crate) fn output(name: &str, value: &str) -> Progress {
    Progress::Done(vec![(name.to_owned(), value.to_owned())])
}

/// A probe found a task that might have been ours, and it made something else.
fn anothers(task: &str) -> Trouble {
    let message = format!("{task} was somebody else's, and nothing was made under our key");
    Failure::definite("not-made", message).retryable().into()
}

fn lost(task: &str) -> Trouble {
    let message =
        format!("vCenter no longer knows {task}, and what it was to make is not there; it is asked for by key");
    Failure::in_doubt("task-lost", message).retryable().into()
}

/// How a handle stands.
pub(crate) fn handle(
    vcenter: &Vcenter,
    text: &str,
    handle: &Handle,
    seen: &Seen,
    acts: bool,
) -> Result<Progress, Trouble> {
    match handle {
        Handle::Goal { machine, goal: wanted } => goal(vcenter, (text, machine, wanted), seen, acts),
        Handle::Made { task, made: what } => made(vcenter, (text, task, what), seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    fn vm(power: &str) -> Vm {
        Vm {
            id: "vm-1".into(),
            connection: "connected".into(),
            power_word: power.into(),
            ..Vm::default()
        }
    }

    #[test]
    fn goals_are_reached_by_what_is_seen() {
        let (on, off) = (vm("poweredOn"), vm("poweredOff"));
        assert!(is_reached(&Goal::On, Some(&on)) && !is_reached(&Goal::On, Some(&off)));
        assert!(is_reached(&Goal::GuestOff(0), Some(&off)) && !is_reached(&Goal::Off, Some(&on)));
        assert!(
            !is_reached(&Goal::Off, None),
            "a machine that is gone is not proved off"
        );
        assert!(
            is_reached(&Goal::Stopped, None),
            "what is gone does not run, and can be cleaned up"
        );
        assert!(is_reached(&Goal::Gone, None) && !is_reached(&Goal::Gone, Some(&off)));
        assert!(!is_reached(&Goal::Fenced, Some(&off)));
        let disconnected = Vm {
            connection: "disconnected".into(),
            ..off
        };
        assert!(!is_reached(&Goal::Off, Some(&disconnected)), "hearsay");
    }

    #[test]
    fn only_what_is_ours_and_off_is_deleted() {
        assert_eq!(destroyable(&vm("poweredOff")).unwrap_err().code, "not-ours");
        let stamp = Stamp {
            installation: "i".into(),
            key: "k".into(),
            ..Stamp::default()
        };
        let ours = |power| Vm {
            uuid: stamp.uuid(),
            stamp: Some(stamp.clone()),
            ..vm(power)
        };
        assert!(destroyable(&ours("poweredOff")).is_ok());
        assert_eq!(destroyable(&ours("poweredOn")).unwrap_err().code, "not-off");
        assert_eq!(destroyable(&ours("suspended")).unwrap_err().code, "not-off");
    }
}
