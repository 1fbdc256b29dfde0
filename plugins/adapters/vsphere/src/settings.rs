//! What the operator configured for the site, beyond where it is.

use landfall_sdk::{Failure, config, duration_ms};

use crate::fault::Trouble;
use crate::machine::Vm;
use crate::vcenter::Vcenter;

/// How long a guest may take to shut down, unless the configuration says otherwise: databases close within this.
const SHUTDOWN_MS: u64 = 5 * 60_000;

/// Where replicas are, when they are not the protected machines themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standby {
    /// Path of the folder.
    pub(crate) folder: String,
    /// How much older than the source's the data of a standby may be.
    pub(crate) lag_ms: u64,
}

/// Where a machine is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) folder: String,
    pub(crate) pool: String,
    /// None: where the replica's own disks are.
    pub(crate) datastore: Option<String>,
}

fn set(name: &str) -> Option<String> {
    config::get(name).filter(|value| !value.is_empty())
}

fn wrong(name: &str, why: &str) -> Failure {
    Failure::definite("not-configured", format!("the site's `{name}`: {why}"))
}

fn switch(name: &str) -> Result<bool, Failure> {
    match set(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(name, "it is `true` or `false`")),
    }
}

/// Snapshots are quiesced where VMware Tools run.
pub(crate) fn quiesces() -> Result<bool, Failure> {
    switch("quiesce")
}

/// A guest that cannot be shut down is powered off.
pub(crate) fn powers_off() -> Result<bool, Failure> {
    switch("power-off")
}

pub(crate) fn shutdown_ms() -> Result<u64, Failure> {
    let Some(text) = set("shutdown-patience") else {
        return Ok(SHUTDOWN_MS);
    };
    duration_ms(&text).map_err(|why| wrong("shutdown-patience", &why))
}

/// A lag that nobody stated would make every recovery point look newer than it is.
pub(crate) fn standby() -> Result<Option<Standby>, Failure> {
    let Some(folder) = set("standby") else { return Ok(None) };
    let lag = set("standby-lag").ok_or_else(|| {
        wrong(
            "standby-lag",
            "say how far a standby may be behind its source; `0s` if it is replicated synchronously",
        )
    })?;
    let lag_ms = duration_ms(&lag).map_err(|why| wrong("standby-lag", &why))?;
    Ok(Some(Standby { folder, lag_ms }))
}

/// How much older than its snapshot the data of a point may be.
pub(crate) fn lag_ms() -> Result<u64, Failure> {
    Ok(standby()?.map_or(0, |standby| standby.lag_ms))
}

/// Where a machine that is made from a replica goes.
pub(crate) fn place(vcenter: &Vcenter, replica: &Vm) -> Result<Place, Trouble> {
    let folder = match named(vcenter, "folder", &["Folder"])? {
        Some(folder) => folder,
        None => replica
            .folder
            .clone()
            .ok_or_else(|| wrong("folder", "name one; the replica is in a vApp"))?,
    };
    let pool = match named(vcenter, "pool", &["ResourcePool", "VirtualApp"])? {
        Some(pool) => pool,
        None => replica
            .pool
            .clone()
            .ok_or_else(|| wrong("pool", "name one; the replica is a template"))?,
    };
    let datastore = named(vcenter, "datastore", &["Datastore"])?;
    Ok(Place {
        folder,
        pool,
        datastore,
    })
}

/// The object that a setting names, by path or by id.
fn named(vcenter: &Vcenter, name: &str, kinds: &[&str]) -> Result<Option<String>, Trouble> {
    let Some(value) = set(name) else { return Ok(None) };
    if !value.starts_with('/') {
        return Ok(Some(value));
    }
    match vcenter.find(&value)? {
        Some((kind, id)) if kinds.contains(&&*kind) => Ok(Some(id)),
        Some((kind, _)) => Err(wrong(name, &format!("`{value}` is a {kind}")).into()),
        None => Err(wrong(name, &format!("vCenter has nothing at `{value}`")).into()),
    }
}
