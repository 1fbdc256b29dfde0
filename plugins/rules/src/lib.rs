//! What the platforms allow of failover and failback: facts in, findings and extra steps out.
//!
//! The host knows no platform, and no adapter should have to know all of them; so the rules of the platforms that the
//! product's requirements name stand here once, and every adapter that learns such facts compiles them in. They are
//! pure: no I/O, no clock, no plugin contract. An adapter reads its site, fills in a [`Case`], and passes on what
//! [`judge`] says under its own name.
//!
//! One function a rule, with the id of the requirement in its comment. Every rule is asked every time: an operator who
//! mends five things wants to hear of all five at once. A fact that is not known refuses nothing.

pub mod boot;
pub mod features;
pub mod machine;
pub mod site;
pub mod tools;

mod away;
mod forward;
mod home;
mod identity;
mod location;
mod servers;

use std::collections::BTreeMap;

use machine::Machine;
use site::{Platform, Site};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Goes on, and is recorded.
    Warning,
    /// Refuses the operation.
    Error,
}

impl Severity {
    /// The contract's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a rule has to say about the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of [`FINDINGS`].
    pub id: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What is the matter.
    pub cause: String,
    /// What to do.
    pub cure: String,
}

/// A step that this machine needs and others do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub id: &'static str,
    /// How long it is expected to take.
    pub estimate_ms: u64,
    /// Why it is needed.
    pub reason: String,
}

/// What all rules together say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// All findings.
    pub findings: Vec<Finding>,
    /// Steps to put in before the machine starts.
    pub steps: Vec<Step>,
}

impl Verdict {
    fn add(&mut self, id: &'static str, severity: Severity, cause: impl Into<String>, cure: impl Into<String>) {
        self.findings.push(Finding {
            id,
            severity,
            cause: cause.into(),
            cure: cure.into(),
        });
    }

    fn refuse(&mut self, id: &'static str, cause: impl Into<String>, cure: impl Into<String>) {
        self.add(id, Severity::Error, cause, cure);
    }
}

/// The part that the asked site plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The machine runs there.
    Source,
    /// The machine goes there.
    Target,
}

/// Where a machine that comes home is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Onto the machine that it once was.
    Original,
    /// Onto a machine that is made anew.
    Alternate,
}

/// What an operator chose for the item, by name: `master-target`, `datastore`, ...
pub type Options = BTreeMap<String, String>;

/// One item before one operation, as one of its two sites sees it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The operation's name in the host: `reprotect`, `unplanned-failover`, ...
    pub operation: &'a str,
    /// The role of the asked site.
    pub role: Role,
    /// The way leads home.
    pub reverse: bool,
    /// On the way home: where to.
    pub location: Option<Location>,
    /// Where the machine came from first.
    pub origin: &'a str,
    /// The item's name.
    pub item: &'a str,
    /// The asked site.
    pub site: &'a Site,
    /// The machine at the operation's source. At the source itself as it is now, and none if it is gone; else as it was
    /// last listed.
    pub machine: Option<&'a Machine>,
    /// The machine that is at the operation's target already, as it is now.
    pub original: Option<&'a Machine>,
    /// What was chosen.
    pub options: &'a Options,
    /// How long boot preparation takes.
    pub boot_preparation_ms: u64,
}

impl<'a> Case<'a> {
    /// A chosen value; an empty one is none.
    fn option(&self, name: &str) -> Option<&'a str> {
        self.options
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A machine is brought up at the target, test or real.
    fn makes_machine(&self) -> bool {
        matches!(
            self.operation,
            "test" | "failover" | "planned-failover" | "unplanned-failover"
        )
    }

    /// A real failover on the way home.
    fn fails_back(&self) -> bool {
        self.reverse && self.makes_machine() && self.operation != "test"
    }

    fn reprotects(&self) -> bool {
        self.operation == "reprotect"
    }

    /// The machine runs in the cloud now.
    fn runs_in_cloud(&self) -> bool {
        self.machine
            .is_some_and(|machine| machine.platform == Some(Platform::Azure))
    }

    /// The machine comes back from the cloud in stages: reprotect, failover, commit, reprotect.
    fn comes_back_in_stages(&self) -> bool {
        self.reverse && self.runs_in_cloud() && matches!(self.origin, "vmware" | "physical")
    }

    /// Worth a warning while it is prepared, and an error when it is done.
    fn severity_of_failback(&self) -> Severity {
        if self.fails_back() {
            Severity::Error
        } else {
            Severity::Warning
        }
    }

    fn machine_name(&self) -> &'a str {
        self.machine.map_or(self.item, |machine| {
            if machine.name.is_empty() {
                &machine.id
            } else {
                &machine.name
            }
        })
    }
}

/// Asks every rule. A site without a platform has none of them but those that are facts of the machine alone.
pub fn judge(case: &Case<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    match (case.role, case.reverse) {
        (Role::Target, false) => forward::target(case, &mut verdict),
        (Role::Source, false) => servers::forward_source(case, &mut verdict),
        (Role::Target, true) => home::target(case, &mut verdict),
        (Role::Source, true) => away::source(case, &mut verdict),
    }
    verdict
}

/// Every finding of these rules: id, and what it means.
pub const FINDINGS: [(&str, &str); 35] = [
    (
        "certificate-missing",
        "The source's data is encrypted, and no certificate is named that opens it",
    ),
    (
        "certificate-not-secret",
        "The encryption certificate is not a named secret",
    ),
    (
        "san-policy",
        "Without the SAN policy OnlineAll a Windows machine may lose its drive letters",
    ),
    ("san-policy-unknown", "Windows knows no such SAN policy"),
    (
        "boot-preparation",
        "The machine cannot start in the cloud as it is; a step prepares it",
    ),
    (
        "migrated",
        "The migration of the machine was completed: there is no way back",
    ),
    (
        "moved-resource-group",
        "The cloud machine was moved to another resource group: there is no way back",
    ),
    (
        "cloud-machine-deleted",
        "The cloud machine was deleted: there is nothing to bring back",
    ),
    ("not-healthy", "The machine's replication is not healthy"),
    ("agent-not-registered", "The agent in the machine is not registered yet"),
    (
        "planned-failback",
        "Machines of this origin come back by an unplanned failover",
    ),
    (
        "not-back-to-hyperv",
        "A machine that came from VMware cannot come back to a Hyper-V host",
    ),
    (
        "physical-only-to-vmware",
        "A physical server comes back only as a VMware machine",
    ),
    (
        "physical-only-alternate",
        "A physical server comes back only to an alternate location",
    ),
    (
        "release-cannot-come-back",
        "A physical server with this release of its system cannot come back",
    ),
    (
        "primary-unavailable",
        "The machine at home is unavailable and must be restored from backup first",
    ),
    (
        "configuration-server-new",
        "The machine may come back only to the configuration server that it came from",
    ),
    (
        "vcenter-new",
        "The machine may come back only to the vCenter that it came from",
    ),
    (
        "configuration-server-missing",
        "There is no configuration server at home",
    ),
    (
        "configuration-server-unreachable",
        "The configuration server at home does not answer",
    ),
    (
        "configuration-server-moved",
        "The configuration server has another IP address than when the machine left",
    ),
    (
        "machine-not-in-database",
        "The configuration server's database does not know the machine",
    ),
    ("vcenter-disconnected", "The vCenter is not connected"),
    ("master-target-none", "There is no master target at home"),
    ("master-target-unknown", "The chosen master target does not exist"),
    (
        "master-target-os",
        "No usable master target has the machine's family of operating systems",
    ),
    ("master-target-snapshots", "The master target has snapshots"),
    ("process-server-none", "There is no process server on premises"),
    (
        "process-server-unknown",
        "The chosen process server does not exist or does not answer",
    ),
    (
        "esx-host-not-discovered",
        "The ESX host of the master target was not discovered",
    ),
    (
        "datastore-not-reachable",
        "The master target's ESX host does not reach the machine's datastore",
    ),
    (
        "disk-not-attached",
        "A disk on vSAN or RDM does not exist or is not attached",
    ),
    (
        "datastore-not-chosen",
        "An alternate location needs a datastore that the master target's ESX host reaches",
    ),
    ("datastore-not-vmfs", "An alternate location takes VMFS datastores only"),
    (
        "alternate-location",
        "All data is sent, which takes longer than coming back to the original location",
    ),
];

#[cfg(test)]
mod bench;
