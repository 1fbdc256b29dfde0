//! Does the state still say what the sites say? After a restore that is asked of every item, and at any time of one that
//! is named. Reads only, and names everything that the state cannot have known. Nothing is done with an item that came
//! out of a backup before this was clean, or a named person took the state as it is.
//!
//! A site that keeps epochs is taken over first: what was read would be worth nothing if the daemon that the restore
//! replaced could still change it afterwards.
//!
//! The sites are read first, side by side, and nobody waits for that. Then each item is compared as it is by now, and the
//! only thing that changes is that its state counts again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use landfall_recovery::codes;
use landfall_recovery::document::Item;
use landfall_recovery::item::{ItemState, Phase};
use landfall_recovery::job::Status;
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Failure, Finding, Severity};
use landfall_runtime::contract::adapter::{Owned, Power};
use landfall_runtime::contract::types::Call;
use landfall_store::{Batch, Space};
use serde::{Deserialize, Serialize};

use crate::api::wire::ReconcileView;
use crate::clock;
use crate::contract::{from_call_error, from_point};
use crate::engine::{Catalogue, Engine};
use crate::orphans::known;
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
#[derive(Default)]
struct Seen {
    /// By reference.
    machines: BTreeMap<String, Power>,
    /// What carries our stamp, by item.
    owned: BTreeMap<String, Vec<Owned>>,
    /// Orders under an older epoch are refused there. None where nothing came out of a backup, and nobody was told.
    taken_over: Option<bool>,
}

/// What a site may have of an item though the item's state does not know of it.
#[derive(Default)]
struct Excused {
    /// Keys under which a job that the backup has unfinished goes on, and finds what it made after the backup. Under another
    /// key of the same step it would make it once more.
    unfinished: BTreeSet<String>,
    /// A release left it behind, and named it.
    released: BTreeSet<String>,
}

type Sites = BTreeMap<String, Result<Seen, Failure>>;

/// The points of an item's replica, by replica: it may be another one by the time of the comparison.
type Points = BTreeMap<String, (String, Result<Catalogue, Failure>)>;

/// Jobs that are read at once.
const JOBS_AT_ONCE: u32 = 500;

/// With what a site refuses an epoch that is over, as the contract has it.
const STALE_EPOCH: &str = "stale-epoch";

/// As its row has it, a job that went well.
const SUCCEEDED: &str = "succeeded";

/// As long as a site is waited for that lists what it has: longer than one call may take, and far less than the person
/// who asked waits.
const SITE_PATIENCE: Duration = Duration::from_mins(1);

/// Compares the items that are named, else all that came out of a backup.
pub(crate) async fn reconcile(
    engine: &Arc<Engine>,
    names: &[String],
    accept: Option<&str>,
    who: &str,
) -> Result<Vec<ReconcileView>, Refusal> {
    let items = subjects(engine, names)?;
    let sites = read_sites(engine, &items).await;
    let points = read_points(engine, &items, &sites).await;
    let any_strange = items.iter().any(|(item, state)| {
        let seen = [&item.source.site, &item.target_site].map(|site| sites.get(site)?.as_ref().ok());
        let mut seen = seen.into_iter().flatten();
        seen.any(|seen| strange(item, state, seen).next().is_some())
    });
    // Every job that ever was is read for it.
    let mut released = if any_strange {
        released(engine)?
    } else {
        BTreeMap::new()
    };
    let _freezing = engine.freezing.lock().await;
    // A job that holds an item changes it without the lock above.
    let _alone = engine.changing.write().await;
    let mut answers = Vec::new();
    for (item, before) in items {
        // What happened while the sites were read is not undone.
        let Some((item, state)) = engine.item(&item.name) else {
            continue;
        };
        let (catalogue, mut findings) = known_points(&item, &state, &points);
        let excused = Excused {
            unfinished: unfinished(engine, &item.name),
            released: released.remove(&item.name).unwrap_or_default(),
        };
        findings.extend(compare(&item, &state, &excused, &sites));
        if !stands_as(&before, &state) {
            let cause = "it changed while its sites were read".to_owned();
            findings.push(finding(&item, Severity::Error, cause, "compare it again"));
        }
        let clean = findings.iter().all(|finding| finding.severity != Severity::Error);
        // Who was replaced has nothing to accept.
        let accepted = accept.filter(|_| !replaced(&item, &sites));
        if state.restored && (clean || accepted.is_some()) {
            let record = Reconciled {
                at: clock::now(),
                who: who.to_owned(),
                epoch: engine.store.identity().epoch,
                accepted: accepted.filter(|_| !clean).map(ToOwned::to_owned),
                findings: findings.clone(),
            };
            settle(engine, &item.name, state.clone(), catalogue, &record).await?;
        }
        answers.push(ReconcileView {
            reconciled: clean || (state.restored && accepted.is_some()),
            item: item.name,
            findings,
        });
    }
    Ok(answers)
}

/// What the sites were asked about is still what the item consists of.
fn stands_as(before: &ItemState, now: &ItemState) -> bool {
    let place = |state: &ItemState| (state.phase, state.direction, state.home.clone());
    place(before) == place(now) && known(before) == known(now)
}

fn subjects(engine: &Engine, names: &[String]) -> Result<Vec<(Item, ItemState)>, Refusal> {
    if let Some(stranger) = names.iter().find(|name| engine.item(name).is_none()) {
        return Err(Refusal::unknown(format!("the inventory has no item `{stranger}`")));
    }
    let world = engine.world();
    let all = world.inventory.items.values().filter_map(|item| {
        let state = world.state(&item.name);
        let asked = if names.is_empty() {
            state.restored
        } else {
            names.contains(&item.name)
        };
        let item = world.oriented(&item.name, state.direction)?;
        asked.then_some((item, state))
    });
    Ok(all.collect())
}

/// What a site has to do with the items that are compared.
#[derive(Default, Clone, Copy)]
struct Part {
    /// Something of it came out of a backup.
    restored: bool,
    /// Machines of theirs are there; else it only cuts their power.
    listed: bool,
}

/// Asks every site of the items, all at once.
async fn read_sites(engine: &Arc<Engine>, items: &[(Item, ItemState)]) -> Sites {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for (item, state) in items {
        for site in [&item.source.site, &item.target_site] {
            let part = parts.entry(site.clone()).or_default();
            part.restored |= state.restored;
            part.listed = true;
        }
        if let Some(fencing) = item.fencing.as_ref().filter(|_| state.restored) {
            parts.entry(fencing.site.clone()).or_default().restored = true;
        }
    }
    let asked = parts.into_iter().map(|(site, part)| async move {
        let said = tokio::time::timeout(SITE_PATIENCE, ask(engine, &site, part)).await;
        let said = said.unwrap_or_else(|_| Err(silent(&site)));
        (site, said)
    });
    join_all(asked).await.into_iter().collect()
}

fn silent(site: &str) -> Failure {
    let seconds = SITE_PATIENCE.as_secs();
    Failure::definite(
        codes::SITE_UNREACHABLE,
        format!("site `{site}` did not answer in {seconds} s"),
    )
}

/// Lists the points of every replica, the sites side by side; one that did not answer before is not asked again.
async fn read_points(engine: &Arc<Engine>, items: &[(Item, ItemState)], sites: &Sites) -> Points {
    let mut wanted: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (item, state) in items {
        if let Some(replica) = state.replica.clone().filter(|_| !state.points_doomed) {
            let site = wanted.entry(item.target_site.clone()).or_default();
            site.push((item.name.clone(), replica));
        }
    }
    wanted.retain(|site, _| matches!(sites.get(site), Some(Ok(_))));
    let asked = wanted.into_iter().map(|(site, replicas)| async move {
        let mut found = Points::new();
        for (item, replica) in replicas {
            let listed = list_points(engine, &site, &replica).await;
            found.insert(item, (replica, listed));
        }
        found
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn list_points(engine: &Arc<Engine>, site: &str, replica: &str) -> Result<Catalogue, Failure> {
    let adapter = engine.adapter(site).await?;
    let observed_at = clock::now();
    let points = tokio::time::timeout(SITE_PATIENCE, adapter.list_points(replica.to_owned())).await;
    let points = points
        .map_err(|_| silent(site))?
        .map_err(|error| from_call_error(&error))?;
    Ok(Catalogue {
        points: points.into_iter().map(from_point).collect(),
        observed_at,
    })
}

async fn ask(engine: &Arc<Engine>, site: &str, part: Part) -> Result<Seen, Failure> {
    let taken_over = if part.restored {
        Some(take_over(engine, site).await?)
    } else {
        None
    };
    if !part.listed {
        return Ok(Seen {
            taken_over,
            ..Seen::default()
        });
    }
    let listed = list_machines(engine, site).await?;
    let machines = listed.into_iter().map(|machine| (machine.id, machine.power)).collect();
    let mut by_item: BTreeMap<String, Vec<Owned>> = BTreeMap::new();
    for one in owned(engine, site).await? {
        by_item
            .entry(one.item.clone().unwrap_or_default())
            .or_default()
            .push(one);
    }
    Ok(Seen {
        machines,
        owned: by_item,
        taken_over,
    })
}

/// From here on the site refuses the daemon that the restore replaced, if it keeps epochs.
pub(crate) async fn take_over(engine: &Arc<Engine>, site: &str) -> Result<bool, Failure> {
    let identity = engine.store.identity();
    let call = Call {
        installation: identity.installation.clone(),
        epoch: identity.epoch,
        job: None,
        step: "take-over".to_owned(),
        attempt: 1,
        key: format!("{}/take-over/{}", identity.installation, identity.epoch),
        remaining_ms: 0,
        ext: Vec::new(),
    };
    let taken = engine.adapter(site).await?.take_over(call).await;
    Ok(taken.map_err(|error| from_call_error(&error))?.is_some())
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

/// The target's points as they were read, if the item still has that replica.
fn known_points(item: &Item, state: &ItemState, points: &Points) -> (Option<Catalogue>, Vec<Finding>) {
    let read = points.get(&item.name);
    let same = read.filter(|(replica, _)| state.replica.as_ref() == Some(replica) && !state.points_doomed);
    match same {
        Some((_, Ok(catalogue))) => (Some(catalogue.clone()), Vec::new()),
        Some((replica, Err(failure))) => {
            let cause = format!("the points of replica `{replica}` cannot be listed: {failure}");
            let cure = "bring the site or the replica back, and reconcile again";
            (None, vec![finding(item, Severity::Error, cause, cure)])
        }
        None => (None, Vec::new()),
    }
}

/// What the sites say that the state does not, and the other way round.
fn compare(item: &Item, state: &ItemState, excused: &Excused, sites: &Sites) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    let fencing = item.fencing.as_ref().map(|fencing| ("fencing", &fencing.site));
    for (role, site) in [("source", &item.source.site), ("target", &item.target_site)]
        .into_iter()
        .chain(fencing)
    {
        match sites.get(site) {
            Some(Ok(said)) => {
                if said.taken_over == Some(false) && state.restored {
                    let cause = format!("the {role} site `{site}` keeps no epochs: it obeys an older daemon as well");
                    let cure = "make sure that the daemon which the restore replaced runs nowhere";
                    found.push(finding(item, Severity::Info, cause, cure));
                }
                seen.insert(role, said);
            }
            Some(Err(failure)) if failure.code == STALE_EPOCH => {
                let cause = format!("the {role} site `{site}` obeys a later daemon of this installation: {failure}");
                let cure = "stop this daemon, as it was replaced; if it is the one to stay, make a backup of it now, and \
                            restore that with `--after-epoch` and the later epoch";
                found.push(finding(item, Severity::Error, cause, cure));
            }
            Some(Err(failure)) => {
                let cause = format!("the {role} site `{site}` does not answer: {failure}");
                // What cuts power has no data to be compared.
                let severity = if role == "fencing" {
                    Severity::Warning
                } else {
                    Severity::Error
                };
                found.push(finding(item, severity, cause, "bring it back, and reconcile again"));
            }
            None => {}
        }
    }
    if let Some(job) = state.holder().filter(|_| !state.restored) {
        let cause = format!("job {job} works on it: what differs may be its doing");
        let cure = "compare it again when the job is over, or has come to rest";
        found.push(finding(item, Severity::Warning, cause, cure));
    }
    if let Some(target) = seen.get("target") {
        found.extend(missing(item, state, target));
        found.extend(unknown(item, state, excused, &item.target_site, target));
    }
    if let Some(source) = seen.get("source") {
        found.extend(unknown(item, state, excused, &item.source.site, source));
        found.extend(running(item, state, source));
    }
    found
}

/// A site of the item obeys a later daemon of this installation.
fn replaced(item: &Item, sites: &Sites) -> bool {
    let both = [&item.source.site, &item.target_site];
    both.into_iter()
        .any(|site| matches!(sites.get(site), Some(Err(failure)) if failure.code == STALE_EPOCH))
}

/// The state knows of it, and it is gone.
fn missing(item: &Item, state: &ItemState, target: &Seen) -> Vec<Finding> {
    let site = &item.target_site;
    let known = BTreeSet::from([
        state.placed(state.direction),
        state.created.as_deref(),
        state.test_machine.as_deref(),
    ]);
    let gone = |machine: &&str| !target.machines.contains_key(*machine);
    let when = if state.restored { " after the backup" } else { "" };
    let say = |machine: &str| {
        let cause = format!("site `{site}` no longer has the machine `{machine}`");
        let cure = format!("it was removed{when}; accept that, or bring it back");
        finding(item, Severity::Error, cause, &cure)
    };
    known.into_iter().flatten().filter(gone).map(say).collect()
}

/// Made by this installation, and the state does not know of it: after the backup, or by a daemon that a restore
/// replaced and that woke up.
fn unknown(item: &Item, state: &ItemState, excused: &Excused, site: &str, seen: &Seen) -> Vec<Finding> {
    let (why, cure) = if state.restored {
        (
            "the backup is older",
            "if what runs there is the truth, leave this state and restore a newer backup; if not, remove it there",
        )
    } else {
        (
            "the state does not know of it",
            "a job that was given up left it, or a daemon of an older epoch made it; if nobody needs it, remove it there",
        )
    };
    let say = |owned: &Owned| {
        let by = match (&owned.job, &owned.step) {
            (Some(job), Some(step)) => format!(" by step `{step}` of job {job}"),
            _ => String::new(),
        };
        let (kind, id, epoch) = (&owned.kind, &owned.id, owned.epoch);
        let (severity, why, cure) = match () {
            () if excused.released.contains(id) => (
                Severity::Info,
                "a release left it behind",
                "if nobody needs it, remove it there",
            ),
            () if owned.key.as_ref().is_some_and(|key| excused.unfinished.contains(key)) => (
                Severity::Info,
                "the job is unfinished in the backup, and this fits",
                "`landfall job retry` lets the job go on with it, under the same key",
            ),
            () => (Severity::Error, why, cure),
        };
        let cause = format!("site `{site}` has the {kind} `{id}`, made{by} under epoch {epoch}: {why}");
        finding(item, severity, cause, cure)
    };
    strange(item, state, seen).map(say).collect()
}

fn strange<'a>(item: &Item, state: &'a ItemState, seen: &'a Seen) -> impl Iterator<Item = &'a Owned> {
    let known = known(state);
    let owned = seen.owned.get(&item.name).into_iter().flatten();
    owned.filter(move |owned| !known.contains(owned.id.as_str()))
}

/// The present keys of those steps of the job that a restore holds the item with, of which the backup does not say that
/// they are done.
fn unfinished(engine: &Engine, item: &str) -> BTreeSet<String> {
    let holder = engine.world().state(item).holder().map(str::to_owned);
    let Some(handle) = holder.and_then(|job| engine.jobs().get(&job).cloned()) else {
        return BTreeSet::new();
    };
    let job = handle.job();
    if job.held.is_none() {
        return BTreeSet::new();
    }
    let open = job.steps_of(item).filter(|(_, state)| {
        matches!(
            state.status,
            Status::Pending | Status::Running { .. } | Status::Backoff { .. } | Status::Stuck { .. }
        )
    });
    open.filter_map(|(step, state)| Some(job.key(job.frozen.graph.find(&step.id)?, state.generation)))
        .collect()
}

/// What the releases of this installation left behind, by item.
fn released(engine: &Engine) -> Result<BTreeMap<String, BTreeSet<String>>, Refusal> {
    let reader = engine.store.reader();
    let (mut left, mut before) = (BTreeMap::<String, BTreeSet<String>>::new(), None::<String>);
    loop {
        let page = reader.jobs(before.as_deref(), JOBS_AT_ONCE)?;
        for row in &page {
            if row.operation != Operation::Release.name() || row.outcome != SUCCEEDED {
                continue;
            }
            for (name, item) in reader.frozen(&row.id)?.into_iter().flat_map(|frozen| frozen.items) {
                let things = left.entry(name).or_default();
                things.extend(known(&item.state).into_iter().map(str::to_owned));
            }
        }
        before = page.last().map(|row| row.id.clone());
        if before.is_none() {
            return Ok(left);
        }
    }
}

/// A source that runs beside the machine that took its place, or does not run though nothing took it: the machine at the
/// site that the data comes from.
fn running(item: &Item, state: &ItemState, source: &Seen) -> Vec<Finding> {
    let (site, machine) = (&item.source.site, &item.source.machine);
    if machine.is_empty() {
        // After a failback there is none: it was deleted.
        return Vec::new();
    }
    let away = matches!(state.phase, Phase::FailedOver | Phase::Committed);
    let power = source.machines.get(machine).copied();
    let (severity, cause, cure) = match (away, power) {
        (true, Some(Power::On)) => (
            Severity::Error,
            format!("`{machine}` runs at the source site `{site}`, and the item failed over"),
            "switch one of the two off before anything else",
        ),
        (false, Some(Power::Off)) => (
            Severity::Warning,
            format!("`{machine}` is off at the source site `{site}`"),
            "somebody switched it off, or a failover began that the state does not know of; look at the target",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(machines: &[(&str, Power)], taken_over: Option<bool>) -> Seen {
        let machines = machines.iter().map(|(id, power)| ((*id).to_owned(), *power));
        Seen {
            machines: machines.collect(),
            owned: BTreeMap::new(),
            taken_over,
        }
    }

    #[test]
    fn x09_a_site_that_keeps_no_epochs_is_named_after_a_restore_and_stands_in_nobodys_way() {
        let inventory = "items:\n- { name: db, source: { site: a, machine: vm-db }, target: { site: b } }\n";
        let inventory = landfall_recovery::document::read_inventory(inventory).unwrap();
        let item = &inventory.items["db"];
        let said = |state: &ItemState, source, target| -> Vec<(Severity, String)> {
            let sites = BTreeMap::from([
                ("a".to_owned(), Ok(seen(&[("vm-db", Power::On)], source))),
                ("b".to_owned(), Ok(seen(&[], target))),
            ]);
            let found = compare(item, state, &Excused::default(), &sites);
            found.into_iter().map(|one| (one.severity, one.cause)).collect()
        };
        let mut state = ItemState {
            restored: true,
            ..ItemState::default()
        };
        assert_eq!(said(&state, Some(true), Some(true)), []);
        let named = said(&state, Some(true), Some(false));
        assert!(
            matches!(&*named, [(Severity::Info, cause)] if cause.contains("target site `b` keeps no epochs")),
            "{named:?}"
        );
        state.restored = false;
        assert_eq!(said(&state, None, None), []);
    }
}
