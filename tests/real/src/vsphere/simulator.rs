//! A simulated vCenter, and the way past its API into it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::processes::{Process, Processes};

/// The account that the adapter uses.
pub(super) const USER: &str = "landfall";

/// A running one.
pub(super) struct Simulator {
    pub(super) url: String,
    /// Its own directory: certificate authority and password are there.
    pub(super) directory: PathBuf,
    pub(super) process: Process,
    control: String,
}

/// A machine as the simulator itself has it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Machine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) power: String,
    pub(super) folder: String,
    pub(super) networks: Option<Vec<String>>,
    pub(super) extra: BTreeMap<String, String>,
    pub(super) snapshots: Option<Vec<String>>,
}

impl Machine {
    pub(super) fn is_on(&self) -> bool {
        self.power == "poweredOn"
    }

    /// What Landfall wrote into it.
    pub(super) fn stamp(&self, name: &str) -> &str {
        self.extra.get(&format!("landfall.{name}")).map_or("", String::as_str)
    }

    pub(super) fn points(&self) -> Vec<&str> {
        self.snapshots.iter().flatten().map(String::as_str).collect()
    }
}

/// Where the simulator's source is: in the repository, beside this crate.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vcsim")
}

/// Compiles it; Go's own cache makes that seconds after the first time.
pub(super) fn build(directory: &Path) -> Result<PathBuf> {
    let program = directory.join("vcsim");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .args(["main.go", "control.go"])
        .current_dir(source())
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .status()
        .context("cannot run `go`")?;
    ensure!(status.success(), "the simulator does not compile");
    Ok(program)
}

impl Simulator {
    pub(super) fn start(program: &Path, directory: &Path, name: &str, processes: &Processes) -> Result<Self> {
        let home = directory.join(name);
        std::fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let password = home.join("password");
        // Long enough to occur nowhere by chance: it is looked for in all that the program writes.
        write_secret(&password, &format!("{name}-S3cret<&>\"{}", std::process::id()))?;
        let ready = home.join("ready");
        let mut command = Command::new(program);
        // Datastores are directories; they go with ours even if the simulator is killed.
        command.env("TMPDIR", &home).args(["127.0.0.1:0", USER]);
        command.arg(&password).arg(home.join("ca.pem")).arg(&ready);
        let (process, url) = processes.start(&format!("vcenter-{name}"), directory, &mut command, &ready)?;
        let control = std::fs::read_to_string(home.join("ready.control")).context("the simulator has no control")?;
        Ok(Self {
            url,
            directory: home,
            process,
            control,
        })
    }

    pub(super) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap_or_default()
    }

    /// The password as it is, and as XML has it.
    pub(super) fn password(&self) -> Result<[String; 2]> {
        let plain = std::fs::read_to_string(self.directory.join("password")).context("there is no password")?;
        let plain = plain.trim().to_owned();
        let escaped = plain
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;");
        Ok([plain, escaped])
    }

    /// Every machine, past the API.
    pub(super) fn machines(&self) -> Result<Vec<Machine>> {
        self.ask("machines")
    }

    /// One of that name, of which there must be one only.
    pub(super) fn machine(&self, name: &str) -> Result<Machine> {
        let found = self.named(name)?;
        ensure!(found.len() == 1, "there are {} machines called `{name}`", found.len());
        found.into_iter().next().context("it is gone")
    }

    pub(super) fn named(&self, name: &str) -> Result<Vec<Machine>> {
        Ok(self
            .machines()?
            .into_iter()
            .filter(|machine| machine.name == name)
            .collect())
    }

    /// The one in a folder.
    pub(super) fn machine_in(&self, folder: &str, name: &str) -> Result<Machine> {
        let found = self.named(name)?.into_iter().find(|machine| machine.folder == folder);
        found.with_context(|| format!("there is no `{name}` in {folder}"))
    }

    pub(super) fn with_id(&self, id: &str) -> Result<Machine> {
        let found = self.machines()?.into_iter().find(|machine| machine.id == id);
        found.with_context(|| format!("the vCenter has no machine {id}"))
    }

    /// One of the control's paths, with its query.
    pub(super) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut answer = ureq::get(format!("{}/{path}", self.control))
            .call()
            .with_context(|| format!("the simulator's control refuses {path}"))?;
        answer
            .body_mut()
            .read_json()
            .with_context(|| format!("the control's answer to {path} cannot be read"))
    }

    /// The same, where nothing is answered.
    pub(super) fn tell(&self, path: &str) -> Result<()> {
        self.ask::<serde_json::Value>(path).map(|_| ())
    }
}

/// A file that nobody else reads.
pub(super) fn write_secret(path: &Path, value: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{value}").with_context(|| format!("cannot write {}", path.display()))
}
