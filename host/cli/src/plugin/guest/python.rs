//! Python: `componentize-py` runs the modules once, up to their definitions, and keeps the interpreter as it is then.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{GuestError, Project, Tool, io, lay_out_sdk, write};
use crate::plugin::world::{self, World};

/// Names of bindings that would depend on what else a world imports.
const FIXED_NAMES: [(&str, &str); 2] = [
    ("landfall:plugin/types", "types"),
    ("wasi:http/types", "wasi_http_types"),
];

/// The main module; no plugin's file is called so.
const MAIN: &str = "landfall_main";

pub(super) fn make(project: &Project, tool: &Tool, world: &World, component: &Path) -> Result<(), GuestError> {
    let work = project.work();
    lay_out_sdk("python/landfall", &work.join("sdk").join("landfall"))?;
    write(&work.join("main").join(format!("{MAIN}.py")), &main(project))?;
    // Else the packages of whoever builds would go in; what a plugin needs lies in its `vendor`.
    write(&work.join("no-packages").join("site-packages").join("README"), "")?;
    run(project, tool, world, &["bindings".into(), work.join("bindings")])?;
    let mut arguments: Vec<PathBuf> = vec!["componentize".into()];
    let vendor = project.directory.join("vendor");
    for path in [&work.join("main"), &work.join("sdk"), &project.directory, &vendor] {
        if path.exists() {
            arguments.extend(["--python-path".into(), path.clone()]);
        }
    }
    arguments.extend(["--output".into(), component.to_owned(), MAIN.into()]);
    run(project, tool, world, &arguments)
}

/// Ties the author's module to the SDK. JSON is Python, but for the three words that do not occur here.
fn main(project: &Project) -> String {
    let module = project.entry.trim_end_matches(".py").replace('/', ".");
    let about = serde_json::json!(project.about());
    let glue = project.glue();
    // While the module is run there is no host yet, so what it prints then is for its author.
    format!(
        "import importlib\n\nfrom landfall import _{glue}, log\n\nmodule = importlib.import_module({module:?})\n\
         globals().update(_{glue}.exports(module, {about}))\nlog._take_over(module)\n"
    )
}

fn run(project: &Project, tool: &Tool, world: &World, arguments: &[PathBuf]) -> Result<(), GuestError> {
    let work = project.work();
    let wit = work.join("wit");
    let mut command = Command::new(&tool.path);
    command.arg("--wit-path").arg(&wit).args(["--world", world::NAME]);
    for (interface, name) in FIXED_NAMES {
        let full = world
            .imports
            .iter()
            .find(|import| import.split('@').next() == Some(interface));
        if let Some(full) = full {
            command.arg("--import-interface-name").arg(format!("{full}={name}"));
        }
    }
    let done = command
        .args(arguments)
        .current_dir(&project.directory)
        .env("VIRTUAL_ENV", work.join("no-packages"))
        // The tool's own frames say nothing to the author.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| io("run", &tool.path, source))?;
    if done.status.success() {
        return Ok(());
    }
    Err(GuestError::Source {
        tool: "componentize-py",
        entry: project.directory.join(&project.entry),
        why: words(&String::from_utf8_lossy(&done.stderr)),
    })
}

/// The author's traceback out of the tool's own around it.
fn words(all: &str) -> String {
    let inner = all.split_once("AssertionError: ").map_or(all, |(_, inner)| inner);
    let inner = inner.split("\n\nCaused by:").next().unwrap_or(inner);
    inner.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_authors_traceback_is_shown() {
        let all = "Traceback (most recent call last):\n  File \"/x/bin/componentize-py\", line 8, in <module>\n    \
                   sys.exit(script())\nAssertionError: Traceback (most recent call last):\n  File \"/1/app.py\", line 3, in \
                   <module>\n    oops\nNameError: name 'oops' is not defined\n\n\nCaused by:\n    NameError: name\n";
        let shown = words(all);
        assert!(
            shown.starts_with("Traceback") && shown.ends_with("is not defined"),
            "{shown}"
        );
        assert_eq!(words("no such option\n"), "no such option");
    }
}
