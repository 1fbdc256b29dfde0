//! The oracle's judgement, a fold over the ledger: was any effect doubled? Was any machine active at two sites at
//! once? What did each recovered machine lose? Tests and kill loops ask here and nowhere else.
//!
//! Doubled is an effect that one step had twice on one subject without a definite failure between. Where no job is
//! named (replication cycles, webhooks) the key stands for the step.

use std::collections::HashMap;

use serde::Serialize;

use crate::activity::BothActive;
use crate::entry::{Entry, Outcome};
use crate::state::{Machine, Parent, Place, State};

/// An effect that happened twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Doubled {
    /// The lines that say so.
    pub(crate) first: u64,
    pub(crate) second: u64,
    pub(crate) site: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) operation: String,
    pub(crate) subject: Option<String>,
}

/// What a recovered machine lacks of its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Lost {
    pub(crate) machine: Place,
    pub(crate) item: Option<String>,
    pub(crate) source: Place,
    /// Records that the source had when it was lost, or when the machine was made.
    pub(crate) source_last: u64,
    pub(crate) recovered_last: u64,
    #[serde(rename = "lost")]
    pub(crate) records: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) entries: u64,
    pub(crate) webhooks: u64,
    pub(crate) doubled: Vec<Doubled>,
    pub(crate) both_active: Vec<BothActive>,
    pub(crate) lost: Vec<Lost>,
}

/// What one effect is told from another by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    site: Option<String>,
    /// Job and step, or the key.
    step: (Option<String>, Option<String>),
    operation: String,
    subject: Option<String>,
}

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Check {
    changed: HashMap<Identity, u64>,
    doubled: Vec<Doubled>,
}

impl Check {
    /// Takes in one line.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        let Some(identity) = identity(entry) else { return };
        match entry.result {
            Outcome::Changed => {
                if let Some(first) = self.changed.insert(identity, entry.seq) {
                    self.doubled.push(doubled(first, entry));
                }
            }
            Outcome::FailedDefinite | Outcome::Refused => {
                self.changed.remove(&identity);
            }
            Outcome::Unchanged | Outcome::Accepted => {}
        }
    }

    /// The judgement on everything so far.
    pub(crate) fn verdict(&self, state: &State) -> Verdict {
        Verdict {
            entries: state.seq,
            webhooks: state.webhooks,
            doubled: self.doubled.clone(),
            both_active: state.activity.both_active.clone(),
            lost: lost(state),
        }
    }
}

/// None for what nobody's step asked for.
fn identity(entry: &Entry) -> Option<Identity> {
    let step = match (&entry.job, &entry.key) {
        (Some(job), _) => (Some(job.clone()), entry.step.clone()),
        (None, Some(key)) if !key.is_empty() => (None, Some(key.clone())),
        _ => return None,
    };
    Some(Identity {
        site: entry.site.clone(),
        step,
        operation: entry.operation.clone(),
        subject: subject(entry),
    })
}

/// What a creation makes is named only by its effect, so there the item is the subject.
fn subject(entry: &Entry) -> Option<String> {
    entry.item.clone().or_else(|| entry.machine.clone())
}

fn doubled(first: u64, entry: &Entry) -> Doubled {
    Doubled {
        first,
        second: entry.seq,
        site: entry.site.clone(),
        job: entry.job.clone(),
        step: entry.step.clone(),
        key: entry.key.clone(),
        operation: entry.operation.clone(),
        subject: subject(entry),
    }
}

/// For every recovered machine outside of tests.
fn lost(state: &State) -> Vec<Lost> {
    let machines = state
        .sites
        .iter()
        .flat_map(|(name, site)| site.machines.values().map(move |m| (name, m)));
    machines
        .filter(|(_, machine)| !machine.isolated)
        .filter_map(|(site, machine)| lost_by(state, site, machine, machine.parent.as_ref()?))
        .collect()
}

fn lost_by(state: &State, site: &str, machine: &Machine, parent: &Parent) -> Option<Lost> {
    let source = state
        .sites
        .get(&parent.place.site)?
        .machines
        .get(&parent.place.machine)?;
    if parent
        .incarnation
        .is_some_and(|incarnation| incarnation != source.disk.incarnation())
    {
        return None;
    }
    let (source_last, recovered_last) = (source.disk.records(parent.until), machine.disk.base_records());
    Some(Lost {
        machine: Place {
            site: site.to_owned(),
            machine: machine.id.clone(),
        },
        item: machine.stamp.as_ref().map(|stamp| stamp.item.clone()),
        source: parent.place.clone(),
        source_last,
        recovered_last,
        records: source_last.saturating_sub(recovered_last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, job: Option<&str>, key: &str, operation: &str, result: Outcome) -> Entry {
        Entry {
            seq,
            job: job.map(str::to_owned),
            step: Some("step".to_owned()),
            key: Some(key.to_owned()),
            machine: Some("m".to_owned()),
            result,
            ..Entry::plain("test", operation, Vec::new())
        }
    }

    fn doubled(entries: &[Entry]) -> Vec<(u64, u64)> {
        let mut check = Check::default();
        for entry in entries {
            check.apply(entry);
        }
        check
            .doubled
            .iter()
            .map(|doubled| (doubled.first, doubled.second))
            .collect()
    }

    #[test]
    fn two_effects_of_one_step_are_doubled_even_under_two_keys() {
        let first = entry(1, Some("j"), "k1", "start", Outcome::Changed);
        let second = entry(2, Some("j"), "k2", "start", Outcome::Changed);
        assert_eq!(doubled(&[first, second]), [(1, 2)]);
    }

    #[test]
    fn a_definite_failure_between_permits_another_try() {
        let entries = [
            entry(1, Some("j"), "k1", "start", Outcome::Changed),
            entry(2, Some("j"), "k1", "start", Outcome::FailedDefinite),
            entry(3, Some("j"), "k2", "start", Outcome::Changed),
        ];
        assert!(doubled(&entries).is_empty());
    }

    #[test]
    fn without_a_job_the_key_stands_for_the_step() {
        let entries = [
            entry(1, None, "k1", "webhook", Outcome::Changed),
            entry(2, None, "k2", "webhook", Outcome::Changed),
            entry(3, None, "k1", "webhook", Outcome::Changed),
        ];
        assert_eq!(doubled(&entries), [(1, 3)]);
    }

    #[test]
    fn repeats_and_other_operations_are_not_doubled() {
        let entries = [
            entry(1, Some("j"), "k", "shutdown", Outcome::Changed),
            entry(2, Some("j"), "k", "shutdown", Outcome::Unchanged),
            entry(3, Some("j"), "k", "hold", Outcome::Changed),
        ];
        assert!(doubled(&entries).is_empty());
    }
}
