//! Who belongs to the groups of a plan when it runs, and in which order: groups may choose their machines by what the
//! inventory says of them, and a machine may wait for others beside the order of the groups.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Group, Inventory, Item, Plan};
use crate::words::Pairs;

/// Chooses items; everything that is said must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Selector {
    /// Labels that an item must have, with these values.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub labels: Pairs,
    /// The site that it is at home at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_site: Option<String>,
    /// The site that it is protected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_site: Option<String>,
}

impl Selector {
    /// It says nothing, so it would choose everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fits(&self, item: &Item) -> bool {
        let site = |wanted: &Option<String>, site: &String| wanted.as_ref().is_none_or(|wanted| wanted == site);
        self.labels
            .iter()
            .all(|(name, value)| item.labels.get(name) == Some(value))
            && site(&self.source_site, &item.source.site)
            && site(&self.target_site, &item.target_site)
    }
}

/// The order of the machines cannot be kept: each waits for the next, and the last for the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the order leads back to itself: {}", .0.join(" waits for "))]
pub struct Cycle(pub Vec<String>);

impl Plan {
    /// The plan with the machines that its selectors choose now. A machine that is named is where it is named, and one
    /// that several selectors choose belongs to the first of their groups.
    #[must_use]
    pub fn resolved(&self, inventory: &Inventory) -> Self {
        let mut plan = self.clone();
        let mut taken: BTreeSet<String> = plan.groups.iter().flat_map(|group| group.machines.clone()).collect();
        for group in &mut plan.groups {
            let Some(selector) = &group.select else { continue };
            for (name, item) in &inventory.items {
                if selector.fits(item) && taken.insert(name.clone()) {
                    group.machines.push(name.clone());
                }
            }
        }
        plan
    }

    /// The machines of a group, each behind those of the group that it waits for.
    pub fn in_order(&self, group: &Group) -> Vec<String> {
        let members: BTreeSet<&str> = group.machines.iter().map(String::as_str).collect();
        let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
        for machine in &group.machines {
            self.place(machine, &members, &mut seen, &mut order);
        }
        order
    }

    fn place<'p>(
        &'p self,
        machine: &'p str,
        members: &BTreeSet<&str>,
        seen: &mut BTreeSet<&'p str>,
        order: &mut Vec<String>,
    ) {
        if !members.contains(machine) || !seen.insert(machine) {
            return;
        }
        for before in self.dependencies.get(machine).into_iter().flatten() {
            self.place(before, members, seen, order);
        }
        order.push(machine.to_owned());
    }

    /// Whether every machine can wait for what it is to wait for: its dependencies, and all groups before its own.
    pub fn check_order(&self) -> Result<(), Cycle> {
        let groups = self.groups.iter().enumerate();
        let group_of: BTreeMap<&str, usize> = groups
            .flat_map(|(index, group)| group.machines.iter().map(move |machine| (machine.as_str(), index)))
            .collect();
        let mut done = BTreeSet::new();
        for machine in self.dependencies.keys() {
            self.walk(machine, &group_of, &mut Vec::new(), &mut done)?;
        }
        Ok(())
    }

    fn walk<'p>(
        &'p self,
        machine: &'p str,
        group_of: &BTreeMap<&str, usize>,
        path: &mut Vec<&'p str>,
        done: &mut BTreeSet<&'p str>,
    ) -> Result<(), Cycle> {
        if let Some(begin) = path.iter().position(|known| *known == machine) {
            let around = path.iter().skip(begin).chain([&machine]);
            return Err(Cycle(around.map(|name| format!("`{name}`")).collect()));
        }
        if !done.insert(machine) {
            return Ok(());
        }
        path.push(machine);
        for before in self.dependencies.get(machine).into_iter().flatten() {
            let (own, theirs) = (group_of.get(machine), group_of.get(before.as_str()));
            if let (Some(own), Some(theirs)) = (own, theirs)
                && theirs > own
            {
                let group = self.groups.get(*theirs).map_or("", |group| group.name.as_str());
                return Err(Cycle(vec![
                    format!("`{machine}`"),
                    format!("`{before}` of the later group `{group}`"),
                    format!("`{machine}`"),
                ]));
            }
            self.walk(before, group_of, path, done)?;
        }
        path.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{PointChoice, read_inventory};

    fn plan(groups: &[&[&str]], dependencies: &[(&str, &[&str])]) -> Plan {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let group = |(index, machines): (usize, &&[&str])| Group {
            name: format!("g{index}"),
            machines: owned(machines),
            select: None,
            delay_ms: None,
        };
        Plan {
            name: "p".into(),
            description: String::new(),
            point: PointChoice::default(),
            shutdown: true,
            test_network: None,
            fence_max_age_ms: 1,
            rto_ms: None,
            groups: groups.iter().enumerate().map(group).collect(),
            dependencies: dependencies
                .iter()
                .map(|(name, after)| ((*name).to_owned(), owned(after)))
                .collect(),
            actions: Vec::new(),
        }
    }

    #[test]
    fn a_machine_stands_behind_those_that_it_waits_for() {
        let plan = plan(&[&["a", "b", "c"]], &[("a", &["b"]), ("b", &["c"])]);
        assert_eq!(plan.check_order(), Ok(()));
        assert_eq!(plan.in_order(&plan.groups[0]), ["c", "b", "a"]);
    }

    #[test]
    fn an_order_that_leads_back_to_itself_is_shown() {
        let around = plan(&[&["a", "b", "c"]], &[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
        let shown = around.check_order().unwrap_err().to_string();
        assert_eq!(
            shown,
            "the order leads back to itself: `a` waits for `b` waits for `c` waits for `a`"
        );
        let late = plan(&[&["a"], &["b"]], &[("a", &["b"])]);
        assert!(
            late.check_order()
                .unwrap_err()
                .to_string()
                .contains("`b` of the later group `g1`")
        );
        let early = plan(&[&["a"], &["b"]], &[("b", &["a"])]);
        assert_eq!(early.check_order(), Ok(()));
    }

    #[test]
    fn groups_choose_by_label_and_nobody_twice() {
        let inventory = read_inventory(
            "defaults: { source-site: n, target-site: s }\nitems:\n\
             - { name: a, source: { machine: a }, labels: { tier: db } }\n\
             - { name: b, source: { machine: b }, labels: { tier: db } }\n\
             - { name: c, source: { machine: c }, labels: { tier: web } }\n",
        )
        .unwrap();
        let mut plan = plan(&[&[], &["b"], &[]], &[]);
        let labels = |tier: &str| Pairs::from([("tier".to_owned(), tier.to_owned())]);
        plan.groups[0].select = Some(Selector {
            labels: labels("db"),
            ..Selector::default()
        });
        plan.groups[2].select = Some(Selector {
            source_site: Some("n".into()),
            ..Selector::default()
        });
        let groups: Vec<Vec<String>> = plan
            .resolved(&inventory)
            .groups
            .into_iter()
            .map(|group| group.machines)
            .collect();
        assert_eq!(groups, [vec!["a"], vec!["b"], vec!["c"]]);
    }
}
