//! What goes over the wire, for the API and its clients alike. Field names are kebab-case; times are milliseconds
//! since 1970 in host time; what is not known is absent. New fields may appear; clients ignore what they do not know.

mod plugins;

pub use crate::reload::Reloaded;
use std::collections::BTreeMap;

use landfall_recovery::diagnostic::Diagnostic;
use landfall_recovery::operations::Permission;
use landfall_recovery::words::{Direction, Finding, Pairs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::replay::{Otherwise, PolicyDecision};
pub use plugins::{
    BoundView, ChangeView, PendingView, PinView, PluginDetail, PluginOrder, PluginVersionView, PluginView,
    RevokeRequest, WantView,
};

/// What a client asks a job to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JobRequest {
    /// `protect`, `test`, `cleanup`, `planned-failover`, `unplanned-failover`, `resume-protection`, `change-point`,
    /// `commit`, `reprotect`, `fence`, `choose-direction`, `unprotect` or `release`.
    pub operation: String,
    /// A plan's name. Either this or `items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Items without a plan (F04), or, with one, only these of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// Choice of recovery point, instead of the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Policy plugin, instead of the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Parameters of the choice; for `custom`: item to point id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub point_params: Pairs,
    /// For a test: this network instead of the plan's or the items'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_network: Option<String>,
    /// For a real failover, and for what may delete or give up the only copy: the plan's or item's name, typed (LF0208).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// For an unplanned failover: go on though a source may not be off, for this reason (F15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_split_brain_risk: Option<String>,
    /// With that risk accepted: switch the old source off when it is seen again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fence_on_return: bool,
    /// For an unplanned failover: whether sources are shut down first, instead of what the plan says (F15). `false` where
    /// their site is known to be gone: nothing is waited for, and the proof that they are off is asked for all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<bool>,
    /// Leave these machines out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Of a plan only this group and those after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_group: Option<String>,
    /// Wait for a person before these groups of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pause_before: Vec<String>,
    /// Which way; needed where machines of the plan disagree, and for a real failover back home (F13, B20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub direction: Option<Direction>,
    /// For a reprotect towards home: another site than the one that the machine came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// For `choose-direction`: the site whose machine stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// For `release`: why what is away is let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Options for the adapters, instead of the inventory's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: Pairs,
    /// For a test: how long its machines live (default: a day).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// For a test: what is to go wrong, by step: `fail`, `crash`, `repeat`, `slow` or `slow:2m` (X08).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inject: Pairs,
    /// Only show what would be done (X04).
    #[serde(default)]
    pub dry_run: bool,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct JobView {
    /// Its id; ids sort by time.
    pub id: String,
    /// What it does.
    pub operation: String,
    /// The plan's name, or the items'.
    pub plan: String,
    /// `running`, `stuck` (a person is needed), `stopping`, or the outcome: `succeeded`, `completed-with-errors`,
    /// `failed`, `cancelled`, `abandoned`.
    pub status: String,
    /// Why it ended so, or why nothing is begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: u64,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// SHA-256 of what was frozen.
    pub hash: String,
    /// Steps by status; milestones are not counted.
    pub counts: BTreeMap<String, usize>,
    /// What may be done with the job now: `retry`, `skip`, `attest`, `cancel`, `abandon`.
    pub allowed_actions: Vec<String>,
    /// Findings that did not refuse it.
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<Finding>,
    /// Its machines.
    pub items: Vec<JobItemView>,
    /// Its steps; absent in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// Plugins it is pinned to, by site, runbook or policy: `name version digest`.
    #[serde(default)]
    pub plugins: BTreeMap<String, String>,
}

/// A machine in a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct JobItemView {
    /// The item.
    pub item: String,
    /// Where it came from.
    pub source_site: String,
    /// Where it is brought up.
    pub target_site: String,
    /// The machine made there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The stage it is in: `prerequisites`, `failover`, `start`, `finish` (F26); absent before it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// `pending`, `running`, `done`, `failed`, `stuck` or `left-out`.
    pub status: String,
    /// The chosen point (F11); before it is known, the step after which it will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<PointView>,
    /// `known after STEP` while the point is not chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point_known_after: Option<String>,
    /// Until then: the time at the source of the newest data that the target has received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_received_ms: Option<u64>,
    /// Why the policy chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point_reason: Option<String>,
    /// Age of the recovered data when the failover was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_ms: Option<u64>,
    /// From the request to the started machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_ms: Option<u64>,
    /// `verified-off`, `human-attested`, ..., or `isolated` for a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// What a step of a job sent to a plugin, for a test of that plugin.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RecordedView {
    /// The plugin that the job is pinned to.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// The configuration that the job froze. No secrets are ever in it.
    pub config: Pairs,
    /// The installation.
    pub installation: String,
    /// Its epoch.
    pub epoch: u64,
    /// The job.
    pub job: String,
    /// The step.
    pub step: String,
    /// Tries so far, at least one.
    pub attempt: u32,
    /// The key of all tries.
    pub key: String,
    /// When its last round of tries began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<u64>,
    /// What was sent, as a dry run shows it.
    pub sends: serde_json::Value,
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct StepView {
    /// Readable and unique in the job: `create/hr-db-1`.
    pub id: String,
    /// What it does: `create`, `action`, `fence`, ...
    pub kind: String,
    /// `prerequisites`, `failover`, `start`, `actions` or `finish`.
    pub stage: String,
    /// The site or runbook called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<String>,
    /// The plan's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The items it is about.
    pub items: Vec<String>,
    /// Steps it waits for.
    pub after: Vec<String>,
    /// `read`, `idempotent`, `keyed`, `probeable` or `one-shot`.
    pub class: String,
    /// `pending`, `running`, `retrying`, `stuck`, `done`, `skipped`, `failed` or `not-run`.
    pub status: String,
    /// Tries so far.
    pub attempt: u32,
    /// When the present round of tries began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<u64>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<u64>,
    /// While it runs, as far as the far side says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// In the far side's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: Pairs,
    /// Stable code of the last failure, or of why it is stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it failed last, or why a person is needed and what they can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// In a dry run: what would be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub sends: Option<serde_json::Value>,
}

/// One event of a job, as the stream gives it. The stream's id is `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EventView {
    /// Number in the journal.
    pub seq: u64,
    /// Whose.
    pub job: String,
    /// Host time.
    pub at: u64,
    /// `started`, `intent`, `handle`, `outcome`, `stuck`, `operator` or `ended`.
    pub event: String,
    /// The step's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Of an outcome: `done`, `failed` or `skipped`; of an end: the job's outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// In a sentence.
    pub message: String,
}

/// A decision about a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DecisionRequest {
    /// For `retry`: these steps only; none: all that are stuck or failed. For `repin`: none: all that wait for their
    /// plugin.
    #[serde(default)]
    pub steps: Vec<String>,
    /// For `answer`: whether the job goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<bool>,
    /// Why; a refusal, `skip`, `attest`, `repin`, `cancel` and `abandon` want a reason.
    #[serde(default)]
    pub reason: String,
    /// For `repin`: the digest to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A protected item.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, read by name")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ItemView {
    /// Its name.
    pub name: String,
    /// `unprotected`, `seeding`, `protected`, `failed-over`, `committed` or `reprotecting`.
    pub phase: String,
    /// `none`, `testing`, `tested` or `cleaning`.
    pub test: String,
    /// `forward` or `reverse`.
    pub direction: String,
    /// Where it runs.
    pub active_site: String,
    /// Home.
    pub source_site: String,
    /// The machine's reference at home.
    pub source_machine: String,
    /// Where it is protected to.
    pub target_site: String,
    /// The machine there, after a failover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_machine: Option<String>,
    /// The machine that a test made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_machine: Option<String>,
    /// Its replication group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_group: Option<String>,
    /// The job that holds it, or that left it in trouble.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// `failed`, `cancelled` or `abandoned` if that job did not go well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// A failover switched its source off, or keeps it from starting, and no machine took its place yet.
    #[serde(default)]
    pub source_stopped: bool,
    /// Its state comes from a backup and was not compared with its sites yet: nothing may be asked of it.
    #[serde(default)]
    pub restored: bool,
    /// It was activated on a person's word.
    pub risk_accepted: bool,
    /// The source that it was recovered without runs again beside it.
    #[serde(default)]
    pub both_active: bool,
    /// When its test machine is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_until: Option<u64>,
    /// On the way back: `original`, the machine that was there before, or `alternate`, a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Present age of the newest received data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_ms: Option<u64>,
    /// Its target.
    pub rpo_target_ms: u64,
    /// Points in the catalogue.
    pub points: usize,
    /// Percent of the first full copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeded_percent: Option<u8>,
    /// Bytes moved in all.
    pub bytes_sent: u64,
    /// Since when the newest received data is older than its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_missed_since: Option<u64>,
    /// Why the last replication cycle failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_error: Option<String>,
    /// What may be asked of it now, and why not the rest; absent in lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub operations: BTreeMap<String, Permission>,
}

/// A recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PointView {
    /// The target's id.
    pub id: String,
    /// On the source's clock.
    pub source_time_ms: u64,
    /// `crash` or `app`.
    pub consistency: String,
    /// Common mark of a replication group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_mark: Option<String>,
    /// False: received, not yet usable.
    pub processed: bool,
}

/// The points of an item, as the catalogue has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PointsView {
    /// The item.
    pub item: String,
    /// When the target was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<u64>,
    /// Newest first.
    pub points: Vec<PointView>,
}

/// An applied document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DocumentView {
    /// The plan's name, or `inventory`.
    pub name: String,
    /// When it was applied; absent after a mere check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<u64>,
    /// False: it was there already, word for word.
    pub changed: bool,
    /// Machines in it.
    pub machines: usize,
    /// Groups in it.
    pub groups: usize,
    /// Worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Of a plan: what its last test says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<ReadinessView>,
    /// As it was written; absent in lists and answers to apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What nobody knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OrphansView {
    /// By site.
    pub orphans: Vec<OrphanView>,
    /// Sites that did not answer, and why.
    pub unasked: BTreeMap<String, String>,
}

/// Something at a site that carries this installation's stamp, and that no item knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OrphanView {
    /// Where.
    pub site: String,
    /// `machine`, `replica` or another word of the site's adapter.
    pub kind: String,
    /// The site's reference.
    pub id: String,
    /// For which item it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// By which job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// By which step of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Under which epoch.
    pub epoch: u64,
}

/// When a plan was last tested, and whether that still says something (F01).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReadinessView {
    /// The last test failover; absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested_at: Option<u64>,
    /// How.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// It succeeded, and neither plan nor inventory nor a plugin changed since.
    pub verified: bool,
    /// What changed since, or what else keeps it from being verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SiteView {
    /// Its name.
    pub name: String,
    /// The adapter plugin.
    pub adapter: String,
    /// `name version digest` of what serves, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// It answers.
    pub reachable: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It can be replicated from.
    pub source: bool,
    /// It can be replicated to.
    pub target: bool,
    /// `driven` or `autonomous`.
    pub replication: String,
    /// When it was asked.
    pub observed_at: u64,
}

/// A machine at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MachineView {
    /// The site's reference.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `on`, `off` or `unknown`.
    pub power: String,
    /// Platform of origin.
    pub origin: String,
    /// Bytes of all its disks.
    pub disk_bytes: u64,
    /// Networks of its interfaces, as `nic=network`.
    pub networks: Vec<String>,
    /// The item that protects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

/// A network at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkView {
    /// Its reference.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Reaches no other.
    pub isolated: bool,
}

/// What a policy is to decide again. Of `decisions`, `item` and `job` one is used, in this order of `item`, `decisions`,
/// `job`; without any, all recorded decisions are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ReplayRequest {
    /// Another policy; by default the very version that decided.
    pub policy: Option<String>,
    /// A certain version of it.
    pub digest: Option<String>,
    /// Decisions of this job.
    pub job: Option<String>,
    /// An item's present points.
    pub item: Option<String>,
    /// With `item`: as if it were then.
    pub at_ms: Option<u64>,
    /// Decisions that were kept elsewhere.
    #[schema(value_type = Vec<Object>)]
    pub decisions: Vec<PolicyDecision>,
    /// Choice and parameters in place of the recorded ones.
    pub otherwise: Otherwise,
}

/// Which points would be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RetainRequest {
    /// Of this item.
    pub item: String,
    /// By this policy; by default the item's.
    pub policy: Option<String>,
    /// As if the inventory said so.
    pub keep_ms: Option<u64>,
    /// As if it were then.
    pub at_ms: Option<u64>,
}

/// A policy's word on one point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct VerdictView {
    /// The item.
    pub item: String,
    /// The point.
    pub point: String,
    /// The time of its data.
    pub source_time_ms: u64,
    /// It stays.
    pub keep: bool,
    /// Why, in the policy's words.
    pub reason: String,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Page<T> {
    /// This page.
    pub items: Vec<T>,
    /// Give it as `before` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What went wrong: RFC 9457, with a stable code and a cure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// `urn:landfall:LF0202`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What went wrong, in this case.
    pub detail: String,
    /// Stable code; `landfall explain CODE` has its page.
    pub code: String,
    /// What to do.
    pub hint: String,
    /// Of a document: everything wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub diagnostics: Vec<Diagnostic>,
    /// Of a request: everything that stands against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<Finding>,
}

/// What is to be compared after a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Items; none: all that were restored.
    #[serde(default)]
    pub items: Vec<String>,
    /// Take the state as it is whatever is found, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
}

/// An item, compared with its sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReconcileView {
    /// Which.
    pub item: String,
    /// Its state fits, and counts again if it was restored; or it was taken as it is.
    pub reconciled: bool,
    /// What differs.
    #[schema(value_type = Vec<Object>)]
    pub findings: Vec<Finding>,
}

/// The program and the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct VersionView {
    /// Of Landfall.
    pub version: String,
    /// The installation's id.
    pub installation: String,
    /// Its epoch.
    pub epoch: u64,
    /// Why nothing new is begun, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
}
