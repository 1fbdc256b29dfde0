//! wasmtime without a host around it: the same engine settings, component and payload, with every import of the
//! component linked and answered, and nothing counted, limited or checked. What Landfall adds is the difference.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Engine, Store};

use self::bindings::exports::landfall::plugin::runbook_run::{Context, GuestIndices};
use self::bindings::landfall::plugin::types::{Call, Direction};
use self::bindings::landfall::plugin::{clock, config, log, types};

mod bindings {
    #![allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated code")]

    include!(concat!(env!("OUT_DIR"), "/raw.rs"));
}

/// As many as the host's default, so that the pools are alike.
const INSTANCES: u32 = 128;

/// The store's data: nothing.
struct Nothing;

impl types::Host for Nothing {}

impl log::Host for Nothing {
    fn write(&mut self, _: log::Level, message: String) -> wasmtime::Result<()> {
        black_box(message);
        Ok(())
    }
}

impl config::Host for Nothing {
    fn get(&mut self, _: String) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }

    fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
}

impl clock::Host for Nothing {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn monotonic_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }
}

/// A runbook, linked.
pub(crate) struct Raw {
    pre: InstancePre<Nothing>,
    run: GuestIndices,
}

impl Raw {
    pub(crate) fn new(component: &[u8]) -> Result<Self> {
        Self::link(component).map_err(|error| anyhow!("{error:#}"))
    }

    fn link(component: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::new(&landfall_runtime::pooled_config(INSTANCES))?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        types::add_to_linker::<_, HasSelf<Nothing>>(&mut linker, |state| state)?;
        log::add_to_linker::<_, HasSelf<Nothing>>(&mut linker, |state| state)?;
        config::add_to_linker::<_, HasSelf<Nothing>>(&mut linker, |state| state)?;
        clock::add_to_linker::<_, HasSelf<Nothing>>(&mut linker, |state| state)?;
        let pre = linker.instantiate_pre(&component)?;
        let run = GuestIndices::new(&pre)?;
        Ok(Self { pre, run })
    }

    /// One call: new store, instance, call, and all of it dropped.
    pub(crate) async fn call(&self, params: &[(String, String)]) -> Result<Duration> {
        let (call, context) = (call(), context(params));
        let began = Instant::now();
        let answer = self.run(call, context).await.map_err(|error| anyhow!("{error:#}"))?;
        let took = began.elapsed();
        black_box(answer);
        Ok(took)
    }

    async fn run(&self, call: Call, context: Context) -> wasmtime::Result<impl Sized> {
        let mut store = Store::new(self.pre.engine(), Nothing);
        // Epochs are on in the engine; nobody makes them pass here.
        store.set_epoch_deadline(1);
        let instance = self.pre.instantiate_async(&mut store).await?;
        let exports = self.run.load(&mut store, &instance)?;
        exports.call_run(&mut store, &call, &context, None).await
    }
}

fn call() -> Call {
    Call {
        installation: "installation".to_owned(),
        epoch: 1,
        job: Some("job".to_owned()),
        step: "step".to_owned(),
        attempt: 1,
        key: "key".to_owned(),
        remaining_ms: 30_000,
        ext: Vec::new(),
    }
}

fn context(params: &[(String, String)]) -> Context {
    Context {
        plan: "plan".to_owned(),
        operation: "failover".to_owned(),
        kind: None,
        direction: Direction::Forward,
        group: None,
        phase: "before".to_owned(),
        action: "action".to_owned(),
        machines: Vec::new(),
        outputs: Vec::new(),
        params: params.to_vec(),
        ext: Vec::new(),
    }
}
