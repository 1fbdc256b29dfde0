//! What stays, case by case, and the laws of thinning.

use landfall_sdk::Direction;
use proptest::prelude::*;

use super::*;
use crate::testing::{candidate, candidates, find, pending, point, request};

const MINUTE: u64 = 60_000;

fn kept(now: u64, keep_ms: u64, candidates: Vec<Candidate>) -> Vec<(String, String)> {
    let mut request = request("", Direction::Forward, candidates);
    request.now_ms = now;
    request.params = vec![("keep-ms".to_owned(), keep_ms.to_string())];
    let verdicts = retain(&request).unwrap();
    verdicts
        .into_iter()
        .filter(|one| one.keep)
        .map(|one| (one.item, one.point))
        .collect()
}

fn kept_of_one(now: u64, keep_ms: u64, points: Vec<RecoveryPoint>) -> Vec<String> {
    kept(now, keep_ms, vec![candidate("a", None, points)])
        .into_iter()
        .map(|(_, point)| point)
        .collect()
}

#[test]
fn the_newest_of_each_kind_stays_however_old_it_is() {
    let points = vec![
        point("c", 30, false, None),
        point("b", 20, true, None),
        point("a", 10, true, None),
    ];
    assert_eq!(kept_of_one(100 * DAY_MS, HOUR_MS, points), ["c", "b"]);
}

#[test]
fn pending_points_are_not_ours_to_drop() {
    let points = vec![point("b", 20, false, None), pending(point("a", 10, false, None))];
    assert_eq!(kept_of_one(100 * DAY_MS, HOUR_MS, points), ["b", "a"]);
}

#[test]
fn thins_to_one_an_hour_and_then_one_a_day() {
    let now = 10 * DAY_MS;
    let every_ten_minutes = (0..6 * 72).map(|index| now - index * 10 * MINUTE);
    let points = every_ten_minutes
        .map(|time| point(&time.to_string(), time, false, None))
        .collect();
    let kept = kept_of_one(now, 3 * DAY_MS, points).len();
    // Seven in the last hour, the 23 hours before it, the last two days but one, and a started slot at each seam.
    assert!((7 + 23 + 2..=7 + 24 + 3).contains(&kept), "{kept}");
}

#[test]
fn an_app_consistent_point_stands_for_its_hour() {
    let now = 10 * HOUR_MS;
    let points = vec![
        point("new", now, true, None),
        point("crash", 5 * HOUR_MS + 50 * MINUTE, false, None),
        point("app", 5 * HOUR_MS + 10 * MINUTE, true, None),
    ];
    assert_eq!(kept_of_one(now, DAY_MS, points), ["new", "app"]);
}

#[test]
fn a_missing_window_is_refused() {
    assert_eq!(
        retain(&request("", Direction::Forward, vec![])).unwrap_err().code,
        "bad-params"
    );
}

proptest! {
    #[test]
    fn never_drops_the_newest(all in candidates(), now in 0_u64..100 * HOUR_MS, window in 0_u64..100 * HOUR_MS) {
        let kept = kept(now, window, all.clone());
        for one in &all {
            for need in [Need::Any, Need::App] {
                if let Some(point) = newest(one, need) {
                    prop_assert!(kept.contains(&(one.item.clone(), point.id.clone())));
                }
            }
        }
    }

    #[test]
    fn thinning_twice_changes_nothing(all in candidates(), now in 0_u64..100 * HOUR_MS, window in 0_u64..100 * HOUR_MS) {
        let first = kept(now, window, all.clone());
        let mut thinned = all;
        for one in &mut thinned {
            one.points.retain(|point| first.contains(&(one.item.clone(), point.id.clone())));
        }
        prop_assert_eq!(first, kept(now, window, thinned));
    }

    #[test]
    fn a_group_keeps_the_same_common_marks(all in candidates(), now in 0_u64..100 * HOUR_MS, window in 0_u64..100 * HOUR_MS) {
        let members: Vec<&Candidate> = all.iter().filter(|one| one.group.is_some()).collect();
        let before = newest_mark(&common_marks(&members, Need::Any));
        let kept = kept(now, window, all.clone());
        if let Some(mark) = before {
            for member in members {
                let holds = kept.iter().filter(|(item, _)| *item == member.item).any(|(item, id)| {
                    find(&all, item, id).group_mark.as_deref() == Some(mark)
                });
                prop_assert!(holds, "{} lost {mark}", member.item);
            }
        }
    }
}
