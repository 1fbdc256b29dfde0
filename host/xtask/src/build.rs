//! Builds what the other commands need, and says where it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What was built.
pub(crate) struct Built {
    /// The program.
    pub(crate) landfall: PathBuf,
    /// The directory of all plugins.
    pub(crate) plugins: PathBuf,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    // cargo runs xtask from anywhere in the workspace, but always says where xtask's own manifest is.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .ancestors()
        .nth(2)
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// cargo, in the repository.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command that must succeed. What it prints is shown as it comes.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Standard output of a command that must succeed; its stderr is shown as it comes.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !done.status.success() {
        bail!("`{shown}` failed: {}", done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{shown}` printed no text"))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// One line of cargo's messages; most have no executable.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// Builds `landfall`.
pub(crate) fn landfall() -> Result<PathBuf> {
    program("landfall", &["--bin", "landfall"])
}

/// Builds the library that tests of a failing disk put between the daemon and the system: cargo builds programs for
/// tests by itself, but not libraries of this kind.
pub(crate) fn shim() -> Result<()> {
    check(&mut cargo(&["build", "--package", "landfall-shim"]))
}

/// Builds what `options` choose, and asks cargo where it put the program of this name.
///
/// The whole workspace is selected, although few programs are wanted: so features are chosen as they are for the
/// tests, and wasmtime is not compiled a second time.
pub(crate) fn program(name: &str, options: &[&str]) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--workspace", "--message-format", "json-render-diagnostics"]);
    let messages = output(build.args(options))?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages
        .filter_map(|message| message.executable)
        .find(|path| path.file_stem().is_some_and(|stem| stem == name))
        .with_context(|| format!("cargo built no `{name}`"))
}

/// Builds program and plugins.
pub(crate) fn plugins() -> Result<Built> {
    let landfall = landfall()?;
    let answer = output(
        Command::new(&landfall)
            .args(["plugin", "build", "--all", "--output", "json"])
            .current_dir(root()),
    )?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("`landfall plugin build` printed no JSON")?;
    let directory = answer
        .pointer("/plugins/0/directory")
        .and_then(serde_json::Value::as_str);
    let plugins = directory
        .map(Path::new)
        .and_then(Path::parent)
        .context("`landfall plugin build` built no plugin")?;
    Ok(Built {
        landfall,
        plugins: plugins.to_owned(),
    })
}
