//! The failovers: test, planned, unplanned. One builder, because they differ in three things only: what is done to
//! the source, what proof an activation needs, and whether an error stops the job.

use std::collections::BTreeMap;

use super::{Builder, FENCING, NewStep, ONCE, Patience, READ, Row, TRANSFER, WORK, needs, turn};
use crate::document::{Action, Group, OnError, Position};
use crate::graph::{Edge, Graph, Stage, StepIndex, StepKind, Wait};
use crate::item::Location;
use crate::words::{Direction, FailoverKind};

pub(super) fn test(builder: Builder<'_>) -> Graph {
    Failover::new(builder, FailoverKind::Test).build(true)
}

/// A planned failover always synchronises, so it always processes: it loses nothing (F22).
pub(super) fn planned(builder: Builder<'_>) -> Graph {
    Failover::new(builder, FailoverKind::Planned).build(true)
}

pub(super) fn unplanned(builder: Builder<'_>) -> Graph {
    Failover::new(builder, FailoverKind::Unplanned).build(false)
}

struct Failover<'a> {
    builder: Builder<'a>,
    kind: FailoverKind,
    /// How a step waits for a barrier made of many machines.
    barrier: Wait,
    stops_job: bool,
    check: BTreeMap<String, StepIndex>,
    choose: BTreeMap<String, StepIndex>,
    started: BTreeMap<String, StepIndex>,
}

impl<'a> Failover<'a> {
    fn new(builder: Builder<'a>, kind: FailoverKind) -> Self {
        let barrier = if kind == FailoverKind::Unplanned {
            Wait::Pass
        } else {
            Wait::End
        };
        Self {
            builder,
            kind,
            barrier,
            stops_job: false,
            check: BTreeMap::new(),
            choose: BTreeMap::new(),
            started: BTreeMap::new(),
        }
    }

    fn build(mut self, stops_job: bool) -> Graph {
        self.stops_job = stops_job;
        let frozen = self.builder.frozen;
        let plan = &frozen.plan;
        self.checks();
        let mut ready: Vec<StepIndex> = self.check.values().copied().collect();
        ready.extend(self.turned());
        let checked = self.barrier("checked", ready);
        let mut here = self.actions(&Position::Before(None), checked);
        if frozen.shuts_down() {
            here = self.shut_down(here);
        }
        here = self.points(here);
        for group in &plan.groups {
            let members = self.builder.members(group);
            // What stands around machines that are not in this job was another one's: a hook is not run again.
            if members.is_empty() {
                continue;
            }
            here = self.actions(&Position::Before(Some(group.name.clone())), here);
            let started: Vec<StepIndex> = members
                .iter()
                .map(|item| self.machine(&group.name, item, here))
                .collect();
            here = self.barrier(&format!("group-{}", group.name), started);
            here = self.delay(group, here);
            here = self.actions(&Position::After(Some(group.name.clone())), here);
        }
        self.actions(&Position::After(None), here);
        self.builder.graph
    }

    /// What comes after the group waits.
    fn delay(&mut self, group: &Group, here: StepIndex) -> StepIndex {
        let Some(ms) = group.delay_ms else { return here };
        let step = self.builder.step(NewStep {
            id: format!("delay/{}", group.name),
            kind: StepKind::Delay { ms },
            stage: Stage::Start,
            calls: None,
            group: Some(&group.name),
            items: &[],
            after: vec![self.edge(here)],
            // The wait itself is no delay.
            patience: Patience {
                retries: 0,
                timeout_ms: ms.saturating_add(READ.timeout_ms),
            },
            stops_job: false,
        });
        self.barrier(&format!("delayed-{}", group.name), vec![step])
    }

    fn barrier(&mut self, id: &str, after: Vec<StepIndex>) -> StepIndex {
        let wait = self.barrier;
        self.builder.milestone(id, after, wait)
    }

    fn edge(&self, step: StepIndex) -> Edge {
        Edge {
            step,
            wait: self.barrier,
        }
    }

    fn checks(&mut self) {
        let frozen = self.builder.frozen;
        for (name, item) in &frozen.items {
            let row = Row {
                stage: Stage::Prerequisites,
                group: None,
                after: Vec::new(),
                patience: READ,
                stops_job: self.stops_job,
            };
            let step = self
                .builder
                .item_step("check", name, StepKind::Check, Some(&item.item.target_site), row);
            self.check.insert(name.clone(), step);
        }
    }

    /// Items whose platform comes back by a planned failover are replicated the other way first, while they run.
    fn turned(&mut self) -> Vec<StepIndex> {
        let frozen = self.builder.frozen;
        let mut last = Vec::new();
        for (name, item) in frozen.items.iter().filter(|(_, item)| item.turn.is_some()) {
            let after = self.needs_check(name);
            let seeded = turn::turn(&mut self.builder, item, after, self.stops_job);
            self.check.insert(name.clone(), seeded);
            last.push(seeded);
        }
        last
    }

    /// What a machine's first own step waits for.
    fn needs_check(&self, item: &str) -> Vec<Edge> {
        self.check.get(item).copied().map(needs).into_iter().collect()
    }

    /// Sources, groups in reverse order: the web tier goes before its database. A disaster keeps that order only while it
    /// costs nothing: a site that hangs would let every group wait anew.
    fn shut_down(&mut self, here: StepIndex) -> StepIndex {
        let frozen = self.builder.frozen;
        let planned = self.kind == FailoverKind::Planned;
        // In an unplanned failover a shutdown that fails is recorded, and the fence proof decides (F15).
        let (patience, chain, order) = if planned {
            (WORK, Wait::Success, self.barrier)
        } else {
            (ONCE, Wait::Order, Wait::Order)
        };
        let (mut before, mut all) = (self.edge(here), vec![here]);
        for group in frozen.plan.groups.iter().rev() {
            let mut quiet = Vec::new();
            for name in self.builder.members(group) {
                let Some(item) = frozen.items.get(&name) else { continue };
                let site = item.item.source.site.as_str();
                let mut after = self.needs_check(&name);
                after.push(before);
                let row = Row {
                    stage: Stage::Failover,
                    group: Some(&group.name),
                    after,
                    patience,
                    stops_job: self.stops_job,
                };
                let off = self
                    .builder
                    .item_step("shutdown", &name, StepKind::Shutdown, Some(site), row);
                let after = vec![Edge { step: off, wait: chain }];
                let row = Row {
                    stage: Stage::Failover,
                    group: Some(&group.name),
                    after,
                    patience,
                    stops_job: self.stops_job,
                };
                let held = self.builder.item_step("hold", &name, StepKind::Hold, Some(site), row);
                quiet.extend([off, held]);
            }
            if !quiet.is_empty() {
                let off = self.barrier(&format!("off-{}", group.name), quiet);
                before = Edge { step: off, wait: order };
                all.push(off);
            }
        }
        self.barrier("off", all)
    }

    /// Last synchronisation, processing and choice, for all machines in parallel.
    fn points(&mut self, here: StepIndex) -> StepIndex {
        let frozen = self.builder.frozen;
        let planned = self.kind == FailoverKind::Planned;
        let processing = planned || frozen.processes_first;
        let mut chosen = Vec::new();
        for unit in frozen.units() {
            let Some(first) = unit.first().and_then(|name| frozen.items.get(*name)) else {
                continue;
            };
            let name = match &first.replication_group {
                Some(group) => format!("group-{group}"),
                None => first.item.name.clone(),
            };
            let target = first.item.target_site.as_str();
            let mut before = vec![self.edge(here)];
            // In a disaster one member's trouble is not the others'.
            if self.stops_job {
                before.extend(unit.iter().flat_map(|item| self.needs_check(item)));
            }
            let syncs = |name: &&str| frozen.items.get(*name).is_some_and(|item| item.syncs_on_shutdown);
            if planned {
                let sync = self.unit_step("sync", &name, &unit, StepKind::Sync, Some(target), before, TRANSFER);
                before = vec![needs(sync)];
            } else if self.kind == FailoverKind::Unplanned && frozen.shuts_down() && unit.iter().all(syncs) {
                // F16: what the source can still send is not lost; that it cannot holds nobody.
                let sync = self.unit_step("sync", &name, &unit, StepKind::Sync, Some(target), before, ONCE);
                before = vec![Edge {
                    step: sync,
                    wait: Wait::End,
                }];
            }
            if processing {
                before = unit
                    .iter()
                    .map(|item| {
                        let mut after = before.clone();
                        after.extend(self.needs_check(item));
                        let row = Row {
                            stage: Stage::Failover,
                            group: None,
                            after,
                            patience: WORK,
                            stops_job: self.stops_job,
                        };
                        let process = self
                            .builder
                            .item_step("process", item, StepKind::Process, Some(target), row);
                        // Points that exist are better than none when processing fails in a disaster.
                        Edge {
                            step: process,
                            wait: if self.stops_job { Wait::Success } else { Wait::End },
                        }
                    })
                    .collect();
            }
            let step = self.unit_step("choose", &name, &unit, StepKind::Choose, Some(target), before, READ);
            chosen.push(step);
            for item in unit {
                self.choose.insert(item.to_owned(), step);
            }
        }
        self.barrier("points", chosen)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a row of a table: one step of one replication unit"
    )]
    fn unit_step(
        &mut self,
        verb: &str,
        unit: &str,
        items: &[&str],
        kind: StepKind,
        site: Option<&str>,
        after: Vec<Edge>,
        patience: Patience,
    ) -> StepIndex {
        let stops_job = self.stops_job;
        self.builder.step(NewStep {
            id: format!("{verb}/{unit}"),
            kind,
            stage: Stage::Failover,
            calls: site,
            group: None,
            items,
            after,
            patience,
            stops_job,
        })
    }

    /// Create, prepare, prove, start; what a failed failover left is removed first.
    fn machine(&mut self, group: &str, name: &str, here: StepIndex) -> StepIndex {
        let frozen = self.builder.frozen;
        let Some(item) = frozen.items.get(name) else {
            return here;
        };
        let test = self.kind == FailoverKind::Test;
        let (source, target) = (item.item.source.site.as_str(), item.item.target_site.as_str());
        let stops_job = self.stops_job;
        let row = |after: Vec<Edge>, patience| Row {
            stage: Stage::Start,
            group: Some(group),
            after,
            patience,
            stops_job,
        };

        let mut before: Vec<Edge> = self.choose.get(name).copied().map(needs).into_iter().collect();
        before.extend(self.needs_check(name));
        before.push(self.edge(here));
        let others = frozen.plan.dependencies.get(name).into_iter().flatten();
        let others = others.filter_map(|other| self.started.get(other));
        before.extend(others.map(|other| self.edge(*other)));
        if !test && item.turn.is_none() && item.state.leftover().is_some() {
            // It may run: that failover may have been given up while it was started.
            let steps = [
                ("stop", StepKind::Stop, WORK),
                ("prove-old-off", StepKind::ProveOldOff, READ),
                ("discard", StepKind::Delete, WORK),
            ];
            for (verb, kind, patience) in steps {
                let row = row(before, patience);
                let step = self.builder.item_step(verb, name, kind, Some(target), row);
                before = vec![needs(step)];
            }
        }
        let mut last = self
            .builder
            .item_step("create", name, StepKind::Create, Some(target), row(before, WORK));
        for (extra, reason) in &item.extra_steps {
            let kind = StepKind::BootPrepare {
                extra: extra.clone(),
                reason: reason.clone(),
            };
            last = self.builder.item_step(
                &format!("prepare-{extra}"),
                name,
                kind,
                Some(target),
                row(vec![needs(last)], WORK),
            );
        }
        let unplanned = self.kind == FailoverKind::Unplanned;
        let mut before = needs(last);
        if let Some(fencing) = item.item.fencing.as_ref().filter(|_| unplanned) {
            let row = row(vec![before], FENCING);
            let cut = self
                .builder
                .item_step("stonith", name, StepKind::Stonith, Some(&fencing.site), row);
            // Whatever comes of it: the proof decides.
            before = Edge {
                step: cut,
                wait: Wait::End,
            };
        }
        let proof = if test {
            self.builder.item_step(
                "isolation",
                name,
                StepKind::ProveIsolation,
                Some(target),
                row(vec![needs(last)], READ),
            )
        } else {
            self.builder
                .item_step("fence", name, StepKind::Fence, Some(source), row(vec![before], ONCE))
        };
        let start = self.builder.item_step(
            "start",
            name,
            StepKind::Start,
            Some(target),
            row(vec![needs(proof)], WORK),
        );
        // It was kept from starting by itself for as long as it ran elsewhere.
        let location = item.turn.as_ref().map_or(item.state.location, |turn| turn.location);
        let home = !test && frozen.direction == Direction::Reverse && location == Some(Location::Original);
        if home {
            let after = row(vec![needs(start)], WORK);
            self.builder
                .item_step("release", name, StepKind::Release, Some(target), after);
        }
        self.started.insert(name.to_owned(), start);
        start
    }

    /// The actions that stand here, one after the other.
    fn actions(&mut self, position: &Position, mut here: StepIndex) -> StepIndex {
        let frozen = self.builder.frozen;
        let (phase, group) = match position {
            Position::Before(group) => ("before", group.as_deref()),
            Position::After(group) => ("after", group.as_deref()),
        };
        let items: Vec<&str> = match group.and_then(|name| frozen.plan.groups.iter().find(|group| group.name == name)) {
            Some(group) => group
                .machines
                .iter()
                .filter(|name| frozen.items.contains_key(*name))
                .map(String::as_str)
                .collect(),
            None => frozen.items.keys().map(String::as_str).collect(),
        };
        let mut wait = self.barrier;
        let fits = |action: &&Action| {
            action.positions.contains(position)
                && action.kinds.contains(&self.kind)
                && action.directions.contains(&frozen.direction)
        };
        let fitting: Vec<&Action> = frozen.plan.actions.iter().filter(fits).collect();
        for action in fitting {
            let step = self.builder.step(NewStep {
                id: format!(
                    "{}/{}/{phase}-{}",
                    if action.gate.is_some() { "gate" } else { "action" },
                    action.name,
                    group.unwrap_or("all")
                ),
                kind: match action.gate {
                    None => StepKind::Action {
                        action: action.name.clone(),
                        phase: phase.to_owned(),
                    },
                    Some(_) => StepKind::Gate {
                        action: action.name.clone(),
                    },
                },
                stage: Stage::Actions,
                calls: action.gate.is_none().then_some(action.runbook.as_str()),
                group,
                items: &items,
                after: vec![Edge { step: here, wait }],
                patience: Patience {
                    retries: action.retries,
                    timeout_ms: action.timeout_ms,
                },
                stops_job: match action.on_error {
                    Some(OnError::Stop) => true,
                    Some(OnError::Continue) => false,
                    // Somebody wanted to be asked: a no is a no, also when all that can be saved is saved.
                    None => self.stops_job || action.gate.is_some(),
                },
            });
            // A stuck action holds what comes after it, unless it may be gone past.
            wait = if action.on_error == Some(OnError::Continue) {
                Wait::Pass
            } else {
                Wait::End
            };
            here = step;
        }
        if matches!(
            self.builder.graph.steps.get(here).map(|step| &step.kind),
            Some(StepKind::Action { .. } | StepKind::Gate { .. })
        ) {
            let id = format!("actions-{phase}-{}", group.unwrap_or("all"));
            here = self.builder.milestone(&id, [here], wait);
        }
        here
    }
}
