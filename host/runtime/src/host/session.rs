//! `session`: what may be forgotten at any time, in memory, for one version of a plugin and one site or runbook.

use std::time::Duration;

use crate::bindings::landfall::plugin::session::Host;
use crate::contract::types::Failure;
use crate::error::Refusal;
use crate::grants::Interface;
use crate::session::SessionError;
use crate::state::GuestState;

impl Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.subject.expect(Interface::Session)?;
        Ok(self.subject.session.get(&key, self.subject.now()))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> wasmtime::Result<Result<(), Failure>> {
        self.subject.expect(Interface::Session)?;
        let ttl = ttl_ms.map(Duration::from_millis);
        let done = self.subject.session.set(key, value, ttl, self.subject.now());
        Ok(done.map_err(|error| {
            let (code, word) = match error {
                SessionError::Key(_) => ("LF0472", "invalid-key"),
                SessionError::TooLarge(_) => ("LF0473", "too-large"),
            };
            let what = error.to_string();
            let refusal = Refusal { code, word, what };
            let failure = refusal.to_failure(false);
            self.record.refuse(refusal);
            failure
        }))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.subject.expect(Interface::Session)?;
        self.subject.session.delete(&key);
        Ok(())
    }
}
