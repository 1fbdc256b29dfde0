//! What a watcher knows of a job: a fold of its events over the steps that it started with.

use std::collections::{BTreeMap, HashMap};

use landfall_daemon::api::wire::{EventView, JobView};
use serde::{Deserialize, Serialize};

use crate::style;
use crate::units::{count, span};

/// How far a step has come, in the far side's words. Not kept in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ProgressEvent {
    pub(crate) step: String,
    #[serde(default)]
    pub(crate) percent: Option<u8>,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

/// One step.
#[derive(Debug, Clone)]
struct Step {
    items: Vec<String>,
    /// Milestones are not watched.
    is_shown: bool,
    state: State,
    begun_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Stuck,
    Over,
}

/// A step that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) percent: Option<u8>,
    pub(crate) note: String,
}

/// The fold.
#[derive(Debug)]
pub(crate) struct Progress {
    requested_at: u64,
    steps: HashMap<String, Step>,
    /// Those that run, in the order in which they began.
    running: Vec<Running>,
    /// Steps that are not over, by machine.
    open: BTreeMap<String, usize>,
    done: usize,
    total: usize,
    stuck: usize,
    ended: bool,
}

impl Progress {
    /// Nothing has happened yet: the stream tells everything from the job's start.
    pub(crate) fn new(job: &JobView) -> Self {
        let step = |step: &landfall_daemon::api::wire::StepView| Step {
            // A machine is there when its own steps are over, whatever hooks are still to run.
            items: if step.stage == "actions" {
                Vec::new()
            } else {
                step.items.clone()
            },
            is_shown: step.kind != "milestone",
            state: State::Waiting,
            begun_at: job.requested_at,
        };
        let steps: HashMap<String, Step> = job.steps.iter().map(|s| (s.id.clone(), step(s))).collect();
        let mut open: BTreeMap<String, usize> = job.items.iter().map(|item| (item.item.clone(), 0)).collect();
        for step in steps.values().filter(|step| step.is_shown) {
            for item in &step.items {
                *open.entry(item.clone()).or_default() += 1;
            }
        }
        let total = steps.values().filter(|step| step.is_shown).count();
        let requested_at = job.requested_at;
        Self {
            requested_at,
            steps,
            running: Vec::new(),
            open,
            done: 0,
            total,
            stuck: 0,
            ended: false,
        }
    }

    /// Folds one record; gives the line that people see, if it is worth one.
    pub(crate) fn apply(&mut self, event: &EventView) -> Option<String> {
        if event.event == "ended" {
            self.ended = true;
            return None;
        }
        let is_retry = event.event == "operator";
        let state = match (event.event.as_str(), event.result.as_deref()) {
            ("intent", _) => State::Running,
            ("stuck", _) => State::Stuck,
            ("outcome", Some("failed")) => State::Waiting,
            ("outcome", _) => State::Over,
            _ if is_retry => return Some(self.line(event, "decision", &event.message)),
            _ => return None,
        };
        let id = event.step.as_deref()?;
        self.move_to(id, state, event.at);
        let is_shown = self.steps.get(id).is_none_or(|step| step.is_shown);
        let word = match state {
            State::Running => "running",
            State::Stuck => "stuck",
            State::Waiting => "failed",
            State::Over => event.result.as_deref().unwrap_or("done"),
        };
        is_shown.then(|| {
            let took = self
                .steps
                .get(id)
                .map_or(0, |step| event.at.saturating_sub(step.begun_at));
            let words = match state {
                State::Running => String::new(),
                State::Over => format!("({})", span(took)),
                State::Stuck | State::Waiting => event.message.clone(),
            };
            self.line(event, word, &words)
        })
    }

    fn line(&self, event: &EventView, word: &str, words: &str) -> String {
        let since = span(event.at.saturating_sub(self.requested_at));
        let pad = " ".repeat(8_usize.saturating_sub(word.len()));
        let subject = event.step.as_deref().unwrap_or("");
        let word = style::status(word);
        format!("{since:>7}  {word}{pad} {subject} {words}")
            .trim_end()
            .to_owned()
    }

    fn move_to(&mut self, id: &str, next: State, at: u64) {
        let Some(step) = self.steps.get_mut(id) else { return };
        let before = std::mem::replace(&mut step.state, next);
        if next == State::Running && before != State::Running {
            step.begun_at = at;
        }
        let (is_shown, items) = (step.is_shown, step.items.clone());
        self.running.retain(|running| running.id != id);
        if next == State::Running {
            self.running.push(Running {
                id: id.to_owned(),
                percent: None,
                note: String::new(),
            });
        }
        self.stuck = self.stuck + usize::from(next == State::Stuck) - usize::from(before == State::Stuck);
        if !is_shown {
            return;
        }
        let was_open = usize::from(before != State::Over);
        let is_open = usize::from(next != State::Over);
        self.done = self.done + was_open - is_open;
        for item in items {
            let open = self.open.entry(item).or_default();
            *open = *open + is_open - was_open;
        }
    }

    /// How far a running step has come.
    pub(crate) fn report(&mut self, event: &ProgressEvent) {
        if let Some(running) = self.running.iter_mut().find(|running| running.id == event.step) {
            running.percent = event.percent;
            running.note = event.note.clone().unwrap_or_default();
        }
    }

    /// Those that run, oldest first.
    pub(crate) fn running(&self) -> &[Running] {
        &self.running
    }

    /// Steps over and steps in all.
    pub(crate) fn steps(&self) -> (usize, usize) {
        (self.done, self.total)
    }

    /// Machines with nothing left to do, and machines in all.
    pub(crate) fn machines(&self) -> (usize, usize) {
        (self.open.values().filter(|open| **open == 0).count(), self.open.len())
    }

    /// It may be that nothing goes on without a person. Asked for seldom, so it errs towards yes.
    pub(crate) fn may_rest(&self) -> bool {
        self.ended || self.running.is_empty()
    }
}

/// The last line about a job.
pub(crate) fn ending(job: &JobView) -> String {
    let took = job
        .ended_at
        .map(|ended| format!(" in {}", span(ended.saturating_sub(job.requested_at))));
    let machines = count(job.items.len(), "machine");
    let reason = job
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty())
        .map(|reason| format!(": {reason}"));
    let (took, reason) = (took.unwrap_or_default(), reason.unwrap_or_default());
    let status = style::status(&job.status);
    format!(
        "{status}: {} of {} ({machines}){took}{reason}  [job {}]",
        job.operation, job.plan, job.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn event(name: &str, step: &str, result: Option<&str>, at: u64) -> EventView {
        EventView {
            seq: at,
            job: "0199-j7".to_owned(),
            at: samples::job("stuck", vec![], vec![]).requested_at + at,
            event: name.to_owned(),
            step: Some(step.to_owned()),
            result: result.map(str::to_owned),
            message: "the site does not answer".to_owned(),
        }
    }

    #[test]
    fn f17_events_become_lines_and_counts() {
        let mut progress = Progress::new(&samples::failed_over_job());
        assert_eq!((progress.steps(), progress.machines()), ((0, 2), (1, 2)));
        let lines: Vec<String> = [
            event("intent", "create/hr-db-1", None, 10),
            event("outcome", "create/hr-db-1", Some("failed"), 900),
            event("intent", "create/hr-db-1", None, 1_900),
            event("handle", "create/hr-db-1", None, 1_950),
            event("outcome", "create/hr-db-1", Some("done"), 3_000),
            event("stuck", "start/hr-db-1", None, 64_000),
        ]
        .iter()
        .filter_map(|event| progress.apply(event))
        .map(|line| anstream::adapter::strip_str(&line).to_string())
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!((progress.steps(), progress.stuck), ((1, 2), 1));
        assert!(progress.may_rest());
        progress.apply(&event("intent", "start/hr-db-1", None, 70_000));
        progress.report(&ProgressEvent {
            step: "start/hr-db-1".to_owned(),
            percent: Some(40),
            note: None,
        });
        assert_eq!(progress.running()[0].percent, Some(40));
        progress.apply(&event("outcome", "start/hr-db-1", Some("done"), 71_000));
        assert_eq!((progress.steps(), progress.machines()), ((2, 2), (2, 2)));
    }
}
