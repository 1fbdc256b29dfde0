//! What a site offers for a machine's origin: which way back it has, and what its shutdown does.

use crate::site::Platform;

/// How a machine that was brought up here goes back (F31): VMware and physical machines are reprotected, a Hyper-V
/// machine comes back from the cloud by a planned failover, and between sites the replication is reversed.
pub fn way_back(here: Option<Platform>, origin: &str) -> &'static str {
    match (here, origin) {
        (Some(Platform::Azure), "vmware" | "physical") => "reprotect",
        (Some(Platform::Azure), "hyperv") => "planned-failover",
        _ => "reverse-replication",
    }
}

/// B20: from the cloud a VMware or physical machine comes back by an unplanned failover and no other. F23: elsewhere
/// the site itself knows.
pub fn offers_planned(here: Option<Platform>, origin: &str, reverse: bool) -> bool {
    !(reverse && way_back(here, origin) == "reprotect")
}

/// B20: the choices of point on the way back, by name; none: all that the policy has.
pub fn choices(here: Option<Platform>, origin: &str, reverse: bool) -> Option<&'static str> {
    (!offers_planned(here, origin, reverse)).then_some("latest,latest-processed,latest-app-consistent")
}

/// F16: Hyper-V sends what was not yet sent when it shuts a machine down, also in an unplanned failover.
pub fn syncs_on_shutdown(here: Option<Platform>) -> bool {
    here == Some(Platform::Hyperv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f31_the_way_back_follows_the_origin() {
        let table = [
            (Some(Platform::Azure), "vmware", "reprotect"),
            (Some(Platform::Azure), "physical", "reprotect"),
            (Some(Platform::Azure), "hyperv", "planned-failover"),
            (Some(Platform::Hyperv), "hyperv", "reverse-replication"),
            (Some(Platform::Kvm), "kvm", "reverse-replication"),
            (Some(Platform::Azure), "azure", "reverse-replication"),
            (None, "vmware", "reverse-replication"),
        ];
        for (here, origin, way) in table {
            assert_eq!(way_back(here, origin), way, "{origin} at {here:?}");
        }
    }

    #[test]
    fn b20_only_an_unplanned_failover_leads_back_from_the_cloud() {
        for origin in ["vmware", "physical"] {
            assert!(!offers_planned(Some(Platform::Azure), origin, true));
            assert!(offers_planned(Some(Platform::Vmware), origin, false));
            assert_eq!(
                choices(Some(Platform::Azure), origin, true),
                Some("latest,latest-processed,latest-app-consistent")
            );
        }
        assert!(offers_planned(Some(Platform::Azure), "hyperv", true));
        assert!(offers_planned(None, "vmware", true));
        assert_eq!(choices(Some(Platform::Azure), "hyperv", true), None);
    }

    #[test]
    fn f16_only_hyperv_synchronises_when_it_shuts_down() {
        assert!(syncs_on_shutdown(Some(Platform::Hyperv)));
        for here in [
            None,
            Some(Platform::Vmware),
            Some(Platform::Physical),
            Some(Platform::Kvm),
        ] {
            assert!(!syncs_on_shutdown(here));
        }
    }
}
