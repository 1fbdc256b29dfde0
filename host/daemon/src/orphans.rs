//! What carries this installation's stamp at the sites and no item knows of (F33): left by a step in doubt that was
//! skipped, by a job that was abandoned, or by an installation that was restored from an older backup.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_recovery::item::ItemState;
use landfall_runtime::contract::adapter::Owned;

use crate::api::wire::{OrphanView, OrphansView};
use crate::engine::Engine;
use crate::reconcile::owned;

/// Asks every site. One that does not answer is named: what is there is not known.
pub(crate) async fn find(engine: &Arc<Engine>) -> OrphansView {
    let sites: Vec<String> = engine.config.now().sites.keys().cloned().collect();
    let mut view = OrphansView::default();
    for site in sites {
        match owned(engine, &site).await {
            Ok(found) => {
                let orphans = found.into_iter().filter(|owned| is_orphan(engine, owned));
                view.orphans.extend(orphans.map(|owned| orphan(&site, owned)));
            }
            Err(failure) => {
                view.unasked.insert(site, failure.to_string());
            }
        }
    }
    view
}

fn is_orphan(engine: &Engine, owned: &Owned) -> bool {
    // A job that has not ended may be about to learn of it.
    if owned.job.as_ref().is_some_and(|job| engine.jobs().contains_key(job)) {
        return false;
    }
    let world = engine.world();
    let state = owned.item.as_ref().and_then(|item| world.items.get(item));
    state.is_none_or(|state| !known(state).contains(owned.id.as_str()))
}

/// Every machine and replica that an item's state knows of, at either site.
pub(crate) fn known(state: &ItemState) -> BTreeSet<&str> {
    let home = state.home.as_ref().and_then(|home| home.machine.as_ref());
    let all = [
        state.replica.as_ref(),
        state.other_replica.as_ref(),
        state.target_machine.as_ref(),
        state.test_machine.as_ref(),
        state.created.as_ref(),
        home,
    ];
    all.into_iter().flatten().map(String::as_str).collect()
}

fn orphan(site: &str, owned: Owned) -> OrphanView {
    OrphanView {
        site: site.to_owned(),
        kind: owned.kind,
        id: owned.id,
        item: owned.item,
        job: owned.job,
        step: owned.step,
        epoch: owned.epoch,
    }
}
