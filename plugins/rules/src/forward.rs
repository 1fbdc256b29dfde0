//! On the way away from home: what the target asks of the machine.

use crate::machine::Machine;
use crate::site::Platform;
use crate::{Case, Severity, Verdict, boot};

/// What Windows can be told to do with disks that it sees for the first time.
const SAN_POLICIES: [&str; 4] = ["OnlineAll", "OfflineAll", "OfflineShared", "OfflineInternal"];

pub(crate) fn target(case: &Case<'_>, verdict: &mut Verdict) {
    if !case.makes_machine() {
        return;
    }
    let Some(machine) = case.machine else { return };
    certificate(case, machine, verdict);
    san_policy(case, machine, verdict);
    if case.site.profile == Some(Platform::Azure) {
        boot::preparation(case, machine, verdict);
    }
}

/// F14: data that is encrypted at the source opens only with its certificate, which is a named secret.
fn certificate(case: &Case<'_>, machine: &Machine, verdict: &mut Verdict) {
    if !machine.encryption {
        return;
    }
    match case.option("encryption-certificate") {
        None => verdict.refuse(
            "certificate-missing",
            format!("the data of `{}` is encrypted at its source", case.machine_name()),
            "Name the certificate: `--set encryption-certificate=secret:NAME`, or under the item's `options`.",
        ),
        Some(value) if value.strip_prefix("secret:").is_none_or(str::is_empty) => verdict.refuse(
            "certificate-not-secret",
            "the encryption certificate is not given as `secret:NAME`",
            "Store it with `landfall secret set NAME`, and name it as `secret:NAME`.",
        ),
        Some(_) => {}
    }
}

/// F30: only with the policy `OnlineAll` does Windows bring up all disks under their letters.
fn san_policy(case: &Case<'_>, machine: &Machine, verdict: &mut Verdict) {
    let chosen = case.option("san-policy");
    if let Some(chosen) = chosen.filter(|chosen| !SAN_POLICIES.contains(chosen)) {
        verdict.refuse(
            "san-policy-unknown",
            format!("`{chosen}` is no SAN policy"),
            format!("It is one of {}.", SAN_POLICIES.join(", ")),
        );
        return;
    }
    if case.site.profile.is_none() || !machine.runs("windows") {
        return;
    }
    let policy = chosen.or(machine.san_policy.as_deref());
    if policy == Some("OnlineAll") {
        return;
    }
    // With one disk there is one letter, and it stays.
    let severity = if machine.disks.len() > 1 {
        Severity::Warning
    } else {
        Severity::Info
    };
    let policy = policy.unwrap_or("not known");
    verdict.add(
        "san-policy",
        severity,
        format!(
            "the SAN policy of `{}` is {policy}: disks ({}) may come up offline or under other letters",
            case.machine_name(),
            machine.disks.len()
        ),
        "Set the item's option `san-policy = \"OnlineAll\"`, or the policy in the guest.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, ids};
    use crate::machine::Disk;

    fn encrypted() -> Machine {
        Machine {
            encryption: true,
            ..Machine::default()
        }
    }

    #[test]
    fn f14_encrypted_data_needs_its_certificate() {
        for operation in ["test", "planned-failover", "unplanned-failover"] {
            let mut bench = Bench::to_cloud(encrypted());
            bench.origin = "hyperv";
            assert_eq!(ids(&bench.judge(operation)), ["certificate-missing"]);
            bench.set("encryption-certificate", "MIIC...");
            assert_eq!(ids(&bench.judge(operation)), ["certificate-not-secret"]);
            bench.set("encryption-certificate", "secret:");
            assert_eq!(ids(&bench.judge(operation)), ["certificate-not-secret"]);
            bench.set("encryption-certificate", "secret:vmm");
            assert!(ids(&bench.judge(operation)).is_empty());
        }
        let mut plain = Bench::to_cloud(Machine::default());
        plain.origin = "hyperv";
        assert!(ids(&plain.judge("unplanned-failover")).is_empty());
        assert!(ids(&Bench::to_cloud(encrypted()).judge("protect")).is_empty());
    }

    fn windows(disks: usize, policy: Option<&str>) -> Bench {
        let mut bench = Bench::to_cloud(Machine {
            os: Some("windows".into()),
            disks: vec![Disk::default(); disks],
            san_policy: policy.map(str::to_owned),
            ..Machine::default()
        });
        bench.origin = "hyperv";
        bench
    }

    #[test]
    fn f30_windows_keeps_its_letters_only_under_online_all() {
        let finding = |bench: &Bench| bench.judge("planned-failover").findings.pop();
        assert_eq!(finding(&windows(2, None)).unwrap().severity, Severity::Warning);
        assert_eq!(finding(&windows(1, None)).unwrap().severity, Severity::Info);
        assert_eq!(finding(&windows(2, Some("OfflineShared"))).unwrap().id, "san-policy");
        assert_eq!(finding(&windows(2, Some("OnlineAll"))), None);
        let mut chosen = windows(2, Some("OfflineShared"));
        chosen.set("san-policy", "OnlineAll");
        assert_eq!(finding(&chosen), None);
        chosen.set("san-policy", "onlineall");
        assert_eq!(finding(&chosen).unwrap().id, "san-policy-unknown");
        let mut linux = windows(2, None);
        linux.machine.as_mut().unwrap().os = Some("linux".into());
        assert_eq!(finding(&linux), None);
    }
}
