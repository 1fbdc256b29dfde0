//! A hypervisor adapter as typed calls, one per function of the contract, each in an instance of its own.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use wasmtime::component::Resource;

use crate::binding::Binding;
use crate::bindings::exports::landfall::plugin::adapter::{Guest as Exports, GuestIndices};
use crate::bindings::exports::landfall::plugin::{guest_exec, takeover};
use crate::buffer::Buffer;
use crate::call::{Answer, Guest};
use crate::contract::adapter::{
    Extent, ExtentPage, Features, IsolationAnswer, ItemFacts, MachinePage, Network, Operation, OwnedPage, PowerAnswer,
    PreflightAnswer, SiteFacts,
};
use crate::contract::types::{Call, Direction, Finding, GuestCommand, GuestExit, ProbeAnswer, Progress, RecoveryPoint};
use crate::error::{BindError, CallError};
use crate::manifest::Kind;

/// An adapter for one site.
#[derive(Clone)]
pub struct Adapter {
    binding: Binding,
    exports: Arc<GuestIndices>,
    programs: Option<guest_exec::GuestIndices>,
    takeover: Option<takeover::GuestIndices>,
}

impl Adapter {
    /// Checks the kind.
    pub fn new(binding: Binding) -> Result<Self, BindError> {
        binding.expect_kind(Kind::HypervisorAdapter)?;
        let exports = GuestIndices::new(&binding.callee.pre).map_err(|error| binding.link_error(error))?;
        let programs = binding
            .plugin
            .has_guest_exec()
            .then(|| guest_exec::GuestIndices::new(&binding.callee.pre))
            .transpose();
        let programs = programs.map_err(|error| binding.link_error(error))?;
        let takeover = binding
            .plugin
            .has_takeover()
            .then(|| takeover::GuestIndices::new(&binding.callee.pre))
            .transpose();
        let takeover = takeover.map_err(|error| binding.link_error(error))?;
        Ok(Self {
            binding,
            exports: Arc::new(exports),
            programs,
            takeover,
        })
    }

    /// What it was made from.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The same adapter under other limits.
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
        F: for<'g> FnOnce(&'g mut Guest, Exports) -> BoxFuture<'g, Answer<T>> + Send + 'static,
    {
        let exports = self.exports.clone();
        let answer = self.binding.callee.call(function, move |guest| {
            match exports.load(&mut guest.store, &guest.instance) {
                Ok(exports) => body(guest, exports),
                Err(error) => Box::pin(async { Err(error) }),
            }
        });
        answer.await
    }

    /// What is possible for a machine that came from `origin` in this direction.
    pub async fn get_features(&self, origin: String, direction: Direction) -> Result<Features, CallError> {
        self.call("get-features", move |guest, exports| {
            Box::pin(async move {
                Ok(Ok(exports
                    .call_get_features(&mut guest.store, &origin, direction)
                    .await?))
            })
        })
        .await
    }

    /// What is wrong with the site.
    pub async fn health(&self) -> Result<Vec<Finding>, CallError> {
        self.call("health", |guest, exports| {
            Box::pin(async move { exports.call_health(&mut guest.store).await })
        })
        .await
    }

    /// One page of machines.
    pub async fn list_machines(&self, cursor: Option<String>) -> Result<MachinePage, CallError> {
        self.call("list-machines", move |guest, exports| {
            Box::pin(async move { exports.call_list_machines(&mut guest.store, cursor.as_deref()).await })
        })
        .await
    }

    /// All networks.
    pub async fn list_networks(&self) -> Result<Vec<Network>, CallError> {
        self.call("list-networks", |guest, exports| {
            Box::pin(async move { exports.call_list_networks(&mut guest.store).await })
        })
        .await
    }

    /// All findings at once, for an operation named as in the host.
    pub async fn preflight(
        &self,
        item: ItemFacts,
        peer: Option<SiteFacts>,
        operation: String,
    ) -> Result<PreflightAnswer, CallError> {
        self.call("preflight", move |guest, exports| {
            Box::pin(async move {
                exports
                    .call_preflight(&mut guest.store, &item, peer.as_ref(), &operation)
                    .await
            })
        })
        .await
    }

    /// Starts an effect. Dropped, or failed without [`CallError::definite`]: it may have happened.
    pub async fn submit(&self, mut call: Call, operation: Operation) -> Result<Progress, CallError> {
        self.call("submit", move |guest, exports| {
            guest.stamp(&mut call);
            Box::pin(async move { exports.call_submit(&mut guest.store, &call, &operation).await })
        })
        .await
    }

    /// The state of several handles; the far end may wait up to `wait_ms` until one of them is over, within the wall
    /// limit of this call.
    pub async fn poll_many(&self, handles: Vec<String>, wait_ms: u32) -> Result<Vec<(String, Progress)>, CallError> {
        self.call("poll-many", move |guest, exports| {
            Box::pin(async move { exports.call_poll_many(&mut guest.store, &handles, wait_ms).await })
        })
        .await
    }

    /// Did the effect under this key happen? Changes nothing.
    pub async fn probe(&self, mut call: Call, operation: Operation) -> Result<ProbeAnswer, CallError> {
        self.call("probe", move |guest, exports| {
            guest.stamp(&mut call);
            Box::pin(async move { exports.call_probe(&mut guest.store, &call, &operation).await })
        })
        .await
    }

    /// Stops an effect that is under way.
    pub async fn cancel(&self, mut call: Call, handle: String) -> Result<Progress, CallError> {
        self.call("cancel", move |guest, exports| {
            guest.stamp(&mut call);
            Box::pin(async move { exports.call_cancel(&mut guest.store, &call, &handle).await })
        })
        .await
    }

    /// Whether a machine runs, read after the call began.
    pub async fn power_state(&self, machine: String) -> Result<PowerAnswer, CallError> {
        self.call("power-state", move |guest, exports| {
            Box::pin(async move { exports.call_power_state(&mut guest.store, &machine).await })
        })
        .await
    }

    /// Evidence that no machine on this network can reach another.
    pub async fn prove_isolation(&self, network: String) -> Result<IsolationAnswer, CallError> {
        self.call("prove-isolation", move |guest, exports| {
            Box::pin(async move { exports.call_prove_isolation(&mut guest.store, &network).await })
        })
        .await
    }

    /// One page of what changed between two marks.
    pub async fn changes(
        &self,
        machine: String,
        since: Option<String>,
        mark: String,
        cursor: Option<String>,
    ) -> Result<ExtentPage, CallError> {
        self.call("changes", move |guest, exports| {
            Box::pin(async move {
                let (since, cursor) = (since.as_deref(), cursor.as_deref());
                exports
                    .call_changes(&mut guest.store, &machine, since, &mark, cursor)
                    .await
            })
        })
        .await
    }

    /// Appends an extent's bytes, as of the mark, to the buffer. After an error it may hold a part of them.
    pub async fn read(&self, machine: String, mark: String, extent: Extent, buffer: &Buffer) -> Result<(), CallError> {
        let buffer = buffer.clone();
        self.call("read", move |guest, exports| {
            Box::pin(async move {
                let buffer = lend(guest, buffer)?;
                exports
                    .call_read(&mut guest.store, &machine, &mark, extent, buffer)
                    .await
            })
        })
        .await
    }

    /// Writes what the buffer holds at the offset.
    pub async fn write(
        &self,
        mut call: Call,
        replica: String,
        mark: String,
        offset: u64,
        buffer: &Buffer,
    ) -> Result<(), CallError> {
        let buffer = buffer.clone();
        self.call("write", move |guest, exports| {
            guest.stamp(&mut call);
            Box::pin(async move {
                let buffer = lend(guest, buffer)?;
                exports
                    .call_write(&mut guest.store, &call, &replica, &mark, offset, buffer)
                    .await
            })
        })
        .await
    }

    /// Recovery points, newest first.
    pub async fn list_points(&self, replica: String) -> Result<Vec<RecoveryPoint>, CallError> {
        self.call("list-points", move |guest, exports| {
            Box::pin(async move { exports.call_list_points(&mut guest.store, &replica).await })
        })
        .await
    }

    /// Runs a program inside a machine, on behalf of a runbook's call. None if the adapter cannot.
    pub async fn exec(
        &self,
        mut call: Call,
        machine: String,
        command: GuestCommand,
    ) -> Result<Option<GuestExit>, CallError> {
        let Some(exports) = self.programs.clone() else {
            return Ok(None);
        };
        let mut callee = self.binding.callee.clone();
        callee.nested = true;
        let answer = callee.call("exec", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                guest.stamp(&mut call);
                exports.call_exec(&mut guest.store, &call, &machine, &command).await
            })
        });
        answer.await.map(Some)
    }

    /// The site refuses orders of this installation under a lower epoch from now on. None if it keeps no epochs.
    pub async fn take_over(&self, mut call: Call) -> Result<Option<()>, CallError> {
        let Some(exports) = self.takeover.clone() else {
            return Ok(None);
        };
        let answer = self.binding.callee.call("take-over", move |guest| {
            Box::pin(async move {
                let exports = exports.load(&mut guest.store, &guest.instance)?;
                guest.stamp(&mut call);
                exports.call_take_over(&mut guest.store, &call).await
            })
        });
        answer.await.map(Some)
    }

    /// One page of what carries this installation's stamp.
    pub async fn list_owned(&self, installation: String, cursor: Option<String>) -> Result<OwnedPage, CallError> {
        self.call("list-owned", move |guest, exports| {
            Box::pin(async move {
                exports
                    .call_list_owned(&mut guest.store, &installation, cursor.as_deref())
                    .await
            })
        })
        .await
    }
}

/// The guest borrows the buffer for this call; the host's own handle goes with the store.
fn lend(guest: &mut Guest, buffer: Buffer) -> wasmtime::Result<Resource<Buffer>> {
    let owned = guest.store.data_mut().table.push(buffer)?;
    Ok(Resource::new_borrow(owned.rep()))
}
