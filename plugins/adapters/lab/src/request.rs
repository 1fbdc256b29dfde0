//! The contract's operations in the lab's JSON. Names agree on both sides, so this is spelling and nothing else.

use std::collections::BTreeMap;

use landfall_sdk::adapter_types::{CreateMachine, Machine, NetworkMapping, Operation, PrepareReplica, ReceiveComplete};
use landfall_sdk::{Call, Consistency, GuestCommand, Pairs};
use serde_json::{Value, json};

/// What a preparation is told beside the contract's fields.
const WAY: [&str; 4] = ["direction", "location", "origin", "original-machine"];

/// A program under its key. The lab takes its arguments as one line.
pub(crate) fn execution(call: &Call, machine: &str, command: &GuestCommand) -> Value {
    let arguments = json!({"machine": machine, "program": command.program, "arguments": command.arguments.join(" ")});
    under_key(call, &json!({"custom": {"name": "exec", "arguments": arguments}}))
}

/// An operation under its key. `tools`: what a machine that is made is told about its guest tools.
pub(crate) fn submission(call: &Call, operation: &Operation, tools: Option<&str>) -> Value {
    let mut spelled = spelled(operation);
    match operation {
        Operation::PrepareReplica(_) => put(&mut spelled, "prepare-replica", "ext", json!(way(&call.ext))),
        Operation::Snapshot(_) => put(&mut spelled, "snapshot", "exclude", json!(excluded(&call.ext))),
        Operation::CreateMachine(create) => {
            let mut ext = map(&create.ext);
            ext.extend(tools.map(|tools| ("guest-tools", tools)));
            put(&mut spelled, "create-machine", "ext", json!(ext));
        }
        _ => {}
    }
    under_key(call, &spelled)
}

fn put(spelled: &mut Value, operation: &str, field: &str, value: Value) {
    if let Some(fields) = spelled.get_mut(operation).and_then(Value::as_object_mut) {
        fields.insert(field.to_owned(), value);
    }
}

/// Which way it goes, where to, and what the operator chose.
fn way(ext: &Pairs) -> BTreeMap<&str, &str> {
    let mut ext = map(ext);
    ext.retain(|name, _| WAY.contains(name) || name.starts_with("option/"));
    ext
}

/// By item: the disks that are left out.
fn excluded(ext: &Pairs) -> BTreeMap<&str, &str> {
    let named = ext
        .iter()
        .filter_map(|(name, disks)| Some((name.strip_prefix("exclude/")?, &**disks)));
    named.collect()
}

fn under_key(call: &Call, operation: &Value) -> Value {
    json!({
        "key": call.key,
        "installation": call.installation,
        "epoch": call.epoch,
        "job": call.job,
        "step": call.step,
        "attempt": call.attempt,
        "operation": operation,
    })
}

fn spelled(operation: &Operation) -> Value {
    match operation {
        Operation::Shutdown(stop) => json!({"shutdown": {"machine": stop.machine, "forced": stop.forced}}),
        Operation::Hold(hold) => json!({"hold": {"machine": hold.machine, "held": hold.held}}),
        Operation::Snapshot(snapshot) => {
            let members = snapshot
                .members
                .iter()
                .map(|one| json!({"item": one.item, "machine": one.machine}));
            json!({"snapshot": {"members": members.collect::<Vec<_>>(), "quiesce": snapshot.quiesce,
                                "group_mark": snapshot.group_mark}})
        }
        Operation::Release(release) => json!({"release": {"machine": release.machine, "marks": release.marks}}),
        Operation::Start(machine) => json!({"start": {"machine": machine.machine}}),
        Operation::PrepareReplica(prepare) => json!({"prepare-replica": prepare_replica(prepare)}),
        Operation::ReceiveComplete(receive) => json!({"receive-complete": receive_complete(receive)}),
        Operation::Process(replica) => json!({"process": {"replica": replica.replica}}),
        Operation::DeletePoints(delete) => {
            json!({"delete-points": {"replica": delete.replica, "points": delete.points}})
        }
        Operation::DeleteReplica(replica) => json!({"delete-replica": {"replica": replica.replica}}),
        Operation::CreateMachine(create) => json!({"create-machine": create_machine(create)}),
        Operation::BootPrepare(prepare) => {
            json!({"boot-prepare": {"machine": prepare.machine, "extra_step": prepare.extra_step}})
        }
        Operation::ChangePoint(change) => {
            json!({"change-point": {"machine": change.machine, "replica": change.replica, "point": change.point}})
        }
        Operation::Stop(stop) => json!({"stop": {"machine": stop.machine, "forced": stop.forced}}),
        Operation::DeleteMachine(machine) => json!({"delete-machine": {"machine": machine.machine}}),
        Operation::Fence(machine) => json!({"fence": {"machine": machine.machine}}),
        Operation::Custom(custom) => {
            json!({"custom": {"name": custom.name, "arguments": map(&custom.arguments)}})
        }
    }
}

fn prepare_replica(prepare: &PrepareReplica) -> Value {
    json!({"item": prepare.item, "machine": machine(&prepare.machine), "source_site": prepare.source_site})
}

fn machine(machine: &Machine) -> Value {
    let disks = machine
        .disks
        .iter()
        .map(|disk| json!({"id": disk.id, "bytes": disk.bytes}));
    json!({
        "id": machine.id,
        "name": machine.name,
        "origin": machine.origin,
        "os": machine.os,
        "cpus": machine.cpus,
        "memory_bytes": machine.memory_bytes,
        "disks": disks.collect::<Vec<_>>(),
    })
}

fn receive_complete(receive: &ReceiveComplete) -> Value {
    json!({
        "replica": receive.replica,
        "mark": receive.mark,
        "source_time_ms": receive.source_time_ms,
        "consistency": match receive.consistency {
            Consistency::Crash => "crash",
            Consistency::App => "app",
        },
        "group_mark": receive.group_mark,
        "bytes": receive.bytes,
    })
}

fn create_machine(create: &CreateMachine) -> Value {
    json!({
        "item": create.item,
        "name": create.name,
        "replica": create.replica,
        "point": create.point,
        "networks": create.networks.iter().map(network).collect::<Vec<_>>(),
        "isolated": create.isolated,
        "cpus": create.cpus,
        "memory_bytes": create.memory_bytes,
        "ext": map(&create.ext),
    })
}

fn network(mapping: &NetworkMapping) -> Value {
    json!({"nic": mapping.nic, "network": mapping.network, "addresses": mapping.addresses})
}

fn map(pairs: &Pairs) -> BTreeMap<&str, &str> {
    pairs.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_sdk::adapter_types::{DeletePoints, Snapshot, SnapshotMember};

    #[test]
    fn a_submission_carries_key_and_owner() {
        let call = Call {
            installation: "site-1".into(),
            epoch: 3,
            job: None,
            step: "cycle".into(),
            attempt: 2,
            key: "k".into(),
            remaining_ms: 1_000,
            ext: vec![],
        };
        let delete = Operation::DeletePoints(DeletePoints {
            replica: "rp-1".into(),
            points: None,
        });
        assert_eq!(
            submission(&call, &delete, None),
            json!({"key": "k", "installation": "site-1", "epoch": 3, "job": null, "step": "cycle", "attempt": 2,
                   "operation": {"delete-points": {"replica": "rp-1", "points": null}}})
        );
    }

    #[test]
    fn what_a_way_home_needs_is_passed_on_and_nothing_else() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let ext = vec![
            pair("direction", "reverse"),
            pair("option/master-target", "mt-linux"),
            pair("something", "else"),
            pair("exclude/db", "d1,d2"),
        ];
        assert_eq!(
            json!(way(&ext)),
            json!({"direction": "reverse", "option/master-target": "mt-linux"})
        );
        assert_eq!(json!(excluded(&ext)), json!({"db": "d1,d2"}));
    }

    #[test]
    fn a_snapshot_names_all_members() {
        let members = vec![SnapshotMember {
            item: "i".into(),
            machine: "m".into(),
        }];
        let snapshot = Operation::Snapshot(Snapshot {
            members,
            quiesce: true,
            group_mark: "g".into(),
        });
        assert_eq!(
            spelled(&snapshot),
            json!({"snapshot": {"members": [{"item": "i", "machine": "m"}], "quiesce": true, "group_mark": "g"}})
        );
    }
}
