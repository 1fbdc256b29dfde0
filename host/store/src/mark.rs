//! How far the database had come, in a file of its own.
//!
//! SQLite ends its log at the first frame that does not fit its checksum, as it must after a power cut. But a bit that
//! turns over in the log looks the same: all that was committed behind it would be gone, without a word. So the number
//! of commits stands in the database and, written after each commit, here. A database that is behind its mark has lost
//! something that was acknowledged, or is an older copy that somebody put there; the daemon does not start on it.
//!
//! The mark needs no flush of its own: it may be behind the database, never ahead of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::StoreError;

/// The file's name in a data directory.
pub(crate) const NAME: &str = "landfall.mark";

/// The number of commits, then a checksum of it.
const SIZE: usize = 12;

#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
}

impl Mark {
    /// Compares the database's number of commits with the mark.
    pub(crate) fn open(directory: &Path, commits: u64) -> Result<Self, StoreError> {
        let path = directory.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StoreError::File {
                path: path.display().to_string(),
                source,
            })?;
        let mut bytes = [0; SIZE];
        let marked = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => read(bytes),
            // A new one.
            Err(_) => Some(0),
        };
        match marked {
            Some(marked) if commits < marked => Err(StoreError::Behind { commits, marked }),
            Some(_) => Ok(Self { file }),
            None => {
                tracing::warn!(path = %path.display(), "the mark is damaged and made anew");
                Ok(Self { file })
            }
        }
    }

    /// So many commits are durable.
    pub(crate) fn set(&self, commits: u64) -> io::Result<()> {
        let number = commits.to_le_bytes();
        let crc = crc32fast::hash(&number).to_le_bytes();
        let mut bytes = [0; SIZE];
        for (to, from) in bytes.iter_mut().zip(number.into_iter().chain(crc)) {
            *to = from;
        }
        self.file.write_all_at(&bytes, 0)
    }
}

fn read(bytes: [u8; SIZE]) -> Option<u64> {
    let (number, crc) = bytes.split_first_chunk::<8>()?;
    (crc32fast::hash(number).to_le_bytes() == crc).then(|| u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_may_be_ahead_of_its_mark_and_not_behind() {
        let place = tempfile::tempdir().unwrap();
        Mark::open(place.path(), 0).unwrap().set(7).unwrap();
        assert!(Mark::open(place.path(), 7).is_ok() && Mark::open(place.path(), 8).is_ok());
        assert!(matches!(
            Mark::open(place.path(), 6),
            Err(StoreError::Behind { commits: 6, marked: 7 })
        ));
        std::fs::write(place.path().join(NAME), [1; SIZE]).unwrap();
        assert!(Mark::open(place.path(), 1).is_ok(), "a damaged mark says nothing");
    }
}
