//! The body of the request: one JSON object, whose fields are only ever added to.
//!
//! Every attempt under one key sends the same bytes, since receivers that drop repeats may compare them; so nothing
//! that changes from attempt to attempt is in it.

use std::collections::BTreeMap;

use landfall_sdk::{Call, Consistency, Context, Direction, FailoverKind, MachineContext};
use serde::Serialize;

/// Unknown values are `null`.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    plan: &'a str,
    /// `failover`, `test`, `cleanup`, ...
    operation: &'a str,
    /// `test`, `planned` or `unplanned`.
    kind: Option<&'static str>,
    /// `forward` or `reverse`.
    direction: &'static str,
    /// `null`: before or after all groups.
    group: Option<&'a str>,
    /// `before` or `after`.
    phase: &'a str,
    /// The action's name in the plan.
    action: &'a str,
    installation: &'a str,
    job: Option<&'a str>,
    step: &'a str,
    /// Equal for every attempt of this step.
    key: &'a str,
    machines: Vec<Machine<'a>>,
    /// The action's parameters, without those that the runbook takes itself.
    params: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Machine<'a> {
    item: &'a str,
    source_site: &'a str,
    target_site: &'a str,
    #[serde(rename = "source_machine")]
    source: Option<&'a str>,
    #[serde(rename = "target_machine")]
    target: Option<&'a str>,
    addresses: &'a [String],
    point: Option<&'a str>,
    /// Milliseconds since 1970.
    point_time_ms: Option<u64>,
    /// `crash` or `app`.
    consistency: Option<&'static str>,
    params: BTreeMap<&'a str, &'a str>,
}

/// The bytes to send. `own` says which of the action's parameters stay out of them.
pub(crate) fn body(call: &Call, context: &Context, own: fn(&str) -> bool) -> Vec<u8> {
    let body = Body {
        plan: &context.plan,
        operation: &context.operation,
        kind: context.kind.map(kind),
        direction: match context.direction {
            Direction::Forward => "forward",
            Direction::Reverse => "reverse",
        },
        group: context.group.as_deref(),
        phase: &context.phase,
        action: &context.action,
        installation: &call.installation,
        job: call.job.as_deref(),
        step: &call.step,
        key: &call.key,
        machines: context.machines.iter().map(machine).collect(),
        params: map(&context.params)
            .into_iter()
            .filter(|(name, _)| !own(name))
            .collect(),
    };
    // Plain structs of text and numbers: there is nothing that could fail to serialise.
    serde_json::to_vec(&body).unwrap_or_default()
}

fn machine(machine: &MachineContext) -> Machine<'_> {
    Machine {
        item: &machine.item,
        source_site: &machine.source_site,
        target_site: &machine.target_site,
        source: machine.source_machine.as_deref(),
        target: machine.target_machine.as_deref(),
        addresses: &machine.addresses,
        point: machine.point.as_deref(),
        point_time_ms: machine.point_time_ms,
        consistency: machine.consistency.map(|consistency| match consistency {
            Consistency::Crash => "crash",
            Consistency::App => "app",
        }),
        params: map(&machine.params),
    }
}

fn kind(kind: FailoverKind) -> &'static str {
    match kind {
        FailoverKind::Test => "test",
        FailoverKind::Planned => "planned",
        FailoverKind::Unplanned => "unplanned",
    }
}

fn map(pairs: &[(String, String)]) -> BTreeMap<&str, &str> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
