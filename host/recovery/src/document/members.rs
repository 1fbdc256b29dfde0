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
            // What leads back to itself was refused before.
            let _ = self.walk(machine, &mut seen, &mut order);
        }
        let ours = order.into_iter().filter(|machine| members.contains(machine));
        ours.map(str::to_owned).collect()
    }

    /// Whether every machine can wait for what it is to wait for: its dependencies, and all groups before its own.
    pub fn check_order(&self) -> Result<(), Cycle> {
        let groups = self.groups.iter().enumerate();
        let group_of: BTreeMap<&str, usize> = groups
            .flat_map(|(index, group)| group.machines.iter().map(move |machine| (machine.as_str(), index)))
            .collect();
        let mut seen = BTreeSet::new();
        for machine in self.dependencies.keys() {
            self.walk(machine, &mut seen, &mut Vec::new())?;
        }
        let pairs = self.dependencies.iter();
        for (machine, before) in pairs.flat_map(|(machine, all)| all.iter().map(move |before| (machine, before))) {
            let (own, theirs) = (group_of.get(machine.as_str()), group_of.get(before.as_str()));
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
        }
        Ok(())
    }

    /// Adds a machine that was not seen yet behind all that it waits for. Chains may be as long as a plan is large, so
    /// nothing here calls itself.
    fn walk<'p>(
        &'p self,
        machine: &'p str,
        seen: &mut BTreeSet<&'p str>,
        order: &mut Vec<&'p str>,
    ) -> Result<(), Cycle> {
        let waits = |machine: &str| self.dependencies.get(machine).map(Vec::as_slice).unwrap_or_default();
        if !seen.insert(machine) {
            return Ok(());
        }
        let (mut path, mut on_path) = (vec![(machine, waits(machine).iter())], BTreeSet::from([machine]));
        while let Some((machine, left)) = path.last_mut() {
            let Some(before) = left.next() else {
                on_path.remove(machine);
                order.push(machine);
                path.pop();
                continue;
            };
            if on_path.contains(before.as_str()) {
                let around = path.iter().map(|(name, _)| *name).skip_while(|name| name != before);
                let names = around.chain([before.as_str()]);
                return Err(Cycle(names.map(|name| format!("`{name}`")).collect()));
            }
            if seen.insert(before) {
                on_path.insert(before);
                path.push((before, waits(before).iter()));
            }
        }
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
    fn chains_may_be_as_long_as_a_plan_is_large() {
        let names: Vec<String> = (0..20_000).map(|number| format!("m{number:05}")).collect();
        let machines: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut long = plan(&[&machines], &[]);
        let pairs = names
            .windows(2)
            .filter_map(|pair| Some((pair.first()?.clone(), vec![pair.get(1)?.clone()])));
        long.dependencies = pairs.collect();
        assert_eq!(long.check_order(), Ok(()));
        let order = long.in_order(&long.groups[0]);
        assert_eq!(
            (order.len(), order.first(), order.last()),
            (20_000, names.last(), names.first())
        );
        long.dependencies
            .insert(machines[19_999].into(), vec![machines[0].into()]);
        assert_eq!(long.check_order().unwrap_err().0.len(), 20_001);
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
