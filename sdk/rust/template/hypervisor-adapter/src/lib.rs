//! A site behind a small web API, in the source role: its machines, their power, and shutting them down.
//!
//! The API is that of `landfall lab`, with `url` as in `http://127.0.0.1:7400/sites/a`: put your platform's in its
//! place. What is not offered yet is refused; `get_features` must list exactly what is.

mod site;

use landfall_sdk::adapter_types::{
    Extent, ExtentPage, Features, IsolationAnswer, ItemFacts, Machine, MachinePage, Network, Operation, OwnedPage,
    Power, PowerAnswer, PreflightAnswer, SiteFacts,
};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::http::encode_component;
use landfall_sdk::{
    Adapter, Call, Direction, Effect, Failure, Finding, Plugin, ProbeAnswer, Progress, RecoveryPoint, export_adapter,
};
use serde_json::{Value, json};
use site::{Page, Task};

struct MyAdapter;

impl Plugin for MyAdapter {
    const NAME: &'static str = "my-plugin";
    const SUMMARY: &'static str = "Machines behind a web API";
}

impl Adapter for MyAdapter {
    fn get_features(_origin: &str, _direction: Direction) -> Features {
        Features {
            source: true,
            target: false,
            replication: "autonomous".to_owned(),
            // The site drops a second request with the same key; say so only if yours does.
            operations: ["shutdown", "hold", "start"].map(Effect::keyed).to_vec(),
            app_consistent: false,
            planned_failover: true,
            direct_transfer: Vec::new(),
            ext: Vec::new(),
        }
    }

    fn health() -> Result<Vec<Finding>, Failure> {
        site::get::<Value>("health").map(|_| Vec::new())
    }

    fn list_machines(cursor: Option<String>) -> Result<MachinePage, Failure> {
        let query = cursor.map(|cursor| format!("?cursor={}", encode_component(&cursor))).unwrap_or_default();
        let page: Page = site::get(&format!("machines{query}"))?;
        Ok(MachinePage {
            machines: page.machines.into_iter().map(machine).collect(),
            next: page.next,
        })
    }

    fn list_networks() -> Result<Vec<Network>, Failure> {
        let answer: site::Networks = site::get("networks")?;
        let network = |one: site::Network| Network {
            id: one.id,
            name: one.name,
            isolated: one.isolated,
        };
        Ok(answer.networks.into_iter().map(network).collect())
    }

    fn preflight(_item: &ItemFacts, _peer: Option<&SiteFacts>, _operation: &str) -> Result<PreflightAnswer, Failure> {
        Ok(PreflightAnswer {
            findings: Vec::new(),
            extra_steps: Vec::new(),
        })
    }

    fn submit(call: &Call, operation: &Operation) -> Result<Progress, Failure> {
        let operation = match operation {
            Operation::Shutdown(stop) => json!({ "shutdown": { "machine": stop.machine, "forced": stop.forced } }),
            Operation::Hold(hold) => json!({ "hold": { "machine": hold.machine, "held": hold.held } }),
            Operation::Start(machine) => json!({ "start": { "machine": machine.machine } }),
            _ => return not_offered("this operation"),
        };
        let body = json!({
            "key": call.key, "installation": call.installation, "epoch": call.epoch, "job": call.job,
            "step": call.step, "operation": operation,
        });
        site::post::<Task>("operations", &body)?.progress()
    }

    fn poll_many(handles: Vec<String>, wait_ms: u32) -> Result<Vec<(String, Progress)>, Failure> {
        let answer: site::Tasks = site::post("tasks/poll", &json!({ "handles": handles, "wait_ms": wait_ms }))?;
        let told = |task: Task| Ok((task.handle.clone().unwrap_or_default(), task.progress()?));
        answer.tasks.into_iter().map(told).collect()
    }

    fn probe(call: &Call, _operation: &Operation) -> Result<ProbeAnswer, Failure> {
        site::get::<Task>(&format!("operations/by-key/{}", encode_component(&call.key)))?.probed()
    }

    fn cancel(_call: &Call, handle: &str) -> Result<Progress, Failure> {
        site::post::<Task>(&format!("tasks/{}/cancel", encode_component(handle)), &json!({}))?.progress()
    }

    fn power_state(machine: &str) -> Result<PowerAnswer, Failure> {
        let answer: site::PowerState = site::get(&format!("machines/{}/power", encode_component(machine)))?;
        Ok(PowerAnswer {
            power: power(&answer.power),
            autostart: answer.autostart,
            evidence: vec![("power".to_owned(), answer.power)],
        })
    }

    fn prove_isolation(_network: &str) -> Result<IsolationAnswer, Failure> {
        not_offered("a proof of isolation")
    }

    fn changes(_: &str, _: Option<String>, _: &str, _: Option<String>) -> Result<ExtentPage, Failure> {
        not_offered("the driven replication")
    }

    fn read(_machine: &str, _mark: &str, _extent: Extent, _buffer: &Buffer) -> Result<(), Failure> {
        not_offered("the driven replication")
    }

    fn write(_: &Call, _replica: &str, _mark: &str, _offset: u64, _buffer: &Buffer) -> Result<(), Failure> {
        not_offered("the target role")
    }

    fn list_points(_replica: &str) -> Result<Vec<RecoveryPoint>, Failure> {
        not_offered("the target role")
    }

    fn list_owned(_installation: &str, _cursor: Option<String>) -> Result<OwnedPage, Failure> {
        Ok(OwnedPage {
            owned: Vec::new(),
            next: None,
        })
    }
}

fn not_offered<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::definite("not-offered", format!("this adapter does not offer {what}")))
}

fn machine(listed: site::Machine) -> Machine {
    Machine {
        id: listed.id,
        name: listed.name,
        origin: listed.origin,
        os: None,
        power: power(&listed.power),
        cpus: listed.cpus,
        memory_bytes: listed.memory_bytes,
        disks: Vec::new(),
        nics: Vec::new(),
        ext: Vec::new(),
    }
}

fn power(word: &str) -> Power {
    match word {
        "on" => Power::On,
        "off" => Power::Off,
        // What is not known is not off: nothing may be started beside it.
        _ => Power::Unknown,
    }
}

export_adapter!(MyAdapter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_that_is_not_known_is_not_off() {
        assert_eq!([power("on"), power("off"), power("hibernated")], [Power::On, Power::Off, Power::Unknown]);
    }
}
