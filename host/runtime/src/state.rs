//! The data of one store, that is, of one call: what the host functions of this call may see and must count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::durable::Shelf;
use crate::error::{Identity, Refusal};
use crate::grants::{Denial, Interface};
use crate::guests::GuestPrograms;
use crate::host::http::Gate;
use crate::host::log::Lines;
use crate::host::transport::Connections;
use crate::host::wasi;
use crate::limits::{Limits, MemoryLimiter, Refused};
use crate::session::Session;
use crate::stage::Stage;

/// Denials kept for the error; a guest that asks in a loop gets no list without end.
const MOST_DENIALS: usize = 8;

/// Who is called, for whom: the same for every call of a binding.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) plugin: Identity,
    pub(crate) label: String,
    pub(crate) config: Arc<BTreeMap<String, String>>,
    /// What is granted and requested.
    pub(crate) interfaces: BTreeSet<Interface>,
    /// In tests of a plugin: what stands in for the world.
    pub(crate) stage: Option<Arc<Stage>>,
    /// What it keeps; none while it describes itself.
    pub(crate) shelf: Option<Shelf>,
    pub(crate) session: Arc<Session>,
}

impl Subject {
    pub(crate) fn may(&self, interface: Interface) -> bool {
        self.interfaces.contains(&interface)
    }

    /// The moment it is, for what expires.
    pub(crate) fn now(&self) -> Instant {
        let staged = self.stage.as_ref().and_then(|stage| stage.instant());
        staged.unwrap_or_else(Instant::now)
    }

    /// An interface that is not granted is not linked, except while a plugin describes itself: there everything is
    /// linked, for the types that imports share, and nothing granted.
    pub(crate) fn expect(&self, interface: Interface) -> wasmtime::Result<()> {
        wasmtime::ensure!(self.may(interface), "the interface `{interface}` is not granted");
        Ok(())
    }
}

/// What the host keeps of a call after its store is gone.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// A slot for an instance was free.
    started: AtomicBool,
    /// The guest has its instance: what goes wrong from here on is its own doing.
    entered: AtomicBool,
    /// Requests that left, or may have left, this host.
    sent: AtomicU32,
    refused: Mutex<Option<Refused>>,
    oversize: Mutex<Option<String>>,
    denials: Mutex<Vec<Denial>>,
    refusals: Mutex<Vec<Refusal>>,
    last_error_line: Mutex<Option<String>>,
    last_stderr_line: Mutex<Option<String>>,
    lines_dropped: AtomicU32,
}

impl Record {
    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    pub(crate) fn was_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn enter(&self) {
        self.entered.store(true, Ordering::Release);
    }

    pub(crate) fn was_entered(&self) -> bool {
        self.entered.load(Ordering::Acquire)
    }

    pub(crate) fn request_leaves(&self) {
        self.sent.fetch_add(1, Ordering::AcqRel);
    }

    /// The connection could not even be made.
    pub(crate) fn request_did_not_leave(&self) {
        self.sent.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire) > 0
    }

    /// The growth that was refused last.
    pub(crate) fn refused(&self) -> Option<Refused> {
        *lock(&self.refused)
    }

    pub(crate) fn note_memory(&self, limiter: &MemoryLimiter) {
        *lock(&self.refused) = limiter.refused();
    }

    /// A body was larger than the limit.
    pub(crate) fn note_oversize(&self, what: String) {
        *lock(&self.oversize) = Some(what);
    }

    pub(crate) fn oversize(&self) -> Option<String> {
        lock(&self.oversize).clone()
    }

    pub(crate) fn deny(&self, denial: Denial) {
        let mut denials = lock(&self.denials);
        if denials.len() < MOST_DENIALS && !denials.contains(&denial) {
            denials.push(denial);
        }
    }

    pub(crate) fn denials(&self) -> Vec<Denial> {
        lock(&self.denials).clone()
    }

    /// A host interface did not do what was asked, for another reason than a grant.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() < MOST_DENIALS && !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        lock(&self.refusals).clone()
    }

    pub(crate) fn note_error_line(&self, line: String) {
        *lock(&self.last_error_line) = Some(line);
    }

    pub(crate) fn note_stderr_line(&self, line: String) {
        *lock(&self.last_stderr_line) = Some(line);
    }

    /// The last error that it logged, else what it said last on its standard error.
    pub(crate) fn last_words(&self) -> Option<String> {
        let logged = lock(&self.last_error_line).clone();
        logged.or_else(|| lock(&self.last_stderr_line).clone())
    }

    /// How many were dropped until now.
    pub(crate) fn drop_line(&self) -> u32 {
        self.lines_dropped.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    pub(crate) fn lines_dropped(&self) -> u32 {
        self.lines_dropped.load(Ordering::Acquire)
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `T` of a store.
pub(crate) struct GuestState {
    pub(crate) table: ResourceTable,
    pub(crate) subject: Arc<Subject>,
    pub(crate) record: Arc<Record>,
    pub(crate) log: Arc<Lines>,
    pub(crate) memory: MemoryLimiter,
    http: WasiHttpCtx,
    pub(crate) gate: Gate,
    pub(crate) connections: Connections,
    /// Runs programs in the machines of this call.
    pub(crate) programs: Option<Arc<dyn GuestPrograms>>,
    pub(crate) deadline: Instant,
    /// Made when a guest first calls WASI: most never do, and it costs more than the rest of a store.
    inert: Option<WasiCtx>,
}

impl GuestState {
    pub(crate) fn new(
        subject: Arc<Subject>,
        record: Arc<Record>,
        gate: Gate,
        connections: Connections,
        programs: Option<Arc<dyn GuestPrograms>>,
        deadline: Instant,
        limits: &Limits,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let log = Arc::new(Lines::new(Arc::clone(&subject), Arc::clone(&record), limits));
        Self {
            table,
            subject,
            record,
            log,
            memory: MemoryLimiter::new(limits),
            http: WasiHttpCtx::new(),
            gate,
            connections,
            programs,
            deadline,
            inert: None,
        }
    }
}

/// The interface `types` has no functions.
impl crate::bindings::landfall::plugin::types::Host for GuestState {}

/// The store goes when the call ends or is cut off, so this is where what only it knows is kept.
impl Drop for GuestState {
    fn drop(&mut self) {
        self.record.note_memory(&self.memory);
        if let Some(stage) = &self.subject.stage {
            stage.note_denials(self.record.denials());
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.inert.get_or_insert_with(|| wasi::inert(&self.subject, &self.log));
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.gate,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
