//! The servers on premises through which data goes: master target, process server, and the ESX host below the first.

use crate::site::{MasterTarget, Platform};
use crate::{Case, Severity, Verdict};

/// On the way home.
pub(crate) fn rules(case: &Case<'_>, verdict: &mut Verdict) {
    let target = master_target(case, verdict);
    if case.reprotects() {
        process_server(case, verdict);
    }
    if let Some(target) = target {
        host(case, target, verdict);
        snapshots(case, target, verdict);
    }
}

/// B28: a machine that is back is protected again through a process server.
pub(crate) fn forward_source(case: &Case<'_>, verdict: &mut Verdict) {
    if case.reprotects() && case.site.profile == Some(Platform::Vmware) {
        process_server(case, verdict);
    }
}

/// The master target that serves this machine, as every rule means it.
pub(crate) fn serving<'a>(case: &Case<'a>) -> Option<&'a MasterTarget> {
    let store = case
        .option("datastore")
        .or_else(|| case.original.and_then(|original| original.datastore.as_deref()));
    let target = case
        .site
        .master_target(case.option("master-target"), case.machine, store)?;
    case.machine
        .is_none_or(|machine| target.fits(machine))
        .then_some(target)
}

/// B16: there is a master target. B04: it has the machine's family of operating systems.
fn master_target<'a>(case: &Case<'a>, verdict: &mut Verdict) -> Option<&'a MasterTarget> {
    let targets = &case.site.master_targets;
    if targets.is_empty() {
        verdict.refuse(
            "master-target-none",
            "the site has no master target",
            "Install one with the machine's family of operating systems, and have it discovered.",
        );
        return None;
    }
    let known = || {
        targets
            .iter()
            .map(|target| format!("{} ({})", target.id, target.os))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let chosen = case.option("master-target");
    if let Some(chosen) = chosen.filter(|chosen| targets.iter().all(|target| target.id != *chosen)) {
        verdict.refuse(
            "master-target-unknown",
            format!("the site has no master target `{chosen}`"),
            format!("Choose one of {}.", known()),
        );
        return None;
    }
    let serving = serving(case);
    if serving.is_none() {
        let family = case.machine.and_then(|machine| machine.os.as_deref()).unwrap_or("this");
        let why = match chosen {
            Some(chosen) => format!(
                "master target `{chosen}` is not for {family}, which `{}` runs",
                case.machine_name()
            ),
            None => format!("no master target is for {family}, which `{}` runs", case.machine_name()),
        };
        verdict.refuse(
            "master-target-os",
            why,
            format!("The site has {}; install or choose one for {family}.", known()),
        );
    }
    serving
}

/// B04: a process server on premises.
fn process_server(case: &Case<'_>, verdict: &mut Verdict) {
    let servers = &case.site.process_servers;
    match case.option("process-server") {
        Some(chosen) if !servers.iter().any(|server| server.id == chosen && server.reachable) => verdict.refuse(
            "process-server-unknown",
            format!("process server `{chosen}` does not exist at the site or does not answer"),
            "Choose another one, or mend it.",
        ),
        None if !servers.iter().any(|server| server.reachable) => verdict.refuse(
            "process-server-none",
            "the site has no process server that answers",
            "Install one, or mend what is there.",
        ),
        _ => {}
    }
}

/// B09: without a vCenter the master target's ESX host must have been discovered, for physical servers too. B16: with
/// one as well.
fn host(case: &Case<'_>, target: &MasterTarget, verdict: &mut Verdict) {
    if case.site.has_discovered(&target.host) {
        return;
    }
    let how = if case.site.vcenters.is_empty() {
        "the site has no vCenter that could name it"
    } else {
        "its vCenter did not name it"
    };
    verdict.refuse(
        "esx-host-not-discovered",
        format!(
            "ESX host `{}` of master target `{}` was not discovered: {how}",
            target.host, target.id
        ),
        "Have the configuration server discover it.",
    );
}

/// B19: at failback the master target has no snapshots.
fn snapshots(case: &Case<'_>, target: &MasterTarget, verdict: &mut Verdict) {
    if target.snapshots == 0 {
        return;
    }
    let severity = if case.fails_back() {
        Severity::Error
    } else {
        Severity::Warning
    };
    verdict.add(
        "master-target-snapshots",
        severity,
        format!("master target `{}` has {} snapshots", target.id, target.snapshots),
        "Delete them.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;
    use crate::bench::{Bench, ids};

    #[test]
    fn b04_reprotect_needs_a_master_target_of_the_family() {
        for (os, other) in [("linux", "windows"), ("windows", "linux")] {
            let mut bench = Bench::home(Location::Original);
            bench.cloud().os = Some(os.into());
            assert!(ids(&bench.judge("reprotect")).is_empty());
            bench.set("master-target", &format!("mt-{other}"));
            assert_eq!(ids(&bench.judge("reprotect")), ["master-target-os"]);
            bench.set("master-target", "mt-9");
            assert_eq!(ids(&bench.judge("reprotect")), ["master-target-unknown"]);
            bench.set("master-target", "");
            bench.site.master_targets.retain(|target| target.os == other);
            assert_eq!(ids(&bench.judge("reprotect")), ["master-target-os"]);
        }
    }

    #[test]
    fn b04_reprotect_needs_a_process_server() {
        let mut bench = Bench::home(Location::Original);
        bench.set("process-server", "ps-9");
        assert_eq!(ids(&bench.judge("reprotect")), ["process-server-unknown"]);
        bench.set("process-server", "ps-1");
        bench.site.process_servers[0].reachable = false;
        assert_eq!(ids(&bench.judge("reprotect")), ["process-server-unknown"]);
        bench.set("process-server", "");
        assert_eq!(ids(&bench.judge("reprotect")), ["process-server-none"]);
        bench.site.process_servers.clear();
        assert_eq!(ids(&bench.judge("reprotect")), ["process-server-none"]);
        assert!(ids(&bench.judge("unplanned-failover")).is_empty());
    }

    #[test]
    fn b09_without_a_vcenter_the_host_must_have_been_discovered() {
        for origin in ["vmware", "physical"] {
            let mut bench = Bench::home(Location::Alternate);
            bench.origin = origin;
            bench.set("datastore", "ds-1");
            bench.original = None;
            bench.site.vcenters.clear();
            bench.came().vcenter = None;
            assert_eq!(ids(&bench.judge("reprotect")), ["alternate-location"]);
            bench.site.hosts[0].discovered = false;
            assert!(
                ids(&bench.judge("reprotect")).contains(&"esx-host-not-discovered"),
                "{origin}"
            );
            bench.site.hosts.clear();
            assert!(
                ids(&bench.judge("reprotect")).contains(&"esx-host-not-discovered"),
                "{origin}"
            );
        }
    }

    #[test]
    fn b16_master_targets_and_their_hosts_are_discovered() {
        for operation in ["reprotect", "unplanned-failover"] {
            let mut bench = Bench::home(Location::Original);
            bench.site.hosts[0].discovered = false;
            assert_eq!(ids(&bench.judge(operation)), ["esx-host-not-discovered"]);
            bench.site.master_targets.clear();
            assert_eq!(ids(&bench.judge(operation)), ["master-target-none"]);
        }
    }

    #[test]
    fn b19_the_master_target_has_no_snapshots() {
        let mut bench = Bench::home(Location::Original);
        for target in &mut bench.site.master_targets {
            target.snapshots = 2;
        }
        let severity = |operation| bench.judge(operation).findings[0].severity;
        assert_eq!(severity("unplanned-failover"), Severity::Error);
        assert_eq!(severity("reprotect"), Severity::Warning);
        assert!(ids(&bench.judge("test")).is_empty());
    }

    #[test]
    fn b28_a_machine_that_is_back_is_protected_through_a_process_server() {
        let mut bench = Bench::home(Location::Original);
        (bench.role, bench.reverse, bench.location) = (crate::Role::Source, false, None);
        assert!(ids(&bench.judge("reprotect")).is_empty());
        bench.site.process_servers.clear();
        assert_eq!(ids(&bench.judge("reprotect")), ["process-server-none"]);
        assert!(ids(&bench.judge("protect")).is_empty());
    }
}
