//! Finds a Rust toolchain that can compile for WebAssembly, and says which it took.
//!
//! Most machines have rustup, and there one component is missing at most. Where it cannot be fetched, Debian's
//! `rustc-web` packages bring the standard library's source, and cargo compiles it once. The order is fixed, so that
//! two people on like machines build with the same compiler; nothing is installed that would need a privilege which
//! the caller does not already have.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

/// No operating system below it: a guest can reach only what it imports.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Where Debian puts its compiler; rustup's comes first on most paths and must not be picked up instead.
const DEBIAN_BIN: &str = "/usr/bin";

/// Compiler, cargo and the standard library's source, in versions that belong together.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Links WebAssembly, and is new enough for that compiler.
const DEBIAN_LINKER: &str = "lld-22";

/// rustc reads its linker through this variable; a cross target has no default one with Debian's compiler.
const LINKER: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";

/// How to call cargo so that it compiles guests.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// For people: which compiler, and why this one.
    pub(crate) name: String,
    pub(crate) cargo: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// No toolchain, with what would give one.
#[derive(Debug, Error)]
pub(crate) enum ToolchainError {
    /// Every way was tried.
    #[error(
        "no Rust toolchain here compiles for {TARGET}: {tried}\nrun one of\n    rustup target add {TARGET}\n    \
         sudo apt-get install {debian} {DEBIAN_LINKER}    (Debian 12 or later)\nand try again",
        debian = DEBIAN_PACKAGES.join(" ")
    )]
    None {
        /// What each way came to.
        tried: String,
    },
}

/// Searches in the order: the active toolchain, rustup's download, Debian's packages. `directory` is the workspace
/// to build, as a `rust-toolchain.toml` there chooses what is active. Progress goes to `notes`.
pub(crate) fn find(directory: &Path, notes: &mut dyn Write) -> Result<Toolchain, ToolchainError> {
    if let Some(toolchain) = active(directory, "already has the target") {
        return Ok(toolchain);
    }
    let mut tried = vec![format!("the active toolchain has no {TARGET}")];
    note(
        notes,
        &format!("The active Rust toolchain has no {TARGET}; asking rustup for it"),
    );
    match output(
        Command::new("rustup")
            .args(["target", "add", TARGET])
            .current_dir(directory),
    ) {
        Ok(_) => match active(directory, "rustup added the target") {
            Some(toolchain) => return Ok(toolchain),
            None => tried.push("rustup added the target, but the active rustc is not rustup's".to_owned()),
        },
        Err(why) => tried.push(format!("rustup target add: {why}")),
    }
    let missing = debian_missing();
    if !missing.is_empty()
        && let Err(why) = install_debian(&missing, notes)
    {
        tried.push(why);
    }
    debian().ok_or_else(|| ToolchainError::None {
        tried: tried.join("; "),
    })
}

/// The toolchain that plain `cargo` means in this directory, if it has the target's standard library.
fn active(directory: &Path, why: &str) -> Option<Toolchain> {
    let ask = |arguments: &[&str]| output(Command::new("rustc").args(arguments).current_dir(directory)).ok();
    let library = ask(&["--print", "target-libdir", "--target", TARGET])?;
    let core = |name: &str| name.starts_with("libcore-");
    let mut entries = fs::read_dir(library.trim()).ok()?.flatten();
    if !entries.any(|entry| core(&entry.file_name().to_string_lossy())) {
        return None;
    }
    Some(Toolchain {
        name: format!("{} (active toolchain, {why})", ask(&["--version"])?.trim()),
        cargo: PathBuf::from("cargo"),
        arguments: Vec::new(),
        environment: Vec::new(),
    })
}

/// The packages that are still to be installed, so that one call brings all of them.
fn debian_missing() -> Vec<&'static str> {
    let bin = Path::new(DEBIAN_BIN);
    let source = Path::new("/usr/lib/rustlib/src/rust/library/Cargo.toml");
    let complete = bin.join("rustc").exists() && bin.join("cargo").exists() && source.exists();
    let mut missing = if complete { Vec::new() } else { DEBIAN_PACKAGES.to_vec() };
    if linker().is_none() {
        missing.push(DEBIAN_LINKER);
    }
    missing
}

/// Debian's compiler, with the standard library compiled from source. `RUSTC_BOOTSTRAP` lets a stable compiler take
/// the `-Z` option for that.
fn debian() -> Option<Toolchain> {
    if !debian_missing().is_empty() {
        return None;
    }
    let rustc = Path::new(DEBIAN_BIN).join("rustc");
    let compiler = output(Command::new(&rustc).arg("--version")).ok()?;
    let mut path = OsString::from(format!("{DEBIAN_BIN}:"));
    path.push(std::env::var_os("PATH").unwrap_or_default());
    Some(Toolchain {
        name: format!(
            "{} (Debian's, with its standard library compiled from source)",
            compiler.trim()
        ),
        cargo: Path::new(DEBIAN_BIN).join("cargo"),
        arguments: vec!["-Zbuild-std=std,panic_abort".into()],
        environment: vec![
            ("RUSTC".into(), rustc.into()),
            ("RUSTC_BOOTSTRAP".into(), "1".into()),
            ("PATH".into(), path),
            (LINKER.into(), linker()?.into()),
        ],
    })
}

/// rustup's own linker if there is one, else a packaged LLD: both link WebAssembly. Debian's compiler comes with a
/// link to one that need not be installed, so a name alone proves nothing.
fn linker() -> Option<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    let targets = fs::read_dir(Path::new(sysroot.trim()).join("lib/rustlib"))
        .into_iter()
        .flatten()
        .flatten();
    let rustup = targets.map(|target| target.path().join("bin/rust-lld"));
    let mut packaged: Vec<PathBuf> = fs::read_dir(DEBIAN_BIN)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    packaged.retain(|path| path.file_name().is_some_and(|name| is_lld(&name.to_string_lossy())));
    // Newest first: an old one does not know what a new compiler asks of it.
    packaged.sort();
    rustup.chain(packaged.into_iter().rev()).find(|path| path.exists())
}

fn is_lld(name: &str) -> bool {
    name == "rust-lld" || name == "lld" || name.starts_with("lld-")
}

/// Installs Debian's packages if that takes no privilege beyond the caller's.
pub(super) fn install_debian(packages: &[&str], notes: &mut dyn Write) -> Result<(), String> {
    if !Path::new("/etc/debian_version").exists() {
        return Err("this is not Debian, whose packages were the last way".to_owned());
    }
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        return Err(format!("installing Debian's {} needs root", packages.join(", ")));
    }
    note(notes, &format!("Installing Debian's {}", packages.join(", ")));
    let apt_get = |arguments: &[&str]| {
        output(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // A package list that is too old is the usual reason for the first failure.
    apt_get(&install)
        .or_else(|_| apt_get(&["update"]).and_then(|_| apt_get(&install)))
        .map(|_| ())
        .map_err(|why| format!("apt-get install: {why}"))
}

/// Standard output of a command that must succeed; else its last words.
pub(super) fn output(command: &mut Command) -> Result<String, String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{} is not installed", command.get_program().to_string_lossy()),
            _ => error.to_string(),
        })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&done.stderr);
    let last = words
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it failed without a word");
    Err(last.trim().to_owned())
}

/// A note that cannot be written is no reason not to build.
pub(super) fn note(notes: &mut dyn Write, text: &str) {
    let _ = writeln!(notes, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_and_a_failed_one_are_told_apart() {
        let missing = output(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert_eq!(missing, "no-such-program-anywhere is not installed");
        let failed = output(Command::new("sh").args(["-c", "echo first >&2; echo why >&2; exit 3"])).unwrap_err();
        assert_eq!(failed, "why");
    }

    #[test]
    fn the_error_names_the_ways_on() {
        let text = ToolchainError::None {
            tried: "rustup is not installed".to_owned(),
        }
        .to_string();
        assert!(text.contains("rustup target add wasm32-unknown-unknown"), "{text}");
        assert!(
            text.contains("apt-get install rustc-web cargo-web rust-web-src lld-22"),
            "{text}"
        );
    }

    #[test]
    fn only_lld_links_webassembly() {
        assert!(is_lld("rust-lld") && is_lld("lld-22") && !is_lld("ld.bfd") && !is_lld("lldb"));
    }
}
