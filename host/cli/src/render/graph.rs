//! The frozen graph of a job, as levels for people and as a drawing for Graphviz.

use std::collections::HashMap;
use std::fmt::Write;

use landfall_daemon::api::wire::{JobView, StepView};

use crate::table::table;
use crate::units::or_none;

/// More names than this on a line would hide the line.
const AFTER_SHOWN: usize = 3;

/// Steps by level: those of one level can run side by side, and wait for lower ones only.
pub(crate) fn graph(job: &JobView) -> String {
    let levels = levels(&job.steps);
    let mut steps: Vec<(usize, &StepView)> = job
        .steps
        .iter()
        .zip(levels)
        .map(|(step, level)| (level, step))
        .collect();
    // Stable, so that steps of one level keep the order of the plan.
    steps.sort_by_key(|(level, _)| *level);
    let rows = steps.into_iter().map(|(level, step)| {
        let calls = or_none(step.calls.as_deref());
        [
            level.to_string(),
            step.id.clone(),
            step.status.clone(),
            calls,
            step.class.clone(),
            after(step),
        ]
    });
    table(["level", "step", "status", "calls", "effect", "after"], rows)
}

/// Steps stand behind those that they wait for, so one pass is enough.
fn levels(steps: &[StepView]) -> Vec<usize> {
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut levels = Vec::with_capacity(steps.len());
    for step in steps {
        let before = step.after.iter().filter_map(|id| known.get(id.as_str())).max();
        let level = before.map_or(0, |level| level + 1);
        known.insert(&step.id, level);
        levels.push(level);
    }
    levels
}

fn after(step: &StepView) -> String {
    let shown: Vec<&str> = step.after.iter().take(AFTER_SHOWN).map(String::as_str).collect();
    match step.after.len().saturating_sub(AFTER_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The graph in Graphviz's language.
pub(crate) fn dot(job: &JobView) -> String {
    let mut words = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&job.id));
    for step in &job.steps {
        let id = quoted(&step.id);
        // Writing to a string cannot fail.
        let _ = writeln!(words, "  {id} [tooltip={}];", quoted(&step.status));
        for before in &step.after {
            let _ = writeln!(words, "  {} -> {id};", quoted(before));
        }
    }
    words.push_str("}\n");
    words
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_graph_in_levels_and_as_a_drawing() {
        let job = samples::dry_run();
        insta::assert_snapshot!(format!("{}\n{}", graph(&job), dot(&job)));
    }
}
