//! Requests for tests: short ways to write one, and proptest's ways to make them up.

use landfall_sdk::{Candidate, Consistency, Direction, FailoverKind, PolicyRequest, RecoveryPoint};
use proptest::prelude::*;

pub(crate) fn point(id: &str, time: u64, app: bool, mark: Option<&str>) -> RecoveryPoint {
    RecoveryPoint {
        id: id.to_owned(),
        source_time_ms: time,
        consistency: if app { Consistency::App } else { Consistency::Crash },
        group_mark: mark.map(str::to_owned),
        processed: true,
        ext: Vec::new(),
    }
}

pub(crate) fn pending(point: RecoveryPoint) -> RecoveryPoint {
    RecoveryPoint {
        processed: false,
        ..point
    }
}

pub(crate) fn candidate(item: &str, group: Option<&str>, points: Vec<RecoveryPoint>) -> Candidate {
    Candidate {
        item: item.to_owned(),
        group: group.map(str::to_owned),
        points,
    }
}

pub(crate) fn request(choice: &str, direction: Direction, candidates: Vec<Candidate>) -> PolicyRequest {
    PolicyRequest {
        choice: choice.to_owned(),
        params: Vec::new(),
        kind: FailoverKind::Unplanned,
        direction,
        now_ms: 0,
        candidates,
        ext: Vec::new(),
    }
}

fn points() -> impl Strategy<Value = Vec<RecoveryPoint>> {
    // Few marks and few moments, so that ties and common marks are frequent.
    let one = (0_u64..40, any::<bool>(), proptest::option::of(0_u8..5), any::<bool>());
    proptest::collection::vec(one, 0..12).prop_map(|all| {
        let make = |(index, (hours, app, mark, processed)): (usize, (u64, bool, Option<u8>, bool))| RecoveryPoint {
            processed,
            ..point(
                &format!("p{index}"),
                hours * 1_800_000,
                app,
                mark.map(|mark| format!("m{mark}")).as_deref(),
            )
        };
        all.into_iter().enumerate().map(make).collect()
    })
}

/// Up to four members of one group, and a lone machine.
pub(crate) fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    (proptest::collection::vec(points(), 1..5), points()).prop_map(|(members, lone)| {
        let members = members.into_iter().enumerate();
        let mut all: Vec<_> = members
            .map(|(index, points)| candidate(&format!("i{index}"), Some("g"), points))
            .collect();
        all.push(candidate("lone", None, lone));
        all
    })
}

pub(crate) fn find<'a>(candidates: &'a [Candidate], item: &str, id: &str) -> &'a RecoveryPoint {
    let candidate = candidates.iter().find(|candidate| candidate.item == item).unwrap();
    candidate.points.iter().find(|point| point.id == id).unwrap()
}
