//! Connections to endpoints that the operator named: made, checked, kept warm and closed here.
//!
//! One [`Wire`] is one connection of one call. Its bytes pass without a copy: what the socket gives is handed on as it
//! is, and what a guest writes goes to the socket at once; only what the far side does not take yet waits here, at most
//! a megabyte, and is sent by a task that ends with the call. Nothing is read that nobody asked for.
//!
//! A wire goes back to the [`Pool`] only if the guest parked it last thing, the call ended in an answer, and nothing is
//! left over in either direction. It is handed out again only to the same version of the same plugin, for the same
//! site, endpoint and tag, and only if the far side kept quiet since.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::endpoint::Endpoint;
use crate::stage::StageClock;
use crate::state::Record;

/// Room for one read: what a socket holds when data comes fast. Smaller pieces cost more calls than they save memory.
const READ: usize = 128 << 10;

/// Less room than this is not worth a system call.
const LEAST_READ: usize = 16 << 10;

/// Bytes that wait for the far side. WASI's streams allocate up to the permit on a guest's word.
const MOST_QUEUED: usize = 1 << 20;

/// Warm connections of all plugins together: a site has a handful, and each costs a file descriptor.
const MOST_WARM: usize = 64;

/// Servers commonly give up idle clients after a minute or more.
const WARM_FOR: Duration = Duration::from_secs(50);

/// How often it is looked for those that are over.
const REAP_EVERY: Duration = Duration::from_secs(10);

/// TCP, TLS, Unix, or a scripted far side.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Who may have a connection again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) label: String,
    pub(crate) digest: String,
    pub(crate) name: String,
    /// Where it leads: the operator may have changed that.
    pub(crate) endpoint: Endpoint,
    pub(crate) port: Option<u16>,
    pub(crate) tag: String,
}

/// How a direction ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Closed,
    Failed(String),
}

impl End {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// One connection of one call.
pub(crate) struct Wire {
    pub(crate) key: Key,
    pub(crate) warm: bool,
    io: Mutex<Io>,
    /// Room was made, or the queue is empty, or it never will be.
    drained: Notify,
    /// What is written counts as sent.
    record: Arc<Record>,
    /// Of a scripted far side, which has nobody to wake who waits for it.
    clock: Option<StageClock>,
    /// Counts the wires of a call.
    _slot: OwnedSemaphorePermit,
}

struct Io {
    /// None once it was closed or went to the pool.
    socket: Option<Box<dyn Socket>>,
    received: BytesMut,
    received_end: Option<End>,
    queue: VecDeque<Bytes>,
    queued: usize,
    sent_end: Option<End>,
    flushing: bool,
    /// Sends what waits, while something does.
    sender: Option<AbortHandle>,
    wrote: bool,
    parked: bool,
}

impl Wire {
    pub(crate) fn new(
        key: Key,
        socket: Box<dyn Socket>,
        warm: bool,
        record: Arc<Record>,
        clock: Option<StageClock>,
        slot: OwnedSemaphorePermit,
    ) -> Arc<Self> {
        Arc::new(Self {
            key,
            warm,
            io: Mutex::new(Io {
                socket: Some(socket),
                received: BytesMut::new(),
                received_end: None,
                queue: VecDeque::new(),
                queued: 0,
                sent_end: None,
                flushing: false,
                sender: None,
                wrote: false,
                parked: false,
            }),
            drained: Notify::new(),
            record,
            clock,
            _slot: slot,
        })
    }

    fn io(&self) -> MutexGuard<'_, Io> {
        // Nothing panics while it holds this lock.
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there now, at most `size` bytes; empty if nothing is.
    pub(crate) fn read(&self, size: usize) -> Result<Bytes, End> {
        let mut io = self.io();
        io.parked = false;
        if size > 0 {
            // Pending is told by an empty answer; the guest then waits with `readable`.
            let _ = io.poll_receive(&mut Context::from_waker(Waker::noop()));
        }
        if !io.received.is_empty() {
            let size = size.min(io.received.len());
            return Ok(io.received.split_to(size).freeze());
        }
        match &io.received_end {
            Some(end) => Err(end.clone()),
            None => Ok(Bytes::new()),
        }
    }

    /// Resolves when there is something to read, or the end. Dropped: nothing is lost.
    pub(crate) async fn readable(&self) {
        let Some(clock) = &self.clock else {
            return std::future::poll_fn(|context| self.io().poll_receive(context)).await;
        };
        let is_there = || {
            let mut context = Context::from_waker(Waker::noop());
            self.io().poll_receive(&mut context).is_ready()
        };
        clock.until(is_there).await;
    }

    /// Bytes that may be written now.
    pub(crate) fn permit(&self) -> Result<usize, End> {
        let io = self.io();
        match &io.sent_end {
            Some(end) => Err(end.clone()),
            None if io.flushing => Ok(0),
            None => Ok(MOST_QUEUED.saturating_sub(io.queued)),
        }
    }

    /// Takes bytes within the permit.
    pub(crate) fn write(self: &Arc<Self>, bytes: Bytes) -> Result<(), End> {
        let mut io = self.io();
        io.parked = false;
        if let Some(end) = &io.sent_end {
            return Err(end.clone());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if !io.wrote {
            io.wrote = true;
            self.record.request_leaves();
        }
        io.queued += bytes.len();
        io.queue.push_back(bytes);
        self.send(&mut io);
        Ok(())
    }

    /// Asks that everything is sent; the permit is zero until it is.
    pub(crate) fn flush(self: &Arc<Self>) -> Result<(), End> {
        let mut io = self.io();
        if let Some(end) = &io.sent_end {
            return Err(end.clone());
        }
        io.flushing = true;
        self.send(&mut io);
        Ok(())
    }

    /// Resolves when the permit is not zero, or the end is known. Dropped: nothing is lost.
    pub(crate) async fn writable(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if !matches!(self.permit(), Ok(0)) {
                return;
            }
            drained.await;
        }
    }

    /// At once what the socket takes, the rest by a task.
    fn send(self: &Arc<Self>, io: &mut Io) {
        if io.sender.is_some() || io.poll_send(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        let wire = Arc::clone(self);
        let sending = std::future::poll_fn(move |context| {
            let mut io = wire.io();
            let waiting = io.queued;
            let sent = io.poll_send(context);
            if sent.is_ready() {
                io.sender = None;
            }
            if sent.is_ready() || io.queued < waiting {
                wire.drained.notify_waiters();
            }
            sent
        });
        io.sender = Some(tokio::spawn(sending).abort_handle());
    }

    pub(crate) fn park(&self) {
        self.io().parked = true;
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.io().parked
    }

    /// Ends it for both sides, whoever still holds it.
    pub(crate) fn close(&self) {
        let mut io = self.io();
        if let Some(sender) = io.sender.take() {
            sender.abort();
        }
        io.end();
        self.drained.notify_waiters();
    }

    /// The socket, if it was parked and nothing is left over in either direction.
    fn take(&self) -> Option<Box<dyn Socket>> {
        let mut io = self.io();
        let clean = io.parked
            && io.received.is_empty()
            && io.received_end.is_none()
            && io.sent_end.is_none()
            && io.queue.is_empty()
            && !io.flushing;
        let socket = io.socket.take().filter(|_| clean);
        io.end();
        socket
    }
}

impl Io {
    fn end(&mut self) {
        self.socket = None;
        self.queue.clear();
        self.queued = 0;
        self.flushing = false;
        self.received_end.get_or_insert(End::Closed);
        self.sent_end.get_or_insert(End::Closed);
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.received.is_empty() || self.received_end.is_some() {
            return Poll::Ready(());
        }
        let Some(socket) = &mut self.socket else {
            self.received_end = Some(End::Closed);
            return Poll::Ready(());
        };
        if self.received.capacity() < LEAST_READ {
            self.received.reserve(READ);
        }
        match ready!(poll_read_buf(Pin::new(socket), context, &mut self.received)) {
            Ok(0) => self.received_end = Some(End::Closed),
            Ok(_) => {}
            Err(error) => self.received_end = Some(End::of(&error)),
        }
        Poll::Ready(())
    }

    /// Ready: nothing waits any more.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sent = ready!(self.poll_send_all(context));
        self.flushing = false;
        if let Err(error) = sent {
            self.queue.clear();
            self.queued = 0;
            self.sent_end = Some(End::of(&error));
        }
        Poll::Ready(())
    }

    fn poll_send_all(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        while let Some(first) = self.queue.front_mut() {
            let sent = ready!(Pin::new(&mut *socket).poll_write(context, first))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.queued -= sent;
            drop(first.split_to(sent));
            if first.is_empty() {
                self.queue.pop_front();
            }
        }
        // TLS gathers records.
        Pin::new(socket).poll_flush(context)
    }
}

/// Connections that wait for their next call.
#[derive(Default)]
pub(crate) struct Pool {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Oldest first.
    warm: VecDeque<Warm>,
    /// A task closes what is over, while there is something.
    reaping: bool,
}

struct Warm {
    key: Key,
    socket: Box<dyn Socket>,
    since: Instant,
}

impl Pool {
    /// A connection that still stands, the youngest first.
    pub(crate) fn take(&self, key: &Key, now: Instant) -> Option<Box<dyn Socket>> {
        let mut waiting = self.waiting();
        waiting.forget(now);
        while let Some(place) = waiting.warm.iter().rposition(|warm| warm.key == *key) {
            let mut warm = waiting.warm.remove(place)?;
            if is_quiet(&mut warm.socket) {
                return Some(warm.socket);
            }
        }
        None
    }

    /// Takes back what is parked and clean; everything else is closed with its wire.
    pub(crate) fn give_back(self: &Arc<Self>, wire: &Arc<Wire>, threads: &Handle, now: Instant) {
        if !wire.is_parked() {
            return;
        }
        // What then still waits, or an end, shows in `take`.
        let _ = wire.flush();
        let Some(socket) = wire.take() else { return };
        let mut waiting = self.waiting();
        waiting.forget(now);
        if waiting.warm.len() >= MOST_WARM {
            waiting.warm.pop_front();
        }
        waiting.warm.push_back(Warm {
            key: wire.key.clone(),
            socket,
            since: now,
        });
        if !waiting.reaping {
            waiting.reaping = true;
            threads.spawn(reap(Arc::downgrade(self)));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn forget(&mut self, now: Instant) {
        self.warm
            .retain(|warm| now.saturating_duration_since(warm.since) < WARM_FOR);
    }
}

/// Closes what is over, until nothing waits.
async fn reap(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(REAP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut waiting = pool.waiting();
        waiting.forget(Instant::now());
        if waiting.warm.is_empty() {
            waiting.reaping = false;
            return;
        }
    }
}

/// Whether the far side neither closed it nor sent what nobody asked for.
fn is_quiet(socket: &mut Box<dyn Socket>) -> bool {
    let mut byte = [0];
    let mut buffer = tokio::io::ReadBuf::new(&mut byte);
    Pin::new(socket)
        .poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer)
        .is_pending()
}
