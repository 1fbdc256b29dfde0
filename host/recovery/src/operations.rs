//! What may be asked of an item now, and why not: one pure function whose answer API, CLI and page show.
//!
//! Legality is a table over states. Facts, which adapters reported and which age, only ever turn a legal operation
//! into a blocked one, with findings that say what to mend.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codes;
use crate::item::{ItemState, Overlay, Phase};
use crate::words::{FailoverKind, Finding, Millis, Severity};

/// What can be asked of an item. Only operations that the daemon can execute are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Start replication to the target (F32).
    Protect,
    /// Bring it up in isolation (F33).
    Test,
    /// Remove what a test made.
    Cleanup,
    /// Bring it up elsewhere after an orderly shutdown (F22).
    PlannedFailover,
    /// Bring it up elsewhere, whatever the source does (F18).
    UnplannedFailover,
    /// Stay at the target: the points go (F21).
    Commit,
}

/// Every operation, in the order of an item's life.
pub const OPERATIONS: [Operation; 6] = [
    Operation::Protect,
    Operation::Test,
    Operation::Cleanup,
    Operation::PlannedFailover,
    Operation::UnplannedFailover,
    Operation::Commit,
];

impl Operation {
    /// The kind of failover that this operation is.
    pub fn failover_kind(self) -> Option<FailoverKind> {
        match self {
            Self::Test => Some(FailoverKind::Test),
            Self::PlannedFailover => Some(FailoverKind::Planned),
            Self::UnplannedFailover => Some(FailoverKind::Unplanned),
            Self::Protect | Self::Cleanup | Self::Commit => None,
        }
    }

    /// The operation's name as the plugin contract and people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Protect => "protect",
            Self::Test => "test",
            Self::Cleanup => "cleanup",
            Self::PlannedFailover => "planned-failover",
            Self::UnplannedFailover => "unplanned-failover",
            Self::Commit => "commit",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an adapter last reported of a site.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, read by name")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SiteFacts {
    /// It answered.
    pub reachable: bool,
    /// Why not, if it did not.
    pub error: Option<String>,
    /// It can play the source role for this origin.
    pub source: bool,
    /// It can play the target role.
    pub target: bool,
    /// It can shut down and send the last changes (F23).
    pub planned_failover: bool,
    /// When it was asked, in host time.
    pub observed_at: Millis,
}

/// What is known about an item's surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The site it runs at.
    pub source: Option<SiteFacts>,
    /// The site it is protected to.
    pub target: Option<SiteFacts>,
    /// Points in the catalogue, pending ones included.
    pub points: usize,
}

/// The answer for one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Permission {
    /// It may be asked for.
    Allowed,
    /// Legal in this state, but something must be mended first.
    Blocked {
        /// What.
        findings: Vec<Finding>,
    },
    /// Makes no sense in this state.
    Illegal {
        /// Stable code.
        code: String,
        /// Why, in a sentence.
        reason: String,
        /// What does make sense.
        legal: Vec<Operation>,
    },
}

/// The answer for every operation.
pub fn allowed_operations(item: &str, state: &ItemState, facts: &Facts) -> Vec<(Operation, Permission)> {
    OPERATIONS
        .iter()
        .map(|operation| (*operation, permission(item, state, facts, *operation)))
        .collect()
}

/// The answer for one operation.
pub fn permission(item: &str, state: &ItemState, facts: &Facts, operation: Operation) -> Permission {
    if let Some(job) = state.holder() {
        return Permission::Illegal {
            code: codes::ITEM_LOCKED.to_owned(),
            reason: format!("job {job} works on `{item}`; follow it with `landfall job watch {job}`"),
            legal: Vec::new(),
        };
    }
    if state.restored {
        return Permission::Illegal {
            code: codes::NEEDS_RECONCILE.to_owned(),
            reason: format!(
                "the state of `{item}` was restored from a backup; `landfall reconcile {item}` compares it"
            ),
            legal: Vec::new(),
        };
    }
    if !legal(state, operation) {
        return Permission::Illegal {
            code: codes::NOT_LEGAL.to_owned(),
            reason: format!("`{item}` is {}", describe(state)),
            legal: OPERATIONS.into_iter().filter(|other| legal(state, *other)).collect(),
        };
    }
    let findings = block(item, facts, operation);
    if findings.is_empty() {
        Permission::Allowed
    } else {
        Permission::Blocked { findings }
    }
}

/// The table. A failed or cancelled operation leaves its item in the phase it had reached, and every phase but
/// `committed` has a way on.
fn legal(state: &ItemState, operation: Operation) -> bool {
    match operation {
        // Again after a protect that failed half way: a replica that exists is used.
        Operation::Protect => matches!(state.phase, Phase::Unprotected | Phase::Seeding),
        Operation::Test => state.phase == Phase::Protected && state.overlay == Overlay::None,
        Operation::Cleanup => state.overlay != Overlay::None,
        // A test machine beside it is no reason to refuse on the worst day of the year.
        Operation::PlannedFailover | Operation::UnplannedFailover => state.phase == Phase::Protected,
        Operation::Commit => state.phase == Phase::FailedOver,
    }
}

fn describe(state: &ItemState) -> String {
    let phase = match state.phase {
        Phase::Unprotected => "unprotected",
        Phase::Seeding => "seeding",
        Phase::Protected => "protected",
        Phase::FailedOver => "failed over",
        Phase::Committed => "committed",
        Phase::Reprotecting => "being re-protected",
    };
    match state.overlay {
        Overlay::None => phase.to_owned(),
        Overlay::Testing => format!("{phase}, with an unfinished test failover"),
        Overlay::Tested => format!("{phase}, with a test machine"),
        Overlay::Cleaning => format!("{phase}, with an unfinished test cleanup"),
    }
}

fn block(item: &str, facts: &Facts, operation: Operation) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |id: &str, cause: String, cure: &str| {
        findings.push(Finding {
            id: id.to_owned(),
            severity: Severity::Error,
            subject: item.to_owned(),
            cause,
            cure: cure.to_owned(),
        });
    };
    let reachable = |facts: &Option<SiteFacts>| facts.as_ref().is_some_and(|facts| facts.reachable);
    let needs_source = matches!(operation, Operation::Protect | Operation::PlannedFailover);
    if needs_source && !reachable(&facts.source) {
        refuse(
            codes::SITE_UNREACHABLE,
            unreachable("source", facts.source.as_ref()),
            "restore the site, or fail over unplanned",
        );
    }
    if !reachable(&facts.target) {
        refuse(
            codes::SITE_UNREACHABLE,
            unreachable("target", facts.target.as_ref()),
            "check the site's address and grants; see `landfall site list`",
        );
    }
    if operation == Operation::Protect {
        if facts
            .source
            .as_ref()
            .is_some_and(|source| source.reachable && !source.source)
        {
            refuse(
                codes::ROLE_MISSING,
                "the source site's adapter cannot play the source role".into(),
                "use an adapter that can",
            );
        }
        if facts
            .target
            .as_ref()
            .is_some_and(|target| target.reachable && !target.target)
        {
            refuse(
                codes::ROLE_MISSING,
                "the target site's adapter cannot play the target role".into(),
                "use an adapter that can",
            );
        }
    }
    if operation == Operation::PlannedFailover
        && facts
            .source
            .as_ref()
            .is_some_and(|source| source.reachable && !source.planned_failover)
    {
        refuse(
            codes::PLANNED_NOT_OFFERED,
            "the source site's adapter offers no planned failover".into(),
            "fail over unplanned",
        );
    }
    if operation.failover_kind().is_some() && facts.points == 0 {
        refuse(
            codes::NO_POINT,
            format!("`{item}` has no recovery point"),
            "wait for replication, see `landfall item points`",
        );
    }
    findings
}

fn unreachable(role: &str, facts: Option<&SiteFacts>) -> String {
    match facts.and_then(|facts| facts.error.as_deref()) {
        Some(error) => format!("the {role} site does not answer: {error}"),
        None => format!("the {role} site does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{InProgress, Trouble};

    fn ready() -> Facts {
        let site = SiteFacts {
            reachable: true,
            source: true,
            target: true,
            planned_failover: true,
            ..SiteFacts::default()
        };
        Facts {
            source: Some(site.clone()),
            target: Some(site),
            points: 1,
        }
    }

    fn allowed(state: &ItemState) -> Vec<Operation> {
        allowed_operations("x", state, &ready())
            .into_iter()
            .filter(|(_, p)| *p == Permission::Allowed)
            .map(|(o, _)| o)
            .collect()
    }

    #[test]
    fn the_life_of_an_item_is_the_table() {
        let mut state = ItemState::default();
        assert_eq!(allowed(&state), [Operation::Protect]);
        state.phase = Phase::Protected;
        assert_eq!(
            allowed(&state),
            [
                Operation::Test,
                Operation::PlannedFailover,
                Operation::UnplannedFailover
            ]
        );
        state.overlay = Overlay::Tested;
        assert_eq!(
            allowed(&state),
            [
                Operation::Cleanup,
                Operation::PlannedFailover,
                Operation::UnplannedFailover
            ]
        );
        state.overlay = Overlay::None;
        state.phase = Phase::FailedOver;
        assert_eq!(allowed(&state), [Operation::Commit]);
    }

    #[test]
    fn an_item_in_a_job_is_locked_and_the_holder_named() {
        let mut state = ItemState {
            phase: Phase::Protected,
            ..ItemState::default()
        };
        state.operation = Some(InProgress {
            job: "j1".into(),
            operation: Operation::Test,
            trouble: None,
        });
        assert!(matches!(
            permission("x", &state, &ready(), Operation::Test),
            Permission::Illegal { code, reason, .. } if code == codes::ITEM_LOCKED && reason.contains("j1")
        ));
        state.operation = Some(InProgress {
            job: "j1".into(),
            operation: Operation::Test,
            trouble: Some(Trouble::Failed),
        });
        assert_eq!(permission("x", &state, &ready(), Operation::Test), Permission::Allowed);
    }

    #[test]
    fn f23_planned_failover_is_offered_only_where_the_adapter_supports_it() {
        let state = ItemState {
            phase: Phase::Protected,
            ..ItemState::default()
        };
        let mut facts = ready();
        facts.source.as_mut().unwrap().planned_failover = false;
        assert!(matches!(
            permission("x", &state, &facts, Operation::PlannedFailover),
            Permission::Blocked { findings } if findings[0].id == codes::PLANNED_NOT_OFFERED
        ));
        assert_eq!(
            permission("x", &state, &facts, Operation::UnplannedFailover),
            Permission::Allowed
        );
    }
}
