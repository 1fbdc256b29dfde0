//! What a call is compared with: Extism with a fresh plugin a call, and starting a Python script.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A running `landfall-bench-extism`.
pub(crate) struct Extism {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Extism {
    /// None: it was not built (see its `Cargo.toml`).
    pub(crate) fn start() -> Result<Option<Self>> {
        let binary = std::env::var_os("LANDFALL_BENCH_EXTISM").map_or_else(
            || PathBuf::from("tests/bench/extism/target/release/landfall-bench-extism"),
            PathBuf::from,
        );
        if !binary.is_file() {
            return Ok(None);
        }
        let mut child = Command::new(&binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let to = child.stdin.take().context("no stdin")?;
        let from = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Some(Self { child, to, from }))
    }

    /// Blocks meanwhile, as nothing else is to run.
    pub(crate) fn calls(&mut self, count: usize) -> Result<Vec<Duration>> {
        writeln!(self.to, "{count}")?;
        self.to.flush()?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let times: Vec<_> = line
            .split_whitespace()
            .map(|nanos| Ok(Duration::from_nanos(nanos.parse()?)))
            .collect::<Result<_>>()?;
        ensure!(times.len() == count, "Extism's side ended");
        Ok(times)
    }
}

impl Drop for Extism {
    fn drop(&mut self) {
        // Nothing is lost with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time to start Python and end it again. None: there is no Python here.
pub(crate) fn python() -> Option<Duration> {
    let began = Instant::now();
    let ended = Command::new("python3").args(["-c", "pass"]).status();
    ended.is_ok_and(|status| status.success()).then(|| began.elapsed())
}
