//! Jobs: lists, one in full, what came of it, what it needs, and what a dry run would do.

use landfall_daemon::api::wire::{JobItemView, JobView, StepView};

use super::{findings, lists::short};
use crate::style;
use crate::table::{card, table};
use crate::units::{NONE, count, or_none, span, span_or_none, time};

/// `landfall job list`.
pub(crate) fn jobs(jobs: &[JobView]) -> String {
    let rows = jobs.iter().map(|job| {
        [
            job.id.clone(),
            job.operation.clone(),
            job.plan.clone(),
            job.status.clone(),
            time(job.requested_at),
            duration(job),
            steps_done(job),
        ]
    });
    table(
        ["job", "operation", "plan", "status", "requested", "took", "steps done"],
        rows,
    )
}

fn duration(job: &JobView) -> String {
    span_or_none(job.ended_at.map(|ended| ended.saturating_sub(job.requested_at)))
}

fn steps_done(job: &JobView) -> String {
    match job.counts.values().sum::<usize>() {
        0 => NONE.to_owned(),
        all => format!("{}/{all}", job.counts.get("done").unwrap_or(&0)),
    }
}

/// `landfall job show`.
pub(crate) fn job(job: &JobView) -> String {
    let mut rows = vec![
        ("job", job.id.clone()),
        ("operation", job.operation.clone()),
        ("plan", job.plan.clone()),
        ("status", style::status(&job.status)),
        (
            "requested",
            format!("{} by {}", time(job.requested_at), job.requested_by),
        ),
        ("took", duration(job)),
        ("frozen as", short(&job.hash).to_owned()),
    ];
    let optional = [
        ("reason", job.reason.clone().filter(|reason| !reason.is_empty())),
        (
            "you may",
            (!job.allowed_actions.is_empty()).then(|| job.allowed_actions.join(", ")),
        ),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut words = card(rows);
    words.push_str(&section("Findings", &findings(&job.findings)));
    words.push_str(&section("Machines", &summary(job)));
    words.push_str(&section("Steps", &steps(&job.steps)));
    let plugins = card(job.plugins.iter().map(|(name, plugin)| (name.as_str(), plugin.clone())));
    words.push_str(&section("Plugins", &plugins));
    words
}

fn section(title: &str, words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!("\n{title}:\n{words}")
    }
}

/// What came of every machine (F11, F26).
pub(crate) fn summary(job: &JobView) -> String {
    let has_points = job
        .items
        .iter()
        .any(|item| item.point.is_some() || item.point_known_after.is_some());
    if !has_points {
        let rows = job.items.iter().map(|item| {
            let machine = or_none(item.machine.as_deref());
            [
                item.item.clone(),
                item.source_site.clone(),
                item.target_site.clone(),
                machine,
                item.status.clone(),
            ]
        });
        return table(["machine", "from", "to", "machine there", "status"], rows);
    }
    let heading = [
        "machine",
        "site",
        "machine there",
        "point",
        "consistency",
        "rpo",
        "rto",
        "proof",
        "status",
    ];
    let rows = job.items.iter().map(|item| {
        [
            item.item.clone(),
            item.target_site.clone(),
            or_none(item.machine.as_deref()),
            point_time(item),
            item.point
                .as_ref()
                .map_or_else(|| NONE.to_owned(), |point| point.consistency.clone()),
            span_or_none(item.rpo_ms),
            span_or_none(item.rto_ms),
            or_none(item.proof.as_deref()),
            item.status.clone(),
        ]
    });
    table(heading, rows)
}

fn point_time(item: &JobItemView) -> String {
    match (&item.point, &item.point_known_after) {
        (Some(point), _) => time(point.source_time_ms),
        (None, Some(known)) => match item.newest_received_ms {
            Some(received) => format!("{known}; received up to {}", time(received)),
            None => known.clone(),
        },
        (None, None) => NONE.to_owned(),
    }
}

fn steps(steps: &[StepView]) -> String {
    let rows = steps.iter().filter(|step| step.kind != "milestone").map(|step| {
        let took = match (step.begun_at, step.ended_at) {
            (Some(begun), Some(ended)) => span(ended.saturating_sub(begun)),
            _ => NONE.to_owned(),
        };
        let tries = if step.attempt > 1 {
            step.attempt.to_string()
        } else {
            String::new()
        };
        [step.id.clone(), step.status.clone(), took, tries, step_words(step)]
    });
    table(["step", "status", "took", "tries", "about"], rows)
}

/// What a step last said.
fn step_words(step: &StepView) -> String {
    match (&step.code, &step.message, &step.note) {
        (Some(code), Some(message), _) => format!("[{code}] {message}"),
        (_, Some(words), _) | (_, None, Some(words)) => words.clone(),
        _ => String::new(),
    }
}

/// What a job waits for, and the commands that take it on.
pub(crate) fn stuck(job: &JobView) -> String {
    let stuck: Vec<&StepView> = job.steps.iter().filter(|step| step.status == "stuck").collect();
    // A job that a restore left waits as a whole, and says itself what is to be done.
    let why = match &job.reason {
        Some(reason) if stuck.is_empty() => reason.clone(),
        _ => format!("{} stuck", count(stuck.len(), "step")),
    };
    let mut words = format!(
        "{}: job {} needs a person: {why}. It keeps its machines locked until somebody decides.\n",
        style::warning("stuck"),
        job.id,
    );
    for step in stuck {
        words.extend([format!("\n  {}  {}\n", style::warning(&step.id), step_words(step))]);
        for (command, meaning) in ways_on(job, step) {
            words.extend([format!("    {command}\n        {meaning}\n")]);
        }
    }
    let job_wide = [
        ("cancel", "start nothing new, and end when what runs is over"),
        ("abandon", "give the job up as it is, and unlock its machines"),
    ];
    let job_wide: Vec<_> = job_wide.into_iter().filter(|(action, _)| may(job, action)).collect();
    if !job_wide.is_empty() {
        words.push_str("\n  or, for the whole job:\n");
    }
    for (action, meaning) in job_wide {
        words.extend([format!(
            "    landfall job {action} {} --reason WHY\n        {meaning}\n",
            job.id
        )]);
    }
    words
}

fn may(job: &JobView, action: &str) -> bool {
    job.allowed_actions.iter().any(|allowed| allowed == action)
}

/// The commands for one stuck step. Proofs cannot be skipped (X03), so that is not offered for them.
fn ways_on(job: &JobView, step: &StepView) -> Vec<(String, &'static str)> {
    let is_proof = matches!(step.kind.as_str(), "fence" | "prove-isolation");
    let ways = [
        (
            "retry",
            true,
            "",
            "try it again; for a step in doubt: it did not happen",
        ),
        (
            "skip",
            !is_proof,
            " --reason WHY",
            "go on without it; for a step in doubt: it did happen",
        ),
        (
            "repin",
            step.code.as_deref().is_some_and(landfall_recovery::codes::parks),
            " --to DIGEST --reason WHY",
            "go on with another version of its plugin",
        ),
        (
            "answer",
            step.kind == "gate",
            " --approve",
            "the job goes on; with `--refuse --reason WHY` it does not",
        ),
        (
            "attest",
            step.kind == "fence",
            " --reason WHY",
            "you vouch that the source is off; recorded under your name",
        ),
    ];
    let ways = ways.into_iter().filter(|(action, fits, ..)| *fits && may(job, action));
    ways.map(|(action, _, more, meaning)| (format!("landfall job {action} {} {}{more}", job.id, step.id), meaning))
        .collect()
}

/// What a job would do (X04). `verbose` adds what would be sent.
pub(crate) fn dry_run(job: &JobView, verbose: bool) -> String {
    let shown: Vec<&StepView> = job.steps.iter().filter(|step| step.kind != "milestone").collect();
    let mut words = format!(
        "Dry run of {} of {}: {} would run, nothing was done.\n",
        job.operation,
        job.plan,
        count(shown.len(), "step")
    );
    words.push_str(&section("Findings", &findings(&job.findings)));
    words.push_str(&section("Machines", &summary(job)));
    let rows = shown.iter().map(|step| {
        let group = or_none(step.group.as_deref());
        [
            step.id.clone(),
            step.stage.clone(),
            group,
            or_none(step.calls.as_deref()),
            step.class.clone(),
        ]
    });
    words.push_str(&section(
        "Steps",
        &table(["step", "stage", "group", "calls", "effect"], rows),
    ));
    if verbose {
        for step in shown {
            if let Some(sends) = &step.sends {
                words.extend([format!("\n{} sends:\n{sends:#}\n", step.id)]);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn plain(words: &str) -> String {
        anstream::adapter::strip_str(words).to_string()
    }

    #[test]
    fn f11_the_summary_shows_point_and_rpo_of_every_machine() {
        insta::assert_snapshot!(summary(&samples::failed_over_job()));
    }

    #[test]
    fn a_job_in_full() {
        insta::assert_snapshot!(plain(&job(&samples::failed_over_job())));
    }

    #[test]
    fn a_stuck_job_names_every_way_on() {
        insta::assert_snapshot!(plain(&stuck(&samples::stuck_job())));
    }

    #[test]
    fn x04_a_dry_run_shows_steps_and_what_they_would_send() {
        insta::assert_snapshot!(plain(&dry_run(&samples::dry_run(), true)));
    }

    #[test]
    fn jobs_in_a_list() {
        insta::assert_snapshot!(jobs(&[samples::failed_over_job(), samples::stuck_job()]));
    }
}
