//! Host-owned bytes on their way from a source to a target.
//!
//! A buffer is a rope: an HTTP body's chunks are kept as they came, so that `splice` moves disk data from one site's
//! response to the other site's request without a copy and without entering a plugin's memory. Its capacity is fixed
//! when it is made; a guest that writes past it finds the stream closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

/// The most that one write may bring. WASI's streams allocate up to the permit on a guest's word, so it stays well
/// under a slice; an HTTP body's chunks are smaller.
const LARGEST_WRITE: u64 = 1 << 20;

/// Bytes that the host lends to one call after another. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Buffer {
    capacity: u64,
    held: Arc<Mutex<Rope>>,
}

#[derive(Debug, Default)]
struct Rope {
    chunks: VecDeque<Bytes>,
    bytes: u64,
}

impl Buffer {
    /// An empty buffer that takes at most `capacity` bytes.
    pub fn with_capacity(capacity: u64) -> Self {
        Self {
            capacity,
            held: Arc::default(),
        }
    }

    /// A full buffer.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let buffer = Self::with_capacity(bytes.len() as u64);
        buffer.append(bytes);
        buffer
    }

    /// Bytes held now.
    pub fn len(&self) -> u64 {
        self.rope().bytes
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes it may hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Forgets what it holds, so that the next slice can use it.
    pub fn clear(&self) {
        *self.rope() = Rope::default();
    }

    /// What it holds, in one piece: a copy unless it came as one chunk.
    pub fn to_bytes(&self) -> Bytes {
        let rope = self.rope();
        if let (Some(only), 1) = (rope.chunks.front(), rope.chunks.len()) {
            return only.clone();
        }
        let mut whole = BytesMut::new();
        for chunk in &rope.chunks {
            whole.extend_from_slice(chunk);
        }
        whole.freeze()
    }

    /// A stream over what it holds now, from the start.
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            chunks: self.rope().chunks.clone(),
        }
    }

    /// A stream that appends.
    pub(crate) fn writer(&self) -> Writer {
        Writer {
            buffer: self.clone(),
            permitted: 0,
        }
    }

    fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.len())
    }

    fn append(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut rope = self.rope();
        rope.bytes += bytes.len() as u64;
        rope.chunks.push_back(bytes);
    }

    fn rope(&self) -> MutexGuard<'_, Rope> {
        // No code path panics while it holds this lock, and a rope is whole between two statements.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `buffer.reader`.
pub(crate) struct Reader {
    chunks: VecDeque<Bytes>,
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(first) = self.chunks.front_mut() else {
            return Err(StreamError::Closed);
        };
        let bytes = first.split_to(size.min(first.len()));
        if first.is_empty() {
            self.chunks.pop_front();
        }
        Ok(bytes)
    }
}

/// `buffer.writer`.
pub(crate) struct Writer {
    buffer: Buffer,
    permitted: u64,
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() as u64 > self.permitted {
            return Err(StreamError::trap(
                "more was written to a buffer than check-write permitted",
            ));
        }
        self.permitted = 0;
        self.buffer.append(bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    /// A full buffer is a closed stream: an error would make the last fitting write look failed, because
    /// `blocking-write-and-flush` asks once more after it.
    fn check_write(&mut self) -> StreamResult<usize> {
        self.permitted = self.buffer.room().min(LARGEST_WRITE);
        if self.permitted == 0 {
            return Err(StreamError::Closed);
        }
        Ok(usize::try_from(self.permitted).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_in_order_and_the_reader_closes() {
        let buffer = Buffer::with_capacity(10);
        let mut writer = buffer.writer();
        for chunk in ["abc", "defg"] {
            assert!(writer.check_write().unwrap() >= chunk.len());
            writer.write(Bytes::from(chunk)).unwrap();
        }
        assert_eq!((buffer.len(), buffer.to_bytes()), (7, Bytes::from("abcdefg")));
        let mut reader = buffer.reader();
        assert_eq!(reader.read(2).unwrap(), "ab");
        assert_eq!(reader.read(9).unwrap(), "c");
        assert_eq!(reader.read(9).unwrap(), "defg");
        assert!(matches!(reader.read(1), Err(StreamError::Closed)));
    }

    #[test]
    fn a_full_buffer_is_closed_and_a_write_without_permit_traps() {
        let buffer = Buffer::with_capacity(4);
        let mut writer = buffer.writer();
        assert!(matches!(writer.write(Bytes::from("a")), Err(StreamError::Trap(_))));
        assert_eq!(writer.check_write().unwrap(), 4);
        writer.write(Bytes::from("abcd")).unwrap();
        assert!(matches!(writer.check_write(), Err(StreamError::Closed)));
        buffer.clear();
        assert_eq!(writer.check_write().unwrap(), 4);
    }
}
