//! The choices one by one, named after the requirement they show, and the laws that hold for all of them.

use proptest::prelude::*;

use super::*;
use crate::testing::{candidate, candidates, find, pending, point, request};

fn picks(choice: &str, direction: Direction, candidates: Vec<Candidate>) -> Vec<(String, String)> {
    let chosen = select(&request(choice, direction, candidates)).unwrap();
    chosen.into_iter().map(|one| (one.item, one.point)).collect()
}

fn pair_of(item: &str, point: &str) -> (String, String) {
    (item.to_owned(), point.to_owned())
}

/// Two members with a common crash mark `m2`, an older common app mark `m1`, and newer points of their own.
fn group() -> Vec<Candidate> {
    let web = vec![
        pending(point("w5", 500, true, Some("m5"))),
        point("w4", 400, false, None),
        point("w3", 300, true, None),
        point("w2", 200, false, Some("m2")),
        point("w1", 100, true, Some("m1")),
    ];
    let db = vec![
        point("d5", 500, true, Some("m5")),
        point("d2", 201, false, Some("m2")),
        point("d1", 101, true, Some("m1")),
    ];
    vec![candidate("web", Some("g"), web), candidate("db", Some("g"), db)]
}

#[test]
fn f05_latest_needs_processing_and_takes_whatever_is_newest() {
    assert!(Rule::Latest.describe().needs_processing);
    assert_eq!(
        picks("latest", Direction::Forward, group()),
        [pair_of("web", "w4"), pair_of("db", "d5")]
    );
}

#[test]
fn f06_latest_processed_never_waits() {
    assert!(!Rule::LatestProcessed.describe().needs_processing);
    assert_eq!(
        picks("latest-processed", Direction::Forward, group()),
        [pair_of("web", "w4"), pair_of("db", "d5")]
    );
}

#[test]
fn f07_forward_app_consistent_is_per_machine_even_in_a_group() {
    let chosen = picks("latest-app-consistent", Direction::Forward, group());
    assert_eq!(chosen, [pair_of("web", "w3"), pair_of("db", "d5")]);
}

#[test]
fn f08_multi_vm_takes_the_group_to_its_newest_common_point_and_others_to_their_own() {
    assert!(Rule::MultiVmProcessed.describe().needs_group);
    let mut all = group();
    all.insert(1, candidate("lone", None, vec![point("l1", 10, false, None)]));
    let chosen = picks("latest-multi-vm-processed", Direction::Forward, all);
    assert_eq!(
        chosen,
        [pair_of("web", "w2"), pair_of("lone", "l1"), pair_of("db", "d2")]
    );
}

#[test]
fn f09_multi_vm_app_consistent_takes_the_common_app_mark() {
    let chosen = picks("latest-multi-vm-app-consistent", Direction::Forward, group());
    assert_eq!(chosen, [pair_of("web", "w1"), pair_of("db", "d1")]);
}

#[test]
fn f10_custom_takes_the_named_point_and_no_pending_one() {
    let mut one = request("custom", Direction::Forward, group().split_off(1));
    one.params = vec![pair_of("db", "d1")];
    assert_eq!(select(&one).unwrap().first().unwrap().point, "d1");
    let mut web = group();
    web.truncate(1);
    for (name, why) in [("w5", "pending"), ("w9", "no point `w9`")] {
        let mut bad = request("custom", Direction::Forward, web.clone());
        bad.params = vec![pair_of("web", name)];
        let failure = select(&bad).unwrap_err();
        assert!(failure.message.contains(why), "{}", failure.message);
    }
}

#[test]
fn b22_in_reverse_every_machine_goes_to_its_own_newest_point() {
    for choice in ["latest", "latest-processed"] {
        assert_eq!(
            picks(choice, Direction::Reverse, group()),
            [pair_of("web", "w4"), pair_of("db", "d5")]
        );
    }
}

#[test]
fn b24_in_reverse_latest_is_shown_as_crash_consistent() {
    let chosen = select(&request("latest", Direction::Reverse, group())).unwrap();
    assert!(chosen.iter().all(|one| one.reason.contains("crash-consistent")));
}

#[test]
fn b25_in_reverse_app_consistent_takes_a_group_to_its_common_point_and_a_lone_machine_to_its_own() {
    let chosen = picks("latest-app-consistent", Direction::Reverse, group());
    assert_eq!(chosen, [pair_of("web", "w1"), pair_of("db", "d1")]);
    let mut lone = group();
    lone.truncate(1);
    for one in &mut lone {
        one.group = None;
    }
    assert_eq!(
        picks("latest-app-consistent", Direction::Reverse, lone),
        [pair_of("web", "w3")]
    );
}

#[test]
fn a_failure_names_every_machine_without_a_point() {
    let all = vec![
        candidate("a", None, vec![]),
        candidate("b", None, vec![pending(point("b1", 1, false, None))]),
        candidate("c", None, vec![point("c1", 1, false, None)]),
    ];
    let failure = select(&request("latest-app-consistent", Direction::Forward, all)).unwrap_err();
    assert_eq!(failure.code, "no-fitting-point");
    let named: Vec<_> = failure.details.iter().map(|(item, _)| item.as_str()).collect();
    assert_eq!(named, ["a", "b", "c"]);
}

#[test]
fn an_unknown_choice_is_refused_with_those_there_are() {
    let failure = select(&request("newest", Direction::Forward, group())).unwrap_err();
    assert!(failure.message.contains("latest-processed"), "{}", failure.message);
}

fn choice() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "latest",
        "latest-processed",
        "latest-app-consistent",
        "latest-multi-vm-processed",
        "latest-multi-vm-app-consistent",
    ])
}

fn direction() -> impl Strategy<Value = Direction> {
    proptest::sample::select(vec![Direction::Forward, Direction::Reverse])
}

proptest! {
    #[test]
    fn the_answer_does_not_depend_on_the_order_of_points(
        all in candidates(), choice in choice(), direction in direction()
    ) {
        let mut turned = all.clone();
        for one in &mut turned {
            one.points.reverse();
        }
        let (one, other) = (select(&request(choice, direction, all)), select(&request(choice, direction, turned)));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn every_candidate_gets_one_processed_point(all in candidates(), choice in choice(), direction in direction()) {
        if let Ok(chosen) = select(&request(choice, direction, all.clone())) {
            let items: Vec<_> = chosen.iter().map(|one| &one.item).collect();
            prop_assert_eq!(items, all.iter().map(|one| &one.item).collect::<Vec<_>>());
            prop_assert!(chosen.iter().all(|one| find(&all, &one.item, &one.point).processed));
        }
    }

    #[test]
    fn members_of_a_group_share_a_mark(all in candidates(), app in any::<bool>(), direction in direction()) {
        let choice = if app { "latest-multi-vm-app-consistent" } else { "latest-multi-vm-processed" };
        if let Ok(chosen) = select(&request(choice, direction, all.clone())) {
            let members = chosen.iter().filter(|one| one.item != "lone");
            let marks: Vec<_> = members.map(|one| find(&all, &one.item, &one.point).group_mark.clone()).collect();
            prop_assert!(marks.iter().all(|mark| mark.is_some() && Some(mark) == marks.first()));
        }
    }

    #[test]
    fn app_consistent_choices_give_app_consistent_points(all in candidates(), direction in direction()) {
        for choice in ["latest-app-consistent", "latest-multi-vm-app-consistent"] {
            if let Ok(chosen) = select(&request(choice, direction, all.clone())) {
                let app = |one: &Selection| find(&all, &one.item, &one.point).consistency == Consistency::App;
                prop_assert!(chosen.iter().all(app));
            }
        }
    }
}
