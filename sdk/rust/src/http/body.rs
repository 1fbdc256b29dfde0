//! Bodies in both directions: from and to the plugin's memory, or spliced from and to a buffer of the host.
//!
//! A stream belongs to its body, so every function here lets go of the stream first.

use super::Error;
use crate::bindings::wasi::http::types::{IncomingBody, IncomingResponse, OutgoingBody};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::buffers::Buffer;

/// How much one read or splice asks for: large enough that calls into the host cost little beside the copying, small
/// enough that a read adds little to the plugin's memory.
const SLICE: u64 = 64 << 10;

/// A body that was not written whole is dropped unfinished, so that the far side cannot take it for a whole one.
pub(super) fn send_bytes(out: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    if !bytes.is_empty() {
        let stream = out.write().map_err(|()| "the host gave no stream for it".to_owned())?;
        write_all(&stream, bytes).map_err(|error| describe(&error))?;
    }
    finish(out)
}

pub(super) fn send_buffer(out: OutgoingBody, buffer: &Buffer) -> Result<(), String> {
    {
        let stream = out.write().map_err(|()| "the host gave no stream for it".to_owned())?;
        splice_all(&stream, &buffer.reader())?;
    }
    finish(out)
}

fn finish(out: OutgoingBody) -> Result<(), String> {
    OutgoingBody::finish(out, None).map_err(|code| format!("{code:?}"))
}

fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        let allowed = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if allowed == 0 {
            ready.block();
            continue;
        }
        let (now, later) = bytes.split_at(allowed.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    stream.blocking_flush()
}

/// Moves bytes until the source ends. `splice` reports the end of either side the same way, so the source is asked
/// once more: a destination that was full before then must not pass for success.
fn splice_all(to: &OutputStream, from: &InputStream) -> Result<(), String> {
    loop {
        match to.blocking_splice(from, SLICE) {
            Ok(_) => {}
            Err(StreamError::Closed) => break,
            Err(error) => return Err(describe(&error)),
        }
    }
    match from.blocking_read(1) {
        // A destination that is now exactly full is closed too, and has everything.
        Err(StreamError::Closed) => match to.blocking_flush() {
            Ok(()) | Err(StreamError::Closed) => Ok(()),
            Err(error) => Err(describe(&error)),
        },
        Err(error) => Err(describe(&error)),
        Ok(_) => Err("the destination takes no more".to_owned()),
    }
}

pub(super) fn receive_bytes(response: &IncomingResponse, limit: usize) -> Result<Vec<u8>, Error> {
    let body = consume(response)?;
    let stream = open(&body)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(SLICE) {
            Ok(slice) if bytes.len() + slice.len() > limit => {
                return Err(Error::Unreadable(format!("it is longer than {limit} bytes")));
            }
            Ok(slice) => bytes.extend_from_slice(&slice),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(error) => return Err(Error::Unreadable(describe(&error))),
        }
    }
}

pub(super) fn receive_buffer(response: &IncomingResponse, buffer: &Buffer) -> Result<u64, Error> {
    let body = consume(response)?;
    let stream = open(&body)?;
    let before = buffer.len();
    splice_all(&buffer.writer(), &stream).map_err(Error::Unreadable)?;
    Ok(buffer.len().saturating_sub(before))
}

fn consume(response: &IncomingResponse) -> Result<IncomingBody, Error> {
    response
        .consume()
        .map_err(|()| Error::Unreadable("its body was read before".to_owned()))
}

fn open(body: &IncomingBody) -> Result<InputStream, Error> {
    body.stream()
        .map_err(|()| Error::Unreadable("its body was read before".to_owned()))
}

fn describe(error: &StreamError) -> String {
    match error {
        StreamError::Closed => "the stream was closed".to_owned(),
        StreamError::LastOperationFailed(cause) => cause.to_debug_string(),
    }
}
