//! Whether an update may take its predecessor's place without anybody being asked.
//!
//! It may not if it could not even be linked where the plugin is used, or if its manifest asks for something that the
//! one before it did not ask for and no present grant gives: then the operator has to have a look.

use landfall_runtime::{Grants, Kind, Plugin, Want};
use serde_json::Value;

use crate::config::Config;

/// Where a plugin of this name and kind is used, with what is granted to it there.
pub(crate) fn places(config: &Config, name: &str, kind: Kind) -> Vec<(String, Grants)> {
    match kind {
        Kind::HypervisorAdapter => config
            .sites
            .iter()
            .filter(|(_, site)| site.adapter == name)
            .map(|(site, found)| (format!("sites.{site}"), found.grants.clone()))
            .collect(),
        Kind::Runbook => {
            let grants = config.runbooks.get(name).map(|runbook| runbook.grants.clone());
            vec![(format!("runbooks.{name}"), grants.unwrap_or_default())]
        }
        Kind::RecoveryPointPolicy => Vec::new(),
    }
}

/// What an update lacks to replace what serves.
pub(crate) fn wants(config: &Config, new: &Plugin, old: &Plugin) -> Vec<Want> {
    let places = places(config, new.name(), new.kind());
    let mut wants = Vec::new();
    for (place, grants) in &places {
        wants.extend(new.lacks(grants).iter().map(|denial| Want {
            place: format!("{place}.grants"),
            line: denial.grant_line().map_or_else(|| denial.to_string(), str::to_owned),
            required: true,
        }));
    }
    if !wants.is_empty() {
        return wants;
    }
    let value = |requests| serde_json::to_value(requests).unwrap_or_default();
    let granted: Vec<Value> = places
        .iter()
        .map(|(_, grants)| serde_json::to_value(grants).unwrap_or_default())
        .collect();
    let asked = news(&value(&new.manifest().requests), &value(&old.manifest().requests));
    for (key, entry) in asked {
        if granted.iter().any(|grants| gives(grants, &key, &entry)) {
            continue;
        }
        wants.extend(places.iter().map(|(place, _)| Want {
            place: format!("{place}.grants"),
            line: format!("{key} = [{}]", toml(&entry)),
            required: false,
        }));
    }
    wants
}

/// Entries of the lists in `[requests]` that were not there before.
fn news(new: &Value, old: &Value) -> Vec<(String, Value)> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let keys = new.as_object().into_iter().flat_map(|map| map.keys());
    keys.flat_map(|key| {
        let known = list(old, key);
        let fresh = list(new, key).into_iter().filter(move |entry| !known.contains(entry));
        fresh.map(|entry| (key.clone(), entry)).collect::<Vec<_>>()
    })
    .collect()
}

/// Whether a grant gives at least a part of what is asked for.
fn gives(grants: &Value, key: &str, entry: &Value) -> bool {
    let any = |key: &str| {
        grants
            .get(key)
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    };
    let listed = grants.get(key).and_then(Value::as_array);
    // An interface is granted by name, or by a grant of its own kind.
    listed.is_some_and(|list| list.iter().any(|grant| overlap(entry, grant)))
        || (key == "interfaces" && entry.as_str().is_some_and(any))
}

/// Something fits both. What one of the two leaves open fits.
fn overlap(asked: &Value, granted: &Value) -> bool {
    match (asked, granted) {
        (Value::String(star), _) | (_, Value::String(star)) if star == "*" => true,
        (Value::Object(asked), Value::Object(granted)) => asked
            .iter()
            .all(|(key, value)| granted.get(key).is_none_or(|granted| overlap(value, granted))),
        (Value::Array(asked), Value::Array(granted)) => {
            asked.iter().any(|one| granted.iter().any(|other| overlap(one, other)))
        }
        (Value::String(asked), Value::String(granted)) if granted.starts_with('/') && asked.starts_with('/') => {
            asked.starts_with(granted.as_str()) || granted.starts_with(asked.as_str())
        }
        (Value::String(asked), Value::String(granted)) => asked.eq_ignore_ascii_case(granted),
        (Value::Null, _) | (_, Value::Null) => true,
        (asked, granted) => asked == granted,
    }
}

/// As it would stand in a list of a TOML file.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn c05_only_what_is_new_and_nowhere_granted_is_asked_for() {
        let old = json!({"interfaces": ["clock"], "http": [{"scheme": "https", "host": "*", "port": 443}]});
        let new = json!({
            "interfaces": ["clock", "random"],
            "http": [{"scheme": "https", "host": "*", "port": 443}, {"scheme": "http", "host": "*", "port": 80}],
        });
        let news = news(&new, &old);
        assert_eq!(news.len(), 2);
        let grants = json!({"interfaces": ["random"], "http": [{"scheme": "https", "host": "a", "port": 443}]});
        let lacks: Vec<_> = news.iter().filter(|(key, entry)| !gives(&grants, key, entry)).collect();
        assert_eq!(lacks.len(), 1);
        assert_eq!(toml(&lacks[0].1), r#"{ host = "*", port = 80, scheme = "http" }"#);
        let grants = json!({"http": [{"scheme": "http", "host": "a", "port": 80, "path": "/x"}], "interfaces": []});
        assert!(gives(&grants, "http", &lacks[0].1));
        assert!(gives(&grants, "interfaces", &json!("http")) && !gives(&grants, "interfaces", &json!("clock")));
        let under = json!({"host": "a", "path": "/x/y", "methods": ["GET", "PUT"]});
        assert!(overlap(&under, &json!({"host": "A", "path": "/x", "methods": ["PUT"]})));
        assert!(!overlap(&under, &json!({"host": "A", "path": "/z"})));
        assert!(!overlap(&under, &json!({"host": "A", "methods": ["POST"]})));
    }
}
