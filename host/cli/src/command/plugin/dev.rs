//! `landfall plugin dev`: builds, tests and installs a plugin whenever its source changes, and drills a plan with it.
//!
//! What is installed has passed its cases; a running daemon takes it up by itself, and jobs in flight keep their
//! version. A round that fails says why, and the next change begins the next one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use landfall_daemon::api::wire::PluginView;
use landfall_harness::{Home, Report, find, read};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Context, test};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::plugin;

/// Events of one save come within this of each other.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A daemon compiles a large component within this, and most in a second.
const SERVE_PATIENCE: Duration = Duration::from_mins(2);

/// Between two looks at the daemon.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(in crate::command) struct Dev {
    /// Directory of the plugin's source [default: the current one]
    directory: Option<PathBuf>,
    /// The plugin directory of a running daemon: what passes its cases is put there, and has to serve
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
    /// Run a test failover of this plan with it, and clean up
    #[arg(long, value_name = "PLAN", requires = "into")]
    drill: Option<String>,
    /// One round, and no watching
    #[arg(long)]
    once: bool,
}

impl Dev {
    /// Dropped, as by ctrl-c: the round that runs is left where it is; what is installed is whole.
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = test::source(self.directory.as_deref())?;
        let home = test::home()?;
        if self.once {
            return self.round(&source, &home, context).await;
        }
        let (mut changes, _watcher) = watch(&source)?;
        loop {
            match self.round(&source, &home, context).await {
                Ok(_) => {}
                Err(failure) => {
                    failure.report(context.out.format);
                }
            }
            context.out.note("Waiting for a change; ctrl-c ends it");
            tokio::select! {
                event = changes.recv() => if event.is_none() {
                    return Ok(Exit::Ok);
                },
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            }
            // The rest of what was saved together.
            while timeout(DEBOUNCE, changes.recv())
                .await
                .is_ok_and(|event| event.is_some())
            {}
        }
    }

    async fn round(&self, source: &Path, home: &Home, context: &Context) -> Result<Exit, Failure> {
        let built = test::built(source, false)?;
        let plugin = home.load(&built).await?;
        let mut cases = Vec::new();
        for file in find(&source.join("tests"))? {
            cases.push(test::Named {
                name: test::stem(&file),
                case: read(&file)?,
                file: Some(file),
            });
        }
        let report = Report::of(&plugin, test::run(home, &plugin, cases).await);
        context.out.one(&report, || report.to_string())?;
        if report.failed > 0 {
            return Ok(Exit::JobFailed);
        }
        let Some(into) = &self.into else {
            return Ok(Exit::Ok);
        };
        install(source, &built, into, plugin.name())?;
        serves(&context.client()?, plugin.name(), plugin.digest()).await?;
        context.out.note(&format!("{} serves", plugin.identity()));
        match &self.drill {
            Some(plan) => drill(plan, context).await,
            None => Ok(Exit::Ok),
        }
    }
}

/// A channel that gets a word for each change that is not the build's own.
fn watch(source: &Path) -> Result<(mpsc::UnboundedReceiver<()>, notify::RecommendedWatcher), Failure> {
    let failed = |error: notify::Error| Failure::Internal(format!("cannot watch {}: {error}", source.display()));
    let root = source.canonicalize().map_err(|error| Failure::File {
        action: "read",
        path: source.to_owned(),
        source: error,
    })?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let prefix = root.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_source = |path: &PathBuf| is_source(path.strip_prefix(&prefix).unwrap_or(path));
        if let Ok(event) = event
            && !event.kind.is_access()
            && event.paths.iter().any(is_source)
        {
            // Nobody listens only when the command ends.
            let _ = sender.send(());
        }
    })
    .map_err(failed)?;
    watcher.watch(&root, RecursiveMode::Recursive).map_err(failed)?;
    Ok((receiver, watcher))
}

/// What a build writes itself, and what editors and version control keep beside, is no change of the source.
fn is_source(path: &Path) -> bool {
    let first = path
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    let Some(first) = first else { return false };
    let is_lock = path == Path::new("Cargo.lock");
    !is_lock && !first.starts_with('.') && !matches!(first.as_str(), "target" | "node_modules" | "__pycache__")
}

/// What is source is built into the place, which compiles nothing again; a plugin that was built is copied. In both
/// each file is written beside its place and renamed.
fn install(source: &Path, built: &Path, into: &Path, name: &str) -> Result<(), Failure> {
    if plugin::is_source(source) {
        let request = plugin::Request {
            paths: vec![source.to_owned()],
            out: Some(into.to_owned()),
            all: false,
        };
        tokio::task::block_in_place(|| plugin::build(&request, &mut std::io::sink()))?;
        return Ok(());
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::File {
            action: "write",
            path,
            source,
        }
    };
    let place = into.join(name);
    std::fs::create_dir_all(&place).map_err(failed(&place))?;
    for entry in std::fs::read_dir(built).map_err(failed(built))?.flatten() {
        let (from, to) = (entry.path(), place.join(entry.file_name()));
        if from.is_file() {
            let draft = to.with_extension("new");
            std::fs::copy(&from, &draft).map_err(failed(&draft))?;
            std::fs::rename(&draft, &to).map_err(failed(&to))?;
        }
    }
    Ok(())
}

/// Waits until the daemon serves exactly this version; what it says against it ends the wait.
async fn serves(client: &Client, name: &str, digest: &str) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let plugins: Vec<PluginView> = client.get(&["plugins"]).await?;
        let found = plugins.iter().find(|plugin| plugin.name == name);
        if found.is_some_and(|plugin| plugin.digest.as_deref() == Some(digest)) {
            return Ok(());
        }
        let error = found.and_then(|plugin| plugin.error.clone());
        if began.elapsed() > SERVE_PATIENCE || (error.is_some() && began.elapsed() > 10 * LOOK_EVERY) {
            let why = match (error, found) {
                (Some(error), _) => error,
                (None, Some(plugin)) => format!("it is {}, with another version", plugin.state),
                (None, None) => "it does not know the plugin; is that its plugin directory?".to_owned(),
            };
            return Err(Failure::NotServed {
                plugin: name.to_owned(),
                why,
            });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A test failover and its clean-up, by the commands that a person would use: they follow the job and say how it ends.
async fn drill(plan: &str, context: &Context) -> Result<Exit, Failure> {
    let tested = landfall(&["failover", plan, "--kind", "test"], context).await?;
    let cleaned = landfall(&["cleanup", plan], context).await?;
    Ok(if tested && cleaned { Exit::Ok } else { Exit::JobFailed })
}

async fn landfall(arguments: &[&str], context: &Context) -> Result<bool, Failure> {
    let program = std::env::current_exe()?;
    let mut command = tokio::process::Command::new(&program);
    command.args(arguments).arg("--no-input");
    let connection = &context.connection;
    for (name, value) in [
        ("--token-file", &connection.token_file),
        ("--data-dir", &connection.data_dir),
    ] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    if let Some(server) = &connection.server {
        command.args(["--server", server]);
    }
    Ok(command.kill_on_drop(true).status().await?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_does_not_begin_another() {
        for source in ["src/lib.rs", "plugin.toml", "tests/a.toml", "app.py", "Cargo.toml"] {
            assert!(is_source(Path::new(source)), "{source}");
        }
        for other in [
            "target/x",
            "Cargo.lock",
            ".git/index",
            ".lib.rs.swp",
            "__pycache__/app.pyc",
            "",
        ] {
            assert!(!is_source(Path::new(other)), "{other}");
        }
    }
}
