//! Inventories, plans and the daemon's configuration, as text. Short times everywhere: tests wait for them.

use std::fmt::Write;

/// What is protected, and how.
#[derive(Clone)]
pub(crate) struct Inventory<'a> {
    pub(crate) items: &'a [&'a str],
    /// Those of them that form a replication group with multi-VM consistency.
    pub(crate) grouped: &'a [&'a str],
    pub(crate) rpo: &'a str,
    pub(crate) points_every: &'a str,
    pub(crate) app_consistent_every: Option<&'a str>,
    pub(crate) production: &'a str,
    pub(crate) test: &'a str,
    /// The site that can fence all of them.
    pub(crate) fencing: Option<&'a str>,
}

impl Default for Inventory<'_> {
    fn default() -> Self {
        Self {
            items: &[],
            grouped: &[],
            rpo: "2s",
            points_every: "3s",
            app_consistent_every: None,
            production: "lan",
            test: "bubble",
            fencing: None,
        }
    }
}

impl<'a> Inventory<'a> {
    pub(crate) fn of(items: &'a [&'a str]) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }

    /// After the first point, data is only received and never processed by itself.
    pub(crate) fn without_processing(items: &'a [&'a str]) -> Self {
        Self {
            rpo: "1s",
            points_every: "24h",
            ..Self::of(items)
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self {
            rpo,
            points_every,
            production,
            test,
            ..
        } = self;
        let app = self
            .app_consistent_every
            .map(|every| format!(", app-consistent-every: {every}"))
            .unwrap_or_default();
        let fencing = self
            .fencing
            .map(|site| format!("  fencing: {{ site: {site} }}\n"))
            .unwrap_or_default();
        let mut text = format!(
            "defaults:\n  source-site: north\n  target-site: south\n{fencing}  networks:\n    - {{ nic: nic-0, production: {production}, \
             test: {test} }}\n  replication: {{ rpo: {rpo}, points-every: {points_every}{app} }}\n"
        );
        if !self.grouped.is_empty() {
            text.push_str("replication-groups:\n  - { name: together, multi-vm-consistency: true }\n");
        }
        text.push_str("items:\n");
        for item in self.items {
            let group = if self.grouped.contains(item) {
                ", replication-group: together"
            } else {
                ""
            };
            writeln!(text, "  - {{ name: {item}, source: {{ machine: vm-{item} }}{group} }}").expect("memory");
        }
        text
    }
}

/// A plan `hr` with one group for every item, in order, and the actions as they are written.
pub(crate) fn plan(items: &[&str], actions: &[&str]) -> String {
    let mut text = "plan: hr\ngroups:\n".to_owned();
    for item in items {
        writeln!(text, "  - {{ name: tier-{item}, machines: [{item}] }}").expect("memory");
    }
    if !actions.is_empty() {
        text.push_str("actions:\n");
    }
    for action in actions {
        writeln!(text, "  - {{ {action} }}").expect("memory");
    }
    text
}

/// The daemon's configuration: sites in one lab, and the runbooks with what they may reach.
pub(crate) struct Configuration {
    /// The name of each, and what the lab calls it.
    pub(crate) sites: Vec<(&'static str, &'static str)>,
    pub(crate) lab: u16,
    /// The runbook `webhook` names the header that carries the key.
    pub(crate) keyed: bool,
    /// Where its webhooks go.
    pub(crate) hook: u16,
    /// The only port that it may speak to.
    pub(crate) granted: u16,
}

impl Configuration {
    pub(crate) fn text(&self) -> String {
        let Self { lab, hook, granted, .. } = self;
        let sites = self.sites.iter();
        let header = if self.keyed {
            ", key-header = \"Idempotency-Key\""
        } else {
            ""
        };
        let site = |(name, site): &(&str, &str)| {
            format!(
                "[sites.{name}]\nadapter = \"lab\"\nconfig = {{ url = \"http://127.0.0.1:{lab}\", site = \"{site}\" }}\n\
                 [sites.{name}.grants]\ninterfaces = [\"http\", \"buffers\"]\n\
                 http = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {lab} }}]\n"
            )
        };
        format!(
            "listen = \"127.0.0.1:0\"\ndata = \"data\"\nplugins = \"plugins\"\n{}\
             [runbooks.webhook]\nconfig = {{ url = \"http://127.0.0.1:{hook}/hooks/it\"{header} }}\n\
             [runbooks.webhook.grants]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {granted} }}]\n\
             [runbooks.http-check.grants]\ninterfaces = [\"clock\"]\n\
             http = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {lab} }}]\n\
             [runbooks.wait.grants]\ninterfaces = [\"clock\"]\n",
            sites.map(site).collect::<String>()
        )
    }
}
