//! A machine's disk as a value: an optional base (the bytes of the recovery point it was made from) and the stretches
//! of time in which the machine ran. Its bytes are a pure function of these and are made when somebody reads them, so
//! ten thousand running machines cost nothing.
//!
//! A disk only grows, and record N always lies at the same place; so a mark on it is a length, and what changed
//! between two marks is the bytes between two lengths.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::record::{RECORD_BYTES, Record, Verdict, Verifier};

/// Bytes read at a time when a whole disk is verified: a whole number of records, small beside any memory.
const VERIFY_STEP: u64 = 1 << 20;

/// A stretch of time in which the machine ran at one rate. Times are lab milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    from: u64,
    /// None while it lasts.
    to: Option<u64>,
    /// Records per 1,000 seconds: whole numbers, so that counting never rounds differently.
    rate: u64,
    /// Records that earlier runs of this disk wrote.
    before: u64,
}

impl Run {
    /// Records of this run that exist at a time.
    fn records(&self, lab: u64) -> u64 {
        let lasted = self.to.map_or(lab, |to| to.min(lab)).saturating_sub(self.from);
        u64::try_from(u128::from(lasted) * u128::from(self.rate) / 1_000_000).unwrap_or(u64::MAX)
    }

    /// When the record with this place in the run came to be.
    fn time(&self, place: u64) -> u64 {
        let millionths = (u128::from(place) + 1) * 1_000_000;
        let after = millionths.div_ceil(u128::from(self.rate.max(1)));
        self.from.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }
}

/// What a disk held before its machine first ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Base {
    /// The first bytes of a file under the lab's data directory: data that was transferred here.
    File { name: String, bytes: u64 },
    /// The first bytes of another disk: autonomous replication, which transfers nothing.
    Disk { disk: Box<Disk>, bytes: u64 },
}

impl Base {
    fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } | Self::Disk { bytes, .. } => *bytes,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// Hash of the lineage, written into every record.
    machine: u64,
    incarnation: u64,
    base: Option<Base>,
    runs: Vec<Run>,
}

impl Disk {
    /// An empty disk, or one that starts with a recovery point's bytes.
    pub(crate) fn new(machine: u64, incarnation: u64, base: Option<Base>) -> Self {
        Self {
            machine,
            incarnation,
            base,
            runs: Vec::new(),
        }
    }

    /// The writer's number.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The file that holds the base, if one does.
    pub(crate) fn base_file(&self) -> Option<&str> {
        match &self.base {
            Some(Base::File { name, .. }) => Some(name),
            Some(Base::Disk { disk, .. }) => disk.base_file(),
            None => None,
        }
    }

    /// Lets the base be read under another name, and gives the one before.
    pub(crate) fn rename_base(&mut self, to: &str) -> Option<String> {
        match self.base.as_mut()? {
            Base::File { name, .. } => Some(std::mem::replace(name, to.to_owned())),
            Base::Disk { disk, .. } => disk.rename_base(to),
        }
    }

    /// Records that the base holds.
    pub(crate) fn base_records(&self) -> u64 {
        self.base.as_ref().map_or(0, Base::bytes).div_ceil(RECORD_BYTES)
    }

    /// The machine runs from now on, at this many records per 1,000 seconds.
    pub(crate) fn begin(&mut self, lab: u64, rate: u64) {
        self.end(lab);
        let before = self.own_records(lab);
        self.runs.push(Run {
            from: lab,
            to: None,
            rate,
            before,
        });
    }

    /// The machine stops.
    pub(crate) fn end(&mut self, lab: u64) {
        if let Some(run) = self.runs.last_mut()
            && run.to.is_none()
        {
            run.to = Some(lab.max(run.from));
        }
    }

    fn own_records(&self, lab: u64) -> u64 {
        let started = self.runs.partition_point(|run| run.from <= lab);
        let last = started.checked_sub(1).and_then(|place| self.runs.get(place));
        last.map_or(0, |run| run.before + run.records(lab))
    }

    /// Records on the disk at a time that is not in the future.
    pub(crate) fn records(&self, lab: u64) -> u64 {
        self.base_records() + self.own_records(lab)
    }

    /// Bytes on the disk at a time.
    pub(crate) fn bytes(&self, lab: u64) -> u64 {
        self.records(lab) * RECORD_BYTES
    }

    /// When the newest own record came to be, in lab time.
    pub(crate) fn last_write(&self, lab: u64) -> Option<u64> {
        let index = self.own_records(lab).checked_sub(1)?;
        self.run_of(index).map(|run| run.time(index - run.before))
    }

    /// Reads bytes; the caller has checked that the disk holds them.
    pub(crate) fn read(&self, clock: &Clock, files: &Path, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(bytes).map_err(io::Error::other)?);
        let own_from = self.base_records() * RECORD_BYTES;
        if offset < own_from {
            self.read_base(clock, files, offset, bytes.min(own_from - offset), &mut out)?;
        }
        let read = out.len() as u64;
        if read < bytes {
            self.generate(clock, offset + read - own_from, bytes - read, &mut out);
        }
        Ok(out)
    }

    /// Reads the whole disk as it was at a time and judges it.
    pub(crate) fn verify(&self, clock: &Clock, files: &Path, lab: u64) -> io::Result<Verdict> {
        let (mut verifier, mut offset, end) = (Verifier::default(), 0, self.bytes(lab));
        while offset < end {
            let step = VERIFY_STEP.min(end - offset);
            verifier.feed(&self.read(clock, files, offset, step)?);
            offset += step;
        }
        Ok(verifier.finish())
    }

    fn read_base(&self, clock: &Clock, files: &Path, offset: u64, bytes: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(base) = &self.base else { return Ok(()) };
        let wanted = out.len() + usize::try_from(bytes).map_err(io::Error::other)?;
        let held = bytes.min(base.bytes().saturating_sub(offset));
        match base {
            Base::File { name, .. } => {
                let mut piece = vec![0; usize::try_from(held).map_err(io::Error::other)?];
                File::open(files.join(name))?.read_exact_at(&mut piece, offset)?;
                out.append(&mut piece);
            }
            Base::Disk { disk, .. } => out.append(&mut disk.read(clock, files, offset, held)?),
        }
        // A base that ends inside a record is filled up, so that our own records stay in their places.
        out.resize(wanted, 0);
        Ok(())
    }

    /// Appends own bytes, counted from the end of the base.
    fn generate(&self, clock: &Clock, offset: u64, bytes: u64, out: &mut Vec<u8>) {
        let (mut index, mut skip) = (offset / RECORD_BYTES, offset % RECORD_BYTES);
        let mut left = bytes;
        while left > 0 {
            let record = self.record(clock, index).encode();
            let take = left.min(RECORD_BYTES - skip);
            out.extend(record.iter().skip(small(skip)).take(small(take)));
            (index, skip, left) = (index + 1, 0, left - take);
        }
    }

    fn run_of(&self, index: u64) -> Option<&Run> {
        let place = self.runs.partition_point(|run| run.before <= index).checked_sub(1)?;
        self.runs.get(place)
    }

    fn record(&self, clock: &Clock, index: u64) -> Record {
        let time = self.run_of(index).map_or(0, |run| run.time(index - run.before));
        Record {
            machine: self.machine,
            sequence: self.base_records() + index + 1,
            incarnation: self.incarnation,
            time_ms: clock.wall(time),
        }
    }
}

/// A number below a record's length.
fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock() -> Clock {
        let mut clock = Clock::default();
        clock.set_scale(1_000, 1_000);
        clock
    }

    /// Writes the disk as a machine would: record by record, at every millisecond in which one is due.
    fn eager(machine: u64, steps: &[(u64, u64, u64)], clock: &Clock) -> (Disk, u64, Vec<u8>) {
        let (mut disk, mut now, mut bytes) = (Disk::new(machine, 3, None), 2_000, Vec::new());
        let mut sequence = 0;
        for (pause, lasts, rate) in steps {
            now += pause;
            disk.begin(now, *rate);
            let start = now;
            let mut written = 0;
            while now < start + lasts {
                now += 1;
                while (now - start) * rate / 1_000_000 > written {
                    written += 1;
                    sequence += 1;
                    let record = Record {
                        machine,
                        sequence,
                        incarnation: 3,
                        time_ms: clock.wall(now),
                    };
                    bytes.extend(record.encode());
                }
            }
            disk.end(now);
        }
        (disk, now, bytes)
    }

    proptest! {
        #[test]
        fn a_lazy_disk_equals_an_eager_one(
            steps in prop::collection::vec((0_u64..500, 0_u64..2_000, 0_u64..80_000), 0..6),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..8),
        ) {
            let clock = clock();
            let (disk, now, bytes) = eager(9, &steps, &clock);
            prop_assert_eq!(disk.bytes(now), bytes.len() as u64);
            let files = Path::new("");
            for (from, to) in cuts {
                let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
                let (from, to) = (from.min(to), from.max(to));
                let read = disk.read(&clock, files, from as u64, (to - from) as u64).unwrap();
                prop_assert_eq!(&read[..], &bytes[from..to]);
            }
            prop_assert!(disk.verify(&clock, files, now).unwrap().valid);
        }
    }

    #[test]
    fn a_disk_made_from_a_point_starts_with_its_bytes_and_counts_on() {
        let (clock, directory) = (clock(), tempfile::tempdir().unwrap());
        let mut source = Disk::new(9, 3, None);
        source.begin(2_000, 100_000);
        let point = source.bytes(2_500);
        let bytes = source.read(&clock, directory.path(), 0, point).unwrap();
        std::fs::write(
            directory.path().join("base"),
            [&bytes[..], b"later bytes of the same file"].concat(),
        )
        .unwrap();
        for base in [
            Base::File {
                name: "base".to_owned(),
                bytes: point,
            },
            Base::Disk {
                disk: Box::new(source.clone()),
                bytes: point,
            },
        ] {
            let mut copy = Disk::new(9, 4, Some(base));
            copy.begin(5_000, 50_000);
            assert_eq!(copy.read(&clock, directory.path(), 0, point).unwrap(), bytes);
            let verdict = copy.verify(&clock, directory.path(), 6_000).unwrap();
            assert!(verdict.valid, "{verdict:?}");
            assert_eq!(verdict.records, 50 + 50);
            assert_eq!(verdict.incarnations.len(), 2);
        }
    }

    #[test]
    fn a_stopped_machine_gains_nothing() {
        let mut disk = Disk::new(1, 1, None);
        disk.begin(0, 1_000_000);
        disk.end(10);
        assert_eq!(disk.records(10), disk.records(10_000));
    }
}
