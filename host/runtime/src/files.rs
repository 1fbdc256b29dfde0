//! Files that are there whole or not at all: written beside, synchronised, renamed. Nothing is overwritten in place,
//! since another process may have it mapped.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Only the host's user: what lies in there is executed.
const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Write permission for group or others.
const FOREIGN_WRITE: u32 = 0o022;

/// Makes a directory that only this user can enter, or checks that an existing one is like that.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path)?;
    let found = fs::symlink_metadata(path)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !ours || found.mode() & FOREIGN_WRITE != 0 {
        let why = format!(
            "{} must be a directory that belongs to this user and that no one else can write",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// Why what lies here is as good as anybody's: neither this user nor root owns it, or everybody can write it.
pub(crate) fn foreign(about: &fs::Metadata) -> Option<&'static str> {
    let me = rustix::process::geteuid().as_raw();
    if about.uid() != me && about.uid() != 0 {
        Some("belongs to another user than the daemon's, or root")
    } else if about.mode() & WRITABLE_BY_ALL != 0 {
        Some("can be written by everybody")
    } else {
        None
    }
}

/// Write permission for everybody.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Writes a new file and makes it durable.
pub(crate) fn write_synced(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Gives a finished file or directory its name, durably.
pub(crate) fn publish(temporary: &Path, name: &Path) -> io::Result<()> {
    fs::rename(temporary, name)?;
    match name.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A name beside `path` that nobody else uses: process and a number drawn at random.
pub(crate) fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = std::ffi::OsString::from(".new-");
    name.push(crate::digest::hex(&random));
    Ok(path.with_file_name(name))
}
