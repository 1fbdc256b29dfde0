//! After a restore: does the state still say what the sites say? Reads only, item by item, and names everything that the
//! backup cannot have known. Nothing is done with an item before this was clean, or a named person took the state as it
//! is.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::document::Item;
use landfall_recovery::item::{ItemState, Phase};
use landfall_recovery::words::{Failure, Finding, Severity};
use landfall_runtime::contract::adapter::{Machine, Owned, Power};
use landfall_store::{Batch, Space};
use serde::{Deserialize, Serialize};

use crate::api::wire::ReconcileView;
use crate::clock;
use crate::contract::{from_call_error, from_point};
use crate::engine::{Catalogue, Engine};
use crate::problem::Refusal;
use crate::start::{PAGES_MAX, list_machines};

/// How an item's restored state came to count again. Kept, since an auditor asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reconciled {
    at: u64,
    who: String,
    epoch: u64,
    /// Why findings were accepted; absent if there were none.
    accepted: Option<String>,
    findings: Vec<Finding>,
}

/// What a site says, asked once for all items.
struct Seen {
    machines: Vec<Machine>,
    owned: Vec<Owned>,
}

type Sites = BTreeMap<String, Result<Seen, Failure>>;

/// Compares items that came out of a backup: those that are named, else all of them.
pub(crate) async fn reconcile(
    engine: &Arc<Engine>,
    names: &[String],
    accept: Option<&str>,
    who: &str,
) -> Result<Vec<ReconcileView>, Refusal> {
    let _freezing = engine.freezing.lock().await;
    let items = subjects(engine, names)?;
    let mut sites = Sites::new();
    for (item, _) in &items {
        for site in [&item.source.site, &item.target_site] {
            if !sites.contains_key(site) {
                sites.insert(site.clone(), ask(engine, site).await);
            }
        }
    }
    let mut answers = Vec::new();
    for (item, state) in items {
        let (catalogue, mut findings) = points(engine, &item, &state).await;
        findings.extend(compare(&item, &state, &sites));
        let clean = findings.iter().all(|finding| finding.severity != Severity::Error);
        let reconciled = clean || accept.is_some();
        if reconciled {
            let record = Reconciled {
                at: clock::now(),
                who: who.to_owned(),
                epoch: engine.store.identity().epoch,
                accepted: accept.filter(|_| !clean).map(ToOwned::to_owned),
                findings: findings.clone(),
            };
            settle(engine, &item.name, state, catalogue, &record).await?;
        }
        answers.push(ReconcileView {
            item: item.name,
            reconciled,
            findings,
        });
    }
    Ok(answers)
}

fn subjects(engine: &Engine, names: &[String]) -> Result<Vec<(Item, ItemState)>, Refusal> {
    if let Some(stranger) = names.iter().find(|name| engine.item(name).is_none()) {
        return Err(Refusal::unknown(format!("the inventory has no item `{stranger}`")));
    }
    let world = engine.world();
    let all = world.inventory.items.values().filter_map(|item| {
        let state = world.items.get(&item.name).filter(|state| state.restored)?;
        let item = world.oriented(&item.name, state.direction)?;
        (names.is_empty() || names.contains(&item.name)).then(|| (item, state.clone()))
    });
    Ok(all.collect())
}

async fn ask(engine: &Arc<Engine>, site: &str) -> Result<Seen, Failure> {
    let machines = list_machines(engine, site).await?;
    let owned = owned(engine, site).await?;
    Ok(Seen { machines, owned })
}

/// Everything at a site that carries this installation's stamp.
pub(crate) async fn owned(engine: &Arc<Engine>, site: &str) -> Result<Vec<Owned>, Failure> {
    let adapter = engine.adapter(site).await?;
    let installation = engine.store.identity().installation.clone();
    let (mut owned, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = adapter
            .list_owned(installation.clone(), cursor)
            .await
            .map_err(|error| from_call_error(&error))?;
        owned.extend(page.owned);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(owned);
        }
    }
    let why = format!("site `{site}` lists what it owns without end");
    Err(Failure::definite(codes::BAD_OUTPUT, why))
}

/// The target's points as they are now, if the item has a replica there.
async fn points(engine: &Arc<Engine>, item: &Item, state: &ItemState) -> (Option<Catalogue>, Vec<Finding>) {
    let (Some(replica), false) = (&state.replica, state.points_doomed) else {
        return (None, Vec::new());
    };
    let listed = match engine.adapter(&item.target_site).await {
        Ok(adapter) => adapter
            .list_points(replica.clone())
            .await
            .map_err(|error| from_call_error(&error)),
        Err(failure) => Err(failure),
    };
    match listed {
        Ok(points) => {
            let catalogue = Catalogue {
                points: points.into_iter().map(from_point).collect(),
                observed_at: clock::now(),
            };
            (Some(catalogue), Vec::new())
        }
        Err(failure) => {
            let cause = format!("the points of replica `{replica}` cannot be listed: {failure}");
            let cure = "bring the site or the replica back, and reconcile again";
            (None, vec![finding(item, Severity::Error, cause, cure)])
        }
    }
}

/// What the sites say that the state does not, and the other way round.
fn compare(item: &Item, state: &ItemState, sites: &Sites) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    for (role, site) in [("source", &item.source.site), ("target", &item.target_site)] {
        match sites.get(site) {
            Some(Ok(said)) => {
                seen.insert(role, said);
            }
            Some(Err(failure)) => {
                let cause = format!("the {role} site `{site}` does not answer: {failure}");
                found.push(finding(
                    item,
                    Severity::Error,
                    cause,
                    "bring it back, and reconcile again",
                ));
            }
            None => {}
        }
    }
    if let Some(target) = seen.get("target") {
        found.extend(missing(item, state, target));
        found.extend(unknown(item, state, target));
    }
    if let Some(source) = seen.get("source") {
        found.extend(running(item, state, source));
    }
    found
}

/// Made before the backup, and gone.
fn missing(item: &Item, state: &ItemState, target: &Seen) -> Vec<Finding> {
    let site = &item.target_site;
    let known = [&state.target_machine, &state.test_machine];
    let gone = |machine: &&String| !target.machines.iter().any(|other| other.id == **machine);
    let say = |machine: &String| {
        let cause = format!("site `{site}` no longer has the machine `{machine}`");
        let cure = "it was removed after the backup; accept that, or bring it back";
        finding(item, Severity::Error, cause, cure)
    };
    known.into_iter().flatten().filter(gone).map(say).collect()
}

/// Made by this installation after the backup.
fn unknown(item: &Item, state: &ItemState, target: &Seen) -> Vec<Finding> {
    let known = [&state.target_machine, &state.test_machine, &state.replica];
    let ours = |owned: &&Owned| {
        owned.item.as_ref() == Some(&item.name) && !known.iter().any(|id| id.as_ref() == Some(&owned.id))
    };
    let say = |owned: &Owned| {
        let by = match (&owned.job, &owned.step) {
            (Some(job), Some(step)) => format!(" by step `{step}` of job {job}"),
            _ => String::new(),
        };
        let (kind, id, site, epoch) = (&owned.kind, &owned.id, &item.target_site, owned.epoch);
        let cause = format!("site `{site}` has the {kind} `{id}`, made{by} under epoch {epoch}: the backup is older");
        let cure =
            "if what runs there is the truth, leave this state and restore a newer backup; if not, remove it there";
        finding(item, Severity::Error, cause, cure)
    };
    target.owned.iter().filter(ours).map(say).collect()
}

/// A source that runs beside the machine that took its place, or does not run though nothing took it.
fn running(item: &Item, state: &ItemState, source: &Seen) -> Vec<Finding> {
    let (site, machine) = (&item.source.site, &item.source.machine);
    let away = matches!(state.phase, Phase::FailedOver | Phase::Committed);
    let power = source
        .machines
        .iter()
        .find(|other| other.id == *machine)
        .map(|other| other.power);
    let (severity, cause, cure) = match (away, power) {
        (true, Some(Power::On)) => (
            Severity::Error,
            format!("`{machine}` runs at the source site `{site}`, and the item failed over"),
            "switch one of the two off before anything else",
        ),
        (false, Some(Power::Off)) => (
            Severity::Warning,
            format!("`{machine}` is off at the source site `{site}`"),
            "a failover may have begun after the backup; look at the target",
        ),
        (false, None) => (
            Severity::Warning,
            format!("the source site `{site}` has no machine `{machine}`"),
            "see `landfall site machines`",
        ),
        _ => return Vec::new(),
    };
    vec![finding(item, severity, cause, cure)]
}

fn finding(item: &Item, severity: Severity, cause: String, cure: &str) -> Finding {
    Finding {
        id: codes::NOT_RECONCILED.to_owned(),
        severity,
        subject: item.name.clone(),
        cause,
        cure: cure.to_owned(),
    }
}

async fn settle(
    engine: &Arc<Engine>,
    name: &str,
    state: ItemState,
    catalogue: Option<Catalogue>,
    record: &Reconciled,
) -> Result<(), Refusal> {
    let state = ItemState {
        restored: false,
        ..state
    };
    let mut batch = Batch::new();
    batch.put(Space::Item, name, &state)?;
    batch.put(Space::Reconciled, &format!("{name}/{}", record.at), record)?;
    if let Some(catalogue) = &catalogue {
        batch.put(Space::Points, name, catalogue)?;
    }
    engine.commit(batch).await?;
    let mut world = engine.world_mut();
    world.items.insert(name.to_owned(), state);
    if let Some(catalogue) = catalogue {
        world.points.insert(name.to_owned(), catalogue);
    }
    Ok(())
}
