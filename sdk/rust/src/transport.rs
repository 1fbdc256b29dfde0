//! Streams of bytes to endpoints that the operator configured and named. The host connects, and does TLS.
//!
//! Request the endpoints by name: `transport = ["libvirt"]`, or `"*"` where names come from the configuration.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use landfall_sdk::Failure;
//! use landfall_sdk::transport::Connection;
//!
//! fn ask(question: &[u8]) -> Result<[u8; 8], Failure> {
//!     let mut connection = Connection::open("manager")?;
//!     if !connection.is_warm() {
//!         connection.write_all(b"HELLO\n").map_err(lost)?;
//!     }
//!     connection.write_all(question).map_err(lost)?;
//!     let mut answer = [0; 8];
//!     connection.read_exact(&mut answer).map_err(lost)?;
//!     connection.park();
//!     Ok(answer)
//! }
//!
//! fn lost(error: std::io::Error) -> Failure {
//!     Failure::in_doubt("connection-lost", error.to_string())
//! }
//! ```

use std::io;

use crate::Failure;
use crate::bindings::landfall::plugin::transport;
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::buffers::Buffer;

/// One read or splice: large enough that calls into the host cost little beside the data.
const SLICE: u64 = 1 << 20;

/// A connection. Closed when dropped, unless it was parked.
pub struct Connection {
    // Dropped in this order: the streams first.
    input: InputStream,
    output: OutputStream,
    inner: transport::Connection,
}

impl Connection {
    /// A warm connection to an endpoint with one port, else a new one.
    pub fn open(endpoint: &str) -> Result<Self, Failure> {
        Self::open_with(endpoint, None, "")
    }

    /// The same to one port of a range, and only a warm one that was parked under the same tag: for what was agreed on
    /// it, such as a login.
    pub fn open_with(endpoint: &str, port: Option<u16>, tag: &str) -> Result<Self, Failure> {
        let inner = transport::open(endpoint, port, tag)?;
        Ok(Self {
            input: inner.reader()?,
            output: inner.writer()?,
            inner,
        })
    }

    /// It was parked by an earlier call: whatever was agreed on it then still holds.
    pub fn is_warm(&self) -> bool {
        self.inner.warm()
    }

    /// No message is half way: a later call may have it.
    pub fn park(self) {
        self.inner.park();
    }

    /// Sends what a buffer of the host holds: the bytes never enter the plugin's memory.
    pub fn send_from(&mut self, buffer: &Buffer) -> io::Result<()> {
        splice(&self.output, &buffer.reader(), buffer.len())
    }

    /// Appends the next bytes to a buffer of the host: they never enter the plugin's memory.
    pub fn receive_into(&mut self, buffer: &Buffer, bytes: u64) -> io::Result<()> {
        splice(&buffer.writer(), &self.input, bytes)
    }
}

fn splice(to: &OutputStream, from: &InputStream, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        match to.blocking_splice(from, bytes.min(SLICE)) {
            Ok(moved) => bytes -= moved,
            Err(StreamError::Closed) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(())
}

impl io::Read for Connection {
    /// Waits for at least one byte; zero is the end.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.input.blocking_read((bytes.len() as u64).min(SLICE)) {
            Ok(read) => {
                let Some(place) = bytes.get_mut(..read.len()) else {
                    return Err(io::Error::other("the host gave more than was asked"));
                };
                place.copy_from_slice(&read);
                Ok(read.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(error) => Err(broken(&error)),
        }
    }
}

impl io::Write for Connection {
    /// Waits until the host takes some. It sends at once; `flush` waits until all is sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let permit = self.output.check_write().map_err(|error| broken(&error))?;
            let length = usize::try_from(permit).unwrap_or(usize::MAX).min(bytes.len());
            if length > 0 {
                let (now, _) = bytes.split_at(length);
                self.output.write(now).map_err(|error| broken(&error))?;
                return Ok(length);
            }
            self.output.subscribe().block();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.blocking_flush().map_err(|error| broken(&error))
    }
}

fn broken(error: &StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(cause) => io::Error::other(cause.to_debug_string()),
    }
}
