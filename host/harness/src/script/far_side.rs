//! One scripted connection as the runtime sees connections: a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use landfall_runtime::StageClock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::World;
use super::talk::{Deaf, Given};

/// It takes and gives at once, so it never wakes anybody: who finds nothing waits for the clock.
pub(super) struct FarSide {
    world: World,
    clock: StageClock,
    number: usize,
}

impl FarSide {
    pub(super) fn new(world: World, clock: StageClock, number: usize) -> Self {
        Self { world, clock, number }
    }
}

impl AsyncRead for FarSide {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, most) = (self.clock.now_ms(), into.remaining());
        let given = self.world.lock().talks.give(self.number, most, now);
        match given {
            Given::Bytes(bytes) => into.put_slice(&bytes),
            Given::Later(at) => {
                self.clock.expect(at);
                return Poll::Pending;
            }
            Given::Nothing => return Poll::Pending,
            Given::Closed => {}
            Given::Broken => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FarSide {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut world = self.world.lock();
        Poll::Ready(match world.talks.hear(self.number, bytes, self.clock.now_ms()) {
            Ok(()) => Ok(bytes.len()),
            Err(Deaf::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(Deaf::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
            Err(Deaf::Stranger(why)) => {
                world.strangers.push(why);
                Err(io::ErrorKind::ConnectionReset.into())
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
