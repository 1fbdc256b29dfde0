//! The `libvirt` adapter: a libvirt daemon with QEMU, as source and as target. It speaks libvirt's own protocol and
//! NBD over connections that the operator granted; there is no agent, no `virsh` and no process beside the daemon.
//!
//! Endpoints: `libvirt`, the daemon, and `nbd`, the range of ports on which QEMU offers disks. What this adapter knows
//! stands in the metadata of libvirt's own objects (`facts`), so a probe is exact and nothing is kept twice.
//!
//! It asks for `transport`, `buffers`, `clock` and `session`.

mod config;
mod data;
mod domain;
mod epoch;
mod facts;
mod failure;
mod helper;
mod libvirt;
mod machine;
mod merge;
mod nbd;
mod network;
mod offer;
mod owned;
mod preflight;
mod rpc;
mod source;
mod storage;
mod target;
mod xdr;
mod xml;

use landfall_rules::features;
use landfall_rules::site::Platform;
use landfall_sdk::adapter_types::{
    Extent, ExtentPage, Features, IsolationAnswer, ItemFacts, MachinePage, Network, Operation, OwnedPage, PowerAnswer,
    PreflightAnswer, SiteFacts,
};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::{
    Adapter, Call, Direction, Effect, Failure, Finding, Pairs, Plugin, ProbeAnswer, Progress, RecoveryPoint, Takeover,
    export_adapter,
};

use crate::libvirt::with;

struct Libvirt;

impl Plugin for Libvirt {
    const NAME: &'static str = "libvirt";
    const SUMMARY: &'static str = "Machines of a libvirt daemon with QEMU";
    const CONFIG_SCHEMA: Option<&'static str> = Some(config::SCHEMA);
    const FINDINGS: &'static [(&'static str, &'static str)] = preflight::FINDINGS;
}

/// Effects that leave a key behind, by which they are found again.
const KEYED: [&str; 4] = ["prepare-replica", "process", "create-machine", "change-point"];

/// Effects whose repetition changes nothing: they say how something is to be, not what to do.
const IDEMPOTENT: [&str; 11] = [
    "shutdown",
    "hold",
    "snapshot",
    "release",
    "start",
    "receive-complete",
    "delete-points",
    "delete-replica",
    "stop",
    "delete-machine",
    "fence",
];

fn done(outputs: Pairs) -> Progress {
    Progress::Done(outputs)
}

fn nothing(effect: Result<(), Failure>) -> Result<Progress, Failure> {
    effect.map(|()| Progress::Done(Pairs::new()))
}

fn effect(libvirt: &mut libvirt::Libvirt, call: &Call, operation: &Operation) -> Result<Progress, Failure> {
    match operation {
        Operation::Shutdown(shutdown) => machine::shut_down(libvirt, shutdown),
        Operation::Stop(stop) => machine::stop(libvirt, stop),
        Operation::Hold(hold) => nothing(machine::hold(libvirt, hold)),
        Operation::Snapshot(snapshot) => source::snapshot(libvirt, call, snapshot).map(done),
        Operation::Release(release) => nothing(source::release(libvirt, release)),
        Operation::Start(start) => machine::start(libvirt, &start.machine).map(done),
        Operation::PrepareReplica(prepare) => target::prepare(libvirt, call, prepare).map(done),
        Operation::ReceiveComplete(receive) => nothing(target::receive(libvirt, call, receive)),
        Operation::Process(process) => target::process(libvirt, call, &process.replica),
        Operation::DeletePoints(delete) => nothing(target::delete_points(libvirt, delete)),
        Operation::DeleteReplica(delete) => nothing(target::delete(libvirt, &delete.replica)),
        Operation::CreateMachine(create) => machine::create(libvirt, call, create).map(done),
        Operation::ChangePoint(change) => nothing(machine::change(libvirt, call, change)),
        Operation::DeleteMachine(delete) => nothing(machine::delete(libvirt, &delete.machine)),
        Operation::Fence(fence) => nothing(machine::fence(libvirt, call, &fence.machine)),
        Operation::BootPrepare(_) => Err(not_offered("boot-prepare")),
        Operation::Custom(custom) => Err(not_offered(&custom.name)),
    }
}

impl Adapter for Libvirt {
    fn get_features(origin: &str, direction: Direction) -> Features {
        let way_back = features::way_back(Some(Platform::Kvm), origin);
        let way_back = (direction == Direction::Reverse).then(|| ("way-back".to_owned(), way_back.to_owned()));
        let keyed = KEYED.iter().map(|operation| Effect::keyed(operation));
        let idempotent = IDEMPOTENT.iter().map(|operation| Effect::idempotent(operation));
        Features {
            source: true,
            target: true,
            replication: "driven".to_owned(),
            operations: keyed.chain(idempotent).collect(),
            app_consistent: true,
            planned_failover: true,
            direct_transfer: Vec::new(),
            ext: way_back.into_iter().collect(),
        }
    }

    fn health() -> Result<Vec<Finding>, Failure> {
        with(preflight::health)
    }

    fn list_machines(cursor: Option<String>) -> Result<MachinePage, Failure> {
        with(|libvirt| machine::list(libvirt, cursor.as_deref()))
    }

    fn list_networks() -> Result<Vec<Network>, Failure> {
        with(network::list)
    }

    fn preflight(item: &ItemFacts, _peer: Option<&SiteFacts>, operation: &str) -> Result<PreflightAnswer, Failure> {
        with(|libvirt| preflight::answer(libvirt, item, operation))
    }

    fn submit(call: &Call, operation: &Operation) -> Result<Progress, Failure> {
        with(|libvirt| {
            epoch::check(libvirt, call)?;
            effect(libvirt, call, operation)
        })
    }

    fn poll_many(handles: Vec<String>, _wait_ms: u32) -> Result<Vec<(String, Progress)>, Failure> {
        with(|libvirt| {
            let mut polled = Vec::new();
            for handle in handles {
                let progress = poll(libvirt, &handle)?;
                polled.push((handle, progress));
            }
            Ok(polled)
        })
    }

    fn probe(call: &Call, operation: &Operation) -> Result<ProbeAnswer, Failure> {
        let found = with(|libvirt| match operation {
            Operation::PrepareReplica(_) => target::prepared(libvirt, &call.key),
            Operation::CreateMachine(_) => machine::created(libvirt, &call.key),
            Operation::Process(process) => target::processed(libvirt, &call.key, &process.replica),
            Operation::ChangePoint(change) => {
                let changed = machine::changed(libvirt, &call.key, &change.machine)?;
                Ok(changed.then(Pairs::new))
            }
            _ => Err(Failure::definite(
                "no-key",
                "this effect may be repeated, and leaves no key to ask for",
            )),
        })?;
        Ok(found.map_or(ProbeAnswer::Absent, ProbeAnswer::Done))
    }

    /// What takes its time here, a guest's shutdown and a merge, ends by itself.
    fn cancel(call: &Call, handle: &str) -> Result<Progress, Failure> {
        with(|libvirt| {
            epoch::check(libvirt, call)?;
            poll(libvirt, handle)
        })
    }

    fn power_state(machine: &str) -> Result<PowerAnswer, Failure> {
        with(|libvirt| machine::power(libvirt, machine))
    }

    fn prove_isolation(network: &str) -> Result<IsolationAnswer, Failure> {
        with(|libvirt| network::isolation(libvirt, network))
    }

    fn changes(
        machine: &str,
        since: Option<String>,
        mark: &str,
        cursor: Option<String>,
    ) -> Result<ExtentPage, Failure> {
        offer::changes(machine, since.as_deref(), mark, cursor.as_deref())
    }

    fn read(machine: &str, mark: &str, extent: Extent, buffer: &Buffer) -> Result<(), Failure> {
        offer::read(machine, mark, extent, buffer)
    }

    fn write(call: &Call, replica: &str, mark: &str, offset: u64, buffer: &Buffer) -> Result<(), Failure> {
        target::write(call, replica, mark, offset, buffer)
    }

    fn list_points(replica: &str) -> Result<Vec<RecoveryPoint>, Failure> {
        with(|libvirt| target::points(libvirt, replica))
    }

    fn list_owned(installation: &str, _cursor: Option<String>) -> Result<OwnedPage, Failure> {
        with(|libvirt| owned::list(libvirt, installation))
    }
}

fn not_offered(operation: &str) -> Failure {
    Failure::definite("not-offered", format!("this adapter has no operation `{operation}`"))
}

/// A handle says itself what it waits for, so that any version can poll it.
fn poll(libvirt: &mut libvirt::Libvirt, handle: &str) -> Result<Progress, Failure> {
    let parts: Vec<&str> = handle.split('/').collect();
    let unknown = || {
        Progress::Failed(Failure::in_doubt(
            "not-found",
            format!("nothing has the handle `{handle}`"),
        ))
    };
    let answer = match parts.as_slice() {
        ["down", machine, deadline] => match deadline.parse() {
            Ok(deadline) => machine::poll_stop(libvirt, machine, deadline),
            Err(_) => return Ok(unknown()),
        },
        ["merge", replica, point] => merge::poll_merge(libvirt, replica, point).map(|outputs| match outputs {
            Some(outputs) => Progress::Done(outputs),
            None => Progress::Running(merge::merging(handle)),
        }),
        _ => return Ok(unknown()),
    };
    match answer {
        // The machine or the replica is gone: so is what was waited for.
        Err(failure) if failure.code == "not-found" => Ok(Progress::Failed(failure)),
        other => other,
    }
}

/// The site keeps the epoch of an installation itself.
impl Takeover for Libvirt {
    fn take_over(call: &Call) -> Result<(), Failure> {
        with(|libvirt| epoch::take_over(libvirt, call))
    }
}

export_adapter!(Libvirt, takeover);
