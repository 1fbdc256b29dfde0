//! One call: a fresh store and instance, the limits around it, and the verdict on how it ended.
//!
//! Calls run on the runtime's own threads, so that guests can never starve the host. The order matters: the meters are
//! armed before the instance is made, because its start functions are guest code too. Dropping the returned future
//! aborts the call and everything it still has under way; what it had already sent stays sent.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;
use wasmtime::component::{Instance, InstancePre, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::contract::types::{Call, Failure};
use crate::error::{CallError, Fault};
use crate::grants::Effective;
use crate::guests::GuestPrograms;
use crate::health::Health;
use crate::host::http::Gate;
use crate::host::log::Flood;
use crate::host::transport::Connections;
use crate::limits::{CpuMeter, Limits, Refused};
use crate::runtime::Shared;
use crate::state::{GuestState, Record, Subject};

/// The epoch is asked at every tick, see `engine::TICK`.
const TICKS: u64 = 1;

/// A day is as good as no limit, and cannot overflow the clock.
const LONGEST: Duration = Duration::from_hours(24);

/// wasmtime's words when `limits.pass-bytes` is passed; it has no public type for this, so a test holds them.
const TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";

/// The failure in which the SDKs of interpreted languages hand on what a plugin did not catch. Where a compiled guest
/// traps for want of memory, an interpreter throws.
const UNCAUGHT: &str = "uncaught-exception";

/// An export has other types than this contract. Found while a plugin describes itself, before any of its exports runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OtherTypes(pub(crate) String);

/// A component that is linked and ready to be called for one subject.
#[derive(Clone)]
pub(crate) struct Callee {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) subject: Arc<Subject>,
    pub(crate) effective: Arc<Effective>,
    pub(crate) health: Arc<Health>,
    pub(crate) limits: Limits,
    /// Instances that one site or runbook may have at once: half of all, so that a site that answers nobody leaves room
    /// for the others.
    pub(crate) share: Arc<Semaphore>,
    /// Somebody measures.
    pub(crate) timings: Option<UnboundedSender<Timing>>,
    /// Runs programs in the machines of the call, for runbooks.
    pub(crate) programs: Option<Arc<dyn GuestPrograms>>,
    /// It is called on behalf of another call, which holds an instance while it waits.
    pub(crate) nested: bool,
}

/// Where the time of one call went, for benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the call to the moment when a guest's thread took it up.
    pub waited: Duration,
    /// On that thread: grants, limits, a fresh sandbox, the guest itself, and clearing away.
    pub ran: Duration,
    /// Processor time of it, as the limit counts it.
    pub cpu: Duration,
}

/// The instance of one call.
pub(crate) struct Guest {
    pub(crate) store: Store<GuestState>,
    pub(crate) instance: Instance,
    deadline: Instant,
}

impl Guest {
    /// Tells the plugin how long it has left.
    pub(crate) fn stamp(&self, call: &mut Call) {
        let stage = self.store.data().subject.stage.as_ref();
        if let Some(left) = stage.and_then(|stage| stage.left_ms()) {
            call.remaining_ms = left;
            return;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        call.remaining_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    }
}

/// What an exported function gives: wasmtime's error, or the plugin's own result.
pub(crate) type Answer<T> = wasmtime::Result<Result<T, Failure>>;

impl Callee {
    /// Makes an instance and lets `body` call its exports. Dropped: the call is aborted.
    pub(crate) async fn call<T, F>(&self, function: &'static str, body: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: for<'g> FnOnce(&'g mut Guest) -> BoxFuture<'g, Answer<T>> + Send + 'static,
    {
        let record = Arc::new(Record::default());
        let asked = Instant::now();
        let task = run(self.clone(), Arc::clone(&record), asked, body).instrument(tracing::Span::current());
        let mut tasks = JoinSet::new();
        tasks.spawn_on(task, self.shared.guests.handle());
        let ended = tokio::select! {
            biased;
            () = self.health.revoked() => {
                // Waited for, so that nothing is sent after the record was read.
                tasks.shutdown().await;
                Err(Fault::Revoked)
            }
            ended = tasks.join_next() => match ended {
                Some(Ok(ended)) => ended,
                Some(Err(error)) => Err(Fault::Host(error.to_string())),
                None => Err(Fault::Host("the call was lost".to_owned())),
            },
        };
        if record.lines_dropped() > 0 {
            let (plugin, dropped) = (&self.subject.plugin, record.lines_dropped());
            tracing::warn!(%plugin, label = self.subject.label, function, dropped, "the plugin logged too much");
        }
        ended.map_err(|fault| {
            let refused = !record.denials().is_empty() || record.oversize().is_some() || !record.refusals().is_empty();
            self.health.note(&fault, refused);
            self.error(function, fault, &record)
        })
    }

    fn error(&self, function: &'static str, fault: Fault, record: &Record) -> CallError {
        CallError {
            plugin: self.subject.plugin.clone(),
            label: self.subject.label.clone(),
            function,
            fault,
            denials: record.denials(),
            sent: record.was_sent(),
            oversize: record.oversize(),
            refusals: record.refusals(),
        }
    }
}

/// The whole call under its limits.
async fn run<T, F>(callee: Callee, record: Arc<Record>, asked: Instant, body: F) -> Result<T, Fault>
where
    T: Send + 'static,
    F: for<'g> FnOnce(&'g mut Guest) -> BoxFuture<'g, Answer<T>> + Send + 'static,
{
    let limits = callee.limits;
    let deadline = asked + limits.wall.min(LONGEST);
    let scene = callee.subject.stage.clone();
    if let Some(stage) = &scene {
        stage.begin(limits.wall);
    }
    let timings = callee.timings.clone().map(|timings| (timings, Instant::now()));
    let meter = Arc::new(CpuMeter::new(limits.cpu));
    let ended = {
        let mut work = pin!(work(callee, Arc::clone(&record), Arc::clone(&meter), deadline, body));
        let metered = poll_fn(|context| {
            meter.enter();
            let state = work.as_mut().poll(context);
            meter.leave();
            state
        });
        let metered = timeout_at(deadline, metered);
        match scene {
            None => metered.await.ok(),
            Some(stage) => tokio::select! {
                biased;
                ended = metered => ended.ok(),
                () = stage.over() => None,
            },
        }
    };
    if let Some((timings, began)) = timings {
        // Whoever measured may have seen enough.
        let _ = timings.send(Timing {
            waited: began - asked,
            ran: began.elapsed(),
            cpu: meter.used(),
        });
    }
    match ended {
        Some(Ok(Ok(value))) => Ok(value),
        Some(Ok(Err(failure))) => Err(match record.refused() {
            Some(refused) if failure.code == UNCAUGHT => too_large(refused, &limits),
            Some(_) | None => Fault::Failure(failure),
        }),
        Some(Err(error)) => Err(classify(&error, &meter, &record, &limits)),
        None => Err(Fault::WallLimit {
            limit: limits.wall,
            started: record.was_started(),
        }),
    }
}

async fn work<T, F>(callee: Callee, record: Arc<Record>, meter: Arc<CpuMeter>, deadline: Instant, body: F) -> Answer<T>
where
    F: for<'g> FnOnce(&'g mut Guest) -> BoxFuture<'g, Answer<T>> + Send + 'static,
{
    let Callee {
        shared,
        pre,
        subject,
        effective,
        limits,
        share,
        programs,
        nested,
        ..
    } = callee;
    let _share = share.acquire().await?;
    let slots = if nested { &shared.nested } else { &shared.instances };
    let _slot = slots.acquire().await?;
    record.start();
    let connections = Connections::new(
        Arc::clone(&effective),
        Arc::clone(&record),
        Arc::clone(&subject),
        Arc::clone(&shared.pool),
        shared.guests.handle().clone(),
    );
    let gate = Gate::new(
        Arc::clone(&shared),
        effective,
        Arc::clone(&record),
        deadline,
        limits.body_bytes,
        Arc::clone(&subject),
    );
    let mut store = Store::new(
        pre.engine(),
        GuestState::new(
            subject,
            Arc::clone(&record),
            gate,
            connections,
            programs,
            deadline,
            &limits,
        ),
    );
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(limits.pass_bytes);
    store.set_epoch_deadline(TICKS);
    store.epoch_deadline_callback(move |_| {
        if meter.is_over_budget() {
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::YieldCustom(TICKS, Box::pin(tokio::task::yield_now())))
    });
    let instance = pre.instantiate_async(&mut store).await?;
    record.enter();
    let mut guest = Guest {
        store,
        instance,
        deadline,
    };
    let answer = body(&mut guest).await?;
    guest.store.data_mut().connections.keep();
    Ok(answer)
}

/// The limits are asked first: a limit that was hit shows as a trap. What is left is a trap, or a plugin that does not
/// keep to the contract; the host's own errors come before the guest has an instance.
fn classify(error: &wasmtime::Error, meter: &CpuMeter, record: &Record, limits: &Limits) -> Fault {
    if meter.was_exhausted() {
        return Fault::CpuLimit { limit: limits.cpu };
    }
    if let Some(flood) = error.downcast_ref::<Flood>() {
        return Fault::LogLimit {
            lines: flood.lines.saturating_add(limits.log_lines),
            limit: limits.log_lines,
        };
    }
    if error
        .downcast_ref::<ResourceTableError>()
        .is_some_and(|error| matches!(error, ResourceTableError::Full))
    {
        return Fault::HandleLimit { limit: limits.handles };
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::StackOverflow) {
        return Fault::StackOverflow {
            backtrace: backtrace(error),
        };
    }
    if let Some(refused) = record.refused() {
        return too_large(refused, limits);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Busy(format!("{error:#}"));
    }
    let message = error.root_cause().to_string();
    if message.contains(TOO_MUCH) {
        return Fault::PassLimit {
            limit: limits.pass_bytes,
        };
    }
    if let Some(trap) = trap {
        return Fault::Trap {
            message: trap.to_string(),
            backtrace: backtrace(error),
            last_words: record.last_words(),
        };
    }
    if record.was_entered() && !error.is::<OtherTypes>() {
        return Fault::Contract {
            message,
            backtrace: backtrace(error),
        };
    }
    Fault::Host(format!("{error:#}"))
}

fn too_large(refused: Refused, limits: &Limits) -> Fault {
    match refused {
        Refused::Memory => Fault::MemoryLimit { limit: limits.memory },
        Refused::Tables => Fault::TableLimit {
            limit: limits.table_elements,
        },
    }
}

/// Names of the functions, innermost first.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let frame = |frame: &wasmtime::FrameInfo| frame.func_name().unwrap_or("<unnamed>").to_owned();
    let trace = error.downcast_ref::<WasmBacktrace>();
    trace
        .map(|trace| trace.frames().iter().map(frame).collect())
        .unwrap_or_default()
}
