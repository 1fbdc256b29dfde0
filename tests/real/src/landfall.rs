//! The daemon, and the command that speaks to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::processes::{Process, Processes};

/// Whatever is waited for comes within this; retries and settling included.
const PATIENCE: Duration = Duration::from_mins(2);

/// A daemon in its directory.
pub(crate) struct Landfall {
    program: PathBuf,
    directory: PathBuf,
    processes: Processes,
    process: Option<Process>,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A job, as the command prints it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) findings: Vec<Finding>,
    #[serde(default)]
    pub(crate) items: Vec<JobItem>,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Finding {
    pub(crate) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JobItem {
    pub(crate) item: String,
    pub(crate) machine: Option<String>,
    pub(crate) rpo_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) class: String,
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
}

impl Job {
    pub(crate) fn step(&self, id: &str) -> Result<&Step> {
        let found = self.steps.iter().find(|step| step.id == id);
        found.with_context(|| format!("job {} has no step {id}", self.id))
    }

    pub(crate) fn machine(&self, item: &str) -> Result<&str> {
        let found = self.items.iter().find(|one| one.item == item);
        let machine = found.and_then(|one| one.machine.as_deref());
        machine.with_context(|| format!("job {} made no machine for {item}", self.id))
    }

    fn troubles(&self) -> String {
        let bad = self
            .steps
            .iter()
            .filter(|step| !matches!(&*step.status, "done" | "skipped" | "pending" | "not-run"));
        let bad = bad.map(|step| {
            let words = [step.code.as_deref(), step.message.as_deref()];
            format!(
                "{}: {} {}",
                step.id,
                step.status,
                words.into_iter().flatten().collect::<Vec<_>>().join(" ")
            )
        });
        bad.collect::<Vec<_>>().join("; ")
    }
}

impl Landfall {
    /// Starts the daemon with this configuration.
    pub(crate) fn start(program: &Path, directory: &Path, processes: &Processes, configuration: &str) -> Result<Self> {
        fs::write(directory.join("landfall.toml"), configuration).context("cannot write the configuration")?;
        let mut landfall = Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            processes: processes.clone(),
            process: None,
        };
        landfall.restart()?;
        Ok(landfall)
    }

    /// Ends the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it on the same data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.kill();
        let ready = self.directory.join("daemon.ready");
        let mut command = Command::new(&self.program);
        command.args([
            "daemon",
            "run",
            "--config",
            "landfall.toml",
            "--listen",
            "127.0.0.1:0",
            "--ready-file",
        ]);
        let (process, _) = self
            .processes
            .start("daemon", &self.directory, command.arg(&ready), &ready)?;
        self.process = Some(process);
        Ok(())
    }

    /// Writes a document and applies it.
    pub(crate) fn apply(&self, kind: &str, name: &str, text: &str) -> Result<()> {
        let file = format!("{name}.yaml");
        fs::write(self.directory.join(&file), text).with_context(|| format!("cannot write {file}"))?;
        let ended = self.run(&[kind, "apply", &file])?;
        ensure!(
            ended.code == 0,
            "`landfall {kind} apply` ended with {}: {}",
            ended.code,
            ended.stderr
        );
        Ok(())
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let Output { status, stdout, stderr } = Command::new(&self.program)
            .args(arguments)
            .args(["--data-dir", "data", "--no-input"])
            .current_dir(&self.directory)
            .env_remove("LANDFALL_SERVER")
            .env_remove("LANDFALL_TOKEN_FILE")
            .stdin(Stdio::null())
            .output()
            .context("cannot run `landfall`")?;
        Ok(Ended {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// What a command that must succeed prints.
    pub(crate) fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let ended = self.run(&[arguments, &["--output", "json"]].concat())?;
        let shown = arguments.join(" ");
        ensure!(
            ended.code == 0,
            "`landfall {shown}` ended with {}: {}",
            ended.code,
            ended.stderr
        );
        serde_json::from_str(&ended.stdout).with_context(|| format!("`landfall {shown}` printed something else"))
    }

    /// Runs a job to its end, which must be success. The command's own account of it is short; this is the whole.
    pub(crate) fn job(&self, arguments: &[&str]) -> Result<Job> {
        let job = self.rest(arguments)?;
        let shown = arguments.join(" ");
        ensure!(
            job.status == "succeeded",
            "`landfall {shown}` is {}: {}",
            job.status,
            job.troubles()
        );
        crate::say(&format!(
            "  job   landfall {shown}: succeeded, {} steps",
            job.steps.len()
        ));
        Ok(job)
    }

    /// Runs a job until nothing more happens by itself.
    pub(crate) fn rest(&self, arguments: &[&str]) -> Result<Job> {
        let id = self.launch(arguments)?;
        self.resting(&id)
    }

    /// Starts a job and does not wait.
    pub(crate) fn launch(&self, arguments: &[&str]) -> Result<String> {
        let job: Job = self.json(&[arguments, &["--detach"]].concat())?;
        Ok(job.id)
    }

    /// The job as it is now.
    pub(crate) fn show(&self, id: &str) -> Result<Job> {
        self.json(&["job", "show", id])
    }

    /// Waits until a job is over or needs a person.
    pub(crate) fn resting(&self, id: &str) -> Result<Job> {
        wait(&format!("job {id} rests"), || {
            let job = self.show(id)?;
            let rests = !matches!(&*job.status, "running" | "stopping");
            Ok(rests.then_some(job))
        })
    }

    /// What a refused request says.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.run(arguments)?;
        if ended.code == 0 {
            bail!("`landfall {}` was not refused: {}", arguments.join(" "), ended.stdout);
        }
        Ok(ended.stderr)
    }

    /// What the list of sites says of one.
    pub(crate) fn site_error(&self, site: &str) -> Result<Option<String>> {
        let sites: Vec<Value> = self.json(&["site", "list"])?;
        let named = |one: &&Value| one.get("name").and_then(Value::as_str) == Some(site);
        let found = sites
            .iter()
            .find(named)
            .with_context(|| format!("there is no site {site}"))?;
        Ok(found.get("error").and_then(Value::as_str).map(str::to_owned))
    }
}

/// Until there is something, or patience ends.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "waited {} s in vain until {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
