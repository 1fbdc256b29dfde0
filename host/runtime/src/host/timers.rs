//! `wasi:clocks/monotonic-clock`: wasmtime's own, but that a guest that sleeps on a scripted stage waits for the stage's
//! clock, which moves at once.

use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use crate::stage::{Stage, StageClock};
use crate::state::GuestState;

/// Nanoseconds, as WASI counts.
type Nanoseconds = u64;

impl Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<Nanoseconds> {
        self.clocks().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<Nanoseconds> {
        self.clocks().resolution()
    }

    fn subscribe_instant(&mut self, when: Nanoseconds) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.clocks().now()?;
        self.subscribe_duration(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, duration: Nanoseconds) -> wasmtime::Result<Resource<DynPollable>> {
        let Some(clock) = self.subject.stage.as_deref().and_then(Stage::clock).cloned() else {
            return self.clocks().subscribe_duration(duration);
        };
        let at = Duration::from_nanos(duration).as_micros().div_ceil(1_000);
        let at_ms = clock.now_ms().saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        let timer = self.table.push(Timer { clock, at_ms })?;
        subscribe(&mut self.table, timer)
    }
}

/// A moment of the stage's clock.
struct Timer {
    clock: StageClock,
    at_ms: u64,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        self.clock.expect(self.at_ms);
        self.clock.until(|| self.clock.now_ms() >= self.at_ms).await;
    }
}
