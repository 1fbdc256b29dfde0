//! On the way home, asked of the site that the machine comes back to.

use crate::site::Platform;
use crate::{Case, Location, Verdict, identity, location, servers};

pub(crate) fn target(case: &Case<'_>, verdict: &mut Verdict) {
    if !(case.reprotects() || case.fails_back()) {
        return;
    }
    pairing(case, verdict);
    primary(case, verdict);
    // The rest is about what a VMware site needs to take a machine back from the cloud.
    if case.site.profile == Some(Platform::Vmware) && case.comes_back_in_stages() {
        identity::rules(case, verdict);
        servers::rules(case, verdict);
        location::rules(case, verdict);
    }
}

/// B02, B14, B15: which origin can come back to which platform.
fn pairing(case: &Case<'_>, verdict: &mut Verdict) {
    let name = case.machine_name();
    match (case.origin, case.site.profile) {
        ("vmware", Some(Platform::Hyperv)) => verdict.refuse(
            "not-back-to-hyperv",
            format!("`{name}` came from VMware, and cannot come back to a Hyper-V host"),
            "Bring it back to its VMware site: `--to SITE`.",
        ),
        ("physical", Some(Platform::Vmware)) if case.location == Some(Location::Original) => verdict.refuse(
            "physical-only-alternate",
            format!("`{name}` was a physical server; the machine at home cannot take its data back"),
            "Bring it back to an alternate location, as a VMware machine.",
        ),
        ("physical", Some(Platform::Vmware)) => {}
        ("physical", Some(_)) => verdict.refuse(
            "physical-only-to-vmware",
            format!("`{name}` was a physical server, and comes back only as a VMware machine"),
            "Name a VMware site: `landfall reprotect ITEM --to SITE`.",
        ),
        _ => {}
    }
    if case.origin == "physical" && case.site.profile.is_some() {
        release(case, verdict);
    }
}

/// B15: a physical Windows Server 2008 R2 SP1 does not come back.
fn release(case: &Case<'_>, verdict: &mut Verdict) {
    let release = case
        .machine
        .and_then(|machine| machine.os_release.as_deref())
        .unwrap_or_default();
    let plain: String = release
        .to_ascii_lowercase()
        .replace("service pack", "sp")
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    if plain.contains("2008r2") && plain.contains("sp1") {
        verdict.refuse(
            "release-cannot-come-back",
            format!("`{}` is a physical server with {release}", case.machine_name()),
            "It stays in the cloud, or is upgraded there first.",
        );
    }
}

/// F25: what the data would be written to must be there. Between sites a machine that is gone has to be restored; a
/// VMware machine that is gone altogether comes back to an alternate location instead.
fn primary(case: &Case<'_>, verdict: &mut Verdict) {
    if !case.reprotects() {
        return;
    }
    let is_lost = match case.original {
        Some(original) => !original.available,
        None => matches!(case.site.profile, Some(Platform::Hyperv | Platform::Kvm)) && !case.runs_in_cloud(),
    };
    if is_lost {
        verdict.refuse(
            "primary-unavailable",
            format!("the machine of `{}` at home is unavailable", case.item),
            "Restore it from backup first; then its replication can be reversed.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, ids};
    use crate::machine::Machine;

    #[test]
    fn b02_vmware_does_not_come_back_to_hyperv() {
        for operation in ["reprotect", "unplanned-failover"] {
            let mut bench = Bench::home(Location::Alternate);
            bench.site.profile = Some(Platform::Hyperv);
            assert_eq!(ids(&bench.judge(operation)), ["not-back-to-hyperv"]);
            bench.origin = "hyperv";
            assert!(ids(&bench.judge(operation)).is_empty());
        }
    }

    #[test]
    fn b14_physical_comes_back_as_vmware_and_to_an_alternate_location() {
        let mut bench = Bench::home(Location::Original);
        bench.origin = "physical";
        assert_eq!(ids(&bench.judge("reprotect")), ["physical-only-alternate"]);
        bench.location = Some(Location::Alternate);
        bench.original = None;
        bench.set("datastore", "ds-1");
        assert_eq!(ids(&bench.judge("reprotect")), ["alternate-location"]);
        for profile in [Platform::Physical, Platform::Hyperv, Platform::Kvm, Platform::Azure] {
            bench.site.profile = Some(profile);
            assert_eq!(
                ids(&bench.judge("reprotect")),
                ["physical-only-to-vmware"],
                "{profile:?}"
            );
        }
    }

    #[test]
    fn b15_a_physical_2008_r2_sp1_does_not_come_back() {
        let refused = |release: &str, origin| {
            let mut bench = Bench::home(Location::Alternate);
            bench.set("datastore", "ds-1");
            bench.origin = origin;
            bench.cloud().os_release = Some(release.into());
            ids(&bench.judge("reprotect")).contains(&"release-cannot-come-back")
        };
        for release in [
            "Windows Server 2008 R2 SP1",
            "windows server 2008 r2 service pack 1",
            "Microsoft Windows Server 2008R2 Enterprise, SP1",
        ] {
            assert!(refused(release, "physical"), "{release}");
            assert!(!refused(release, "vmware"), "{release}");
        }
        for release in [
            "Windows Server 2008 R2",
            "Windows Server 2012 R2 SP1",
            "Windows Server 2008 SP1",
            "SLES 11 SP1",
        ] {
            assert!(!refused(release, "physical"), "{release}");
        }
    }

    #[test]
    fn f25_a_primary_that_is_gone_is_restored_first() {
        for profile in [Platform::Hyperv, Platform::Kvm] {
            let mut bench = Bench::home(Location::Original);
            bench.origin = profile.name();
            bench.site.profile = Some(profile);
            bench.cloud().platform = Some(profile);
            assert!(ids(&bench.judge("reprotect")).is_empty());
            bench.original = None;
            assert_eq!(ids(&bench.judge("reprotect")), ["primary-unavailable"]);
            bench.original = Some(Machine {
                available: false,
                ..Machine::default()
            });
            assert_eq!(ids(&bench.judge("reprotect")), ["primary-unavailable"]);
        }
        let mut vmware = Bench::home(Location::Alternate);
        vmware.set("datastore", "ds-1");
        vmware.original = None;
        assert_eq!(ids(&vmware.judge("reprotect")), ["alternate-location"]);
    }
}
