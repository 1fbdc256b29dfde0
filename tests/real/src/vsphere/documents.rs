//! The files that an operator would write: configuration, inventory, plans.

use std::fmt::Write;
use std::path::Path;

use super::simulator::{Simulator, USER};

/// An item: its name, source site and machine, target site, and the networks of its one card.
pub(super) struct Item<'i> {
    pub(super) name: &'i str,
    pub(super) source: (&'i str, &'i str),
    pub(super) target: &'i str,
    pub(super) nic: &'i str,
    pub(super) production: &'i str,
    pub(super) test: &'i str,
}

/// Sites: `east`, where machines run; `recovery`, the same vCenter as a target; `standby`, a vCenter that keeps replicas
/// of others; `lab`; and two that must not work.
pub(super) fn configuration(plugins: &Path, east: &Simulator, west: &Simulator, lab: &str) -> String {
    let mut text = format!(
        "data = \"data\"\nplugins = \"{}\"\n\n[secrets]\neast = {{ user = \"{USER}\", file = \"east/password\" }}\n\
         west = {{ user = \"{USER}\", file = \"west/password\" }}\n",
        plugins.display()
    );
    let folder = "folder = \"/DC0/vm/recovered\", pool = \"/DC0/host/DC0_C0/Resources\"";
    text += &site("east", east, east, "east", "");
    text += &site(
        "recovery",
        east,
        east,
        "east",
        &format!("{folder}, tag = \"recovered\""),
    );
    text += &site(
        "standby",
        west,
        west,
        "west",
        &format!("{folder}, standby = \"/DC0/vm\", standby-lag = \"30s\""),
    );
    // The secret of another vCenter, and the authority of another.
    text += &site("wrong-password", east, east, "west", "");
    text += &site("untrusted", east, west, "east", "");
    let port = lab.rsplit(':').next().unwrap_or_default();
    let _ = write!(
        text,
        "\n[sites.lab]\nadapter = \"lab\"\nconfig = {{ url = \"{lab}\", site = \"a\" }}\n[sites.lab.grants]\n\
         interfaces = [\"buffers\"]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {port} }}]\n"
    );
    text
}

fn site(name: &str, vcenter: &Simulator, authority: &Simulator, secret: &str, more: &str) -> String {
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(", {more}")
    };
    let to = format!(
        "scheme = \"https\", host = \"127.0.0.1\", port = {}, ca = \"{}\"",
        vcenter.port(),
        authority.directory.join("ca.pem").display()
    );
    format!(
        "\n[sites.{name}]\nadapter = \"vsphere\"\nconfig = {{ url = \"{}\", user = \"{USER}\", secret = \"{secret}\"{more} }}\n\
         [sites.{name}.grants]\ninterfaces = [\"buffers\", \"session\", \"state\", \"clock\"]\n\
         http = [\n  {{ {to}, methods = [\"POST\"], path = \"/sdk\", secrets = [\"{secret}\"], \
         capture = [{{ cookie = \"vmware_soap_session\", as = \"session\" }}] }},\n  \
         {{ {to}, methods = [\"POST\"], path = \"/rest/com/vmware/cis/session\", auth = \"basic:{secret}\", \
         capture = [{{ json = \"/value\", as = \"rest\" }}] }},\n  \
         {{ {to}, methods = [\"GET\", \"POST\"], path = \"/rest/com/vmware/cis/tagging\" }},\n]\n",
        vcenter.url,
    )
}

pub(super) fn inventory(items: &[Item<'_>]) -> String {
    let mut text = "items:\n".to_owned();
    for item in items {
        let Item {
            name,
            source: (site, machine),
            target,
            nic,
            production,
            test,
        } = item;
        let _ = write!(
            text,
            "  - name: {name}\n    source: {{ site: {site}, machine: {machine} }}\n    target: {{ site: {target} }}\n    networks:\n\
             \x20     - {{ nic: {nic:?}, production: {production}, test: {test} }}\n    replication:\n\
             \x20     rpo: 1h\n      points-every: 1h\n      retention: 24h\n"
        );
    }
    text
}

/// One group with these items.
pub(super) fn plan(name: &str, items: &[&str]) -> String {
    format!(
        "plan: {name}\npoint: {{ policy: standard, choice: latest-processed }}\ngroups:\n  - name: machines\n    machines: [{}]\n",
        items.join(", ")
    )
}
