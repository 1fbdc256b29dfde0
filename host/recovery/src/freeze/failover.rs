//! The failovers: test, planned, unplanned. One builder, because they differ in three things only: what is done to
//! the source, what proof an activation needs, and whether an error stops the job.

use std::collections::BTreeMap;

use super::{Builder, FENCING, NewStep, ONCE, Patience, READ, TRANSFER, WORK, needs};
use crate::document::{Action, OnError, Position};
use crate::graph::{Edge, Graph, Stage, StepIndex, StepKind, Wait};
use crate::words::FailoverKind;

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
        }
    }

    fn build(mut self, stops_job: bool) -> Graph {
        self.stops_job = stops_job;
        let plan = &self.builder.frozen.plan;
        self.checks();
        let checked = self.barrier("checked", self.check.values().copied().collect());
        let mut here = self.actions(&Position::Before(None), checked);
        // A planned failover loses nothing (F22), and a source that runs goes on writing: it is always shut down.
        if self.kind == FailoverKind::Planned || (self.kind == FailoverKind::Unplanned && plan.shutdown) {
            here = self.shut_down(here);
        }
        here = self.points(here);
        for group in &plan.groups {
            here = self.actions(&Position::Before(Some(group.name.clone())), here);
            let started: Vec<StepIndex> = self
                .builder
                .members(group)
                .iter()
                .map(|item| self.machine(&group.name, item, here))
                .collect();
            if !started.is_empty() {
                here = self.barrier(&format!("group-{}", group.name), started);
            }
            here = self.actions(&Position::After(Some(group.name.clone())), here);
        }
        self.actions(&Position::After(None), here);
        self.builder.graph
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

    fn item_step(&mut self, verb: &str, item: &str, kind: StepKind, site: Option<&str>, row: Row<'_>) -> StepIndex {
        let stops_job = self.stops_job;
        self.builder.step(NewStep {
            id: format!("{verb}/{item}"),
            kind,
            stage: row.stage,
            calls: site,
            group: row.group,
            items: &[item],
            after: row.after,
            patience: row.patience,
            stops_job,
        })
    }

    fn checks(&mut self) {
        let frozen = self.builder.frozen;
        for (name, item) in &frozen.items {
            let row = Row {
                stage: Stage::Prerequisites,
                group: None,
                after: Vec::new(),
                patience: READ,
            };
            let step = self.item_step("check", name, StepKind::Check, Some(&item.item.target_site), row);
            self.check.insert(name.clone(), step);
        }
    }

    fn needs_check(&self, item: &str) -> Vec<Edge> {
        self.check.get(item).copied().map(needs).into_iter().collect()
    }

    /// Sources, groups in reverse order: the web tier goes before its database.
    fn shut_down(&mut self, mut here: StepIndex) -> StepIndex {
        let frozen = self.builder.frozen;
        let planned = self.kind == FailoverKind::Planned;
        // In an unplanned failover a shutdown that fails is recorded, and the fence proof decides (F15).
        let (patience, chain) = if planned {
            (WORK, Wait::Success)
        } else {
            (ONCE, Wait::End)
        };
        for group in frozen.plan.groups.iter().rev() {
            let mut held = Vec::new();
            for name in self.builder.members(group) {
                let Some(item) = frozen.items.get(&name) else { continue };
                let site = item.item.source.site.as_str();
                let mut after = self.needs_check(&name);
                after.push(self.edge(here));
                let row = Row {
                    stage: Stage::Failover,
                    group: Some(&group.name),
                    after,
                    patience,
                };
                let off = self.item_step("shutdown", &name, StepKind::Shutdown, Some(site), row);
                let after = vec![Edge { step: off, wait: chain }];
                let row = Row {
                    stage: Stage::Failover,
                    group: Some(&group.name),
                    after,
                    patience,
                };
                held.push(self.item_step("hold", &name, StepKind::Hold, Some(site), row));
            }
            if !held.is_empty() {
                here = self.barrier(&format!("off-{}", group.name), held);
            }
        }
        here
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
            if planned {
                let sync = self.unit_step("sync", &name, &unit, StepKind::Sync, Some(target), before, TRANSFER);
                before = vec![needs(sync)];
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
                        };
                        let process = self.item_step("process", item, StepKind::Process, Some(target), row);
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
        let row = |after: Vec<Edge>, patience| Row {
            stage: Stage::Start,
            group: Some(group),
            after,
            patience,
        };

        let mut before: Vec<Edge> = self.choose.get(name).copied().map(needs).into_iter().collect();
        before.extend(self.needs_check(name));
        before.push(self.edge(here));
        if !test && item.state.target_machine.is_some() {
            let discard = self.item_step("discard", name, StepKind::Delete, Some(target), row(before, WORK));
            before = vec![needs(discard)];
        }
        let mut last = self.item_step("create", name, StepKind::Create, Some(target), row(before, WORK));
        for (extra, reason) in &item.extra_steps {
            let kind = StepKind::BootPrepare {
                extra: extra.clone(),
                reason: reason.clone(),
            };
            last = self.item_step(
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
            let cut = self.item_step("stonith", name, StepKind::Stonith, Some(&fencing.site), row);
            // Whatever comes of it: the proof decides.
            before = Edge {
                step: cut,
                wait: Wait::End,
            };
        }
        let proof = if test {
            self.item_step(
                "isolation",
                name,
                StepKind::ProveIsolation,
                Some(target),
                row(vec![needs(last)], READ),
            )
        } else {
            self.item_step(
                "fence",
                name,
                StepKind::Fence,
                Some(source),
                row(vec![before], ONCE),
            )
        };
        self.item_step(
            "start",
            name,
            StepKind::Start,
            Some(target),
            row(vec![needs(proof)], WORK),
        )
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
                id: format!("action/{}/{phase}-{}", action.name, group.unwrap_or("all")),
                kind: StepKind::Action {
                    action: action.name.clone(),
                    phase: phase.to_owned(),
                },
                stage: Stage::Actions,
                calls: Some(&action.runbook),
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
                    None => self.stops_job,
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
            Some(StepKind::Action { .. })
        ) {
            let id = format!("actions-{phase}-{}", group.unwrap_or("all"));
            here = self.builder.milestone(&id, [here], wait);
        }
        here
    }
}

struct Row<'r> {
    stage: Stage,
    group: Option<&'r str>,
    after: Vec<Edge>,
    patience: Patience,
}
