//! Merging: neighbouring layers of a replica become one, so that its chain stays as long as it has points. QEMU
//! copies the upper ones' data into the lowest one's file; until that is noted the chain reads as before, so a merge may
//! end in any way at any time.

use landfall_sdk::{Failure, Pairs, Running};
use serde_json::json;

use crate::facts::{Machine, Merge};
use crate::helper::{Helper, node_name};
use crate::libvirt::Libvirt;
use crate::target::{Held, empty_trash, find, machines, point_outputs};

/// How often a merge is looked at.
const MERGE_POLL_MS: u32 = 500;

/// The helper's jobs for a replica begin so; each disk has one.
fn jobs(replica: &str) -> String {
    format!("merge-{replica}-")
}

pub(crate) fn merging(handle: &str) -> Running {
    Running {
        handle: handle.to_owned(),
        percent: None,
        note: "old layers become one".to_owned(),
        poll_after_ms: MERGE_POLL_MS,
    }
}

/// Polls a merge. Whether it worked or not, the point is there.
pub(crate) fn poll_merge(libvirt: &mut Libvirt, replica: &str, point: &str) -> Result<Option<Pairs>, Failure> {
    let mut held = find(libvirt, replica)?;
    let Some(helper) = Helper::running(libvirt)? else {
        return Ok(Some(point_outputs(Some(point))));
    };
    if merge_runs(libvirt, &helper, &held)? {
        return Ok(None);
    }
    finish_merge(libvirt, &helper, &mut held)?;
    Ok(Some(point_outputs(Some(point))))
}

/// True: a merge runs. Layers that a machine lies upon are left alone, and so is everything while one is written.
pub(crate) fn begin_merge(libvirt: &mut Libvirt, held: &mut Held) -> Result<bool, Failure> {
    let helper = Helper::ensure(libvirt)?;
    if held.replica.open.is_some() {
        return Ok(false);
    }
    let occupied = occupied(libvirt, held)?;
    if occupied.is_none() {
        held.replica.drop_unused();
    }
    if !held.replica.trash.is_empty() {
        held.save(libvirt)?;
        empty_trash(libvirt, held)?;
    }
    if held.replica.merge.is_some() {
        if merge_runs(libvirt, &helper, held)? {
            return Ok(true);
        }
        finish_merge(libvirt, &helper, held)?;
    }
    let Some((lower, upper)) = held.replica.mergeable(occupied) else {
        return Ok(false);
    };
    let Some(files) = files(held, lower, upper) else {
        return Ok(false);
    };
    held.replica.merge = Some(Merge { lower, upper });
    held.save(libvirt)?;
    for (index, Files { over, upper, lower }) in files.iter().enumerate() {
        // Merged in an earlier try whose end nobody saw.
        if helper.open(libvirt, over, false)?.backing.as_ref() == Some(lower) {
            continue;
        }
        let arguments = json!({
            "job-id": format!("{}{index}", jobs(&held.id())), "device": node_name(over), "base": lower, "top": upper,
            "auto-dismiss": false,
        });
        helper.command(libvirt, "block-commit", &arguments)?;
    }
    Ok(true)
}

/// The uppermost layer that a machine lies upon, if any does. A point that nobody knows any more may lie anywhere.
fn occupied(libvirt: &mut Libvirt, held: &Held) -> Result<Option<u32>, Failure> {
    let layer = |machine: Machine| {
        let point = machine.point?;
        let entry = held
            .replica
            .entries
            .iter()
            .find(|entry| entry.point.as_ref() == Some(&point));
        entry.map(|entry| entry.layer)
    };
    let all = machines(libvirt, &held.id())?.into_iter();
    Ok(all.map(|(_, machine)| layer(machine).unwrap_or(u32::MAX)).max())
}

/// A disk's files in the two layers of a merge, and in the one above.
struct Files {
    over: String,
    upper: String,
    lower: String,
}

/// Of each disk.
fn files(held: &Held, lower: u32, upper: u32) -> Option<Vec<Files>> {
    let layers = &held.replica.layers;
    let place = layers.iter().position(|layer| layer.number == upper)?;
    let over = layers.get(place + 1)?.files.iter();
    let (upper, lower) = (held.replica.layer(upper)?, held.replica.layer(lower)?);
    let files = over.zip(&upper.files).zip(&lower.files);
    let files = files.map(|((over, upper), lower)| Files {
        over: over.clone(),
        upper: upper.clone(),
        lower: lower.clone(),
    });
    Some(files.collect())
}

/// The helper's jobs: their names, and whether each is over.
fn merge_jobs(libvirt: &mut Libvirt, helper: &Helper, held: &Held) -> Result<Vec<(String, bool)>, Failure> {
    let answer = helper.command(libvirt, "query-jobs", &serde_json::Value::Null)?;
    let text = |one: &serde_json::Value, name: &str| one.get(name)?.as_str().map(str::to_owned);
    let beginning = jobs(&held.id());
    let ours = answer.as_array().into_iter().flatten().filter_map(|one| {
        let id = text(one, "id").filter(|id| id.starts_with(&beginning))?;
        Some((id, text(one, "status").as_deref() == Some("concluded")))
    });
    Ok(ours.collect())
}

fn merge_runs(libvirt: &mut Libvirt, helper: &Helper, held: &Held) -> Result<bool, Failure> {
    Ok(merge_jobs(libvirt, helper, held)?.iter().any(|(_, over)| !over))
}

/// After this no merge is under way: one that ended well is noted, one that did not is forgotten. How it ended is read
/// from the files themselves: the layer above lies upon the lower file, or still upon the upper one. Of several disks
/// some may have ended well: upper files then say the same as before, over the lower ones, and the next merge goes on.
pub(crate) fn finish_merge(libvirt: &mut Libvirt, helper: &Helper, held: &mut Held) -> Result<(), Failure> {
    let Some(merge) = held.replica.merge.clone() else {
        return Ok(());
    };
    for (job, over) in merge_jobs(libvirt, helper, held)? {
        if !over {
            let why = "old layers of the replica are becoming one; it goes on right after";
            return Err(Failure::in_doubt("busy", why).retryable());
        }
        helper.command(libvirt, "job-dismiss", &json!({ "id": job }))?;
    }
    let files = files(held, merge.lower, merge.upper);
    let mut all = files.is_some();
    for Files { over, lower, .. } in files.into_iter().flatten() {
        all &= helper.open(libvirt, &over, false)?.backing == Some(lower);
        helper.close(libvirt, &over)?;
    }
    // A machine that was made meanwhile may lie upon an upper file: then that stays.
    if all && occupied(libvirt, held)?.is_none_or(|number| number < merge.lower) {
        held.replica.merged(merge.lower, merge.upper);
    }
    held.replica.merge = None;
    held.save(libvirt)?;
    empty_trash(libvirt, held)
}
