//! Sites, and what is at them now.

use axum::Json;
use axum::extract::{Path, State};
use landfall_runtime::contract::adapter::{Machine, Power};
use landfall_runtime::contract::types::Direction;

use super::Shared;
use super::wire::{MachineView, NetworkView, Problem, SiteView};
use crate::contract::from_call_error;
use crate::engine::Engine;
use crate::problem::Refusal;
use crate::start::{list_machines, pinned_words};

/// All sites; each is asked now.
#[utoipa::path(get, path = "/api/v1/sites", responses((status = 200, body = Vec<SiteView>)))]
pub(super) async fn list(State(shared): State<Shared>) -> Json<Vec<SiteView>> {
    let engine = &shared.engine;
    let config = engine.config.now();
    let asked = config.sites.iter().map(|(name, site)| async move {
        let facts = engine
            .site_facts(name, "", landfall_recovery::words::Direction::Forward)
            .await;
        let features = match engine.adapter(name).await {
            Ok(adapter) => adapter.get_features(String::new(), Direction::Forward).await.ok(),
            Err(_) => None,
        };
        SiteView {
            name: name.clone(),
            adapter: site.adapter.clone(),
            plugin: engine.pin_site(name).ok().map(|pinned| pinned_words(&pinned)),
            reachable: facts.reachable,
            error: facts.error,
            source: facts.source,
            target: facts.target,
            replication: features.map(|features| features.replication).unwrap_or_default(),
            observed_at: facts.observed_at,
        }
    });
    Json(futures_util::future::join_all(asked).await)
}

fn known(engine: &Engine, site: &str) -> Result<(), Refusal> {
    if engine.config.now().sites.contains_key(site) {
        return Ok(());
    }
    Err(Refusal::unknown(format!(
        "the daemon's configuration has no site `{site}`"
    )))
}

/// Machines that the site lists now.
#[utoipa::path(get, path = "/api/v1/sites/{site}/machines", params(("site" = String, Path)),
    responses((status = 200, body = Vec<MachineView>), (status = 409, body = Problem)))]
pub(super) async fn machines(
    State(shared): State<Shared>,
    Path(site): Path<String>,
) -> Result<Json<Vec<MachineView>>, Refusal> {
    known(&shared.engine, &site)?;
    let machines = list_machines(&shared.engine, &site).await?;
    let world = shared.engine.world();
    let item = |machine: &str| {
        let fits =
            |item: &&landfall_recovery::document::Item| item.source.site == site && item.source.machine == machine;
        world.inventory.items.values().find(fits).map(|item| item.name.clone())
    };
    Ok(Json(
        machines
            .into_iter()
            .map(|machine| view(item(&machine.id), machine))
            .collect(),
    ))
}

fn view(item: Option<String>, machine: Machine) -> MachineView {
    MachineView {
        power: match machine.power {
            Power::On => "on",
            Power::Off => "off",
            Power::Unknown => "unknown",
        }
        .to_owned(),
        disk_bytes: machine.disks.iter().map(|disk| disk.bytes).sum(),
        networks: machine
            .nics
            .iter()
            .map(|nic| format!("{}={}", nic.id, nic.network.as_deref().unwrap_or("-")))
            .collect(),
        id: machine.id,
        name: machine.name,
        origin: machine.origin,
        item,
    }
}

/// Networks that the site lists now.
#[utoipa::path(get, path = "/api/v1/sites/{site}/networks", params(("site" = String, Path)),
    responses((status = 200, body = Vec<NetworkView>), (status = 409, body = Problem)))]
pub(super) async fn networks(
    State(shared): State<Shared>,
    Path(site): Path<String>,
) -> Result<Json<Vec<NetworkView>>, Refusal> {
    known(&shared.engine, &site)?;
    let adapter = shared.engine.adapter(&site).await?;
    let networks = adapter.list_networks().await.map_err(|error| from_call_error(&error))?;
    let view = |network: landfall_runtime::contract::adapter::Network| NetworkView {
        id: network.id,
        name: network.name,
        isolated: network.isolated,
    };
    Ok(Json(networks.into_iter().map(view).collect()))
}
