//! Order among points, and the marks that members of a replication group have in common.
//!
//! Nothing here depends on the order in which points or members are listed: the same points in any order give the
//! same answer.

use std::collections::BTreeMap;

use landfall_sdk::{Candidate, Consistency, RecoveryPoint};

/// What a point must be besides processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Any,
    App,
}

impl Need {
    pub(crate) fn accepts(self, point: &RecoveryPoint) -> bool {
        point.processed && (self == Self::Any || point.consistency == Consistency::App)
    }
}

/// The greatest is the newest; of two at one moment the app-consistent one, then the one with the greater id.
pub(crate) fn age_order(point: &RecoveryPoint) -> (u64, bool, &str) {
    (point.source_time_ms, point.consistency == Consistency::App, &point.id)
}

/// The newest point that fits.
pub(crate) fn newest(candidate: &Candidate, need: Need) -> Option<&RecoveryPoint> {
    candidate
        .points
        .iter()
        .filter(|point| need.accepts(point))
        .max_by_key(|point| age_order(point))
}

/// The newest fitting point at each mark. Built once for a candidate, as a request may hold thousands of points.
pub(crate) fn by_mark(candidate: &Candidate, need: Need) -> BTreeMap<&str, &RecoveryPoint> {
    let mut marks: BTreeMap<&str, &RecoveryPoint> = BTreeMap::new();
    for point in candidate.points.iter().filter(|point| need.accepts(point)) {
        let Some(mark) = point.group_mark.as_deref() else {
            continue;
        };
        let best = marks.entry(mark).or_insert(point);
        if age_order(point) > age_order(best) {
            *best = point;
        }
    }
    marks
}

/// Marks at which every member has a fitting point, each with the time of the oldest of those points: what the whole
/// group certainly holds.
pub(crate) fn common_marks<'a>(members: &[&'a Candidate], need: Need) -> BTreeMap<&'a str, u64> {
    let mut members = members.iter().map(|member| by_mark(member, need));
    let first = members.next().unwrap_or_default();
    let mut common: BTreeMap<&str, u64> = first
        .into_iter()
        .map(|(mark, point)| (mark, point.source_time_ms))
        .collect();
    for marks in members {
        common.retain(|mark, time| match marks.get(mark) {
            Some(point) => {
                *time = point.source_time_ms.min(*time);
                true
            }
            None => false,
        });
    }
    common
}

/// The newest of these marks; of two at one moment the one with the greater name.
pub(crate) fn newest_mark<'a>(marks: &BTreeMap<&'a str, u64>) -> Option<&'a str> {
    marks
        .iter()
        .max_by_key(|(mark, time)| (**time, **mark))
        .map(|(mark, _)| *mark)
}

/// The candidates by replication group, lone ones each for itself. The host asks for one group at a time, but the
/// answer must not depend on that.
pub(crate) fn groups(candidates: &[Candidate]) -> Vec<Vec<&Candidate>> {
    let mut grouped: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    let mut lone = Vec::new();
    for candidate in candidates {
        match &candidate.group {
            Some(group) => grouped.entry(group).or_default().push(candidate),
            None => lone.push(vec![candidate]),
        }
    }
    grouped.into_values().chain(lone).collect()
}
