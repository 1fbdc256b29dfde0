//! Answers of a daemon, for the snapshots.

use std::collections::BTreeMap;

use landfall_daemon::api::wire::{ItemView, JobItemView, JobView, PluginView, PointView, PointsView, StepView};
use landfall_recovery::operations::{Operation, Permission};
use landfall_recovery::words::{Finding, Severity};

/// 2026-11-22 04:00:00Z.
const NOON: u64 = 1_795_320_000_000;

pub(crate) fn item(name: &str) -> ItemView {
    ItemView {
        name: name.to_owned(),
        phase: "protected".to_owned(),
        test: "none".to_owned(),
        direction: "forward".to_owned(),
        active_site: "north".to_owned(),
        source_site: "north".to_owned(),
        source_machine: "vm-17".to_owned(),
        target_site: "south".to_owned(),
        target_machine: None,
        test_machine: None,
        replication_group: None,
        job: None,
        trouble: None,
        source_stopped: false,
        restored: false,
        risk_accepted: false,
        both_active: false,
        test_until: None,
        location: None,
        rpo_ms: Some(2_400),
        rpo_target_ms: 5_000,
        points: 12,
        seeded_percent: None,
        bytes_sent: 40 << 20,
        rpo_missed_since: None,
        replication_error: None,
        operations: BTreeMap::new(),
    }
}

pub(crate) fn troubled_item() -> ItemView {
    let finding = Finding {
        id: "LF0203".to_owned(),
        severity: Severity::Error,
        subject: "hr-db-2".to_owned(),
        cause: "the source site does not answer: connection refused".to_owned(),
        cure: "restore the site, or fail over unplanned".to_owned(),
    };
    ItemView {
        job: Some("0199-j7".to_owned()),
        trouble: Some("failed".to_owned()),
        replication_group: Some("hr-db".to_owned()),
        rpo_ms: Some(65_000),
        rpo_missed_since: None,
        replication_error: Some("site `north` does not answer".to_owned()),
        operations: BTreeMap::from([
            (
                "planned-failover".to_owned(),
                Permission::Blocked {
                    findings: vec![finding],
                },
            ),
            ("unplanned-failover".to_owned(), Permission::Allowed),
            (
                "commit".to_owned(),
                Permission::Illegal {
                    code: "LF0202".to_owned(),
                    reason: "`hr-db-2` is protected".to_owned(),
                    legal: vec![Operation::Test],
                },
            ),
        ]),
        ..item("hr-db-2")
    }
}

fn point(id: &str, at: u64, processed: bool) -> PointView {
    PointView {
        id: id.to_owned(),
        source_time_ms: at,
        consistency: if processed { "app" } else { "crash" }.to_owned(),
        group_mark: processed.then(|| "cycle-88".to_owned()),
        processed,
    }
}

pub(crate) fn points() -> PointsView {
    PointsView {
        item: "hr-db-1".to_owned(),
        observed_at: Some(NOON),
        points: vec![point("p-12", NOON, false), point("p-11", NOON - 5_000, true)],
    }
}

pub(crate) fn plugin() -> PluginView {
    PluginView {
        name: "standard".to_owned(),
        kind: Some("recovery-point-policy".to_owned()),
        version: Some("0.1.0".to_owned()),
        digest: Some("3f0c9f0e6b8d4a1c2f7e5d9b0a8c6e4f2d1b3a5c7e9f0d2b4a6c8e0f1a3b5c7d".to_owned()),
        state: "serving".to_owned(),
        error: None,
        summary: Some("The usual choices of recovery point".to_owned()),
        requests: Vec::new(),
        choices: BTreeMap::from([
            ("latest".to_owned(), "Process all data first".to_owned()),
            ("latest-processed".to_owned(), "The newest that is ready".to_owned()),
        ]),
        findings: BTreeMap::new(),
        pending: None,
    }
}

pub(crate) fn step(id: &str, status: &str, after: &[&str]) -> StepView {
    let (kind, subject) = id.split_once('/').unwrap_or((id, ""));
    StepView {
        id: id.to_owned(),
        kind: kind.to_owned(),
        stage: "start".to_owned(),
        calls: Some("south".to_owned()),
        group: Some("database".to_owned()),
        items: vec![subject.to_owned()],
        after: after.iter().map(ToString::to_string).collect(),
        class: "keyed".to_owned(),
        status: status.to_owned(),
        attempt: 1,
        begun_at: (status != "pending").then_some(NOON + 1_000),
        ended_at: (status == "done").then_some(NOON + 2_250),
        retry_at: None,
        percent: None,
        note: None,
        outputs: BTreeMap::new(),
        code: None,
        message: None,
        sends: None,
    }
}

pub(crate) fn job(status: &str, items: Vec<JobItemView>, steps: Vec<StepView>) -> JobView {
    let mut counts = BTreeMap::new();
    for step in &steps {
        *counts.entry(step.status.clone()).or_insert(0) += 1;
    }
    JobView {
        id: "0199-j7".to_owned(),
        operation: "unplanned-failover".to_owned(),
        plan: "hrweb".to_owned(),
        status: status.to_owned(),
        reason: None,
        requested_by: "admin".to_owned(),
        requested_at: NOON,
        ended_at: (status != "stuck").then_some(NOON + 42_300),
        hash: "9a7b3c5d1e2f4a6b8c0d".to_owned(),
        counts,
        allowed_actions: Vec::new(),
        findings: Vec::new(),
        items,
        steps,
        plugins: BTreeMap::new(),
    }
}

fn job_item(name: &str, status: &str) -> JobItemView {
    JobItemView {
        item: name.to_owned(),
        source_site: "north".to_owned(),
        target_site: "south".to_owned(),
        status: status.to_owned(),
        ..JobItemView::default()
    }
}

pub(crate) fn failed_over_job() -> JobView {
    let done = JobItemView {
        machine: Some("vm-204".to_owned()),
        stage: Some("start".to_owned()),
        point: Some(point("p-11", NOON - 5_000, true)),
        rpo_ms: Some(5_000),
        rto_ms: Some(38_200),
        proof: Some("verified-off".to_owned()),
        ..job_item("hr-db-1", "done")
    };
    let steps = vec![
        step("create/hr-db-1", "done", &[]),
        step("start/hr-db-1", "done", &["create/hr-db-1"]),
    ];
    let mut job = job("succeeded", vec![done, job_item("hr-web-1", "left-out")], steps);
    job.plugins
        .insert("south".to_owned(), "lab 0.1.0 3f0c9f0e6b8d".to_owned());
    job
}

pub(crate) fn stuck_job() -> JobView {
    let mut fence = step("fence/hr-db-1", "stuck", &[]);
    fence.code = Some("LF0302".to_owned());
    fence.message = Some("site `north` does not answer, so nobody can tell whether the machine is off".to_owned());
    let mut action = step("action/announce", "stuck", &[]);
    action.code = Some("LF0301".to_owned());
    action.message = Some("the daemon stopped while it ran".to_owned());
    let mut job = job("stuck", vec![job_item("hr-db-1", "stuck")], vec![fence, action]);
    job.allowed_actions = ["retry", "skip", "attest", "cancel", "abandon"]
        .map(str::to_owned)
        .to_vec();
    job
}

pub(crate) fn dry_run() -> JobView {
    let mut create = step("create/hr-db-1", "pending", &["milestone/chosen", "choose/hr-db-1"]);
    create.sends = Some(serde_json::json!({"operation": "create", "point": "known after choose/hr-db-1"}));
    let steps = vec![
        step("choose/hr-db-1", "pending", &[]),
        step("milestone/chosen", "pending", &["choose/hr-db-1"]),
        create,
        step("start/hr-db-1", "pending", &["create/hr-db-1", "a", "b", "c", "d"]),
    ];
    let item = JobItemView {
        point_known_after: Some("known after choose/hr-db-1".to_owned()),
        ..job_item("hr-db-1", "pending")
    };
    let mut job = job("dry-run", vec![item], steps);
    job.id = String::new();
    job.findings = vec![Finding {
        id: "LF0213".to_owned(),
        severity: Severity::Warning,
        subject: "hrweb".to_owned(),
        cause: "no test failover of this plan has succeeded".to_owned(),
        cure: "run one when there is time".to_owned(),
    }];
    job
}
