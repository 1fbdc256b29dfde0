//! What a step sends, from the frozen job and the outputs of earlier steps. Pure, so that the dry run prints it, the
//! INTENT hashes it, and a restart repeats it.

use landfall_recovery::consequence::{chosen, outputs_of};
use landfall_recovery::document::Side;
use landfall_recovery::freeze::{Frozen, FrozenItem};
use landfall_recovery::graph::{Step, StepIndex, StepKind};
use landfall_recovery::item::Location;
use landfall_recovery::job::{Job, Status};
use landfall_recovery::operations::Operation as Job_;
use landfall_recovery::words::{Direction, Pairs};
use landfall_runtime::contract::adapter as wit;
use landfall_runtime::contract::runbook::{Context, MachineContext};
use serde::Serialize;

use crate::contract;

/// What a step sends.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "call")]
pub(crate) enum Arguments {
    /// Submitted to a site's adapter.
    Operation {
        site: String,
        operation: Box<wit::Operation>,
        /// What more the adapter is told; see `told`.
        #[serde(skip_serializing_if = "Pairs::is_empty")]
        ext: Pairs,
    },
    /// A runbook's run.
    Action { runbook: String, context: Box<Context> },
    /// Preflight again.
    Check { item: String },
    /// A policy's choice.
    Choose { items: Vec<String> },
    /// The operation `fence`, if the source's power is not read as off.
    Stonith {
        site: String,
        operation: Box<wit::Operation>,
        source: Side,
    },
    /// A read of the source's power; where it was cut, first by whom it was.
    Fence {
        site: String,
        machine: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        cut: Option<Side>,
    },
    /// A read of the networks of a test.
    Isolation { site: String, networks: Vec<String> },
    /// The first full copy.
    Seed {
        item: String,
        /// A mark of the source that the new replica holds already.
        #[serde(skip_serializing_if = "Option::is_none")]
        base: Option<String>,
    },
    /// One replication cycle.
    Sync { items: Vec<String> },
    /// A question to a person.
    Gate { question: String },
    /// Time passes.
    Delay { ms: u64 },
    /// The record is the effect.
    Nothing,
    /// An earlier step did not give what this one needs.
    Missing { what: String },
}

/// What a step sends now. Before the steps it depends on are done, this is [`Arguments::Missing`].
pub(crate) fn arguments(job: &Job, index: StepIndex) -> Arguments {
    let Some((step, _)) = job.step(index) else {
        return Arguments::Missing {
            what: format!("the job has no step {index}"),
        };
    };
    let items = || step.items.clone();
    match &step.kind {
        StepKind::Action { action, phase } => action_arguments(job, step, action, phase),
        StepKind::Gate { action } => Arguments::Gate {
            question: job
                .frozen
                .action(action)
                .and_then(|action| action.gate.clone())
                .unwrap_or_default(),
        },
        StepKind::Delay { ms } => Arguments::Delay { ms: *ms },
        StepKind::Choose => Arguments::Choose { items: items() },
        StepKind::Sync => Arguments::Sync { items: items() },
        StepKind::DoomPoints | StepKind::Milestone => Arguments::Nothing,
        _ => {
            let item = step.items.first().and_then(|name| job.frozen.items.get(name));
            match item {
                Some(item) => item_arguments(job, step, item).unwrap_or_else(|what| Arguments::Missing { what }),
                None => Arguments::Missing {
                    what: format!("`{}` is about no item of the job", step.id),
                },
            }
        }
    }
}

fn item_arguments(job: &Job, step: &Step, item: &FrozenItem) -> Result<Arguments, String> {
    let name = item.item.name.as_str();
    let source = item.item.source.clone();
    let target = item.item.target_site.clone();
    let at_source = |operation| Arguments::Operation {
        site: source.site.clone(),
        operation: Box::new(operation),
        ext: Pairs::new(),
    };
    let at_target = |operation| Arguments::Operation {
        site: target.clone(),
        operation: Box::new(operation),
        ext: Pairs::new(),
    };
    let held = |machine: String, held: bool| wit::Operation::Hold(wit::Hold { machine, held });
    let old = || present(&job.frozen, item).ok_or_else(|| format!("site `{target}` has no machine of `{name}`"));
    // A job that turns the replication round makes the replica that it then uses.
    let replica = || {
        outputs_of(job, name, |kind| *kind == StepKind::PrepareReplica)
            .and_then(|outputs| outputs.get("replica").cloned())
            .or_else(|| item.state.replica.clone())
            .ok_or_else(|| format!("`{name}` has no replica"))
    };
    let tested = || {
        let machine = item.state.test_machine.clone();
        machine.ok_or_else(|| format!("`{name}` has no test machine"))
    };
    let created = || {
        outputs_of(job, name, |kind| *kind == StepKind::Create)
            .and_then(|outputs| outputs.get("machine").cloned())
            .or_else(|| {
                (job.frozen.operation == Job_::ChangePoint)
                    .then(|| recovered(job, item))
                    .flatten()
            })
            .ok_or_else(|| format!("the machine of `{name}` is known after step create/{name}"))
    };
    Ok(match &step.kind {
        StepKind::Check => Arguments::Check { item: name.to_owned() },
        StepKind::Seed => Arguments::Seed {
            item: name.to_owned(),
            base: outputs_of(job, name, |kind| *kind == StepKind::PrepareReplica)
                .and_then(|outputs| outputs.get("mark").cloned()),
        },
        StepKind::Fence => Arguments::Fence {
            site: source.site,
            machine: source.machine,
            cut: outputs_of(job, name, |kind| *kind == StepKind::Stonith).and(item.item.fencing.clone()),
        },
        StepKind::Stonith => {
            let fencing = item.item.fencing.clone();
            let fencing = fencing.ok_or_else(|| format!("the inventory names nobody that can fence `{name}`"))?;
            Arguments::Stonith {
                site: fencing.site,
                operation: Box::new(wit::Operation::Fence(wit::MachineRef {
                    machine: fencing.machine,
                })),
                source,
            }
        }
        StepKind::ProveIsolation => Arguments::Isolation {
            site: target,
            networks: networks_of(job, item),
        },
        StepKind::Shutdown => at_source(wit::Operation::Shutdown(wit::Shutdown {
            machine: source.machine.clone(),
            // Where two may run, the one that is not to stay has no say in it.
            forced: job.frozen.operation.failover_kind().is_none(),
        })),
        StepKind::Hold => at_source(held(source.machine.clone(), true)),
        StepKind::ReleaseSource => at_source(held(source.machine.clone(), false)),
        StepKind::StartSource => at_source(wit::Operation::Start(wit::MachineRef {
            machine: source.machine.clone(),
        })),
        StepKind::DeleteSource => at_source(wit::Operation::DeleteMachine(wit::MachineRef {
            machine: source.machine.clone(),
        })),
        StepKind::StopOld => at_target(wit::Operation::Stop(wit::Shutdown {
            machine: old()?,
            forced: false,
        })),
        StepKind::HoldOld => at_target(held(old()?, true)),
        StepKind::ProveOldOff => Arguments::Fence {
            site: target.clone(),
            machine: old()?,
            cut: None,
        },
        StepKind::Release => at_target(held(created()?, false)),
        StepKind::ChangePoint => at_target(wit::Operation::ChangePoint(wit::ChangePoint {
            machine: recovered(job, item).ok_or_else(|| format!("`{name}` has no recovered machine"))?,
            replica: replica()?,
            point: chosen(job, name)
                .ok_or_else(|| format!("the point of `{name}` is known after its step choose"))?
                .point,
        })),
        StepKind::DeleteOtherReplica => {
            let other = item.state.other_replica.clone();
            let replica = other.ok_or_else(|| format!("`{name}` left no replica behind"))?;
            let operation = wit::Operation::DeleteReplica(wit::ReplicaRef { replica });
            // It is where the item comes from; before it turns, where it is going to.
            if item.state.direction == job.frozen.direction {
                at_source(operation)
            } else {
                at_target(operation)
            }
        }
        StepKind::DeleteReplica => at_target(wit::Operation::DeleteReplica(wit::ReplicaRef { replica: replica()? })),
        StepKind::Process => at_target(wit::Operation::Process(wit::ReplicaRef { replica: replica()? })),
        StepKind::Create => at_target(create(job, item, replica()?)?),
        StepKind::BootPrepare { extra, .. } => at_target(wit::Operation::BootPrepare(wit::BootPrepare {
            machine: created()?,
            extra_step: extra.clone(),
        })),
        StepKind::Start => at_target(wit::Operation::Start(wit::MachineRef { machine: created()? })),
        StepKind::Stop => at_target(wit::Operation::Stop(wit::Shutdown {
            machine: left(job, item)?,
            forced: true,
        })),
        StepKind::Delete => at_target(wit::Operation::DeleteMachine(wit::MachineRef {
            machine: left(job, item)?,
        })),
        StepKind::StopTest => at_target(wit::Operation::Stop(wit::Shutdown {
            machine: tested()?,
            forced: true,
        })),
        StepKind::DeleteTest => at_target(wit::Operation::DeleteMachine(wit::MachineRef { machine: tested()? })),
        StepKind::PrepareReplica => Arguments::Operation {
            site: target,
            operation: Box::new(prepare_replica(item)?),
            ext: told(&job.frozen, item),
        },
        StepKind::DeletePoints => at_target(wit::Operation::DeletePoints(wit::DeletePoints {
            replica: replica()?,
            points: None,
        })),
        StepKind::Action { .. }
        | StepKind::Gate { .. }
        | StepKind::Delay { .. }
        | StepKind::Choose
        | StepKind::Sync
        | StepKind::DoomPoints
        | StepKind::Forget
        | StepKind::Return
        | StepKind::Milestone => Arguments::Nothing,
    })
}

/// What the adapters are told of an item beside the contract's records: where it comes from and back to, and the
/// operator's options for it.
pub(crate) fn told(frozen: &Frozen, item: &FrozenItem) -> Pairs {
    let mut told = Pairs::new();
    let mut tell = |name: &str, value: &str| told.insert(name.to_owned(), value.to_owned());
    if !item.origin.is_empty() {
        tell("origin", &item.origin);
    }
    tell("direction", &frozen.direction.to_string());
    let turn = item.turn.as_ref();
    match turn.map_or(item.state.location, |turn| turn.location) {
        Some(Location::Original) => tell("location", "original"),
        Some(Location::Alternate) => tell("location", "alternate"),
        None => None,
    };
    if let Some(original) = original(frozen, item) {
        tell("original-machine", &original);
    }
    for (name, value) in item
        .item
        .options
        .iter()
        .chain(&item.state.options)
        .chain(&frozen.options)
    {
        tell(&format!("option/{name}"), value);
    }
    told
}

/// The machine that gets its data back, on the way to the original location.
fn original(frozen: &Frozen, item: &FrozenItem) -> Option<String> {
    match (&item.turn, item.state.location) {
        (Some(turn), _) => turn.old.clone().filter(|_| turn.location == Some(Location::Original)),
        (None, Some(Location::Original)) => present(frozen, item),
        (None, _) => None,
    }
}

/// The machine that is at the job's target already.
pub(crate) fn present(frozen: &Frozen, item: &FrozenItem) -> Option<String> {
    match &item.turn {
        Some(turn) => turn.old.clone(),
        None => item.state.placed(frozen.direction).map(str::to_owned),
    }
}

/// The machine that a failover made and started.
fn recovered(job: &Job, item: &FrozenItem) -> Option<String> {
    present(&job.frozen, item).filter(|_| item.state.failed_over())
}

/// The machine that a test left, or a failed failover, or that is to be moved or given up.
fn left(job: &Job, item: &FrozenItem) -> Result<String, String> {
    let left = match job.frozen.operation {
        Job_::Cleanup => item.state.test_machine.clone(),
        Job_::ChangePoint | Job_::ChooseDirection => recovered(job, item),
        _ => item.state.leftover().map(str::to_owned),
    };
    left.ok_or_else(|| format!("`{}` has no machine to remove", item.item.name))
}

fn prepare_replica(item: &FrozenItem) -> Result<wit::Operation, String> {
    let mut machine =
        listed(item)?.ok_or_else(|| format!("the source machine of `{}` was never listed", item.item.name))?;
    machine
        .disks
        .retain(|disk| !item.item.excluded_disks.contains(&disk.id));
    let source_site = item.item.source.site.clone();
    Ok(wit::Operation::PrepareReplica(wit::PrepareReplica {
        item: item.item.name.clone(),
        machine,
        source_site,
    }))
}

pub(crate) fn listed(item: &FrozenItem) -> Result<Option<wit::Machine>, String> {
    let machine = item.machine.as_ref();
    machine
        .map(landfall_recovery::words::Carried::read)
        .transpose()
        .map_err(|error| error.to_string())
}

fn create(job: &Job, item: &FrozenItem, replica: String) -> Result<wit::Operation, String> {
    let name = &item.item.name;
    let point = chosen(job, name).ok_or_else(|| format!("the point of `{name}` is known after its step choose"))?;
    let machine = listed(item)?;
    let isolated = job.frozen.operation == Job_::Test;
    let label = machine.as_ref().map_or(name, |machine| &machine.name);
    Ok(wit::Operation::CreateMachine(wit::CreateMachine {
        item: name.clone(),
        name: if isolated {
            format!("{label}-test")
        } else {
            label.clone()
        },
        replica,
        point: point.point,
        networks: mappings(job, item),
        isolated,
        cpus: sized(job, item.item.cpus).or_else(|| machine.as_ref()?.cpus),
        memory_bytes: sized(job, item.item.memory_bytes).or_else(|| machine.as_ref()?.memory_bytes),
        ext: contract::pairs(&told(&job.frozen, item)),
    }))
}

/// The size that the inventory gives is that of the machine away from home.
fn sized<T>(job: &Job, size: Option<T>) -> Option<T> {
    size.filter(|_| job.frozen.direction == Direction::Forward)
}

/// The networks of the machine to be made: production ones, or those of a test.
pub(crate) fn mappings(job: &Job, item: &FrozenItem) -> Vec<wit::NetworkMapping> {
    network_mappings(&job.frozen, item)
}

/// As [`mappings`], before there is a job.
pub(crate) fn network_mappings(frozen: &Frozen, item: &FrozenItem) -> Vec<wit::NetworkMapping> {
    let test = frozen.operation == Job_::Test;
    let map = |mapping: &landfall_recovery::document::NetworkMapping| wit::NetworkMapping {
        nic: mapping.nic.clone(),
        network: match (test, &frozen.plan.test_network) {
            (true, Some(network)) => network.clone(),
            (true, None) => mapping.test.clone(),
            (false, _) => mapping.production.clone(),
        },
        addresses: mapping.addresses.clone(),
    };
    item.item.networks.iter().map(map).collect()
}

fn networks_of(job: &Job, item: &FrozenItem) -> Vec<String> {
    let mut networks: Vec<String> = mappings(job, item).into_iter().map(|mapping| mapping.network).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

fn action_arguments(job: &Job, step: &Step, action: &str, phase: &str) -> Arguments {
    let Some(action) = job.frozen.action(action) else {
        return Arguments::Missing {
            what: format!("the plan has no action `{action}`"),
        };
    };
    let machines = step
        .items
        .iter()
        .filter_map(|item| machine_context(job, item))
        .collect();
    let context = Context {
        plan: job.frozen.plan.name.clone(),
        operation: job.frozen.operation.name().to_owned(),
        kind: job.frozen.operation.failover_kind().map(contract::kind),
        direction: contract::direction(job.frozen.direction),
        group: step.group.clone(),
        phase: phase.to_owned(),
        action: action.name.clone(),
        machines,
        outputs: action_outputs(job).into_iter().collect(),
        params: contract::pairs(&action.with),
        ext: Vec::new(),
    };
    Arguments::Action {
        runbook: action.runbook.clone(),
        context: Box::new(context),
    }
}

fn machine_context(job: &Job, name: &str) -> Option<MachineContext> {
    let item = job.frozen.items.get(name)?;
    let point = chosen(job, name);
    let created = outputs_of(job, name, |kind| *kind == StepKind::Create);
    let started = outputs_of(job, name, |kind| *kind == StepKind::Start);
    let addresses = started.and_then(|outputs| outputs.get("addresses")).map_or_else(
        || {
            item.item
                .networks
                .iter()
                .flat_map(|mapping| mapping.addresses.clone())
                .collect()
        },
        |text| {
            text.split(',')
                .filter(|address| !address.is_empty())
                .map(str::to_owned)
                .collect()
        },
    );
    Some(MachineContext {
        item: name.to_owned(),
        source_site: item.item.source.site.clone(),
        target_site: item.item.target_site.clone(),
        source_machine: Some(item.item.source.machine.clone()),
        target_machine: created.and_then(|outputs| outputs.get("machine").cloned()),
        addresses,
        point: point.as_ref().map(|point| point.point.clone()),
        point_time_ms: point.as_ref().map(|point| point.source_time_ms),
        consistency: point.as_ref().map(|point| contract::consistency(point.consistency)),
        params: contract::pairs(&item.item.params),
        ext: Vec::new(),
    })
}

/// What earlier actions returned, as ACTION/NAME.
fn action_outputs(job: &Job) -> Pairs {
    let mut outputs = Pairs::new();
    for (step, state) in job.graph().steps.iter().zip(&job.steps) {
        if let (StepKind::Action { action, .. }, Status::Done) = (&step.kind, &state.status) {
            outputs.extend(
                state
                    .outputs
                    .iter()
                    .map(|(name, value)| (format!("{action}/{name}"), value.clone())),
            );
        }
    }
    outputs
}
