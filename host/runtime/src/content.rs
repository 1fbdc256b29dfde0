//! The content store: every plugin version that was ever loaded, under its digest, as a directory like the author's.
//!
//! Jobs pin digests, and the author's directory changes under them. So a plugin is copied here before anything else is
//! done with it, and what runs is always this copy.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::files;

/// The manifest's file name, here and at the author's.
pub(crate) const MANIFEST: &str = "plugin.toml";

/// The component's name here, whatever the author calls it.
const COMPONENT: &str = "component.wasm";

#[derive(Debug)]
pub(crate) struct ContentStore {
    directory: PathBuf,
}

/// The bytes of one version.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) manifest: Vec<u8>,
    pub(crate) component: Vec<u8>,
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
            return Ok(());
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
        })
    }
}

fn write(temporary: &Path, content: &Content) -> io::Result<()> {
    files::private_directory(temporary)?;
    files::write_synced(&temporary.join(COMPONENT), &[&content.component])?;
    files::write_synced(&temporary.join(MANIFEST), &[&content.manifest])?;
    files::sync_directory(temporary)
}
