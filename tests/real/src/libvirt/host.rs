//! Landfall itself: the daemon, and the command that speaks to it, as an operator has them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::site::Site;

/// The first start compiles all plugins.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// A job of three small guests in software emulation takes seconds; the first copy some more.
const JOB_WITHIN: Duration = Duration::from_mins(5);

/// A guest boots in four seconds, and in many more beside others.
const BOOT_WITHIN: Duration = Duration::from_mins(2);

/// How often it is looked for something to happen.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Port of guests' web servers at the addresses that lead to them.
const WEB: u16 = 8080;

/// A daemon, and its command.
pub(super) struct Landfall {
    program: PathBuf,
    directory: PathBuf,
    daemon: Child,
}

/// How the daemon reaches a site.
pub(super) struct Access {
    pub(super) name: String,
    /// The endpoint `libvirt`, as an operator writes it.
    pub(super) libvirt: String,
    pub(super) tls: bool,
    /// Where its QEMUs offer disks.
    pub(super) nbd: &'static str,
    pub(super) ports: (u16, u16),
}

impl Access {
    /// Straight to it.
    pub(super) fn to(name: &str, site: &Site, ports: (u16, u16)) -> Self {
        Self {
            name: name.to_owned(),
            libvirt: format!("{{ tcp = \"127.0.0.1:{}\" }}", site.port),
            tls: false,
            nbd: "127.0.0.1",
            ports,
        }
    }

    fn text(&self) -> String {
        let Self {
            name,
            libvirt,
            tls,
            nbd,
            ports: (first, last),
        } = self;
        let tls = if *tls { "yes" } else { "no" };
        format!(
            "\n[sites.{name}]\nadapter = \"libvirt\"\n\
             config = {{ uri = \"qemu:///session\", tls = \"{tls}\", nbd-ports = \"{first}-{last}\", shutdown-ms = \"60000\", \
             networks = \"lan=user:{WEB}-80, bubble=user-isolated:{WEB}-80\" }}\n\
             [sites.{name}.grants]\ninterfaces = [\"buffers\", \"clock\", \"session\"]\n\
             [sites.{name}.grants.transport]\nlibvirt = {libvirt}\n\
             nbd = {{ tcp = \"{nbd}\", ports = \"{first}-{last}\" }}\n"
        )
    }
}

/// Writes the daemon's settings, for the sites as they run.
pub(super) fn configure(directory: &Path, plugins: &Path, sites: &[Access], addresses: &[String]) -> Result<()> {
    let grant = |address: &String| format!("{{ scheme = \"http\", host = \"{address}\", port = {WEB} }}");
    let grants: Vec<String> = addresses.iter().map(grant).collect();
    let text = format!(
        "listen = \"127.0.0.1:0\"\ndata = \"data\"\nplugins = {:?}\n{}\n[runbooks.http-check.grants]\n\
         interfaces = [\"clock\"]\nhttp = [{}]\n",
        plugins.display().to_string(),
        sites.iter().map(Access::text).collect::<String>(),
        grants.join(", ")
    );
    fs::write(directory.join("landfall.toml"), text).context("cannot write the configuration")
}

impl Landfall {
    pub(super) fn start(program: &Path, directory: &Path) -> Result<Self> {
        let mut landfall = Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            daemon: daemon(program, directory)?,
        };
        landfall.wait_ready()?;
        Ok(landfall)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let ready = self.directory.join("daemon.ready");
        let began = Instant::now();
        while !ready.exists() {
            let ended = self.daemon.try_wait()?;
            if ended.is_some() || began.elapsed() > READY_WITHIN {
                let log = fs::read_to_string(self.directory.join("daemon.log")).unwrap_or_default();
                bail!("the daemon does not come up:\n{log}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// SIGKILL, and another one over the same data.
    pub(super) fn kill_and_restart(&mut self) -> Result<()> {
        self.daemon.kill().context("the daemon is gone")?;
        self.daemon.wait().context("the daemon is gone")?;
        self.daemon = daemon(&self.program, &self.directory)?;
        self.wait_ready()
    }

    /// The daemon's resident memory, in KiB.
    pub(super) fn memory_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let text = line
            .and_then(|line| line.split_whitespace().next())
            .context("no VmRSS")?;
        Ok(text.parse()?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--data-dir", "data", "--no-input"])
            .current_dir(&self.directory);
        for name in ["LANDFALL_SERVER", "LANDFALL_TOKEN_FILE", "LANDFALL_DATA"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Shows what it prints.
    pub(super) fn show(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command(arguments).status().context("landfall does not run")?;
        ensure!(status.success(), "`landfall {}`: {status}", arguments.join(" "));
        Ok(())
    }

    /// Gives what it prints.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command(arguments);
        let done = command
            .args(["--output", "json"])
            .output()
            .context("landfall does not run")?;
        let shown = arguments.join(" ");
        ensure!(
            done.status.success(),
            "`landfall {shown}`: {}\n{}{}",
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        serde_json::from_slice(&done.stdout).with_context(|| format!("`landfall {shown}` printed something else"))
    }

    /// What a refused request says.
    pub(super) fn refused(&self, arguments: &[&str]) -> Result<String> {
        let done = self.command(arguments).output().context("landfall does not run")?;
        ensure!(
            !done.status.success(),
            "`landfall {}` was not refused",
            arguments.join(" ")
        );
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// Runs a job to its end, which must be a good one.
    pub(super) fn job(&self, arguments: &[&str]) -> Result<Value> {
        let id = self.begin(arguments)?;
        self.wait(&id, &["succeeded"])
    }

    /// Starts a job, and gives its id.
    pub(super) fn begin(&self, arguments: &[&str]) -> Result<String> {
        let job = self.json(&[arguments, &["--detach"]].concat());
        if job.is_err() {
            // What a person would be told.
            let _ = self.show(&[arguments, &["--detach"]].concat());
        }
        let job = job?;
        Ok(text(&job, "id").context("a job without an id")?.to_owned())
    }

    /// Until a job has ended, in one of the wanted ways.
    pub(super) fn wait(&self, id: &str, wanted: &[&str]) -> Result<Value> {
        let began = Instant::now();
        loop {
            let job = self.json(&["job", "show", id])?;
            match text(&job, "status") {
                Some(status) if wanted.contains(&status) => return Ok(job),
                Some(
                    status @ ("succeeded" | "failed" | "cancelled" | "stuck" | "completed-with-errors" | "abandoned"),
                ) => {
                    self.show(&["job", "show", id])?;
                    bail!("job {id} is {status}, and should be {}", wanted.join(" or "));
                }
                _ => {}
            }
            if began.elapsed() > JOB_WITHIN {
                self.show(&["job", "show", id])?;
                bail!("job {id} does not end");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Until it is so.
    pub(super) fn until(&self, what: &str, is_so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !is_so(self)? {
            if began.elapsed() > JOB_WITHIN {
                self.show(&["item", "list"])?;
                bail!("it does not come that {what}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Landfall {
    fn drop(&mut self) {
        // One that is gone already is what was wanted.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn daemon(program: &Path, directory: &Path) -> Result<Child> {
    let ready = directory.join("daemon.ready");
    let _ = fs::remove_file(&ready);
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("daemon.log"))?;
    let mut command = Command::new(program);
    command
        .args(["daemon", "run", "--config"])
        .arg(directory.join("landfall.toml"));
    command.arg("--ready-file").arg(&ready).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().context("the daemon does not start")
}

/// A field that is text.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

/// What a guest says on its web server.
pub(super) fn ask(address: &str, page: &str) -> Result<u64> {
    let url = format!("http://{address}:{WEB}/{page}");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(3)))
        .build()
        .into();
    let mut answer = agent
        .get(&url)
        .call()
        .with_context(|| format!("{url} does not answer"))?;
    let text = answer.body_mut().read_to_string()?;
    text.trim().parse().with_context(|| format!("{url} says `{text}`"))
}

/// The same, for a guest that may still boot.
pub(super) fn ask_until(address: &str, page: &str) -> Result<u64> {
    let began = Instant::now();
    loop {
        match ask(address, page) {
            Ok(answer) => return Ok(answer),
            Err(error) if began.elapsed() > BOOT_WITHIN => return Err(error),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}
