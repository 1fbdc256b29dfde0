//! `transport`: streams of bytes to endpoints that the operator named. Which endpoints, and how many connections at
//! once, is decided here; what a connection is stands in `transport.rs`.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::component::Resource;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, StreamError, StreamResult,
};

use crate::bindings::landfall::plugin::transport::{Host, HostConnection};
use crate::contract::types::Failure;
use crate::dial::{DialError, dial};
use crate::error::Refusal;
use crate::grants::{Denial, Effective, Interface, Remedy};
use crate::stage::Stage;
use crate::state::{GuestState, Record, Subject};
use crate::transport::{End, Key, Pool, Socket, Wire};

/// Connections of one call at once: one for requests and a few for data.
const MOST_CONNECTIONS: usize = 16;

/// A tag is a word.
const LONGEST_TAG: usize = 256;

/// What one call may open, and what it has open.
pub(crate) struct Connections {
    effective: Arc<Effective>,
    record: Arc<Record>,
    subject: Arc<Subject>,
    pool: Arc<Pool>,
    threads: Handle,
    slots: Arc<Semaphore>,
    live: Vec<Weak<Wire>>,
    /// Those that the guest parked and let go of.
    parked: Vec<Arc<Wire>>,
}

impl Connections {
    /// `pool`: the runtime's; a scripted stage has its own.
    pub(crate) fn new(
        effective: Arc<Effective>,
        record: Arc<Record>,
        subject: Arc<Subject>,
        pool: Arc<Pool>,
        threads: Handle,
    ) -> Self {
        let staged = subject.stage.as_ref().and_then(|stage| stage.pool());
        Self {
            effective,
            record,
            subject,
            pool: staged.unwrap_or(pool),
            threads,
            slots: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            live: Vec::new(),
            parked: Vec::new(),
        }
    }

    /// The call ended in an answer: what is parked may serve the next one. Dropped: the rest is closed.
    pub(crate) fn keep(&mut self) {
        for wire in self.live.iter().filter_map(Weak::upgrade) {
            self.pool.give_back(&wire, &self.threads, self.subject.now());
        }
    }

    async fn dial(&self, key: &Key) -> Result<Box<dyn Socket>, DialError> {
        if let Some(stage) = &self.subject.stage
            && let Some(dialled) = stage.dial(key).await
        {
            return dialled;
        }
        dial(&key.endpoint, key.port).await
    }

    fn deny(&self, denial: Denial) -> Failure {
        let failure = Failure {
            code: "not-granted".to_owned(),
            message: denial.to_string(),
            retryable: false,
            definite: false,
            details: vec![("landfall".to_owned(), "LF0437".to_owned())],
        };
        self.record.deny(denial);
        failure
    }

    fn refuse(&self, code: &'static str, word: &'static str, what: String, retryable: bool) -> Failure {
        let refusal = Refusal { code, word, what };
        let failure = refusal.to_failure(retryable);
        self.record.refuse(refusal);
        failure
    }

    /// A parked connection of this call, one of an earlier call, or a new one.
    async fn open(&mut self, key: Key) -> Result<Arc<Wire>, Failure> {
        if let Some(place) = self.parked.iter().position(|wire| wire.key == key) {
            return Ok(self.parked.swap_remove(place));
        }
        self.live.retain(|wire| wire.strong_count() > 0);
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let what = format!("a call has at most {MOST_CONNECTIONS} connections at once");
            return Err(self.refuse("LF0474", "too-many-connections", what, false));
        };
        let (socket, warm) = match self.pool.take(&key, self.subject.now()) {
            Some(socket) => (socket, true),
            None => match self.dial(&key).await {
                Ok(socket) => (socket, false),
                Err(error) => return Err(self.unconnected(&key, &error)),
            },
        };
        let clock = self.subject.stage.as_deref().and_then(Stage::clock).cloned();
        let wire = Wire::new(key, socket, warm, Arc::clone(&self.record), clock, slot);
        self.live.push(Arc::downgrade(&wire));
        Ok(wire)
    }

    fn unconnected(&self, key: &Key, error: &DialError) -> Failure {
        let place = format!("the endpoint `{}` {}", key.name, key.endpoint);
        match error {
            DialError::Refused(why) => self.deny(Denial {
                what: place,
                remedy: Remedy::Never(why.clone()),
            }),
            DialError::UnknownName { .. } | DialError::Unreachable(_) | DialError::Timeout => {
                let what = format!("{place} cannot be reached: {error}");
                self.refuse("LF0475", "unreachable", what, true)
            }
            DialError::Certificates(_) | DialError::Tls(_) => {
                let what = format!("{place} has no secure connection: {error}");
                self.refuse("LF0476", "tls", what, false)
            }
        }
    }
}

/// Whatever was not given back is closed: the call trapped, ran out of a limit, or did not park it.
impl Drop for Connections {
    fn drop(&mut self) {
        self.live.iter().filter_map(Weak::upgrade).for_each(|wire| wire.close());
    }
}

/// The guest's `connection`.
#[expect(unreachable_pub, reason = "generated code names it in its own public module")]
pub struct Connection {
    wire: Arc<Wire>,
    reader: bool,
    writer: bool,
}

impl Host for GuestState {
    async fn open(
        &mut self,
        endpoint: String,
        port: Option<u16>,
        tag: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, Failure>> {
        self.subject.expect(Interface::Transport)?;
        let connections = &mut self.connections;
        if tag.len() > LONGEST_TAG {
            let what = format!("a tag has at most {LONGEST_TAG} bytes");
            return Ok(Err(connections.refuse("LF0477", "invalid-tag", what, false)));
        }
        let (to, port) = match connections.effective.endpoint(&endpoint, port) {
            Ok(found) => found,
            Err(denial) => return Ok(Err(connections.deny(denial))),
        };
        let key = Key {
            label: self.subject.label.clone(),
            digest: self.subject.plugin.digest.clone(),
            name: endpoint,
            endpoint: to,
            port,
            tag,
        };
        match connections.open(key).await {
            Ok(wire) => {
                let (reader, writer) = (false, false);
                Ok(Ok(self.table.push(Connection { wire, reader, writer })?))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }
}

impl GuestState {
    fn taken(&self, what: &str) -> Failure {
        let what = format!("the connection's {what} was taken before");
        self.connections.refuse("LF0477", "already-taken", what, false)
    }
}

impl HostConnection for GuestState {
    fn warm(&mut self, connection: Resource<Connection>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&connection)?.wire.warm)
    }

    fn reader(
        &mut self,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<Result<Resource<DynInputStream>, Failure>> {
        let connection = self.table.get_mut(&connection)?;
        if std::mem::replace(&mut connection.reader, true) {
            return Ok(Err(self.taken("reader")));
        }
        let reader: DynInputStream = Box::new(Reader(Arc::clone(&connection.wire)));
        Ok(Ok(self.table.push(reader)?))
    }

    fn writer(
        &mut self,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, Failure>> {
        let connection = self.table.get_mut(&connection)?;
        if std::mem::replace(&mut connection.writer, true) {
            return Ok(Err(self.taken("writer")));
        }
        let wire = Arc::clone(&connection.wire);
        let writer: DynOutputStream = Box::new(Writer { wire, permitted: 0 });
        Ok(Ok(self.table.push(writer)?))
    }

    fn park(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.get(&connection)?.wire.park();
        Ok(())
    }

    /// A parked one may be opened again in this call; another is closed when its streams are gone too.
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        let Connection { wire, .. } = self.table.delete(connection)?;
        if wire.is_parked() {
            self.connections.parked.push(wire);
        }
        Ok(())
    }
}

impl From<End> for StreamError {
    fn from(end: End) -> Self {
        match end {
            End::Closed => Self::Closed,
            End::Failed(why) => Self::LastOperationFailed(wasmtime::format_err!("{why}")),
        }
    }
}

/// `connection.reader`.
struct Reader(Arc<Wire>);

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        self.0.readable().await;
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        Ok(self.0.read(size)?)
    }
}

/// `connection.writer`.
struct Writer {
    wire: Arc<Wire>,
    permitted: usize,
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        self.wire.writable().await;
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.permitted {
            return Err(StreamError::trap(
                "more was written to a connection than check-write permitted",
            ));
        }
        self.permitted -= bytes.len();
        Ok(self.wire.write(bytes)?)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(self.wire.flush()?)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.permitted = self.wire.permit()?;
        Ok(self.permitted)
    }
}
