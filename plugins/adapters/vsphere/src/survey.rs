//! What preflight and health look at: machines, networks, datastores and hosts as they are now. What it means is not
//! decided here.

use landfall_sdk::adapter_types::ItemFacts;
use landfall_sdk::{Failure, config};

use crate::collector::{Query, everywhere, step};
use crate::effect;
use crate::fault::Trouble;
use crate::machine::Vm;
use crate::network::Fabric;
use crate::settings;
use crate::tag;
use crate::task;
use crate::vcenter::Vcenter;

/// Hosts or datastores in one page: what is read of each is short.
const PAGE: u32 = 200;

const STORE: &[&str] = &["name", "summary.accessible", "summary.capacity", "summary.freeSpace"];
const HOST: &[&str] = &["name", "runtime.connectionState", "runtime.inMaintenanceMode"];

/// A datastore.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_accessible: bool,
    pub(crate) capacity: u64,
    pub(crate) free: u64,
}

/// A host: its name, and whether a machine can be started there.
pub(crate) type HostFact = (String, bool);

/// What was read of the target's side.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) replica: Option<Vm>,
    /// Why there is none.
    pub(crate) why: Option<String>,
    pub(crate) is_standby: bool,
    pub(crate) lag_ms: u64,
    pub(crate) fabric: Fabric,
    pub(crate) place: Option<settings::Place>,
    pub(crate) misplaced: Option<String>,
    pub(crate) has_folder: bool,
    /// Why machines could not be tagged.
    pub(crate) untagged: Option<String>,
    pub(crate) stores: Vec<Store>,
    pub(crate) hosts: Vec<HostFact>,
}

/// What the operation does at the target.
pub(crate) fn makes_machine(operation: &str) -> bool {
    matches!(operation, "test" | "planned-failover" | "unplanned-failover")
}

/// What the target side has to say about an item.
pub(crate) fn read(vcenter: &Vcenter, item: &ItemFacts, operation: &str) -> Result<Facts, Trouble> {
    let (replica, why) = replica(vcenter, item)?;
    let standby = settings::standby()?;
    let mut facts = Facts {
        why,
        is_standby: standby.is_some(),
        lag_ms: standby.map_or(0, |standby| standby.lag_ms),
        has_folder: config::get("folder").is_some_and(|folder| !folder.is_empty()),
        ..Facts::default()
    };
    if !makes_machine(operation) && operation != "protect" {
        facts.replica = replica;
        return Ok(facts);
    }
    facts.untagged = tag::configured().and_then(|name| match tag::id_of(&name) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("vCenter has no tag `{name}`")),
        Err(failure) => Some(format!("the tag `{name}` cannot be looked up: {}", failure.message)),
    });
    let mut networks: Vec<String> = item.networks.iter().map(|mapping| mapping.network.clone()).collect();
    networks.sort_unstable();
    networks.dedup();
    facts.fabric = Fabric::around(vcenter, &networks)?;
    if let Some(replica) = replica {
        match settings::place(vcenter, &replica) {
            Ok(place) => {
                let wanted = place
                    .datastore
                    .clone()
                    .map_or_else(|| replica.datastores.clone(), |one| vec![one]);
                facts.stores = stores(vcenter, &wanted)?;
                facts.hosts = hosts(vcenter, &place.pool)?;
                facts.place = Some(place);
            }
            Err(Trouble::Other(failure)) if failure.code == "not-configured" => facts.misplaced = Some(failure.message),
            Err(trouble) => return Err(trouble),
        }
        facts.replica = Some(replica);
    }
    Ok(facts)
}

fn replica(vcenter: &Vcenter, item: &ItemFacts) -> Result<(Option<Vm>, Option<String>), Trouble> {
    if let Some(id) = &item.replica {
        return Ok(match task::machine(vcenter, id)? {
            Some(vm) => (Some(vm), None),
            None => (
                None,
                Some(format!("vCenter has no machine `{id}`, which is the replica")),
            ),
        });
    }
    let Some(machine) = &item.machine else {
        return Ok((None, Some("the source machine was never listed".to_owned())));
    };
    Ok(match effect::prospective(vcenter, machine)? {
        Ok(vm) => (Some(vm), None),
        Err(Failure { message, .. }) => (None, Some(message)),
    })
}

fn stores(vcenter: &Vcenter, ids: &[String]) -> Result<Vec<Store>, Trouble> {
    let query = Query::default().of("Datastore", STORE).paged(PAGE);
    read_stores(
        vcenter,
        &ids.iter().fold(query, |query, id| query.from("Datastore", id, "")),
    )
}

fn read_stores(vcenter: &Vcenter, query: &Query) -> Result<Vec<Store>, Trouble> {
    let mut stores = Vec::new();
    vcenter.read(query, |object| {
        stores.push(Store {
            id: object.id.to_owned(),
            name: object.text("name").unwrap_or(object.id).to_owned(),
            is_accessible: object.is_true("summary.accessible"),
            capacity: object.number("summary.capacity").unwrap_or(0),
            free: object.number("summary.freeSpace").unwrap_or(0),
        });
        Ok(())
    })?;
    Ok(stores)
}

fn read_hosts(vcenter: &Vcenter, query: &Query) -> Result<Vec<HostFact>, Trouble> {
    let mut hosts = Vec::new();
    vcenter.read(query, |object| {
        let usable =
            object.text("runtime.connectionState") == Some("connected") && !object.is_true("runtime.inMaintenanceMode");
        hosts.push((object.text("name").unwrap_or(object.id).to_owned(), usable));
        Ok(())
    })?;
    Ok(hosts)
}

fn hosts(vcenter: &Vcenter, pool: &str) -> Result<Vec<HostFact>, Trouble> {
    let hosts = step("hosts", "ComputeResource", "host", "");
    let selection = step("owner", "ResourcePool", "owner", &hosts);
    read_hosts(
        vcenter,
        &Query::default()
            .of("HostSystem", HOST)
            .paged(PAGE)
            .from("ResourcePool", pool, &selection),
    )
}

/// All hosts and datastores of the site.
pub(crate) fn site(vcenter: &Vcenter) -> Result<(Vec<HostFact>, Vec<Store>), Trouble> {
    let root = vcenter.content()?.root_folder;
    let hosts = everywhere("hostFolder", &step("hosts", "ComputeResource", "host", ""));
    let hosts = Query::default()
        .of("HostSystem", HOST)
        .paged(PAGE)
        .from("Folder", &root, &hosts);
    let stores = everywhere("datastoreFolder", "");
    let stores = Query::default()
        .of("Datastore", STORE)
        .paged(PAGE)
        .from("Folder", &root, &stores);
    Ok((read_hosts(vcenter, &hosts)?, read_stores(vcenter, &stores)?))
}
