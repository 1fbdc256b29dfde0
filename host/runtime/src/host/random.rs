//! `random`: bytes from the operating system.

use crate::bindings::landfall::plugin::random::Host;
use crate::grants::Interface;
use crate::state::GuestState;

/// As the contract says: enough for any key, too little to make the host busy.
const MOST_BYTES: u32 = 4_096;

impl Host for GuestState {
    /// Traps if more is asked than the contract allows: that is a bug in the guest.
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        self.subject.expect(Interface::Random)?;
        if count > MOST_BYTES {
            wasmtime::bail!("random.bytes: {count} bytes were asked, and at most {MOST_BYTES} are given a call");
        }
        let mut bytes = vec![0; count as usize];
        if self
            .subject
            .stage
            .as_ref()
            .is_some_and(|stage| stage.random(&mut bytes))
        {
            return Ok(bytes);
        }
        getrandom::fill(&mut bytes)
            .map_err(|error| wasmtime::format_err!("the system gives no random bytes: {error}"))?;
        Ok(bytes)
    }
}
