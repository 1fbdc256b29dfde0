//! What a request finds at its sites: what they can do, and the machines at both ends of every item.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::document::{Item, Side};
use landfall_recovery::freeze::Turn;
use landfall_recovery::item::{Home, ItemState, Location, oriented};
use landfall_recovery::operations::{Facts, Operation, SiteFacts};
use landfall_recovery::words::{Direction, Failure, Finding, Pairs, Severity};
use landfall_runtime::contract::adapter::{Machine, Power};
use landfall_store::{Batch, Space};

use crate::clock;
use crate::contract::from_call_error;
use crate::engine::{Engine, Listed, World, listing_key};
use crate::preflight::finding;
use crate::replicate::recall;

/// What sites said of the items.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    said: BTreeMap<(String, String, Direction), SiteFacts>,
    /// The origin for which they were asked: it may be learnt meanwhile.
    origins: BTreeMap<String, String>,
}

impl Sites {
    /// What a site said of an item.
    pub(super) fn of(&self, site: &str, item: &str, direction: Direction) -> Option<&SiteFacts> {
        let origin = self.origins.get(item)?;
        self.said.get(&(site.to_owned(), origin.clone(), direction))
    }
}

/// The platform that an item came from, as its home listed it first.
pub(super) fn origin(world: &World, name: &str) -> String {
    let listed = [true, false].map(|home| world.machines.get(&listing_key(name, home)));
    let known = listed.into_iter().flatten().next();
    known.map(|listed| listed.machine.origin.clone()).unwrap_or_default()
}

/// Home and the other site of an item; a request may move its home.
pub(crate) fn ends(world: &World, name: &str, to: Option<&str>) -> Option<(String, String)> {
    let item = world.inventory.items.get(name)?;
    let moved = to.map(str::to_owned);
    let known = || world.state(name).home.map(|home| home.site);
    let home = moved.or_else(known).unwrap_or_else(|| item.source.site.clone());
    Some((home, item.target_site.clone()))
}

/// Asks every site of the items what it can do with machines of their origin: on their next way, by which legality goes,
/// and in the direction of the job, if that is another one. Targets are asked for points where none is known.
pub(crate) async fn observe(engine: &Arc<Engine>, items: &[String], job: Option<Direction>, to: Option<&str>) -> Sites {
    let mut origins = BTreeMap::new();
    let wanted: BTreeSet<(String, String, Direction)> = {
        let world = engine.world();
        let of = |name: &String| {
            let (home, away) = ends(&world, name, to)?;
            let origin = origin(&world, name);
            let next = world.state(name).next_direction();
            origins.insert(name.clone(), origin.clone());
            let ways: BTreeSet<Direction> = [next, job.unwrap_or(next)].into();
            let both = move |way| [(home.clone(), origin.clone(), way), (away.clone(), origin.clone(), way)];
            Some(ways.into_iter().flat_map(both))
        };
        items.iter().filter_map(of).flatten().collect()
    };
    let asked = wanted.into_iter().map(|key| async {
        let facts = engine.site_facts(&key.0, &key.1, key.2).await;
        (key, facts)
    });
    let (said, ()) = tokio::join!(futures_util::future::join_all(asked), recall(engine, items));
    let said = said.into_iter().collect();
    Sites { said, origins }
}

/// The facts on which legality rests.
pub(crate) fn facts(engine: &Engine, name: &str, sites: &Sites, to: Option<&str>) -> Facts {
    let world = engine.world();
    let Some((home, away)) = ends(&world, name, to) else {
        return Facts::default();
    };
    let direction = world.state(name).next_direction();
    let said = |site: String| sites.of(&site, name, direction).cloned();
    let progress = world.progress.get(name);
    Facts {
        home: said(home),
        away: said(away),
        points: world.points.get(name).map_or(0, |catalogue| catalogue.points.len()),
        replication_error: progress.and_then(|progress| Some(progress.error.as_ref()?.0.clone())),
    }
}

/// An item as the job sees it, with the home that the request gives it.
pub(super) fn seen(world: &World, name: &str, direction: Direction, to: Option<&str>) -> Option<Item> {
    let Some(site) = to else {
        return world.oriented(name, direction);
    };
    let mut state = world.state(name);
    state.home = Some(Home {
        site: site.to_owned(),
        machine: None,
    });
    Some(oriented(
        world.inventory.items.get(name)?,
        &state,
        direction,
        &Pairs::new(),
    ))
}

/// The machines at both ends of the items as their sites list them; what cannot be listed stays as it was last seen.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Items whose source site answered and does not have their machine.
    pub(super) missing: BTreeSet<String>,
    /// Items whose machine at home was listed.
    at_home: BTreeSet<String>,
    /// Items whose home was listed without their machine.
    missing_home: BTreeSet<String>,
    /// Items whose home was listed without their machine, and yet says whether it runs.
    contradicted: BTreeSet<String>,
    /// Sites that did not list their machines.
    unlisted: BTreeSet<String>,
}

impl Listing {
    /// Why nobody knows that an item's machine is at its source, if so.
    pub(super) fn unseen(&self, item: &Item) -> Option<String> {
        let Side { site, machine } = &item.source;
        if self.unlisted.contains(site) {
            return Some(format!(
                "site `{site}` does not list its machines, so nobody knows whether `{machine}` is there"
            ));
        }
        self.missing
            .contains(&item.name)
            .then(|| format!("site `{site}` has no machine `{machine}`"))
    }
}

pub(super) async fn list(
    engine: &Arc<Engine>,
    items: &[String],
    operation: Operation,
    direction: Direction,
) -> Listing {
    let mut listing = Listing::default();
    // Site, to its machines, each with its item and whether that is its home. One that is still to be made has no name yet,
    // and many of them may be wanted at one site.
    let wanted: BTreeMap<String, Vec<(String, String, bool)>> = {
        let world = engine.world();
        let mut wanted: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut want = |side: Side, name: &String, home: bool| {
            let machines = wanted.entry(side.site).or_default();
            machines.push((side.machine, name.clone(), home));
        };
        for name in items {
            let Some(item) = world.oriented(name, direction) else {
                continue;
            };
            let source_is_home = direction == Direction::Forward;
            want(item.source, name, source_is_home);
            if operation.direction(&ItemState::default()) == direction {
                continue;
            }
            if let Some(item) = world.oriented(name, direction.turned()) {
                want(item.source, name, !source_is_home);
            }
        }
        wanted
    };
    let mut found = Vec::new();
    for (site, wanted) in wanted {
        let Ok(machines) = machines(engine, &site).await else {
            listing.unlisted.insert(site);
            continue;
        };
        let there: BTreeMap<String, Machine> = machines
            .into_iter()
            .map(|machine| (machine.id.clone(), machine))
            .collect();
        for (machine, item, home) in wanted {
            if let Some(machine) = there.get(&machine).cloned() {
                if home {
                    listing.at_home.insert(item.clone());
                }
                let observed_at = clock::now();
                found.push((listing_key(&item, home), Listed { machine, observed_at }));
                continue;
            }
            let made = !machine.is_empty();
            if home && made && may_turn(operation) && is_known(engine, &site, &machine).await {
                listing.contradicted.insert(item.clone());
            } else if home {
                listing.missing_home.insert(item.clone());
            }
            if home == (direction == Direction::Forward) {
                listing.missing.insert(item);
            }
        }
    }
    let mut batch = Batch::new();
    for (key, listed) in &found {
        let known = engine.world().machines.get(key).map(|known| known.machine.clone());
        if known.as_ref() != Some(&listed.machine) && batch.put(Space::Machines, key, listed).is_err() {
            return listing;
        }
    }
    if batch.is_empty() || engine.commit(batch).await.is_ok() {
        engine.world_mut().machines.extend(found);
    }
    listing
}

/// Whether a machine's home matters beyond being listed: one that is not there is made anew, elsewhere, with all of its data.
fn may_turn(operation: Operation) -> bool {
    matches!(operation, Operation::Reprotect | Operation::PlannedFailover)
}

/// The site says whether it runs.
async fn is_known(engine: &Arc<Engine>, site: &str, machine: &str) -> bool {
    let Ok(adapter) = engine.adapter(site).await else {
        return false;
    };
    let said = adapter.power_state(machine.to_owned()).await;
    said.is_ok_and(|said| said.power != Power::Unknown)
}

/// All pages of a site's machines.
pub(crate) async fn machines(engine: &Arc<Engine>, site: &str) -> Result<Vec<Machine>, Failure> {
    let adapter = engine.adapter(site).await?;
    let (mut machines, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = adapter
            .list_machines(cursor)
            .await
            .map_err(|error| from_call_error(&error))?;
        machines.extend(page.machines);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(machines);
        }
    }
    Err(Failure::definite(
        codes::BAD_OUTPUT,
        format!("site `{site}` lists machines without end"),
    ))
}

/// Far more pages than any site has; an adapter that repeats its cursor is stopped here.
pub(crate) const PAGES_MAX: usize = 10_000;

/// Why the replication of an item cannot be turned round now: whether its machine at home exists is not known, or that
/// machine may run and nothing in the job would prove it off.
pub(super) fn unturnable(world: &World, name: &str, turn: &Turn, listing: &Listing) -> Option<Finding> {
    let home = turn.home.as_ref().filter(|_| turn.old.is_none())?;
    let (site, _) = ends(world, name, None)?;
    if listing.unlisted.contains(&home.site) {
        let cause = format!(
            "site `{}` does not list its machines, so nobody knows whether `{name}` is there",
            home.site
        );
        return Some(finding(codes::SITE_UNREACHABLE, Severity::Error, name, cause));
    }
    if listing.contradicted.contains(name) {
        let cause = format!(
            "site `{}` lists its machines without that of `{name}`, and yet says whether it runs",
            home.site
        );
        return Some(Finding {
            cure: "ask again; if it stays so, the site's own listing is not whole, and is mended first".to_owned(),
            ..finding(codes::NOT_AT_SOURCE, Severity::Error, name, cause)
        });
    }
    let gone = listing.missing_home.contains(name);
    if world.state(name).watched() && !gone {
        let cause =
            format!("nothing keeps the old machine of `{name}` at `{site}` off, and it was not proved off since");
        return Some(Finding {
            cure: format!("`landfall fence item/{name}` first"),
            ..finding(codes::NOT_FENCED, Severity::Error, name, cause)
        });
    }
    None
}

/// How the replication of an item is turned round, if the job does that.
pub(super) fn turn(
    world: &World,
    operation: Operation,
    name: &str,
    (direction, to): (Direction, Option<&str>),
    listing: &Listing,
) -> Option<Turn> {
    let state = world.state(name);
    let turns = operation == Operation::Reprotect || (operation == Operation::PlannedFailover && state.failed_over());
    if !turns {
        return None;
    }
    if direction == Direction::Forward {
        return Some(Turn {
            old: state.target_machine,
            location: None,
            home: None,
        });
    }
    let (site, _) = ends(world, name, to)?;
    let machine = match &state.home {
        Some(home) => home.machine.clone(),
        None => Some(world.inventory.items.get(name)?.source.machine.clone()),
    };
    // The original is there, and nobody wants the machine elsewhere.
    let old = machine.filter(|_| to.is_none() && listing.at_home.contains(name));
    let location = if old.is_some() {
        Location::Original
    } else {
        Location::Alternate
    };
    Some(Turn {
        home: Some(Home {
            site,
            machine: old.clone(),
        }),
        old,
        location: Some(location),
    })
}
