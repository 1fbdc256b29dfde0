//! Which points are worth keeping: a proposal, since the host also keeps what jobs, tests and uncommitted items use.
//!
//! The parameter `keep-ms` is the window. Inside it every point of the last hour stays, then one an hour for a day,
//! then one a day. Whatever the window says, the newest processed point, the newest app-consistent one, and the
//! newest that a whole replication group has in common stay, as long as replication is behind; and so does what is
//! still pending.
//!
//! Slots are cut at full hours and days, not counted back from now, and the point that stands for a day is the best
//! of that day's hours. So a later run keeps what an earlier one kept for the same slot.
//!
//! A mark is common to a group as long as every member has it, and that decides about slots. Where the last member's
//! goes, other points may stand for other slots. So thinning is repeated on what is left until nothing more goes, and
//! running it twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use landfall_sdk::{Candidate, Consistency, Failure, PolicyRequest, RecoveryPoint, Verdict, pair};

use crate::points::{Need, age_order, by_mark, common_marks, groups, newest, newest_mark};

const HOUR_MS: u64 = 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A verdict for every point of every candidate.
pub(crate) fn retain(request: &PolicyRequest) -> Result<Vec<Verdict>, Failure> {
    let window: u64 = pair(&request.params, "keep-ms")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::definite("bad-params", "`keep-ms` is missing or no whole number of milliseconds"))?;
    let mut left = request.candidates.clone();
    let mut verdicts = Vec::new();
    loop {
        let (kept, dropped): (Vec<_>, Vec<_>) = thinned(&left, request.now_ms, window)
            .into_iter()
            .partition(|verdict| verdict.keep);
        if dropped.is_empty() {
            verdicts.extend(kept);
            return Ok(verdicts);
        }
        let gone: BTreeSet<_> = dropped
            .iter()
            .map(|verdict| (&*verdict.item, &*verdict.point))
            .collect();
        for candidate in &mut left {
            let item = &*candidate.item;
            candidate.points.retain(|point| !gone.contains(&(item, &*point.id)));
        }
        verdicts.extend(dropped);
    }
}

/// A verdict for every point of every candidate, from one look at them.
fn thinned(candidates: &[Candidate], now: u64, window: u64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for members in groups(candidates) {
        let marks = Marks::of(&members);
        for member in members {
            let kept = Kept::of(member, &marks, now, window);
            verdicts.extend(member.points.iter().map(|point| kept.verdict(member, point)));
        }
    }
    verdicts
}

/// What a replication group has in common, and must go on having in common after thinning.
struct Marks<'a> {
    /// Each common mark with its moment, and whether it is app-consistent for all.
    common: BTreeMap<&'a str, (u64, bool)>,
    newest: [Option<&'a str>; 2],
}

impl<'a> Marks<'a> {
    fn of(members: &[&'a Candidate]) -> Self {
        if members.iter().any(|member| member.group.is_none()) {
            return Self {
                common: BTreeMap::new(),
                newest: [None, None],
            };
        }
        let (any, app) = (common_marks(members, Need::Any), common_marks(members, Need::App));
        let newest = [newest_mark(&any), newest_mark(&app)];
        let common = any
            .into_iter()
            .map(|(mark, time)| (mark, (time, app.contains_key(mark))))
            .collect();
        Self { common, newest }
    }

    /// The moment by which a point is put into a slot, and how well it stands for the slot: common to the group before
    /// app-consistent before new. For a common point both are the group's, so that all members keep the same marks
    /// although their clocks differ.
    fn place<'p>(&self, point: &'p RecoveryPoint) -> (u64, Worth<'p>) {
        let common = point
            .group_mark
            .as_deref()
            .and_then(|mark| Some((mark, self.common.get(mark)?)));
        if let Some((mark, (time, app))) = common {
            return (*time, (true, *app, *time, mark, age_order(point)));
        }
        let (time, app) = (point.source_time_ms, point.consistency == Consistency::App);
        (time, (false, app, time, "", age_order(point)))
    }
}

type Worth<'p> = (bool, bool, u64, &'p str, (u64, bool, &'p str));

/// The points of one machine to keep, with the reason.
struct Kept<'a> {
    reasons: BTreeMap<&'a str, &'static str>,
    thinned: BTreeSet<&'a str>,
}

impl<'a> Kept<'a> {
    fn of(candidate: &'a Candidate, marks: &Marks<'a>, now: u64, window: u64) -> Self {
        let mut kept = Self {
            reasons: BTreeMap::new(),
            thinned: BTreeSet::new(),
        };
        kept.keep(newest(candidate, Need::Any), "the newest point");
        kept.keep(newest(candidate, Need::App), "the newest app-consistent point");
        for (mark, need) in marks.newest.into_iter().zip([Need::Any, Need::App]) {
            let common = mark.and_then(|mark| by_mark(candidate, need).get(mark).copied());
            kept.keep(common, "the newest point common to its replication group");
        }
        for point in candidate.points.iter().filter(|point| !point.processed) {
            kept.keep(Some(point), "still pending");
        }
        kept.thin(candidate, marks, now, window);
        kept
    }

    fn keep(&mut self, point: Option<&'a RecoveryPoint>, reason: &'static str) {
        if let Some(point) = point {
            self.reasons.entry(&point.id).or_insert(reason);
        }
    }

    /// Fills the slots of the window, each with its best point.
    fn thin(&mut self, candidate: &'a Candidate, marks: &Marks<'a>, now: u64, window: u64) {
        let mut slots: BTreeMap<(u64, u64), (Worth<'a>, &'a RecoveryPoint)> = BTreeMap::new();
        for point in candidate.points.iter().filter(|point| point.processed) {
            let (time, worth) = marks.place(point);
            let age = now.saturating_sub(time);
            if age > window {
                continue;
            }
            self.thinned.insert(&point.id);
            if age <= HOUR_MS {
                self.keep(Some(point), "within the last hour");
                continue;
            }
            let length = if age <= DAY_MS { HOUR_MS } else { DAY_MS };
            let best = slots.entry((length, time / length)).or_insert((worth, point));
            if worth > best.0 {
                *best = (worth, point);
            }
        }
        for ((length, _), (_, point)) in slots {
            self.keep(
                Some(point),
                if length == HOUR_MS {
                    "the best of its hour"
                } else {
                    "the best of its day"
                },
            );
        }
    }

    fn verdict(&self, candidate: &Candidate, point: &RecoveryPoint) -> Verdict {
        let (keep, reason) = match self.reasons.get(point.id.as_str()) {
            Some(reason) => (true, *reason),
            None if self.thinned.contains(point.id.as_str()) => (false, "another point stands for its slot"),
            None => (false, "older than the retention"),
        };
        Verdict {
            item: candidate.item.clone(),
            point: point.id.clone(),
            keep,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
