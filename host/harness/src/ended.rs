//! From what the runtime answers to how a case says it.

use landfall_runtime::contract::runbook::Outcome as RunbookOutcome;
use landfall_runtime::contract::types::{Pairs as ContractPairs, Progress};
use landfall_runtime::{BindError, CallError, Fault};
use serde_json::{Value, json};

use crate::case::{Outcome, Pairs};
use crate::naming;

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// As JSON, named as in the contract.
    pub(crate) answer: Value,
    /// Of `done`.
    pub(crate) outputs: Pairs,
    /// Of a failure or fault.
    pub(crate) code: Option<String>,
    /// Of a failure, or a reason, or a note.
    pub(crate) message: String,
    pub(crate) definite: Option<bool>,
    pub(crate) retryable: Option<bool>,
    pub(crate) after_ms: Option<u32>,
}

impl Ended {
    pub(crate) fn done(answer: Value, outputs: Pairs) -> Self {
        Self {
            outcome: Outcome::Done,
            answer,
            outputs,
            code: None,
            message: String::new(),
            definite: None,
            retryable: None,
            after_ms: None,
        }
    }

    fn other(outcome: Outcome, message: String) -> Self {
        Self {
            outcome,
            message,
            ..Self::done(Value::Null, Pairs::new())
        }
    }
}

pub(crate) fn of_value<T: serde::Serialize>(answer: Result<T, CallError>) -> Ended {
    match answer {
        Ok(answer) => Ended::done(naming::shown(&answer), Pairs::new()),
        Err(error) => of_error(&error),
    }
}

pub(crate) fn of_outcome(outcome: RunbookOutcome) -> Ended {
    match outcome {
        RunbookOutcome::Done(outputs) => of_outputs(outputs),
        RunbookOutcome::Skip(reason) => Ended {
            answer: json!({ "reason": reason }),
            ..Ended::other(Outcome::Skip, reason)
        },
        RunbookOutcome::Again(again) => Ended {
            answer: naming::shown(&again),
            after_ms: Some(again.after_ms),
            ..Ended::other(Outcome::Again, again.note)
        },
    }
}

fn of_outputs(outputs: ContractPairs) -> Ended {
    let outputs: Pairs = outputs.into_iter().collect();
    Ended::done(json!({ "outputs": outputs }), outputs)
}

pub(crate) fn of_progress(progress: Progress) -> Ended {
    match progress {
        Progress::Done(outputs) => of_outputs(outputs),
        Progress::Running(running) => Ended {
            answer: naming::shown(&running),
            after_ms: Some(running.poll_after_ms),
            ..Ended::other(Outcome::Again, running.note)
        },
        Progress::Failed(failure) => Ended {
            answer: naming::shown(&failure),
            code: Some(failure.code),
            definite: Some(failure.definite),
            retryable: Some(failure.retryable),
            ..Ended::other(Outcome::Failure, failure.message)
        },
    }
}

pub(crate) fn of_error(error: &CallError) -> Ended {
    match &error.fault {
        Fault::Failure(failure) => Ended {
            answer: naming::shown(failure),
            code: Some(failure.code.clone()),
            definite: Some(failure.definite),
            retryable: Some(failure.retryable),
            ..Ended::other(Outcome::Failure, failure.message.clone())
        },
        fault => Ended {
            answer: json!({ "code": error.code(), "message": fault.to_string() }),
            code: Some(error.code().to_owned()),
            definite: Some(error.definite()),
            retryable: Some(error.retryable()),
            ..Ended::other(Outcome::Fault, fault.to_string())
        },
    }
}

pub(crate) fn unbound(error: &BindError) -> Ended {
    Ended {
        answer: json!({ "code": error.code(), "message": error.to_string() }),
        code: Some(error.code().to_owned()),
        definite: Some(true),
        retryable: Some(false),
        ..Ended::other(Outcome::Fault, error.to_string())
    }
}
