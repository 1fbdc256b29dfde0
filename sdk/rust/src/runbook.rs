//! Runbooks: the actions that a recovery plan calls before and after its groups.

use crate::bindings::exports::landfall::plugin::{runbook_probe, runbook_run, runbook_undo};
use crate::log::log_panics;
use crate::{Again, Call, Context, Effect, Failure, Outcome, Plugin, ProbeAnswer};

/// An action of a recovery plan. Export it with [`export_runbook!`](crate::export_runbook).
pub trait Runbook: Plugin {
    /// What may be assumed about the effect after a crash. Asked at preflight and frozen into the step, so it must
    /// follow from the context and the configuration alone. Its `operation` is a word for the log.
    fn effect(context: &Context) -> Effect;

    /// Does the action. The effect happens in the call without `resume`; calls with it are polls and may repeat.
    fn run(call: &Call, context: &Context, resume: Option<Vec<u8>>) -> Result<Outcome, Failure>;
}

/// Optional: lets a runbook declare [`Effect::probeable`]. Export it with `export_runbook!(Type, probe)`.
pub trait Probe: Runbook {
    /// Did the effect under `call.key` happen? Changes nothing.
    fn probe(call: &Call, context: &Context) -> Result<ProbeAnswer, Failure>;
}

/// Optional: takes the action back. Export it with `export_runbook!(Type, undo)`.
pub trait Undo: Runbook {
    /// Called at test cleanup and after a cancel, in reverse order of the actions.
    fn undo(call: &Call, context: &Context, resume: Option<Vec<u8>>) -> Result<Outcome, Failure>;
}

/// Not over yet: call again in `after_ms` with these bytes. `note` is shown to whoever follows the job.
pub fn again(after_ms: u32, resume: impl Into<Vec<u8>>, note: impl Into<String>) -> Outcome {
    Outcome::Again(Again {
        after_ms,
        resume: resume.into(),
        note: note.into(),
    })
}

impl<R: Runbook> runbook_run::Guest for R {
    fn effect(context: Context) -> Effect {
        log_panics();
        <R as Runbook>::effect(&context)
    }

    fn run(call: Call, context: Context, resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        log_panics();
        <R as Runbook>::run(&call, &context, resume)
    }
}

impl<R: Probe> runbook_probe::Guest for R {
    fn probe(call: Call, context: Context) -> Result<ProbeAnswer, Failure> {
        log_panics();
        <R as Probe>::probe(&call, &context)
    }
}

impl<R: Undo> runbook_undo::Guest for R {
    fn undo(call: Call, context: Context, resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        log_panics();
        <R as Undo>::undo(&call, &context, resume)
    }
}

/// Makes the crate a runbook plugin: `export_runbook!(MyType)`, followed by `probe`, `undo` or `probe, undo` for the
/// optional exports. Once in a crate, at the top level.
#[macro_export]
macro_rules! export_runbook {
    ($plugin:ident) => {
        $crate::export_runbook!(@run $plugin, RUNBOOK);
    };
    ($plugin:ident, probe) => {
        $crate::export_runbook!(@run $plugin, RUNBOOK_PROBE);
        $crate::export_runbook!(@probe $plugin);
    };
    ($plugin:ident, undo) => {
        $crate::export_runbook!(@run $plugin, RUNBOOK_UNDO);
        $crate::export_runbook!(@undo $plugin);
    };
    ($plugin:ident, probe, undo) => {
        $crate::export_runbook!(@run $plugin, RUNBOOK_PROBE_UNDO);
        $crate::export_runbook!(@probe $plugin);
        $crate::export_runbook!(@undo $plugin);
    };
    (@run $plugin:ident, $section:ident) => {
        $crate::__export_plugin!($plugin, "runbook", $section);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::runbook_run as interface;
            $crate::bindings::cabi_runbook_run!($plugin with_types_in interface);
        };
    };
    (@probe $plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::runbook_probe as interface;
            $crate::bindings::cabi_runbook_probe!($plugin with_types_in interface);
        };
    };
    (@undo $plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::landfall::plugin::runbook_undo as interface;
            $crate::bindings::cabi_runbook_undo!($plugin with_types_in interface);
        };
    };
}
