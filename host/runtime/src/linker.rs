//! One linker per set of granted interfaces: what is not in the set does not exist for the guest.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;

use crate::bindings::landfall::plugin::{
    buffers, clock, config, guests, log, random, session, signing, state, transport, types,
};
use crate::grants::Interface;
use crate::state::GuestState;

/// Linkers are made once and shared by all plugins with the same set.
pub(crate) struct Linkers {
    engine: Engine,
    made: Mutex<HashMap<BTreeSet<Interface>, Arc<Linker<GuestState>>>>,
}

impl Linkers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            made: Mutex::default(),
        }
    }

    pub(crate) fn with(&self, interfaces: &BTreeSet<Interface>) -> wasmtime::Result<Arc<Linker<GuestState>>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linker) = made.get(interfaces) {
            return Ok(Arc::clone(linker));
        }
        let linker = Arc::new(build(&self.engine, interfaces)?);
        made.insert(interfaces.clone(), Arc::clone(&linker));
        Ok(linker)
    }
}

fn build(engine: &Engine, interfaces: &BTreeSet<Interface>) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    wasmtime_wasi::p2::add_to_linker_async(l)?;
    l.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?;
    l.allow_shadowing(false);
    types::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?;
    log::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?;
    config::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?;
    for interface in interfaces {
        match interface {
            Interface::Buffers => buffers::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::Clock => clock::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::Http => wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?,
            Interface::Random => random::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::Session => session::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::Signing => signing::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::State => state::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::Transport => transport::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
            Interface::Guests => guests::add_to_linker::<_, HasSelf<GuestState>>(l, |state| state)?,
        }
    }
    Ok(linker)
}
