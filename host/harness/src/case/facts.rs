//! The contract's records as a case writes them, with defaults for all that it leaves out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Pairs;

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
