//! A lab, a daemon and a directory, all of one test. It goes when the test is over.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::answers::{Item, Job, Plugin, Point, Points};
use super::api::{Answer, Api};
use super::cli::{self, Ended};
use super::documents::{Configuration, Inventory};
use super::eventually;
use super::lab::{AWAY, HOME, Lab};
use super::process::{PLUGINS, Process, plugins, shim};

/// See the module. Fields are dropped in order: the directory goes last.
pub(crate) struct World {
    daemon: Process,
    pub(crate) api: Api,
    pub(crate) lab: Lab,
    directory: TempDir,
}

impl World {
    /// With an empty inventory; webhooks go to the lab and carry keys.
    pub(crate) fn start() -> Self {
        Self::configured(|_| {})
    }

    /// With another configuration.
    pub(crate) fn configured(change: impl FnOnce(&mut Configuration)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lab = Lab::start(directory.path());
        let port = lab.port();
        let mut configuration = Configuration {
            sites: vec![("north", HOME), ("south", AWAY)],
            lab: port,
            keyed: true,
            hook: port,
            granted: port,
        };
        change(&mut configuration);
        fs::write(directory.path().join("landfall.toml"), configuration.text()).expect("the configuration");
        copy_plugins(&directory.path().join("plugins"));
        let (daemon, api) = daemon(directory.path());
        Self {
            daemon,
            api,
            lab,
            directory,
        }
    }

    /// With machines that are protected by an inventory and brought up by a plan.
    pub(crate) fn protected(inventory: &Inventory<'_>, plan: &str) -> Self {
        let world = Self::start();
        world.protect(inventory, plan);
        world
    }

    /// Makes the machines, applies both documents, and waits for the first points.
    pub(crate) fn protect(&self, inventory: &Inventory<'_>, plan: &str) {
        self.lab.furnish(inventory.items);
        self.apply("inventory", &inventory.text());
        self.apply("plan", plan);
        self.cli(&["protect", "--plan", "hr"]).code(0);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `landfall` to its end.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ended {
        self.begin(arguments).end()
    }

    /// Starts `landfall` and lets it run.
    pub(crate) fn begin(&self, arguments: &[&str]) -> cli::Running {
        cli::start(self.directory.path(), arguments)
    }

    /// Writes a document to a file of its kind's name and applies it.
    pub(crate) fn try_apply(&self, kind: &str, text: &str) -> Ended {
        let file = format!("{kind}.yaml");
        fs::write(self.path(&file), text).expect("the document can be written");
        self.cli(&[kind, "apply", &file])
    }

    #[track_caller]
    pub(crate) fn apply(&self, kind: &str, text: &str) {
        self.try_apply(kind, text).code(0);
    }

    /// Asks for a job over HTTP; the name is typed where it must be.
    pub(crate) fn ask(&self, operation: &str, more: &Value) -> Answer {
        let mut body = json!({"operation": operation, "confirm": "hr"});
        let named = more.get("plan").is_some() || more.get("items").is_some();
        let body_map = body.as_object_mut().expect("an object");
        if !named {
            body_map.insert("plan".to_owned(), json!("hr"));
        }
        body_map.extend(more.as_object().expect("an object").clone());
        self.api.post("api/v1/jobs", &body)
    }

    /// Starts a job and does not wait.
    #[track_caller]
    pub(crate) fn launch(&self, operation: &str, more: &Value) -> Job {
        self.ask(operation, more).ok()
    }

    /// The newest job, if the daemon lives to tell.
    pub(crate) fn newest_job(&self) -> Option<Job> {
        let page: Value = self.api.try_get("api/v1/jobs?limit=1")?.ok();
        self.try_job(page.pointer("/items/0/id")?.as_str()?)
    }

    /// Starts a job and waits until it rests.
    #[track_caller]
    pub(crate) fn run(&self, operation: &str, more: &Value) -> Job {
        let job = self.launch(operation, more);
        self.rest(&job.id)
    }

    /// Starts a job that is to succeed.
    #[track_caller]
    pub(crate) fn succeed(&self, operation: &str, more: &Value) -> Job {
        let job = self.run(operation, more);
        assert_eq!(job.status, "succeeded", "{:?} {:#?}", job.reason, troubles(&job));
        job
    }

    pub(crate) fn job(&self, id: &str) -> Job {
        self.api.get(&format!("api/v1/jobs/{id}"))
    }

    /// Waits until a job is over or needs a person.
    #[track_caller]
    pub(crate) fn rest(&self, id: &str) -> Job {
        eventually(&format!("job {id} rests"), || {
            let answer = self.api.try_get(&format!("api/v1/jobs/{id}"))?;
            let job: Job = answer.ok();
            job.rests().then_some(job)
        })
    }

    /// Waits until a step is in a status.
    pub(crate) fn step_is(&self, job: &str, step: &str, status: &str) -> Job {
        eventually(&format!("step {step} is {status}"), || {
            let job = self.job(job);
            (job.step(step).status == status).then_some(job)
        })
    }

    pub(crate) fn item(&self, name: &str) -> Item {
        self.api.get(&format!("api/v1/items/{name}"))
    }

    /// Newest first, asked of the target.
    pub(crate) fn points(&self, item: &str) -> Vec<Point> {
        let points: Points = self.api.get(&format!("api/v1/items/{item}/points?refresh=true"));
        points.points
    }

    /// Waits until the target holds data that is not processed into a point.
    pub(crate) fn await_pending(&self, item: &str) -> Point {
        eventually(&format!("{item} has pending data"), || {
            self.points(item).into_iter().find(|point| !point.processed)
        })
    }

    pub(crate) fn plugins(&self) -> Vec<Plugin> {
        self.api.get("api/v1/plugins")
    }

    pub(crate) fn plugin(&self, name: &str) -> Plugin {
        let found = self.plugins().into_iter().find(|plugin| plugin.name == name);
        found.unwrap_or_else(|| panic!("there is no plugin {name}"))
    }

    pub(crate) fn kill_daemon(&mut self) {
        self.daemon.kill();
    }

    /// On the same data, at another port.
    pub(crate) fn restart_daemon(&mut self) {
        self.kill_daemon();
        (self.daemon, self.api) = daemon(self.directory.path());
    }

    /// The daemon's next starts stand behind the shim.
    pub(crate) fn preload_shim(&self, environment: &[(&str, &str)]) {
        let mut lines = vec![format!("LD_PRELOAD={}", shim().display())];
        lines.extend(environment.iter().map(|(name, value)| format!("{name}={value}")));
        fs::write(self.path("daemon.preload"), lines.join("\n")).expect("the file can be written");
    }

    /// The daemon died by itself. False if the one that was started died too before it was ready.
    pub(crate) fn try_restart_daemon(&mut self) -> bool {
        self.kill_daemon();
        let arguments = ["daemon", "run", "--config", "landfall.toml"];
        let Some((process, url)) = Process::try_start("daemon", self.directory.path(), &arguments) else {
            return false;
        };
        let token = fs::read_to_string(self.path("data/token")).expect("the token");
        (self.daemon, self.api) = (process, Api::new(&url, Some(token.trim())));
        true
    }

    pub(crate) fn daemon_has_ended(&mut self) -> bool {
        self.daemon.has_ended()
    }

    /// A job, if the daemon lives to tell.
    pub(crate) fn try_job(&self, id: &str) -> Option<Job> {
        let answer = self.api.try_get(&format!("api/v1/jobs/{id}"))?;
        (answer.status == 200).then(|| answer.ok())
    }

    /// As [`Self::restart_daemon`], for those who go on speaking to it.
    pub(crate) fn restart_daemon_at_the_same_address(&mut self) {
        let address = self.api.authority().to_owned();
        self.kill_daemon();
        let arguments = ["daemon", "run", "--config", "landfall.toml", "--listen", &address];
        self.daemon = Process::start("daemon", self.directory.path(), &arguments).0;
    }
}

/// Steps that did not go well, for a message.
pub(crate) fn troubles(job: &Job) -> Vec<String> {
    let bad = job
        .steps
        .iter()
        .filter(|step| !matches!(step.status.as_str(), "done" | "skipped" | "pending" | "not-run"));
    bad.map(|step| format!("{}: {} {:?}", step.id, step.status, step.message))
        .collect()
}

fn daemon(directory: &Path) -> (Process, Api) {
    let (process, url) = Process::start("daemon", directory, &["daemon", "run", "--config", "landfall.toml"]);
    let token = fs::read_to_string(directory.join("data/token")).expect("the token");
    (process, Api::new(&url, Some(token.trim())))
}

/// A copy: a test may change its plugins, and somebody may build new ones meanwhile.
fn copy_plugins(to: &Path) {
    for name in PLUGINS {
        copy_plugin(&plugins().join(name), &to.join(name));
    }
}

/// Manifest and component.
pub(crate) fn copy_plugin(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory can be made");
    for entry in fs::read_dir(from).expect("the plugin can be listed") {
        let file = entry.expect("an entry").path();
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("the plugin can be copied");
    }
}
