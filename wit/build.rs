//! Lays out directories that WIT tools can read, one for the contract and one for each frozen version of it: our files,
//! and under `deps` the WASI packages they name.
//!
//! The WASI text is taken from the `wasip2` crate that Cargo resolved, so this repository holds no copy of it and the
//! version stands in one place, the lock file.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// `http` names `io` and `clocks`, and its package has a world that names the others.
const PACKAGES: [&str; 7] = [
    "cli.wit",
    "clocks.wit",
    "filesystem.wit",
    "http.wit",
    "io.wit",
    "random.wit",
    "sockets.wit",
];

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let wasi = wasi_directory(&here)?;
    println!("cargo::rerun-if-changed={}", here.display());
    lay_out(&here, &wasi, &out.join("wit"))?;
    fs::write(out.join("files.rs"), table(&out.join("wit"))?)?;
    println!("cargo::rustc-env=LANDFALL_CONTRACT={}", version(&here)?);

    let frozen = here.join("frozen");
    let mut versions = String::from("&[\n");
    for entry in fs::read_dir(&frozen)? {
        let path = entry?.path();
        if path.is_dir() {
            let laid_out = out
                .join("frozen")
                .join(path.file_name().ok_or("a version without a name")?);
            lay_out(&path, &wasi, &laid_out)?;
            writeln!(
                versions,
                "    ({:?}, {:?}),",
                version(&path)?,
                laid_out.display().to_string()
            )?;
        }
    }
    versions.push(']');
    fs::write(out.join("frozen.rs"), versions)?;
    Ok(())
}

/// Copies the WIT files of one directory, with the WASI packages under `deps`.
fn lay_out(from: &Path, wasi: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let deps = to.join("deps");
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(&deps)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            copy_into(&path, to)?;
        }
    }
    for package in PACKAGES {
        copy_into(&wasi.join(package), &deps)?;
    }
    Ok(())
}

/// Every file below the directory, as a slice of path and text.
fn table(directory: &Path) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for folder in ["", "deps/"] {
        for entry in fs::read_dir(directory.join(folder))? {
            let path = entry?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                let (name, path) = (name.to_string_lossy(), path.to_str().ok_or("a path that is no text")?);
                rows.push(format!("({:?}, include_str!({path:?}))", format!("{folder}{name}")));
            }
        }
    }
    rows.sort();
    Ok(format!("&[{}]", rows.join(", ")))
}

/// What the files say that their package's version is.
fn version(directory: &Path) -> Result<String, Box<dyn Error>> {
    let types = fs::read_to_string(directory.join("types.wit"))?;
    let line = types
        .lines()
        .find_map(|line| line.strip_prefix("package landfall:plugin@"));
    let version = line
        .and_then(|line| line.strip_suffix(';'))
        .ok_or("types.wit names no package version")?;
    Ok(version.to_owned())
}

fn copy_into(file: &Path, directory: &Path) -> Result<(), Box<dyn Error>> {
    let name = file.file_name().ok_or("a file without a name")?;
    fs::copy(file, directory.join(name)).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(())
}

/// Where Cargo unpacked `wasip2`.
fn wasi_directory(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var("CARGO")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(here.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata
        .get("packages")
        .and_then(|packages| packages.as_array())
        .ok_or("cargo metadata lists no packages")?;
    let manifest = packages
        .iter()
        .find(|package| {
            text(package, "name") == Some("wasip2") && text(package, "version").is_some_and(|v| v.starts_with("2."))
        })
        .and_then(|package| text(package, "manifest_path"))
        .ok_or("wasip2 is not among the packages that Cargo resolved")?;
    let directory = Path::new(manifest).parent().ok_or("wasip2 has no directory")?;
    Ok(directory.join("wit").join("deps"))
}

fn text<'a>(package: &'a serde_json::Value, key: &str) -> Option<&'a str> {
    package.get(key)?.as_str()
}
