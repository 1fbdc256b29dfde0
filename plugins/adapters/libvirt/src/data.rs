//! Disks as QEMU offers them: what changed on them, and their bytes, which go between QEMU and the host's buffer and
//! never enter this plugin. The disks of a machine lie one behind the other in one range of offsets.
//!
//! Where they are offered is remembered for the session, so that moving a slice asks libvirt nothing.

use landfall_sdk::adapter_types::{Extent, ExtentPage};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::transport::Connection;
use landfall_sdk::{Failure, session};
use serde::{Deserialize, Serialize};

use crate::failure::{garbled, lost, mark_lost, no_space};
use crate::nbd::{self, Stretch};

/// The endpoint that the operator configures for the disks that QEMU offers.
const ENDPOINT: &str = "nbd";

/// Extents of one answer: some hundred kilobytes.
const PAGE: usize = 4_096;

/// Requests of one answer: a page ends though nothing was found, so that a call over a huge empty disk stays short.
const ASKED: usize = 64;

/// In `base:allocation`: reads as zeros.
const ZERO: u32 = 2;
/// In a dirty bitmap: was written.
const DIRTY: u32 = 1;

/// Where a machine's disks are offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) port: u16,
    pub(crate) disks: Vec<Offered>,
    /// The mark since which changes are known, if any are.
    pub(crate) since: Option<String>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offered {
    pub(crate) export: String,
    pub(crate) bytes: u64,
    /// Names of the bitmaps that tell together what was written since that mark.
    pub(crate) bitmaps: Vec<String>,
}

impl Offer {
    /// What an earlier call found.
    pub(crate) fn remembered(key: &str) -> Option<Self> {
        serde_json::from_slice(&session::get(key)?).ok()
    }

    pub(crate) fn remember(&self, key: &str) -> Result<(), Failure> {
        // Plain text and numbers: there is nothing that could fail.
        session::set(key, serde_json::to_vec(self).unwrap_or_default(), None)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.bytes).sum()
    }

    /// The disk that holds all of the extent, and where on it.
    fn place(&self, offset: u64, bytes: u64) -> Result<(&Offered, u64), Failure> {
        let mut start = 0;
        for disk in &self.disks {
            let end = start + disk.bytes;
            if offset >= start && offset < end.max(start + 1) && offset.saturating_add(bytes) <= end {
                return Ok((disk, offset - start));
            }
            start = end;
        }
        Err(Failure::definite(
            "out-of-range",
            format!("{bytes} bytes at {offset} lie on no disk of the machine"),
        ))
    }
}

/// A conversation about a disk's data: one that is going on, or a new one.
fn data(offer: &Offer, disk: &Offered) -> Result<Connection, Failure> {
    let mut connection = Connection::open_with(ENDPOINT, Some(offer.port), &disk.export)?;
    if !connection.is_warm() {
        let bytes = nbd::open_data(&mut connection, &disk.export).map_err(failure)?;
        if bytes != disk.bytes {
            let why = format!("`{}` has {bytes} bytes and not {}", disk.export, disk.bytes);
            return Err(Failure::definite("size-changed", why));
        }
    }
    Ok(connection)
}

/// The size of a disk that is offered.
pub(crate) fn size(port: u16, export: &str) -> Result<u64, Failure> {
    let mut connection = Connection::open_with(ENDPOINT, Some(port), "")?;
    nbd::open_data(&mut connection, export).map_err(failure)
}

/// Appends the extent's bytes to the buffer.
pub(crate) fn read(offer: &Offer, extent: Extent, buffer: &Buffer) -> Result<(), Failure> {
    let (disk, offset) = offer.place(extent.offset, extent.bytes)?;
    let length = length(extent.bytes)?;
    let mut connection = data(offer, disk)?;
    nbd::ask_read(&mut connection, offset, length).map_err(failure)?;
    connection
        .receive_into(buffer, extent.bytes)
        .map_err(|error| lost("QEMU", &error))?;
    connection.park();
    Ok(())
}

/// Writes what the buffer holds.
pub(crate) fn write(offer: &Offer, offset: u64, buffer: &Buffer) -> Result<(), Failure> {
    let bytes = buffer.len();
    let (disk, offset) = offer.place(offset, bytes)?;
    let length = length(bytes)?;
    let mut connection = data(offer, disk)?;
    nbd::announce_write(&mut connection, offset, length).map_err(failure)?;
    connection.send_from(buffer).map_err(|error| lost("QEMU", &error))?;
    nbd::reply(&mut connection).map_err(failure)?;
    connection.park();
    Ok(())
}

/// What was written is on the disks when it returns.
pub(crate) fn flush(offer: &Offer) -> Result<(), Failure> {
    for disk in &offer.disks {
        let mut connection = data(offer, disk)?;
        nbd::flush(&mut connection).map_err(failure)?;
        connection.park();
    }
    Ok(())
}

fn length(bytes: u64) -> Result<u32, Failure> {
    u32::try_from(bytes).map_err(|_| Failure::definite("too-much", format!("{bytes} bytes are no slice")))
}

/// A page of what changed since the offer's mark; `all`: of everything the disks hold.
pub(crate) fn changes(offer: &Offer, all: bool, cursor: u64) -> Result<ExtentPage, Failure> {
    let mut extents: Vec<Extent> = Vec::new();
    let (mut start, mut asked, mut next) = (0, 0, None);
    'disks: for disk in &offer.disks {
        let end = start + disk.bytes;
        let mut at = cursor.max(start);
        if at >= end {
            start = end;
            continue;
        }
        let contexts = contexts(disk, all);
        let mut connection = Connection::open_with(ENDPOINT, Some(offer.port), "")?;
        let (_, numbers) = nbd::open_status(&mut connection, &disk.export, &contexts).map_err(failure)?;
        while at < end {
            if extents.len() >= PAGE || asked >= ASKED {
                next = Some(at.to_string());
                break 'disks;
            }
            asked += 1;
            let found = nbd::block_status(&mut connection, at - start, disk.bytes, &numbers).map_err(failure)?;
            let known = add(&mut extents, start, at, end, &found, |flags| {
                if all { flags & ZERO == 0 } else { flags & DIRTY != 0 }
            });
            if known == 0 {
                return Err(garbled("QEMU", "it says nothing of a part of the disk"));
            }
            at += known;
        }
        start = end;
    }
    Ok(ExtentPage {
        extents,
        next,
        disk_bytes: offer.bytes(),
    })
}

fn contexts(disk: &Offered, all: bool) -> Vec<String> {
    if all {
        return vec!["base:allocation".to_owned()];
    }
    disk.bitmaps
        .iter()
        .map(|name| format!("qemu:dirty-bitmap:{name}"))
        .collect()
}

/// Adds what any context counts, as far as all of them reach; gives that reach. An extent that goes on is made longer,
/// but never from one disk, which begins at `start`, into the next.
fn add(
    extents: &mut Vec<Extent>,
    start: u64,
    at: u64,
    end: u64,
    found: &[Vec<Stretch>],
    counts: impl Fn(u32) -> bool,
) -> u64 {
    let reach = |stretches: &Vec<Stretch>| stretches.iter().map(|stretch| stretch.bytes).sum::<u64>();
    let reach = found.iter().map(reach).min().unwrap_or(0).min(end - at);
    let mut wanted: Vec<(u64, u64)> = Vec::new();
    for stretches in found {
        let mut from = 0;
        for stretch in stretches {
            let to = (from + stretch.bytes).min(reach);
            if counts(stretch.flags) && from < to {
                wanted.push((at + from, at + to));
            }
            from = to;
        }
    }
    wanted.sort_unstable();
    for (from, to) in wanted {
        match extents.last_mut() {
            Some(last) if last.offset >= start && last.offset + last.bytes >= from => {
                last.bytes = last.bytes.max(to - last.offset);
            }
            _ => extents.push(Extent {
                offset: from,
                bytes: to - from,
            }),
        }
    }
    reach
}

fn failure(error: nbd::Error) -> Failure {
    match error {
        nbd::Error::Unknown(what) => mark_lost(&format!("QEMU does not offer the disk any more ({what})")),
        nbd::Error::Failed(nbd::NO_SPACE) => no_space("QEMU could not write"),
        nbd::Error::Failed(number) => {
            Failure::in_doubt("disk-error", format!("QEMU answers error {number} for the disk")).retryable()
        }
        nbd::Error::Lost(error) => lost("QEMU", &error),
        nbd::Error::Garbled(what) => garbled("QEMU", what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_with_its_cure() {
        let full = failure(nbd::Error::Failed(nbd::NO_SPACE));
        assert_eq!((&*full.code, full.retryable, full.definite), ("no-space", true, false));
        assert!(full.message.contains("free space"));
        let gone = failure(nbd::Error::Unknown("x".into()));
        assert_eq!((&*gone.code, gone.definite), ("mark-lost", true));
    }

    fn offer(sizes: &[u64]) -> Offer {
        let disk = |(index, bytes): (usize, &u64)| Offered {
            export: format!("disk{index}"),
            bytes: *bytes,
            bitmaps: vec![],
        };
        Offer {
            port: 1,
            disks: sizes.iter().enumerate().map(disk).collect(),
            since: None,
        }
    }

    #[test]
    fn disks_lie_one_behind_the_other() {
        let offer = offer(&[100, 50]);
        assert_eq!(offer.bytes(), 150);
        assert_eq!(offer.place(0, 100).unwrap().1, 0);
        let (disk, offset) = offer.place(110, 40).unwrap();
        assert_eq!((&*disk.export, offset), ("disk1", 10));
        assert!(offer.place(90, 20).is_err(), "over the border");
        assert!(offer.place(150, 1).is_err());
        assert!(offer.place(u64::MAX, 2).is_err());
    }

    fn stretches(list: &[(u64, u32)]) -> Vec<Stretch> {
        list.iter()
            .map(|(bytes, flags)| Stretch {
                bytes: *bytes,
                flags: *flags,
            })
            .collect()
    }

    fn added(at: u64, end: u64, found: &[Vec<Stretch>]) -> (u64, Vec<(u64, u64)>) {
        let mut extents = Vec::new();
        let reach = add(&mut extents, 0, at, end, found, |flags| flags & DIRTY != 0);
        (
            reach,
            extents.iter().map(|extent| (extent.offset, extent.bytes)).collect(),
        )
    }

    #[test]
    fn what_any_bitmap_has_counts_once() {
        let found = [
            stretches(&[(10, 0), (10, 1), (10, 0), (70, 1)]),
            stretches(&[(15, 1), (15, 0), (10, 0)]),
        ];
        // The second reaches only to 40.
        assert_eq!(added(1_000, 1_100, &found), (40, vec![(1_000, 20), (1_030, 10)]));
    }

    #[test]
    fn an_answer_never_reaches_beyond_its_disk() {
        assert_eq!(added(0, 50, &[stretches(&[(64, 1)])]), (50, vec![(0, 50)]));
        assert_eq!(added(0, 50, &[vec![]]), (0, vec![]));
    }
}
