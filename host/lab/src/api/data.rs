//! Disk bytes: what changed between two marks, reading it at the source, writing it at the target.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, put};
use serde::Deserialize;
use serde_json::json;

use super::sites::find;
use super::{ApiError, App, BODY_LIMIT, Params, blocking};
use crate::operation::Failure;
use crate::state::{Machine, Mark};

/// Bytes of one extent: small enough that a host may keep some in memory, large enough that a call each is cheap.
const EXTENT: u64 = 1 << 20;

/// Extents on one page: 256 MiB of changes.
const EXTENTS: u64 = 256;

type Shared = State<Arc<App>>;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/sites/{site}/machines/{machine}/changes", get(changes))
        .route("/sites/{site}/machines/{machine}/data", get(read))
        .route("/sites/{site}/replicas/{replica}/data", put(write))
}

fn find_mark<'a>(machine: &'a Machine, id: &str) -> Result<&'a Mark, Failure> {
    let missing = || {
        let message = format!(
            "machine `{}` has no mark `{id}`: it was released, or its disk was replaced",
            machine.id
        );
        Failure::refused("unknown-mark", message)
    };
    machine.marks.get(id).ok_or_else(missing)
}

#[derive(Deserialize)]
struct Between {
    since: Option<String>,
    mark: String,
    cursor: Option<u64>,
}

/// A disk only grows, so what changed is what lies behind the older mark.
async fn changes(
    State(app): Shared,
    Path((site, id)): Path<(String, String)>,
    Params(between): Params<Between>,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "changes", &[&id]).await?;
    let (from, to) = {
        let lab = app.lab();
        let machine = find(lab.site(&site)?, &site, &id)?;
        let since = between.since.as_deref().filter(|since| !since.is_empty());
        let from = since
            .map(|since| find_mark(machine, since))
            .transpose()?
            .map_or(0, |mark| mark.bytes);
        (from, find_mark(machine, &between.mark)?.bytes)
    };
    let start = between.cursor.unwrap_or(from).max(from);
    let end = to.min(start.saturating_add(EXTENT * EXTENTS));
    let extents = (0..EXTENTS)
        .map(|number| start + number * EXTENT)
        .take_while(|offset| *offset < end)
        .map(|offset| json!({"offset": offset, "bytes": EXTENT.min(end - offset)}));
    let extents: Vec<_> = extents.collect();
    passage.json(json!({"extents": extents, "next": (end < to).then(|| end.to_string()), "disk_bytes": to}))
}

#[derive(Deserialize)]
struct Slice {
    mark: String,
    offset: u64,
    bytes: u64,
}

async fn read(
    State(app): Shared,
    Path((site, id)): Path<(String, String)>,
    Params(slice): Params<Slice>,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "read", &[&id]).await?;
    let (disk, clock, blobs) = {
        let lab = app.lab();
        let machine = find(lab.site(&site)?, &site, &id)?;
        check_range(slice.offset, slice.bytes, find_mark(machine, &slice.mark)?.bytes)?;
        (machine.disk.clone(), lab.state.clock.clone(), Arc::clone(&lab.blobs))
    };
    let bytes = blocking(move || disk.read(&clock, blobs.root(), slice.offset, slice.bytes)).await?;
    passage.answer(([(header::CONTENT_TYPE, "application/octet-stream")], bytes))
}

/// Refuses what is not there, and more at once than anybody should hold in memory.
pub(super) fn check_range(offset: u64, bytes: u64, held: u64) -> Result<(), Failure> {
    if bytes > BODY_LIMIT as u64 {
        return Err(Failure::refused(
            "too-large",
            format!("at most {BODY_LIMIT} bytes at once"),
        ));
    }
    if offset.checked_add(bytes).is_none_or(|end| end > held) {
        return Err(Failure::refused(
            "out-of-range",
            format!("the disk has {held} bytes there"),
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Target {
    mark: String,
    offset: u64,
    installation: String,
    epoch: u64,
}

async fn write(
    State(app): Shared,
    Path((site, id)): Path<(String, String)>,
    Params(target): Params<Target>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "write", &[&id]).await?;
    let store = {
        let lab = app.lab();
        let missing = || Failure::refused("not-found", format!("site `{site}` has no replica `{id}`"));
        let home = lab.site(&site)?;
        home.check_epoch(&target.installation, target.epoch)?;
        home.replicas.get(&id).ok_or_else(missing)?;
        lab.blobs.store(&site, &id)
    };
    let Some(store) = store else {
        return Err(Failure::refused("autonomous", "the lab itself moves this replica's data").into());
    };
    if target.mark.is_empty() || target.mark.contains('\n') {
        return Err(ApiError::invalid("a mark is one line of text"));
    }
    if target
        .offset
        .checked_add(bytes.len() as u64)
        .is_none_or(|end| end > i64::MAX as u64)
    {
        return Err(ApiError::invalid("no disk is that large"));
    }
    blocking(move || store.write(&target.mark, target.offset, &bytes)).await?;
    passage.answer(StatusCode::NO_CONTENT)
}
