//! The hand behind the lab, part two: defining machines, changing them, and reading what is really on their disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{control, merged, seconds};
use super::data::check_range;
use super::sites::{find, listed};
use super::{ApiError, App, Body, Params, blocking};
use crate::clock::wall_ms;
use crate::disk::{Base, Disk};
use crate::entry::Change;
use crate::facts::{MachineDisk, MachineFacts, Profile};
use crate::fault::hash;
use crate::fold::rate;
use crate::lab::Lab;
use crate::operation::Failure;
use crate::record::RECORD_BYTES;
use crate::state::{Machine, MachineSpec};

type Shared = State<Arc<App>>;
type Answer = Result<Json<Value>, ApiError>;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/control/machines", post(define))
        .route(
            "/control/machines/{site}/{machine}",
            get(machine).patch(change).delete(remove),
        )
        .route("/control/machines/{site}/{machine}/disk", get(disk))
        .route("/control/machines/{site}/{machine}/written", get(written))
        .route(
            "/control/machines/{site}/{machine}/facts",
            get(facts).patch(change_facts),
        )
        .route("/control/machines/{site}/{machine}/lose", post(lose))
        .route("/control/machines/{site}/{machine}/restore", post(restore))
        .route("/control/rates", post(rates))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<MachineSpec>),
    One(Box<MachineSpec>),
}

/// All of them or none; one line of the ledger for each site.
async fn define(State(app): Shared, Body(ask): Body<OneOrMany>) -> Answer {
    let specs = match ask {
        OneOrMany::Many(specs) => specs,
        OneOrMany::One(spec) => vec![*spec],
    };
    let mut by_site: BTreeMap<String, Vec<MachineSpec>> = BTreeMap::new();
    let made = specs.len();
    for spec in specs {
        by_site.entry(spec.site.clone()).or_default().push(spec);
    }
    let mut lab = app.lab();
    for (site, specs) in &mut by_site {
        complete(&lab, site, specs)?;
    }
    for (site, machines) in by_site {
        control(
            &mut lab,
            "define-machines",
            Some(&site),
            vec![Change::MachinesDefined { machines }],
        )?;
    }
    Ok(Json(json!({"machines": made, "seq": lab.state.seq})))
}

/// Checks machines, and gives addresses to nics that were defined without.
fn complete(lab: &Lab, name: &str, specs: &mut [MachineSpec]) -> Result<(), Failure> {
    let site = lab.site(name)?;
    let number = lab.state.sites.keys().take_while(|other| *other != name).count();
    let kind = site.facts.profile;
    let (mut seen, mut host) = (BTreeSet::new(), site.machines.len());
    for spec in specs {
        if spec.id.is_empty() || spec.id.contains('/') {
            return Err(Failure::refused("invalid", "a machine's id is text without `/`"));
        }
        if site.machines.contains_key(&spec.id) || !seen.insert(spec.id.clone()) {
            return Err(Failure::refused(
                "exists",
                format!("site `{name}` has a machine `{}` already", spec.id),
            ));
        }
        spec.origin
            .get_or_insert_with(|| kind.map_or("kvm", Profile::origin).to_owned());
        if kind == Some(Profile::Vmware) && spec.facts.datastore.is_none() {
            spec.facts.datastore = site.facts.datastores.first().map(|store| store.id.clone());
        }
        for nic in &mut spec.nics {
            if let Some(network) = nic
                .network
                .as_ref()
                .filter(|network| !site.networks.contains_key(*network))
            {
                return Err(Failure::refused(
                    "unknown-network",
                    format!("site `{name}` has no network `{network}`"),
                ));
            }
            if nic.addresses.is_empty() {
                host += 1;
                nic.addresses
                    .push(format!("10.{}.{}.{}", number + 1, host / 250 % 256, host % 250 + 1));
            }
        }
    }
    Ok(())
}

fn detail(lab: &Lab, site: &str, machine: &Machine) -> Value {
    let now = lab.state.clock.lab(lab.wall(wall_ms()));
    let mut value = json!({});
    if let Ok(place) = lab.site(site) {
        value = listed(place, machine, now);
    }
    let more = json!({
        "site": site,
        "autostart": machine.autostart,
        "held": machine.before_hold.is_some(),
        "fenced": machine.fenced,
        "records_per_second": seconds(machine.rate),
        "boot_ms": machine.boot_ms,
        "lineage": machine.lineage,
        "parent": machine.parent.as_ref().map(|parent| &parent.place),
        "isolated": machine.isolated,
        "bound": machine.bound,
        "facts": machine.facts,
        "stamp": machine.stamp,
        "prepared": machine.prepared,
        "marks": machine.marks.values().collect::<Vec<_>>(),
        "incarnation": machine.disk.incarnation(),
        "base_records": machine.disk.base_records(),
        "records": machine.disk.records(now),
    });
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
    value
}

async fn machine(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let answer = detail(&lab, &site, find(lab.site(&site)?, &site, &id)?);
    Ok(Json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachinePatch {
    on: Option<bool>,
    autostart: Option<bool>,
    records_per_second: Option<f64>,
    boot_ms: Option<u64>,
    disks: Option<Vec<MachineDisk>>,
}

async fn change(State(app): Shared, Path((site, id)): Path<(String, String)>, Body(ask): Body<MachinePatch>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    find(lab.site(&site)?, &site, &id)?;
    let changes = [
        ask.records_per_second.map(|records| Change::Rate {
            machine: id.clone(),
            rate: rate(records),
        }),
        ask.boot_ms.map(|boot_ms| Change::Boot {
            machine: id.clone(),
            boot_ms,
        }),
        ask.disks.map(|disks| Change::Disks {
            machine: id.clone(),
            disks,
        }),
        ask.autostart.map(|autostart| Change::Autostart {
            machine: id.clone(),
            autostart,
        }),
        ask.on.map(|on| Change::Power {
            machine: id.clone(),
            on,
        }),
    ];
    control(
        &mut lab,
        "machine",
        Some(&site),
        changes.into_iter().flatten().collect(),
    )?;
    let answer = detail(&lab, &site, find(lab.site(&site)?, &site, &id)?);
    Ok(Json(answer))
}

/// As if somebody behind the host's back deleted it: running or not.
async fn remove(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    find(lab.site(&site)?, &site, &id)?;
    let seq = control(
        &mut lab,
        "machine",
        Some(&site),
        vec![Change::MachineGone { machine: id }],
    )?;
    Ok(Json(json!({"seq": seq})))
}

async fn facts(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Answer {
    let lab = app.lab();
    let answer = json!(find(lab.site(&site)?, &site, &id)?.facts);
    Ok(Json(answer))
}

/// What the request names is changed, the rest stays.
async fn change_facts(State(app): Shared, Path((site, id)): Path<(String, String)>, Body(ask): Body<Value>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let facts: MachineFacts = merged(&find(lab.site(&site)?, &site, &id)?.facts, ask)?;
    let answer = json!(facts);
    let change = Change::MachineFacts {
        machine: id,
        facts: Box::new(facts),
    };
    control(&mut lab, "machine-facts", Some(&site), vec![change])?;
    Ok(Json(answer))
}

/// The machine is lost: it stops, and nothing can be done with it until it is restored.
async fn lose(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let facts = MachineFacts {
        available: false,
        ..find(lab.site(&site)?, &site, &id)?.facts.clone()
    };
    let off = Change::Power {
        machine: id.clone(),
        on: false,
    };
    let lost = Change::MachineFacts {
        machine: id,
        facts: Box::new(facts),
    };
    let seq = control(&mut lab, "lose", Some(&site), vec![off, lost])?;
    Ok(Json(json!({"seq": seq})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    /// Records that the backup holds; none: all that the machine had.
    records: Option<u64>,
}

/// The machine is there again, off, with what a backup held of it.
async fn restore(State(app): Shared, Path((site, id)): Path<(String, String)>, Body(ask): Body<Backup>) -> Answer {
    let mut lab = app.lab();
    let wall = wall_ms();
    lab.settle(wall)?;
    let now = lab.state.clock.lab(lab.wall(wall));
    let machine = find(lab.site(&site)?, &site, &id)?;
    if machine.on {
        return Err(Failure::refused("running", format!("machine `{id}` runs; nothing is restored over it")).into());
    }
    let held = machine.disk.bytes(now);
    let bytes = ask
        .records
        .map_or(held, |records| records.saturating_mul(RECORD_BYTES))
        .min(held);
    let (mut before, seq) = (machine.disk.clone(), lab.state.seq + 1);
    let to = format!("bases/{site}/{id}-{seq}");
    if let Some(from) = before.rename_base(&to) {
        let linked = lab.blobs.link(&from, &to);
        linked.map_err(|error| Failure::refused("disk", error.to_string()))?;
    }
    let facts = MachineFacts {
        available: true,
        ..machine.facts.clone()
    };
    let base = Base::Disk {
        disk: Box::new(before),
        bytes,
    };
    let disk = Disk::new(hash(&machine.lineage), seq, Some(base));
    let restored = Change::DiskReplaced {
        machine: id.clone(),
        disk,
    };
    let there = Change::MachineFacts {
        machine: id,
        facts: Box::new(facts),
    };
    let seq = control(&mut lab, "restore", Some(&site), vec![restored, there])?;
    Ok(Json(json!({"seq": seq, "records": bytes / RECORD_BYTES})))
}

#[derive(Deserialize)]
struct What {
    #[serde(default)]
    verify: u8,
    offset: Option<u64>,
    bytes: Option<u64>,
}

/// The disk as it is now: judged as a whole, or some of its bytes.
async fn disk(
    State(app): Shared,
    Path((site, id)): Path<(String, String)>,
    Params(what): Params<What>,
) -> Result<Response, ApiError> {
    let (disk, clock, blobs, now) = {
        let mut lab = app.lab();
        lab.settle(wall_ms())?;
        let machine = find(lab.site(&site)?, &site, &id)?;
        let now = lab.state.clock.lab(lab.wall(wall_ms()));
        (
            machine.disk.clone(),
            lab.state.clock.clone(),
            Arc::clone(&lab.blobs),
            now,
        )
    };
    if what.verify != 0 {
        let verdict = blocking(move || disk.verify(&clock, blobs.root(), now)).await?;
        return Ok(Json(verdict).into_response());
    }
    let held = disk.bytes(now);
    let offset = what.offset.unwrap_or(0);
    let bytes = what.bytes.unwrap_or(held.saturating_sub(offset));
    check_range(offset, bytes, held)?;
    let bytes = blocking(move || disk.read(&clock, blobs.root(), offset, bytes)).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// What the machine has written, from the generator and without reading: the other side of what a recovery lost.
async fn written(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let machine = find(lab.site(&site)?, &site, &id)?;
    let clock = &lab.state.clock;
    let now = clock.lab(lab.wall(wall_ms()));
    Ok(Json(json!({
        "records": machine.disk.records(now),
        "last": machine.disk.records(now),
        "last_time_ms": machine.disk.last_write(now).map(|lab_ms| clock.wall(lab_ms)),
        "base_records": machine.disk.base_records(),
        "incarnation": machine.disk.incarnation(),
        "running": machine.on,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rates {
    site: String,
    records_per_second: f64,
    /// None: all of the site.
    machines: Option<Vec<String>>,
}

async fn rates(State(app): Shared, Body(ask): Body<Rates>) -> Answer {
    let mut lab = app.lab();
    lab.settle(wall_ms())?;
    let site = lab.site(&ask.site)?;
    let machines = match ask.machines {
        Some(named) => named,
        None => site.machines.keys().cloned().collect(),
    };
    for machine in &machines {
        find(site, &ask.site, machine)?;
    }
    let rate = rate(ask.records_per_second);
    let changes = machines
        .into_iter()
        .map(|machine| Change::Rate { machine, rate })
        .collect::<Vec<_>>();
    let count = changes.len();
    control(&mut lab, "rates", Some(&ask.site), changes)?;
    Ok(Json(json!({"machines": count})))
}
