//! The jobs that are a short chain for every item: protect, test cleanup, commit.

use super::{Builder, NewStep, Patience, READ, TRANSFER, WORK, needs};
use crate::graph::{Graph, Stage, StepIndex, StepKind};

/// Check, replica, first full copy. One machine's trouble holds no other.
pub(super) fn protect(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let target = Some(item.item.target_site.as_str());
        let check = chain(
            &mut builder,
            "check",
            name,
            StepKind::Check,
            Stage::Prerequisites,
            target,
            None,
            READ,
        );
        let prepare = chain(
            &mut builder,
            "prepare-replica",
            name,
            StepKind::PrepareReplica,
            Stage::Failover,
            target,
            Some(check),
            WORK,
        );
        chain(
            &mut builder,
            "seed",
            name,
            StepKind::Seed,
            Stage::Failover,
            target,
            Some(prepare),
            TRANSFER,
        );
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
        let stop = chain(
            &mut builder,
            "stop",
            name,
            StepKind::Stop,
            Stage::Finish,
            target,
            None,
            WORK,
        );
        chain(
            &mut builder,
            "delete",
            name,
            StepKind::Delete,
            Stage::Finish,
            target,
            Some(stop),
            WORK,
        );
    }
    builder.graph
}

/// From the first step on the points count as deleted (F21); deleting them can then be repeated until it works.
pub(super) fn commit(mut builder: Builder<'_>) -> Graph {
    let frozen = builder.frozen;
    for (name, item) in &frozen.items {
        let target = Some(item.item.target_site.as_str());
        let doom = chain(
            &mut builder,
            "doom-points",
            name,
            StepKind::DoomPoints,
            Stage::Finish,
            None,
            None,
            READ,
        );
        chain(
            &mut builder,
            "delete-points",
            name,
            StepKind::DeletePoints,
            Stage::Finish,
            target,
            Some(doom),
            WORK,
        );
    }
    builder.graph
}

#[expect(clippy::too_many_arguments, reason = "a row of a table: one step of one item")]
fn chain(
    builder: &mut Builder<'_>,
    verb: &str,
    item: &str,
    kind: StepKind,
    stage: Stage,
    calls: Option<&str>,
    after: Option<StepIndex>,
    patience: Patience,
) -> StepIndex {
    builder.step(NewStep {
        id: format!("{verb}/{item}"),
        kind,
        stage,
        calls,
        group: None,
        items: &[item],
        after: after.map(needs).into_iter().collect(),
        patience,
        stops_job: false,
    })
}
