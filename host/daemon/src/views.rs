//! From the core's values to what goes over the wire.

use std::collections::{BTreeMap, HashMap};

use landfall_recovery::codes;
use landfall_recovery::consequence::{chosen, outputs_of, proof};
use landfall_recovery::event::{Decision, Event, Outcome, Record, StepResult};
use landfall_recovery::graph::{Stage, Step, StepIndex, StepKind};
use landfall_recovery::item::{ItemState, Phase, Trouble};
use landfall_recovery::job::{Job, Status, Stopping};
use landfall_recovery::words::{Consistency, EffectClass, Millis, Pairs, RecoveryPoint};

use crate::api::wire::{EventView, ItemView, JobItemView, JobView, PointView, StepView};
use crate::engine::World;
use crate::runner::{Note, outcome_name};
use crate::start::pinned_words;

type Notes = HashMap<StepIndex, Note>;

/// The kebab-case name that serde gives a unit variant, so that wire names are written once.
pub(crate) fn name_of<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(map)) => map
            .get("step")
            .and_then(|step| step.as_str())
            .unwrap_or_default()
            .to_owned(),
        _ => String::new(),
    }
}

/// A job with its machines, and with its steps if they are wanted.
pub(crate) fn job(job: &Job, notes: &Notes, steps: bool) -> JobView {
    JobView {
        items: job.frozen.items.keys().map(|item| job_item(job, item)).collect(),
        steps: if steps { step_views(job, notes) } else { Vec::new() },
        ..summary(job)
    }
}

/// A job as a list has it: what it costs does not grow with its machines' own facts.
pub(crate) fn summary(job: &Job) -> JobView {
    let frozen = &job.frozen;
    let counts = job.counts().iter().map(|(name, count)| ((*name).to_owned(), *count));
    JobView {
        id: frozen.job.clone(),
        operation: frozen.operation.name().to_owned(),
        plan: frozen.plan.name.clone(),
        status: job_status(job).to_owned(),
        reason: job
            .outcome
            .as_ref()
            .map(|(_, reason)| reason.clone())
            .or_else(|| restored(job)),
        requested_by: frozen.requested_by.clone(),
        requested_at: frozen.requested_at,
        ended_at: job.ended_at,
        hash: job.hash.clone(),
        counts: counts.collect(),
        allowed_actions: allowed_actions(job).into_iter().map(str::to_owned).collect(),
        findings: frozen.findings.clone(),
        items: Vec::new(),
        steps: Vec::new(),
        plugins: job
            .pins
            .iter()
            .map(|(name, pinned)| (name.clone(), pinned_words(pinned)))
            .collect(),
    }
}

/// Why a job that came out of a backup does nothing.
fn restored(job: &Job) -> Option<String> {
    let (epoch, id) = (job.held?, &job.frozen.job);
    Some(format!(
        "restored from a backup under epoch {epoch}: `landfall reconcile` compares its machines with the sites, then \
         `landfall job retry {id}` lets it go on, or `landfall job abandon {id}` ends it"
    ))
}

fn job_status(job: &Job) -> &'static str {
    let running = job.running().next().is_some();
    let coming = job.stopping.is_none() && job.backing_off().next().is_some();
    match &job.outcome {
        Some((outcome, _)) => outcome_name(*outcome),
        None if job.held.is_some() => "stuck",
        None if job.stuck().next().is_some() && !running && !coming => "stuck",
        None if job.stopping.is_some() => "stopping",
        None => "running",
    }
}

/// What a person may do with a job.
fn allowed_actions(job: &Job) -> Vec<&'static str> {
    let troubled = ["stuck", "failed", "retrying"]
        .iter()
        .any(|name| job.counts().contains_key(name));
    let waits = job
        .stuck()
        .any(|index| job.step(index).is_some_and(|(step, _)| step.kind.proves_off()));
    let asks = job.stuck().any(|index| {
        job.step(index)
            .is_some_and(|(step, _)| matches!(step.kind, StepKind::Gate { .. }))
    });
    let parked = job.stuck().any(|index| {
        let state = job.steps.get(index).map(|state| &state.status);
        matches!(state, Some(Status::Stuck { code, .. }) if codes::parks(code))
    });
    let mut actions = Vec::new();
    match &job.outcome {
        None => {
            if job.held.is_some() {
                return vec!["retry", "cancel", "abandon"];
            }
            if troubled {
                actions.extend(["retry", "skip"]);
            }
            if waits {
                actions.push("attest");
            }
            if asks {
                actions.push("answer");
            }
            if parked {
                actions.push("repin");
            }
            if matches!(job.stopping, None | Some(Stopping::Error)) {
                actions.push("cancel");
            }
            actions.push("abandon");
        }
        Some((Outcome::Failed | Outcome::Cancelled | Outcome::CompletedWithErrors, _)) => {
            actions.push("retry");
            if troubled {
                actions.push("skip");
            }
        }
        Some((Outcome::Succeeded | Outcome::Abandoned, _)) => {}
    }
    actions
}

fn job_item(job: &Job, item: &str) -> JobItemView {
    let frozen = &job.frozen;
    let Some(known) = frozen.items.get(item) else {
        return JobItemView::default();
    };
    let point = chosen(job, item);
    let choose = job
        .steps_of(item)
        .find(|(step, _)| step.kind == StepKind::Choose)
        .map(|(step, _)| step);
    let outputs = outputs_of(job, item, |kind| *kind == StepKind::Choose);
    let isolated = outputs_of(job, item, |kind| *kind == StepKind::ProveIsolation).map(|_| "isolated".to_owned());
    let started = job
        .steps_of(item)
        .find(|(step, state)| step.kind == StepKind::Start && state.status == Status::Done);
    let rto_ms = started.and_then(|(_, state)| Some(state.ended_at?.saturating_sub(frozen.requested_at)));
    let (stage, status) = stage_of(job, item);
    let status = job
        .outcome
        .as_ref()
        .map_or(status, |(outcome, _)| ended_as(status, *outcome));
    JobItemView {
        item: item.to_owned(),
        source_site: known.item.source.site.clone(),
        target_site: known.item.target_site.clone(),
        machine: outputs_of(job, item, |kind| *kind == StepKind::Create)
            .and_then(|outputs| outputs.get("machine").cloned()),
        stage,
        status: status.to_owned(),
        point: point.as_ref().map(|point| PointView {
            id: point.point.clone(),
            source_time_ms: point.source_time_ms,
            consistency: consistency(point.consistency).to_owned(),
            group_mark: None,
            processed: true,
        }),
        point_known_after: choose
            .filter(|_| point.is_none())
            .map(|step| format!("known after {}", step.id)),
        newest_received_ms: None,
        point_reason: outputs.and_then(|outputs| outputs.get(&format!("reason/{item}")).cloned()),
        rpo_ms: point.as_ref().and_then(|point| point.rpo_ms),
        rto_ms,
        proof: proof(job, item).map(|proof| name_of(&proof.kind)).or(isolated),
    }
}

/// How a machine ended with its job: one that was under way, or waited for a person, ended as the job did.
fn ended_as(status: &'static str, outcome: Outcome) -> &'static str {
    match status {
        "running" | "stuck" => outcome_name(outcome),
        "pending" => "not-run",
        status => status,
    }
}

/// The stage an item is in (F26): that of its first own step that is not over, else of its last.
fn stage_of(job: &Job, item: &str) -> (Option<String>, &'static str) {
    let steps: Vec<(&Step, &Status)> = job
        .steps_of(item)
        .filter(|(step, _)| !matches!(step.kind, StepKind::Action { .. } | StepKind::Gate { .. }))
        .map(|(step, state)| (step, &state.status))
        .collect();
    let has = |wanted: fn(&Status) -> bool| steps.iter().find(|(_, status)| wanted(status));
    let stage = |step: &Step| Some(name_of(&step.stage));
    if let Some((step, _)) = has(|status| matches!(status, Status::Stuck { .. })) {
        return (stage(step), "stuck");
    }
    let essential = |step: &Step| !matches!(step.kind, StepKind::Shutdown | StepKind::Hold | StepKind::Stonith);
    if let Some((step, _)) = steps
        .iter()
        .find(|(step, status)| matches!(status, Status::Failed) && essential(step))
    {
        return (stage(step), "failed");
    }
    if let Some((step, _)) = has(|status| matches!(status, Status::NotRun | Status::Skipped { goes_on: false })) {
        return (stage(step), "left-out");
    }
    let begun = steps.iter().any(|(_, status)| !matches!(status, Status::Pending));
    match has(|status| {
        matches!(
            status,
            Status::Pending | Status::Running { .. } | Status::Backoff { .. }
        )
    }) {
        Some((step, _)) if begun => (stage(step), "running"),
        Some(_) => (None, "pending"),
        None => (
            steps
                .last()
                .map_or(Some(name_of(&Stage::Finish)), |(step, _)| stage(step)),
            "done",
        ),
    }
}

fn step_views(job: &Job, notes: &Notes) -> Vec<StepView> {
    let all = &job.frozen.graph.steps;
    let view = |(index, step): (StepIndex, &Step)| {
        let state = job.steps.get(index)?;
        let note = notes.get(&index);
        let (code, message) = match (&state.status, &state.failure) {
            (Status::Stuck { code, reason }, _) => (Some(code.clone()), Some(reason.clone())),
            (Status::Done, _) | (_, None) => (None, None),
            (_, Some(failure)) => (Some(failure.code.clone()), Some(failure.message.clone())),
        };
        Some(StepView {
            id: step.id.clone(),
            kind: name_of(&step.kind),
            stage: name_of(&step.stage),
            calls: step.calls.clone(),
            group: step.group.clone(),
            items: step.items.clone(),
            after: step
                .after
                .iter()
                .filter_map(|edge| Some(all.get(edge.step)?.id.clone()))
                .collect(),
            class: name_of(&step.effect.class),
            status: state.status.name().to_owned(),
            attempt: state.attempt,
            begun_at: state.begun_at,
            ended_at: state.ended_at,
            retry_at: match state.status {
                Status::Backoff { until } => Some(until),
                _ => None,
            },
            percent: note.and_then(|note| note.percent),
            note: note.map(|note| note.text.clone()).filter(|text| !text.is_empty()),
            outputs: Pairs::clone(&state.outputs),
            code,
            message,
            sends: None,
        })
    };
    all.iter().enumerate().filter_map(view).collect()
}

pub(crate) fn consistency(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Crash => "crash",
        Consistency::App => "app",
    }
}

pub(crate) fn point(point: &RecoveryPoint) -> PointView {
    PointView {
        id: point.id.clone(),
        source_time_ms: point.source_time_ms,
        consistency: consistency(point.consistency).to_owned(),
        group_mark: point.group_mark.clone(),
        processed: point.processed,
    }
}

pub(crate) fn item(world: &World, name: &str, now: Millis) -> Option<ItemView> {
    let item = world.inventory.items.get(name)?;
    let state = world.items.get(name).cloned().unwrap_or_default();
    let progress = world.progress.get(name).cloned().unwrap_or_default();
    let home = state.home.as_ref();
    let home_site = home.map_or_else(|| item.source.site.clone(), |home| home.site.clone());
    let home_machine = home.map_or_else(|| Some(item.source.machine.clone()), |home| home.machine.clone());
    let replicates = state.replicates();
    Some(ItemView {
        name: name.to_owned(),
        phase: name_of(&state.phase),
        test: name_of(&state.overlay),
        direction: name_of(&state.direction),
        active_site: if state.at_home() {
            home_site.clone()
        } else {
            item.target_site.clone()
        },
        source_site: home_site,
        source_machine: home_machine.unwrap_or_default(),
        target_site: item.target_site.clone(),
        target_machine: state.target_machine.clone(),
        test_machine: state.test_machine.clone(),
        replication_group: item.replication_group.clone(),
        job: state.operation.as_ref().map(|operation| operation.job.clone()),
        trouble: state
            .operation
            .as_ref()
            .and_then(|operation| operation.trouble)
            .map(|trouble| name_of::<Trouble>(&trouble)),
        source_stopped: state.source_stopped,
        restored: state.restored,
        risk_accepted: state.risk_accepted,
        both_active: state.both_active,
        test_until: state.test_until,
        location: state.location.map(|location| name_of(&location)),
        rpo_ms: if replicates { progress.rpo_ms(now) } else { None },
        rpo_target_ms: item.replication.rpo_ms,
        points: world.points.get(name).map_or(0, |catalogue| catalogue.points.len()),
        seeded_percent: seeded(&state, progress.transfer),
        bytes_sent: progress.bytes_sent,
        rpo_missed_since: world.missed.get(name).copied(),
        // Where nothing replicates any more, what failed last is of no concern.
        replication_error: progress.error.filter(|_| replicates).map(|(text, _)| text),
        operations: BTreeMap::new(),
    })
}

fn seeded(state: &ItemState, transfer: Option<(u64, u64)>) -> Option<u8> {
    if !matches!(state.phase, Phase::Seeding | Phase::Reprotecting) {
        return None;
    }
    let (done, all) = transfer?;
    u8::try_from((done * 100).checked_div(all).unwrap_or(0)).ok()
}

/// A record in words; milestones have none.
pub(crate) fn event(graph: &[Step], job: &str, seq: u64, record: &Record) -> EventView {
    let id = |index: StepIndex| graph.get(index).map(|step| step.id.clone());
    let (event, step, result, message) = match &record.event {
        Event::Started { hash } => ("started", None, None, format!("frozen as {hash}")),
        Event::Intent {
            step, attempt, class, ..
        } => {
            let again = if *attempt > 1 {
                format!(", attempt {attempt}")
            } else {
                String::new()
            };
            (
                "intent",
                id(*step),
                None,
                format!("{}{again}", name_of::<EffectClass>(class)),
            )
        }
        Event::Handle { step, handle } => ("handle", id(*step), None, format!("under way as {handle}")),
        Event::Outcome { step, result } => outcome(id(*step), result),
        Event::Stuck { step, code, reason } => ("stuck", id(*step), Some(code.clone()), reason.clone()),
        Event::Operator { who, decision } => {
            let (verb, step, reason) = decision_words(decision);
            (
                "operator",
                step.and_then(id),
                Some(verb.to_owned()),
                format!("{who}: {verb}{reason}"),
            )
        }
        Event::Restored { epoch } => (
            "restored",
            None,
            None,
            format!("from a backup, under epoch {epoch}: what happened after it is not known"),
        ),
        Event::Ended { outcome, reason } => ("ended", None, Some(outcome_name(*outcome).to_owned()), reason.clone()),
    };
    EventView {
        seq,
        job: job.to_owned(),
        at: record.at,
        event: event.to_owned(),
        step,
        result,
        message,
    }
}

fn outcome(step: Option<String>, result: &StepResult) -> (&'static str, Option<String>, Option<String>, String) {
    let (name, message) = match result {
        StepResult::Done { outputs } => {
            let shown = |(name, value): (&String, &String)| (value.len() <= 80).then(|| format!("{name}={value}"));
            ("done", outputs.iter().filter_map(shown).collect::<Vec<_>>().join(" "))
        }
        StepResult::Failed { failure } => ("failed", failure.to_string()),
        StepResult::Skipped { reason } => ("skipped", reason.clone()),
    };
    ("outcome", step, Some(name.to_owned()), message)
}

fn decision_words(decision: &Decision) -> (&'static str, Option<StepIndex>, String) {
    match decision {
        Decision::Retry { steps } => (
            "retry",
            steps.first().copied(),
            format!(" of {} step{}", steps.len(), if steps.len() == 1 { "" } else { "s" }),
        ),
        Decision::Repin { pins, steps, reason } => {
            let names: Vec<&str> = pins.keys().map(String::as_str).collect();
            (
                "repin",
                steps.first().copied(),
                format!(" of {} because {reason}", names.join(", ")),
            )
        }
        Decision::Skip { step, reason } => ("skip", Some(*step), format!(" because {reason}")),
        Decision::Answer { step, approved, reason } => (
            if *approved { "approve" } else { "refuse" },
            Some(*step),
            if reason.is_empty() {
                String::new()
            } else {
                format!(" because {reason}")
            },
        ),
        Decision::Attest { step, reason } => ("attest", Some(*step), format!(" because {reason}")),
        Decision::Cancel { reason } => ("cancel", None, format!(" because {reason}")),
        Decision::Abandon { reason } => ("abandon", None, format!(" because {reason}")),
    }
}
