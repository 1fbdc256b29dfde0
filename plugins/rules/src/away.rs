//! On the way home, asked of the site where the machine runs now: whether there is still something that can come back.

use crate::features::offers_planned;
use crate::site::Platform;
use crate::{Case, Severity, Verdict};

pub(crate) fn source(case: &Case<'_>, verdict: &mut Verdict) {
    if case.site.profile != Some(Platform::Azure) || !(case.reprotects() || case.fails_back()) {
        return;
    }
    planned(case, verdict);
    still_ours(case, verdict);
    healthy(case, verdict);
    agent(case, verdict);
}

/// B20: VMware and physical machines come back by an unplanned failover.
fn planned(case: &Case<'_>, verdict: &mut Verdict) {
    if case.operation == "planned-failover" && !offers_planned(case.site.profile, case.origin, true) {
        verdict.refuse(
            "planned-failback",
            format!(
                "`{}` came from {}, and comes back by an unplanned failover",
                case.machine_name(),
                case.origin
            ),
            "Ask for an unplanned failover; it shuts the cloud machine down too.",
        );
    }
}

/// B01: no way back after the migration was completed, the machine was moved to another resource group, or deleted.
fn still_ours(case: &Case<'_>, verdict: &mut Verdict) {
    let Some(machine) = case.machine else {
        verdict.refuse(
            "cloud-machine-deleted",
            format!("the cloud machine of `{}` does not exist any more", case.item),
            "Nothing is left to bring back: let go of it with `landfall release`, start the machine at home, and protect it anew.",
        );
        return;
    };
    if machine.migrated {
        verdict.refuse(
            "migrated",
            format!("the migration of `{}` was completed", case.machine_name()),
            "It stays in the cloud: let go of it with `landfall release`, and protect it there.",
        );
    }
    if let (Some(now), Some(then)) = (&machine.resource_group, &machine.original_resource_group)
        && now != then
    {
        verdict.refuse(
            "moved-resource-group",
            format!(
                "`{}` was made in resource group `{then}` and is in `{now}` now",
                case.machine_name()
            ),
            format!("Move it back to `{then}`."),
        );
    }
}

/// B17: failback starts only from healthy replication.
fn healthy(case: &Case<'_>, verdict: &mut Verdict) {
    if let Some(machine) = case.machine.filter(|machine| !machine.healthy) {
        verdict.add(
            "not-healthy",
            case.severity_of_failback(),
            format!("the replication of `{}` is not healthy", case.machine_name()),
            format!(
                "Mend what the site shows of `{}`, and wait until it is healthy.",
                machine.id
            ),
        );
    }
}

/// B29: for some minutes after its start the machine's agent is not registered. Reprotect waits for it.
fn agent(case: &Case<'_>, verdict: &mut Verdict) {
    if case.reprotects() && case.machine.is_some_and(|machine| !machine.agent_registered) {
        verdict.add(
            "agent-not-registered",
            Severity::Warning,
            format!("the agent in `{}` is not registered yet", case.machine_name()),
            "It takes up to 15 minutes after the start; reprotect tries again until then.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, ids};

    #[test]
    fn b01_no_way_back_after_migration_move_or_deletion() {
        for operation in ["reprotect", "unplanned-failover"] {
            let mut bench = Bench::in_cloud();
            assert!(ids(&bench.judge(operation)).is_empty());
            bench.cloud().migrated = true;
            assert_eq!(ids(&bench.judge(operation)), ["migrated"]);
            bench.cloud().resource_group = Some("elsewhere".into());
            assert_eq!(ids(&bench.judge(operation)), ["migrated", "moved-resource-group"]);
            bench.machine = None;
            assert_eq!(ids(&bench.judge(operation)), ["cloud-machine-deleted"]);
        }
    }

    #[test]
    fn b17_failback_needs_healthy_replication_and_reprotect_may_mend_it() {
        let mut bench = Bench::in_cloud();
        bench.cloud().healthy = false;
        let severity = |operation| bench.judge(operation).findings[0].severity;
        assert_eq!(severity("unplanned-failover"), Severity::Error);
        assert_eq!(severity("reprotect"), Severity::Warning);
    }

    #[test]
    fn b20_a_planned_failover_does_not_lead_back() {
        let mut bench = Bench::in_cloud();
        assert_eq!(ids(&bench.judge("planned-failover")), ["planned-failback"]);
        bench.origin = "hyperv";
        assert!(ids(&bench.judge("planned-failover")).is_empty());
    }

    #[test]
    fn b29_an_agent_that_is_not_registered_is_waited_for() {
        let mut bench = Bench::in_cloud();
        bench.cloud().agent_registered = false;
        let findings = bench.judge("reprotect").findings;
        assert_eq!(
            (findings[0].id, findings[0].severity),
            ("agent-not-registered", Severity::Warning)
        );
        assert!(ids(&bench.judge("unplanned-failover")).is_empty());
    }
}
