//! The processes of a test: started from the binary beside it, and ended by their own ids, however the test ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::eventually;

/// Lines of a process's log that are worth showing when its test fails.
const LOG_SHOWN: usize = 60;

/// The program under test, built beforehand: a test that built it would wait for cargo's own lock.
pub(crate) fn binary() -> PathBuf {
    // The fault battery has one with crash points.
    if let Some(given) = std::env::var_os("LANDFALL_IT_BINARY") {
        return given.into();
    }
    let exe = std::env::current_exe().expect("the test knows where it is");
    let profile = exe.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let binary = profile.join("landfall");
    assert!(
        binary.is_file(),
        "{} is missing; build it with `cargo build -p landfall`",
        binary.display()
    );
    binary
}

/// What the tests need of the plugins that ship; each costs every test's daemon the time to compile it.
pub(crate) const PLUGINS: [&str; 5] = ["lab", "standard", "webhook", "http-check", "wait"];

/// The plugins that ship, built beforehand.
pub(crate) fn plugins() -> PathBuf {
    let exe = std::env::current_exe().expect("the test knows where it is");
    let target = exe.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    let plugins = target.join("plugins");
    for name in PLUGINS {
        let component = plugins.join(name).join(format!("{name}.wasm"));
        assert!(
            component.is_file(),
            "{} is missing; build it with `cargo run -p landfall -- plugin build --all`",
            component.display()
        );
    }
    plugins
}

/// One that runs. Dropped, it is killed; if the test fails, the end of its log is shown.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts one, and gives what it wrote into its ready file.
    pub(crate) fn start(name: &str, directory: &Path, arguments: &[&str]) -> (Self, String) {
        let ready = directory.join(format!("{name}.ready"));
        // One that ran before under this name left its own.
        let _ = fs::remove_file(&ready);
        let mut process = Self::spawn(name, directory, &[arguments, &["--ready-file", path(&ready)]].concat());
        let url = eventually(&format!("the {name} becomes ready"), || {
            let ended = process.child.try_wait().expect("a process can be asked for");
            assert!(ended.is_none(), "the {name} ended at once: {ended:?}");
            fs::read_to_string(&ready).ok()
        });
        (process, url.trim().to_owned())
    }

    /// Starts one that may die at any time: none if it did before it was ready.
    pub(crate) fn try_start(name: &str, directory: &Path, arguments: &[&str]) -> Option<(Self, String)> {
        let ready = directory.join(format!("{name}.ready"));
        let _ = fs::remove_file(&ready);
        let mut process = Self::spawn(name, directory, &[arguments, &["--ready-file", path(&ready)]].concat());
        let url = eventually(&format!("the {name} becomes ready or dies"), || {
            if process.has_ended() {
                return Some(None);
            }
            fs::read_to_string(&ready).ok().map(Some)
        })?;
        Some((process, url.trim().to_owned()))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a process can be asked for").is_some()
    }

    fn spawn(name: &str, directory: &Path, arguments: &[&str]) -> Self {
        // What the battery preloads, and how, stands in a file: the test's own environment is everybody's.
        let preload = fs::read_to_string(directory.join(format!("{name}.preload"))).unwrap_or_default();
        let preload = preload.lines().filter_map(|line| line.split_once('='));
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.expect("the log can be written");
        let child = Command::new(binary())
            .args(arguments)
            .current_dir(directory)
            .env_remove("LANDFALL_DATA")
            .env_remove("LANDFALL_SERVER")
            .env_remove("LANDFALL_TOKEN_FILE")
            .env_remove("LANDFALL_LOG")
            .envs(preload)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Self { child, log }
    }

    /// SIGKILL: it gets no chance to tidy up. Gives back once it is gone.
    pub(crate) fn kill(&mut self) {
        // One that is gone already is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_SHOWN)..];
            eprintln!("--- {}\n{}", self.log.display(), shown.join("\n"));
        }
    }
}

/// The library that stands between a process and its disk and clock; `cargo xtask test` and `battery` build it.
pub(crate) fn shim() -> PathBuf {
    let exe = std::env::current_exe().expect("the test knows where it is");
    let shim = exe
        .ancestors()
        .nth(2)
        .expect("target/PROFILE")
        .join("liblandfall_shim.so");
    assert!(
        shim.is_file(),
        "{} is missing; `cargo build --workspace` builds it",
        shim.display()
    );
    shim
}

/// Temporary directories have plain names.
pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
