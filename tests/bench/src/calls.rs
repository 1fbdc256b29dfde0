//! One runbook call through the full path, beside wasmtime alone, Extism with a fresh plugin a call, and starting a
//! Python script: turn by turn in one run, so that all meet the same machine.
//!
//! Both runbooks are called with 1,024 bytes of parameter. `wait` is the shipped one, in Rust with the SDK; `echo` is
//! hand-written and gives its parameters back, as Extism's plugin does. What is compared is the time on the guest's
//! thread; the hand-over to it is printed beside.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use landfall_guests::{Fixture, hostile};
use landfall_runtime::contract::runbook::Context;
use landfall_runtime::contract::types::{Call, Direction};
use landfall_runtime::{Binding, Grants, Limits, Runbook, Runtime, RuntimeOptions, Timing};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::figures::{Times, micros, ratio};
use crate::peers::{Extism, python};
use crate::raw::Raw;

/// Turns, and calls of each side in a turn: enough for a p99.
const TURNS: usize = 40;
const CALLS: usize = 250;
/// These take longer.
const EXTISM_CALLS: usize = 50;
const ECHO: &str = "echo";
/// Calls under way at once while memory is read; one runbook has half of the 128 instances.
const IN_FLIGHT: usize = 64;

pub(crate) async fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = Runtime::new(RuntimeOptions::new(directory.path().join("state")))?;
    println!("calls: allocator {:?}", runtime.allocator());
    let plugins = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .context("no target directory")?
        .join("plugins");
    let echo = directory.path().join("echo");
    echo_runbook().write(&echo);

    let mut extism = Extism::start()?;
    if extism.is_none() {
        println!("calls: Extism was not built, so it is left out; see tests/bench/extism/Cargo.toml");
    }
    for (name, path) in [("wait (Rust)", plugins.join("wait")), (ECHO, echo)] {
        // Extism's plugin does what `echo` does.
        let mut extism = extism.as_mut().filter(|_| name == ECHO);
        let (mut extisms, mut pythons) = (Times::default(), Times::default());
        let component = component(&path)?;
        let raw = Raw::new(&component)?;
        let mut ours = Ours::load(&runtime, &path).await?;
        let (mut raws, mut waited, mut ran) = (Times::default(), Times::default(), Times::default());
        for _ in 0..TURNS {
            for timing in ours.calls(CALLS).await? {
                waited.push(timing.waited);
                ran.push(timing.ran);
            }
            for _ in 0..CALLS {
                raws.push(raw.call(&params()).await?);
            }
            if let Some(extism) = &mut extism {
                extism
                    .calls(EXTISM_CALLS)?
                    .into_iter()
                    .for_each(|time| extisms.push(time));
            }
            if let Some(time) = python() {
                pythons.push(time);
            }
        }
        println!("calls: {name}, wasmtime alone:     {raws}");
        println!("calls: {name}, the full path:      {ran}");
        println!("calls: {name}, hand-over before:   {waited}");
        let (ran, whole) = (ran.p50(), ran.p50() + waited.p50());
        println!(
            "calls: {name}, full path / wasmtime alone = {:.2} (at most 1.30)",
            ratio(ran, raws.p50())
        );
        if pythons.len() > 0 {
            println!(
                "calls: {name}, starting Python {} / full path with hand-over {} = {:.0} (at least 200)",
                micros(pythons.p50()),
                micros(whole),
                ratio(pythons.p50(), whole)
            );
        }
        if extism.is_some() {
            println!(
                "calls: {name}, Extism, fresh plugin: {extisms}; / full path = {:.1} (at least 5)",
                ratio(extisms.p50(), ran)
            );
        }
    }
    memory(&runtime, directory.path()).await
}

/// A runbook whose `run` gives its parameters back: they lie in the context, which lies in the one argument.
fn echo_runbook() -> Fixture {
    Fixture::new("runbook").named("echo", "1.0.0").answering("effect").body(
        "run",
        "(i64.store (i32.const 2056) (i64.load offset=128 (local.get 0))) i32.const 2048",
    )
}

fn component(directory: &std::path::Path) -> Result<Vec<u8>> {
    let mut files = std::fs::read_dir(directory)?.filter_map(Result::ok);
    let file = files
        .find(|file| file.path().extension().is_some_and(|extension| extension == "wasm"))
        .with_context(|| format!("no component in {}", directory.display()))?;
    Ok(std::fs::read(file.path())?)
}

/// The full path.
pub(crate) struct Ours {
    runbook: Runbook,
    timings: UnboundedReceiver<Timing>,
}

impl Ours {
    pub(crate) async fn load(runtime: &Runtime, directory: &std::path::Path) -> Result<Self> {
        Self::limited(runtime, directory, Limits::default()).await
    }

    pub(crate) async fn limited(runtime: &Runtime, directory: &std::path::Path, limits: Limits) -> Result<Self> {
        let plugin = runtime.load(directory).await?;
        let grants: Grants = toml::from_str(r#"interfaces = ["clock"]"#)?;
        let binding = Binding::new(runtime, plugin, "bench", Arc::default(), grants, limits)?;
        let (timer, timings) = unbounded_channel();
        let runbook = Runbook::new(binding.timed(timer))?;
        Ok(Self { runbook, timings })
    }

    /// For calls beside these.
    pub(crate) fn runbook(&self) -> Runbook {
        self.runbook.clone()
    }

    pub(crate) async fn calls(&mut self, count: usize) -> Result<Vec<Timing>> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            self.runbook.run(call(), context(), None).await?;
            times.push(self.timing().await?);
        }
        Ok(times)
    }

    /// Of the call that ended next.
    pub(crate) async fn timing(&mut self) -> Result<Timing> {
        self.timings.recv().await.context("the timings ended")
    }
}

fn params() -> Vec<(String, String)> {
    vec![
        ("duration".to_owned(), "1h".to_owned()),
        ("payload".to_owned(), "x".repeat(1_024)),
    ]
}

pub(crate) fn call() -> Call {
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

pub(crate) fn context() -> Context {
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
        params: params(),
        ext: Vec::new(),
    }
}

/// What a call costs while it waits for something.
async fn memory(runtime: &Runtime, directory: &std::path::Path) -> Result<()> {
    let waits = hostile().into_iter().find(|guest| guest.name == "blocking-call");
    let path = waits
        .context("no guest that waits")?
        .fixture
        .write(&directory.join("blocking"));
    let ours = Ours::load(runtime, &path).await?;
    let before = resident()?;
    let calls: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let runbook = ours.runbook();
            tokio::spawn(async move { runbook.run(call(), context(), None).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = resident()?;
    let each = after.saturating_sub(before) / IN_FLIGHT;
    println!("calls: memory of a call in flight: {each} KiB ({IN_FLIGHT} at once, {before} -> {after} KiB resident)");
    for call in calls {
        call.abort();
    }
    Ok(())
}

/// KiB of this process that are in memory.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| anyhow!("no VmRSS in /proc/self/status"))
}
