//! The jobs that are a short chain for every item: protect, test cleanup, commit, unprotect, release.

use super::turn::{Chain, undo};
use super::{Builder, READ, TRANSFER, WORK};
use crate::graph::{Graph, Stage, StepKind};
use crate::words::Direction;

/// Check, replica, first full copy. One machine's trouble holds no other.
pub(super) fn protect(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let target = Some(item.item.target_site.as_str());
        let mut chain = Chain::new(&mut builder, name, Stage::Prerequisites);
        chain.step("check", StepKind::Check, target, READ);
        chain.stage = Stage::Failover;
        chain.step("prepare-replica", StepKind::PrepareReplica, target, WORK);
        chain.step("seed", StepKind::Seed, target, TRANSFER);
    }
    builder.graph
}

/// Stop and delete every test machine.
pub(super) fn cleanup(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        if item.state.test_machine.is_none() {
            continue;
        }
        let target = Some(item.item.target_site.as_str());
        let mut chain = Chain::new(&mut builder, name, Stage::Finish);
        chain.step("stop", StepKind::Stop, target, WORK);
        chain.step("delete", StepKind::Delete, target, WORK);
    }
    builder.graph
}

/// From the first step on the points count as deleted (F21); deleting them can then be repeated until it works. After a
/// failback the machine that it came back from goes first, proved off (B27).
pub(super) fn commit(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let (source, target) = (
            Some(item.item.source.site.as_str()),
            Some(item.item.target_site.as_str()),
        );
        let mut chain = Chain::new(&mut builder, name, Stage::Finish);
        chain.step("doom-points", StepKind::DoomPoints, None, READ);
        if frozen.direction == Direction::Reverse && item.state.target_machine.is_some() {
            chain.step("shutdown", StepKind::Shutdown, source, WORK);
            chain.step("fence", StepKind::Fence, source, READ);
            chain.step("delete-source", StepKind::DeleteSource, source, WORK);
        }
        if frozen.direction == Direction::Reverse && item.state.other_replica.is_some() {
            chain.step("delete-other-replica", StepKind::DeleteOtherReplica, source, WORK);
        }
        chain.step("delete-points", StepKind::DeletePoints, target, WORK);
    }
    builder.graph
}

/// What a test or a broken failover left is removed, a source that it stopped runs again, and only then the replica goes.
pub(super) fn unprotect(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let (source, target) = (
            Some(item.item.source.site.as_str()),
            Some(item.item.target_site.as_str()),
        );
        let mut chain = Chain::new(&mut builder, name, Stage::Finish);
        if item.state.test_machine.is_some() {
            chain.step("stop-test", StepKind::StopTest, target, WORK);
            chain.step("delete-test", StepKind::DeleteTest, target, WORK);
        }
        undo(&mut chain, item);
        if item.state.source_stopped {
            chain.step("release-source", StepKind::ReleaseSource, source, WORK);
            chain.step("start-source", StepKind::StartSource, source, WORK);
        }
        chain.step("delete-replica", StepKind::DeleteReplica, target, WORK);
        // The one of the last way back; an item on its way back becomes what it was before, and keeps the other.
        if frozen.direction == Direction::Forward && item.state.other_replica.is_some() {
            chain.step("delete-other-replica", StepKind::DeleteOtherReplica, source, WORK);
        }
        chain.step("forget", StepKind::Forget, None, READ);
    }
    builder.graph
}

/// Nothing is done at any site: what is there stays.
pub(super) fn release(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for name in frozen.items.keys() {
        Chain::new(&mut builder, name, Stage::Finish).step("forget", StepKind::Forget, None, READ);
    }
    builder.graph
}
