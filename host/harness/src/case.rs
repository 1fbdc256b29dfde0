//! A test case as its author writes it. Everything has a default, so that a case says only what it is about.
//!
//! The first call stands at the top of the file; what follows it stands under `[[then]]`. Both have the same keys, and
//! a later call takes over what it does not say itself, except for what is expected of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// What the operator grants. Left out: what the manifest requests, and the destinations of the case's own `http`.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Value>,
    /// Where the clock stands, in milliseconds since 1970 [default: 2026-01-01 00:00 UTC].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
    /// Seed of `random`.
    pub seed: u64,
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
    /// What must come of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// The contract's `call`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CallFacts {
    /// The installation's id.
    pub installation: String,
    /// The installation's epoch.
    pub epoch: u64,
    /// The job; absent for a replication cycle.
    pub job: Option<String>,
    /// The step.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The key: the same for every attempt.
    pub key: String,
}

impl Default for CallFacts {
    fn default() -> Self {
        Self {
            installation: "test-installation".to_owned(),
            epoch: 1,
            job: Some("job-1".to_owned()),
            step: "step-1".to_owned(),
            attempt: 1,
            key: "key-1".to_owned(),
        }
    }
}

/// The contract's `context`, of `runbook-run`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContextFacts {
    /// The plan's name.
    pub plan: String,
    /// `failover`, `test`, `cleanup`, ...
    pub operation: String,
    /// The kind of failover.
    pub kind: Option<FailoverKind>,
    /// The direction.
    pub direction: Direction,
    /// The group; `""` for before or after all.
    pub group: String,
    /// `before` or `after`.
    pub phase: String,
    /// The action's name in the plan [default: the plugin's name].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The machines of the group.
    pub machines: Vec<MachineFacts>,
    /// What earlier actions returned, as ACTION/NAME.
    pub outputs: Pairs,
    /// Further pairs.
    pub ext: Pairs,
}

impl Default for ContextFacts {
    fn default() -> Self {
        Self {
            plan: "plan-1".to_owned(),
            operation: "failover".to_owned(),
            kind: Some(FailoverKind::Planned),
            direction: Direction::Forward,
            group: "group-1".to_owned(),
            phase: "after".to_owned(),
            action: None,
            machines: vec![MachineFacts::default()],
            outputs: Pairs::new(),
            ext: Pairs::new(),
        }
    }
}

/// The contract's `machine-context`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MachineFacts {
    /// The protected item.
    pub item: String,
    /// Where it comes from.
    pub source_site: String,
    /// Where it goes to.
    pub target_site: String,
    /// The machine there; `""` if it is not known.
    pub source_machine: String,
    /// The machine here; `""` if it was not created yet.
    pub target_machine: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The recovery point; `""` if none was chosen yet.
    pub point: String,
    /// When the source held that data [default: a minute before the case's clock].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point_time_ms: Option<u64>,
    /// The point's consistency.
    pub consistency: Consistency,
    /// The machine's own parameters.
    pub params: Pairs,
    /// Further pairs.
    pub ext: Pairs,
}

impl Default for MachineFacts {
    fn default() -> Self {
        Self {
            item: "item-1".to_owned(),
            source_site: "north".to_owned(),
            target_site: "south".to_owned(),
            source_machine: "machine-1".to_owned(),
            target_machine: "machine-1-copy".to_owned(),
            addresses: vec!["10.0.0.1".to_owned()],
            point: "point-1".to_owned(),
            point_time_ms: None,
            consistency: Consistency::Crash,
            params: Pairs::new(),
            ext: Pairs::new(),
        }
    }
}

/// The contract's `request`, of `policy`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequestFacts {
    /// The choice.
    pub choice: String,
    /// The kind of failover.
    pub kind: FailoverKind,
    /// The direction.
    pub direction: Direction,
    /// The items with their points.
    pub candidates: Vec<CandidateFacts>,
    /// Further pairs.
    pub ext: Pairs,
}

/// The contract's `candidate`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CandidateFacts {
    /// The protected item.
    pub item: String,
    /// Its replication group, where multi-VM consistency is on.
    pub group: Option<String>,
    /// Its points; the host gives the newest first, and so does the harness.
    pub points: Vec<PointFacts>,
}

impl Default for CandidateFacts {
    fn default() -> Self {
        Self {
            item: "item-1".to_owned(),
            group: None,
            points: Vec::new(),
        }
    }
}

/// The contract's `recovery-point`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PointFacts {
    /// Its id.
    pub id: String,
    /// How long before the case's clock the source held this data.
    #[serde(default)]
    pub age_ms: u64,
    /// `crash` or `app`.
    #[serde(default)]
    pub consistency: Consistency,
    /// Equal for the points of one barrier.
    #[serde(default)]
    pub group_mark: Option<String>,
    /// False: received, and not yet usable.
    #[serde(default = "yes")]
    pub processed: bool,
}

fn yes() -> bool {
    true
}

/// The contract's enum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverKind {
    /// Into isolated networks.
    Test,
    /// With the source alive.
    #[default]
    Planned,
    /// With the source lost.
    Unplanned,
}

/// The contract's enum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Away from home.
    #[default]
    Forward,
    /// Back home.
    Reverse,
}

/// The contract's enum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut.
    #[default]
    Crash,
    /// With applications quiesced.
    App,
}

/// One request that the network knows, and what it does with it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exchange {
    /// `GET`, `POST`, ... [default: any].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The whole URL; a `*` at its end stands for anything.
    pub url: String,
    /// Headers that must be there with this value; `*` stands for any value.
    pub headers: Pairs,
    /// The whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Texts that the body must hold.
    pub body_contains: Vec<String>,
    /// What the JSON of the body must hold at least.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// How often it is asked: a number, or `"any"` [default: 1].
    pub times: Times,
    /// The answer [default: 200, with nothing in it].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Answer>,
    /// What goes wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<NetworkFault>,
}

/// How often an exchange is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Times {
    /// Exactly.
    Exactly(u32),
    /// As often as it comes, also never.
    Any(Any),
}

/// `"any"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Any {
    /// As often as it comes.
    Any,
}

impl Default for Times {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Pairs,
    /// Its body as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body as JSON.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// How long it takes; the clock moves by it.
    pub takes_ms: u64,
    /// The connection breaks where the body ends, before the length that was announced.
    pub cut: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Pairs::new(),
            body: None,
            json: None,
            takes_ms: 0,
            cut: false,
        }
    }
}

/// What can happen instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkFault {
    /// Nobody listens: the request certainly did not arrive.
    Refused,
    /// No answer in the time that the plugin waits; the clock moves by that time.
    Timeout,
    /// The connection breaks before an answer: the request may have arrived.
    Reset,
}

/// What must come of a call. What is not named is not looked at.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// How it ends [default: `failure` if `code`, `definite` or `retryable` is expected, else `done`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Outputs that `done` gives at least. `*` stands for any value.
    pub outputs: Pairs,
    /// The failure's code, or the host's (`LF0431`) where the host ended the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Text in the failure's message, in the reason of `skip`, in the note of `again`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether the effect certainly did not happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definite: Option<bool>,
    /// Whether the same call may work later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// The pause that `again` or `running` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u32>,
    /// ITEM = POINT, for `select`.
    pub selected: Pairs,
    /// ITEM = the ids of exactly those points that `retain` keeps.
    pub kept: BTreeMap<String, Vec<String>>,
    /// What the answer holds at least, as JSON, for all other functions.
    #[schemars(with = "Option<Value>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Texts, each in some line of the log.
    pub log: Vec<String>,
    /// Texts, each in some refusal of the host.
    pub denied: Vec<String>,
    /// Requests that were answered or failed, in this call with all its polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<usize>,
    /// How often the function was called: once, and once more for each poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<usize>,
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With an answer; for `run`, `undo`, `submit`: it is over.
    Done,
    /// It wants to be called again, or is running.
    Again,
    /// Not needed.
    Skip,
    /// The plugin reports a failure.
    Failure,
    /// The host ended the call, or did not begin it: a trap, a limit, an interface that was not granted.
    Fault,
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
