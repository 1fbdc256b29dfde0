//! Processes of a run. Each is ended by its own id, however the run ends: at its end, on an error, on ctrl-c.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGCONT, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A first start compiles: plugins, or the simulator.
const READY_WITHIN: Duration = Duration::from_mins(3);

/// A simulator that is asked to end removes its files within this.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What a shell reports for a process that ctrl-c ended.
const INTERRUPTED: i32 = 130;

/// All that run, those started last at the end.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<Vec<(u64, Child)>>>);

/// One of them.
pub(crate) struct Process {
    all: Processes,
    number: u64,
    pub(crate) id: u32,
}

impl Processes {
    /// From here on ctrl-c ends them too, and removes their directory.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let all = Self::default();
        let (seen, directory) = (all.clone(), directory.to_owned());
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for ctrl-c")?;
        std::thread::spawn(move || {
            if signals.wait().next().is_some() {
                seen.end();
                // A directory that stays is no reason to stay too.
                let _ = fs::remove_dir_all(directory);
                std::process::exit(INTERRUPTED);
            }
        });
        Ok(all)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Child)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends them, and waits until they are gone.
    pub(crate) fn end(&self) {
        for (_, mut child) in self.lock().drain(..).rev() {
            end(&mut child);
        }
    }

    /// Starts one, with its log in `NAME.log`, and waits for what it writes into its ready file.
    pub(crate) fn start(
        &self,
        name: &str,
        directory: &Path,
        command: &mut Command,
        ready: &Path,
    ) -> Result<(Process, String)> {
        // That of an earlier start says nothing.
        let _ = fs::remove_file(ready);
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        let id = child.id();
        let number = {
            let mut all = self.lock();
            let number = all.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
            all.push((number, child));
            number
        };
        let process = Process {
            all: self.clone(),
            number,
            id,
        };
        let began = Instant::now();
        loop {
            match fs::read_to_string(ready) {
                Ok(address) if !address.trim().is_empty() => return Ok((process, address.trim().to_owned())),
                _ if process.has_ended() || began.elapsed() > READY_WITHIN => {
                    let log = fs::read_to_string(&log).unwrap_or_default();
                    bail!("the {name} did not become ready; its log:\n{log}");
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// Politely first: a simulator has files of its own to remove. A process that was stopped must go on to hear of it.
fn end(child: &mut Child) {
    let id = child.id();
    let _ = signal(id, SIGTERM);
    let _ = signal(id, SIGCONT);
    let began = Instant::now();
    while began.elapsed() < END_WITHIN {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that is gone already is what was wanted.
    let _ = child.kill();
    let _ = child.wait();
}

/// By the system's own command: the standard library sends no other signal than the last one.
pub(crate) fn signal(id: u32, signal: i32) -> Result<()> {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(id.to_string())
        .stderr(Stdio::null())
        .status();
    let status = status.context("cannot run `kill`")?;
    if status.success() {
        return Ok(());
    }
    bail!("process {id} takes no signal {signal}")
}

impl Process {
    fn has_ended(&self) -> bool {
        let mut all = self.all.lock();
        let child = all.iter_mut().find(|(number, _)| *number == self.number);
        child.is_none_or(|(_, child)| !matches!(child.try_wait(), Ok(None)))
    }

    /// At once, with nothing put in order: a crash.
    pub(crate) fn kill(&self) {
        let mut all = self.all.lock();
        if let Some(place) = all.iter().position(|(number, _)| *number == self.number) {
            let (_, mut child) = all.remove(place);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A directory for a run, kept if it fails, so that its logs can be read.
pub(crate) fn in_directory(play: impl FnOnce(&Path, &Processes) -> Result<()>) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("landfall-real-").tempdir();
    let directory = directory.context("no temporary directory")?;
    let processes = Processes::new(directory.path())?;
    let result = play(directory.path(), &processes);
    processes.end();
    result.map_err(|error| {
        let kept: PathBuf = directory.keep();
        error.context(format!("failed; logs and data are in {}", kept.display()))
    })
}
