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
use std::{fs, io};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{digest, files};

/// SHA-256 of the rest stands in front.
const CHECKSUM: usize = 32;

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

    /// The compiled component, from the cache or compiled now. Blocks for as long as compiling takes.
    pub(crate) fn load(&self, engine: &Engine, component: &[u8]) -> wasmtime::Result<(Component, Origin)> {
        let path = self.directory.join(format!("{}.cwasm", digest::sha256(&[component])));
        if let Some(found) = read(engine, &path) {
            return Ok((found, Origin::Cache));
        }
        let compiled = Component::from_binary(engine, component)?;
        if let Err(error) = store(&path, &compiled) {
            tracing::warn!(error = format!("{error:#}"), path = %path.display(), "compiled code was not cached");
        }
        Ok((compiled, Origin::Compiler))
    }
}

/// Where a loaded component's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled now.
    Compiler,
    /// Compiled earlier.
    Cache,
}

fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let file = fs::read(path).ok()?;
    let (checksum, code) = file.split_at_checked(CHECKSUM)?;
    let usable = if Sha256::digest(code).as_slice() == checksum {
        // SAFETY: the bytes were written by `store` below, from `Component::serialize`: the directory is writable for
        // this user alone, and the checksum shows that they are unchanged. They are copied, so that a later change of
        // the file cannot reach running code.
        unsafe { Component::deserialize(engine, code) }.ok()
    } else {
        None
    };
    if usable.is_none() {
        tracing::warn!(path = %path.display(), "cached code is damaged or of another engine; it is compiled again");
        let _ = fs::remove_file(path);
    }
    usable
}

fn store(path: &Path, compiled: &Component) -> wasmtime::Result<()> {
    let code = compiled.serialize()?;
    let temporary = files::temporary_beside(path)?;
    let written = files::write_synced(&temporary, &[&Sha256::digest(&code), &code]);
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
