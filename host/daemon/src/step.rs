//! Carrying out one step: what is sent is worked out from the frozen job and the outputs of earlier steps alone, so
//! that a restart sends the same; then a task does it and reports back to the job.

mod action;
mod arguments;
mod data;
mod fencing;
mod guests;
mod operation;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use landfall_recovery::codes;
use landfall_recovery::document::Side;
use landfall_recovery::executor::stale_proof;
use landfall_recovery::freeze::Injection;
use landfall_recovery::graph::{Step, StepIndex, StepKind};
use landfall_recovery::job::Job;
use landfall_recovery::operations::Operation;
use landfall_recovery::words::{Failure, Millis, Pairs};
use landfall_runtime::contract::types::Call;
use landfall_store::faults;
use tokio::sync::mpsc;

use crate::clock;
use crate::engine::{Catalogue, Engine};
use crate::replay::PolicyDecision;
use crate::replicate::hold_unit;
use crate::runner::{Message, Note};
use crate::sites::Pins;

pub(crate) use action::runbook_key;
pub(crate) use arguments::{Arguments, arguments, listed, network_mappings, present, told};
pub(crate) use fencing::proved;
pub(crate) use operation::site_key;

/// What is to be done with a step.
pub(crate) struct Work {
    pub(crate) step: StepIndex,
    pub(crate) attempt: u32,
    pub(crate) begin: Begin,
    /// It was under way when the host stopped.
    pub(crate) resumed: bool,
}

/// Where to begin.
pub(crate) enum Begin {
    /// Have the effect.
    Send,
    /// Ask whether it happened.
    Probe,
    /// The far side works on it, or a runbook wants to be called again.
    Attach { handle: String, after_ms: u32 },
}

/// What a step's task has to say.
pub(crate) enum Report {
    /// It happened.
    Done {
        outputs: Pairs,
        catalogues: BTreeMap<String, Catalogue>,
        decision: Option<Box<PolicyDecision>>,
    },
    /// It was not needed.
    Skipped { reason: String },
    /// It did not happen, or may not have.
    Failed(Failure),
    /// A person is needed.
    Stuck { code: &'static str, reason: String },
    /// It is under way; go on once this is durable.
    Handle { handle: String, after_ms: u32 },
    /// It certainly did not happen: it may be sent.
    Absent,
    /// A drill's crash: it may have happened, and nobody knows.
    Forgotten,
    /// How far it is.
    Note(Note),
}

impl Report {
    pub(crate) fn done(outputs: Pairs) -> Self {
        Self::Done {
            outputs,
            catalogues: BTreeMap::new(),
            decision: None,
        }
    }
}

/// What a step's task knows.
pub(crate) struct Task {
    pub(crate) engine: Arc<Engine>,
    pub(crate) frozen: Arc<landfall_recovery::freeze::Frozen>,
    pub(crate) pins: Arc<Pins>,
    pub(crate) index: StepIndex,
    pub(crate) attempt: u32,
    pub(crate) key: String,
    /// Host time at which the step has taken too long.
    pub(crate) deadline: Millis,
    reports: mpsc::Sender<Message>,
}

impl Task {
    pub(crate) fn step(&self) -> &Step {
        // The index comes from this graph.
        #[expect(
            clippy::indexing_slicing,
            reason = "the index comes from this graph, which never changes"
        )]
        &self.frozen.graph.steps[self.index]
    }

    pub(crate) fn call(&self) -> Call {
        Call {
            installation: self.frozen.installation.clone(),
            // Of now: a restored installation speaks under its new epoch, also for a job that began before.
            epoch: self.engine.store.identity().epoch,
            job: Some(self.frozen.job.clone()),
            step: self.step().id.clone(),
            attempt: self.attempt,
            key: self.key.clone(),
            remaining_ms: 0,
            ext: Vec::new(),
        }
    }

    pub(crate) async fn report(&self, report: Report) {
        let message = Message::Report {
            step: self.index,
            attempt: self.attempt,
            report,
        };
        // The job ended without waiting for this step: nobody wants to know.
        let _ = self.reports.send(message).await;
    }

    pub(crate) async fn note(&self, percent: Option<u8>, text: String) {
        self.report(Report::Note(Note { percent, text })).await;
    }

    /// What a step that took too long reports. Whether its effect happened is open.
    pub(crate) fn timed_out(&self) -> Report {
        let seconds = self.step().timeout_ms / 1000;
        Report::Failed(Failure {
            code: codes::TIMED_OUT.to_owned(),
            message: format!("`{}` was not over after {seconds} s", self.step().id),
            retryable: false,
            definite: false,
            unsent: false,
        })
    }
}

/// Starts the task of a step. Its INTENT, or the HANDLE it goes on from, is durable.
pub(crate) fn start(engine: &Arc<Engine>, job: &Job, work: Work, reports: mpsc::Sender<Message>) {
    let Some((step, state)) = job.step(work.step) else {
        return;
    };
    // After a restart the step has its whole time again: the host's downtime is not held against it.
    let begun = if work.resumed {
        clock::now()
    } else {
        state.begun_at.unwrap_or_else(clock::now)
    };
    let deadline = if work.resumed {
        begun.saturating_add(step.timeout_ms)
    } else {
        job.deadline(step, begun)
    };
    let task = Task {
        engine: Arc::clone(engine),
        frozen: Arc::clone(&job.frozen),
        pins: Arc::clone(&job.pins),
        index: work.step,
        attempt: work.attempt,
        key: if faults::broken("key") {
            format!("{}#{}", job.key(work.step, state.generation), work.attempt)
        } else {
            job.key(work.step, state.generation)
        },
        deadline,
        reports,
    };
    let arguments = arguments(job, work.step);
    let too_late = matches!(work.begin, Begin::Send) && step.kind.quiets_source() && deadline <= clock::now();
    let too_old = matches!(work.begin, Begin::Send) && stale_proof(job, work.step, clock::now()).is_some();
    let task = Arc::new(task);
    tokio::spawn(async move {
        if too_old {
            // The proof grew old since the executor looked, mostly because the host was down: look again first.
            let what = "the proof grew old before the machine was started";
            let failure = Failure {
                retryable: true,
                ..Failure::definite(codes::PROOF_OLD, what)
            };
            return task.report(Report::Failed(failure)).await;
        }
        if too_late {
            let id = &task.step().id;
            let what = format!("`{id}` was not tried: the time that its site has for all that is left is over");
            let failure = Failure {
                unsent: true,
                ..Failure::definite(codes::TIMED_OUT, what)
            };
            return task.report(Report::Failed(failure)).await;
        }
        let doing = Arc::clone(&task);
        // A task of its own, so that even a panic in it is an answer.
        let done = tokio::spawn(async move {
            let left = Duration::from_millis(doing.deadline.saturating_sub(clock::now()).max(1));
            match tokio::time::timeout(left, rehearse(&doing, arguments, work.begin)).await {
                Ok(report) => forget_points(&doing, report),
                Err(_) => doing.timed_out(),
            }
        });
        let report = done.await.unwrap_or_else(|error| {
            Report::Failed(Failure {
                code: codes::INTERNAL.to_owned(),
                message: format!("the step's task broke: {error}"),
                retryable: false,
                definite: false,
                unsent: false,
            })
        });
        task.report(report).await;
    });
}

/// Once the points are deleted the catalogue has none, whoever looks.
fn forget_points(task: &Task, report: Report) -> Report {
    match report {
        Report::Done {
            outputs,
            mut catalogues,
            decision,
        } if matches!(task.step().kind, StepKind::DeletePoints | StepKind::Forget) => {
            let observed_at = clock::now();
            let none = || Catalogue {
                points: Vec::new(),
                observed_at,
            };
            catalogues.extend(task.step().items.iter().map(|item| (item.clone(), none())));
            Report::Done {
                outputs,
                catalogues,
                decision,
            }
        }
        other => other,
    }
}

/// With what a drill wants to go wrong.
async fn rehearse(task: &Task, arguments: Arguments, begin: Begin) -> Report {
    let sends = matches!(begin, Begin::Send);
    match task.frozen.injections.get(&task.step().id) {
        Some(Injection::Fail) if sends => Report::Failed(Failure {
            retryable: true,
            ..Failure::definite(codes::INJECTED, "this drill lets it fail")
        }),
        Some(Injection::Crash) if sends && task.attempt == 1 => {
            carry_out(task, arguments, begin).await;
            Report::Forgotten
        }
        Some(Injection::Repeat) if sends && task.attempt == 1 => {
            carry_out(task, arguments.clone(), begin).await;
            carry_out(task, arguments, Begin::Send).await
        }
        Some(Injection::Slow { ms }) if sends => {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            carry_out(task, arguments, begin).await
        }
        _ => carry_out(task, arguments, begin).await,
    }
}

/// The job waits for a person, and how long is the executor's to see.
fn ask(task: &Task, question: &str) -> Report {
    let (job, id) = (&task.frozen.job, &task.step().id);
    Report::Stuck {
        code: codes::GATE_WAITS,
        reason: format!(
            "{question}: `landfall job answer {job} {id} --approve` goes on, `--refuse --reason WHY` does not"
        ),
    }
}

async fn carry_out(task: &Task, arguments: Arguments, begin: Begin) -> Report {
    faults::point("before effect", || task.step().id.clone());
    let report = call(task, arguments, begin).await;
    faults::point("after effect", || task.step().id.clone());
    report
}

async fn call(task: &Task, arguments: Arguments, begin: Begin) -> Report {
    match arguments {
        Arguments::Operation { site, operation, ext } => {
            // In a test replication goes on, but not between processing and the points of one group.
            let test = task.frozen.operation == Operation::Test && task.step().kind == StepKind::Process;
            let item = task.step().items.first().filter(|_| test);
            let _held = match item {
                Some(item) => hold_unit(&task.engine, item).await,
                None => None,
            };
            operation::run(task, &site, *operation, &ext, begin).await
        }
        Arguments::Action { runbook, context } => action::run(task, &runbook, *context, begin).await,
        Arguments::Check { item } => read::check(task, &item).await,
        Arguments::Choose { items } => read::choose(task, &items).await,
        Arguments::Stonith {
            site,
            operation,
            source,
        } => fencing::stonith(task, &site, *operation, &source, begin).await,
        Arguments::Fence { site, machine, cut } => {
            let source = Side { site, machine };
            fencing::fence(task, &source, cut.as_ref()).await
        }
        Arguments::Isolation { site, networks } => read::isolation(task, &site, &networks).await,
        Arguments::Seed { item, base } => data::seed(task, &item, base.as_deref()).await,
        Arguments::Sync { items } => data::sync(task, &items).await,
        Arguments::Gate { question } => ask(task, &question),
        Arguments::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Report::done(Pairs::new())
        }
        Arguments::Nothing => Report::done(Pairs::new()),
        Arguments::Missing { what } => Report::Failed(Failure::definite(codes::BAD_OUTPUT, what)),
    }
}
