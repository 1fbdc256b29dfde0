//! A runbook as typed calls.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::binding::Binding;
use crate::bindings::exports::landfall::plugin::{runbook_probe, runbook_run, runbook_undo};
use crate::call::{Answer, Guest};
use crate::contract::runbook::{Context, Outcome};
use crate::contract::types::{Call, OperationFacts, ProbeAnswer};
use crate::error::{BindError, CallError};
use crate::guests::GuestPrograms;
use crate::manifest::Kind;

/// A runbook, bound under its name in the plan.
#[derive(Clone)]
pub struct Runbook {
    binding: Binding,
    run: runbook_run::GuestIndices,
    probe: Option<runbook_probe::GuestIndices>,
    undo: Option<runbook_undo::GuestIndices>,
}

impl Runbook {
    /// Checks the kind, and looks for the optional exports.
    pub fn new(binding: Binding) -> Result<Self, BindError> {
        binding.expect_kind(Kind::Runbook)?;
        let pre = &binding.callee.pre;
        let link_error = |error| binding.link_error(error);
        let run = runbook_run::GuestIndices::new(pre).map_err(link_error)?;
        let probe = binding
            .plugin
            .has_probe()
            .then(|| runbook_probe::GuestIndices::new(pre))
            .transpose();
        let undo = binding
            .plugin
            .has_undo()
            .then(|| runbook_undo::GuestIndices::new(pre))
            .transpose();
        let (probe, undo) = (probe.map_err(link_error)?, undo.map_err(link_error)?);
        Ok(Self {
            binding,
            run,
            probe,
            undo,
        })
    }

    /// What it was made from.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The same runbook for one call, whose machines it may run programs in.
    #[must_use]
    pub fn with_programs(&self, programs: Arc<dyn GuestPrograms>) -> Self {
        let mut other = self.clone();
        other.binding.callee.programs = Some(programs);
        other
    }

    /// The same runbook under other limits.
    #[must_use]
    pub fn with_limits(&self, limits: crate::Limits) -> Self {
        Self {
            binding: self.binding.with_limits(limits),
            ..self.clone()
        }
    }

    async fn call<T, F>(&self, function: &'static str, body: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: for<'g> FnOnce(&'g mut Guest) -> BoxFuture<'g, Answer<T>> + Send + 'static,
    {
        self.binding.callee.call(function, body).await
    }

    /// What may be assumed about its effect. Pure.
    pub async fn effect(&self, context: Context) -> Result<OperationFacts, CallError> {
        let exports = self.run.clone();
        self.call("effect", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                Ok(Ok(exports.call_effect(&mut guest.store, &context).await?))
            })
        })
        .await
    }

    /// Acts (without `resume`) or polls (with it). Dropped, or failed without [`CallError::definite`]: the effect may
    /// have happened.
    pub async fn run(&self, mut call: Call, context: Context, resume: Option<Vec<u8>>) -> Result<Outcome, CallError> {
        let exports = self.run.clone();
        self.call("run", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                guest.stamp(&mut call);
                exports
                    .call_run(&mut guest.store, &call, &context, resume.as_deref())
                    .await
            })
        })
        .await
    }

    /// Did the effect under this key happen? None if the plugin cannot tell.
    pub async fn probe(&self, mut call: Call, context: Context) -> Result<Option<ProbeAnswer>, CallError> {
        let Some(exports) = self.probe.clone() else {
            return Ok(None);
        };
        let answer = self.call("probe", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                guest.stamp(&mut call);
                exports.call_probe(&mut guest.store, &call, &context).await
            })
        });
        answer.await.map(Some)
    }

    /// Takes the effect back. None if the plugin cannot.
    pub async fn undo(
        &self,
        mut call: Call,
        context: Context,
        resume: Option<Vec<u8>>,
    ) -> Result<Option<Outcome>, CallError> {
        let Some(exports) = self.undo.clone() else {
            return Ok(None);
        };
        let answer = self.call("undo", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                guest.stamp(&mut call);
                exports
                    .call_undo(&mut guest.store, &call, &context, resume.as_deref())
                    .await
            })
        });
        answer.await.map(Some)
    }
}
