//! What stands between the daemon and a site: it passes everything on, until it is told to break an answer off after so
//! many bytes. A real network does that at any byte; here the byte is chosen.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// A socket holds this much at once.
const PIECE: usize = 64 << 10;

/// Ports that lead to ports of this machine.
#[derive(Clone, Default)]
pub(super) struct Between(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// So many bytes of answers still pass.
    left: Option<u64>,
    cuts: u32,
}

impl Between {
    /// Leads connections to an address on to a port of this machine. Gives the address. It ends with the process.
    pub(super) fn lead(&self, from: SocketAddr, to: u16) -> Result<SocketAddr> {
        let listener = TcpListener::bind(from).with_context(|| format!("cannot listen at {from}"))?;
        let address = listener.local_addr()?;
        let between = self.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // A far side that is not there closes the near side too.
                if let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
                    between.pass(&connection, &far);
                }
            }
        });
        Ok(address)
    }

    /// From now on so many bytes of answers pass; in the middle of the next one all that it belongs to is closed. Once.
    pub(super) fn cut_after(&self, bytes: u64) {
        self.state().left = Some(bytes);
    }

    /// No cut is waited for any more.
    pub(super) fn heal(&self) {
        self.state().left = None;
    }

    /// How often an answer was broken off.
    pub(super) fn cuts(&self) -> u32 {
        self.state().cuts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, near: &TcpStream, far: &TcpStream) {
        let pair = || Ok::<_, std::io::Error>((near.try_clone()?, far.try_clone()?));
        let (Ok((near_in, far_out)), Ok((near_out, far_in))) = (pair(), pair()) else {
            return;
        };
        thread::spawn(move || {
            let _ = copy(near_in, far_out, |piece| (piece.len(), false));
        });
        let between = self.clone();
        thread::spawn(move || {
            let _ = copy(far_in, near_out, |piece| between.judge(piece.len()));
        });
    }

    /// How much of an answer passes, and whether it breaks off there.
    fn judge(&self, length: usize) -> (usize, bool) {
        let mut state = self.state();
        let Some(left) = state.left else { return (length, false) };
        let passes = usize::try_from(left).unwrap_or(length);
        if passes >= length {
            state.left = Some(left - u64::try_from(length).unwrap_or(0));
            return (length, false);
        }
        state.left = None;
        state.cuts += 1;
        (passes, true)
    }
}

/// Until either side is over; then both are.
fn copy(mut from: TcpStream, mut to: TcpStream, judge: impl Fn(&[u8]) -> (usize, bool)) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    let done = (|| loop {
        let length = from.read(&mut piece)?;
        let read = piece.get(..length).unwrap_or_default();
        let (passes, ends) = judge(read);
        to.write_all(read.get(..passes).unwrap_or_default())?;
        if length == 0 || ends {
            return Ok(());
        }
    })();
    // Whoever is gone already need not be told.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_breaks_off_at_the_byte_that_was_named() {
        let far = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = far.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut connection in far.incoming().flatten() {
                connection.write_all(b"0123456789").unwrap();
            }
        });
        let between = Between::default();
        let address = between.lead("127.0.0.1:0".parse().unwrap(), port).unwrap();
        let hear = || {
            let mut heard = Vec::new();
            let _ = TcpStream::connect(address).unwrap().read_to_end(&mut heard);
            heard
        };
        assert_eq!(hear(), b"0123456789");
        between.cut_after(13);
        assert_eq!(hear(), b"0123456789");
        assert_eq!((hear(), between.cuts()), (b"012".to_vec(), 1));
        assert_eq!(hear(), b"0123456789", "once");
    }
}
