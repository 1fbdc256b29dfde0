//! `config`: the operator's configuration for this plugin, as the job was started with. No secrets are in it.

use crate::bindings::landfall::plugin::config::{Host, Pairs};
use crate::state::GuestState;

impl Host for GuestState {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.subject.config.get(&name).cloned())
    }

    fn all(&mut self) -> wasmtime::Result<Pairs> {
        Ok(self
            .subject
            .config
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }
}
