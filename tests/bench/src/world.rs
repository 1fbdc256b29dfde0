//! A lab and a daemon of the benchmark's own, on free ports, ended with it.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct World {
    directory: TempDir,
    lab: Child,
    daemon: Child,
    lab_url: String,
    api: String,
    token: String,
    http: reqwest::Client,
}

pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) steps: u32,
    pub(crate) requested_at: u64,
    pub(crate) started_at: u64,
    pub(crate) ended_at: u64,
}

/// A job as the list has it.
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) ended: bool,
    pub(crate) done: u64,
    pub(crate) steps: u64,
}

pub(crate) struct Check {
    pub(crate) doubled: usize,
    pub(crate) both_active: usize,
    pub(crate) lost: u64,
}

impl World {
    pub(crate) async fn start(machines: usize, groups: usize, limit: usize) -> Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("landfall");
        let plugins = binary
            .parent()
            .and_then(Path::parent)
            .context("no target directory")?
            .join("plugins");
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let lab = spawn(
            &binary,
            &["lab", "--data"],
            &at("lab"),
            &["--ready-file"],
            &at("lab.url"),
            &at("lab.log"),
        )?;
        let lab_url = wait_for(&at("lab.url")).await?;
        std::fs::write(at("landfall.toml"), config(&lab_url, &plugins, limit))?;
        let daemon = daemon(directory.path())?;
        let api = wait_for(&at("url")).await?;
        let token = std::fs::read_to_string(at("data/token"))?;
        let world = Self {
            directory,
            lab,
            daemon,
            lab_url,
            api,
            token,
            http: reqwest::Client::new(),
        };
        let machines_spec: Vec<Value> = (0..machines)
            .map(|n| json!({ "site": "a", "id": format!("vm-{n}"), "records_per_second": 1, "autostart": false }))
            .collect();
        world.lab_post("machines", &Value::from(machines_spec)).await?;
        world.put("inventory", inventory(machines)).await?;
        world.put("plans", plan(machines, groups)).await?;
        Ok(world)
    }

    /// Starts a job and gives its id.
    pub(crate) async fn launch(&self, operation: &str) -> Result<String> {
        let request = json!({ "operation": operation, "plan": "big", "confirm": "big" });
        let answer = self
            .http
            .post(format!("{}/api/v1/jobs", self.api))
            .bearer_auth(&self.token)
            .json(&request)
            .send()
            .await?;
        let job: Value = answer.json().await?;
        let id = job.get("id").and_then(Value::as_str);
        Ok(id.with_context(|| format!("no job: {job}"))?.to_owned())
    }

    /// Runs a job to its end.
    pub(crate) async fn job(&self, operation: &str) -> Result<Finished> {
        let id = self.launch(operation).await?;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let status = self.status(&id).await?;
            match status.name.as_str() {
                "running" => {}
                "succeeded" => break,
                other => bail!("job {id} is {other}"),
            }
        }
        self.finished(&id).await
    }

    /// What the list says of the newest job: that is cheap, and watching must not be what is measured.
    pub(crate) async fn status(&self, id: &str) -> Result<Status> {
        let page = self.get("jobs?limit=1").await?;
        let job = page.pointer("/items/0").context("no job")?;
        let name = job.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
        anyhow::ensure!(
            job.get("id").and_then(Value::as_str) == Some(id),
            "another job is newer"
        );
        let counts = job.get("counts").and_then(Value::as_object);
        let count = |wanted: Option<&str>| {
            let fits = |(name, _): &(&String, &Value)| wanted.is_none_or(|wanted| *name == wanted);
            counts
                .into_iter()
                .flatten()
                .filter(fits)
                .filter_map(|(_, count)| count.as_u64())
                .sum()
        };
        Ok(Status {
            ended: job.get("ended-at").is_some_and(Value::is_u64),
            done: count(Some("done")),
            steps: count(None),
            name,
        })
    }

    pub(crate) async fn finished(&self, id: &str) -> Result<Finished> {
        let job = self.get(&format!("jobs/{id}")).await?;
        let number = |pointer: &str| job.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let steps = job.get("steps").and_then(Value::as_array).context("no steps")?;
        let begun = steps
            .iter()
            .filter_map(|step| step.get("begun-at").and_then(Value::as_u64))
            .min();
        let counted = steps
            .iter()
            .filter(|step| step.get("kind").is_some_and(|kind| kind != "milestone"))
            .count();
        Ok(Finished {
            id: id.to_owned(),
            steps: u32::try_from(counted)?,
            requested_at: number("/requested-at"),
            started_at: begun.context("nothing began")?,
            ended_at: number("/ended-at"),
        })
    }

    /// The most memory that the daemon ever had, in megabytes.
    pub(crate) fn peak_mb(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = text
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .context("no VmHWM")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib >> 10)
    }

    /// SIGKILL, and the time until the next one runs every job again.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<Duration> {
        let at = |name: &str| self.directory.path().join(name);
        self.daemon.kill()?;
        self.daemon.wait()?;
        std::fs::remove_file(at("url"))?;
        let begun = std::time::Instant::now();
        self.daemon = daemon(self.directory.path())?;
        self.api = wait_for(&at("url")).await?;
        Ok(begun.elapsed())
    }

    pub(crate) async fn latency(&self, operation: &str, min_ms: u64, max_ms: u64) -> Result<()> {
        self.lab_post(
            "latency",
            &json!({ "operation": operation, "min_ms": min_ms, "max_ms": max_ms }),
        )
        .await
    }

    /// The source site loses its power, and has it again: it answers, and its machines are off.
    pub(crate) async fn cut_power(&self) -> Result<()> {
        self.lab_post("sites/a/lost", &json!({ "machines_off": true })).await?;
        self.lab_post("sites/a/back", &json!({})).await
    }

    pub(crate) async fn check(&self) -> Result<Check> {
        let check: Value = self
            .http
            .get(format!("{}/control/check", self.lab_url))
            .send()
            .await?
            .json()
            .await?;
        let count = |name: &str| check.get(name).and_then(Value::as_array).map_or(0, Vec::len);
        let lost = check.get("lost").and_then(Value::as_array).into_iter().flatten();
        Ok(Check {
            doubled: count("doubled"),
            both_active: count("both_active"),
            lost: lost.filter_map(|entry| entry.get("lost").and_then(Value::as_u64)).sum(),
        })
    }

    /// How long each step of a job took at the far side, from the lab's ledger.
    pub(crate) async fn durations(&self, job: &str) -> Result<HashMap<String, u64>> {
        let text = self
            .http
            .get(format!("{}/control/ledger?after=0", self.lab_url))
            .send()
            .await?
            .text()
            .await?;
        let mut begun: HashMap<String, u64> = HashMap::new();
        let mut durations = HashMap::new();
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line)?;
            if entry.get("job").and_then(Value::as_str) != Some(job) {
                continue;
            }
            let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let at = entry.get("at_ms").and_then(Value::as_u64).unwrap_or(0);
            if field("result") == "accepted" {
                begun.insert(field("step"), at);
            } else if let Some(start) = begun.get(&field("step")) {
                durations.insert(field("step"), at - start);
            }
        }
        Ok(durations)
    }

    /// Ends both processes and keeps the daemon's data.
    pub(crate) fn stop(&self) -> PathBuf {
        for pid in [self.daemon.id(), self.lab.id()] {
            // A process that is gone already is as good as one that was ended.
            let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
        }
        std::thread::sleep(Duration::from_millis(300));
        self.directory.path().join("data")
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self
            .http
            .get(format!("{}/api/v1/{path}", self.api))
            .bearer_auth(&self.token)
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn put(&self, path: &str, text: String) -> Result<()> {
        let answer = self
            .http
            .put(format!("{}/api/v1/{path}", self.api))
            .bearer_auth(&self.token)
            .body(text)
            .send()
            .await?;
        if answer.status().is_success() {
            return Ok(());
        }
        bail!("{path}: {}", answer.text().await?)
    }

    async fn lab_post(&self, path: &str, body: &Value) -> Result<()> {
        let answer = self
            .http
            .post(format!("{}/control/{path}", self.lab_url))
            .json(body)
            .send()
            .await?;
        answer.error_for_status()?;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.lab] {
            // Ended already by `stop`, or ended here.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(binary: &Path, before: &[&str], first: &Path, between: &[&str], second: &Path, log: &Path) -> Result<Child> {
    Command::new(binary)
        .args(before)
        .arg(first)
        .args(between)
        .arg(second)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log)?)
        .spawn()
        .with_context(|| format!("{} does not start; `cargo xtask bench` builds it", binary.display()))
}

fn daemon(directory: &Path) -> Result<Child> {
    let at = |name: &str| directory.join(name);
    spawn(
        &std::env::current_exe()?.with_file_name("landfall"),
        &["daemon", "run", "--config"],
        &at("landfall.toml"),
        &["--ready-file"],
        &at("url"),
        &at("daemon.log"),
    )
}

async fn wait_for(file: &Path) -> Result<String> {
    for _ in 0..3_000 {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Ok(text.trim().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("{} did not appear", file.display())
}

fn config(lab: &str, plugins: &Path, limit: usize) -> String {
    let port = lab.rsplit(':').next().unwrap_or_default();
    let mut text = format!(
        "listen = \"127.0.0.1:0\"\ndata = \"data\"\nplugins = \"{}\"\n",
        plugins.display()
    );
    for (name, site) in [("north", "a"), ("south", "b")] {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[sites.{name}]\nadapter = \"lab\"\nconfig = {{ url = \"{lab}\", site = \"{site}\" }}\nlimit = {limit}\n\
             [sites.{name}.grants]\ninterfaces = [\"http\", \"buffers\", \"clock\"]\n\
             http = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {port} }}]\n"
        );
    }
    text
}

fn inventory(machines: usize) -> String {
    // A slow rhythm, so that no cycle runs beside what is measured.
    let mut text = "defaults:\n  source-site: north\n  target-site: south\n  networks:\n    - { nic: nic-0, production: lan, test: bubble }\n  replication: { rpo: 2h }\nitems:\n".to_owned();
    for n in 0..machines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  - {{ name: m-{n}, source: {{ machine: vm-{n} }} }}");
    }
    text
}

fn plan(machines: usize, groups: usize) -> String {
    let mut text = "plan: big\nshutdown: false\ngroups:\n".to_owned();
    for group in 0..groups {
        let members: Vec<String> = (0..machines)
            .filter(|n| n * groups / machines == group)
            .map(|n| format!("m-{n}"))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  - {{ name: g-{group}, machines: [{}] }}", members.join(", "));
    }
    text
}
