//! The processes of the demo. Each is ended by its own id, however the demo ends: at its end, on an error, on ctrl-c.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::answers::Job;
use crate::build::check;

/// The first start compiles all plugins; a slow machine may take its time.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// What a shell reports for a process that ctrl-c ended.
const INTERRUPTED: i32 = 130;

/// All that run, those started last at the end.
type Running = Arc<Mutex<Vec<Child>>>;

/// The processes of the demo.
pub(super) struct Processes(Running);

impl Processes {
    /// From here on ctrl-c ends them too, and removes their directory.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let running = Running::default();
        let (seen, directory) = (Arc::clone(&running), directory.to_owned());
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for ctrl-c")?;
        std::thread::spawn(move || {
            signals.wait();
            // Held to the exit, so that the demo does not go on to complain of what was ended.
            let mut running = lock(&seen);
            end(&mut running);
            // A directory that stays is no reason to stay too.
            let _ = fs::remove_dir_all(directory);
            std::process::exit(INTERRUPTED);
        });
        Ok(Self(running))
    }

    /// Ends them and waits until they are gone.
    pub(super) fn end(&self) {
        end(&mut lock(&self.0));
    }

    /// Starts one, with its log in a file, and gives what it wrote into its ready file.
    pub(super) fn start(&self, name: &str, directory: &Path, command: &mut Command) -> Result<String> {
        let ready = directory.join(format!("{name}.ready"));
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.arg("--ready-file").arg(&ready).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        lock(&self.0).push(child);
        let began = Instant::now();
        loop {
            if let Ok(address) = fs::read_to_string(&ready) {
                return Ok(address.trim().to_owned());
            }
            if self.has_ended()? || began.elapsed() > READY_WITHIN {
                let log = fs::read_to_string(&log).unwrap_or_default();
                bail!("the {name} did not become ready; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The one started last is gone.
    fn has_ended(&self) -> Result<bool> {
        let mut running = lock(&self.0);
        let Some(last) = running.last_mut() else {
            return Ok(true);
        };
        Ok(last.try_wait().context("cannot ask for a process")?.is_some())
    }

    /// Starts the daemon, and gives the command that speaks to it.
    pub(super) fn daemon<'a>(&self, landfall: &'a Path, directory: &Path) -> Result<Landfall<'a>> {
        let mut command = Command::new(landfall);
        command.args(["daemon", "run", "--config", "landfall.toml", "--listen", "127.0.0.1:0"]);
        self.start("daemon", directory, &mut command)?;
        Ok(Landfall {
            running: Arc::clone(&self.0),
            program: landfall,
            directory: directory.to_owned(),
        })
    }
}

fn lock(running: &Mutex<Vec<Child>>) -> MutexGuard<'_, Vec<Child>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(running: &mut Vec<Child>) {
    for mut child in running.drain(..).rev() {
        // One that is gone already is what was wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The command, pointed at the demo's daemon.
pub(super) struct Landfall<'a> {
    running: Running,
    program: &'a Path,
    directory: PathBuf,
}

impl Landfall<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .args(["--data-dir", "landfall-data", "--no-input"]);
        command
            .current_dir(&self.directory)
            .env_remove("LANDFALL_SERVER")
            .env_remove("LANDFALL_TOKEN_FILE");
        command
    }

    /// Shows what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<()> {
        check(&mut self.command(arguments))
    }

    /// Gives what it prints.
    pub(super) fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let shown = || format!("`landfall {}`", arguments.join(" "));
        let mut command = self.command(arguments);
        let (status, text) = self
            .capture(command.args(["--output", "json"]))
            .with_context(|| format!("{} did not run", shown()))?;
        ensure!(status.success(), "{} failed: {status}", shown());
        serde_json::from_str(&text).with_context(|| format!("{} printed something else", shown()))
    }

    /// A command that follows a job is one of the processes: ctrl-c ends it with the others.
    fn capture(&self, command: &mut Command) -> Result<(ExitStatus, String)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("it has no standard output")?;
        lock(&self.running).push(child);
        let text = io::read_to_string(stdout)?;
        let mut child = lock(&self.running).pop().context("it was ended")?;
        Ok((child.wait()?, text))
    }

    /// Starts a job and follows it live; gives the job as it ended.
    pub(super) fn job(&self, arguments: &[&str]) -> Result<Job> {
        let job: Job = self.json(arguments)?;
        ensure!(
            job.status == "succeeded",
            "the job of `landfall {}` is {}",
            arguments.join(" "),
            job.status
        );
        Ok(job)
    }
}
