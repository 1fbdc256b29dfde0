//! Plans and inventories as people write them: YAML with a place for every value, so that whatever is wrong is shown
//! where it stands. Reading gives plain values ([`Plan`], [`Inventory`]) that the rest of the core uses and that are
//! frozen into jobs; the located forms never leave this module.

mod inventory;
mod members;
mod plan;
mod read;

pub use inventory::{Inventory, Item, NetworkMapping, Replication, ReplicationGroup, Side};
pub use members::{Cycle, Selector};
pub use plan::{Action, GATE_TIMEOUT_DEFAULT_MS, Group, Known, OnError, Plan, PointChoice, Position};

use crate::diagnostic::Diagnostic;

/// Reads an inventory; every diagnostic is reported at once.
pub fn read_inventory(text: &str) -> Result<Inventory, Vec<Diagnostic>> {
    inventory::read(text)
}

/// Reads a plan and checks every name in it against what is known.
pub fn read_plan(text: &str, known: &Known<'_>) -> Result<Plan, Vec<Diagnostic>> {
    plan::read(text, known)
}

/// The JSON Schema (draft-07, which editors understand) of plans.
pub fn plan_schema() -> serde_json::Value {
    read::schema::<plan::Document>()
}

/// The JSON Schema of inventories.
pub fn inventory_schema() -> serde_json::Value {
    read::schema::<inventory::Document>()
}
