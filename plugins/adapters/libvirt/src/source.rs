//! The source role: a snapshot is a checkpoint with a backup that QEMU offers for pulling. Between two checkpoints QEMU
//! notes which clusters were written, so that only those are sent.
//!
//! A machine that runs keeps its snapshot in a scratch file beside it until the backup ends. One that is off is read
//! through the helper, and gets its checkpoint there, so that what it writes later is noted from then on. Either is
//! gone when the QEMU that holds it ends; the cycle then begins anew (`mark-lost`).

use landfall_sdk::adapter_types::{Release, Snapshot};
use landfall_sdk::{Call, Failure, Pairs, clock, log, pair};

use crate::domain::{self, DiskDefinition};
use crate::facts::{hash, is_mark, mark_from};
use crate::helper::{Helper, node_name};
use crate::libvirt::{Domain, Libvirt};
use crate::offer::{backup_bitmap, export_name, offered_mark};
use crate::rpc::Error;
use crate::xml::{escape, parse, text_at};

/// What QEMU notes writes in: qcow2's own cluster.
const GRANULARITY: u64 = 65_536;

/// One machine of a snapshot.
struct Member {
    item: String,
    domain: Domain,
    mark: String,
    disks: Vec<DiskDefinition>,
    /// The mark that the next changes are asked since, if the host says so.
    since: Option<String>,
    state_off: bool,
}

pub(crate) fn snapshot(libvirt: &mut Libvirt, call: &Call, snapshot: &Snapshot) -> Result<Pairs, Failure> {
    let mut members = Vec::new();
    for member in &snapshot.members {
        let domain = libvirt.domain(&member.machine)?;
        let definition = libvirt.xml(&domain)?;
        let disks = parse(&definition)
            .map(|domain| domain::disks(&domain))
            .unwrap_or_default();
        if let Some(odd) = disks.iter().find(|disk| disk.format.as_deref() != Some("qcow2")) {
            let why = format!(
                "disk `{}` of `{}` is no qcow2 file, so QEMU cannot note what changes; convert it",
                odd.target, domain.name
            );
            return Err(Failure::definite("disk-format", why));
        }
        members.push(Member {
            item: member.item.clone(),
            mark: mark_from(&call.key, &member.machine),
            since: pair(&call.ext, &format!("since/{}", member.item)).map(str::to_owned),
            state_off: libvirt.state(&domain)?.is_off(),
            disks,
            domain,
        });
    }
    let mut outputs = Pairs::new();
    let mut missing = Vec::new();
    for member in members {
        match libvirt.checkpoint(&member.domain, &member.mark)? {
            // An earlier try under the same key.
            Some(checkpoint) => {
                let text = libvirt.checkpoint_xml(&checkpoint)?;
                let time = parse(&text).and_then(|xml| text_at(&xml, &["description"]));
                put(&mut outputs, &member, time.as_deref().unwrap_or_default());
            }
            None => missing.push(member),
        }
    }
    if !missing.is_empty() {
        take(libvirt, &missing, snapshot.quiesce, &mut outputs)?;
    }
    Ok(outputs)
}

/// The description holds the time.
fn put(outputs: &mut Pairs, member: &Member, time: &str) {
    outputs.push((format!("mark/{}", member.item), member.mark.clone()));
    outputs.push((format!("source-time-ms/{}", member.item), time.to_owned()));
}

/// Several machines are stopped for the moment that it takes, so that all have the same barrier; whatever happens, they
/// go on.
fn take(libvirt: &mut Libvirt, members: &[Member], quiesce: bool, outputs: &mut Pairs) -> Result<(), Failure> {
    for member in members {
        if !member.state_off {
            end_backup(libvirt, &member.domain)?;
        }
    }
    let running: Vec<&Member> = members.iter().filter(|member| !member.state_off).collect();
    let mut frozen = Vec::new();
    let mut stopped = Vec::new();
    let done = barrier(libvirt, members, &running, quiesce, outputs, &mut frozen, &mut stopped);
    for domain in stopped.iter().rev() {
        libvirt.resume(domain)?;
    }
    for domain in &frozen {
        libvirt.thaw(domain)?;
    }
    if done.is_ok() {
        forget_lost(libvirt, members)?;
    }
    done
}

/// Marks of cycles that were given up: where the host says since which mark it will ask, nobody asks for others.
fn forget_lost(libvirt: &mut Libvirt, members: &[Member]) -> Result<(), Failure> {
    for member in members
        .iter()
        .filter(|member| member.since.is_some() && !member.state_off)
    {
        for checkpoint in libvirt.checkpoints(&member.domain)? {
            let name = &checkpoint.0;
            if is_mark(name) && *name != member.mark && Some(name) != member.since.as_ref() {
                // It is asked again with the next snapshot.
                let _ = libvirt.delete_checkpoint(&checkpoint, false);
            }
        }
    }
    Ok(())
}

fn barrier(
    libvirt: &mut Libvirt,
    members: &[Member],
    running: &[&Member],
    quiesce: bool,
    outputs: &mut Pairs,
    frozen: &mut Vec<Domain>,
    stopped: &mut Vec<Domain>,
) -> Result<(), Failure> {
    if quiesce {
        for member in running {
            let live = libvirt.live_xml(&member.domain)?;
            if !parse(&live).is_some_and(|live| domain::has_agent(&live)) {
                let why = format!(
                    "no guest agent answers in `{}`; install qemu-guest-agent there",
                    member.domain.name
                );
                return Err(Failure::definite("no-guest-agent", why));
            }
            // Thawed in any case: a freeze that failed half way may have frozen.
            frozen.push(member.domain.clone());
            libvirt.freeze(&member.domain).map_err(|error| {
                let why = format!(
                    "the guest agent in `{}` does not freeze: {}",
                    member.domain.name,
                    Failure::from(error).message
                );
                Failure::definite("not-quiesced", why)
            })?;
        }
    }
    if running.len() > 1 {
        for member in running {
            stopped.push(member.domain.clone());
            libvirt.suspend(&member.domain)?;
        }
    }
    for member in members {
        // Before the barrier: what is lost is never more than the age that is shown.
        let time = clock::now_ms().to_string();
        if member.state_off {
            mark_off(libvirt, member, &time)?;
        } else {
            begin(libvirt, member, &time)?;
        }
        put(outputs, member, &time);
    }
    Ok(())
}

/// Ends a backup of ours. Somebody else's is not ours to end.
fn end_backup(libvirt: &mut Libvirt, domain: &Domain) -> Result<(), Failure> {
    let Some(backup) = libvirt.backup(domain)? else {
        return Ok(());
    };
    let ours = parse(&backup).is_some_and(|backup| offered_mark(&backup).is_some());
    if !ours {
        let why = format!(
            "another program backs up `{}`; it goes on when that is over",
            domain.name
        );
        return Err(Failure::definite("busy", why).retryable());
    }
    match libvirt.abort_job(domain) {
        // It was over.
        Err(error) if error.says("no job is active") => Ok(()),
        other => Ok(other?),
    }
}

/// The mark that changes are noted since: the one that the host will ask about, else the oldest there is, since which
/// all newer changes are noted too.
fn base(libvirt: &mut Libvirt, member: &Member) -> Result<Option<String>, Failure> {
    let checkpoints = libvirt.checkpoints(&member.domain)?;
    let mut marks = Vec::new();
    for checkpoint in checkpoints.iter().filter(|(name, _)| is_mark(name)) {
        if member.since.as_ref() == Some(&checkpoint.0) {
            return Ok(Some(checkpoint.0.clone()));
        }
        let text = libvirt.checkpoint_xml(checkpoint)?;
        let time = parse(&text).and_then(|xml| text_at(&xml, &["creationTime"]));
        let time: u64 = time.and_then(|text| text.parse().ok()).unwrap_or(0);
        marks.push((time, checkpoint.0.clone()));
    }
    // The host said what it will ask about, and that is gone: nothing else helps.
    if member.since.is_some() {
        return Ok(None);
    }
    Ok(marks.into_iter().min().map(|(_, name)| name))
}

/// A running machine: a backup for pulling, with a new checkpoint.
fn begin(libvirt: &mut Libvirt, member: &Member, time: &str) -> Result<(), Failure> {
    let since = base(libvirt, member)?;
    let directory = scratch_directory(libvirt)?;
    let checkpoint = checkpoint_xml(member, time, None);
    let mut since = since.as_deref();
    let ports: Vec<u16> = libvirt.config.ports_from(hash(&member.mark)).collect();
    let mut ports = ports.into_iter().peekable();
    loop {
        let Some(port) = ports.peek().copied() else {
            let why = "no port of `nbd-ports` is free for another backup";
            return Err(Failure::definite("no-port", why).retryable());
        };
        let backup = backup_xml(member, since, &libvirt.config.listen, port, &directory);
        match libvirt.begin_backup(&member.domain, backup, checkpoint.clone()) {
            Ok(()) => return Ok(()),
            Err(error) if error.says("address already in use") || error.says("failed to bind") => {
                ports.next();
            }
            // After a machine's QEMU was killed nobody knows what changed: everything is sent then.
            Err(Error::Refused(refusal)) if since.is_some() => {
                log::warn!(
                    "{}: what changed since the last snapshot is not known ({}); everything will be sent",
                    member.domain.name,
                    refusal.message
                );
                since = None;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where QEMU keeps what a running machine overwrites during a backup: in the pool.
fn scratch_directory(libvirt: &mut Libvirt) -> Result<String, Failure> {
    let name = libvirt.config.pool.clone();
    crate::storage::directory(libvirt, &name)
}

fn backup_xml(member: &Member, since: Option<&str>, listen: &str, port: u16, directory: &str) -> String {
    let since = since
        .map(|since| format!("<incremental>{}</incremental>", escape(since)))
        .unwrap_or_default();
    let disks: Vec<String> = member
        .disks
        .iter()
        .map(|disk| {
            let target = escape(&disk.target);
            format!(
                "<disk name='{target}' backup='yes' type='file' exportname='{}' exportbitmap='{}'>\
                 <scratch file='{}/{}-{target}.scratch'/></disk>",
                export_name(&member.mark, &target),
                backup_bitmap(&target),
                escape(directory),
                member.mark,
            )
        })
        .collect();
    format!(
        "<domainbackup mode='pull'>{since}<server transport='tcp' name='{}' port='{port}'/><disks>{}</disks></domainbackup>",
        escape(listen),
        disks.concat()
    )
}

/// `definition`: libvirt is told of a checkpoint that the disks have already.
fn checkpoint_xml(member: &Member, time: &str, definition: Option<&str>) -> String {
    let disks: Vec<String> = member
        .disks
        .iter()
        .map(|disk| {
            let bitmap = definition
                .map(|_| format!(" bitmap='{}'", member.mark))
                .unwrap_or_default();
            format!("<disk name='{}' checkpoint='bitmap'{bitmap}/>", escape(&disk.target))
        })
        .collect();
    let seconds = time.parse::<u64>().unwrap_or(0) / 1_000;
    let more = definition
        .map(|definition| format!("<creationTime>{seconds}</creationTime>{definition}"))
        .unwrap_or_default();
    format!(
        "<domaincheckpoint><name>{}</name><description>{time}</description><disks>{}</disks>{more}</domaincheckpoint>",
        member.mark,
        disks.concat()
    )
}

/// A machine that is off: a bitmap on each disk, written by the helper, and libvirt told of it.
fn mark_off(libvirt: &mut Libvirt, member: &Member, time: &str) -> Result<(), Failure> {
    let helper = Helper::ensure(libvirt)?;
    for file in member.disks.iter().filter_map(|disk| disk.file.as_deref()) {
        let node = helper.open(libvirt, file, false)?;
        if !node.bitmaps.iter().any(|bitmap| bitmap.name == member.mark) {
            let arguments = serde_json::json!({
                "node": node.name, "name": member.mark, "persistent": true, "granularity": GRANULARITY,
            });
            helper.command(libvirt, "block-dirty-bitmap-add", &arguments)?;
        }
        // Closing writes it into the file.
        helper.close(libvirt, file)?;
    }
    let definition = libvirt.xml(&member.domain)?;
    let checkpoint = checkpoint_xml(member, time, Some(&definition));
    Ok(libvirt.create_checkpoint(&member.domain, checkpoint, true)?)
}

/// At the end of a cycle: old marks go, and nothing is read any more.
pub(crate) fn release(libvirt: &mut Libvirt, release: &Release) -> Result<(), Failure> {
    let domain = match libvirt.domain(&release.machine) {
        Ok(domain) => domain,
        // Its marks went with it.
        Err(failure) if failure.code == "not-found" => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let off = libvirt.state(&domain)?.is_off();
    if off {
        release_off(libvirt, &domain, &release.marks)?;
    } else {
        end_backup(libvirt, &domain)?;
    }
    for mark in &release.marks {
        if let Some(checkpoint) = libvirt.checkpoint(&domain, mark)? {
            let deleted = libvirt.delete_checkpoint(&checkpoint, off);
            // A bitmap that QEMU does not vouch for cannot be deleted by it; libvirt may forget it.
            if deleted.is_err() && !off {
                libvirt.delete_checkpoint(&checkpoint, true)?;
            }
        }
    }
    Ok(())
}

fn release_off(libvirt: &mut Libvirt, domain: &Domain, marks: &[String]) -> Result<(), Failure> {
    let helper = Helper::ensure(libvirt)?;
    let definition = libvirt.xml(domain)?;
    let disks = parse(&definition).map(|xml| domain::disks(&xml)).unwrap_or_default();
    for file in disks.iter().filter_map(|disk| disk.file.as_deref()) {
        let node = helper.open(libvirt, file, false)?;
        for bitmap in node.bitmaps.iter().filter(|bitmap| marks.contains(&bitmap.name)) {
            let arguments = serde_json::json!({ "node": node.name, "name": bitmap.name });
            helper.command(libvirt, "block-dirty-bitmap-remove", &arguments)?;
        }
        helper.close(libvirt, file)?;
    }
    Ok(())
}

/// Lets go of a machine's disks, so that it can start.
pub(crate) fn let_go(libvirt: &mut Libvirt, definition: &str) -> Result<(), Failure> {
    let Some(helper) = Helper::running(libvirt)? else {
        return Ok(());
    };
    let disks = parse(definition).map(|xml| domain::disks(&xml)).unwrap_or_default();
    let nodes = helper.nodes(libvirt)?;
    for file in disks.iter().filter_map(|disk| disk.file.as_deref()) {
        if nodes.iter().any(|node| node.name == node_name(file)) {
            helper.close(libvirt, file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            item: "db".into(),
            domain: Domain {
                name: "db".into(),
                uuid: [0; 16],
                id: 1,
            },
            mark: "lf-1".into(),
            disks: vec![DiskDefinition {
                target: "vda".into(),
                file: Some("/a/db".into()),
                format: Some("qcow2".into()),
            }],
            since: None,
            state_off: false,
        }
    }

    #[test]
    fn a_backup_says_which_mark_it_is_for() {
        let text = backup_xml(&member(), Some("lf-0"), "127.0.0.1", 49_152, "/pool");
        let backup = parse(&text).unwrap();
        assert_eq!(offered_mark(&backup).as_deref(), Some("lf-1"));
        assert_eq!(text_at(&backup, &["incremental"]).as_deref(), Some("lf-0"));
        let others = "<domainbackup><disks><disk name='vda' exportname='vda'/></disks></domainbackup>";
        assert_eq!(offered_mark(&parse(others).unwrap()), None, "another program's");
    }

    #[test]
    fn a_checkpoint_keeps_its_time_to_the_millisecond() {
        let text = checkpoint_xml(&member(), "1795343295123", None);
        assert_eq!(
            text_at(&parse(&text).unwrap(), &["description"]).as_deref(),
            Some("1795343295123")
        );
        let told = parse(&checkpoint_xml(&member(), "1795343295123", Some("<domain/>"))).unwrap();
        assert_eq!(text_at(&told, &["creationTime"]).as_deref(), Some("1795343295"));
    }
}
