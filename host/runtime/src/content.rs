//! The content store: every plugin version that was ever loaded, under its digest, as a directory like the author's.
//!
//! Jobs pin digests, and the author's directory changes under them. So a plugin is copied here before anything else is
//! done with it, and what runs is always this copy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::trust::Signed;
use crate::{digest, files};

/// The manifest's file name, here and at the author's.
pub(crate) const MANIFEST: &str = "plugin.toml";

/// The component's name here, whatever the author calls it.
const COMPONENT: &str = "component.wasm";

/// The checksums and their signature: one file, so that the two always belong together.
const SIGNED: &str = "signed.json";

#[derive(Debug)]
pub(crate) struct ContentStore {
    directory: PathBuf,
}

/// The bytes of one version.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) manifest: Vec<u8>,
    pub(crate) component: Vec<u8>,
    /// Who vouches for it, if anybody does.
    pub(crate) signed: Option<Signed>,
}

impl ContentStore {
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        files::private_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Keeps this version; nothing happens if it is there already.
    pub(crate) fn keep(&self, digits: &str, content: &Content) -> io::Result<()> {
        let place = self.directory.join(digits);
        if place.is_dir() {
            return self.keep_signature(&place, content.signed.as_ref());
        }
        let temporary = files::temporary_beside(&place)?;
        let kept = write(&temporary, content).and_then(|()| files::publish(&temporary, &place));
        if kept.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        match kept {
            // Another load of the same version was faster.
            Err(_) if place.is_dir() => Ok(()),
            kept => kept,
        }
    }

    /// Reads a version back; `NotFound` if it was never kept.
    pub(crate) fn read(&self, digits: &str) -> io::Result<Content> {
        let place = self.directory.join(digits);
        Ok(Content {
            manifest: fs::read(place.join(MANIFEST))?,
            component: fs::read(place.join(COMPONENT))?,
            signed: match fs::read(place.join(SIGNED)) {
                Ok(bytes) => serde_json::from_slice(&bytes).ok(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        })
    }

    /// A version that was kept unsigned, or signed by somebody else, may be signed later.
    fn keep_signature(&self, place: &Path, signed: Option<&Signed>) -> io::Result<()> {
        let Some(signed) = signed else { return Ok(()) };
        let (path, bytes) = (place.join(SIGNED), serde_json::to_vec(signed)?);
        if fs::read(&path).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        let temporary = files::temporary_beside(&self.directory.join(SIGNED))?;
        files::write_synced(&temporary, &[&bytes]).and_then(|()| files::publish(&temporary, &path))
    }

    /// Removes a version that is damaged, so that its files can be put back.
    pub(crate) fn forget(&self, digits: &str) -> io::Result<()> {
        let place = self.directory.join(digits);
        // Renamed first: a version is there whole or not at all.
        let temporary = files::temporary_beside(&place)?;
        fs::rename(&place, &temporary)?;
        fs::remove_dir_all(&temporary)
    }

    /// Digests of all versions.
    pub(crate) fn list(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let digest = format!("sha256:{}", entry?.file_name().to_string_lossy());
            if digest::digits(&digest).is_some() {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// Removes versions that are not among these; gives their digests.
    pub(crate) fn forget_all_but(&self, kept: &BTreeSet<String>) -> io::Result<Vec<String>> {
        let mut removed = self.list()?;
        removed.retain(|digest| !kept.contains(digest));
        for digest in &removed {
            if let Some(digits) = digest::digits(digest) {
                self.forget(digits)?;
            }
        }
        Ok(removed)
    }
}

fn write(temporary: &Path, content: &Content) -> io::Result<()> {
    files::private_directory(temporary)?;
    files::write_synced(&temporary.join(COMPONENT), &[&content.component])?;
    files::write_synced(&temporary.join(MANIFEST), &[&content.manifest])?;
    if let Some(signed) = &content.signed {
        files::write_synced(&temporary.join(SIGNED), &[&serde_json::to_vec(signed)?])?;
    }
    files::sync_directory(temporary)
}
