//! Whatever happens to a lab: the fold of its ledger is the lab.

use proptest::prelude::*;
use serde_json::json;

use super::Bench;
use crate::entry::Change;
use crate::fault::Latency;
use crate::lab::Lab;

/// One random thing that happens to a lab.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Submit(usize, u8, serde_json::Value),
    Cycle(usize),
    Lose(usize, bool),
    Back(usize),
    Scale(u64),
    Latency(u64),
    Fault(serde_json::Value),
    Dedupe(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let machine = prop::sample::select(vec!["m1", "m2", "none"]);
    let replica = prop::sample::select(vec!["rp-6", "rp-7", "rp-8", "rp-9"]);
    let operation = prop_oneof![
        machine.clone().prop_map(|m| json!({"shutdown": {"machine": m}})),
        machine.clone().prop_map(|m| json!({"start": {"machine": m}})),
        machine.clone().prop_map(|m| json!({"fence": {"machine": m}})),
        (machine.clone(), any::<bool>()).prop_map(|(m, held)| json!({"hold": {"machine": m, "held": held}})),
        machine.clone().prop_map(|m| json!({"delete-machine": {"machine": m}})),
        machine.prop_map(|m| json!({"prepare-replica": {"item": m, "source_site": "a",
            "machine": {"id": m, "name": m, "origin": "kvm"}}})),
        replica.clone().prop_map(|r| json!({"process": {"replica": r}})),
        replica.clone().prop_map(|r| json!({"delete-points": {"replica": r}})),
        replica.prop_map(|r| json!({"delete-replica": {"replica": r}})),
    ];
    prop_oneof![
        3 => (0_u64..5_000).prop_map(Event::Wait),
        8 => (0_usize..2, 0_u8..8, operation).prop_map(|(site, key, operation)| Event::Submit(site, key, operation)),
        2 => (0_usize..2).prop_map(Event::Cycle),
        1 => (0_usize..2, any::<bool>()).prop_map(|(site, off)| Event::Lose(site, off)),
        1 => (0_usize..2).prop_map(Event::Back),
        1 => (1_u64..20_000).prop_map(Event::Scale),
        1 => (0_u64..3_000).prop_map(Event::Latency),
        1 => prop::sample::select(vec!["fail", "fail-after-effect", "lose-reply", "hang"])
            .prop_map(|mode| Event::Fault(json!({"mode": mode, "times": 2}))),
        1 => any::<bool>().prop_map(Event::Dedupe),
    ]
}

fn happen(bench: &mut Bench, event: &Event) {
    let site = |number: &usize| ["a", "b"][*number];
    match event {
        Event::Wait(ms) => bench.now += ms,
        Event::Submit(to, key, operation) => drop(bench.send(site(to), &format!("key-{key}"), operation.clone())),
        Event::Cycle(number) => {
            let machine = ["m1", "m2"][*number];
            let members = json!([{"item": machine, "machine": machine}]);
            drop(bench.send(
                "a",
                &format!("snapshot-{number}"),
                json!({"snapshot": {"members": members, "group_mark": "g"}}),
            ));
        }
        Event::Lose(to, machines_off) => {
            bench.control(
                Some(site(to)),
                vec![Change::SiteLost {
                    machines_off: *machines_off,
                }],
            );
        }
        Event::Back(to) => bench.control(Some(site(to)), vec![Change::SiteBack]),
        Event::Scale(milli) => bench.control(None, vec![Change::Scale { milli: *milli }]),
        Event::Latency(max_ms) => {
            let latency = Latency {
                site: None,
                operation: None,
                min_ms: 0,
                max_ms: *max_ms,
            };
            bench.control(None, vec![Change::LatencySet { latency }]);
        }
        Event::Fault(fault) => bench.fault(fault.clone()),
        Event::Dedupe(dedupe) => bench.settings("b", |settings| settings.dedupe = *dedupe),
    }
}

proptest! {
    #[test]
    fn a_replayed_ledger_gives_the_same_lab(events in prop::collection::vec(event(), 1..40)) {
        let mut bench = Bench::new();
        for event in &events {
            happen(&mut bench, event);
        }
        let (verdict, state, due) = {
            let before = bench.lab.take().unwrap();
            (before.verdict(), before.state, before.due.into_sorted_vec())
        };
        let after = Lab::open(bench.directory.path(), bench.now, None).unwrap();
        prop_assert_eq!(&state, &after.state);
        prop_assert_eq!(verdict, after.verdict());
        let mut due = (due, after.due.into_sorted_vec());
        let live = |(_, handle): &(u64, String)| {
            matches!(after.state.tasks[handle].status, crate::state::Status::Running { .. })
        };
        due.0.retain(|entry| live(&entry.0));
        prop_assert_eq!(due.0, due.1);
    }
}
