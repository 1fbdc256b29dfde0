//! What must still be the same at home as when the machine left: the vCenter and the configuration server.

use crate::machine::CameFrom;
use crate::site::ConfigurationServer;
use crate::{Case, Verdict};

pub(crate) fn rules(case: &Case<'_>, verdict: &mut Verdict) {
    let left = case
        .machine
        .and_then(|machine| machine.came_from.clone())
        .unwrap_or_default();
    let chosen = case.option("configuration-server");
    let server = configuration_server(case, chosen, &left, verdict);
    if let Some(server) = server {
        configuration_server_works(case, server, &left, verdict);
    }
    vcenter(case, &left, verdict);
}

/// B07: back only to the configuration server that the machine came from. B18: there must be one.
fn configuration_server<'a>(
    case: &Case<'a>,
    chosen: Option<&str>,
    left: &CameFrom,
    verdict: &mut Verdict,
) -> Option<&'a ConfigurationServer> {
    let servers = &case.site.configuration_servers;
    if servers.is_empty() {
        verdict.add(
            "configuration-server-missing",
            case.severity_of_failback(),
            "the site has no configuration server",
            "Bring the one back that the machine came from.",
        );
        return None;
    }
    let original = left.configuration_server.as_deref();
    let wanted = chosen.or(original);
    let found = match wanted {
        Some(wanted) => servers.iter().find(|server| server.id == wanted),
        None => servers.first(),
    };
    match (found, original) {
        (Some(server), Some(original)) if server.id != original => {
            new_server(case, &server.id, original, verdict);
            None
        }
        (None, _) => {
            let there: Vec<&str> = servers.iter().map(|server| &*server.id).collect();
            new_server(
                case,
                chosen.unwrap_or(&there.join(", ")),
                original.unwrap_or("another one"),
                verdict,
            );
            None
        }
        (Some(server), _) => Some(server),
    }
}

/// B07.
fn new_server(case: &Case<'_>, now: &str, then: &str, verdict: &mut Verdict) {
    verdict.refuse(
        "configuration-server-new",
        format!(
            "`{}` came from configuration server `{then}`, and not from `{now}`",
            case.machine_name()
        ),
        format!("Bring `{then}` back and choose it; a new configuration server does not do."),
    );
}

/// B18: at failback the configuration server answers, has its old address, and knows the machine.
fn configuration_server_works(case: &Case<'_>, server: &ConfigurationServer, left: &CameFrom, verdict: &mut Verdict) {
    let severity = case.severity_of_failback();
    let id = &server.id;
    if !server.reachable {
        verdict.add(
            "configuration-server-unreachable",
            severity,
            format!("configuration server `{id}` does not answer"),
            "Start it, and mend its connection.",
        );
    }
    if let (Some(now), Some(then)) = (&server.address, &left.configuration_server_address)
        && now != then
    {
        verdict.add(
            "configuration-server-moved",
            severity,
            format!("configuration server `{id}` had the address {then}, and has {now} now"),
            format!("Give it {then} again."),
        );
    }
    let knows = |machines: &Vec<String>| {
        let names = [case.item, &left.machine, case.machine_name()];
        machines.iter().any(|machine| names.contains(&&**machine))
    };
    if server.machines.as_ref().is_some_and(|machines| !knows(machines)) {
        verdict.add(
            "machine-not-in-database",
            severity,
            format!(
                "the database of configuration server `{id}` does not have `{}`",
                case.machine_name()
            ),
            "Restore its database, or register the machine there again.",
        );
    }
}

/// B07: back only to the vCenter that the machine came from. B31: it is connected, or disks could not be detached and
/// attached.
fn vcenter(case: &Case<'_>, left: &CameFrom, verdict: &mut Verdict) {
    let vcenters = &case.site.vcenters;
    let chosen = case.option("vcenter");
    let original = left.vcenter.as_deref();
    let wanted = chosen.or(original);
    let found = match wanted {
        Some(wanted) => vcenters.iter().find(|vcenter| vcenter.id == wanted),
        None => vcenters.first(),
    };
    let is_new = original.is_some_and(|original| found.is_none_or(|found| found.id != original))
        || (wanted.is_some() && found.is_none());
    if is_new {
        let there: Vec<&str> = vcenters.iter().map(|vcenter| &*vcenter.id).collect();
        let now = chosen.map_or_else(|| there.join(", "), str::to_owned);
        let then = original.unwrap_or("none");
        verdict.refuse(
            "vcenter-new",
            format!(
                "`{}` came from vCenter `{then}`, and not from `{now}`",
                case.machine_name()
            ),
            format!("Bring it back to `{then}`; a new vCenter does not do, also at the old configuration server."),
        );
        return;
    }
    if let Some(vcenter) = found.filter(|vcenter| !vcenter.connected) {
        verdict.add(
            "vcenter-disconnected",
            case.severity_of_failback(),
            format!(
                "vCenter `{}` is not connected, so no disk can be detached and attached",
                vcenter.id
            ),
            "Connect it again.",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::{Bench, ids};
    use crate::site::Vcenter;
    use crate::{Location, Severity};

    #[test]
    fn b07_a_new_configuration_server_is_refused() {
        for operation in ["reprotect", "unplanned-failover"] {
            let mut bench = Bench::home(Location::Original);
            bench.site.configuration_servers[0].id = "cs-2".into();
            assert_eq!(ids(&bench.judge(operation)), ["configuration-server-new"]);
            let mut bench = Bench::home(Location::Original);
            let mut second = bench.site.configuration_servers[0].clone();
            second.id = "cs-2".into();
            bench.site.configuration_servers.insert(0, second);
            assert!(ids(&bench.judge(operation)).is_empty(), "the old one is there");
            bench.set("configuration-server", "cs-2");
            assert_eq!(ids(&bench.judge(operation)), ["configuration-server-new"]);
            bench.set("configuration-server", "cs-9");
            assert_eq!(ids(&bench.judge(operation)), ["configuration-server-new"]);
            bench.set("configuration-server", "cs-1");
            assert!(ids(&bench.judge(operation)).is_empty());
        }
    }

    #[test]
    fn b07_a_new_vcenter_at_the_old_configuration_server_is_refused() {
        for operation in ["reprotect", "unplanned-failover"] {
            let mut bench = Bench::home(Location::Original);
            bench.site.vcenters[0].id = "vc-2".into();
            assert_eq!(ids(&bench.judge(operation)), ["vcenter-new"]);
            bench.site.vcenters.push(Vcenter {
                id: "vc-1".into(),
                connected: true,
            });
            assert!(ids(&bench.judge(operation)).is_empty());
            bench.set("vcenter", "vc-2");
            assert_eq!(ids(&bench.judge(operation)), ["vcenter-new"]);
            let mut without = Bench::home(Location::Original);
            without.site.vcenters.clear();
            assert_eq!(ids(&without.judge(operation)), ["vcenter-new"]);
            without.came().vcenter = None;
            assert!(ids(&without.judge(operation)).is_empty(), "it never had one");
        }
    }

    #[test]
    fn b18_the_configuration_server_answers_where_it_was_and_knows_the_machine() {
        let mut bench = Bench::home(Location::Original);
        let server = &mut bench.site.configuration_servers[0];
        server.reachable = false;
        server.address = Some("10.9.9.9".into());
        server.machines = Some(vec!["other".into()]);
        let expected = [
            "configuration-server-unreachable",
            "configuration-server-moved",
            "machine-not-in-database",
        ];
        let failback = bench.judge("unplanned-failover");
        assert_eq!(ids(&failback), expected);
        assert!(
            failback
                .findings
                .iter()
                .all(|finding| finding.severity == Severity::Error)
        );
        let reprotect = bench.judge("reprotect");
        assert!(
            reprotect
                .findings
                .iter()
                .all(|finding| finding.severity == Severity::Warning)
        );
        bench.site.configuration_servers[0].machines = Some(vec!["vm-db".into()]);
        assert!(!ids(&bench.judge("unplanned-failover")).contains(&"machine-not-in-database"));
        bench.site.configuration_servers.clear();
        assert_eq!(
            ids(&bench.judge("unplanned-failover")),
            ["configuration-server-missing"]
        );
    }

    #[test]
    fn b31_the_vcenter_is_connected() {
        let mut bench = Bench::home(Location::Original);
        bench.site.vcenters[0].connected = false;
        let findings = bench.judge("unplanned-failover").findings;
        assert_eq!(
            (findings[0].id, findings[0].severity),
            ("vcenter-disconnected", Severity::Error)
        );
        assert_eq!(bench.judge("reprotect").findings[0].severity, Severity::Warning);
    }
}
