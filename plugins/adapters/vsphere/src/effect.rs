//! Effects: what is begun for each operation, and how it is found again by its key.

use std::collections::BTreeSet;

use landfall_sdk::adapter_types::{CreateMachine, Machine, Operation};
use landfall_sdk::{Call, Effect, Failure, ProbeAnswer, Progress, clock};

use crate::autostart;
use crate::clone;
use crate::fault::Trouble;
use crate::handle::{Goal, Handle, Made};
use crate::machine::Vm;
use crate::network::Fabric;
use crate::pursue::{self, output};
use crate::settings;
use crate::stamp::Stamp;
use crate::task::{self, State, look, running};
use crate::vcenter::Vcenter;
use crate::xml::{element, reference};

/// A request that was sent has become a task, which is in the machine's list, within this: vCenter does so at once, and
/// one that is overloaded within seconds. Paid only after a crash or a lost answer.
const SETTLE_MS: u64 = 15_000;
/// Effects that one poll begins, so that it stays within its limit of time; the others wait for the next.
const BEGUN_PER_POLL: usize = 50;

/// Every operation with its class. What makes something is found by its key; everything else only says how it shall be.
pub(crate) fn operations() -> Vec<Effect> {
    let goals = [
        "shutdown",
        "hold",
        "start",
        "fence",
        "stop",
        "delete-points",
        "delete-replica",
        "delete-machine",
    ];
    let made = ["prepare-replica", "process", "create-machine"];
    let goals = goals.map(Effect::idempotent).into_iter();
    goals
        .chain(made.map(|name| Effect::probeable(name, SETTLE_MS)))
        .collect()
}

/// Begins it.
pub(crate) fn submit(vcenter: &Vcenter, call: &Call, operation: &Operation) -> Result<Progress, Trouble> {
    let goal = |machine: &str, goal: Goal| pursue_now(vcenter, machine, goal);
    match operation {
        Operation::Shutdown(stop) if stop.forced => goal(&stop.machine, Goal::Off),
        Operation::Stop(stop) if stop.forced => goal(&stop.machine, Goal::Stopped),
        Operation::Shutdown(stop) | Operation::Stop(stop) => {
            let until = clock::now_ms().saturating_add(settings::shutdown_ms()?);
            goal(&stop.machine, Goal::GuestOff(until))
        }
        Operation::Hold(hold) => {
            autostart::hold(vcenter, &hold.machine, hold.held)?;
            Ok(Progress::Done(Vec::new()))
        }
        Operation::Start(start) => goal(&start.machine, Goal::On),
        Operation::Fence(fence) => goal(&fence.machine, Goal::Fenced),
        Operation::DeleteMachine(delete) => goal(&delete.machine, Goal::Gone),
        Operation::DeletePoints(delete) => goal(&delete.replica, Goal::PointsGone(delete.points.clone())),
        // A replica is a machine that was there before and stays; what is ours of it are its points.
        Operation::DeleteReplica(delete) => goal(&delete.replica, Goal::PointsGone(None)),
        Operation::PrepareReplica(prepare) => {
            let replica = replica_of(vcenter, &prepare.machine)?;
            snapshot(
                vcenter,
                &replica,
                &Stamp::of(call, Some(&prepare.item)),
                Output::Replica,
            )
        }
        Operation::Process(process) => {
            let replica = known(vcenter, &process.replica)?;
            snapshot(vcenter, &replica, &Stamp::of(call, None), Output::Point)
        }
        Operation::CreateMachine(create) => create_machine(vcenter, call, create),
        Operation::Snapshot(_)
        | Operation::Release(_)
        | Operation::ReceiveComplete(_)
        | Operation::BootPrepare(_)
        | Operation::ChangePoint(_)
        | Operation::Custom(_) => Err(not_offered("this operation").into()),
    }
}

/// What the site does not do.
pub(crate) fn not_offered(what: &str) -> Failure {
    Failure::definite("not-offered", format!("the vSphere adapter does not offer {what}"))
}

/// Was it done, or is it being done? Only for what is made; a goal is simply pursued again.
pub(crate) fn probe(vcenter: &Vcenter, call: &Call, operation: &Operation) -> Result<ProbeAnswer, Trouble> {
    let stamp = Stamp::of(call, None);
    match operation {
        Operation::CreateMachine(create) => {
            if let Some(id) = vcenter.find_machine(&stamp.uuid())? {
                return Ok(done("machine", &id));
            }
            let Some(replica) = task::machine(vcenter, &create.replica)? else {
                return Ok(ProbeAnswer::Absent);
            };
            under_way(vcenter, &replica, "lone", |task| Handle::Made {
                task,
                made: Made::Machine { uuid: stamp.uuid() },
            })
        }
        Operation::Process(process) => match task::machine(vcenter, &process.replica)? {
            Some(replica) => probe_snapshot(vcenter, &replica, &stamp, Output::Point),
            None => Ok(ProbeAnswer::Absent),
        },
        Operation::PrepareReplica(prepare) => probe_snapshot(
            vcenter,
            &replica_of(vcenter, &prepare.machine)?,
            &stamp,
            Output::Replica,
        ),
        _ => Ok(ProbeAnswer::Unknown(
            "this effect says how the machine shall be; it is sent again".to_owned(),
        )),
    }
}

fn done(name: &str, value: &str) -> ProbeAnswer {
    ProbeAnswer::Done(vec![(name.to_owned(), value.to_owned())])
}

/// How the handles stand. What vCenter refuses is that handle's failure; what is no answer is everybody's.
pub(crate) fn poll(vcenter: &Vcenter, handles: Vec<String>) -> Result<Vec<(String, Progress)>, Trouble> {
    let known: Vec<(String, Option<Handle>)> = handles
        .into_iter()
        .map(|text| (text.clone(), Handle::parse(&text)))
        .collect();
    let begun: Vec<String> = known.iter().filter_map(|(text, _)| pursue::begun(text)).collect();
    let machines: BTreeSet<&str> = known
        .iter()
        .filter_map(|(_, handle)| handle.as_ref()?.machine())
        .collect();
    let made = known.iter().filter_map(|(_, handle)| match handle {
        Some(Handle::Made { task, .. }) => Some(&**task),
        _ => None,
    });
    let tasks: BTreeSet<&str> = made.chain(begun.iter().map(|task| &**task)).collect();
    let seen = look(vcenter, &machines, &tasks)?;
    let mut answers = Vec::new();
    for (index, (text, handle)) in known.into_iter().enumerate() {
        let progress = match handle {
            None => Progress::Failed(unknown(&text)),
            Some(handle) => match pursue::handle(vcenter, &text, &handle, &seen, index < BEGUN_PER_POLL) {
                Ok(progress) => progress,
                Err(Trouble::Other(failure)) if is_silence(&failure) => return Err(failure.into()),
                Err(trouble) => Progress::Failed(trouble.into()),
            },
        };
        answers.push((text, progress));
    }
    Ok(answers)
}

/// Nothing was heard of the effect itself: the host asks again.
fn is_silence(failure: &Failure) -> bool {
    matches!(&*failure.code, "unreachable" | "unavailable" | "half-an-answer")
}

fn unknown(handle: &str) -> Failure {
    Failure::definite("unknown-handle", format!("`{handle}` is no handle of this adapter"))
}

/// Asks vCenter to end the task behind a handle.
pub(crate) fn cancel(vcenter: &Vcenter, text: &str) -> Result<Progress, Trouble> {
    let Some(handle) = Handle::parse(text) else {
        return Ok(Progress::Failed(unknown(text)));
    };
    let task = match &handle {
        Handle::Made { task, .. } => Some(task.clone()),
        Handle::Goal { .. } => pursue::begun(text),
    };
    if let Some(task) = &task {
        vcenter.call("CancelTask", &reference("_this", "Task", task), |_| Ok(()))?;
    }
    Ok(running(text, None, "vCenter was asked to stop it"))
}

fn pursue_now(vcenter: &Vcenter, machine: &str, goal: Goal) -> Result<Progress, Trouble> {
    let handle = Handle::Goal {
        machine: machine.to_owned(),
        goal,
    };
    let text = handle.to_string();
    let begun = pursue::begun(&text);
    let tasks = begun.iter().map(|task| &**task).collect();
    let seen = look(vcenter, &BTreeSet::from([machine]), &tasks)?;
    pursue::handle(vcenter, &text, &handle, &seen, true)
}

fn known(vcenter: &Vcenter, id: &str) -> Result<Vm, Trouble> {
    Ok(task::machine(vcenter, id)?.ok_or_else(|| autostart::missing(id))?)
}

/// The machine here whose snapshots are the points of a machine: its standby, or, in the same vCenter, itself.
pub(crate) fn replica_of(vcenter: &Vcenter, machine: &Machine) -> Result<Vm, Trouble> {
    if let Some(standby) = settings::standby()? {
        let path = format!("{}/{}", standby.folder.trim_end_matches('/'), path_part(&machine.name));
        return match vcenter.find(&path)? {
            Some((kind, id)) if kind == "VirtualMachine" => known(vcenter, &id),
            _ => Err(Failure::definite(
                "no-standby",
                format!("there is no standby at `{path}`; replicate the machine there"),
            )
            .into()),
        };
    }
    let here = vcenter.content()?.instance;
    if landfall_sdk::pair(&machine.ext, "vcenter") == Some(&here) {
        return known(vcenter, &machine.id);
    }
    let message = format!(
        "`{}` is not a machine of this vCenter; set `standby` to the folder in which its replica is kept",
        machine.name
    );
    Err(Failure::definite("no-standby", message).into())
}

/// vCenter writes a slash in a name so.
fn path_part(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2f").replace('\\', "%5c")
}

/// What the end of a snapshot gives.
#[derive(Clone, Copy)]
enum Output {
    Point,
    Replica,
}

impl Output {
    fn made(self, machine: &str, name: &str) -> Made {
        let (machine, name) = (machine.to_owned(), name.to_owned());
        match self {
            Self::Point => Made::Point { machine, name },
            Self::Replica => Made::Replica { machine, name },
        }
    }

    fn of(self, vm: &Vm, point: &str) -> (&'static str, String) {
        match self {
            Self::Point => ("point", point.to_owned()),
            Self::Replica => ("replica", vm.id.clone()),
        }
    }
}

fn snapshot(vcenter: &Vcenter, vm: &Vm, stamp: &Stamp, gives: Output) -> Result<Progress, Trouble> {
    let name = stamp.snapshot_name();
    if let Some(there) = vm.snapshots.iter().find(|one| one.name == name) {
        let (output_name, value) = gives.of(vm, &there.id);
        return Ok(output(output_name, &value));
    }
    // Without VMware Tools a quiesced snapshot fails; a crash-consistent one is better than none.
    let quiesce = settings::quiesces()? && vm.power_word == "poweredOn" && vm.tools == "guestToolsRunning";
    let arguments = [
        reference("_this", "VirtualMachine", &vm.id),
        element("name", &name),
        element("description", &stamp.lines()),
        format!("<memory>false</memory><quiesce>{quiesce}</quiesce>"),
    ];
    let task = vcenter.start("CreateSnapshot_Task", &arguments.concat())?;
    let made = gives.made(&vm.id, &name);
    Ok(running(
        &Handle::Made { task, made }.to_string(),
        None,
        "takes a snapshot",
    ))
}

fn probe_snapshot(vcenter: &Vcenter, vm: &Vm, stamp: &Stamp, gives: Output) -> Result<ProbeAnswer, Trouble> {
    let name = stamp.snapshot_name();
    if let Some(there) = vm.snapshots.iter().find(|one| one.name == name) {
        let (output_name, value) = gives.of(vm, &there.id);
        return Ok(done(output_name, &value));
    }
    under_way(vcenter, vm, "reateSnapshot", |task| Handle::Made {
        task,
        made: gives.made(&vm.id, &name),
    })
}

/// A task that is not over and does this kind of thing may be the one: its end tells. Else there is none.
fn under_way(
    vcenter: &Vcenter,
    vm: &Vm,
    does: &str,
    handle: impl FnOnce(String) -> Handle,
) -> Result<ProbeAnswer, Trouble> {
    let tasks = vm.tasks.iter().map(|task| &**task).collect();
    let seen = look(vcenter, &BTreeSet::new(), &tasks)?;
    let mut open = seen.tasks.into_iter();
    let open = open.find(|(_, task)| task.state == State::Running && task.does.contains(does));
    Ok(match open {
        None => ProbeAnswer::Absent,
        Some((task, _)) => match running(&handle(task).to_string(), None, "") {
            Progress::Running(running) => ProbeAnswer::Running(running),
            _ => ProbeAnswer::Absent,
        },
    })
}

fn create_machine(vcenter: &Vcenter, call: &Call, create: &CreateMachine) -> Result<Progress, Trouble> {
    let stamp = Stamp::of(call, Some(&create.item));
    if let Some(id) = vcenter.find_machine(&stamp.uuid())? {
        return Ok(output("machine", &id));
    }
    let replica = known(vcenter, &create.replica)?;
    if !replica.snapshots.iter().any(|one| one.id == create.point) {
        let message = format!(
            "`{}` has no recovery point `{}` any more; choose another",
            replica.name, create.point
        );
        return Err(Failure::definite("point-missing", message).into());
    }
    let mut networks: Vec<String> = create.networks.iter().map(|mapping| mapping.network.clone()).collect();
    networks.sort_unstable();
    networks.dedup();
    let fabric = Fabric::around(vcenter, &networks)?;
    if create.isolated
        && let Some(open) = networks.iter().find(|network| !fabric.isolation(network).0)
    {
        let message = format!("a test machine must not be connected to `{open}`, which is not isolated");
        return Err(Failure::definite("network-not-isolated", message).into());
    }
    let place = settings::place(vcenter, &replica)?;
    let arguments = clone::arguments((&replica, create), &place, &fabric, &stamp)?;
    let task = vcenter.start("CloneVM_Task", &arguments)?;
    let made = Made::Machine { uuid: stamp.uuid() };
    Ok(running(
        &Handle::Made { task, made }.to_string(),
        None,
        "clones the recovery point",
    ))
}

/// Which machine a `prepare-replica` would take, for preflight: none with the reason.
pub(crate) fn prospective(vcenter: &Vcenter, machine: &Machine) -> Result<Result<Vm, Failure>, Trouble> {
    match replica_of(vcenter, machine) {
        Ok(vm) => Ok(Ok(vm)),
        Err(Trouble::Other(failure)) if matches!(&*failure.code, "no-standby" | "not-found") => Ok(Err(failure)),
        Err(trouble) => Err(trouble),
    }
}
