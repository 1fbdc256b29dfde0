//! The target role: replicas. Each mark that is received has a layer of its own, a qcow2 file over the one before; a
//! recovery point names a mark, and a machine lies over its point's layer. So points cost what changed between them,
//! and nothing that was received is ever written again, but where two layers become one.
//!
//! What a layer holds is certain only when it was flushed and closed. Until then it belongs to one run of the helper:
//! if that run is over, the layer is thrown away, and the cycle begins anew (`mark-lost`).

use landfall_sdk::adapter_types::{DeletePoints, Power, PrepareReplica, ReceiveComplete};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::{Call, Consistency, Failure, Pairs, Progress, RecoveryPoint, pair, session};

use crate::data::{self, Offer, Offered};
use crate::domain;
use crate::epoch;
use crate::facts::{Disk, Entry, Facts, Layer, Open, Origin, Owner, Replica, uuid_from};
use crate::failure::mark_lost;
use crate::helper::{Export, Helper, node_name};
use crate::libvirt::{CONFIG, Domain, Libvirt, uuid_of, uuid_text, with};
use crate::merge::{begin_merge, finish_merge, merging};
use crate::offer::holds;
use crate::storage;
use crate::xml::{escape, parse};

/// A replica and the machine that stands for it.
pub(crate) struct Held {
    pub(crate) domain: Domain,
    pub(crate) replica: Replica,
}

impl Held {
    /// Atomic and durable: libvirt replaces one file.
    pub(crate) fn save(&self, libvirt: &mut Libvirt) -> Result<(), Failure> {
        let text = Facts::Replica(Box::new(self.replica.clone())).to_metadata();
        Ok(libvirt.set_metadata(&self.domain, Some(text), CONFIG)?)
    }

    pub(crate) fn id(&self) -> String {
        self.domain.reference()
    }
}

/// By the reference that the host has.
pub(crate) fn find(libvirt: &mut Libvirt, id: &str) -> Result<Held, Failure> {
    let missing = || {
        let why =
            format!("the site has no replica `{id}`; if somebody removed it, unprotect the item and protect it again");
        Failure::definite("not-found", why)
    };
    let uuid = uuid_of(id).ok_or_else(missing)?;
    let domain = libvirt.find(uuid)?.ok_or_else(missing)?;
    match libvirt
        .metadata(&domain, CONFIG)?
        .as_deref()
        .and_then(Facts::from_metadata)
    {
        Some(Facts::Replica(replica)) => Ok(Held {
            domain,
            replica: *replica,
        }),
        _ => Err(missing()),
    }
}

/// What `prepare-replica` made under this key.
pub(crate) fn prepared(libvirt: &mut Libvirt, key: &str) -> Result<Option<Pairs>, Failure> {
    match find(libvirt, &uuid_text(&uuid_from(key))) {
        Ok(held) => Ok(Some(prepare_outputs(&held))),
        Err(failure) if failure.code == "not-found" => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn prepare_outputs(held: &Held) -> Pairs {
    let mut outputs = vec![("replica".to_owned(), held.id())];
    // The host then asks the source for changes since this mark.
    outputs.extend(held.replica.base.clone().map(|mark| ("mark".to_owned(), mark)));
    outputs
}

pub(crate) fn prepare(libvirt: &mut Libvirt, call: &Call, prepare: &PrepareReplica) -> Result<Pairs, Failure> {
    if let Some(outputs) = prepared(libvirt, &call.key)? {
        return Ok(outputs);
    }
    let machine = &prepare.machine;
    if machine.disks.is_empty() {
        let why = format!("`{}` has no disk that could be replicated", machine.name);
        return Err(Failure::definite("no-disk", why));
    }
    storage::pool(libvirt)?;
    let base = home(libvirt, &machine.ext, machine.disks.len())?;
    let replica = Replica {
        owner: Owner::of(call, &prepare.item),
        machine: machine.id.clone(),
        xml: pair(&machine.ext, "domain-xml").map(str::to_owned),
        cpus: machine.cpus,
        memory_bytes: machine.memory_bytes,
        disks: machine
            .disks
            .iter()
            .map(|disk| Disk {
                id: disk.id.clone(),
                bytes: disk.bytes,
            })
            .collect(),
        next: 1,
        base: base.as_ref().map(|(mark, _)| mark.clone()),
        layers: base.map(|(_, layer)| layer).into_iter().collect(),
        entries: Vec::new(),
        open: None,
        trash: Vec::new(),
        merge: None,
    };
    let uuid = uuid_text(&uuid_from(&call.key));
    let name = format!(
        "landfall-replica-{}-{}",
        word(&prepare.item),
        uuid.get(..8).unwrap_or_default()
    );
    let description = format!(
        "Replica of {} from {}. Landfall's; never started.",
        machine.name, prepare.source_site
    );
    let domain = libvirt.define(definition(
        &uuid,
        &name,
        &description,
        &Facts::Replica(Box::new(replica.clone())),
    ))?;
    Ok(prepare_outputs(&Held { domain, replica }))
}

/// A machine that was here once, and was copied to where it now comes back from: if its disks are still as they were at
/// the mark that the copy began with, only changes since need to come.
fn home(libvirt: &mut Libvirt, ext: &Pairs, disks: usize) -> Result<Option<(String, Layer)>, Failure> {
    let (Some(machine), Some(mark)) = (pair(ext, "origin-machine"), pair(ext, "origin-mark")) else {
        return Ok(None);
    };
    let Some(domain) = uuid_of(machine).map(|uuid| libvirt.find(uuid)).transpose()?.flatten() else {
        return Ok(None);
    };
    if !libvirt.state(&domain)?.is_off() {
        return Ok(None);
    }
    let definition = libvirt.xml(&domain)?;
    let found = parse(&definition).map(|xml| domain::disks(&xml)).unwrap_or_default();
    let files: Vec<String> = found.into_iter().filter_map(|disk| disk.file).collect();
    if files.len() != disks {
        return Ok(None);
    }
    let helper = Helper::ensure(libvirt)?;
    let mut all = true;
    for file in &files {
        let node = helper.open(libvirt, file, true)?;
        all &= holds(&node.bitmaps, mark);
        helper.close(libvirt, file)?;
    }
    let layer = Layer {
        number: 0,
        files,
        foreign: true,
        root: true,
    };
    Ok(all.then(|| (mark.to_owned(), layer)))
}

/// Of a machine that is never started and holds nothing but facts.
pub(crate) fn definition(uuid: &str, name: &str, description: &str, facts: &Facts) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><description>{}</description>\
         <memory unit='KiB'>1024</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os>\
         <features><acpi/></features>{}</domain>",
        escape(description),
        facts.to_element(),
    )
}

/// Of a name, what may stand in a file's name.
pub(crate) fn word(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .take(40)
        .collect()
}

fn offer_key(replica: &str, mark: &str) -> String {
    format!("write/{replica}/{mark}")
}

pub(crate) fn write(call: &Call, replica: &str, mark: &str, offset: u64, buffer: &Buffer) -> Result<(), Failure> {
    // Also where an offer is remembered: who slept since remembers it too.
    with(|libvirt| epoch::check(libvirt, call))?;
    let key = offer_key(replica, mark);
    let offer = if let Some(offer) = Offer::remembered(&key) {
        offer
    } else {
        let offer = with(|libvirt| open(libvirt, call, replica, mark))?;
        offer.remember(&key)?;
        offer
    };
    let written = data::write(&offer, offset, buffer);
    if written.is_err() {
        session::delete(&key);
    }
    // The export is gone: the next try finds out why, and whether it can be had again.
    written.map_err(|failure| match &*failure.code {
        crate::failure::MARK_LOST => Failure::in_doubt("unreachable", failure.message).retryable(),
        _ => failure,
    })
}

/// The layer of a mark, offered for writing.
fn open(libvirt: &mut Libvirt, call: &Call, replica: &str, mark: &str) -> Result<Offer, Failure> {
    let mut held = find(libvirt, replica)?;
    if held.replica.entries.iter().any(|entry| entry.mark == mark) {
        return Err(Failure::definite(
            "received",
            format!("mark `{mark}` was received; it is not written again"),
        ));
    }
    let helper = Helper::ensure(libvirt)?;
    finish_merge(libvirt, &helper, &mut held)?;
    // What is not sent of a whole mark is zeros, whatever was there before.
    let root = held.replica.top().is_none() || pair(&call.ext, "full").is_some();
    let layer = match held.replica.open.clone() {
        Some(open) if open.mark == mark && open.run == helper.run => open.layer,
        Some(open) => {
            discard(libvirt, &helper, &mut held)?;
            if open.mark == mark {
                return Err(mark_lost("the helper at the target ended before the data was safe"));
            }
            begin(libvirt, &helper, &mut held, (mark, root))?
        }
        None => begin(libvirt, &helper, &mut held, (mark, root))?,
    };
    create_files(libvirt, &held.replica, &layer)?;
    let mut disks = Vec::new();
    for (file, disk) in layer.files.iter().zip(&held.replica.disks) {
        helper.open(libvirt, file, false)?;
        let name = node_name(file);
        let export = Export {
            node: &name,
            name: &name,
            writable: true,
            bitmaps: &[],
        };
        helper.export(libvirt, &export)?;
        disks.push(Offered {
            export: name,
            bytes: disk.bytes,
            bitmaps: Vec::new(),
        });
    }
    Ok(Offer {
        port: helper.port,
        disks,
        since: None,
    })
}

/// Notes a layer before its files are made, so that none is ever forgotten.
fn begin(
    libvirt: &mut Libvirt,
    helper: &Helper,
    held: &mut Held,
    (mark, root): (&str, bool),
) -> Result<Layer, Failure> {
    let number = held.replica.next;
    let directory = storage::directory(libvirt, &libvirt.config.pool.clone())?;
    let id = held.id();
    let layer = Layer {
        number,
        files: held
            .replica
            .disks
            .iter()
            .map(|disk| format!("{directory}/{}", file_name(&id, &disk.id, number)))
            .collect(),
        foreign: false,
        root,
    };
    held.replica.next += 1;
    held.replica.open = Some(Open {
        mark: mark.to_owned(),
        layer: layer.clone(),
        run: helper.run.clone(),
    });
    held.save(libvirt)?;
    Ok(layer)
}

fn file_name(replica: &str, disk: &str, number: u32) -> String {
    format!("{replica}.{}.{number}.qcow2", word(disk))
}

fn create_files(libvirt: &mut Libvirt, replica: &Replica, layer: &Layer) -> Result<(), Failure> {
    for (index, (file, disk)) in layer.files.iter().zip(&replica.disks).enumerate() {
        let below = replica.top().filter(|_| !layer.root);
        let over = below.and_then(|below| below.files.get(index)).cloned();
        let name = file.rsplit('/').next().unwrap_or(file);
        storage::create(libvirt, name, disk.bytes, over.as_deref())?;
    }
    Ok(())
}

/// A layer that nobody will finish.
fn discard(libvirt: &mut Libvirt, helper: &Helper, held: &mut Held) -> Result<(), Failure> {
    if let Some(open) = held.replica.open.take() {
        for file in &open.layer.files {
            helper.close(libvirt, file)?;
        }
        held.replica.trash.extend(open.layer.files);
        held.save(libvirt)?;
        empty_trash(libvirt, held)?;
    }
    Ok(())
}

pub(crate) fn empty_trash(libvirt: &mut Libvirt, held: &mut Held) -> Result<(), Failure> {
    if held.replica.trash.is_empty() {
        return Ok(());
    }
    for file in std::mem::take(&mut held.replica.trash) {
        libvirt.delete_volume(&file)?;
    }
    held.save(libvirt)
}

pub(crate) fn receive(libvirt: &mut Libvirt, call: &Call, receive: &ReceiveComplete) -> Result<(), Failure> {
    let mut held = find(libvirt, &receive.replica)?;
    if held.replica.bytes() != receive.bytes {
        let why = format!(
            "the source's disks have {} bytes and the replica's {}; if a disk has grown, unprotect and protect the item",
            receive.bytes,
            held.replica.bytes()
        );
        return Err(Failure::definite("size-mismatch", why));
    }
    if held.replica.entries.iter().any(|entry| entry.mark == receive.mark) {
        return Ok(());
    }
    let is_open = held.replica.open.as_ref().is_some_and(|open| open.mark == receive.mark);
    // Nothing changed: the mark's state is that of the layer that is there. A first mark needs one of its own.
    let is_whole = pair(&call.ext, "full").is_some();
    if is_open || is_whole || held.replica.top().is_none() {
        let offer = open(libvirt, call, &receive.replica, &receive.mark)?;
        data::flush(&offer)?;
        held = find(libvirt, &receive.replica)?;
        let helper = Helper::ensure(libvirt)?;
        if let Some(open) = held.replica.open.take() {
            if open.run != helper.run {
                discard(libvirt, &helper, &mut held)?;
                return Err(mark_lost("the helper at the target ended before the data was safe"));
            }
            for file in &open.layer.files {
                helper.close(libvirt, file)?;
            }
            held.replica.layers.push(open.layer);
        }
    }
    let Some(layer) = held.replica.top().map(|layer| layer.number) else {
        return Err(mark_lost("the replica holds nothing"));
    };
    held.replica.entries.push(Entry {
        mark: receive.mark.clone(),
        layer,
        source_time_ms: receive.source_time_ms,
        app: receive.consistency == Consistency::App,
        group_mark: receive.group_mark.clone(),
        point: None,
        key: None,
    });
    held.replica.base = None;
    session::delete(&offer_key(&receive.replica, &receive.mark));
    held.save(libvirt)
}

/// What waits becomes a point, at once: its data is in its place already. Beside jobs two old layers are then made one,
/// so that the chain stays as long as there are points.
pub(crate) fn process(libvirt: &mut Libvirt, call: &Call, replica: &str) -> Result<Progress, Failure> {
    let mut held = find(libvirt, replica)?;
    let before = held.replica.clone();
    let point = held.replica.process(&call.key);
    if held.replica != before {
        held.save(libvirt)?;
    }
    if call.job.is_none() && begin_merge(libvirt, &mut held)? {
        let point = point.unwrap_or_default();
        return Ok(Progress::Running(merging(&format!("merge/{replica}/{point}"))));
    }
    Ok(Progress::Done(point_outputs(point.as_deref())))
}

pub(crate) fn point_outputs(point: Option<&str>) -> Pairs {
    let point = point.filter(|point| !point.is_empty());
    point
        .map(|point| ("point".to_owned(), point.to_owned()))
        .into_iter()
        .collect()
}

/// What was processed under this key.
pub(crate) fn processed(libvirt: &mut Libvirt, key: &str, replica: &str) -> Result<Option<Pairs>, Failure> {
    let held = find(libvirt, replica)?;
    let entry = held
        .replica
        .entries
        .iter()
        .find(|entry| entry.key.as_deref() == Some(key));
    Ok(entry.map(|entry| point_outputs(entry.point.as_deref())))
}

/// Machines that lie upon a replica.
pub(crate) fn machines(libvirt: &mut Libvirt, replica: &str) -> Result<Vec<(Domain, crate::facts::Machine)>, Failure> {
    let mut found = Vec::new();
    for domain in libvirt.domains()? {
        let Some(text) = libvirt.metadata_if_there(&domain)? else {
            continue;
        };
        if let Some(Facts::Machine(machine)) = Facts::from_metadata(&text)
            && machine.replica.as_deref() == Some(replica)
        {
            found.push((domain, *machine));
        }
    }
    Ok(found)
}

pub(crate) fn points(libvirt: &mut Libvirt, replica: &str) -> Result<Vec<RecoveryPoint>, Failure> {
    let held = find(libvirt, replica)?;
    let point = |entry: &Entry| RecoveryPoint {
        id: entry.point.clone().unwrap_or_else(|| format!("rx-{}", entry.mark)),
        source_time_ms: entry.source_time_ms,
        consistency: if entry.app {
            Consistency::App
        } else {
            Consistency::Crash
        },
        group_mark: entry.group_mark.clone(),
        processed: entry.point.is_some(),
        ext: vec![("mark".to_owned(), entry.mark.clone())],
    };
    Ok(held.replica.entries.iter().rev().map(point).collect())
}

pub(crate) fn delete_points(libvirt: &mut Libvirt, delete: &DeletePoints) -> Result<(), Failure> {
    let mut held = find(libvirt, &delete.replica)?;
    held.replica.delete_points(delete.points.as_deref());
    held.save(libvirt)
}

/// Files that a machine lies upon stay: they are that machine's now.
pub(crate) fn delete(libvirt: &mut Libvirt, replica: &str) -> Result<(), Failure> {
    let held = match find(libvirt, replica) {
        Ok(held) => held,
        Err(failure) if failure.code == "not-found" => return delete_orphans(libvirt, replica),
        Err(failure) => return Err(failure),
    };
    if let Some(helper) = Helper::running(libvirt)? {
        for file in held.replica.open.iter().flat_map(|open| &open.layer.files) {
            helper.close(libvirt, file)?;
        }
    }
    let mut doomed = held.replica.trash.clone();
    doomed.extend(held.replica.open.iter().flat_map(|open| open.layer.files.clone()));
    if machines(libvirt, replica)?.is_empty() {
        let ours = held.replica.layers.iter().filter(|layer| !layer.foreign);
        // The uppermost first: none is ever missing below another.
        doomed.extend(ours.rev().flat_map(|layer| layer.files.clone()));
    }
    for file in doomed {
        libvirt.delete_volume(&file)?;
    }
    libvirt.undefine(&held.domain)?;
    Helper::end_if_idle(libvirt)
}

/// Somebody deleted the replica's definition behind our back, and perhaps not its files.
fn delete_orphans(libvirt: &mut Libvirt, replica: &str) -> Result<(), Failure> {
    let beginning = format!("{replica}.");
    let files = storage::files(libvirt, &beginning)?;
    if files.is_empty() || !machines(libvirt, replica)?.is_empty() {
        return Ok(());
    }
    if let Some(helper) = Helper::running(libvirt)? {
        for file in &files {
            helper.close(libvirt, file)?;
        }
    }
    storage::delete_all(libvirt, &beginning)?;
    Helper::end_if_idle(libvirt)
}

/// The files of a point, one for each disk, and the state that they hold.
pub(crate) fn point_files(held: &Held, point: &str) -> Result<(Vec<String>, Origin), Failure> {
    let entry = held
        .replica
        .entries
        .iter()
        .find(|entry| entry.point.as_deref() == Some(point));
    let layer = entry.and_then(|entry| held.replica.layer(entry.layer));
    let (Some(entry), Some(layer)) = (entry, layer) else {
        return Err(Failure::definite(
            "no-such-point",
            format!("the replica has no point `{point}`"),
        ));
    };
    let origin = Origin {
        machine: held.replica.machine.clone(),
        mark: entry.mark.clone(),
    };
    Ok((layer.files.clone(), origin))
}

/// As `power` of the contract.
pub(crate) fn power(state: crate::libvirt::State) -> Power {
    use crate::libvirt::State;
    match state.state {
        State::SHUT_OFF => Power::Off,
        State::CRASHED | 0 => Power::Unknown,
        _ => Power::On,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        assert_eq!(word("hr/db 1<x>"), "hr-db-1-x-");
        assert_eq!(file_name("u", "vda", 3), "u.vda.3.qcow2");
    }

    #[test]
    fn no_point_is_no_output() {
        assert_eq!(point_outputs(Some("pt-1")), [("point".to_owned(), "pt-1".to_owned())]);
        assert!(point_outputs(None).is_empty() && point_outputs(Some("")).is_empty());
    }
}
