//! A recovery-point policy as typed calls. Policies are pure: whatever is granted, their world holds no authority.

use crate::binding::Binding;
use crate::bindings::exports::landfall::plugin::policy::GuestIndices;
use crate::contract::policy::{Choice, Request, Selection, Verdict};
use crate::error::{BindError, CallError};
use crate::manifest::Kind;

/// A policy.
#[derive(Clone)]
pub struct Policy {
    binding: Binding,
    exports: GuestIndices,
}

impl Policy {
    /// Checks the kind.
    pub fn new(binding: Binding) -> Result<Self, BindError> {
        binding.expect_kind(Kind::RecoveryPointPolicy)?;
        let exports = GuestIndices::new(&binding.callee.pre).map_err(|error| binding.link_error(error))?;
        Ok(Self { binding, exports })
    }

    /// What it was made from.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The same policy under other limits.
    #[must_use]
    pub fn with_limits(&self, limits: crate::Limits) -> Self {
        Self {
            binding: self.binding.with_limits(limits),
            exports: self.exports.clone(),
        }
    }

    /// What an operator can choose from.
    pub async fn choices(&self) -> Result<Vec<Choice>, CallError> {
        let exports = self.exports.clone();
        let answer = self.binding.callee.call("choices", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                Ok(Ok(exports.call_choices(&mut guest.store).await?))
            })
        });
        answer.await
    }

    /// One selection for every candidate.
    pub async fn select(&self, request: Request) -> Result<Vec<Selection>, CallError> {
        let exports = self.exports.clone();
        let answer = self.binding.callee.call("select", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                exports.call_select(&mut guest.store, &request).await
            })
        });
        answer.await
    }

    /// Which points to keep: a proposal.
    pub async fn retain(&self, request: Request) -> Result<Vec<Verdict>, CallError> {
        let exports = self.exports.clone();
        let answer = self.binding.callee.call("retain", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                exports.call_retain(&mut guest.store, &request).await
            })
        });
        answer.await
    }
}
