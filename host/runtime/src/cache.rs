//! Compiled code on disk, so that a daemon with compiled plugins is ready at once.
//!
//! Loading compiled code means running whatever is in the file, and wasmtime cannot check that. Two things make it
//! safe here: the directory belongs to this user and nobody else can write to it (checked at start), and the whole file
//! is compared with its checksum before use, so a torn or decayed one is compiled again. A MAC would add nothing: its
//! key would have to lie where the cache lies, and who can write there can read it. Compiled code is never taken from a
//! plugin's package. The key is the engine's own compatibility hash and the component's digest, so another wasmtime or
//! other settings never meet this file.
//!
//! The file is mapped and not copied, since an interpreter's code has tens of megabytes. That holds because no file here
//! is ever written to again: one that is replaced or removed lives on for who has it mapped.

use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;
use xxhash_rust::xxh3::Xxh3;

use crate::contract::plugin::Info;
use crate::inspect::Surface;
use crate::{digest, files};

/// Code is read in pieces of this size to be compared with its checksum: they stay in the processor's cache.
const PIECE: usize = 256 << 10;

/// All compiled code together: a hundred interpreters, or some thousand Rust plugins.
const LARGEST: u64 = 2 << 30;

/// Raised when what is found out about a component changes its meaning; it is part of the directory's name, with the
/// version of this program.
const FACTS: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// What was found out about a component when it was compiled, so that a later load asks nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) surface: Surface,
    pub(crate) info: Described,
}

/// What it says of itself, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Described {
    name: String,
    version: String,
    kind: String,
    summary: String,
    config_schema: Option<String>,
    findings: Vec<(String, String)>,
    ext: Vec<(String, String)>,
}

impl From<&Info> for Described {
    fn from(info: &Info) -> Self {
        Self {
            name: info.name.clone(),
            version: info.version.clone(),
            kind: info.kind.clone(),
            summary: info.summary.clone(),
            config_schema: info.config_schema.clone(),
            findings: info.findings.clone(),
            ext: info.ext.clone(),
        }
    }
}

impl From<Described> for Info {
    fn from(known: Described) -> Self {
        Self {
            name: known.name,
            version: known.version,
            kind: known.kind,
            summary: known.summary,
            config_schema: known.config_schema,
            findings: known.findings,
            ext: known.ext,
        }
    }
}

#[derive(Debug)]
pub(crate) struct CodeCache {
    directory: PathBuf,
}

impl CodeCache {
    /// Opens the directory for this engine and forgets those of other engines: nobody reads them again.
    pub(crate) fn open(root: &Path, engine: &Engine) -> io::Result<Self> {
        files::private_directory(root)?;
        let mut key = KeyHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut key);
        key.write(FACTS.as_bytes());
        let directory = root.join(digest::hex(&key.0.finalize()));
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            if path != directory && path.is_dir() {
                // A leftover costs only space.
                let _ = fs::remove_dir_all(path);
            }
        }
        files::private_directory(&directory)?;
        Ok(Self { directory })
    }

    /// What was compiled earlier from the component of this digest, if it is there and whole.
    pub(crate) fn read(&self, engine: &Engine, component: &str) -> Option<(Component, Facts)> {
        let path = self.path(component);
        let file = fs::File::open(&path).ok()?;
        let found = open(engine, &path, &file);
        if found.is_none() {
            tracing::warn!(path = %path.display(), "cached code is damaged or of another engine; it is compiled again");
            let _ = remove(&path);
        } else {
            // What was used last is kept longest.
            let _ = file.set_modified(now());
        }
        found
    }

    /// Keeps compiled code. That it could not be kept costs time at the next load and nothing else.
    pub(crate) fn store(&self, component: &str, compiled: &Component, facts: &Facts) {
        let path = self.path(component);
        let kept = store(&path, compiled, facts).and_then(|()| Ok(self.shrink(LARGEST, &path)?));
        if let Err(error) = kept {
            tracing::warn!(error = format!("{error:#}"), path = %path.display(), "compiled code was not cached");
        }
    }

    fn path(&self, component: &str) -> PathBuf {
        self.directory.join(format!("{component}.{CODE}"))
    }

    /// Removes what was not used for longest, until the rest fits. The file that was just written stays.
    fn shrink(&self, largest: u64, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == CODE) {
                let about = fs::metadata(&path)?;
                files.push((about.modified()?, about.len(), path));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= largest {
                break;
            }
            if path != newest {
                remove(&path)?;
                total = total.saturating_sub(size);
            }
        }
        Ok(())
    }
}

/// Ending of the files with code.
const CODE: &str = "cwasm";

/// What stands beside the code.
#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    /// JSON of [`Facts`].
    facts: String,
    /// Of the code and the facts. It finds decay and torn writes, and nobody else can write here.
    checksum: String,
}

fn beside(code: &Path) -> PathBuf {
    code.with_extension("json")
}

/// The code last: what stands beside it means nothing without it.
fn remove(code: &Path) -> io::Result<()> {
    let _ = fs::remove_file(beside(code));
    fs::remove_file(code)
}

#[expect(
    clippy::disallowed_methods,
    reason = "orders files by use; nothing else is decided by it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Where a loaded component's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled now.
    Compiler,
    /// Compiled earlier.
    Cache,
}

fn open(engine: &Engine, path: &Path, code: &fs::File) -> Option<(Component, Facts)> {
    let beside: Beside = serde_json::from_slice(&fs::read(beside(path)).ok()?).ok()?;
    let facts = serde_json::from_str(&beside.facts).ok()?;
    if checksum(code, &beside.facts).ok()? != beside.checksum {
        return None;
    }
    // SAFETY: the file was written by `store` below, from `Component::serialize`: the directory is writable for this
    // user alone, and the checksum shows that it is unchanged. It is never written to again, only removed or replaced
    // by renaming, which leaves what is mapped as it is.
    let component = unsafe { Component::deserialize_file(engine, path) }.ok()?;
    Some((component, facts))
}

fn store(path: &Path, compiled: &Component, facts: &Facts) -> wasmtime::Result<()> {
    let code = compiled.serialize()?;
    let facts = serde_json::to_string(facts)?;
    let checksum = checksum(code.as_slice(), &facts)?;
    put(path, &code)?;
    put(&beside(path), &serde_json::to_vec(&Beside { facts, checksum })?)?;
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = files::temporary_beside(path)?;
    let published = files::write_synced(&temporary, &[bytes]).and_then(|()| files::publish(&temporary, path));
    if published.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    published
}

/// It runs at the speed of memory, since it goes over tens of megabytes at each start.
fn checksum(mut code: impl Read, facts: &str) -> io::Result<String> {
    let mut sum = Xxh3::new();
    let mut piece = vec![0; PIECE];
    loop {
        match code.read(&mut piece)? {
            0 => break,
            length => sum.update(piece.get(..length).unwrap_or_default()),
        }
    }
    sum.update(facts.as_bytes());
    Ok(digest::hex(&sum.digest128().to_le_bytes()))
}

/// Feeds a `Hash` to SHA-256: the standard hasher's values may change between compilers.
struct KeyHasher(Sha256);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never asked: the digest is taken instead.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let place = tempfile::TempDir::new().unwrap();
        let cache = CodeCache::open(&place.path().join("cache"), &Engine::default()).unwrap();
        let path = |name: &str| cache.path(name);
        for (age, name) in [(30, "a"), (10, "b"), (20, "c")] {
            fs::write(path(name), [0; 100]).unwrap();
            let file = fs::File::options().write(true).open(path(name)).unwrap();
            file.set_modified(now() - std::time::Duration::from_secs(age)).unwrap();
        }
        cache.shrink(300, &path("b")).unwrap();
        assert!(path("a").exists());
        cache.shrink(150, &path("b")).unwrap();
        assert!(!path("a").exists() && !path("c").exists() && path("b").exists());
        cache.shrink(0, &path("b")).unwrap();
        assert!(path("b").exists());
    }

    #[test]
    fn c05_a_cache_that_somebody_else_could_write_to_is_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let place = tempfile::TempDir::new().unwrap();
        let open = |path: &Path| {
            CodeCache::open(path, &Engine::default())
                .map(|_| ())
                .unwrap_err()
                .kind()
        };
        for mode in [0o770, 0o707, 0o777] {
            let path = place.path().join(format!("{mode:o}"));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open(&path), io::ErrorKind::PermissionDenied, "{mode:o}");
        }
        let (real, link) = (place.path().join("real"), place.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert_eq!(open(&link), io::ErrorKind::PermissionDenied);
        // Where the test may, somebody else's directory too.
        if std::os::unix::fs::chown(&real, Some(65_534), None).is_ok() {
            fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
            assert_eq!(open(&real), io::ErrorKind::PermissionDenied);
        }
    }
}
