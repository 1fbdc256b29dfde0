//! Applying plans and inventories: read, checked as a whole, and stored, or refused with every diagnostic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::diagnostic::{Diagnostic, Place, suggest};
use landfall_recovery::document::{Inventory, Known, Plan, read_inventory, read_plan};
use landfall_recovery::item::{ItemState, Phase};
use landfall_runtime::Kind;
use landfall_store::{Batch, Space};

use crate::api::wire::DocumentView;
use crate::clock;
use crate::engine::{Applied, AppliedInventory, AppliedPlan, Engine, INVENTORY, listing_key};
use crate::problem::Refusal;

/// Reads a plan; unless it is only checked, stores it.
pub(crate) async fn apply_plan(engine: &Arc<Engine>, text: String, check: bool) -> Result<DocumentView, Refusal> {
    let inventory = Arc::clone(&engine.world().inventory);
    let (networks, mut warnings) = networks(engine, &inventory).await;
    let known = Known {
        inventory: &inventory,
        runbooks: serving(engine, Kind::Runbook),
        policies: policies(engine).await,
        networks,
    };
    let plan =
        read_plan(&text, &known).map_err(|found| Refusal::diagnostics("the plan is not valid".to_owned(), found))?;
    if !known.policies.contains_key(&plan.point.policy) {
        warnings.push(format!(
            "no policy plugin `{}` serves; failovers of this plan will be refused",
            plan.point.policy
        ));
    }
    let known = engine
        .world()
        .plans
        .get(&plan.name)
        .map(|applied| applied.applied.text.clone());
    let mut view = plan_view(&plan.resolved(&inventory), warnings);
    view.changed = known.as_ref() != Some(&text);
    if check {
        return Ok(view);
    }
    let at = clock::now();
    let applied = AppliedPlan {
        applied: Applied { text, at },
        plan,
    };
    let mut batch = Batch::new();
    batch.put(Space::Plan, &applied.plan.name, &applied)?;
    engine.commit(batch).await?;
    view.applied_at = Some(at);
    engine
        .world_mut()
        .plans
        .insert(applied.plan.name.clone(), Arc::new(applied));
    Ok(view)
}

pub(crate) fn plan_view(plan: &Plan, warnings: Vec<String>) -> DocumentView {
    DocumentView {
        name: plan.name.clone(),
        applied_at: None,
        changed: false,
        machines: plan.groups.iter().map(|group| group.machines.len()).sum(),
        groups: plan.groups.len(),
        warnings,
        readiness: None,
        text: None,
    }
}

/// Reads the inventory; unless it is only checked, stores it.
pub(crate) async fn apply_inventory(engine: &Arc<Engine>, text: String, check: bool) -> Result<DocumentView, Refusal> {
    let invalid = |found| Refusal::diagnostics("the inventory is not valid".to_owned(), found);
    let inventory = read_inventory(&text).map_err(invalid)?;
    // A job that is being frozen must not see half of a change.
    let _freezing = engine.freezing.lock().await;
    let mut found = unknown_sites(engine, &inventory, &text);
    found.extend(in_use(engine, &inventory));
    if !found.is_empty() {
        return Err(invalid(found));
    }
    let changed = engine.world().inventory_text.as_ref().map(|applied| &applied.text) != Some(&text);
    let mut view = DocumentView {
        name: INVENTORY.to_owned(),
        applied_at: None,
        changed,
        machines: inventory.items.len(),
        groups: inventory.replication_groups.len(),
        warnings: Vec::new(),
        readiness: None,
        text: None,
    };
    if check {
        return Ok(view);
    }
    let applied = AppliedInventory {
        applied: Applied { text, at: clock::now() },
        inventory,
    };
    let mut batch = Batch::new();
    batch.put(Space::Inventory, INVENTORY, &applied)?;
    let moved = moved(engine, &applied.inventory);
    for (name, state) in &moved {
        batch.put(Space::Item, name, state)?;
        for home in [true, false] {
            batch.remove(Space::Machines, &listing_key(name, home));
        }
    }
    engine.commit(batch).await?;
    view.applied_at = Some(applied.applied.at);
    let mut world = engine.world_mut();
    world.inventory = Arc::new(applied.inventory);
    world.inventory_text = Some(applied.applied);
    for (name, state) in moved {
        for home in [true, false] {
            world.machines.remove(&listing_key(&name, home));
        }
        world.items.insert(name, state);
    }
    Ok(view)
}

fn unknown_sites(engine: &Engine, inventory: &Inventory, text: &str) -> Vec<Diagnostic> {
    let config = engine.config.now();
    let known = config.sites.keys().map(String::as_str);
    let named: BTreeSet<&str> = inventory
        .items
        .values()
        .flat_map(|item| {
            let fencing = item.fencing.as_ref().map(|fencing| fencing.site.as_str());
            [item.source.site.as_str(), item.target_site.as_str()]
                .into_iter()
                .chain(fencing)
        })
        .collect();
    named
        .into_iter()
        .filter(|site| !config.sites.contains_key(*site))
        .map(|site| {
            let what = format!("the daemon's configuration has no site `{site}`");
            Diagnostic::at(
                first_place(text, site),
                codes::UNKNOWN_SITE,
                what,
                suggest(site, known.clone()),
            )
        })
        .collect()
}

/// Where a word stands first; sites may come from the defaults, so there is no one place to name.
fn first_place(text: &str, word: &str) -> Place {
    let found = text.lines().enumerate().find_map(|(line, content)| {
        let code = content.split('#').next().unwrap_or_default();
        code.match_indices(word).find_map(|(column, _)| {
            let bounded =
                |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'));
            let before = code.get(..column).and_then(|text| text.chars().next_back());
            let after = code.get(column + word.len()..).and_then(|text| text.chars().next());
            (bounded(before) && bounded(after)).then_some((line, column))
        })
    });
    found.map_or(Place::default(), |(line, column)| Place {
        line: u32::try_from(line + 1).unwrap_or(u32::MAX),
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
    })
}

/// Items whose home an earlier way back had noted, and for which the inventory names another source now: it holds.
fn moved(engine: &Engine, inventory: &Inventory) -> Vec<(String, ItemState)> {
    let world = engine.world();
    let says_otherwise = |name: &String| {
        let source = |inventory: &Inventory| inventory.items.get(name).map(|item| item.source.clone());
        source(inventory).is_some_and(|new| source(&world.inventory) != Some(new))
    };
    let at_home = world.items.iter().filter(|(name, state)| {
        state.phase == Phase::Unprotected && state.holder().is_none() && state.home.is_some() && says_otherwise(name)
    });
    let cleared = at_home.map(|(name, state)| {
        let mut state = state.clone();
        state.home = None;
        (name.clone(), state)
    });
    cleared.collect()
}

/// What is protected cannot be taken away or moved by editing a file.
fn in_use(engine: &Engine, inventory: &Inventory) -> Vec<Diagnostic> {
    let world = engine.world();
    let mut found = Vec::new();
    for (name, state) in &world.items {
        if state.phase == Phase::Unprotected && state.holder().is_none() {
            continue;
        }
        let refused = |what: String| {
            let cure = codes::explain(codes::ITEM_IN_USE).map_or("", |page| page.cure);
            Diagnostic::at(Place::default(), codes::ITEM_IN_USE, what, cure)
        };
        match (inventory.items.get(name), world.inventory.items.get(name)) {
            (None, _) => found.push(refused(format!(
                "item `{name}` is in use and missing from this inventory"
            ))),
            (Some(new), Some(old))
                if new.source != old.source
                    || new.target_site != old.target_site
                    || new.replication_group != old.replication_group =>
            {
                found.push(refused(format!(
                    "item `{name}` is in use and cannot change source, target or replication group"
                )));
            }
            _ => {}
        }
    }
    found
}

fn serving(engine: &Engine, kind: Kind) -> BTreeSet<String> {
    engine
        .registry
        .list()
        .into_iter()
        .filter(|status| status.kind == Some(kind))
        .map(|status| status.name)
        .filter(|name| engine.registry.current(name).is_some())
        .collect()
}

async fn policies(engine: &Arc<Engine>) -> BTreeMap<String, BTreeSet<String>> {
    let mut policies = BTreeMap::new();
    for name in serving(engine, Kind::RecoveryPointPolicy) {
        let choices = choices(engine, &name).await.unwrap_or_default();
        policies.insert(name, choices.into_keys().collect());
    }
    policies
}

/// A policy's choices, with what each means.
pub(crate) async fn choices(engine: &Arc<Engine>, name: &str) -> Option<BTreeMap<String, String>> {
    let policy = engine.pinned_policy(name, &engine.pin_policy(name).ok()?).await.ok()?;
    let choices = policy.choices().await.ok()?;
    Some(
        choices
            .into_iter()
            .map(|choice| (choice.name, choice.summary))
            .collect(),
    )
}

/// Networks of every target site that answers.
async fn networks(engine: &Arc<Engine>, inventory: &Inventory) -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let sites: BTreeSet<&str> = inventory.items.values().map(|item| item.target_site.as_str()).collect();
    let (mut networks, mut warnings) = (BTreeMap::new(), Vec::new());
    for site in sites {
        let listed = match engine.adapter(site).await {
            Ok(adapter) => adapter.list_networks().await.map_err(|error| error.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        match listed {
            Ok(list) => {
                let names = list
                    .into_iter()
                    .flat_map(|network| [network.id, network.name])
                    .collect();
                networks.insert(site.to_owned(), names);
            }
            Err(why) => warnings.push(format!("networks of site `{site}` were not checked: {why}")),
        }
    }
    (networks, warnings)
}
