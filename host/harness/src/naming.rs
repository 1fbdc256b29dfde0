//! The contract's data as its authors write and read it: names with dashes, pairs as tables, cases in lower case. The
//! generated types have Rust's names, and are made from and shown as JSON through here alone.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Fields that hold pairs wherever they occur.
const PAIRS: [&str; 7] = [
    "ext",
    "params",
    "outputs",
    "details",
    "evidence",
    "arguments",
    "environment",
];

/// Fields that hold a case of an enum.
const ENUMS: [&str; 5] = ["class", "consistency", "direction", "kind", "power"];

/// Fields that hold bytes.
const BYTES: [&str; 4] = ["resume", "stdout", "stderr", "input"];

/// Stands in a template for a field that has no default.
const NEEDED: &str = "\0needed";

/// An answer of the contract, for authors.
pub(crate) fn shown(answer: &impl Serialize) -> Value {
    // Plain records of text and numbers: there is nothing that could fail to serialise.
    show("", serde_json::to_value(answer).unwrap_or_default())
}

fn show(field: &str, value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.into_iter().map(show_field).collect()),
        Value::Array(pairs) if PAIRS.contains(&field) => {
            let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.clone()));
            Value::Object(pairs.iter().filter_map(pair).collect())
        }
        Value::Array(bytes) if BYTES.contains(&field) => {
            let bytes: Vec<u8> = bytes
                .iter()
                .filter_map(|byte| u8::try_from(byte.as_u64()?).ok())
                .collect();
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        }
        Value::Array(list) => list.into_iter().map(|value| show("", value)).collect(),
        Value::String(text) if ENUMS.contains(&field) || is_unit_case(field, &text) => Value::String(kebab(&text)),
        other => other,
    }
}

/// A variant with data is an object with one field in upper case.
fn show_field((name, value): (String, Value)) -> (String, Value) {
    let inner = if name == "Done" { "outputs" } else { name.as_str() };
    let value = show(inner, value);
    (kebab(&name), value)
}

/// Only `probe-answer` has one, and it stands alone.
fn is_unit_case(field: &str, text: &str) -> bool {
    field.is_empty() && text == "Absent"
}

/// `CreateMachine`, `memory_bytes` -> `create-machine`, `memory-bytes`.
fn kebab(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (index, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() {
            if index > 0 {
                text.push('-');
            }
            text.push(c.to_ascii_lowercase());
        } else {
            text.push(if c == '_' { '-' } else { c });
        }
    }
    text
}

/// `create-machine` -> `CreateMachine`.
fn camel(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut chars = word.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        })
        .collect()
}

/// Text of an enum's case as the generated types spell it.
pub(crate) fn case(text: &str) -> Value {
    Value::String(camel(text))
}

/// One record of the contract from what an author wrote: `template` names all fields with their defaults, and a list
/// in it holds the template of its elements.
pub(crate) fn record(template: &Value, written: &Value, place: &str) -> Result<Value, String> {
    match (template, written) {
        (Value::Object(template), Value::Object(written)) => fields(template, written, place),
        (Value::Array(template), Value::Array(written)) => match template.first() {
            Some(element) => written.iter().map(|value| record(element, value, place)).collect(),
            None => Ok(Value::Array(written.clone())),
        },
        (Value::Object(_), other) => Err(format!("{place} is a table, not {other}")),
        (Value::Array(_), other) => Err(format!("{place} is a list, not {other}")),
        (_, other) => Ok(other.clone()),
    }
}

fn fields(template: &Map<String, Value>, written: &Map<String, Value>, place: &str) -> Result<Value, String> {
    let known = || {
        let names: Vec<String> = template.keys().map(|name| kebab(name)).collect();
        names.join(", ")
    };
    if let Some(unknown) = written
        .keys()
        .find(|name| !template.contains_key(&name.replace('-', "_")))
    {
        return Err(format!("{place} has no `{unknown}`; it has {}", known()));
    }
    let mut made = Map::new();
    for (name, default) in template {
        let value = match written.get(&kebab(name)).or_else(|| written.get(name)) {
            Some(Value::Object(pairs)) if PAIRS.contains(&name.as_str()) => {
                pairs.iter().map(|(name, value)| json!([name, value])).collect()
            }
            Some(Value::String(text)) if ENUMS.contains(&name.as_str()) => case(text),
            Some(value) => record(default, value, &format!("{place} `{}`", kebab(name)))?,
            None if default == NEEDED => return Err(format!("{place} needs `{}`", kebab(name))),
            None if default.is_array() => json!([]),
            None => default.clone(),
        };
        made.insert(name.clone(), value);
    }
    Ok(Value::Object(made))
}

/// An `operation` of adapters: a table with one entry, named after the operation.
pub(crate) fn operation(written: &Value) -> Result<Value, String> {
    let entry = written.as_object().and_then(|table| table.iter().next());
    let Some((name, fields)) = entry else {
        return Err("arguments: name the operation, as in `arguments = { start = { machine = \"vm-1\" } }`".to_owned());
    };
    let template = operation_template(name).ok_or_else(|| format!("the contract has no operation `{name}`"))?;
    let made = record(&template, fields, &format!("`{name}`"))?;
    Ok(json!({ camel(name): made }))
}

fn operation_template(name: &str) -> Option<Value> {
    let n = NEEDED;
    Some(match name {
        "shutdown" | "stop" => json!({ "machine": n, "forced": false }),
        "hold" => json!({ "machine": n, "held": true }),
        "snapshot" => {
            json!({ "members": [{ "item": n, "machine": n }], "quiesce": false, "group_mark": "group-mark-1" })
        }
        "release" => json!({ "machine": n, "marks": [] }),
        "start" | "delete-machine" | "fence" => json!({ "machine": n }),
        "prepare-replica" => json!({ "item": "item-1", "machine": machine(), "source_site": "north" }),
        "receive-complete" => json!({
            "replica": n, "mark": n, "source_time_ms": 0, "consistency": "Crash", "group_mark": null, "bytes": n,
        }),
        "process" | "delete-replica" => json!({ "replica": n }),
        "delete-points" => json!({ "replica": n, "points": null }),
        "create-machine" => json!({
            "item": "item-1", "name": "item-1", "replica": n, "point": n,
            "networks": [{ "nic": n, "network": n, "addresses": [] }],
            "isolated": false, "cpus": null, "memory_bytes": null, "ext": [],
        }),
        "boot-prepare" => json!({ "machine": n, "extra_step": n }),
        "change-point" => json!({ "machine": n, "replica": n, "point": n }),
        "custom" => json!({ "name": n, "arguments": [] }),
        _ => return None,
    })
}

fn machine() -> Value {
    let n = NEEDED;
    json!({
        "id": n, "name": "machine-1", "origin": "here", "os": null, "power": "Off", "cpus": null, "memory_bytes": null,
        "disks": [{ "id": n, "bytes": n, "ext": [] }],
        "nics": [{ "id": n, "network": null, "addresses": [], "ext": [] }],
        "ext": [],
    })
}

/// What preflight is told of an item.
pub(crate) fn item_facts() -> Value {
    json!({
        "item": "item-1", "origin": "here", "direction": "Forward", "machine": null, "replica": null,
        "target_machine": null, "networks": [{ "nic": NEEDED, "network": NEEDED, "addresses": [] }], "ext": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_runtime::contract::adapter::Operation;
    use landfall_runtime::contract::types::{EffectClass, OperationFacts, ProbeAnswer};

    #[test]
    fn answers_read_as_the_contract_is_written() {
        let facts = OperationFacts {
            operation: "x".to_owned(),
            class: EffectClass::OneShot,
            settle_ms: 5,
        };
        assert_eq!(
            shown(&facts),
            json!({ "operation": "x", "class": "one-shot", "settle-ms": 5 })
        );
        let done = ProbeAnswer::Done(vec![("a".to_owned(), "b".to_owned())]);
        assert_eq!(shown(&done), json!({ "done": { "a": "b" } }));
        assert_eq!(shown(&ProbeAnswer::Absent), json!("absent"));
    }

    #[test]
    fn every_operation_can_be_written() {
        let written = json!({ "create-machine": { "replica": "r", "point": "p", "memory-bytes": 5, "ext": { "a": "b" },
            "networks": [{ "nic": "n", "network": "lan" }] } });
        let made: Operation = serde_json::from_value(operation(&written).unwrap()).unwrap();
        let Operation::CreateMachine(create) = made else {
            panic!("{made:?}")
        };
        assert_eq!(
            (create.memory_bytes, create.ext.len(), create.networks.len()),
            (Some(5), 1, 1)
        );
        let prepare = json!({ "prepare-replica": { "machine": { "id": "m", "power": "on" } } });
        serde_json::from_value::<Operation>(operation(&prepare).unwrap()).unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        let why = |written: Value| operation(&written).unwrap_err();
        assert!(why(json!({ "start": {} })).contains("`start` needs `machine`"));
        assert!(
            why(json!({ "hold": { "machine": "m", "hold": true } })).contains("has no `hold`; it has held, machine")
        );
        assert!(why(json!({ "begin": {} })).contains("no operation `begin`"));
    }
}
