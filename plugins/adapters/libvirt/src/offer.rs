//! What QEMU offers of a source's disks as of a mark: found from libvirt alone, so that any call can find it. A running
//! machine's backup offers it, and that of a machine that is off the helper.

use landfall_sdk::adapter_types::{Extent, ExtentPage};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::{Failure, session};

use crate::data::{self, Offer, Offered};
use crate::domain;
use crate::facts::is_mark;
use crate::failure::mark_lost;
use crate::helper::{Bitmap, Export, Helper, node_name};
use crate::libvirt::{Domain, Libvirt, with};
use crate::xml::{at, attribute, named, parse, text_at};

/// The name of the bitmap in which a backup shows what changed.
pub(crate) fn backup_bitmap(target: &str) -> String {
    format!("backup-{target}")
}

/// The name under which a disk is offered as of a mark.
pub(crate) fn export_name(mark: &str, target: &str) -> String {
    format!("{mark}/{target}")
}

fn offer_key(machine: &str, mark: &str) -> String {
    format!("read/{machine}/{mark}")
}

/// The mark that a backup of ours is for.
pub(crate) fn offered_mark(backup: &xmltree::Element) -> Option<String> {
    let disks = backup.get_child("disks")?;
    let export = named(disks, "disk").find_map(|disk| disk.attributes.get("exportname").cloned())?;
    let (mark, _) = export.split_once('/')?;
    is_mark(mark).then(|| mark.to_owned())
}

/// Where a machine's disks are offered as of a mark.
fn offer(machine: &str, mark: &str) -> Result<Offer, Failure> {
    let key = offer_key(machine, mark);
    if let Some(offer) = Offer::remembered(&key) {
        return Ok(offer);
    }
    let offer = with(|libvirt| {
        let domain = libvirt.domain(machine)?;
        if libvirt.state(&domain)?.is_off() {
            offer_off(libvirt, &domain, mark)
        } else {
            offer_running(libvirt, &domain, mark)
        }
    })?;
    offer.remember(&key)?;
    Ok(offer)
}

/// What is offered now may be another thing than what an earlier call found.
fn forget<T>(machine: &str, mark: &str, answer: Result<T, Failure>) -> Result<T, Failure> {
    if answer.is_err() {
        session::delete(&offer_key(machine, mark));
    }
    answer
}

fn offer_running(libvirt: &mut Libvirt, domain: &Domain, mark: &str) -> Result<Offer, Failure> {
    let gone = || mark_lost(&format!("the snapshot `{mark}` of `{}` is gone", domain.name));
    let backup = libvirt.backup(domain)?.ok_or_else(gone)?;
    let backup = parse(&backup).ok_or_else(gone)?;
    if offered_mark(&backup).as_deref() != Some(mark) {
        return Err(gone());
    }
    let port: u16 = attribute(&backup, &["server"], "port")
        .and_then(|port| port.parse().ok())
        .ok_or_else(gone)?;
    let mut disks = Vec::new();
    for disk in at(&backup, &["disks"])
        .into_iter()
        .flat_map(|disks| named(disks, "disk"))
    {
        let (Some(target), Some(export)) = (disk.attributes.get("name"), disk.attributes.get("exportname")) else {
            continue;
        };
        disks.push(Offered {
            bytes: data::size(port, export)?,
            export: export.clone(),
            bitmaps: vec![backup_bitmap(target)],
        });
    }
    Ok(Offer {
        port,
        disks,
        since: text_at(&backup, &["incremental"]),
    })
}

/// The disks of a machine that is off, if they still hold what they held at the mark.
fn offer_off(libvirt: &mut Libvirt, domain: &Domain, mark: &str) -> Result<Offer, Failure> {
    let helper = Helper::ensure(libvirt)?;
    let definition = libvirt.xml(domain)?;
    let definition = parse(&definition).map(|xml| domain::disks(&xml)).unwrap_or_default();
    let mut disks = Vec::new();
    for disk in definition {
        let Some(file) = disk.file else { continue };
        let node = helper.open(libvirt, &file, true)?;
        if !holds(&node.bitmaps, mark) {
            helper.close(libvirt, &file)?;
            return Err(mark_lost(&format!(
                "`{}` has run since the snapshot `{mark}`",
                domain.name
            )));
        }
        let bitmaps: Vec<String> = marks(&node.bitmaps).collect();
        let export = export_name(mark, &disk.target);
        let offered = Export {
            node: &node_name(&file),
            name: &export,
            writable: false,
            bitmaps: &bitmaps,
        };
        helper.export(libvirt, &offered)?;
        disks.push(Offered {
            bytes: data::size(helper.port, &export)?,
            export,
            bitmaps,
        });
    }
    Ok(Offer {
        port: helper.port,
        disks,
        since: None,
    })
}

/// Nothing was written since the mark.
pub(crate) fn holds(bitmaps: &[Bitmap], mark: &str) -> bool {
    bitmaps
        .iter()
        .any(|bitmap| bitmap.name == mark && bitmap.bytes == 0 && !bitmap.inconsistent)
}

fn marks(bitmaps: &[Bitmap]) -> impl Iterator<Item = String> {
    let sound = bitmaps
        .iter()
        .filter(|bitmap| is_mark(&bitmap.name) && !bitmap.inconsistent);
    sound.map(|bitmap| bitmap.name.clone())
}

pub(crate) fn changes(
    machine: &str,
    since: Option<&str>,
    mark: &str,
    cursor: Option<&str>,
) -> Result<ExtentPage, Failure> {
    let cursor = cursor.map_or(Ok(0), |text| {
        text.parse()
            .map_err(|_| Failure::definite("bad-cursor", format!("`{text}` is no cursor of this adapter")))
    })?;
    let offer = offer(machine, mark)?;
    let offer = match since {
        None => offer,
        Some(since) => known_since(offer, since, machine)?,
    };
    forget(machine, mark, data::changes(&offer, since.is_none(), cursor))
}

/// The offer with the bitmaps that tell what changed since a mark.
fn known_since(mut offer: Offer, since: &str, machine: &str) -> Result<Offer, Failure> {
    // A backup shows one stretch of time. One that began earlier than asked shows too much, which changes nothing.
    if offer.since.is_some() {
        return Ok(offer);
    }
    // Every mark's own bitmap goes on to be written.
    let all_have = offer
        .disks
        .iter()
        .all(|disk| disk.bitmaps.iter().any(|name| name == since));
    if !all_have || offer.disks.is_empty() {
        let why = format!("what changed on `{machine}` since `{since}` is not known any more; everything is sent");
        return Err(Failure::definite("since-lost", why));
    }
    for disk in &mut offer.disks {
        disk.bitmaps.retain(|name| name == since);
    }
    Ok(offer)
}

pub(crate) fn read(machine: &str, mark: &str, extent: Extent, buffer: &Buffer) -> Result<(), Failure> {
    let offer = offer(machine, mark)?;
    forget(machine, mark, data::read(&offer, extent, buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(since: Option<&str>, bitmaps: &[&str]) -> Offer {
        let bitmaps = bitmaps.iter().map(|name| (*name).to_owned()).collect();
        Offer {
            port: 1,
            disks: vec![Offered {
                export: "e".into(),
                bytes: 1,
                bitmaps,
            }],
            since: since.map(str::to_owned),
        }
    }

    #[test]
    fn changes_are_told_only_where_they_are_known() {
        assert!(known_since(offer(Some("lf-0"), &["backup-vda"]), "lf-1", "m").is_ok());
        let known = known_since(offer(None, &["lf-1", "lf-2"]), "lf-1", "m").unwrap();
        assert_eq!(known.disks[0].bitmaps, ["lf-1"]);
        let lost = known_since(offer(None, &["backup-vda"]), "lf-1", "m").unwrap_err();
        assert_eq!(
            (&*lost.code, lost.definite, lost.retryable),
            ("since-lost", true, false)
        );
    }

    #[test]
    fn a_disk_that_was_written_holds_the_mark_no_more() {
        let bitmap = |bytes, inconsistent| {
            [Bitmap {
                name: "lf-1".into(),
                bytes,
                inconsistent,
            }]
        };
        assert!(holds(&bitmap(0, false), "lf-1"));
        assert!(!holds(&bitmap(65_536, false), "lf-1"));
        assert!(!holds(&bitmap(0, true), "lf-1"));
        assert!(!holds(&[], "lf-1"));
    }
}
