//! Compiled code on disk, so that a daemon with compiled plugins is ready at once.
//!
//! Loading compiled code means running whatever is in the file, and wasmtime cannot check that. Two things make it
//! safe here: the directory belongs to this user and nobody else can write to it (checked at start), and the bytes are
//! read into memory and compared with their checksum before use, so a torn or decayed file is compiled again. A MAC
//! would add nothing: its key would have to lie where the cache lies, and who can write there can read it. Compiled
//! code is never taken from a plugin's package. The key is the engine's own compatibility hash and the component's
//! digest, so another wasmtime or other settings never meet this file.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;
use xxhash_rust::xxh3::xxh3_128;

use crate::contract::plugin::Info;
use crate::inspect::Surface;
use crate::{digest, files};

/// A checksum of the rest stands in front. It finds decay and torn writes, and nobody else can write here; it runs at
/// the speed of memory, since it is computed over tens of megabytes at each start.
const CHECKSUM: usize = size_of::<u128>();

/// Then the length of the facts.
const LENGTH: usize = size_of::<u32>();

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
        let file = fs::read(&path).ok()?;
        let found = open(engine, &file);
        if found.is_none() {
            tracing::warn!(path = %path.display(), "cached code is damaged or of another engine; it is compiled again");
            let _ = fs::remove_file(&path);
        } else if let Ok(file) = fs::File::open(&path) {
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
        self.directory.join(format!("{component}.cwasm"))
    }

    /// Removes what was not used for longest, until the rest fits. The file that was just written stays.
    fn shrink(&self, largest: u64, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            files.push((about.modified()?, about.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= largest {
                break;
            }
            if path != newest {
                fs::remove_file(path)?;
                total = total.saturating_sub(size);
            }
        }
        Ok(())
    }
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

/// Checksum, length of the facts, facts, code.
fn open(engine: &Engine, file: &[u8]) -> Option<(Component, Facts)> {
    let (checksum, rest) = file.split_at_checked(CHECKSUM)?;
    if xxh3_128(rest).to_le_bytes() != checksum {
        return None;
    }
    let (length, rest) = rest.split_at_checked(LENGTH)?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let (facts, code) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let facts = serde_json::from_slice(facts).ok()?;
    // SAFETY: the bytes were written by `store` below, from `Component::serialize`: the directory is writable for this
    // user alone, and the checksum shows that they are unchanged. They are copied, so that a later change of the file
    // cannot reach running code.
    let component = unsafe { Component::deserialize(engine, code) }.ok()?;
    Some((component, facts))
}

fn store(path: &Path, compiled: &Component, facts: &Facts) -> wasmtime::Result<()> {
    let facts = serde_json::to_vec(facts)?;
    let length = u32::try_from(facts.len())?.to_le_bytes();
    let rest = [length.as_slice(), &facts, &compiled.serialize()?].concat();
    let temporary = files::temporary_beside(path)?;
    let written = files::write_synced(&temporary, &[&xxh3_128(&rest).to_le_bytes(), &rest]);
    let published = written.and_then(|()| files::publish(&temporary, path));
    if published.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    Ok(published?)
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
