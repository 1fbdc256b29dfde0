//! The jobs that bring an item onto its way back, or off a wrong one: reprotect, change of point, going back to the
//! source after a failover that broke off, and the two that settle which of two running machines stays.

use std::collections::BTreeMap;

use super::{AGENT, Builder, FrozenItem, Keep, Patience, READ, Row, TRANSFER, WORK, needs};
use crate::graph::{Edge, Graph, Stage, StepIndex, StepKind};
use crate::item::Location;
use crate::words::Direction;

/// Check, the machine that is there already off and proved off, replica, copy. One machine's trouble holds no other.
pub(super) fn reprotect(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let mut chain = Chain::new(&mut builder, name, Stage::Prerequisites);
        let check = chain.step("check", StepKind::Check, Some(&item.item.target_site), READ);
        turn(&mut builder, item, vec![needs(check)], false);
    }
    builder.graph
}

/// The steps after which an item is replicated the other way; gives the last one.
pub(super) fn turn(builder: &mut Builder<'_>, item: &FrozenItem, after: Vec<Edge>, stops_job: bool) -> StepIndex {
    let target = Some(item.item.target_site.as_str());
    let direction = builder.frozen.direction;
    let mut chain = Chain::new(builder, &item.item.name, Stage::Failover);
    chain.after = after;
    chain.stops_job = stops_job;
    if item.turn.as_ref().is_some_and(|turn| turn.old.is_some()) {
        old_off(&mut chain, target);
    }
    // What was replicated here when the item last came this way; it has not turned yet.
    if item.state.other_replica.is_some() && item.state.direction != direction {
        chain.step("delete-other-replica", StepKind::DeleteOtherReplica, target, WORK);
    }
    chain.step("prepare-replica", StepKind::PrepareReplica, target, AGENT);
    chain.step("seed", StepKind::Seed, target, TRANSFER)
}

/// The machine off, the point chosen, its disks moved there, the proof that its source is off, the machine on.
pub(super) fn change_point(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    // A replication group goes to one common point, so it is chosen once for all.
    let mut choose: BTreeMap<&str, StepIndex> = BTreeMap::new();
    for unit in frozen.units() {
        let Some(first) = unit.first().and_then(|name| frozen.items.get(*name)) else {
            continue;
        };
        let checks: Vec<Edge> = unit
            .iter()
            .filter_map(|name| Some((*name, frozen.items.get(*name)?)))
            .map(|(name, item)| {
                let mut chain = Chain::new(&mut builder, name, Stage::Prerequisites);
                needs(chain.step("check", StepKind::Check, Some(&item.item.target_site), READ))
            })
            .collect();
        let name = match &first.replication_group {
            Some(group) => format!("group-{group}"),
            None => first.item.name.clone(),
        };
        let step = builder.step(super::NewStep {
            id: format!("choose/{name}"),
            kind: StepKind::Choose,
            stage: Stage::Failover,
            calls: Some(&first.item.target_site),
            group: None,
            items: &unit,
            after: checks,
            patience: READ,
            stops_job: false,
        });
        choose.extend(unit.into_iter().map(|name| (name, step)));
    }
    for (name, item) in &frozen.items {
        let Some(chosen) = choose.get(name.as_str()) else {
            continue;
        };
        let (source, target) = (
            Some(item.item.source.site.as_str()),
            Some(item.item.target_site.as_str()),
        );
        let mut chain = Chain::new(&mut builder, name, Stage::Start);
        chain.after = vec![needs(*chosen)];
        if item.state.placed(frozen.direction).is_some() {
            chain.step("stop", StepKind::Stop, target, WORK);
            chain.step("change-point", StepKind::ChangePoint, target, WORK);
        } else {
            // It was given up for a source that did not start then.
            chain.step("create", StepKind::Create, target, WORK);
        }
        chain.step("fence", StepKind::Fence, source, READ);
        chain.step("start", StepKind::Start, target, WORK);
    }
    builder.graph
}

/// What the failover made is removed, and the source may run again, and does.
pub(super) fn resume_protection(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let source = Some(item.item.source.site.as_str());
        let mut chain = Chain::new(&mut builder, name, Stage::Finish);
        undo(&mut chain, item);
        chain.step("release-source", StepKind::ReleaseSource, source, WORK);
        chain.step("start-source", StepKind::StartSource, source, WORK);
    }
    builder.graph
}

/// What a broken failover left is removed; the original machine at home is the item's own, and only proved off.
pub(super) fn undo(chain: &mut Chain<'_, '_>, item: &FrozenItem) {
    let target = Some(item.item.target_site.as_str());
    if item.state.leftover().is_some() {
        // It may run: the failover may have been given up while it was started.
        chain.step("stop", StepKind::Stop, target, WORK);
        chain.step("prove-old-off", StepKind::ProveOldOff, target, READ);
        chain.step("discard", StepKind::Delete, target, WORK);
    } else if item.state.created.is_some() {
        old_off(chain, target);
    }
}

/// The machine that is at the target already: off, kept off, proved off.
fn old_off(chain: &mut Chain<'_, '_>, target: Option<&str>) {
    chain.step("stop-old", StepKind::StopOld, target, WORK);
    chain.step("hold-old", StepKind::HoldOld, target, WORK);
    chain.step("prove-old-off", StepKind::ProveOldOff, target, READ);
}

/// The old source off, kept off, proved off.
pub(super) fn fence(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        fence_source(&mut builder, name, item);
    }
    builder.graph
}

fn fence_source(builder: &mut Builder<'_>, name: &str, item: &FrozenItem) {
    let source = Some(item.item.source.site.as_str());
    let mut chain = Chain::new(builder, name, Stage::Finish);
    chain.step("shutdown", StepKind::Shutdown, source, WORK);
    chain.step("hold", StepKind::Hold, source, WORK);
    chain.step("fence", StepKind::Fence, source, READ);
}

/// One of the two machines goes.
pub(super) fn choose_direction(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        if frozen.keep == Some(Keep::Target) {
            fence_source(&mut builder, name, item);
            continue;
        }
        let (source, target) = (
            Some(item.item.source.site.as_str()),
            Some(item.item.target_site.as_str()),
        );
        let mut chain = Chain::new(&mut builder, name, Stage::Finish);
        // The original machine is the item's own: it waits for its data again. Any other is deleted, unless an earlier try
        // of this did so; but not before the source runs, as until then it is the only machine that is known to work.
        let original = frozen.direction == Direction::Reverse && item.state.location == Some(Location::Original);
        let made = item.state.placed(frozen.direction).is_some() && !original;
        if original {
            old_off(&mut chain, target);
        } else if made {
            chain.step("stop", StepKind::Stop, target, WORK);
            chain.step("prove-old-off", StepKind::ProveOldOff, target, READ);
        }
        chain.step("release-source", StepKind::ReleaseSource, source, WORK);
        chain.step("start-source", StepKind::StartSource, source, WORK);
        chain.step("return", StepKind::Return, None, READ);
        if made {
            chain.step("discard", StepKind::Delete, target, WORK);
        }
    }
    builder.graph
}

/// Steps of one item, each after the one before.
pub(super) struct Chain<'b, 'f> {
    builder: &'b mut Builder<'f>,
    item: &'b str,
    pub(super) stage: Stage,
    after: Vec<Edge>,
    stops_job: bool,
}

impl<'b, 'f> Chain<'b, 'f> {
    pub(super) fn new(builder: &'b mut Builder<'f>, item: &'b str, stage: Stage) -> Self {
        Self {
            builder,
            item,
            stage,
            after: Vec::new(),
            stops_job: false,
        }
    }

    pub(super) fn step(&mut self, verb: &str, kind: StepKind, calls: Option<&str>, patience: Patience) -> StepIndex {
        let row = Row {
            stage: self.stage,
            group: None,
            after: std::mem::take(&mut self.after),
            patience,
            stops_job: self.stops_job,
        };
        let step = self.builder.item_step(verb, self.item, kind, calls, row);
        self.after = vec![needs(step)];
        step
    }
}
