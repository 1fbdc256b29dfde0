//! The `vsphere` adapter: a VMware vCenter, in both roles, over its SOAP interface vim25.
//!
//! Configuration: `url` and `user`; the password is the host's secret (`secret`, by default `vcenter`) and never enters
//! the plugin, nor does the session's cookie. docs/vsphere.md has every setting and what was tried against what.
//!
//! Replication is the platform's own: recovery points are snapshots of a replica, which is the protected machine itself
//! or, with `standby`, a machine that storage or another product keeps up to date here. Changed blocks are not read.
//!
//! It asks for `http`, `session`, `state`, `clock`, and, as every adapter, for `buffers`.

mod autostart;
mod clone;
mod collector;
mod effect;
mod fault;
mod handle;
mod machine;
mod network;
mod owned;
mod point;
mod preflight;
mod pursue;
mod settings;
mod stamp;
mod survey;
mod tag;
mod task;
mod vcenter;
mod xml;

use collector::{Query, everywhere, step};
use effect::not_offered;
use landfall_rules::features;
use landfall_rules::site::Platform;
use landfall_sdk::adapter_types::{
    Extent, ExtentPage, Features, IsolationAnswer, ItemFacts, MachinePage, Network, Operation, OwnedPage, PowerAnswer,
    PreflightAnswer, SiteFacts,
};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::{
    Adapter, Call, Direction, Failure, Finding, Plugin, ProbeAnswer, Progress, RecoveryPoint, export_adapter,
};
use machine::{LISTED, Vm};
use network::Fabric;
use vcenter::Vcenter;

/// Machines in one page: with forty devices each they stay within an answer's limit.
const PAGE: u32 = 50;

struct Vsphere;

impl Plugin for Vsphere {
    const NAME: &'static str = "vsphere";
    const SUMMARY: &'static str = "A VMware vCenter: power, snapshots as recovery points, clones of them";
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("schema.json"));
    const FINDINGS: &'static [(&'static str, &'static str)] = &preflight::ALL_FINDINGS;
}

impl Adapter for Vsphere {
    /// The same for every machine: nothing here depends on where one came from.
    fn get_features(origin: &str, direction: Direction) -> Features {
        let way_back = features::way_back(Some(Platform::Vmware), origin);
        let way_back = (direction == Direction::Reverse).then(|| ("way-back".to_owned(), way_back.to_owned()));
        let changed_blocks = ("changed-blocks".to_owned(), "not offered".to_owned());
        Features {
            source: true,
            target: true,
            replication: "autonomous".to_owned(),
            operations: effect::operations(),
            app_consistent: settings::quiesces().unwrap_or(false),
            planned_failover: true,
            direct_transfer: Vec::new(),
            ext: way_back.into_iter().chain([changed_blocks]).collect(),
        }
    }

    fn health() -> Result<Vec<Finding>, Failure> {
        Ok(preflight::health(&Vcenter::configured()?)?)
    }

    fn list_machines(cursor: Option<String>) -> Result<MachinePage, Failure> {
        let vcenter = Vcenter::configured()?;
        let content = vcenter.content()?;
        let vapps = step("vapps", "VirtualApp", "vm", "");
        let query = Query::default().of("VirtualMachine", LISTED).paged(PAGE).from(
            "Folder",
            &content.root_folder,
            &everywhere("vmFolder", &vapps),
        );
        let mut machines = Vec::new();
        let next = vcenter.page(&query, cursor.as_deref(), |object| {
            machines.push(Vm::read(object).listed(&content.instance));
            Ok(())
        })?;
        Ok(MachinePage { machines, next })
    }

    fn list_networks() -> Result<Vec<Network>, Failure> {
        Ok(Fabric::whole(&Vcenter::configured()?)?.listed())
    }

    fn preflight(item: &ItemFacts, _peer: Option<&SiteFacts>, operation: &str) -> Result<PreflightAnswer, Failure> {
        Ok(preflight::check(&Vcenter::configured()?, item, operation)?)
    }

    fn submit(call: &Call, operation: &Operation) -> Result<Progress, Failure> {
        let vcenter = Vcenter::configured()?.within(call.remaining_ms);
        Ok(effect::submit(&vcenter, call, operation)?)
    }

    /// It does not wait: vCenter is asked how all of them stand in one request.
    fn poll_many(handles: Vec<String>, _wait_ms: u32) -> Result<Vec<(String, Progress)>, Failure> {
        Ok(effect::poll(&Vcenter::configured()?, handles)?)
    }

    fn probe(call: &Call, operation: &Operation) -> Result<ProbeAnswer, Failure> {
        let vcenter = Vcenter::configured()?.within(call.remaining_ms);
        Ok(effect::probe(&vcenter, call, operation)?)
    }

    fn cancel(call: &Call, handle: &str) -> Result<Progress, Failure> {
        let vcenter = Vcenter::configured()?.within(call.remaining_ms);
        Ok(effect::cancel(&vcenter, handle)?)
    }

    fn power_state(machine: &str) -> Result<PowerAnswer, Failure> {
        let (vm, autostart) = autostart::look(&Vcenter::configured()?, machine)?;
        Ok(machine::power_answer(
            &vm,
            autostart.map(|autostart| autostart.starts()),
        ))
    }

    fn prove_isolation(network: &str) -> Result<IsolationAnswer, Failure> {
        let fabric = Fabric::around(&Vcenter::configured()?, &[network.to_owned()])?;
        if fabric.net(network).is_none() {
            let message = format!("vCenter has no network `{network}`; see `landfall site networks`");
            return Err(Failure::definite("not-found", message));
        }
        let (isolated, evidence) = fabric.isolation(network);
        Ok(IsolationAnswer { isolated, evidence })
    }

    fn changes(_: &str, _: Option<String>, _: &str, _: Option<String>) -> Result<ExtentPage, Failure> {
        Err(not_offered("reads of changed blocks"))
    }

    fn read(_machine: &str, _mark: &str, _extent: Extent, _buffer: &Buffer) -> Result<(), Failure> {
        Err(not_offered("reads of disks"))
    }

    fn write(_: &Call, _replica: &str, _mark: &str, _offset: u64, _buffer: &Buffer) -> Result<(), Failure> {
        Err(not_offered("writes to disks"))
    }

    fn list_points(replica: &str) -> Result<Vec<RecoveryPoint>, Failure> {
        let vm = task::machine(&Vcenter::configured()?, replica)?.ok_or_else(|| autostart::missing(replica))?;
        Ok(point::points(&vm.snapshots, settings::lag_ms()?))
    }

    fn list_owned(installation: &str, cursor: Option<String>) -> Result<OwnedPage, Failure> {
        Ok(owned::page(&Vcenter::configured()?, installation, cursor.as_deref())?)
    }
}

export_adapter!(Vsphere);
