//! Who a request is about: the plan, the machines of it, and the one direction in which a job goes.

use std::collections::{BTreeMap, BTreeSet};

use landfall_recovery::codes;
use landfall_recovery::diagnostic::suggest;
use landfall_recovery::document::{Group, Plan, PointChoice};
use landfall_recovery::item::ItemState;
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Direction, Finding, Millis, Severity};

use crate::api::wire::JobRequest;
use crate::engine::Engine;
use crate::preflight::finding;
use crate::problem::Refusal;

/// As in a plan that says nothing about it.
const FENCE_MAX_AGE_MS: Millis = 60_000;

/// The plan and the names of the items that a request is about. Items without a plan get one made for them.
pub(super) fn subject_of(engine: &Engine, request: &JobRequest) -> Result<(Plan, Vec<String>), Refusal> {
    let world = engine.world();
    let unknown = |item: &&String| !world.inventory.items.contains_key(*item);
    if let Some(item) = request.items.iter().chain(&request.exclude).find(unknown) {
        return Err(Refusal::unknown(format!("the inventory has no item `{item}`")));
    }
    let (plan, mut items) = match &request.plan {
        Some(name) => {
            let applied = world
                .plans
                .get(name)
                .ok_or_else(|| Refusal::unknown(format!("there is no plan `{name}`")))?;
            let plan = applied.plan.resolved(&world.inventory);
            in_order(&plan)?;
            let members: Vec<String> = plan.groups.iter().flat_map(|group| group.machines.clone()).collect();
            if let Some(stray) = request.items.iter().find(|item| !members.contains(item)) {
                return Err(Refusal::unknown(format!("plan `{name}` has no machine `{stray}`")));
            }
            let items = if request.items.is_empty() {
                from_group(&plan, request)?
            } else {
                request.items.clone()
            };
            (plan, items)
        }
        None if request.items.is_empty() => return Err(Refusal::bad_request("name a plan or items".to_owned())),
        None => {
            let items: BTreeSet<&String> = request.items.iter().collect();
            let items: Vec<String> = items.into_iter().cloned().collect();
            (made_for(&items), items)
        }
    };
    if items.is_empty() {
        let what = format!("plan `{}` has no machines there: its selectors match none", plan.name);
        return Err(Refusal::bad_request(what));
    }
    items.retain(|item| !request.exclude.contains(item));
    if items.is_empty() {
        return Err(Refusal::bad_request("every machine was left out".to_owned()));
    }
    Ok((plan, items))
}

/// What the selectors chose may not fit the order any more.
fn in_order(plan: &Plan) -> Result<(), Refusal> {
    plan.check_order()
        .map_err(|cycle| Refusal::refused(codes::ORDER_CYCLE, format!("plan `{}`: {cycle}", plan.name)))
}

/// The machines of a plan, or of it only those from a group on.
fn from_group(plan: &Plan, request: &JobRequest) -> Result<Vec<String>, Refusal> {
    let first = match &request.from_group {
        None => 0,
        Some(from) => plan
            .groups
            .iter()
            .position(|group| group.name == *from)
            .ok_or_else(|| {
                let hint = suggest(from, plan.groups.iter().map(|group| group.name.as_str()));
                Refusal::refused(
                    codes::GROUP_UNKNOWN,
                    format!("plan `{}` has no group `{from}`; {hint}", plan.name),
                )
            })?,
    };
    let groups = plan.groups.iter().skip(first);
    Ok(groups.flat_map(|group| group.machines.clone()).collect())
}

/// What a plan says that nobody wrote.
const MADE: &str = "made for single machines";

/// It was made for machines that were named without a plan.
pub(super) fn is_made(plan: &Plan) -> bool {
    plan.description == MADE
}

fn made_for(items: &[String]) -> Plan {
    Plan {
        name: items.join("+"),
        description: MADE.to_owned(),
        point: PointChoice::default(),
        shutdown: true,
        test_network: None,
        fence_max_age_ms: FENCE_MAX_AGE_MS,
        rto_ms: None,
        groups: vec![Group {
            name: "machines".to_owned(),
            machines: items.to_vec(),
            select: None,
            delay_ms: None,
        }],
        dependencies: BTreeMap::new(),
        actions: Vec::new(),
    }
}

/// The direction of the job, the items that go that way, and what is to be said of those that do not (F13).
pub(super) fn direction_of(
    engine: &Engine,
    operation: Operation,
    names: Vec<String>,
    wanted: Option<Direction>,
) -> Result<(Direction, Vec<String>, Vec<Finding>), Refusal> {
    let states: Vec<(String, ItemState)> = {
        let world = engine.world();
        let state = |name: String| {
            let state = world.state(&name);
            (name, state)
        };
        names.into_iter().map(state).collect()
    };
    choose_direction(operation, &states, wanted)
}

fn choose_direction(
    operation: Operation,
    states: &[(String, ItemState)],
    wanted: Option<Direction>,
) -> Result<(Direction, Vec<String>, Vec<Finding>), Refusal> {
    // Machines that would be passed over have no say; if there are no others, it is said of them that there is nothing
    // to do, whatever their direction.
    let has_say = |state: &ItemState| !operation.passes_over() || operation.fits(state);
    let own = |(name, state): &(String, ItemState)| (name.clone(), operation.direction(state));
    let (asked, idle): (Vec<_>, Vec<_>) = states.iter().partition(|(_, state)| has_say(state));
    let directed: Vec<(String, Direction)> = asked.into_iter().map(own).collect();
    let idle: Vec<(String, Direction)> = idle.into_iter().map(own).collect();
    if directed.is_empty() {
        let direction = wanted.or(idle.first().map(|(_, own)| *own)).unwrap_or_default();
        return Ok((direction, idle.into_iter().map(|(name, _)| name).collect(), Vec::new()));
    }
    let goes = |direction: Direction| directed.iter().any(|(_, own)| *own == direction);
    let direction = match (wanted, goes(Direction::Forward), goes(Direction::Reverse)) {
        (Some(direction), ..) => direction,
        (None, true, true) => {
            let say = |(name, direction): &(String, Direction)| {
                let cause = format!("`{name}` would go {direction}");
                finding(codes::DIRECTIONS_DISAGREE, Severity::Error, name, cause)
            };
            let what = format!("{operation} is refused: its machines disagree about the direction");
            let findings = directed.iter().map(say).collect();
            return Err(Refusal::findings(codes::DIRECTIONS_DISAGREE, what, findings));
        }
        (None, _, reverse) => {
            if reverse {
                Direction::Reverse
            } else {
                Direction::Forward
            }
        }
    };
    let (fits, others): (Vec<_>, Vec<_>) = directed.into_iter().partition(|(_, own)| *own == direction);
    let left_out = |(name, own): &(String, Direction)| {
        let cause = format!("`{name}` is left out: it would go {own}");
        finding(codes::DIRECTIONS_DISAGREE, Severity::Warning, name, cause)
    };
    let findings: Vec<Finding> = others.iter().map(left_out).collect();
    if fits.is_empty() {
        let what = format!("{operation} is refused: none of its machines would go {direction}");
        return Err(Refusal::findings(codes::DIRECTIONS_DISAGREE, what, findings));
    }
    // In the order in which they were named: an idle machine may still be one that nothing may be asked of now.
    let taken: BTreeSet<&String> = fits
        .iter()
        .chain(idle.iter().filter(|(_, own)| *own == direction))
        .map(|(name, _)| name)
        .collect();
    let names = states.iter().map(|(name, _)| name).filter(|name| taken.contains(name));
    Ok((direction, names.cloned().collect(), findings))
}

/// A real failover wants its name typed, and one that leads home its direction said.
pub(super) fn confirmed(
    request: &JobRequest,
    operation: Operation,
    plan: &Plan,
    items: &[&String],
    direction: Direction,
) -> Result<(), Refusal> {
    let real = matches!(operation, Operation::PlannedFailover | Operation::UnplannedFailover);
    if !real || request.dry_run {
        return Ok(());
    }
    if direction == Direction::Reverse && request.direction != Some(Direction::Reverse) {
        return Err(Refusal::refused(
            codes::DIRECTION_NOT_CONFIRMED,
            format!("{operation} of `{}` would lead back home", plan.name),
        ));
    }
    typed(request, operation, plan, items, &[])
}

/// The name of the plan, or of the one machine, was typed; if not, all that would be lost is named.
pub(super) fn typed(
    request: &JobRequest,
    operation: Operation,
    plan: &Plan,
    items: &[&String],
    losses: &[Finding],
) -> Result<(), Refusal> {
    let fits = |typed: &String| *typed == plan.name || (items.len() == 1 && items.first() == Some(&typed));
    if request.dry_run || request.confirm.as_ref().is_some_and(fits) {
        return Ok(());
    }
    let what = format!("{operation} of `{}` was not confirmed", plan.name);
    Err(Refusal::findings(codes::NOT_CONFIRMED, what, losses.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_recovery::item::{Overlay, Phase};

    fn item(name: &str, direction: Direction, test: Overlay) -> (String, ItemState) {
        let state = ItemState {
            phase: Phase::Protected,
            direction,
            overlay: test,
            ..ItemState::default()
        };
        (name.to_owned(), state)
    }

    #[test]
    fn f13_only_machines_with_something_to_do_have_a_say_in_the_direction() {
        let states = [
            item("out", Direction::Forward, Overlay::Tested),
            item("back", Direction::Reverse, Overlay::None),
        ];
        let (direction, names, findings) = choose_direction(Operation::Cleanup, &states, None).unwrap();
        assert_eq!((direction, names), (Direction::Forward, vec!["out".to_owned()]));
        assert!(findings.is_empty(), "{findings:?}");
        // A plan is not failed over in part, and both can be unprotected.
        for operation in [Operation::Test, Operation::Unprotect] {
            assert!(choose_direction(operation, &states, None).is_err(), "{operation}");
            let (_, names, findings) = choose_direction(operation, &states, Some(Direction::Reverse)).unwrap();
            assert_eq!((names, findings.len()), (vec!["back".to_owned()], 1));
        }
        // Where there is nothing to do at all, it is not the directions that stand against it.
        let states = [
            item("out", Direction::Forward, Overlay::None),
            item("back", Direction::Reverse, Overlay::None),
        ];
        let (_, names, _) = choose_direction(Operation::Cleanup, &states, None).unwrap();
        assert_eq!(names.len(), 2);
    }
}
