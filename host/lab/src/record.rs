//! The records that lab machines write: numbered, dated and checksummed, so that what a recovery lost is counted by
//! reading the recovered disk and never taken on trust.

use serde::{Deserialize, Serialize};

/// Bytes of one record. Small, so that a test sees data within milliseconds, and a power of two, so that slices of
/// any usual size end at a record's end.
pub(crate) const RECORD_BYTES: u64 = 64;

/// `RECORD_BYTES` as an array's length.
const LENGTH: usize = 64;

/// What every record begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"LFRECORD");

/// One record. On disk: magic, these four words, zeros, and a CRC-32 of all before it, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Hash of the machine's lineage: equal for a machine and all its recovered copies.
    pub(crate) machine: u64,
    /// Counts from 1; record N lies at byte (N - 1) * 64.
    pub(crate) sequence: u64,
    /// Who wrote it: changes each time a machine is made from a recovery point.
    pub(crate) incarnation: u64,
    /// When it was written, in milliseconds since 1970.
    pub(crate) time_ms: u64,
}

impl Record {
    /// The record's bytes.
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let words = [MAGIC, self.machine, self.sequence, self.incarnation, self.time_ms];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        if let Some((body, tail)) = bytes.split_last_chunk_mut::<4>() {
            *tail = crc32fast::hash(body).to_le_bytes();
        }
        bytes
    }

    /// The record in these bytes, or none if they are no intact record.
    pub(crate) fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut words = body.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        if words.next()? != MAGIC {
            return None;
        }
        let (machine, sequence, incarnation, time_ms) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(Self {
            machine,
            sequence,
            incarnation,
            time_ms,
        })
    }
}

/// A stretch of records by one writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) incarnation: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What reading a whole disk showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) records: u64,
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    pub(crate) last_time_ms: Option<u64>,
    /// Every checksum holds, the sequence has no gap, and all records are of one machine.
    pub(crate) valid: bool,
    /// The first thing that was wrong.
    pub(crate) problem: Option<String>,
    pub(crate) incarnations: Vec<Span>,
}

/// Reads a disk from its start and judges it.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    verdict: Verdict,
    machine: Option<u64>,
}

impl Verifier {
    /// Takes the next bytes; all but the last piece must be whole records.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let (records, rest) = bytes.as_chunks::<LENGTH>();
        for bytes in records {
            self.record(bytes);
        }
        if !rest.is_empty() {
            self.problem(format!("{} bytes follow record {}", rest.len(), self.verdict.records));
        }
    }

    /// The judgement on everything fed.
    pub(crate) fn finish(mut self) -> Verdict {
        self.verdict.valid = self.verdict.problem.is_none();
        self.verdict
    }

    fn record(&mut self, bytes: &[u8; LENGTH]) {
        self.verdict.records += 1;
        let expected = self.verdict.records;
        let Some(record) = Record::decode(bytes) else {
            return self.problem(format!("record {expected} is damaged"));
        };
        if record.sequence != expected {
            self.problem(format!("record {expected} carries number {}", record.sequence));
        }
        if *self.machine.get_or_insert(record.machine) != record.machine {
            self.problem(format!("record {expected} belongs to another machine"));
        }
        self.verdict.first.get_or_insert(record.sequence);
        self.verdict.last = Some(record.sequence);
        self.verdict.last_time_ms = Some(record.time_ms);
        match self.verdict.incarnations.last_mut() {
            Some(span) if span.incarnation == record.incarnation => span.last = record.sequence,
            _ => self.verdict.incarnations.push(Span {
                incarnation: record.incarnation,
                first: record.sequence,
                last: record.sequence,
            }),
        }
    }

    fn problem(&mut self, problem: String) {
        self.verdict.problem.get_or_insert(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> Record {
        Record {
            machine: 7,
            sequence,
            incarnation: 1 + sequence / 3,
            time_ms: 1_700_000_000_000 + sequence,
        }
    }

    fn verify(records: &[Record]) -> Verdict {
        let mut verifier = Verifier::default();
        verifier.feed(&records.iter().flat_map(Record::encode).collect::<Vec<_>>());
        verifier.finish()
    }

    #[test]
    fn a_record_survives_its_encoding_and_any_flipped_bit_is_seen() {
        let bytes = record(5).encode();
        assert_eq!(Record::decode(&bytes), Some(record(5)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_whole_disk_is_valid_and_names_its_writers() {
        let verdict = verify(&[record(1), record(2), record(3), record(4)]);
        assert!(verdict.valid);
        assert_eq!((verdict.records, verdict.first, verdict.last), (4, Some(1), Some(4)));
        assert_eq!(verdict.incarnations.len(), 2);
        assert_eq!(
            verdict.incarnations[1],
            Span {
                incarnation: 2,
                first: 3,
                last: 4
            }
        );
    }

    #[test]
    fn gaps_strangers_and_leftovers_are_found() {
        assert_eq!(
            verify(&[record(1), record(3)]).problem.as_deref(),
            Some("record 2 carries number 3")
        );
        let stranger = Record {
            machine: 8,
            ..record(2)
        };
        assert_eq!(
            verify(&[record(1), stranger]).problem.as_deref(),
            Some("record 2 belongs to another machine")
        );
        let mut verifier = Verifier::default();
        verifier.feed(&record(1).encode()[..40]);
        assert!(!verifier.finish().valid);
    }

    #[test]
    fn an_empty_disk_is_valid() {
        assert!(verify(&[]).valid);
    }
}
