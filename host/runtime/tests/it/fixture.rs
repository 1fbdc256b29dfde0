//! Plugins made on the spot, and a runtime of their own to load them.

use std::path::{Path, PathBuf};

pub(crate) use landfall_guests::Fixture;
use landfall_runtime::{Runtime, RuntimeOptions};
use tempfile::TempDir;

/// A runtime in a directory of its own, and room for plugins.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) runtime: Runtime,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let runtime = Runtime::new(options(directory.path())).unwrap();
        Self { directory, runtime }
    }

    /// The same directory with a runtime that knows nothing yet.
    pub(crate) fn restarted(self) -> Self {
        let Self { directory, runtime } = self;
        drop(runtime);
        let runtime = Runtime::new(options(directory.path())).unwrap();
        Self { directory, runtime }
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }
}

/// Few instances and one thread: what must not block shows at once.
pub(crate) fn options(directory: &Path) -> RuntimeOptions {
    let mut options = RuntimeOptions::new(directory.join("state"));
    (options.instances, options.guest_threads) = (4, Some(1));
    options
}
