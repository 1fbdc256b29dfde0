//! A test case as its author writes it. Everything has a default, so that a case says only what it is about.
//!
//! The first call stands at the top of the file; what follows it stands under `[[then]]`. Both have the same keys, and
//! a later call takes over what it does not say itself, except for what is expected of it.

mod data;
mod expect;
mod facts;
mod guests;
mod transport;
mod web;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use data::{Data, to_hex};
pub(crate) use expect::{Expect, Outcome};
pub use facts::CallFacts;
pub(crate) use facts::{
    CandidateFacts, Consistency, ContextFacts, Direction, FailoverKind, MachineFacts, PointFacts, RequestFacts,
};
pub(crate) use guests::{Run, Side};
pub(crate) use transport::{ConnectFault, Connection, Then, Turn};
pub(crate) use web::{Answer, Exchange, NetworkFault, Times};

/// Names and values.
pub(crate) type Pairs = BTreeMap<String, String>;

/// 2026-01-01T00:00:00Z: a round moment, so that times in expectations can be read.
pub(crate) const NEW_YEAR: u64 = 1_767_225_600_000;

/// One test case.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// What the case shows, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The operator's configuration of the plugin.
    pub config: Pairs,
    /// What the operator grants. Left out: what the manifest requests, and the destinations, endpoints and secrets that
    /// the case itself names.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Value>,
    /// Where the clock stands, in milliseconds since 1970 [default: 2026-01-01 00:00 UTC].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
    /// Seed of `random`.
    pub seed: u64,
    /// What the plugin keeps already when the case begins.
    pub state: BTreeMap<String, Data>,
    /// What it put into its session, and is not forgotten yet.
    pub session: BTreeMap<String, Data>,
    /// Values of its secrets, by name: invented ones.
    pub secrets: Pairs,
    /// Limits of a call, as in the daemon's configuration.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<landfall_runtime::Limits>,

    // The first call: the keys of `Act`, since a flattened struct could not refuse unknown keys with their line.
    /// The function [default: `run` of a runbook, `select` of a policy].
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Who calls, and under which key.
    pub call: CallFacts,
    /// Parameters of the action (runbook), of the choice (policy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Pairs>,
    /// What a runbook is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextFacts>,
    /// What a policy is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestFacts>,
    /// Arguments of an adapter's function, named as in the contract.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// False: stop at the first `again` or `running` [default: go on until it is over, as the host does].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<bool>,
    /// What the network answers, in the order in which it is looked through.
    pub http: Vec<Exchange>,
    /// Connections that it opens, each with what is said on it.
    pub transport: Vec<Connection>,
    /// Programs that it runs inside machines.
    pub guests: Vec<Run>,
    /// What must come of the first call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,

    /// Further calls.
    pub then: Vec<Act>,
}

/// A call that follows another.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Act {
    /// The function [default: that of the call before].
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Milliseconds by which the clock moves before it.
    pub after_ms: u64,
    /// Who calls, and under which key [default: as before, and one attempt more].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallFacts>,
    /// Parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Pairs>,
    /// What a runbook is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextFacts>,
    /// What a policy is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestFacts>,
    /// Arguments of an adapter's function.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// False: stop at the first `again` or `running`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<bool>,
    /// Further answers of the network.
    pub http: Vec<Exchange>,
    /// Further connections.
    pub transport: Vec<Connection>,
    /// Further programs.
    pub guests: Vec<Run>,
    /// What must come of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

impl Case {
    /// The calls, in order, each whole.
    pub fn acts(&self) -> Vec<Act> {
        let first = Act {
            function: self.function.clone(),
            after_ms: 0,
            call: Some(self.call.clone()),
            params: self.params.clone(),
            context: self.context.clone(),
            request: self.request.clone(),
            arguments: self.arguments.clone(),
            resume: self.resume,
            http: self.http.clone(),
            transport: self.transport.clone(),
            guests: self.guests.clone(),
            expect: self.expect.clone(),
        };
        let mut acts = vec![first];
        for next in &self.then {
            let Some(before) = acts.last() else { break };
            acts.push(next.after(before));
        }
        acts
    }

    /// Where the clock begins.
    pub fn now(&self) -> u64 {
        self.now_ms.unwrap_or(NEW_YEAR)
    }
}

impl Act {
    /// What it does not say itself is as before; another attempt, unless it says who calls.
    fn after(&self, before: &Self) -> Self {
        let again = before.call.clone().map(|call| CallFacts {
            attempt: call.attempt.saturating_add(1),
            ..call
        });
        Self {
            function: self.function.clone().or_else(|| before.function.clone()),
            after_ms: self.after_ms,
            call: self.call.clone().or(again),
            params: self.params.clone().or_else(|| before.params.clone()),
            context: self.context.clone().or_else(|| before.context.clone()),
            request: self.request.clone().or_else(|| before.request.clone()),
            arguments: self.arguments.clone().or_else(|| before.arguments.clone()),
            resume: self.resume,
            http: self.http.clone(),
            transport: self.transport.clone(),
            guests: self.guests.clone(),
            expect: self.expect.clone(),
        }
    }
}

/// The JSON Schema of a case, for editors.
pub fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft07();
    settings.into_generator().into_root_schema_for::<Case>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_call_takes_over_what_it_does_not_say() {
        let case: Case = toml::from_str(
            "params = { url = \"http://h/\" }\n[[then]]\n[[then]]\ndo = \"probe\"\nparams = {}\ncall = { key = \"other\" }\n",
        )
        .unwrap();
        let acts = case.acts();
        assert_eq!(acts.len(), 3);
        let call = |index: usize| acts[index].call.clone().unwrap();
        assert_eq!((call(1).attempt, call(1).key.as_str()), (2, "key-1"));
        assert_eq!((call(2).attempt, call(2).key.as_str()), (1, "other"));
        assert_eq!(acts[1].params, acts[0].params);
        assert_eq!(acts[2].params, Some(Pairs::new()));
    }
}
