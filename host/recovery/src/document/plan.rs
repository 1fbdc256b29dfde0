//! The recovery plan: ordered groups of items, and actions before and after them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::{At, Span, check_name, from_yaml};
use super::{Inventory, Selector};
use crate::codes;
use crate::diagnostic::{Diagnostic, suggest};
use crate::words::{Direction, FailoverKind, Millis, Pairs};

/// What a plan says, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Which point, unless the request says otherwise.
    pub point: PointChoice,
    /// Shut down sources before an unplanned failover (F15).
    pub shutdown: bool,
    /// Used in a test failover instead of each item's test network.
    pub test_network: Option<String>,
    /// Greatest age of a fence proof when a machine is activated.
    pub fence_max_age_ms: Millis,
    /// From the request to the last machine, as the business wants it; measured and shown, never enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_ms: Option<Millis>,
    /// In order.
    pub groups: Vec<Group>,
    /// Machines that wait for others beside the order of the groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, Vec<String>>,
    /// In the order of the file.
    pub actions: Vec<Action>,
}

/// Items that are brought up together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Names of items.
    pub machines: Vec<String>,
    /// Chooses more of them when a job is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Selector>,
    /// What comes after the group waits this long once its machines are up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<Millis>,
}

/// A recovery-point policy and one of its choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PointChoice {
    /// The policy plugin's name.
    pub policy: String,
    /// One of the choices it offers.
    pub choice: String,
    /// The choice's parameters.
    pub params: Pairs,
}

impl Default for PointChoice {
    /// The reference rule F05: the newest data there is.
    fn default() -> Self {
        Self {
            policy: "standard".to_owned(),
            choice: "latest".to_owned(),
            params: Pairs::new(),
        }
    }
}

/// A runbook call, or a question to a person, before or after a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Action {
    /// Unique in the plan.
    pub name: String,
    /// The runbook plugin's name; empty for a gate.
    pub runbook: String,
    /// What a person is asked before the job goes on; none: a runbook is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Where it stands.
    pub positions: Vec<Position>,
    /// The kinds of failover in which it runs.
    pub kinds: BTreeSet<FailoverKind>,
    /// The directions in which it runs.
    pub directions: BTreeSet<Direction>,
    /// Parameters for the runbook.
    pub with: Pairs,
    /// For the whole action, polls and retries included.
    pub timeout_ms: Millis,
    /// Tries after the first.
    pub retries: u32,
    /// None: as the kind of failover says.
    pub on_error: Option<OnError>,
}

/// Before or after which group; none: all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase", content = "group")]
pub enum Position {
    /// Before the group's machines are created.
    Before(Option<String>),
    /// After the group's machines were started.
    After(Option<String>),
}

/// What an error of this action means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// What comes after it waits or is left out.
    Stop,
    /// Recorded and gone past.
    Continue,
}

/// The names that a plan may use.
#[derive(Debug)]
pub struct Known<'a> {
    /// Items and replication groups.
    pub inventory: &'a Inventory,
    /// Runbook plugins that serve.
    pub runbooks: BTreeSet<String>,
    /// Policy plugins that serve, with the choices of each.
    pub policies: BTreeMap<String, BTreeSet<String>>,
    /// Networks by site; a site that could not be asked is absent, and preflight asks again.
    pub networks: BTreeMap<String, BTreeSet<String>>,
}

/// A plan file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "Landfall recovery plan")]
pub(super) struct Document {
    /// The plan's name.
    plan: At<String>,
    #[serde(default)]
    description: String,
    /// Which recovery point (default: policy `standard`, choice `latest`).
    #[serde(default)]
    point: PointEntry,
    /// Shut down source machines before an unplanned failover (default true); a planned one always does.
    #[serde(default = "yes")]
    shutdown: bool,
    /// For test failovers, instead of each item's test network.
    test_network: Option<At<String>>,
    /// Greatest age of the proof that a source is off, when its machine is activated (default 60s).
    fence_max_age: Option<Span>,
    /// The time in which everything should be up: measured and shown, never enforced.
    rto: Option<Span>,
    /// Brought up in this order.
    groups: Vec<GroupEntry>,
    /// Machines that wait for others, in any groups, beside the order of the groups.
    #[serde(default)]
    dependencies: Vec<DependencyEntry>,
    /// Runbooks and gates before and after groups.
    #[serde(default)]
    actions: Vec<ActionEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct GroupEntry {
    name: At<String>,
    /// Names of items in the inventory.
    #[serde(default)]
    machines: Vec<At<String>>,
    /// Items chosen by what the inventory says of them, when a job is frozen.
    select: Option<Selector>,
    /// Wait this long after its machines are up.
    delay: Option<Span>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DependencyEntry {
    /// This machine is created only after the others were started.
    machine: At<String>,
    after: Vec<At<String>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PointEntry {
    policy: Option<At<String>>,
    choice: Option<At<String>>,
    #[serde(default)]
    params: Pairs,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ActionEntry {
    name: At<String>,
    /// The runbook plugin to call. Either this or `gate`.
    runbook: Option<At<String>>,
    /// What a person is asked: the job waits for `landfall job answer`.
    gate: Option<String>,
    /// Names of groups; `all` is the whole plan.
    #[serde(default)]
    before: Vec<At<String>>,
    /// Names of groups; `all` is the whole plan.
    #[serde(default)]
    after: Vec<At<String>>,
    /// Kinds of failover (default: all).
    kinds: Option<BTreeSet<FailoverKind>>,
    /// Directions (default: both).
    directions: Option<BTreeSet<Direction>>,
    /// Parameters for the runbook.
    #[serde(default)]
    with: Pairs,
    /// For the whole action (default 5m; a gate: 24h).
    timeout: Option<Span>,
    /// Tries after the first (default 2).
    retries: Option<u32>,
    /// Default: `stop` in planned and test failovers and for what comes after; see the docs.
    on_error: Option<OnError>,
}

fn yes() -> bool {
    true
}

/// A proof older than a minute says little about a machine that somebody may switch on.
const FENCE_MAX_AGE_DEFAULT_MS: Millis = 60_000;
/// Long enough for a service to come up, short enough to be noticed.
const ACTION_TIMEOUT_DEFAULT_MS: Millis = 300_000;
/// A day: somebody is awake within it.
pub const GATE_TIMEOUT_DEFAULT_MS: Millis = 24 * 3_600_000;
/// Two more tries ride out a restart of the far side.
const ACTION_RETRIES_DEFAULT: u32 = 2;
/// The word for the whole plan where a group is named.
const ALL: &str = "all";

pub(super) fn read(text: &str, known: &Known<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let document: Document = from_yaml(text, "plan").map_err(|diagnostic| vec![diagnostic])?;
    let mut found = Vec::new();
    check_name(&document.plan, "plan", &mut found);
    check_groups(&document, known, &mut found);
    check_test_network(&document, known, &mut found);
    let point = resolve_point(&document.point, known, &mut found);
    let actions = resolve_actions(&document, known, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let group = |entry: &GroupEntry| Group {
        name: entry.name.value.clone(),
        machines: entry.machines.iter().map(|machine| machine.value.clone()).collect(),
        select: entry.select.clone(),
        delay_ms: entry.delay.map(Span::millis),
    };
    let plan = Plan {
        name: document.plan.value,
        description: document.description,
        point,
        shutdown: document.shutdown,
        test_network: document.test_network.map(|network| network.value),
        fence_max_age_ms: document.fence_max_age.map_or(FENCE_MAX_AGE_DEFAULT_MS, Span::millis),
        rto_ms: document.rto.map(Span::millis),
        groups: document.groups.iter().map(group).collect(),
        dependencies: dependencies(&document.dependencies),
        actions,
    };
    let resolved = plan.resolved(known.inventory);
    found.extend(check_dependencies(&document.dependencies, &resolved));
    if found.is_empty() { Ok(plan) } else { Err(found) }
}

fn dependencies(entries: &[DependencyEntry]) -> BTreeMap<String, Vec<String>> {
    let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries {
        let after = entry.after.iter().map(|machine| machine.value.clone());
        dependencies
            .entry(entry.machine.value.clone())
            .or_default()
            .extend(after);
    }
    dependencies
}

fn check_dependencies(entries: &[DependencyEntry], plan: &Plan) -> Vec<Diagnostic> {
    let members: BTreeSet<&str> = plan
        .groups
        .iter()
        .flat_map(|group| &group.machines)
        .map(String::as_str)
        .collect();
    let named = entries
        .iter()
        .flat_map(|entry| [&entry.machine].into_iter().chain(&entry.after));
    let strangers = named.filter(|machine| !members.contains(machine.value.as_str()));
    let mut found: Vec<Diagnostic> = strangers
        .map(|machine| {
            Diagnostic::at(
                machine.place,
                codes::UNKNOWN_MACHINE,
                format!("the plan has no machine `{}`", machine.value),
                suggest(&machine.value, members.iter().copied()),
            )
        })
        .collect();
    if let (Err(cycle), Some(first)) = (plan.check_order(), entries.first()) {
        found.push(Diagnostic::at(
            first.machine.place,
            codes::ORDER_CYCLE,
            cycle.to_string(),
            "remove one of these dependencies, or put the machine into a later group",
        ));
    }
    found
}

fn check_groups(document: &Document, known: &Known<'_>, found: &mut Vec<Diagnostic>) {
    if document.groups.is_empty() {
        found.push(Diagnostic::at(
            document.plan.place,
            codes::EMPTY_GROUP,
            "the plan has no groups",
            "add a group with machines",
        ));
    }
    let mut groups = BTreeSet::new();
    let mut machines: BTreeMap<&str, u32> = BTreeMap::new();
    for group in &document.groups {
        check_name(&group.name, "group", found);
        if group.name.value == ALL {
            found.push(Diagnostic::at(
                group.name.place,
                codes::BAD_NAME,
                "`all` means the whole plan",
                "give the group another name",
            ));
        }
        if !groups.insert(group.name.value.as_str()) {
            found.push(Diagnostic::at(
                group.name.place,
                codes::DUPLICATE,
                format!("group `{}` stands here a second time", group.name.value),
                "rename it, or put its machines into the first",
            ));
        }
        if group.machines.is_empty() && group.select.as_ref().is_none_or(Selector::is_empty) {
            found.push(Diagnostic::at(
                group.name.place,
                codes::EMPTY_GROUP,
                format!("group `{}` has no machines", group.name.value),
                "add machines, or a `select` that says something, or remove the group",
            ));
        }
        for machine in &group.machines {
            if !known.inventory.items.contains_key(&machine.value) {
                found.push(Diagnostic::at(
                    machine.place,
                    codes::UNKNOWN_MACHINE,
                    format!("unknown machine `{}`", machine.value),
                    suggest(&machine.value, known.inventory.items.keys().map(String::as_str)),
                ));
            }
            if let Some(line) = machines.insert(&machine.value, machine.place.line) {
                found.push(Diagnostic::at(
                    machine.place,
                    codes::DUPLICATE,
                    format!(
                        "machine `{}` stands here a second time (first in line {line})",
                        machine.value
                    ),
                    "a machine belongs to one group; remove one of the two",
                ));
            }
        }
    }
}

fn check_test_network(document: &Document, known: &Known<'_>, found: &mut Vec<Diagnostic>) {
    let Some(network) = &document.test_network else { return };
    let sites: BTreeSet<&str> = document
        .groups
        .iter()
        .flat_map(|group| &group.machines)
        .filter_map(|machine| known.inventory.items.get(&machine.value))
        .map(|item| item.target_site.as_str())
        .collect();
    for site in sites {
        let Some(networks) = known.networks.get(site) else {
            continue;
        };
        if !networks.contains(&network.value) {
            found.push(Diagnostic::at(
                network.place,
                codes::UNKNOWN_NETWORK,
                format!("site `{site}` has no network `{}`", network.value),
                suggest(&network.value, networks.iter().map(String::as_str)),
            ));
        }
    }
}

fn resolve_point(entry: &PointEntry, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> PointChoice {
    let default = PointChoice::default();
    let policy = entry
        .policy
        .as_ref()
        .map_or(default.policy, |policy| policy.value.clone());
    let choice = entry
        .choice
        .as_ref()
        .map_or(default.choice, |choice| choice.value.clone());
    match known.policies.get(&policy) {
        None => {
            // Without a place the default policy is missing, which the daemon reports when a job needs it.
            if let Some(named) = &entry.policy {
                found.push(Diagnostic::at(
                    named.place,
                    codes::UNKNOWN_POLICY,
                    format!("unknown recovery-point policy `{policy}`"),
                    suggest(&policy, known.policies.keys().map(String::as_str)),
                ));
            }
        }
        Some(choices) if !choices.contains(&choice) => {
            let place = entry
                .choice
                .as_ref()
                .or(entry.policy.as_ref())
                .map(|at| at.place)
                .unwrap_or_default();
            found.push(Diagnostic::at(
                place,
                codes::UNKNOWN_CHOICE,
                format!("policy `{policy}` has no choice `{choice}`"),
                suggest(&choice, choices.iter().map(String::as_str)),
            ));
        }
        Some(_) => {}
    }
    PointChoice {
        policy,
        choice,
        params: entry.params.clone(),
    }
}

fn resolve_actions(document: &Document, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Vec<Action> {
    let mut names = BTreeSet::new();
    let mut actions = Vec::new();
    for entry in &document.actions {
        check_name(&entry.name, "action", found);
        if !names.insert(entry.name.value.as_str()) {
            found.push(Diagnostic::at(
                entry.name.place,
                codes::DUPLICATE,
                format!("action `{}` stands here a second time", entry.name.value),
                "rename one: outputs are addressed by the action's name",
            ));
        }
        match (&entry.runbook, &entry.gate) {
            (Some(runbook), None) if !known.runbooks.contains(&runbook.value) => found.push(Diagnostic::at(
                runbook.place,
                codes::UNKNOWN_RUNBOOK,
                format!("unknown runbook `{}`", runbook.value),
                suggest(&runbook.value, known.runbooks.iter().map(String::as_str)),
            )),
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => found.push(Diagnostic::at(
                entry.name.place,
                codes::WRONG_VALUE,
                format!("action `{}` is a runbook and a gate", entry.name.value),
                "make two actions of it",
            )),
            (None, None) => found.push(Diagnostic::at(
                entry.name.place,
                codes::MISSING_KEY,
                format!("action `{}` does nothing", entry.name.value),
                "give it a `runbook:`, or a `gate:` with what a person is asked",
            )),
        }
        if entry.before.is_empty() && entry.after.is_empty() {
            found.push(Diagnostic::at(
                entry.name.place,
                codes::MISSING_KEY,
                format!("action `{}` stands nowhere", entry.name.value),
                "give it `before:` or `after:` with names of groups, or `all`",
            ));
        }
        let before = entry
            .before
            .iter()
            .filter_map(|group| position(group, document, Position::Before, found));
        let mut positions: Vec<Position> = before.collect();
        positions.extend(
            entry
                .after
                .iter()
                .filter_map(|group| position(group, document, Position::After, found)),
        );
        actions.push(Action {
            name: entry.name.value.clone(),
            runbook: entry
                .runbook
                .as_ref()
                .map(|runbook| runbook.value.clone())
                .unwrap_or_default(),
            gate: entry.gate.clone(),
            positions,
            kinds: entry.kinds.clone().unwrap_or_else(|| {
                BTreeSet::from([FailoverKind::Test, FailoverKind::Planned, FailoverKind::Unplanned])
            }),
            directions: entry
                .directions
                .clone()
                .unwrap_or_else(|| BTreeSet::from([Direction::Forward, Direction::Reverse])),
            with: entry.with.clone(),
            timeout_ms: entry.timeout.map_or(
                if entry.gate.is_some() {
                    GATE_TIMEOUT_DEFAULT_MS
                } else {
                    ACTION_TIMEOUT_DEFAULT_MS
                },
                Span::millis,
            ),
            // A person is asked once.
            retries: entry.retries.unwrap_or(if entry.gate.is_some() {
                0
            } else {
                ACTION_RETRIES_DEFAULT
            }),
            on_error: entry.on_error,
        });
    }
    actions
}

/// The position at the named group, where none inside it is the whole plan.
fn position(
    named: &At<String>,
    document: &Document,
    side: fn(Option<String>) -> Position,
    found: &mut Vec<Diagnostic>,
) -> Option<Position> {
    if named.value == ALL {
        return Some(side(None));
    }
    let groups = document.groups.iter().map(|group| group.name.value.as_str());
    if groups.clone().any(|group| group == named.value) {
        return Some(side(Some(named.value.clone())));
    }
    found.push(Diagnostic::at(
        named.place,
        codes::UNKNOWN_GROUP,
        format!("unknown group `{}`", named.value),
        suggest(&named.value, groups.chain([ALL])),
    ));
    None
}
