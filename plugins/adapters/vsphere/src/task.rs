//! What is looked at to say how effects stand: machines and vCenter's tasks, many in one request.

use std::collections::{BTreeMap, BTreeSet};

use landfall_sdk::{Progress, Running};

use crate::collector::{Object, Query};
use crate::fault::{Fault, Trouble};
use crate::machine::{LISTED, Vm, WHOLE};
use crate::vcenter::Vcenter;

/// A machine boots, is cloned or is deleted within seconds to minutes; looking twice a second costs one request for all.
const POLL_AFTER_MS: u32 = 500;

/// Whole machines, with their snapshots and extra configurations, are long.
const PAGE: u32 = 25;

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Done,
    Failed(Fault),
}

/// A task of vCenter's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) state: State,
    /// What it does, such as `VirtualMachine.clone`.
    pub(crate) does: String,
    /// What came of it.
    pub(crate) result: Option<String>,
    percent: Option<u8>,
}

/// Machines and tasks as they are now. What vCenter does not know is not there.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) machines: BTreeMap<String, Vm>,
    pub(crate) tasks: BTreeMap<String, Task>,
}

impl Task {
    fn read(object: &Object<'_, '_>) -> Self {
        let state = match object.text("info.state") {
            Some("success") => State::Done,
            Some("error") => {
                let fault = object.get("info.error").and_then(Fault::localized);
                State::Failed(fault.unwrap_or_else(Fault::unknown))
            }
            _ => State::Running,
        };
        Self {
            state,
            does: object.text("info.descriptionId").unwrap_or_default().to_owned(),
            result: object.text("info.result").map(str::to_owned),
            percent: object
                .number("info.progress")
                .and_then(|percent| u8::try_from(percent).ok()),
        }
    }
}

/// Reads them all at once.
pub(crate) fn look(vcenter: &Vcenter, machines: &BTreeSet<&str>, tasks: &BTreeSet<&str>) -> Result<Seen, Trouble> {
    let mut seen = Seen::default();
    if machines.is_empty() && tasks.is_empty() {
        return Ok(seen);
    }
    let info = [
        "info.state",
        "info.error",
        "info.descriptionId",
        "info.result",
        "info.progress",
    ];
    let query = Query::default()
        .of("VirtualMachine", &[LISTED, WHOLE].concat())
        .of("Task", &info)
        .paged(PAGE);
    let query = machines
        .iter()
        .fold(query, |query, id| query.from("VirtualMachine", id, ""));
    let query = tasks.iter().fold(query, |query, id| query.from("Task", id, ""));
    vcenter.read(&query, |object| {
        if object.kind == "Task" {
            seen.tasks.insert(object.id.to_owned(), Task::read(object));
        } else {
            seen.machines.insert(object.id.to_owned(), Vm::read(object));
        }
        Ok(())
    })?;
    Ok(seen)
}

/// One machine.
pub(crate) fn machine(vcenter: &Vcenter, id: &str) -> Result<Option<Vm>, Trouble> {
    let mut seen = look(vcenter, &BTreeSet::from([id]), &BTreeSet::new())?;
    Ok(seen.machines.remove(id))
}

/// Not over yet.
pub(crate) fn running(handle: &str, task: Option<&Task>, note: &str) -> Progress {
    Progress::Running(Running {
        handle: handle.to_owned(),
        percent: task.and_then(|task| task.percent),
        note: note.to_owned(),
        poll_after_ms: POLL_AFTER_MS,
    })
}
