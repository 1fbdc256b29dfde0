//! What may be asked of an item now, and why not: one pure function whose answer API, CLI and page show.
//!
//! Legality is a table over states. Facts, which adapters reported and which age, only ever turn a legal operation
//! into a blocked one, with findings that say what to mend.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codes;
use crate::item::{InProgress, ItemState, Overlay, Phase, Trouble};
use crate::words::{Direction, FailoverKind, Finding, Millis, Severity};

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
    /// After a failover that broke off: back to the source, and replication goes on (F27).
    ResumeProtection,
    /// The recovered machine goes to another point (F20).
    ChangePoint,
    /// Stay at the target: the points go (F21); after a failback the machine that it came from goes too (B27).
    Commit,
    /// Replicate in the other direction (B04); between like sites this is called reverse replication (F24).
    Reprotect,
    /// Make sure that the old source is off, after a failover on a person's word.
    Fence,
    /// Where a machine runs at both sites: which of them is to stay (F13).
    ChooseDirection,
    /// Stop replication and delete the replica (F32).
    Unprotect,
    /// Let go of what is away from home and cannot be brought back: it counts as unprotected, and nothing is done anywhere.
    Release,
}

/// Every operation, in the order of an item's life.
pub const OPERATIONS: [Operation; 13] = [
    Operation::Protect,
    Operation::Test,
    Operation::Cleanup,
    Operation::PlannedFailover,
    Operation::UnplannedFailover,
    Operation::ResumeProtection,
    Operation::ChangePoint,
    Operation::Commit,
    Operation::Reprotect,
    Operation::Fence,
    Operation::ChooseDirection,
    Operation::Unprotect,
    Operation::Release,
];

impl Operation {
    /// The kind of failover that this operation is.
    pub fn failover_kind(self) -> Option<FailoverKind> {
        match self {
            Self::Test => Some(FailoverKind::Test),
            Self::PlannedFailover => Some(FailoverKind::Planned),
            Self::UnplannedFailover => Some(FailoverKind::Unplanned),
            _ => None,
        }
    }

    /// Which recovery point it goes to is a question.
    pub fn goes_to_a_point(self) -> bool {
        self.failover_kind().is_some() || self == Self::ChangePoint
    }

    /// The operation's name as the plugin contract and people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Protect => "protect",
            Self::Test => "test",
            Self::Cleanup => "cleanup",
            Self::PlannedFailover => "planned-failover",
            Self::UnplannedFailover => "unplanned-failover",
            Self::ResumeProtection => "resume-protection",
            Self::ChangePoint => "change-point",
            Self::Commit => "commit",
            Self::Reprotect => "reprotect",
            Self::Fence => "fence",
            Self::ChooseDirection => "choose-direction",
            Self::Unprotect => "unprotect",
            Self::Release => "release",
        }
    }

    /// It brings a plan into a state, and passes over the machines that are in it already. The others refuse a plan of
    /// which a machine cannot come along: a person who fails over a plan means all of it.
    pub fn passes_over(self) -> bool {
        matches!(
            self,
            Self::Protect | Self::Cleanup | Self::Commit | Self::ResumeProtection | Self::Fence | Self::Unprotect
        )
    }

    /// It is legal in this state at some platform.
    pub fn fits(self, state: &ItemState) -> bool {
        let ways = [
            WayBack::Reprotect,
            WayBack::ReverseReplication,
            WayBack::PlannedFailover,
        ];
        ways.into_iter().any(|way_back| legal(state, way_back, self))
    }

    /// Which way a job goes that does this to an item in this state.
    pub fn direction(self, state: &ItemState) -> Direction {
        match self {
            Self::Reprotect | Self::PlannedFailover | Self::UnplannedFailover => state.next_direction(),
            _ => state.direction,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How machines of an origin come back from a site (F31).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// Reprotect first, then an unplanned failover: the platforms need the disks at home to be made ready (B03).
    #[default]
    Reprotect,
    /// Reverse replication between like sites, then any failover.
    ReverseReplication,
    /// A planned failover that replicates by itself.
    PlannedFailover,
}

/// What an adapter last reported of a site.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, read by name")]
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
    /// Even where a failover is not planned it can send what was not sent yet (F16).
    #[serde(default)]
    pub syncs_on_shutdown: bool,
    /// How machines of this origin come back from it.
    #[serde(default)]
    pub way_back: WayBack,
    /// The only choices of a point for machines of this origin on their way back (B20); none: all that a policy has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_choices: Option<Vec<String>>,
    /// When it was asked, in host time.
    pub observed_at: Millis,
}

/// What is known about an item's surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The site that is its home.
    pub home: Option<SiteFacts>,
    /// The other one.
    pub away: Option<SiteFacts>,
    /// Points in the catalogue, pending ones included.
    pub points: usize,
    /// Why its replication fails, if it does.
    pub replication_error: Option<String>,
}

impl Facts {
    fn ends(&self, direction: Direction) -> (Option<&SiteFacts>, Option<&SiteFacts>) {
        match direction {
            Direction::Forward => (self.home.as_ref(), self.away.as_ref()),
            Direction::Reverse => (self.away.as_ref(), self.home.as_ref()),
        }
    }

    fn way_back(&self) -> WayBack {
        self.away.as_ref().map_or(WayBack::default(), |away| away.way_back)
    }
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
    let illegal = |code: &str, reason: String, legal: Vec<Operation>| Permission::Illegal {
        code: code.to_owned(),
        reason,
        legal,
    };
    if let Some(job) = state.holder() {
        let reason = format!("job {job} works on `{item}`; follow it with `landfall job watch {job}`");
        return illegal(codes::ITEM_LOCKED, reason, Vec::new());
    }
    if state.restored {
        let reason =
            format!("the state of `{item}` was restored from a backup; `landfall reconcile {item}` compares it");
        return illegal(codes::NEEDS_RECONCILE, reason, Vec::new());
    }
    let way_back = facts.way_back();
    let legal_now = || -> Vec<Operation> {
        let fits = |other: &Operation| legal(state, way_back, *other);
        OPERATIONS.into_iter().filter(fits).collect()
    };
    if state.both_active && !settles(operation) {
        let reason = format!("`{item}` runs at both sites: the source that it was recovered without came back");
        return illegal(codes::BOTH_ACTIVE, reason, legal_now());
    }
    if !legal(state, way_back, operation) {
        let reason = format!("`{item}` is {}{}", describe(state), detour(state, way_back, operation));
        return illegal(codes::NOT_LEGAL, reason, legal_now());
    }
    let findings = block(item, state, facts, operation);
    if findings.is_empty() {
        Permission::Allowed
    } else {
        Permission::Blocked { findings }
    }
}

/// It decides which of two running machines stays.
fn settles(operation: Operation) -> bool {
    matches!(operation, Operation::Fence | Operation::ChooseDirection)
}

/// The table. A failed or cancelled operation leaves its item in the phase it had reached, and every phase has a way
/// on.
pub fn legal(state: &ItemState, way_back: WayBack, operation: Operation) -> bool {
    if state.both_active && !settles(operation) {
        return false;
    }
    let protected = state.phase == Phase::Protected;
    // Away from home, and to stay: how it comes back is the platform's.
    let comes_back_planned =
        state.phase == Phase::Committed && !state.at_home() && way_back == WayBack::PlannedFailover;
    match operation {
        // Again after a protect that failed half way: a replica that exists is used.
        Operation::Protect => matches!(state.phase, Phase::Unprotected | Phase::Seeding),
        Operation::Test => protected && state.overlay == Overlay::None,
        Operation::Cleanup => state.overlay != Overlay::None,
        // A test machine beside it is no reason to refuse on the worst day of the year.
        Operation::PlannedFailover => protected || (comes_back_planned && state.overlay == Overlay::None),
        Operation::UnplannedFailover => protected,
        Operation::ResumeProtection => protected && (state.source_stopped || broke_off(state)),
        Operation::ChangePoint => state.phase == Phase::FailedOver && !state.points_doomed,
        Operation::Commit => state.phase == Phase::FailedOver,
        // Its test machine would be at the wrong end.
        Operation::Reprotect => {
            let ready = state.phase == Phase::Committed && !comes_back_planned;
            state.overlay == Overlay::None && (ready || state.phase == Phase::Reprotecting)
        }
        Operation::Fence => state.failed_over() && state.watched(),
        Operation::ChooseDirection => state.phase == Phase::FailedOver && state.watched() && !state.points_doomed,
        Operation::Unprotect => matches!(state.phase, Phase::Seeding | Phase::Protected | Phase::Reprotecting),
        // While it is away, or comes back, or is back: in all of these what is away may be lost, and with it every other way on.
        Operation::Release => {
            let back =
                matches!(state.phase, Phase::Reprotecting | Phase::Protected) && state.direction == Direction::Reverse;
            state.failed_over() || back
        }
    }
}

/// A real failover of it ended badly before the machine was started.
fn broke_off(state: &ItemState) -> bool {
    state.operation.as_ref().is_some_and(|last| {
        last.trouble.is_some()
            && matches!(
                last.operation,
                Operation::PlannedFailover | Operation::UnplannedFailover | Operation::ResumeProtection
            )
    })
}

/// The whole table: every state that an item can be in while no job works on it and its state is not that of a backup, in
/// words, and what may be asked there. For the documentation.
pub fn table() -> Vec<(String, Vec<Operation>)> {
    let legal = |(words, state, way_back): (String, ItemState, WayBack)| {
        let legal = |operation: &Operation| legal(&state, way_back, *operation);
        (words, OPERATIONS.into_iter().filter(legal).collect())
    };
    states().into_iter().map(legal).collect()
}

/// The product of everything on which legality rests, without what cannot be.
fn states() -> Vec<(String, ItemState, WayBack)> {
    let mut states = Vec::new();
    for direction in [Direction::Forward, Direction::Reverse] {
        for phase in PHASES {
            // Before it is protected there is one direction, and its first copy goes forward.
            if direction == Direction::Reverse && matches!(phase, Phase::Unprotected | Phase::Seeding) {
                continue;
            }
            let bare = ItemState {
                phase,
                direction,
                ..ItemState::default()
            };
            let way = match direction {
                _ if phase == Phase::Unprotected => "",
                Direction::Forward => " (forward)",
                Direction::Reverse => " (reverse)",
            };
            let away = phase == Phase::Committed && !bare.at_home();
            let ways = [WayBack::Reprotect, WayBack::PlannedFailover];
            for way_back in ways.into_iter().take(if away { 2 } else { 1 }) {
                for (more, state) in variants(&bare) {
                    let how = match way_back {
                        WayBack::PlannedFailover => ", comes back by a planned failover",
                        _ => "",
                    };
                    states.push((format!("{}{way}{how}{more}", describe(&state)), state, way_back));
                }
            }
        }
    }
    states
}

/// A state, and what else can be true of it.
fn variants(bare: &ItemState) -> Vec<(String, ItemState)> {
    let either = |may: bool| if may { &[false, true][..] } else { &[false][..] };
    let tests = matches!(bare.phase, Phase::Protected | Phase::FailedOver | Phase::Committed);
    let mut variants = Vec::new();
    for test in either(tests) {
        for broke in either(bare.phase == Phase::Protected) {
            for doomed in either(bare.phase == Phase::FailedOver) {
                for risk in either(bare.failed_over()) {
                    for both in either(*risk) {
                        let said = [
                            (*broke, ", after a failover that broke off"),
                            (*doomed, ", after a commit that broke off"),
                            (*risk, ", on a person's word"),
                            (*both, ", and running at both sites"),
                        ];
                        let words = said.into_iter().filter(|(said, _)| *said).map(|(_, words)| words);
                        let last = InProgress {
                            job: String::new(),
                            operation: Operation::PlannedFailover,
                            trouble: Some(Trouble::Failed),
                        };
                        let state = ItemState {
                            overlay: if *test { Overlay::Tested } else { Overlay::None },
                            operation: broke.then_some(last),
                            points_doomed: *doomed,
                            risk_accepted: *risk,
                            both_active: *both,
                            ..bare.clone()
                        };
                        variants.push((words.collect(), state));
                    }
                }
            }
        }
    }
    variants
}

/// In the order of an item's life.
const PHASES: [Phase; 6] = [
    Phase::Unprotected,
    Phase::Seeding,
    Phase::Protected,
    Phase::FailedOver,
    Phase::Committed,
    Phase::Reprotecting,
];

fn describe(state: &ItemState) -> String {
    let phase = match state.phase {
        Phase::Unprotected => "unprotected",
        Phase::Seeding => "seeding",
        Phase::Protected if state.direction == Direction::Reverse => "protected, back to its home",
        Phase::Protected => "protected",
        Phase::FailedOver if state.direction == Direction::Reverse => "failed back",
        Phase::FailedOver => "failed over",
        Phase::Committed if state.at_home() => "back at home and not replicating",
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

/// Why the way that was asked for is not this machine's way back.
fn detour(state: &ItemState, way_back: WayBack, operation: Operation) -> &'static str {
    let back = state.phase == Phase::Committed && !state.at_home();
    match (back, operation, way_back) {
        (true, Operation::PlannedFailover | Operation::UnplannedFailover, WayBack::ReverseReplication) => {
            "; reverse replication (`landfall reprotect`) must run before a failover can come back"
        }
        (true, Operation::PlannedFailover | Operation::UnplannedFailover, WayBack::Reprotect) => {
            "; it comes back in stages: reprotect, failover, commit, reprotect"
        }
        (true, Operation::Reprotect, WayBack::PlannedFailover) => {
            "; it comes back by a planned failover, which replicates by itself"
        }
        _ => "",
    }
}

fn block(item: &str, state: &ItemState, facts: &Facts, operation: Operation) -> Vec<Finding> {
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
    let direction = operation.direction(state);
    let (source, target) = facts.ends(direction);
    let reachable = |facts: Option<&SiteFacts>| facts.is_some_and(|facts| facts.reachable);
    let needs_source = matches!(
        operation,
        Operation::Protect | Operation::PlannedFailover | Operation::ResumeProtection | Operation::Reprotect
    );
    if needs_source && !reachable(source) {
        let cure = match operation {
            Operation::PlannedFailover => "restore the site, or fail over unplanned",
            _ => "restore the site; see `landfall site list`",
        };
        refuse(codes::SITE_UNREACHABLE, unreachable("source", source), cure);
    }
    // Of a target that is lost for good one must be able to let go.
    let needs_target = !matches!(
        operation,
        Operation::Unprotect | Operation::Fence | Operation::ResumeProtection | Operation::Release
    );
    if needs_target && !reachable(target) {
        refuse(
            codes::SITE_UNREACHABLE,
            unreachable("target", target),
            "check the site's address and grants; see `landfall site list`",
        );
    }
    let lacks = |facts: Option<&SiteFacts>, has: fn(&SiteFacts) -> bool| {
        facts.is_some_and(|facts| facts.reachable && !has(facts))
    };
    if matches!(operation, Operation::Protect | Operation::Reprotect) {
        for (role, lacks) in [
            ("source", lacks(source, |site| site.source)),
            ("target", lacks(target, |site| site.target)),
        ] {
            if lacks {
                let cause = format!("the {role} site's adapter cannot play the {role} role");
                refuse(codes::ROLE_MISSING, cause, "use an adapter that can");
            }
        }
    }
    if operation == Operation::PlannedFailover && lacks(source, |site| site.planned_failover) {
        refuse(
            codes::PLANNED_NOT_OFFERED,
            "the source site's adapter offers no planned failover".into(),
            "fail over unplanned",
        );
    }
    // A planned failover that replicates by itself makes its first point on the way.
    if operation.goes_to_a_point() && facts.points == 0 && !state.failed_over() {
        refuse(
            codes::NO_POINT,
            format!("`{item}` has no recovery point"),
            "wait for replication, see `landfall item points`",
        );
    }
    // B17; but from a site that is lost one goes whatever replication says.
    let back = direction == Direction::Reverse && operation.failover_kind().is_some();
    if let Some(error) = facts.replication_error.as_ref().filter(|_| back && reachable(source)) {
        refuse(
            codes::NOT_HEALTHY,
            format!("the replication of `{item}` fails: {error}"),
            "mend that first; see `landfall item show`",
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

    fn ready() -> Facts {
        let site = SiteFacts {
            reachable: true,
            source: true,
            target: true,
            planned_failover: true,
            ..SiteFacts::default()
        };
        Facts {
            home: Some(site.clone()),
            away: Some(site),
            points: 1,
            replication_error: None,
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
        let ready = [
            Operation::Test,
            Operation::PlannedFailover,
            Operation::UnplannedFailover,
            Operation::Unprotect,
        ];
        assert_eq!(allowed(&state), ready);
        state.overlay = Overlay::Tested;
        assert_eq!(
            allowed(&state),
            [
                Operation::Cleanup,
                Operation::PlannedFailover,
                Operation::UnplannedFailover,
                Operation::Unprotect
            ]
        );
        state.overlay = Overlay::None;
        state.phase = Phase::FailedOver;
        assert_eq!(
            allowed(&state),
            [Operation::ChangePoint, Operation::Commit, Operation::Release]
        );
        state.phase = Phase::Committed;
        assert_eq!(allowed(&state), [Operation::Reprotect, Operation::Release]);
        state.direction = Direction::Reverse;
        state.phase = Phase::Reprotecting;
        assert_eq!(
            allowed(&state),
            [Operation::Reprotect, Operation::Unprotect, Operation::Release]
        );
        state.phase = Phase::Protected;
        assert_eq!(allowed(&state), [&ready[..], &[Operation::Release]].concat());
        state.phase = Phase::FailedOver;
        assert_eq!(
            allowed(&state),
            [Operation::ChangePoint, Operation::Commit, Operation::Release]
        );
        state.phase = Phase::Committed;
        assert_eq!(allowed(&state), [Operation::Reprotect, Operation::Release]);
    }

    #[test]
    fn no_state_is_a_dead_end() {
        for (state, legal) in table() {
            assert!(!legal.is_empty(), "{state}");
        }
    }

    #[test]
    fn f31_the_way_back_is_that_of_the_platform() {
        let mut state = ItemState {
            phase: Phase::Committed,
            ..ItemState::default()
        };
        let mut facts = ready();
        let mut ways = |state: &ItemState, way_back| {
            facts.away.as_mut().unwrap().way_back = way_back;
            let ways = allowed_operations("x", state, &facts).into_iter();
            let ways: Vec<Operation> = ways
                .filter(|(_, p)| *p == Permission::Allowed)
                .map(|(o, _)| o)
                .collect();
            ways
        };
        let comes = |way| [way, Operation::Release];
        assert_eq!(ways(&state, WayBack::Reprotect), comes(Operation::Reprotect));
        assert_eq!(ways(&state, WayBack::ReverseReplication), comes(Operation::Reprotect));
        assert_eq!(
            ways(&state, WayBack::PlannedFailover),
            comes(Operation::PlannedFailover)
        );
        // Once it is back it goes out like any other.
        state.direction = Direction::Reverse;
        assert_eq!(ways(&state, WayBack::PlannedFailover), comes(Operation::Reprotect));
    }

    #[test]
    fn f13_a_machine_that_runs_at_both_sites_is_settled_first() {
        let state = ItemState {
            phase: Phase::FailedOver,
            risk_accepted: true,
            both_active: true,
            ..ItemState::default()
        };
        assert_eq!(allowed(&state), [Operation::Fence, Operation::ChooseDirection]);
        assert!(matches!(
            permission("x", &state, &ready(), Operation::Commit),
            Permission::Illegal { code, .. } if code == codes::BOTH_ACTIVE
        ));
    }

    #[test]
    fn b17_nothing_comes_back_over_replication_that_fails_unless_its_site_is_lost() {
        let state = ItemState {
            phase: Phase::Protected,
            direction: Direction::Reverse,
            ..ItemState::default()
        };
        let mut facts = ready();
        facts.replication_error = Some("full".into());
        assert!(matches!(
            permission("x", &state, &facts, Operation::UnplannedFailover),
            Permission::Blocked { findings } if findings[0].id == codes::NOT_HEALTHY
        ));
        facts.away.as_mut().unwrap().reachable = false;
        assert_eq!(
            permission("x", &state, &facts, Operation::UnplannedFailover),
            Permission::Allowed
        );
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
        facts.home.as_mut().unwrap().planned_failover = false;
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
