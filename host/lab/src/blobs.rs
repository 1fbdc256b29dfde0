//! The bytes that replicas received, as files under the data directory:
//!
//! ```text
//! replicas/SITE/REPLICA/N          generation N: the replica's disk; points are prefixes of it
//! replicas/SITE/REPLICA/received   which bytes of the mark under way have arrived
//! bases/SITE/MACHINE-N             a recovered machine's base: a hard link to the generation that its point is in
//! ```
//!
//! The one idea: what a mark was ever received into is sealed. New bytes behind it are appended; other bytes inside it
//! go into a copy, the next generation. So a point, and a machine that was made from one, never changes, and nobody
//! needs to know who still reads an old file: the last link keeps it.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::state::{Content, Replica, Replication, State};

/// Bytes copied at a time into a replica that begins with a machine's disks: small beside any memory.
const PIECE: u64 = 1 << 20;

/// All replicas' files.
#[derive(Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
    open: Mutex<HashMap<(String, String), Arc<Store>>>,
}

impl Blobs {
    /// Opens what the state says that there is.
    pub(crate) fn open(root: &Path, state: &State) -> io::Result<Self> {
        let mut open = HashMap::new();
        for (name, site) in &state.sites {
            for replica in site
                .replicas
                .values()
                .filter(|replica| replica.replication == Replication::Driven)
            {
                let store = Store::open(&directory(root, name, &replica.id), replica)?;
                open.insert((name.clone(), replica.id.clone()), Arc::new(store));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            open: Mutex::new(open),
        })
    }

    /// The data directory, to which bases' names are relative.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The files of a driven replica.
    pub(crate) fn store(&self, site: &str, replica: &str) -> Option<Arc<Store>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&(site.to_owned(), replica.to_owned())).cloned()
    }

    /// Makes room for a new replica. What it begins with is read piece by piece.
    pub(crate) fn add(
        &self,
        site: &str,
        replica: &Replica,
        begins_with: impl Fn(u64, u64) -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let directory = directory(&self.root, site, &replica.id);
        // What a lab that was killed before its line left under this name.
        gone_is_fine(fs::remove_dir_all(&directory))?;
        fs::create_dir_all(&directory)?;
        if replica.received > 0 {
            let mut file = File::create(directory.join(replica.generation.to_string()))?;
            let mut offset = 0;
            while offset < replica.received {
                let piece = begins_with(offset, PIECE.min(replica.received - offset))?;
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.write_all(&piece)?;
                offset += piece.len() as u64;
            }
        }
        let store = Store::open(&directory, replica)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert((site.to_owned(), replica.id.clone()), Arc::new(store));
        Ok(())
    }

    /// Forgets a replica and its files.
    pub(crate) fn remove(&self, site: &str, replica: &str) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&(site.to_owned(), replica.to_owned()));
        gone_is_fine(fs::remove_dir_all(directory(&self.root, site, replica)))
    }

    /// Deletes the generations that no point is in any more.
    pub(crate) fn prune(&self, site: &str, replica: &Replica) -> io::Result<()> {
        let Some(store) = self.store(site, &replica.id) else {
            return Ok(());
        };
        let used = replica.points.iter().filter_map(|point| match point.content {
            Content::File { generation, .. } => Some(generation),
            Content::Source { .. } => None,
        });
        store.prune(&used.collect())
    }

    /// Gives a file one more name, so that it outlives the first. Names are relative to the data directory.
    pub(crate) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        gone_is_fine(fs::remove_file(&to))?;
        // Not every file system has hard links.
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))
    }

    /// Deletes a base that no machine has any more.
    pub(crate) fn unlink(&self, base: &str) -> io::Result<()> {
        gone_is_fine(fs::remove_file(self.root.join(base)))
    }
}

/// The name of a generation's file.
pub(crate) fn generation_name(site: &str, replica: &str, generation: u64) -> String {
    format!("replicas/{site}/{replica}/{generation}")
}

fn directory(root: &Path, site: &str, replica: &str) -> PathBuf {
    root.join("replicas").join(site).join(replica)
}

/// A restart in the middle of a deletion finds it half done.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// One replica's files. Writers of one replica go one after another; the two numbers can be read meanwhile.
#[derive(Debug)]
pub(crate) struct Store {
    files: Mutex<Files>,
    generation: AtomicU64,
    covered: AtomicU64,
}

impl Store {
    fn open(directory: &Path, replica: &Replica) -> io::Result<Self> {
        let newest = generations(directory)?.last().copied().unwrap_or(0);
        let sealed = if newest == replica.generation {
            replica.sealed
        } else {
            0
        };
        let (mark, mut ranges) = arrived(&directory.join("received"))?;
        ranges.add(0, replica.received);
        let covered = AtomicU64::new(ranges.prefix());
        let files = Files {
            directory: directory.to_owned(),
            generation: newest,
            sealed,
            received: replica.received,
            mark,
            ranges,
        };
        Ok(Self {
            files: Mutex::new(files),
            generation: AtomicU64::new(newest),
            covered,
        })
    }

    /// The generation that is written to.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Bytes from the start that have arrived without a gap.
    pub(crate) fn covered(&self) -> u64 {
        self.covered.load(Ordering::SeqCst)
    }

    /// Stores bytes of a mark. Storing them again changes nothing.
    pub(crate) fn write(&self, mark: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.write(mark, offset, bytes)?;
        self.generation.store(files.generation, Ordering::SeqCst);
        self.covered.store(files.ranges.prefix(), Ordering::SeqCst);
        Ok(())
    }

    /// A mark with this many bytes is complete: they will not change any more.
    pub(crate) fn seal(&self, bytes: u64) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.sealed = files.sealed.max(bytes);
        files.received = bytes;
        files.forget_arrivals()?;
        self.covered.store(files.ranges.prefix(), Ordering::SeqCst);
        Ok(())
    }

    fn prune(&self, used: &BTreeSet<u64>) -> io::Result<()> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for generation in generations(&files.directory)? {
            if generation != files.generation && !used.contains(&generation) {
                gone_is_fine(fs::remove_file(files.path(generation)))?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Files {
    directory: PathBuf,
    generation: u64,
    /// Bytes of this generation that marks hold.
    sealed: u64,
    /// Bytes of the newest complete mark.
    received: u64,
    /// The mark under way.
    mark: Option<String>,
    ranges: Ranges,
}

impl Files {
    fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(generation.to_string())
    }

    fn write(&mut self, mark: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if self.mark.as_deref() != Some(mark) {
            self.forget_arrivals()?;
            self.mark = Some(mark.to_owned());
        }
        if !self.holds(offset, bytes)? {
            if offset < self.sealed {
                self.next_generation()?;
            }
            let path = self.path(self.generation);
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            file.write_all_at(bytes, offset)?;
        }
        let line = format!("{offset} {end} {mark}\n");
        let path = self.directory.join("received");
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(line.as_bytes())?;
        self.ranges.add(offset, end);
        Ok(())
    }

    /// Whether exactly these bytes are there already.
    fn holds(&self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let file = match File::open(self.path(self.generation)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes.is_empty() && offset == 0),
            other => other?,
        };
        if file.metadata()?.len() < offset + bytes.len() as u64 {
            return Ok(false);
        }
        let mut there = vec![0; bytes.len()];
        file.read_exact_at(&mut there, offset)?;
        Ok(there == bytes)
    }

    fn next_generation(&mut self) -> io::Result<()> {
        let next = self.generation + 1;
        let draft = self.directory.join("copying");
        fs::copy(self.path(self.generation), &draft)?;
        fs::rename(&draft, self.path(next))?;
        (self.generation, self.sealed) = (next, 0);
        Ok(())
    }

    /// What arrived for a mark that was never completed does not count for another.
    fn forget_arrivals(&mut self) -> io::Result<()> {
        gone_is_fine(fs::remove_file(self.directory.join("received")))?;
        self.mark = None;
        self.ranges = Ranges::default();
        self.ranges.add(0, self.received);
        Ok(())
    }
}

/// Generations on disk, oldest first.
fn generations(directory: &Path) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(found)
}

/// The mark under way and what of it has arrived. A line that a kill tore is left out: nobody was told of it.
fn arrived(path: &Path) -> io::Result<(Option<String>, Ranges)> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let (mut mark, mut ranges) = (None, Ranges::default());
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let mut words = line.splitn(3, ' ');
        let from = words.next().and_then(|word| word.parse().ok());
        let to = words.next().and_then(|word| word.parse().ok());
        if let (Some(from), Some(to), Some(name)) = (from, to, words.next()) {
            ranges.add(from, to);
            mark = Some(name.to_owned());
        }
    }
    Ok((mark, ranges))
}

/// Stretches of bytes, in order, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    fn add(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < from);
        let after = self.0.partition_point(|range| range.0 <= to);
        for range in self.0.drain(first..after) {
            from = from.min(range.0);
            to = to.max(range.1);
        }
        self.0.insert(first, (from, to));
    }

    /// Bytes from the start without a gap.
    fn prefix(&self) -> u64 {
        self.0.first().filter(|range| range.0 == 0).map_or(0, |range| range.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Call, SourceMachine};
    use crate::state::Stamp;
    use proptest::prelude::*;

    fn replica() -> Replica {
        let call = Call {
            key: "k".into(),
            installation: "i".into(),
            epoch: 1,
            job: None,
            step: None,
            attempt: 1,
        };
        let machine = SourceMachine {
            id: "m".into(),
            name: "m".into(),
            origin: "kvm".into(),
            os: None,
            cpus: None,
            memory_bytes: None,
            disks: vec![],
        };
        Replica {
            id: "rp-1".into(),
            source_site: "a".into(),
            machine,
            lineage: "a/m".into(),
            source: None,
            stamp: Stamp { item: "i".into(), call },
            replication: Replication::Driven,
            since: 0,
            points: vec![],
            generation: 0,
            sealed: 0,
            received: 0,
            deleted: BTreeSet::new(),
            deleted_until: 0,
            original: None,
            seed: None,
            facts: crate::facts::MachineFacts::default(),
            ext: crate::operation::Pairs::new(),
        }
    }

    fn blobs() -> (tempfile::TempDir, Blobs, Arc<Store>) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path(), &State::default()).unwrap();
        blobs.add("b", &replica(), |_, _| Ok(Vec::new())).unwrap();
        let store = blobs.store("b", "rp-1").unwrap();
        (directory, blobs, store)
    }

    #[test]
    fn a_sealed_prefix_never_changes() {
        let (directory, blobs, store) = blobs();
        store.write("m1", 0, b"aaaa").unwrap();
        store.seal(4).unwrap();
        blobs.link(&generation_name("b", "rp-1", 0), "bases/b/vm-1").unwrap();
        store.write("m2", 4, b"bbbb").unwrap();
        assert_eq!(store.generation(), 0, "behind the seal it only appends");
        store.write("m2", 0, b"aaaa").unwrap();
        assert_eq!(store.generation(), 0, "the same bytes again change nothing");
        store.write("m3", 2, b"XX").unwrap();
        assert_eq!(store.generation(), 1);
        let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
        assert_eq!(&read("bases/b/vm-1")[..4], b"aaaa");
        assert_eq!(&read("replicas/b/rp-1/0")[..4], b"aaaa");
        assert_eq!(read("replicas/b/rp-1/1"), b"aaXXbbbb");
    }

    #[test]
    fn what_is_missing_is_known_also_after_a_restart() {
        let (directory, _blobs, store) = blobs();
        store.write("m1", 0, b"aaaa").unwrap();
        store.write("m1", 6, b"cc").unwrap();
        assert_eq!(store.covered(), 4);
        let again = Store::open(&directory.path().join("replicas/b/rp-1"), &replica()).unwrap();
        assert_eq!(again.covered(), 4);
        again.write("m1", 4, b"bb").unwrap();
        assert_eq!(again.covered(), 8);
        again.write("m2", 8, b"dd").unwrap();
        assert_eq!(again.covered(), 0, "another mark starts from the last complete one");
    }

    proptest! {
        #[test]
        fn ranges_cover_what_was_added(adds in prop::collection::vec((0_u64..60, 0_u64..20), 0..30)) {
            let (mut ranges, mut covered) = (Ranges::default(), [false; 100]);
            for (from, length) in adds {
                ranges.add(from, from + length);
                covered[usize::try_from(from).unwrap()..usize::try_from(from + length).unwrap()].fill(true);
            }
            let prefix = covered.iter().position(|there| !there).unwrap_or(100);
            prop_assert_eq!(ranges.prefix(), prefix as u64);
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
