//! What an adapter calls, data aside: features, inventory, operations, proofs, points.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, App, Body, Params};
use crate::autonomous;
use crate::clock::wall_ms;
use crate::facts::MachineFacts;
use crate::operation::{Failure, OFFERED, Progress, Request};
use crate::state::{Machine, Point, Replica, Site};
use crate::task::{Known, Reply};

/// Machines or owned things on one page: one answer stays below a megabyte.
const PAGE: usize = 500;

/// The one operation of management controllers.
const FENCE: &str = "fence";

/// The longest wait of one poll: below what clients and proxies cut a silent request off at.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

type Shared = State<Arc<App>>;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/sites/{site}/features", get(features))
        .route("/sites/{site}/health", get(health))
        .route("/sites/{site}/facts", get(facts))
        .route("/sites/{site}/machines", get(machines))
        .route("/sites/{site}/machines/{machine}", get(machine))
        .route("/sites/{site}/machines/{machine}/power", get(power))
        .route("/sites/{site}/networks", get(networks))
        .route("/sites/{site}/networks/{network}/isolation", get(isolation))
        .route("/sites/{site}/take-over", post(take_over))
        .route("/sites/{site}/operations", post(submit))
        .route("/sites/{site}/operations/by-key/{key}", get(by_key))
        .route("/sites/{site}/tasks/poll", post(poll))
        .route("/sites/{site}/tasks/{handle}/cancel", post(cancel))
        .route("/sites/{site}/replicas/{replica}", get(replica))
        .route("/sites/{site}/replicas/{replica}/points", get(points))
        .route("/sites/{site}/owned", get(owned))
}

async fn features(State(app): Shared, Path(site): Path<String>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "features", &[]).await?;
    let (settings, profile) = {
        let lab = app.lab();
        let site = lab.site(&site)?;
        (site.settings.clone(), site.facts.profile)
    };
    let controls = settings.controls.is_some();
    let offered = OFFERED.into_iter().filter(|name| !controls || *name == FENCE);
    let operation = |name| json!({"operation": name, "class": settings.effect_class, "settle_ms": settings.settle_ms});
    passage.json(json!({
        "source": !controls,
        "target": !controls,
        "replication": settings.replication,
        "operations": offered.map(operation).collect::<Vec<_>>(),
        "app_consistent": settings.app_consistent,
        "planned_failover": settings.planned_failover,
        "direct_transfer": [],
        "profile": profile,
    }))
}

async fn health(State(app): Shared, Path(site): Path<String>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "health", &[]).await?;
    let answer = {
        let lab = app.lab();
        let site = lab.site(&site)?;
        let (machines, capacity) = (site.machines.len() as u64, site.settings.capacity);
        json!({"machines": machines, "replicas": site.replicas.len(), "capacity": capacity,
               "free": capacity.map(|capacity| capacity.saturating_sub(machines)),
               "profile": site.facts.profile})
    };
    passage.json(answer)
}

async fn facts(State(app): Shared, Path(site): Path<String>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "facts", &[]).await?;
    let answer = json!(app.lab().site(&site)?.facts);
    passage.json(answer)
}

/// A machine as the contract lists it. Facts are told only where there is something to tell.
pub(super) fn listed(site: &Site, machine: &Machine, now: u64) -> Value {
    let mut value = json!({
        "id": machine.id,
        "name": machine.name,
        "origin": machine.origin,
        "os": machine.os,
        "power": power_word(machine),
        "cpus": machine.cpus,
        "memory_bytes": machine.memory_bytes,
        "disks": machine.all_disks(),
        "nics": machine.nics,
        "ext": machine.ext,
    });
    let has_agent = machine.has_agent(site.facts.agent_delay_ms, now);
    let is_plain = site.facts.profile.is_none() && has_agent && machine.facts == MachineFacts::default();
    if let (false, Some(fields)) = (is_plain, value.as_object_mut()) {
        let mut facts = json!(machine.facts);
        let more = json!({"platform": site.facts.profile, "agent_registered": has_agent});
        if let (Some(facts), Value::Object(more)) = (facts.as_object_mut(), more) {
            facts.extend(more);
        }
        fields.insert("facts".to_owned(), facts);
    }
    value
}

fn power_word(machine: &Machine) -> &'static str {
    if machine.on { "on" } else { "off" }
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn machines(
    State(app): Shared,
    Path(site): Path<String>,
    Params(page): Params<Page>,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "machines", &[]).await?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let answer = {
        let lab = app.lab();
        let from = page.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let now = lab.state.clock.lab(lab.wall(wall_ms()));
        let site = lab.behind(&site)?.1;
        let mut range = site.machines.range::<String, _>((from, Bound::Unbounded));
        let listed: Vec<(&String, Value)> = range
            .by_ref()
            .take(limit)
            .map(|(id, m)| (id, listed(site, m, now)))
            .collect();
        let next = listed
            .last()
            .map(|(id, _)| *id)
            .filter(|_| range.next().is_some())
            .cloned();
        let told = listed.into_iter().filter(|(id, _)| {
            let machine = site.machines.get(*id);
            machine.is_none_or(|machine| !machine.facts.unlisted)
        });
        json!({"machines": told.map(|(_, machine)| machine).collect::<Vec<_>>(), "next": next})
    };
    passage.json(answer)
}

/// The machine, or the failure that names it.
pub(super) fn find<'a>(site: &'a Site, name: &str, machine: &str) -> Result<&'a Machine, Failure> {
    let missing = || Failure::refused("not-found", format!("site `{name}` has no machine `{machine}`"));
    site.machines.get(machine).ok_or_else(missing)
}

async fn machine(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "machines", &[&id]).await?;
    let answer = {
        let lab = app.lab();
        let now = lab.state.clock.lab(lab.wall(wall_ms()));
        let (name, home) = lab.behind(&site)?;
        listed(home, find(home, name, &id)?, now)
    };
    passage.json(answer)
}

async fn power(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "power", &[&id]).await?;
    let answer = {
        let lab = app.lab();
        let wall = lab.wall(wall_ms());
        let (name, home) = lab.behind(&site)?;
        let machine = find(home, name, &id)?;
        json!({
            "power": power_word(machine),
            "autostart": machine.autostart,
            "evidence": {
                "machine": machine.id,
                "power": power_word(machine),
                "autostart": machine.autostart.to_string(),
                "fenced": machine.fenced.to_string(),
                "records": machine.disk.records(lab.state.clock.lab(wall)).to_string(),
                "read-at-ms": wall.to_string(),
            },
        })
    };
    passage.json(answer)
}

async fn networks(State(app): Shared, Path(site): Path<String>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "networks", &[]).await?;
    let answer = json!({"networks": app.lab().site(&site)?.networks.values().collect::<Vec<_>>()});
    passage.json(answer)
}

async fn isolation(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "isolation", &[&id]).await?;
    let answer = {
        let lab = app.lab();
        let networks = &lab.site(&site)?.networks;
        let missing = || Failure::refused("unknown-network", format!("site `{site}` has no network `{id}`"));
        let network = networks.get(&id).ok_or_else(missing)?;
        let reach = networks
            .values()
            .filter(|other| !network.isolated && other.id != id && !other.isolated);
        let reach: Vec<&str> = reach.map(|other| &*other.id).collect();
        json!({
            "isolated": network.isolated,
            "evidence": {
                "network": id,
                "uplink": if network.isolated { "none" } else { "site router" },
                "reaches": reach.join(","),
                "read-at-ms": lab.wall(wall_ms()).to_string(),
            },
        })
    };
    passage.json(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Speaker {
    installation: String,
    epoch: u64,
}

async fn take_over(
    State(app): Shared,
    Path(site): Path<String>,
    Body(speaker): Body<Speaker>,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "take-over", &[]).await?;
    {
        let mut lab = app.lab();
        let name = lab.behind(&site)?.0.to_owned();
        lab.take_over(wall_ms(), &name, &speaker.installation, speaker.epoch)?;
    }
    passage.json(json!({}))
}

async fn submit(
    State(app): Shared,
    Path(site): Path<String>,
    Body(request): Body<Request>,
) -> Result<Json<Progress>, ApiError> {
    let reply = {
        let mut lab = app.lab();
        if lab.site(&site)?.lost.is_some() {
            return Err(ApiError::Dropped);
        }
        let name = lab.behind(&site)?.0.to_owned();
        if name != site && request.operation.name() != FENCE {
            let why = format!("`{site}` can do nothing but `{FENCE}`");
            return Err(Failure::refused("unsupported", why).into());
        }
        lab.submit(wall_ms(), &name, &request)?
    };
    // What is over already needs no timer; behind a lost reply there may be a task.
    if !matches!(&reply, Reply::Answer(progress) if progress.state != "running") {
        app.rescheduled.notify_one();
    }
    match reply {
        Reply::Answer(progress) => Ok(Json(progress)),
        Reply::Lost => Err(ApiError::Dropped),
    }
}

async fn by_key(State(app): Shared, Path((site, key)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "probe", &[]).await?;
    let known = {
        let mut lab = app.lab();
        let name = lab.behind(&site)?.0.to_owned();
        lab.by_key(wall_ms(), &name, &key)?
    };
    passage.json(match known {
        Known::Absent => json!({"state": "absent"}),
        Known::Unknown => json!({"state": "unknown", "message": "this site keeps no record of keys"}),
        Known::Task(progress) => json!(progress),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    handles: Vec<String>,
    #[serde(default)]
    wait_ms: u64,
}

/// Waits until one of the tasks is over. Dropping it changes nothing.
async fn poll(State(app): Shared, Path(site): Path<String>, Body(ask): Body<Poll>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "poll", &[]).await?;
    let deadline = Instant::now() + Duration::from_millis(ask.wait_ms).min(LONGEST_WAIT);
    loop {
        let mut disturbed = std::pin::pin!(app.disturbed.notified());
        // From here on no disturbance is missed, also one that comes before the wait below.
        disturbed.as_mut().enable();
        let (tasks, due) = {
            let mut lab = app.lab();
            if lab.site(&site)?.lost.is_some() {
                return Err(ApiError::Dropped);
            }
            let name = lab.behind(&site)?.0.to_owned();
            (lab.poll(wall_ms(), &name, &ask.handles)?, lab.first_due(&ask.handles))
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || app.is_closing() || tasks.iter().any(|task| task.state != "running") || tasks.is_empty() {
            return passage.json(json!({"tasks": tasks}));
        }
        let until_due = due.map_or(left, |due| Duration::from_millis(due.saturating_sub(wall_ms()).max(1)));
        tokio::select! {
            () = tokio::time::sleep(until_due.min(left)) => {}
            () = disturbed => {}
        }
    }
}

/// Nobody in particular may cancel as well: a person, with the control API's rights.
#[derive(Deserialize)]
struct Canceller {
    installation: Option<String>,
    epoch: Option<u64>,
}

async fn cancel(
    State(app): Shared,
    Path((site, handle)): Path<(String, String)>,
    Params(canceller): Params<Canceller>,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "cancel", &[&handle]).await?;
    let progress = {
        let mut lab = app.lab();
        let (name, home) = lab.behind(&site)?;
        if let (Some(installation), Some(epoch)) = (&canceller.installation, canceller.epoch) {
            home.check_epoch(installation, epoch)?;
        }
        let name = name.to_owned();
        lab.cancel(wall_ms(), &name, &handle)?
    };
    app.disturb();
    passage.json(progress)
}

fn find_replica<'a>(site: &'a Site, name: &str, replica: &str) -> Result<&'a Replica, Failure> {
    let missing = || Failure::refused("not-found", format!("site `{name}` has no replica `{replica}`"));
    site.replicas.get(replica).ok_or_else(missing)
}

async fn replica(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "replicas", &[&id]).await?;
    let answer = {
        let lab = app.lab();
        let home = lab.site(&site)?;
        let replica = find_replica(home, &site, &id)?;
        let now = lab.state.clock.lab(lab.wall(wall_ms()));
        json!({
            "points": autonomous::points(&lab.state, home, replica, now).len(),
            "id": replica.id,
            "item": replica.stamp.item,
            "source_site": replica.source_site,
            "source_machine": replica.machine.id,
            "replication": replica.replication,
            "installation": replica.stamp.call.installation,
            "epoch": replica.stamp.call.epoch,
            "original": replica.original,
            "held_bytes": replica.seed.as_ref().map_or(0, |seed| seed.bytes),
            "origin": replica.machine.origin,
            "os": replica.machine.os,
            "ext": replica.ext,
            "profile": home.facts.profile,
        })
    };
    passage.json(answer)
}

async fn points(State(app): Shared, Path((site, id)): Path<(String, String)>) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "list-points", &[&id]).await?;
    let answer = {
        let lab = app.lab();
        let now = lab.state.clock.lab(lab.wall(wall_ms()));
        let home = lab.site(&site)?;
        let points = autonomous::points(&lab.state, home, find_replica(home, &site, &id)?, now);
        json!({"points": points.iter().rev().map(listed_point).collect::<Vec<_>>()})
    };
    passage.json(answer)
}

fn listed_point(point: &Point) -> Value {
    json!({
        "id": point.id,
        "source_time_ms": point.source_time_ms,
        "consistency": point.consistency,
        "group_mark": point.group_mark,
        "processed": point.processed,
        "bytes": point.content.bytes(),
    })
}

#[derive(Deserialize)]
struct Owner {
    installation: String,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Machines first, then replicas; the cursor is KIND/ID.
async fn owned(
    State(app): Shared,
    Path(site): Path<String>,
    Params(owner): Params<Owner>,
) -> Result<Response, ApiError> {
    let passage = app.enter(&site, "owned", &[]).await?;
    let limit = owner.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let answer = {
        let lab = app.lab();
        let site = lab.site(&site)?;
        let machines = site
            .machines
            .values()
            .filter_map(|m| Some(("machine", &m.id, m.stamp.as_ref()?)));
        let replicas = site
            .replicas
            .values()
            .map(|replica| ("replica", &replica.id, &replica.stamp));
        let after = |kind: &str, id: &str| {
            owner
                .cursor
                .as_ref()
                .is_none_or(|cursor| format!("{kind}/{id}") > *cursor)
        };
        let mut all = machines
            .chain(replicas)
            .filter(|(kind, id, stamp)| stamp.call.installation == owner.installation && after(kind, id));
        let page: Vec<_> = all.by_ref().take(limit).collect();
        let next = page
            .last()
            .map(|(kind, id, _)| format!("{kind}/{id}"))
            .filter(|_| all.next().is_some());
        let listed = page.into_iter().map(|(kind, id, stamp)| {
            json!({"kind": kind, "id": id, "item": stamp.item, "job": stamp.call.job, "step": stamp.call.step,
                   "key": stamp.call.key, "epoch": stamp.call.epoch})
        });
        json!({"owned": listed.collect::<Vec<_>>(), "next": next})
    };
    passage.json(answer)
}
