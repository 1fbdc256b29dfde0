//! What the parts of the daemon share: the store, the plugins, and the world as it is committed.
//!
//! The world (inventory, plans, item states, replication) is kept in memory as a copy of the store's state rows. It is
//! changed only after the commit that holds the change, so nobody ever sees or acts on what could be lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use landfall_recovery::cycle::Progress;
use landfall_recovery::document::{Inventory, Item, Plan};
use landfall_recovery::executor::Limits;
use landfall_recovery::item::{ItemState, oriented};
use landfall_recovery::operations::SiteFacts;
use landfall_recovery::words::{Direction, Millis, Pairs, RecoveryPoint};
use landfall_runtime::{Registry, Runtime};
use landfall_store::{Batch, Space, Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::config::{LIMIT_DEFAULT, Live};
use crate::poll::Pollers;
use crate::replicate::Units;
use crate::runner::Handle;
use crate::sites::Bindings;

/// Events that a slow stream may fall behind before it reads them from the store instead.
const EVENTS: usize = 4096;

/// What the parts of the daemon share.
pub(crate) struct Engine {
    pub(crate) config: Arc<Live>,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) registry: Registry,
    pub(crate) bindings: Bindings,
    pub(crate) pollers: Pollers,
    pub(crate) units: Units,
    /// Freezing a job looks at many items and then locks them; one at a time.
    pub(crate) freezing: tokio::sync::Mutex<()>,
    /// Jobs change the items that they hold side by side, each from what it read to what it published. Who changes an item
    /// that a job may hold does so alone. Taken after `freezing`, if both are.
    pub(crate) changing: tokio::sync::RwLock<()>,
    /// Journal numbers as they are committed, with the job.
    pub(crate) events: broadcast::Sender<Signal>,
    world: RwLock<World>,
    jobs: Mutex<HashMap<String, Handle>>,
    /// Why nothing new is begun, if so.
    shortage: RwLock<Option<String>>,
    fatal: watch::Sender<Option<String>>,
}

/// What a stream of events hears.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    /// Records up to this number are committed.
    Committed,
    /// A running step says how far it is. Not journalled.
    Note {
        job: String,
        step: String,
        percent: Option<u8>,
        note: String,
    },
    /// An item's received data became older than its target, or young enough again.
    Rpo {
        item: String,
        /// None: nobody knows.
        rpo_ms: Option<Millis>,
        target_ms: Millis,
        missed: bool,
    },
}

/// The state rows, in memory.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) inventory_text: Option<Applied>,
    pub(crate) plans: BTreeMap<String, Arc<AppliedPlan>>,
    pub(crate) items: BTreeMap<String, ItemState>,
    pub(crate) progress: BTreeMap<String, Progress>,
    pub(crate) points: BTreeMap<String, Catalogue>,
    pub(crate) machines: BTreeMap<String, Listed>,
    /// Each plan's last test.
    pub(crate) tested: BTreeMap<String, Tested>,
    /// Items whose newest received data is older than its target, and since when that is known; not stored either.
    pub(crate) missed: BTreeMap<String, Millis>,
    /// What sites last said; not stored, as it is asked again at start.
    pub(crate) sites: BTreeMap<String, SiteFacts>,
}

/// An applied document's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) text: String,
    pub(crate) at: Millis,
}

/// An applied plan: as written and as understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppliedPlan {
    pub(crate) applied: Applied,
    pub(crate) plan: Plan,
}

/// An applied inventory: as written and as understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppliedInventory {
    pub(crate) applied: Applied,
    pub(crate) inventory: Inventory,
}

/// The points of an item as the target last listed them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    pub(crate) points: Vec<RecoveryPoint>,
    pub(crate) observed_at: Millis,
}

/// A machine as its site last listed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) machine: landfall_runtime::contract::adapter::Machine,
    pub(crate) observed_at: Millis,
}

/// A plan's last test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tested {
    pub(crate) job: String,
    pub(crate) at: Millis,
    /// Of what was tested: plan, inventory and plugins.
    pub(crate) subject: String,
    /// How it ended; earlier versions kept only those that succeeded.
    #[serde(default = "succeeded")]
    pub(crate) outcome: String,
}

fn succeeded() -> String {
    "succeeded".to_owned()
}

impl Tested {
    pub(crate) fn succeeded(&self) -> bool {
        self.outcome == "succeeded"
    }
}

/// Name of the one inventory's row.
pub(crate) const INVENTORY: &str = "inventory";

impl Engine {
    pub(crate) fn new(
        config: Arc<Live>,
        store: Store,
        runtime: Runtime,
        registry: Registry,
        fatal: watch::Sender<Option<String>>,
    ) -> Result<Self, StoreError> {
        let world = load(&store)?;
        Ok(Self {
            config,
            store,
            runtime,
            registry,
            bindings: Bindings::default(),
            pollers: Pollers::default(),
            units: Units::default(),
            freezing: tokio::sync::Mutex::new(()),
            changing: tokio::sync::RwLock::new(()),
            events: broadcast::Sender::new(EVENTS),
            world: RwLock::new(world),
            jobs: Mutex::new(HashMap::new()),
            shortage: RwLock::default(),
            fatal,
        })
    }

    pub(crate) fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only after the commit that holds the change.
    pub(crate) fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing new is begun, if so.
    pub(crate) fn shortage(&self) -> Option<String> {
        self.shortage.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_shortage(&self, shortage: Option<String>) {
        *self.shortage.write().unwrap_or_else(PoisonError::into_inner) = shortage;
    }

    /// Commits, or ends the process: what cannot be recorded must not be acted on.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let numbers = commit(&self.store, &self.fatal, batch).await?;
        if !numbers.is_empty() {
            // No stream is open: nobody needs to hear.
            let _ = self.events.send(Signal::Committed);
        }
        Ok(())
    }

    /// Ends the daemon with an error.
    pub(crate) fn fail(&self, error: &dyn std::error::Error) {
        end(&self.fatal, error);
    }

    /// Resolves when the daemon cannot go on, with the reason.
    pub(crate) async fn failed(&self) -> String {
        let mut receiver = self.fatal.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// How many operations of one job may be under way at a site at once.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            default: LIMIT_DEFAULT,
            by_name: self
                .config
                .now()
                .sites
                .iter()
                .map(|(name, site)| (name.clone(), site.limit))
                .collect(),
        }
    }

    /// An item with its state, as its present replication sees it: `source` is where its data comes from.
    pub(crate) fn item(&self, name: &str) -> Option<(Item, ItemState)> {
        let world = self.world();
        let state = world.state(name);
        Some((world.oriented(name, state.direction)?, state))
    }
}

/// Commits, or ends the process: the one way to the store, also for what plugins keep and the registry decides.
pub(crate) async fn commit(
    store: &Store,
    fatal: &watch::Sender<Option<String>>,
    batch: Batch,
) -> Result<Vec<u64>, StoreError> {
    let committed = store.commit(batch).await;
    if let Err(error) = &committed {
        end(fatal, error);
    }
    committed
}

fn end(fatal: &watch::Sender<Option<String>>, error: &dyn std::error::Error) {
    tracing::error!(%error, "the daemon cannot go on");
    fatal.send_replace(Some(error.to_string()));
}

impl World {
    pub(crate) fn state(&self, name: &str) -> ItemState {
        self.items.get(name).cloned().unwrap_or_default()
    }

    /// An item as a job in this direction sees it.
    pub(crate) fn oriented(&self, name: &str, direction: Direction) -> Option<Item> {
        let item = self.inventory.items.get(name)?;
        let Some(state) = self.items.get(name) else {
            return Some(item.clone());
        };
        Some(oriented(item, state, direction, &self.home_networks(name)))
    }

    /// The machine from which data goes in this direction, as it was last listed.
    pub(crate) fn listed(&self, name: &str, direction: Direction) -> Option<&Listed> {
        self.machines.get(&listing_key(name, direction == Direction::Forward))
    }

    /// The networks that the machine at home has, by interface.
    fn home_networks(&self, name: &str) -> Pairs {
        let home = self.machines.get(&listing_key(name, true));
        let nics = home.iter().flat_map(|listed| &listed.machine.nics);
        nics.filter_map(|nic| Some((nic.id.clone(), nic.network.clone()?)))
            .collect()
    }
}

/// Under which the listing of an item's machine is kept: at home, or away.
pub(crate) fn listing_key(name: &str, home: bool) -> String {
    if home { name.to_owned() } else { format!("{name}@away") }
}

fn load(store: &Store) -> Result<World, StoreError> {
    let reader = store.reader();
    let inventory: Option<AppliedInventory> = reader.get(Space::Inventory, INVENTORY)?;
    let (inventory, inventory_text) = match inventory {
        Some(applied) => (applied.inventory, Some(applied.applied)),
        None => (Inventory::default(), None),
    };
    Ok(World {
        inventory: Arc::new(inventory),
        inventory_text,
        plans: reader
            .all(Space::Plan)?
            .into_iter()
            .map(|(name, plan)| (name, Arc::new(plan)))
            .collect(),
        items: reader.all(Space::Item)?.into_iter().collect(),
        progress: reader.all(Space::Progress)?.into_iter().collect(),
        points: reader.all(Space::Points)?.into_iter().collect(),
        machines: reader.all(Space::Machines)?.into_iter().collect(),
        tested: reader.all(Space::Tested)?.into_iter().collect(),
        missed: BTreeMap::new(),
        sites: BTreeMap::new(),
    })
}

/// The replication unit of an item in a direction: its group where that has multi-VM consistency, else itself. Members
/// that came back are no longer in step with those that did not.
pub(crate) fn unit_of(inventory: &Inventory, item: &Item, direction: Direction) -> String {
    unit_name(consistency_group(inventory, item).as_deref(), &item.name, direction)
}

/// The unit of a group, or of a lone item.
pub(crate) fn unit_name(group: Option<&str>, item: &str, direction: Direction) -> String {
    let unit = match group {
        Some(group) => format!("group:{group}"),
        None => format!("item:{item}"),
    };
    match direction {
        Direction::Forward => unit,
        Direction::Reverse => format!("{unit}/reverse"),
    }
}

/// The item's replication group, if multi-VM consistency is on for it.
pub(crate) fn consistency_group(inventory: &Inventory, item: &Item) -> Option<String> {
    let name = item.replication_group.as_ref()?;
    inventory
        .replication_groups
        .get(name)
        .filter(|group| group.multi_vm_consistency)
        .map(|_| name.clone())
}
