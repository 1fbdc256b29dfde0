//! Tables and cards of everything but jobs.

use landfall_daemon::api::wire::{
    DocumentView, ItemView, MachineView, NetworkView, PointView, PointsView, ReadinessView, SiteView,
};
use landfall_recovery::operations::Permission;

use super::findings;
use crate::table::{card, table};
use crate::units::{NONE, bytes, count, or_none, span, span_or_none, time};

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// `landfall site list`.
pub(crate) fn sites(sites: &[SiteView]) -> String {
    let heading = [
        "site",
        "adapter",
        "reachable",
        "source",
        "target",
        "replication",
        "plugin",
    ];
    let rows = sites.iter().map(|site| {
        [
            site.name.clone(),
            site.adapter.clone(),
            yes(site.reachable),
            yes(site.source),
            yes(site.target),
            site.replication.clone(),
            or_none(site.plugin.as_deref().map(short_plugin).as_deref()),
        ]
    });
    let mut words = table(heading, rows);
    for site in sites {
        if let Some(error) = &site.error {
            words.extend([format!("{}: {error}\n", site.name)]);
        }
    }
    words
}

/// `name version digest`, with the digest cut to what tells two apart.
fn short_plugin(plugin: &str) -> String {
    plugin
        .split(' ')
        .map(|word| if word.len() > 40 { short(word) } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first twelve digits of a digest: enough to tell two apart.
pub(super) fn short(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.get(..12).unwrap_or(digits)
}

/// `landfall site machines`.
pub(crate) fn machines(machines: &[MachineView]) -> String {
    let rows = machines.iter().map(|machine| {
        [
            machine.id.clone(),
            machine.name.clone(),
            machine.power.clone(),
            machine.origin.clone(),
            bytes(machine.disk_bytes),
            machine.networks.join(" "),
            or_none(machine.item.as_deref()),
        ]
    });
    table(["id", "name", "power", "origin", "disks", "networks", "item"], rows)
}

/// `landfall site networks`.
pub(crate) fn networks(networks: &[NetworkView]) -> String {
    let rows = networks
        .iter()
        .map(|network| [network.id.clone(), network.name.clone(), yes(network.isolated)]);
    table(["id", "name", "isolated"], rows)
}

/// `landfall plan list`.
pub(crate) fn documents(documents: &[DocumentView]) -> String {
    let rows = documents.iter().map(|document| {
        [
            document.name.clone(),
            document.groups.to_string(),
            document.machines.to_string(),
            document.applied_at.map_or_else(|| NONE.to_owned(), time),
            readiness(document.readiness.as_ref()),
        ]
    });
    table(["plan", "groups", "machines", "applied", "last test"], rows)
}

/// When a plan was last tested, how that went, and whether it still says something.
fn readiness(readiness: Option<&ReadinessView>) -> String {
    let Some(readiness) = readiness else {
        return NONE.to_owned();
    };
    let (Some(at), Some(outcome)) = (readiness.tested_at, &readiness.outcome) else {
        return "never".to_owned();
    };
    let since = match (readiness.verified, outcome.as_str()) {
        (true, _) => ", verified since last change",
        (false, "succeeded") => ", changed since",
        (false, _) => "",
    };
    format!("{} {outcome}{since}", time(at))
}

/// What came of applying or checking a document.
pub(crate) fn document(document: &DocumentView, kind: &str) -> String {
    let what = match (document.applied_at, document.changed) {
        (None, _) => "is valid",
        (Some(_), true) => "applied",
        (Some(_), false) => "is applied already, word for word",
    };
    let subject = if kind == document.name {
        kind.to_owned()
    } else {
        format!("{kind} `{}`", document.name)
    };
    let size = format!(
        "{}, {}",
        count(document.groups, "group"),
        count(document.machines, "machine")
    );
    format!("{subject} {what} ({size})\n")
}

/// `landfall item list`.
pub(crate) fn items(items: &[ItemView]) -> String {
    let heading = [
        "item",
        "phase",
        "test",
        "active at",
        "from",
        "to",
        "rpo",
        "target",
        "points",
        "note",
    ];
    let rows = items.iter().map(|item| {
        // Where its data comes from, and where it goes.
        let (from, to) = match item.direction.as_str() {
            "reverse" => (&item.target_site, &item.source_site),
            _ => (&item.source_site, &item.target_site),
        };
        [
            item.name.clone(),
            phase(item),
            item.test.clone(),
            item.active_site.clone(),
            from.clone(),
            to.clone(),
            span_or_none(item.rpo_ms),
            span(item.rpo_target_ms),
            item.points.to_string(),
            item_note(item),
        ]
    });
    table(heading, rows)
}

fn phase(item: &ItemView) -> String {
    match item.seeded_percent {
        Some(percent) => format!("{} {percent}%", item.phase),
        _ => item.phase.clone(),
    }
}

fn item_note(item: &ItemView) -> String {
    let late = item.rpo_missed_since.is_some() || item.rpo_ms.is_some_and(|rpo| rpo > item.rpo_target_ms);
    let mut notes = Vec::new();
    match (&item.job, &item.trouble) {
        (Some(job), Some(trouble)) => notes.push(format!("job {job} {trouble}")),
        (Some(job), None) => notes.push(format!("in job {job}")),
        (None, _) => {}
    }
    if late {
        notes.push("RPO missed".to_owned());
    }
    if item.replication_error.is_some() {
        notes.push("replication fails".to_owned());
    }
    if item.both_active {
        notes.push("RUNS AT BOTH SITES".to_owned());
    }
    if item.source_stopped && (item.job.is_none() || item.trouble.is_some()) {
        notes.push(source_stopped(item));
    }
    if item.restored {
        notes.push("not compared since the restore: `landfall reconcile`".to_owned());
    }
    if item.risk_accepted {
        notes.push("split-brain risk accepted".to_owned());
    }
    notes.join("; ")
}

/// A failover that broke off left the machine off, whatever its phase says.
fn source_stopped(item: &ItemView) -> String {
    let by = item
        .job
        .as_deref()
        .map_or_else(|| "a failover".to_owned(), |job| format!("job {job}"));
    format!("source switched off by {by}: `landfall resume-protection`, or `landfall job retry`")
}

/// `landfall item show`.
pub(crate) fn item(item: &ItemView) -> String {
    let mut rows = vec![
        ("item", item.name.clone()),
        ("phase", phase(item)),
        ("test", item.test.clone()),
        ("direction", item.direction.clone()),
        ("active at", item.active_site.clone()),
        ("source", format!("{} at {}", item.source_machine, item.source_site)),
        (
            "target",
            format!(
                "{} at {}",
                item.target_machine.as_deref().unwrap_or("(no machine)"),
                item.target_site
            ),
        ),
        (
            "rpo",
            format!("{} (target {})", span_or_none(item.rpo_ms), span(item.rpo_target_ms)),
        ),
        ("points", item.points.to_string()),
        ("sent", bytes(item.bytes_sent)),
    ];
    let optional = [
        ("test machine", item.test_machine.clone()),
        ("replication group", item.replication_group.clone()),
        ("job", item.job.clone()),
        ("trouble", item.trouble.clone()),
        ("comes back to", item.location.clone()),
        ("test ends", item.test_until.map(time)),
        (
            "state",
            item.restored
                .then(|| "restored from a backup, not compared with the sites: `landfall reconcile`".to_owned()),
        ),
        ("attention", item.source_stopped.then(|| source_stopped(item))),
        (
            "runs",
            item.both_active
                .then(|| "at both sites: `landfall choose-direction` or `landfall fence`".to_owned()),
        ),
        ("replication error", item.replication_error.clone()),
        (
            "risk",
            item.risk_accepted
                .then(|| "activated on a person's word, without proof".to_owned()),
        ),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut words = card(rows);
    if !item.operations.is_empty() {
        words.push_str("\nOperations:\n");
        words.extend(
            item.operations
                .iter()
                .map(|(name, permission)| operation(name, permission)),
        );
    }
    words
}

fn operation(name: &str, permission: &Permission) -> String {
    match permission {
        Permission::Allowed => format!("  {name}: allowed\n"),
        Permission::Blocked { findings: found } => {
            let found = findings(found).replace('\n', "\n  ");
            format!("  {name}: blocked\n  {}\n", found.trim_end())
        }
        Permission::Illegal { code, reason, .. } => format!("  {name}: not now, {reason} ({code})\n"),
    }
}

/// `landfall item points`.
pub(crate) fn points(points: &PointsView) -> String {
    let rows = points.points.iter().map(|point| {
        [
            point.id.clone(),
            time(point.source_time_ms),
            point.consistency.clone(),
            point_state(point).to_owned(),
            or_none(point.group_mark.as_deref()),
        ]
    });
    table(["point", "time", "consistency", "state", "group mark"], rows)
}

fn point_state(point: &PointView) -> &'static str {
    if point.processed { "processed" } else { "received" }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn tables_of_what_there_is() {
        insta::assert_snapshot!(items(&[samples::item("hr-db-1"), samples::troubled_item()]));
    }

    #[test]
    fn f32_an_item_with_all_that_may_be_asked_of_it() {
        let words = anstream::adapter::strip_str(&item(&samples::troubled_item())).to_string();
        insta::assert_snapshot!(words);
    }

    #[test]
    fn points_of_an_item() {
        insta::assert_snapshot!(points(&samples::points()));
    }
}
