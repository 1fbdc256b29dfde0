//! What an operation does to a site: a pure decision from state and request to changes, outputs and words for the
//! ledger, or a refusal. Whether and when it happens (faults, latencies, keys) is decided elsewhere.

mod create;
mod exec;
mod replica;
mod source;
mod target;

use crate::blobs::Blobs;
use crate::entry::Change;
use crate::operation::{Call, Failure, Operation, Pairs};
use crate::state::{Machine, Replica, Site, Stamp, State};

/// What a decision may look at.
pub(crate) struct Context<'a> {
    pub(crate) state: &'a State,
    pub(crate) blobs: &'a Blobs,
    pub(crate) name: &'a str,
    pub(crate) site: &'a Site,
    pub(crate) call: &'a Call,
    /// Lab time.
    pub(crate) now: u64,
    pub(crate) wall: u64,
    /// The number of the line that is going to be written: new things are named after it.
    pub(crate) seq: u64,
}

/// What an operation does. Without changes it found everything so already.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    pub(crate) changes: Vec<Change>,
    pub(crate) outputs: Pairs,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// The machine or replica it made, where the request could not name it.
    pub(crate) made: Option<String>,
    /// A file that must exist before the change is written.
    pub(crate) link: Option<Link>,
}

/// A recovered machine's base, still to be made: one more name for a file. Both are relative to the data directory.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Effect {
    /// Nothing to do.
    fn none(state: impl Into<String>) -> Self {
        let state = state.into();
        Self {
            before: Some(state.clone()),
            after: Some(state),
            ..Self::default()
        }
    }

    /// One change from one state to another, in words.
    fn of(change: Change, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self {
            changes: vec![change],
            before: Some(before.into()),
            after: Some(after.into()),
            ..Self::default()
        }
    }

    /// Adds an output.
    fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.outputs.insert(name.into(), value.into());
        self
    }
}

/// Decides an operation.
pub(crate) fn evaluate(context: &Context, operation: &Operation) -> Result<Effect, Failure> {
    match operation {
        Operation::Shutdown(stop) | Operation::Stop(stop) => context.power_off(&stop.machine),
        Operation::Hold(hold) => context.hold(hold),
        Operation::Snapshot(snapshot) => context.snapshot(snapshot),
        Operation::Release(release) => Ok(context.release(release)),
        Operation::Start(machine) => context.start(&machine.machine),
        Operation::PrepareReplica(prepare) => context.prepare_replica(prepare),
        Operation::ReceiveComplete(receive) => context.receive_complete(receive),
        Operation::Process(replica) => context.process(&replica.replica),
        Operation::DeletePoints(delete) => context.delete_points(delete),
        Operation::DeleteReplica(replica) => Ok(context.delete_replica(&replica.replica)),
        Operation::CreateMachine(create) => context.create_machine(create),
        Operation::BootPrepare(prepare) => context.boot_prepare(prepare),
        Operation::ChangePoint(change) => context.change_point(change),
        Operation::DeleteMachine(machine) => context.delete_machine(&machine.machine),
        Operation::Fence(machine) => context.fence(&machine.machine),
        Operation::Custom(custom) if custom.name == exec::EXEC => context.exec(custom),
        Operation::Custom(custom) => Err(Failure::refused(
            "unsupported",
            format!("the lab has no operation `{}`", custom.name),
        )),
    }
}

impl<'a> Context<'a> {
    /// The machine, or the refusal that names it.
    fn machine(&self, id: &str) -> Result<&'a Machine, Failure> {
        self.site
            .machines
            .get(id)
            .ok_or_else(|| Failure::refused("not-found", format!("site `{}` has no machine `{id}`", self.name)))
    }

    /// The replica, or the refusal that names it.
    fn replica(&self, id: &str) -> Result<&'a Replica, Failure> {
        self.site
            .replicas
            .get(id)
            .ok_or_else(|| Failure::refused("not-found", format!("site `{}` has no replica `{id}`", self.name)))
    }

    fn stamp(&self, item: &str) -> Stamp {
        Stamp {
            item: item.to_owned(),
            call: self.call.clone(),
        }
    }
}
