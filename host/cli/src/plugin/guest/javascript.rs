//! JavaScript and TypeScript: `esbuild` makes one file of the author's, the SDK's and what they import, and
//! `componentize-js` runs it once, up to its definitions, and keeps the engine as it is then.

use std::path::Path;
use std::process::{Command, Stdio};

use landfall_runtime::Interface;

use super::{GuestError, Project, Tool, io, lay_out_sdk, write};
use crate::plugin::sdk;
use crate::plugin::world::{self, World};

pub(super) fn make(project: &Project, tool: &Tool, world: &World, component: &Path) -> Result<(), GuestError> {
    let work = project.work();
    lay_out_sdk("js/landfall", &work.join("landfall"))?;
    let script = work.join("build.mjs");
    let text = sdk::file("js/tools/build.mjs").unwrap_or_default();
    write(&script, &String::from_utf8_lossy(text))?;
    let requested: Vec<Interface> = Interface::ALL
        .into_iter()
        .filter(|interface| project.manifest.requests.include(*interface))
        .collect();
    let exports: Vec<String> = world.exports.iter().map(|name| camel_case(name)).collect();
    let order = serde_json::json!({
        "about": project.about(),
        "directory": project.directory,
        "entry": project.directory.join(&project.entry),
        "glue": project.glue(),
        "imports": world.imports,
        "exports": exports,
        "out": component,
        "requested": requested,
        "sdk": work.join("landfall"),
        "tools": tool.path,
        "wit": work.join("wit"),
        "work": work,
        "world": world::NAME,
    });
    let done = Command::new("node")
        .arg(&script)
        .arg(order.to_string())
        .current_dir(&project.directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| io("run", Path::new("node"), source))?;
    if done.status.success() {
        return Ok(());
    }
    Err(GuestError::Source {
        tool: "componentize-js",
        entry: project.directory.join(&project.entry),
        why: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    })
}

/// JavaScript's name of an interface.
fn camel_case(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_ascii_uppercase() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_named_as_javascript_does() {
        assert_eq!(camel_case("runbook-run"), "runbookRun");
        assert_eq!(camel_case("plugin"), "plugin");
    }
}
