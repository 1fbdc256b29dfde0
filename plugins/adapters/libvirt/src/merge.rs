//! Merging: two neighbouring layers of a replica become one, so that its chain stays as long as it has points. QEMU
//! copies the upper one's data into the lower one's file; until that is noted the chain reads as before, so a merge may
//! end in any way at any time.

use landfall_sdk::{Failure, Pairs, Running};
use serde_json::json;

use crate::facts::Merge;
use crate::helper::{Helper, node_name};
use crate::libvirt::Libvirt;
use crate::target::{Held, empty_trash, find, machines, point_outputs};

/// How often a merge is looked at.
const MERGE_POLL_MS: u32 = 500;

/// The one job of the helper for a replica.
fn job(replica: &str) -> String {
    format!("merge-{replica}")
}

pub(crate) fn merging(handle: &str) -> Running {
    Running {
        handle: handle.to_owned(),
        percent: None,
        note: "two old layers become one".to_owned(),
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
    if held.replica.open.is_some() || !machines(libvirt, &held.id())?.is_empty() {
        return Ok(false);
    }
    held.replica.drop_unused();
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
    // One disk at a time is merged; with several a crash between them would leave layers of two times.
    let Some((lower, upper)) = held.replica.mergeable().filter(|_| held.replica.disks.len() == 1) else {
        return Ok(false);
    };
    let file = |number| {
        held.replica
            .layer(number)
            .and_then(|layer| layer.files.first())
            .cloned()
    };
    let (Some(below), Some(above)) = (file(lower), file(upper)) else {
        return Ok(false);
    };
    let over = held
        .replica
        .layers
        .iter()
        .position(|layer| layer.number == upper)
        .map(|place| place + 1);
    let Some(device) = over.and_then(|place| held.replica.layers.get(place)?.files.first().cloned()) else {
        return Ok(false);
    };
    held.replica.merge = Some(Merge {
        run: helper.run.clone(),
        lower,
        upper,
    });
    held.save(libvirt)?;
    helper.open(libvirt, &device, false)?;
    let arguments = json!({
        "job-id": job(&held.id()), "device": node_name(&device), "base": below, "top": above, "auto-dismiss": false,
    });
    helper.command(libvirt, "block-commit", &arguments)?;
    Ok(true)
}

/// The helper's job, if there is one: whether it is over, and what went wrong.
fn merge_job(libvirt: &mut Libvirt, helper: &Helper, held: &Held) -> Result<Option<(bool, Option<String>)>, Failure> {
    let jobs = helper.command(libvirt, "query-jobs", &serde_json::Value::Null)?;
    let ours = jobs.as_array().and_then(|jobs| {
        jobs.iter()
            .find(|one| one.get("id").and_then(serde_json::Value::as_str) == Some(&*job(&held.id())))
            .cloned()
    });
    Ok(ours.map(|job| {
        let over = job.get("status").and_then(serde_json::Value::as_str) == Some("concluded");
        let error = job.get("error").and_then(serde_json::Value::as_str).map(str::to_owned);
        (over, error)
    }))
}

fn merge_runs(libvirt: &mut Libvirt, helper: &Helper, held: &Held) -> Result<bool, Failure> {
    Ok(merge_job(libvirt, helper, held)?.is_some_and(|(over, _)| !over))
}

/// After this no merge is under way: one that ended well is noted, one that did not is forgotten. Until its end the
/// chain reads as before, so either is right.
pub(crate) fn finish_merge(libvirt: &mut Libvirt, helper: &Helper, held: &mut Held) -> Result<(), Failure> {
    let Some(merge) = held.replica.merge.clone() else {
        return Ok(());
    };
    let ended = merge_job(libvirt, helper, held)?;
    if let Some((false, _)) = ended {
        let why = "two old layers of the replica are becoming one; it goes on right after";
        return Err(Failure::in_doubt("busy", why).retryable());
    }
    if ended.is_some() {
        helper.command(libvirt, "job-dismiss", &json!({ "id": job(&held.id()) }))?;
    }
    let place = held.replica.layers.iter().position(|layer| layer.number == merge.upper);
    let device = place.and_then(|place| held.replica.layers.get(place + 1)?.files.first().cloned());
    if let Some(device) = device {
        helper.close(libvirt, &device)?;
    }
    // A machine that was made meanwhile may lie upon the upper file: then that stays, and says the same as before.
    let is_free = machines(libvirt, &held.id())?.is_empty();
    match ended {
        Some((true, None)) if is_free && merge.run == helper.run => held.replica.merged(merge.lower, merge.upper),
        _ => held.replica.merge = None,
    }
    held.save(libvirt)?;
    empty_trash(libvirt, held)
}
