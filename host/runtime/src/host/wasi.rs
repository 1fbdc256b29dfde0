//! Inert WASI. Python and JavaScript guests import most of WASI whether they use it or not, so it is linked, and does
//! nothing: no environment, no arguments, no files, an empty standard input, sockets and name look-up that refuse all.
//! What a guest prints is a line of its log. Clocks and random tell the truth only to plugins that were granted `clock` and `random`; others get fixed ones.

use std::sync::Arc;
use std::time::Duration;

use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::random::Deterministic;

use crate::bindings::landfall::plugin::log::Level;
use crate::grants::Interface;
use crate::host::log::Lines;
use crate::host::output::Output;
use crate::stage::Stage;
use crate::state::Subject;

/// A prime, so that a guest that asks for words never meets the same alignment soon. Fixed random only seeds hash maps.
const CYCLE: u32 = 1_021;

/// Bytes that a guest gets at once from WASI's random.
const MOST_RANDOM_BYTES: u64 = 64 << 10;

pub(crate) fn inert(subject: &Subject, lines: &Arc<Lines>) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(Output::new(Arc::clone(lines), Level::Info))
        .stderr(Output::new(Arc::clone(lines), Level::Warn));
    builder.max_random_size(MOST_RANDOM_BYTES);
    if !subject.may(Interface::Clock) {
        builder.wall_clock(Stopped).monotonic_clock(Stopped);
    } else if let Some(stage) = subject.stage.as_ref().filter(|stage| stage.now_ms().is_some()) {
        let clock = || Staged(Arc::clone(stage));
        builder.wall_clock(clock()).monotonic_clock(clock());
    }
    if !subject.may(Interface::Random) {
        builder
            .secure_random(fixed())
            .insecure_random(fixed())
            .insecure_random_seed(0);
    } else if let Some(bytes) = subject.stage.as_ref().and_then(|stage| seeded(stage)) {
        builder
            .secure_random(Deterministic::new(bytes.clone()))
            .insecure_random(Deterministic::new(bytes))
            .insecure_random_seed(0);
    }
    builder.build()
}

/// As many bytes of the test's own random as one call hardly needs; the next call draws others.
fn seeded(stage: &Stage) -> Option<Vec<u8>> {
    let mut bytes = vec![0; CYCLE as usize];
    stage.random(&mut bytes).then_some(bytes)
}

/// Bytes that look random and never change: a linear congruential generator's high bytes.
fn fixed() -> Deterministic {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    Deterministic::new((0..CYCLE).map(|_| next()).collect())
}

/// The clock of a test.
struct Staged(Arc<Stage>);

impl HostWallClock for Staged {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now_ms().unwrap_or_default())
    }
}

impl HostMonotonicClock for Staged {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.now_ms().unwrap_or_default().saturating_mul(1_000_000)
    }
}

/// A clock that stands at its epoch.
struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
