//! Where the disks of a machine that comes home lie: its old ones, or new ones that it is given.

use crate::machine::{Disk, Machine};
use crate::site::Datastore;
use crate::{Case, Location, Severity, Verdict, servers};

pub(crate) fn rules(case: &Case<'_>, verdict: &mut Verdict) {
    if !case.reprotects() {
        return;
    }
    match (case.location, case.original) {
        (Some(Location::Original), Some(original)) => {
            reachable(case, original, verdict);
            attached(case, original, verdict);
        }
        (Some(Location::Alternate), _) => alternate(case, verdict),
        _ => {}
    }
}

/// The datastores of a machine, each once.
fn stores<'a>(case: &Case<'a>, machine: &'a Machine) -> Vec<&'a Datastore> {
    let own = machine.datastore.as_deref();
    let names = machine
        .disks
        .iter()
        .filter_map(|disk| disk.datastore.as_deref().or(own));
    let mut stores: Vec<&Datastore> = Vec::new();
    for name in names.chain(own) {
        if let Some(store) = case.site.datastore(name)
            && !stores.iter().any(|known| known.id == store.id)
        {
            stores.push(store);
        }
    }
    stores
}

/// B08: the master target's ESX host reaches the datastore of the machine, with a vCenter or without.
fn reachable(case: &Case<'_>, original: &Machine, verdict: &mut Verdict) {
    let Some(target) = servers::serving(case) else { return };
    for store in stores(case, original) {
        if !store.is_reached_from(&target.host) {
            verdict.refuse(
                "datastore-not-reachable",
                format!(
                    "ESX host `{}` of master target `{}` does not reach datastore `{}` of `{}`",
                    target.host, target.id, store.id, original.name
                ),
                "Give the host access to it, move the machine's disks, or choose another master target.",
            );
        }
    }
}

/// B10: on vSAN and RDM no disk can be made; those that are wanted must exist and be attached.
fn attached(case: &Case<'_>, original: &Machine, verdict: &mut Verdict) {
    let place = |disk: Option<&Disk>| {
        let name = disk
            .and_then(|disk| disk.datastore.as_deref())
            .or(original.datastore.as_deref())?;
        case.site
            .datastore(name)
            .filter(|store| store.takes_only_attached_disks())
    };
    let wanted = case.machine.map_or(&original.disks, |machine| &machine.disks);
    for disk in wanted {
        let there = original.disks.iter().find(|one| one.id == disk.id);
        let Some(store) = place(there) else { continue };
        let what = match there {
            None => "does not exist",
            Some(disk) if !disk.attached => "is not attached",
            Some(_) => continue,
        };
        verdict.refuse(
            "disk-not-attached",
            format!(
                "disk `{}` of `{}` on {} `{}` {what}",
                disk.id, original.name, store.kind, store.id
            ),
            "Make and attach it first; on vSAN and RDM no disk is made on the way back.",
        );
    }
}

/// B11: onto the ESX host of the master target, and a datastore that is chosen at reprotect. B12: VMFS only, and longer.
fn alternate(case: &Case<'_>, verdict: &mut Verdict) {
    let target = servers::serving(case);
    if let (Some(target), Some(host)) = (target, case.option("esx-host"))
        && host != target.host
    {
        verdict.refuse(
            "datastore-not-chosen",
            format!(
                "the machine would be made on ESX host `{host}`, and master target `{}` is on `{}`",
                target.id, target.host
            ),
            format!(
                "Choose `esx-host = \"{}\"`, or a master target on `{host}`.",
                target.host
            ),
        );
    }
    let stores = &case.site.datastores;
    let usable = || {
        let fits =
            |store: &&Datastore| store.is_vmfs() && target.is_none_or(|target| store.is_reached_from(&target.host));
        let names: Vec<&str> = stores.iter().filter(fits).map(|store| &*store.id).collect();
        if names.is_empty() {
            "none of this site does".to_owned()
        } else {
            names.join(", ")
        }
    };
    match case.option("datastore") {
        None => verdict.refuse(
            "datastore-not-chosen",
            format!(
                "`{}` is made anew, and no datastore is chosen for it",
                case.machine_name()
            ),
            format!("Choose one: `--set datastore=NAME` ({}).", usable()),
        ),
        Some(chosen) => match case.site.datastore(chosen) {
            None => verdict.refuse(
                "datastore-not-chosen",
                format!("the site has no datastore `{chosen}`"),
                format!("Choose another one: {}.", usable()),
            ),
            Some(store) => {
                if !store.is_vmfs() {
                    verdict.refuse(
                        "datastore-not-vmfs",
                        format!(
                            "datastore `{chosen}` is {}, and a machine is made anew only on VMFS",
                            store.kind
                        ),
                        format!("Choose another one: {}.", usable()),
                    );
                }
                if let Some(target) = target.filter(|target| !store.is_reached_from(&target.host)) {
                    verdict.refuse(
                        "datastore-not-chosen",
                        format!(
                            "ESX host `{}` of master target `{}` does not reach datastore `{chosen}`",
                            target.host, target.id
                        ),
                        format!("Choose another one: {}.", usable()),
                    );
                }
            }
        },
    }
    longer(case, verdict);
}

/// B12: the estimate says that an alternate location takes longer.
fn longer(case: &Case<'_>, verdict: &mut Verdict) {
    let bytes: u64 = case
        .machine
        .map_or(0, |machine| machine.disks.iter().map(|disk| disk.bytes).sum());
    let much = if bytes == 0 {
        "all of its data".to_owned()
    } else {
        format!("all of its data, up to {} GiB,", bytes.div_ceil(1 << 30))
    };
    verdict.add(
        "alternate-location",
        Severity::Info,
        format!(
            "`{}` comes back to an alternate location: {much} is sent, which takes longer than the changes that the original location needs",
            case.machine_name()
        ),
        "Nothing is to be done; if the machine still exists at home, its original location is faster.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, ids};

    #[test]
    fn b08_the_master_targets_host_reaches_the_machines_datastore() {
        for with_vcenter in [true, false] {
            let mut bench = Bench::home(Location::Original);
            if !with_vcenter {
                bench.site.vcenters.clear();
                bench.came().vcenter = None;
            }
            assert!(ids(&bench.judge("reprotect")).is_empty());
            bench.site.datastores[0].hosts = vec!["esx-2".into()];
            assert_eq!(ids(&bench.judge("reprotect")), ["datastore-not-reachable"]);
            bench.site.master_targets[0].host = "esx-2".into();
            assert!(ids(&bench.judge("reprotect")).is_empty());
        }
    }

    #[test]
    fn b08_every_datastore_of_the_machine_counts() {
        let mut bench = Bench::home(Location::Original);
        bench.site.datastores[1].hosts.clear();
        bench.home_machine().disks[1].datastore = Some("ds-2".into());
        assert_eq!(ids(&bench.judge("reprotect")), ["datastore-not-reachable"]);
    }

    #[test]
    fn b10_disks_on_vsan_and_rdm_exist_and_are_attached() {
        for kind in ["vsan", "rdm", "RDM"] {
            let mut bench = Bench::home(Location::Original);
            bench.site.datastores[0].kind = kind.into();
            assert!(ids(&bench.judge("reprotect")).is_empty());
            bench.home_machine().disks[1].attached = false;
            assert_eq!(ids(&bench.judge("reprotect")), ["disk-not-attached"]);
            bench.home_machine().disks.pop();
            assert_eq!(ids(&bench.judge("reprotect")), ["disk-not-attached"]);
            bench.cloud().disks.pop();
            assert!(ids(&bench.judge("reprotect")).is_empty(), "it is not wanted");
        }
        let mut vmfs = Bench::home(Location::Original);
        vmfs.home_machine().disks.clear();
        assert!(ids(&vmfs.judge("reprotect")).is_empty(), "on VMFS disks are made");
    }

    fn alternate(options: &[(&str, &str)]) -> Vec<&'static str> {
        let mut bench = Bench::home(Location::Alternate);
        bench.original = None;
        bench.site.datastores[1].kind = "vsan".into();
        bench.site.datastores.push(Datastore {
            id: "ds-far".into(),
            kind: "vmfs".into(),
            hosts: vec!["esx-2".into()],
        });
        for (name, value) in options {
            bench.set(name, value);
        }
        let mut ids = ids(&bench.judge("reprotect"));
        assert_eq!(ids.pop(), Some("alternate-location"), "B12: it takes longer");
        ids
    }

    #[test]
    fn b11_an_alternate_location_has_a_chosen_datastore_on_the_master_targets_host() {
        assert_eq!(alternate(&[]), ["datastore-not-chosen"]);
        assert_eq!(alternate(&[("datastore", "none")]), ["datastore-not-chosen"]);
        assert_eq!(
            alternate(&[("datastore", "ds-far"), ("master-target", "mt-linux")]),
            ["datastore-not-chosen"]
        );
        assert!(alternate(&[("datastore", "ds-1")]).is_empty());
        assert_eq!(
            alternate(&[("datastore", "ds-1"), ("esx-host", "esx-2")]),
            ["datastore-not-chosen"]
        );
        assert!(alternate(&[("datastore", "ds-1"), ("esx-host", "esx-1")]).is_empty());
    }

    #[test]
    fn b12_an_alternate_location_takes_vmfs_only() {
        assert_eq!(alternate(&[("datastore", "ds-2")]), ["datastore-not-vmfs"]);
        assert!(alternate(&[("datastore", "ds-1")]).is_empty());
    }
}
