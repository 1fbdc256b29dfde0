//! What a past job sent to a plugin, as the beginning of a test case: the author adds what the network answers, and
//! what must come of it.

use landfall_runtime::contract::adapter::Operation;
use landfall_runtime::contract::runbook::{Context, MachineContext};
use landfall_runtime::contract::types;
use serde_json::{Value, json};

use crate::case::{CallFacts, Case, Consistency, ContextFacts, Direction, FailoverKind, MachineFacts, Pairs};
use crate::naming;

/// What the daemon recorded of one step.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The configuration that the job froze.
    pub config: Pairs,
    /// Installation, epoch, job, step, attempt and key.
    pub call: CallFacts,
    /// When the step began.
    pub begun_ms: Option<u64>,
    /// What the step sent, as the dry run prints it.
    pub sends: Value,
}

/// The case as TOML. The error says why the step cannot be one.
pub fn recorded(about: String, recorded: Recorded) -> Result<String, String> {
    let Recorded {
        config,
        call,
        begun_ms,
        sends,
    } = recorded;
    let mut case = Case {
        about: Some(about),
        config,
        now_ms: begun_ms,
        call,
        ..Case::default()
    };
    let part = |name: &str| sends.get(name).cloned().unwrap_or_default();
    match sends.get("call").and_then(Value::as_str) {
        Some("action") => {
            let context: Context = serde_json::from_value(part("context")).map_err(|error| error.to_string())?;
            case.params = Some(context.params.iter().cloned().collect());
            case.context = Some(facts(context));
        }
        Some("operation") => {
            let operation: Operation = serde_json::from_value(part("operation")).map_err(|error| error.to_string())?;
            case.function = Some("submit".to_owned());
            case.arguments = Some(naming::shown(&operation));
        }
        other => {
            return Err(format!(
                "it sends nothing to a runbook or an adapter's `submit` ({}); policies are replayed with `landfall policy replay`",
                other.unwrap_or("nothing")
            ));
        }
    }
    let value = serde_json::to_value(&case).map_err(|error| error.to_string())?;
    toml::to_string(&said(value)).map_err(|error| error.to_string())
}

/// Only what says something: TOML has no null, and what is empty is the default.
fn said(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let told = fields.into_iter().map(|(name, value)| (name, said(value)));
            // Lists of a context stay when they are empty: their defaults are not.
            let stays = |name: &str| matches!(name, "machines" | "addresses");
            let is_told = |name: &str, value: &Value| {
                !value.is_null() && *value != json!({}) && (*value != json!([]) || stays(name))
            };
            Value::Object(told.filter(|(name, value)| is_told(name, value)).collect())
        }
        Value::Array(list) => list.into_iter().map(said).collect(),
        other => other,
    }
}

fn facts(context: Context) -> ContextFacts {
    ContextFacts {
        plan: context.plan,
        operation: context.operation,
        kind: context.kind.map(|kind| match kind {
            types::FailoverKind::Test => FailoverKind::Test,
            types::FailoverKind::Planned => FailoverKind::Planned,
            types::FailoverKind::Unplanned => FailoverKind::Unplanned,
        }),
        direction: match context.direction {
            types::Direction::Forward => Direction::Forward,
            types::Direction::Reverse => Direction::Reverse,
        },
        group: context.group.unwrap_or_default(),
        phase: context.phase,
        action: Some(context.action),
        machines: context.machines.into_iter().map(machine).collect(),
        outputs: context.outputs.into_iter().collect(),
        ext: context.ext.into_iter().collect(),
    }
}

fn machine(machine: MachineContext) -> MachineFacts {
    MachineFacts {
        item: machine.item,
        source_site: machine.source_site,
        target_site: machine.target_site,
        source_machine: machine.source_machine.unwrap_or_default(),
        target_machine: machine.target_machine.unwrap_or_default(),
        addresses: machine.addresses,
        point: machine.point.unwrap_or_default(),
        point_time_ms: machine.point_time_ms,
        consistency: match machine.consistency {
            Some(types::Consistency::App) => Consistency::App,
            Some(types::Consistency::Crash) | None => Consistency::Crash,
        },
        params: machine.params.into_iter().collect(),
        ext: machine.ext.into_iter().collect(),
    }
}
