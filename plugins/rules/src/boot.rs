//! F28: which machines cannot start in the cloud as they are.

use crate::machine::Machine;
use crate::{Case, Severity, Step, Verdict};

/// The step's name.
pub const STEP: &str = "boot-prepare";

/// How long it takes where nobody says otherwise: the middle of the usual 8 to 10 minutes.
pub const USUAL_MS: u64 = 9 * 60_000;

/// Older agents leave the preparation of the disk to the cloud.
const PREPARES_ITSELF: [u64; 2] = [9, 8];

/// F28: the extra step, with every reason, and the time that it adds. Only on the way to the cloud.
pub(crate) fn preparation(case: &Case<'_>, machine: &Machine, verdict: &mut Verdict) {
    let reasons = reasons(case.origin, case.option("protected-as"), machine);
    if reasons.is_empty() {
        return;
    }
    let reason = reasons.join("; ");
    let minutes = case.boot_preparation_ms.div_ceil(60_000);
    verdict.add(
        "boot-preparation",
        Severity::Info,
        format!(
            "`{}` is prepared before it starts, which takes about {minutes} min: {reason}",
            case.machine_name()
        ),
        "Nothing is to be done; what is named can be mended at the source to save the time.",
    );
    verdict.steps.push(Step {
        id: STEP,
        estimate_ms: case.boot_preparation_ms,
        reason,
    });
}

/// F28: all reasons that hold; none: the step is skipped.
pub fn reasons(origin: &str, protected_as: Option<&str>, machine: &Machine) -> Vec<String> {
    let mut reasons = Vec::new();
    match origin {
        "physical" => reasons.push("it is a physical server".to_owned()),
        "hyperv" if protected_as == Some("physical") => {
            reasons.push("it is a Hyper-V machine that is protected as a physical server".to_owned());
        }
        "vmware" => {
            if let Some(version) = machine.agent_version.as_ref().filter(|version| is_older(version)) {
                reasons.push(format!("its mobility agent {version} is older than 9.8"));
            }
            if machine.runs("linux") {
                reasons.push("it is a VMware machine with Linux".to_owned());
            }
            let missing = machine.missing_drivers();
            if !missing.is_empty() {
                reasons.push(format!("it lacks the boot drivers {}", missing.join(", ")));
            }
            if !machine.dhcp {
                reasons.push("its DHCP service is not enabled".to_owned());
            }
        }
        _ => {}
    }
    reasons
}

/// Numbers between dots, compared one by one: 9.10 is newer than 9.8. What is no number counts as not known.
fn is_older(version: &str) -> bool {
    let numbers: Option<Vec<u64>> = version.trim().split('.').map(|number| number.parse().ok()).collect();
    numbers.is_some_and(|numbers| numbers.as_slice() < PREPARES_ITSELF.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, drivers};
    use crate::site::Platform;

    fn windows() -> Machine {
        Machine {
            os: Some("windows".into()),
            agent_version: Some("9.62".into()),
            boot_drivers: Some(drivers(&[])),
            ..Machine::default()
        }
    }

    #[test]
    fn f28_each_reason_alone_asks_for_the_step() {
        let linux = Machine {
            os: Some("linux".into()),
            ..windows()
        };
        let agent = |version: &str| Machine {
            agent_version: Some(version.into()),
            ..windows()
        };
        let no_dhcp = Machine {
            dhcp: false,
            ..windows()
        };
        let mut table = vec![
            ("vmware", None, windows(), 0),
            ("vmware", None, linux.clone(), 1),
            ("vmware", None, agent("9.7"), 1),
            ("vmware", None, agent("9.7.99"), 1),
            ("vmware", None, agent("8.9"), 1),
            ("vmware", None, agent("9.8"), 0),
            ("vmware", None, agent("9.8.0.1"), 0),
            ("vmware", None, agent("9.10"), 0),
            ("vmware", None, agent("10.0"), 0),
            ("vmware", None, agent("unknown"), 0),
            ("vmware", None, no_dhcp.clone(), 1),
            ("physical", None, windows(), 1),
            ("physical", None, linux.clone(), 1),
            ("hyperv", None, linux.clone(), 0),
            ("hyperv", None, no_dhcp.clone(), 0),
            ("hyperv", Some("physical"), windows(), 1),
            ("azure", None, linux.clone(), 0),
            ("kvm", None, linux, 0),
        ];
        for driver in crate::machine::BOOT_DRIVERS {
            let lacks = Machine {
                boot_drivers: Some(drivers(&[driver])),
                ..windows()
            };
            table.push(("vmware", None, lacks.clone(), 1));
            table.push(("hyperv", None, lacks, 0));
        }
        for (origin, protected_as, machine, expected) in table {
            let reasons = reasons(origin, protected_as, &machine);
            assert_eq!(
                reasons.len(),
                expected,
                "{origin} {protected_as:?} {machine:?}: {reasons:?}"
            );
        }
    }

    #[test]
    fn f28_all_reasons_are_named_and_only_the_cloud_needs_them() {
        let machine = Machine {
            os: Some("linux".into()),
            agent_version: Some("9.1".into()),
            dhcp: false,
            boot_drivers: Some(drivers(&["atapi", "vmbus"])),
            ..Machine::default()
        };
        let mut bench = Bench::to_cloud(machine);
        let verdict = bench.judge("unplanned-failover");
        assert_eq!(verdict.steps.len(), 1);
        let reason = &verdict.steps[0].reason;
        for word in ["9.1", "Linux", "vmbus, atapi", "DHCP"] {
            assert!(reason.contains(word), "{reason}");
        }
        assert_eq!(bench.judge("test").steps.len(), 1);
        assert!(bench.judge("protect").steps.is_empty());
        bench.site.profile = Some(Platform::Vmware);
        assert!(bench.judge("unplanned-failover").steps.is_empty());
    }
}
