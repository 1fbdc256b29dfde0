//! The checked-in files that come out of the program: written by `generate`, compared by `drift`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{build, requirements, say};

/// Which command of `landfall` prints which file.
const PRINTED: [(&str, &[&str]); 6] = [
    ("docs/cli.md", &["reference"]),
    ("docs/operations.md", &["reference", "--operations"]),
    ("schemas/plan.json", &["plan", "schema"]),
    ("schemas/inventory.json", &["inventory", "schema"]),
    ("schemas/plugin-case.json", &["plugin", "test", "--schema"]),
    ("schemas/openapi.json", &["daemon", "openapi"]),
];

/// A file as it should be.
pub(crate) struct Generated {
    /// Relative to the repository.
    pub(crate) path: &'static str,
    pub(crate) text: String,
}

/// Every generated file as it should be.
pub(crate) fn all() -> Result<Vec<Generated>> {
    let landfall = build::landfall()?;
    let mut files = vec![Generated {
        path: requirements::PATH,
        text: requirements::table()?,
    }];
    for (path, arguments) in PRINTED {
        let text = build::output(Command::new(&landfall).args(arguments).current_dir(build::root()))?;
        files.push(Generated {
            path,
            text: format!("{}\n", text.trim_end()),
        });
    }
    Ok(files)
}

/// Writes what differs.
pub(crate) fn run() -> Result<()> {
    for file in all()? {
        let path = build::root().join(file.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        fs::write(&path, file.text).with_context(|| format!("cannot write {}", file.path))?;
        say(&format!("wrote {}", file.path));
    }
    Ok(())
}
