//! The data directory: private to its user, and to one daemon.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::StoreError;

/// The lock is held as long as this lives; the system releases it when the process dies.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

/// The file's name in a data directory.
pub(crate) const DATABASE: &str = "landfall.db";

/// Only the daemon's user: the directory holds the journal, the token and compiled plugins.
const MODE: u32 = 0o700;

pub(crate) fn take(directory: &Path) -> Result<Held, StoreError> {
    let path = directory.display().to_string();
    let fail = |source| StoreError::Directory {
        path: path.clone(),
        source,
    };
    if !directory.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(MODE)
            .create(directory)
            .map_err(fail)?;
    }
    let mode = fs::metadata(directory).map_err(fail)?.mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(directory, fs::Permissions::from_mode(MODE)).map_err(fail)?;
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
        .map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(Held { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path)),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}
