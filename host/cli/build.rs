//! Puts the SDKs into the program, so that an installed `landfall` builds plugins where no checkout is.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Left behind by tools when somebody works on an SDK in place.
const NOT_OURS: [&str; 4] = ["__pycache__", "node_modules", "target", ".pytest_cache"];

fn main() -> Result<(), Box<dyn Error>> {
    let sdk = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .join("../../sdk")
        .canonicalize()?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", sdk.display());
    let mut rows = Vec::new();
    collect(&sdk, "", &mut rows)?;
    rows.sort();
    let table = format!("&[{}]", rows.join(", "));
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("sdk.rs"), table)?;
    Ok(())
}

/// One row `(path below sdk, bytes)` for every file.
fn collect(directory: &Path, prefix: &str, rows: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("a name that is no text")?;
        let below = format!("{prefix}{name}");
        if NOT_OURS.contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{below}/"), rows)?;
        } else {
            let whole = path.to_str().ok_or("a path that is no text")?;
            rows.push(format!("({below:?}, include_bytes!({whole:?}))"));
        }
    }
    Ok(())
}
