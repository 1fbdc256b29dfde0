//! Machines: made of a recovery point, started, stopped, held, fenced, thrown away. Whatever is asked twice is done
//! once: a machine's UUID follows from the key that made it, and the rest is told from how the machine is.

use landfall_sdk::adapter_types::{ChangePoint, CreateMachine, Hold, MachinePage, PowerAnswer, Shutdown};
use landfall_sdk::{Call, Failure, Pairs, Progress, Running, clock, log};

use crate::domain::{self, Copy};
use crate::facts::{Facts, Machine, Nic, Owner, uuid_from};
use crate::failure::code;
use crate::libvirt::{CONFIG, Domain, LIVE, Libvirt, State, uuid_of, uuid_text};
use crate::network;
use crate::rpc::Error;
use crate::source::let_go;
use crate::storage;
use crate::target::{self, Held};
use crate::xml::parse;

/// How often it is looked whether a guest is down.
const SHUTDOWN_POLL_MS: u32 = 500;

/// Machines of one page.
const PAGE: usize = 200;

/// What is kept with a machine. One that is nobody's has nothing yet.
pub(crate) fn kept(libvirt: &mut Libvirt, domain: &Domain) -> Result<Machine, Failure> {
    let flags = if domain.is_active() { 0 } else { CONFIG };
    let text = libvirt.metadata(domain, flags)?;
    match text.as_deref().and_then(Facts::from_metadata) {
        Some(Facts::Machine(machine)) => Ok(*machine),
        None => Ok(Machine::default()),
        Some(Facts::Replica(_) | Facts::Helper(_) | Facts::Epoch(_)) => Err(Failure::definite(
            "not-found",
            format!("`{}` is Landfall's own and no machine", domain.name),
        )),
    }
}

/// Nothing to keep leaves nothing behind.
fn keep(libvirt: &mut Libvirt, domain: &Domain, machine: Machine) -> Result<(), Failure> {
    let flags = if domain.is_active() { LIVE | CONFIG } else { CONFIG };
    let text = (machine != Machine::default()).then(|| Facts::Machine(Box::new(machine)).to_metadata());
    match libvirt.set_metadata(domain, text, flags) {
        Err(error) if error.code() == Some(code::NO_METADATA) => Ok(()),
        other => Ok(other?),
    }
}

pub(crate) fn list(libvirt: &mut Libvirt, cursor: Option<&str>) -> Result<MachinePage, Failure> {
    let mut domains = libvirt.domains()?;
    domains.sort_by_key(|domain| domain.uuid);
    let after = cursor.and_then(uuid_of);
    let mut rest = domains
        .into_iter()
        .filter(|domain| after.is_none_or(|after| domain.uuid > after));
    let mut page = MachinePage {
        machines: Vec::new(),
        next: None,
    };
    for domain in rest.by_ref().take(PAGE) {
        page.next = Some(domain.reference());
        let Some(xml) = libvirt.xml_if_there(&domain)? else {
            continue;
        };
        let facts = parse(&xml).and_then(|xml| Facts::from_domain(&xml));
        if matches!(facts, Some(Facts::Replica(_) | Facts::Helper(_) | Facts::Epoch(_))) {
            continue;
        }
        let targets = parse(&xml).map(|xml| domain::disks(&xml)).unwrap_or_default();
        let mut sizes = Vec::new();
        for disk in targets {
            match libvirt.disk_bytes(&domain, &disk.target) {
                Ok(bytes) => sizes.push((disk.target, bytes)),
                // A file that is missing has no size; preflight says so.
                Err(Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        page.machines
            .extend(domain::machine(&domain.reference(), &xml, domain.is_active(), &sizes));
    }
    if rest.next().is_none() {
        page.next = None;
    }
    Ok(page)
}

pub(crate) fn power(libvirt: &mut Libvirt, machine: &str) -> Result<PowerAnswer, Failure> {
    let domain = libvirt.domain(machine)?;
    kept(libvirt, &domain)?;
    let state = libvirt.state(&domain)?;
    let autostart = libvirt.autostart(&domain)?;
    let evidence = [
        ("machine", domain.name.clone()),
        ("uuid", domain.reference()),
        ("state", state.name().to_owned()),
        ("state-and-reason", format!("{}/{}", state.state, state.reason)),
        ("autostart", autostart.to_string()),
        ("libvirt", libvirt.version()?),
    ];
    Ok(PowerAnswer {
        power: target::power(state),
        autostart: Some(autostart),
        evidence: evidence.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    })
}

/// The machine that was made under this key.
pub(crate) fn created(libvirt: &mut Libvirt, key: &str) -> Result<Option<Pairs>, Failure> {
    let Some(domain) = libvirt.find(uuid_from(key))? else {
        return Ok(None);
    };
    let owner = kept(libvirt, &domain)?.owner;
    if owner.is_none_or(|owner| owner.key != key) {
        let why = format!("machine `{}` has the UUID of this effect and another key", domain.name);
        return Err(Failure::in_doubt("name-taken", why));
    }
    Ok(Some(vec![("machine".to_owned(), domain.reference())]))
}

pub(crate) fn create(libvirt: &mut Libvirt, call: &Call, create: &CreateMachine) -> Result<Pairs, Failure> {
    if let Some(outputs) = created(libvirt, &call.key)? {
        return Ok(outputs);
    }
    let held = target::find(libvirt, &create.replica)?;
    let (below, origin) = target::point_files(&held, &create.point)?;
    let cards = network::cards(libvirt, &create.networks, create.isolated)?;
    let uuid = uuid_text(&uuid_from(&call.key));
    let files = overlays(libvirt, &held, &uuid, 0, &below)?;
    let machine = Machine {
        owner: Some(Owner::of(call, &create.item)),
        replica: Some(create.replica.clone()),
        point: Some(create.point.clone()),
        files: files.clone(),
        // What a test writes is thrown away; nothing comes back from it.
        origin: (!create.isolated).then_some(origin),
        nics: create
            .networks
            .iter()
            .map(|mapping| Nic {
                id: mapping.nic.clone(),
                network: mapping.network.clone(),
                addresses: mapping.addresses.clone(),
            })
            .collect(),
        ..Machine::default()
    };
    let facts = Facts::Machine(Box::new(machine));
    let name = free_name(libvirt, &create.name, &uuid)?;
    let copy = Copy {
        uuid: &uuid,
        name: &name,
        of: held.replica.xml.as_deref(),
        cpus: create.cpus.or(held.replica.cpus),
        memory_bytes: create.memory_bytes.or(held.replica.memory_bytes),
        disks: paired(&held, &files),
        cards,
        facts: &facts,
    };
    let xml = domain::define(&copy).ok_or_else(|| {
        Failure::definite(
            "bad-definition",
            "the source's definition of the machine cannot be read",
        )
    })?;
    let domain = libvirt.define(xml)?;
    // Layers may have become one meanwhile, and the point lies in other files now.
    let now = target::find(libvirt, &create.replica)?;
    if target::point_files(&now, &create.point)?.0 != below {
        libvirt.undefine(&domain)?;
        for file in &files {
            libvirt.delete_volume(file)?;
        }
        let why = "the point's files moved while the machine was made; it is made anew";
        return Err(Failure::in_doubt("busy", why).retryable());
    }
    Ok(vec![("machine".to_owned(), uuid)])
}

fn paired(held: &Held, files: &[String]) -> Vec<(String, String)> {
    let disks = held.replica.disks.iter().map(|disk| disk.id.clone());
    disks.zip(files.iter().cloned()).collect()
}

/// A machine's own files over those of a point.
fn overlays(
    libvirt: &mut Libvirt,
    held: &Held,
    uuid: &str,
    turn: u32,
    below: &[String],
) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    for (disk, below) in held.replica.disks.iter().zip(below) {
        let name = format!("{uuid}.{}.{turn}.qcow2", target::word(&disk.id));
        files.push(storage::create(libvirt, &name, disk.bytes, Some(below))?);
    }
    Ok(files)
}

/// The wanted name, or one that is like it if that is taken: as by the machine itself, where it comes back to.
fn free_name(libvirt: &mut Libvirt, name: &str, uuid: &str) -> Result<String, Failure> {
    if libvirt.find_name(name)?.is_none() {
        return Ok(name.to_owned());
    }
    let taken = format!("{name}-{}", uuid.get(..8).unwrap_or(uuid));
    log::info!("the name `{name}` is taken; the machine is made as `{taken}`");
    Ok(taken)
}

pub(crate) fn start(libvirt: &mut Libvirt, machine: &str) -> Result<Pairs, Failure> {
    let domain = libvirt.domain(machine)?;
    let kept = kept(libvirt, &domain)?;
    if kept.fenced.is_some() {
        let why = format!("`{}` was fenced; `hold` with `held = false` lifts that", domain.name);
        return Err(Failure::definite("fenced", why));
    }
    let state = libvirt.state(&domain)?;
    let mark = kept.origin.map(|origin| origin.mark);
    if state.is_off() {
        let xml = libvirt.xml(&domain)?;
        let_go(libvirt, &xml)?;
        // A machine that may come back starts with its processors stopped, so that nothing it writes goes unnoticed.
        let noted = match &mark {
            Some(mark) => libvirt.checkpoint(&domain, mark)?.is_some() || !libvirt.checkpoints(&domain)?.is_empty(),
            None => true,
        };
        libvirt.start(&domain, !noted)?;
        if noted {
            return Ok(Pairs::new());
        }
    } else if state.state != State::PAUSED {
        return Ok(Pairs::new());
    }
    // It stands still: by us, now or in an earlier try, or by somebody else.
    if let Some(mark) = mark
        && libvirt.checkpoints(&domain)?.is_empty()
    {
        let xml = libvirt.xml(&domain)?;
        let noted = libvirt.create_checkpoint(&domain, first_checkpoint(&xml, &mark, clock::now_ms()), false);
        // A machine that is needed starts; that it comes back with everything and not with changes is the lesser evil.
        if let Err(error) = noted {
            let why = Failure::from(error).message;
            log::warn!("`{}` starts, and what it writes is not noted: {why}", domain.name);
        }
    }
    libvirt.resume(&domain)?;
    Ok(Pairs::new())
}

/// From here on QEMU notes what is written.
fn first_checkpoint(xml: &str, mark: &str, now_ms: u64) -> String {
    let disks = parse(xml).map(|xml| domain::disks(&xml)).unwrap_or_default();
    let disk = |disk: &domain::DiskDefinition| {
        format!(
            "<disk name='{}' checkpoint='bitmap'/>",
            crate::xml::escape(&disk.target)
        )
    };
    let disks: String = disks.iter().map(disk).collect();
    format!(
        "<domaincheckpoint><name>{mark}</name><description>{now_ms}</description><disks>{disks}</disks></domaincheckpoint>"
    )
}

/// As [`shut_down`], for a machine made here: one that is gone is off.
pub(crate) fn stop(libvirt: &mut Libvirt, shutdown: &Shutdown) -> Result<Progress, Failure> {
    match shut_down(libvirt, shutdown) {
        Err(failure) if failure.code == "not-found" => Ok(Progress::Done(Pairs::new())),
        other => other,
    }
}

/// Guest shutdown, or power off when forced.
pub(crate) fn shut_down(libvirt: &mut Libvirt, shutdown: &Shutdown) -> Result<Progress, Failure> {
    let domain = libvirt.domain(&shutdown.machine)?;
    kept(libvirt, &domain)?;
    if libvirt.state(&domain)?.is_off() {
        return Ok(Progress::Done(Pairs::new()));
    }
    if shutdown.forced {
        return match libvirt.destroy(&domain) {
            Err(error) if error.says("not running") => Ok(Progress::Done(Pairs::new())),
            other => Ok(other.map(|()| Progress::Done(Pairs::new()))?),
        };
    }
    match libvirt.shutdown(&domain) {
        Err(error) if error.says("not running") => return Ok(Progress::Done(Pairs::new())),
        other => other?,
    }
    let deadline = clock::now_ms() + libvirt.config.shutdown_ms;
    Ok(Progress::Running(shutting_down(&shutdown.machine, deadline)))
}

fn shutting_down(machine: &str, deadline: u64) -> Running {
    Running {
        handle: format!("down/{machine}/{deadline}"),
        percent: None,
        note: "the guest shuts down".to_owned(),
        poll_after_ms: SHUTDOWN_POLL_MS,
    }
}

pub(crate) fn poll_stop(libvirt: &mut Libvirt, machine: &str, deadline: u64) -> Result<Progress, Failure> {
    let domain = libvirt.domain(machine)?;
    let state = libvirt.state(&domain)?;
    if state.is_off() {
        return Ok(Progress::Done(Pairs::new()));
    }
    if clock::now_ms() > deadline {
        let why = format!(
            "`{}` was asked to shut down and is {} still; look at its console, or force it",
            domain.name,
            state.name()
        );
        return Ok(Progress::Failed(Failure::in_doubt("shutdown-timeout", why).retryable()));
    }
    Ok(Progress::Running(shutting_down(machine, deadline)))
}

pub(crate) fn hold(libvirt: &mut Libvirt, hold: &Hold) -> Result<(), Failure> {
    let domain = libvirt.domain(&hold.machine)?;
    let mut machine = kept(libvirt, &domain)?;
    if hold.held {
        if machine.held.is_none() {
            machine.held = Some(libvirt.autostart(&domain)?);
            keep(libvirt, &domain, machine)?;
        }
        return Ok(libvirt.set_autostart(&domain, false)?);
    }
    if let Some(before) = machine.held.take() {
        libvirt.set_autostart(&domain, before)?;
    }
    machine.fenced = None;
    keep(libvirt, &domain, machine)
}

/// Power off, no start by itself, and none by us until the hold is lifted.
pub(crate) fn fence(libvirt: &mut Libvirt, call: &Call, reference: &str) -> Result<(), Failure> {
    let domain = libvirt.domain(reference)?;
    let mut machine = kept(libvirt, &domain)?;
    if machine.fenced.is_none() {
        machine.held = Some(machine.held.unwrap_or(libvirt.autostart(&domain)?));
        machine.fenced = Some(call.key.clone());
        keep(libvirt, &domain, machine)?;
    }
    libvirt.set_autostart(&domain, false)?;
    if !libvirt.state(&domain)?.is_off() {
        match libvirt.destroy(&domain) {
            Err(error) if error.says("not running") => {}
            other => other?,
        }
    }
    Ok(())
}

/// What `change-point` did under this key.
pub(crate) fn changed(libvirt: &mut Libvirt, key: &str, machine: &str) -> Result<bool, Failure> {
    let domain = libvirt.domain(machine)?;
    Ok(kept(libvirt, &domain)?.change_key.as_deref() == Some(key))
}

pub(crate) fn change(libvirt: &mut Libvirt, call: &Call, change: &ChangePoint) -> Result<(), Failure> {
    let domain = libvirt.domain(&change.machine)?;
    let mut machine = kept(libvirt, &domain)?;
    if machine.change_key.as_deref() == Some(&*call.key) {
        return remove_others(libvirt, &domain, &machine);
    }
    ours(&domain, &machine)?;
    if !libvirt.state(&domain)?.is_off() {
        let why = format!("`{}` runs; it goes to another point only when it is off", domain.name);
        return Err(Failure::definite("running", why));
    }
    let held = target::find(libvirt, &change.replica)?;
    let (below, origin) = target::point_files(&held, &change.point)?;
    machine.turn += 1;
    machine.files = overlays(libvirt, &held, &change.machine, machine.turn, &below)?;
    machine.point = Some(change.point.clone());
    machine.origin = machine.origin.map(|_| origin);
    machine.change_key = Some(call.key.clone());
    let files = paired(&held, &machine.files);
    let xml = libvirt.xml(&domain)?;
    let facts = Facts::Machine(Box::new(machine.clone()));
    let xml = domain::with_files(&xml, &files, &facts)
        .ok_or_else(|| Failure::in_doubt("unexpected-answer", "the machine's definition cannot be read"))?;
    // What was noted of the old disks says nothing of the new ones.
    for checkpoint in libvirt.checkpoints(&domain)? {
        libvirt.delete_checkpoint(&checkpoint, true)?;
    }
    let domain = libvirt.define(xml)?;
    remove_others(libvirt, &domain, &machine)
}

/// Files of earlier turns.
fn remove_others(libvirt: &mut Libvirt, domain: &Domain, machine: &Machine) -> Result<(), Failure> {
    let Some(turn) = machine.turn.checked_sub(1) else {
        return Ok(());
    };
    for file in &machine.files {
        let (now, before) = (format!(".{}.qcow2", machine.turn), format!(".{turn}.qcow2"));
        if let Some(stem) = file.strip_suffix(&now) {
            libvirt.delete_volume(&format!("{stem}{before}"))?;
        }
    }
    log::debug!("`{}` lies over its new point", domain.name);
    Ok(())
}

/// Machines that were there before us are never deleted or put over other disks.
fn ours(domain: &Domain, machine: &Machine) -> Result<(), Failure> {
    if machine.owner.is_some() {
        return Ok(());
    }
    let why = format!("Landfall did not make `{}`, and leaves its disks alone", domain.name);
    Err(Failure::definite("not-ours", why))
}

pub(crate) fn delete(libvirt: &mut Libvirt, reference: &str) -> Result<(), Failure> {
    let domain = match libvirt.domain(reference) {
        Ok(domain) => domain,
        // Somebody deleted it behind our back, and perhaps not its files.
        Err(failure) if failure.code == "not-found" => return storage::delete_all(libvirt, &format!("{reference}.")),
        Err(failure) => return Err(failure),
    };
    let machine = kept(libvirt, &domain)?;
    ours(&domain, &machine)?;
    if !libvirt.state(&domain)?.is_off() {
        match libvirt.destroy(&domain) {
            Err(error) if error.says("not running") => {}
            other => other?,
        }
    }
    let xml = libvirt.xml(&domain)?;
    let_go(libvirt, &xml)?;
    // The definition names the files, so it goes last.
    for file in &machine.files {
        libvirt.delete_volume(file)?;
    }
    Ok(libvirt.undefine(&domain)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_says_what_it_waits_for() {
        assert_eq!(shutting_down("u", 5).handle, "down/u/5");
    }

    #[test]
    fn the_first_checkpoint_is_the_points_mark() {
        let xml = "<domain><devices><disk device='disk'><target dev='vda'/></disk></devices></domain>";
        let text = parse(&first_checkpoint(xml, "lf-9", 5)).unwrap();
        assert_eq!(crate::xml::text_at(&text, &["name"]).as_deref(), Some("lf-9"));
        assert_eq!(crate::xml::named(text.get_child("disks").unwrap(), "disk").count(), 1);
    }
}
