//! Plugins: the list, everything about one, and its history.

use std::fmt::Write;

use landfall_daemon::api::wire::{ChangeView, PluginDetail, PluginView, WantView};

use super::lists::short;
use crate::table::{card, table};
use crate::units::{or_none, time};

/// `landfall plugin list`.
pub(crate) fn plugins(plugins: &[PluginView]) -> String {
    let rows = plugins.iter().map(|plugin| {
        [
            plugin.name.clone(),
            or_none(plugin.kind.as_deref()),
            or_none(plugin.version.as_deref()),
            or_none(plugin.digest.as_deref().map(short)),
            plugin.state.clone(),
            plugin
                .error
                .as_deref()
                .or(plugin.summary.as_deref())
                .and_then(|words| words.lines().next())
                .map_or_else(String::new, str::to_owned),
        ]
    });
    let mut words = table(["plugin", "kind", "version", "digest", "state", "about"], rows);
    for plugin in plugins {
        words.push_str(&pending(plugin));
    }
    words
}

/// The lines that an update waits for, ready to be copied.
fn pending(plugin: &PluginView) -> String {
    let Some(pending) = &plugin.pending else {
        return String::new();
    };
    let mut words = format!(
        "\n{} {} ({}) waits for grants; `landfall plugin inspect {}` says more:\n",
        plugin.name,
        pending.version,
        short(&pending.digest),
        plugin.name
    );
    for WantView { place, line, .. } in &pending.wants {
        // Writing to a string cannot fail.
        let _ = writeln!(words, "  [{place}]\n  {line}");
    }
    words
}

/// What serves after a change.
pub(crate) fn serves(plugin: &PluginView) -> String {
    format!(
        "{} {} ({}) serves\n",
        plugin.name,
        or_none(plugin.version.as_deref()),
        or_none(plugin.digest.as_deref().map(short))
    )
}

/// `landfall plugin inspect`.
pub(crate) fn plugin(detail: &PluginDetail) -> String {
    let plugin = &detail.plugin;
    let mut rows = vec![
        ("plugin", plugin.name.clone()),
        ("kind", or_none(plugin.kind.as_deref())),
        ("version", or_none(plugin.version.as_deref())),
        ("digest", or_none(plugin.digest.as_deref())),
        ("state", plugin.state.clone()),
        ("directory", detail.directory.clone()),
        ("requests", requests(&detail.requested)),
        ("signed by", or_none(detail.signed_by.as_deref())),
    ];
    let optional = [("summary", plugin.summary.clone()), ("error", plugin.error.clone())];
    rows.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut words = card(rows);
    words.push_str(&pending(plugin));
    section(&mut words, "Strikes", detail.strikes.iter().cloned());
    for bound in &detail.bound {
        let rows = [
            ("interfaces", list(&bound.interfaces)),
            ("grants", bound.grants.to_string()),
            ("limits", bound.limits.to_string()),
        ];
        let missing = bound.missing.iter().map(|line| ("missing", line.clone()));
        section(
            &mut words,
            &bound.place,
            card(rows.into_iter().chain(missing)).lines().map(str::to_owned),
        );
    }
    let versions = detail.versions.iter().map(|version| {
        [
            version.version.clone(),
            version.digest.clone(),
            version.state.clone(),
            time(version.at),
            if version.stored { "yes" } else { "no" }.to_owned(),
        ]
    });
    let versions = table(["version", "digest", "state", "served since", "stored"], versions);
    section(&mut words, "Versions", versions.lines().map(str::to_owned));
    let pins = detail.pins.iter().map(|pin| {
        let digest = short(&pin.digest).to_owned();
        [pin.job.clone(), pin.pin.clone(), digest]
    });
    let pins = table(["job", "pin", "digest"], pins);
    section(
        &mut words,
        "Unfinished jobs that keep a version",
        pins.lines().map(str::to_owned),
    );
    for (title, pairs) in [("Choices", &plugin.choices), ("Findings", &plugin.findings)] {
        let rows = card(pairs.iter().map(|(name, meaning)| (name.as_str(), meaning.clone())));
        section(&mut words, title, rows.lines().map(str::to_owned));
    }
    section(&mut words, "Imports", detail.imports.iter().cloned());
    section(&mut words, "Exports", detail.exports.iter().cloned());
    words
}

fn section(words: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.map(|line| format!("  {line}\n")).collect();
    if !lines.is_empty() {
        // As above.
        let _ = write!(words, "\n{title}:\n{}", lines.concat());
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn requests(requested: &serde_json::Value) -> String {
    let asked = requested.as_object().into_iter().flatten();
    let words: Vec<_> = asked
        .filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty()))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}

/// `landfall plugin history`.
pub(crate) fn history(changes: &[ChangeView]) -> String {
    let rows = changes.iter().map(|change| {
        [
            change.seq.to_string(),
            time(change.at),
            change.cause.clone(),
            or_none(change.from.as_deref().map(short)),
            or_none(change.to.as_deref().map(short)),
            or_none(change.version.as_deref()),
            change.who.clone(),
            change.reason.clone(),
        ]
    });
    table(["nr", "time", "cause", "from", "to", "version", "who", "reason"], rows)
}

#[cfg(test)]
mod tests {
    use landfall_daemon::api::wire::{BoundView, PendingView, PinView, PluginVersionView};

    use super::*;
    use crate::render::samples;

    fn detail() -> PluginDetail {
        let plugin = samples::plugin();
        let digest = plugin.digest.clone().unwrap();
        PluginDetail {
            directory: "plugins/standard".to_owned(),
            requested: serde_json::json!({"interfaces": [], "http": [{"scheme": "https", "host": "*", "port": 443}]}),
            imports: vec!["landfall:plugin/log@0.1.0".to_owned()],
            exports: vec!["landfall:plugin/policy@0.1.0".to_owned()],
            bound: vec![BoundView {
                place: "sites.north".to_owned(),
                interfaces: vec!["http".to_owned()],
                grants: serde_json::json!({"interfaces": ["http"]}),
                missing: vec!["the interface `clock` is not granted".to_owned()],
                limits: serde_json::json!({"wall-ms": 30_000}),
            }],
            versions: vec![PluginVersionView {
                version: "0.1.0".to_owned(),
                digest: digest.clone(),
                at: 1_795_320_000_000,
                state: "serving".to_owned(),
                stored: true,
            }],
            strikes: vec!["the plugin trapped: unreachable".to_owned()],
            signed_by: None,
            pins: vec![PinView {
                job: "0199".to_owned(),
                pin: "policy:standard".to_owned(),
                digest,
            }],
            plugin,
        }
    }

    #[test]
    fn a_plugin_with_all_that_is_known_of_it() {
        let mut detail = detail();
        detail.plugin.state = "pending".to_owned();
        detail.plugin.pending = Some(PendingView {
            version: "0.2.0".to_owned(),
            digest: "sha256:00112233445566778899aabb".to_owned(),
            wants: vec![WantView {
                place: "sites.north.grants".to_owned(),
                line: "interfaces = [\"clock\"]".to_owned(),
                required: true,
            }],
        });
        let listed = plugins(std::slice::from_ref(&detail.plugin));
        insta::assert_snapshot!(format!("{listed}\n{}", plugin(&detail)));
    }

    #[test]
    fn a_history() {
        let change = ChangeView {
            seq: 7,
            at: 1_795_320_000_000,
            from: Some("sha256:00112233445566778899aabb".to_owned()),
            to: None,
            version: None,
            cause: "revoke".to_owned(),
            who: "ada".to_owned(),
            reason: "it leaks".to_owned(),
        };
        insta::assert_snapshot!(history(&[change]));
    }
}
