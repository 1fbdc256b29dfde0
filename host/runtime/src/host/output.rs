//! A guest's standard output and error: `print` of Python and `println!` of Rust are lines of the log like any other,
//! under the same bounds. What a guest says on its standard error last is its last words, where it logged no error.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

use crate::bindings::landfall::plugin::log::Level;
use crate::host::log::{Flood, LONGEST_LINE, Lines};

/// The most that one write may bring: a page of text.
const LARGEST_WRITE: usize = 64 << 10;

/// One of the two. Clones share the line that is not over yet.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    lines: Arc<Lines>,
    level: Level,
    /// What came since the last line's end.
    rest: Mutex<Vec<u8>>,
}

impl Output {
    pub(crate) fn new(lines: Arc<Lines>, level: Level) -> Self {
        let rest = Mutex::default();
        Self {
            shared: Arc::new(Shared { lines, level, rest }),
        }
    }
}

impl Shared {
    fn rest(&self) -> MutexGuard<'_, Vec<u8>> {
        // Nothing panics while it holds this lock.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: &[u8]) -> Result<(), Flood> {
        let mut rest = self.rest();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || rest.len() > LONGEST_LINE {
                let line = std::mem::take(&mut *rest);
                self.say(&line)?;
            }
        }
        Ok(())
    }

    fn say(&self, line: &[u8]) -> Result<(), Flood> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(());
        }
        if self.level == Level::Warn {
            self.lines.note_last_words(text);
        }
        self.lines.write(self.level, text)
    }
}

/// A line without an end is a line too.
impl Drop for Shared {
    fn drop(&mut self) {
        let line = std::mem::take(&mut *self.rest());
        // The call is over: a flood has no call to end any more.
        let _ = self.say(&line);
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    /// For WASI 0.1 and 0.3, which are not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.shared
            .take(&bytes)
            .map_err(|flood| StreamError::Trap(flood.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LARGEST_WRITE)
    }
}
