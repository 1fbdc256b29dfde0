//! Between the host's words and the plugin contract's. The two are kept apart so that a new contract version touches
//! this file and not the core.

use landfall_recovery::codes;
use landfall_recovery::words::{
    Consistency, Direction, EffectClass, EffectFacts, FailoverKind, Failure, Finding, Pairs, RecoveryPoint, Severity,
};
use landfall_runtime::contract::types as wit;
use landfall_runtime::{CallError, Fault};

pub(crate) fn pairs(pairs: &Pairs) -> wit::Pairs {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(crate) fn from_pairs(pairs: wit::Pairs) -> Pairs {
    pairs.into_iter().collect()
}

pub(crate) fn direction(direction: Direction) -> wit::Direction {
    match direction {
        Direction::Forward => wit::Direction::Forward,
        Direction::Reverse => wit::Direction::Reverse,
    }
}

pub(crate) fn kind(kind: FailoverKind) -> wit::FailoverKind {
    match kind {
        FailoverKind::Test => wit::FailoverKind::Test,
        FailoverKind::Planned => wit::FailoverKind::Planned,
        FailoverKind::Unplanned => wit::FailoverKind::Unplanned,
    }
}

pub(crate) fn consistency(consistency: Consistency) -> wit::Consistency {
    match consistency {
        Consistency::Crash => wit::Consistency::Crash,
        Consistency::App => wit::Consistency::App,
    }
}

pub(crate) fn point(point: &RecoveryPoint) -> wit::RecoveryPoint {
    wit::RecoveryPoint {
        id: point.id.clone(),
        source_time_ms: point.source_time_ms,
        consistency: consistency(point.consistency),
        group_mark: point.group_mark.clone(),
        processed: point.processed,
        ext: Vec::new(),
    }
}

pub(crate) fn from_point(point: wit::RecoveryPoint) -> RecoveryPoint {
    RecoveryPoint {
        id: point.id,
        source_time_ms: point.source_time_ms,
        consistency: match point.consistency {
            wit::Consistency::Crash => Consistency::Crash,
            wit::Consistency::App => Consistency::App,
        },
        group_mark: point.group_mark,
        processed: point.processed,
    }
}

pub(crate) fn from_effect(facts: &wit::OperationFacts) -> EffectFacts {
    let class = match facts.class {
        wit::EffectClass::Read => EffectClass::Read,
        wit::EffectClass::Idempotent => EffectClass::Idempotent,
        wit::EffectClass::Keyed => EffectClass::Keyed,
        wit::EffectClass::Probeable => EffectClass::Probeable,
        wit::EffectClass::OneShot => EffectClass::OneShot,
    };
    EffectFacts {
        class,
        settle_ms: facts.settle_ms,
    }
}

pub(crate) fn from_finding(finding: wit::Finding) -> Finding {
    let severity = match finding.severity.as_str() {
        "info" => Severity::Info,
        "warning" => Severity::Warning,
        // What a plugin calls anything else is taken as serious: refusing is safe, going on is not.
        _ => Severity::Error,
    };
    Finding {
        id: finding.id,
        severity,
        subject: finding.subject,
        cause: finding.cause,
        cure: finding.cure,
    }
}

pub(crate) fn from_failure(failure: wit::Failure) -> Failure {
    Failure {
        code: failure.code,
        message: failure.message,
        retryable: failure.retryable,
        definite: failure.definite,
        unsent: false,
    }
}

/// A call that gave no answer, as a step's failure.
pub(crate) fn from_call_error(error: &CallError) -> Failure {
    // The plugin's own word, unless it hands on what the host refused it: of that there is a page with the cure.
    let code = match (&error.fault, error.code()) {
        (Fault::Failure(failure), codes::PLUGIN_FAILURE) => failure.code.clone(),
        (_, code) => code.to_owned(),
    };
    Failure {
        code,
        message: error.to_string(),
        retryable: error.retryable(),
        definite: error.definite(),
        unsent: !error.sent,
    }
}
