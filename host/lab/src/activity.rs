//! Which copies of one machine run outside isolated networks, so that a split brain is noticed the moment it begins,
//! however short it is.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use crate::state::{Machine, Place};

/// A moment in which copies of one machine began to run at two sites at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BothActive {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) lineage: String,
    pub(crate) machines: Vec<Place>,
}

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Activity {
    running: HashMap<String, BTreeSet<Place>>,
    pub(crate) both_active: Vec<BothActive>,
}

impl Activity {
    /// A machine runs, or does not any more. `seq` and `at_ms` are of the line that says so.
    pub(crate) fn set(&mut self, site: &str, machine: &Machine, on: bool, (seq, at_ms): (u64, u64)) {
        if machine.isolated {
            return;
        }
        let place = Place {
            site: site.to_owned(),
            machine: machine.id.clone(),
        };
        let running = self.running.entry(machine.lineage.clone()).or_default();
        if !on {
            running.remove(&place);
            return;
        }
        if running.insert(place) && running.iter().any(|other| other.site != site) {
            self.both_active.push(BothActive {
                seq,
                at_ms,
                lineage: machine.lineage.clone(),
                machines: running.iter().cloned().collect(),
            });
        }
    }
}
