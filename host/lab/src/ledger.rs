//! The ledger's file: one JSON line for every entry, appended and handed to the operating system before anybody is
//! answered. So a lab that is killed forgets nothing that it told; a power cut is outside of its promises.
//!
//! A line that a kill tore has no newline, was never answered for, and is cut off when the file is opened again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::entry::Entry;

/// The file's name under the data directory.
const NAME: &str = "ledger.jsonl";

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    /// Where each line starts: line N at place N - 1.
    starts: Vec<u64>,
    end: u64,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    /// A write failed: what the file holds is not known any more.
    broken: bool,
}

impl Ledger {
    /// Opens or makes the ledger and hands every line to `each`. No second lab can open it meanwhile.
    pub(crate) fn open(directory: &Path, mut each: impl FnMut(&Entry)) -> Result<Self, LabError> {
        let path = directory.join(NAME);
        let failed = |source| LabError::Data {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        let (mut starts, mut end) = (Vec::new(), 0);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(failed)? as u64;
            if line.last() != Some(&b'\n') {
                break;
            }
            let number = starts.len() as u64 + 1;
            let entry = serde_json::from_slice::<Entry>(&line).map_err(|source| LabError::Line {
                path: path.clone(),
                number,
                source,
            })?;
            if entry.seq != number {
                return Err(LabError::Order {
                    path: path.clone(),
                    number,
                    seq: entry.seq,
                });
            }
            each(&entry);
            starts.push(end);
            end += read;
        }
        file.set_len(end).map_err(failed)?;
        Ok(Self {
            path,
            file,
            starts,
            end,
            buffer: Vec::new(),
            broken: false,
        })
    }

    /// Adds a line, to be written by the next `flush`.
    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        self.starts.push(self.end + self.buffer.len() as u64);
        serde_json::to_writer(&mut self.buffer, entry)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    /// Writes what was added. After a failure nothing is written any more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(
                "an earlier write to the ledger failed; restart the lab",
            ));
        }
        let written = self.file.write_all(&self.buffer);
        self.broken = written.is_err();
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        written
    }

    /// The file, where the line after this one starts, and how many bytes lie behind that.
    pub(crate) fn after(&self, seq: u64) -> (PathBuf, u64, u64) {
        let place = usize::try_from(seq).unwrap_or(usize::MAX);
        let start = self.starts.get(place).copied().unwrap_or(self.end).min(self.end);
        (self.path.clone(), start, self.end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Change;

    fn entry(seq: u64) -> Entry {
        Entry {
            seq,
            ..Entry::plain("control", "settings", vec![Change::Seed { seed: seq }])
        }
    }

    fn seqs(directory: &Path) -> Vec<u64> {
        let mut seqs = Vec::new();
        Ledger::open(directory, |entry| seqs.push(entry.seq)).unwrap();
        seqs
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path(), |_| ()).unwrap();
        for seq in 1..=3 {
            ledger.add(&entry(seq)).unwrap();
        }
        ledger.flush().unwrap();
        let (path, start, length) = ledger.after(2);
        drop(ledger);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, start + length);
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(seqs(directory.path()), [1, 2]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), start);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), "{}\n").unwrap();
        let error = Ledger::open(directory.path(), |_| ()).unwrap_err();
        assert!(matches!(error, LabError::Line { number: 1, .. }), "{error}");
    }

    #[test]
    fn a_second_lab_is_kept_out() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Ledger::open(directory.path(), |_| ()).unwrap();
        assert!(Ledger::open(directory.path(), |_| ()).is_err());
    }
}
