//! The way home: onto the disks that are there or onto new ones, with no byte lost and none sent twice.

use serde_json::{Value, json};

use super::{Bench, creation};
use crate::entry::Change;
use crate::facts::{Profile, SiteFacts};
use crate::lab::Lab;
use crate::operation::Pairs;

impl Bench {
    /// One driven cycle between two sites, of what changed since a mark; gives the mark and the bytes sent.
    fn carry(
        &mut self,
        (from, machine): (&str, &str),
        (to, replica): (&str, &str),
        since: Option<&str>,
    ) -> (String, u64) {
        let members = json!([{"item": "item-m1", "machine": machine}]);
        let made = self.done(from, json!({"snapshot": {"members": members, "group_mark": "g"}}));
        let mark = made["mark/item-m1"].clone();
        let lab = self.lab();
        let source = &lab.site(from).unwrap().machines[machine];
        let start = since.map_or(0, |since| source.marks[since].bytes);
        let end = source.marks[&mark].bytes;
        let bytes = source
            .disk
            .read(&lab.state.clock, lab.blobs.root(), start, end - start)
            .unwrap();
        lab.blobs
            .store(to, replica)
            .unwrap()
            .write(&mark, start, &bytes)
            .unwrap();
        let complete = json!({"replica": replica, "mark": mark, "bytes": end, "consistency": "crash",
            "source_time_ms": made["source-time-ms/item-m1"].parse::<u64>().unwrap()});
        self.done(to, json!({"receive-complete": complete}));
        (mark, end - start)
    }

    /// `m1` runs at `b`, made from a point two seconds old; its source ran on for a second and is off. Gives the copy.
    fn failed_over(&mut self) -> (String, String) {
        let replica = self.prepare("m1");
        self.now += 2_000;
        self.cycle("m1", &replica);
        let point = self.done("b", json!({"process": {"replica": replica}}))["point"].clone();
        self.now += 1_000;
        self.done("a", json!({"shutdown": {"machine": "m1"}}));
        let copy = self.done("b", creation("m1", &replica, &point, "lan", false))["machine"].clone();
        self.done("b", json!({"start": {"machine": copy}}));
        self.now += 3_000;
        (copy, replica)
    }

    fn homeward(copy: &str, location: &str) -> Value {
        let ext = json!({"direction": "reverse", "location": location, "original-machine": "m1"});
        json!({"prepare-replica": {"item": "item-m1", "source_site": "b", "ext": ext,
            "machine": {"id": copy, "name": "m1", "origin": "kvm"}}})
    }

    /// From a replica at home to a machine that runs there.
    fn come_home(&mut self, copy: &str, prepared: &Pairs) -> (String, u64) {
        let replica = &prepared["replica"];
        let (mark, first) = self.carry(("b", copy), ("a", replica), prepared.get("mark").map(String::as_str));
        self.now += 1_000;
        self.done("b", json!({"stop": {"machine": copy}}));
        let (_, rest) = self.carry(("b", copy), ("a", replica), Some(&mark));
        let point = self.done("a", json!({"process": {"replica": replica}}))["point"].clone();
        let mut create = creation("m1", replica, &point, "lan", false);
        create["create-machine"]["ext"] = json!({"direction": "reverse"});
        let machine = self.done("a", create)["machine"].clone();
        (machine, first + rest)
    }
}

#[test]
fn b05_the_original_gets_only_what_changed_and_reads_back_whole() {
    let mut bench = Bench::new();
    let (copy, _) = bench.failed_over();
    let prepared = bench.done("a", Bench::homeward(&copy, "original"));
    let again = bench.done("a", Bench::homeward(&copy, "original"));
    assert_eq!(prepared, again, "one replica, with one beginning");
    assert_eq!(bench.refused("a", json!({"start": {"machine": "m1"}})), "bound");
    let (machine, sent) = bench.come_home(&copy, &prepared);
    assert_eq!(machine, "m1");
    assert_eq!(
        sent,
        400 * 64,
        "four seconds of the copy, and nothing that home still had"
    );
    assert_eq!(bench.read("a", "m1"), bench.read("b", &copy));
    bench.done("a", json!({"start": {"machine": "m1"}}));
    bench.now += 500;
    let verdict = bench.verify("a", "m1");
    assert!(verdict.valid, "{verdict:?}");
    assert_eq!((verdict.records, verdict.incarnations.len()), (200 + 400 + 50, 3));
    let check = bench.lab().verdict();
    assert!(check.both_active.is_empty() && check.doubled.is_empty());
    let lost: Vec<u64> = check.lost.iter().map(|lost| lost.records).collect();
    assert_eq!(lost, [0], "of the copy; what its own source lost is no more to be seen");
    let state = bench.lab.take().unwrap().state;
    assert_eq!(state, Lab::open(bench.directory.path(), bench.now, None).unwrap().state);
}

#[test]
fn b05_a_change_of_point_loses_records_and_comes_home_without_them() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    let mut points = Vec::new();
    for _ in 0..2 {
        bench.now += 1_000;
        bench.cycle("m1", &replica);
        points.push(bench.done("b", json!({"process": {"replica": replica}}))["point"].clone());
    }
    bench.done("a", json!({"shutdown": {"machine": "m1"}}));
    let copy = bench.done("b", creation("m1", &replica, &points[1], "lan", false))["machine"].clone();
    bench.done("b", json!({"start": {"machine": copy}}));
    bench.now += 700;
    let change = json!({"change-point": {"machine": copy, "replica": replica, "point": points[0]}});
    assert_eq!(bench.refused("b", change.clone()), "running");
    bench.done("b", json!({"stop": {"machine": copy}}));
    bench.done("b", change);
    assert_eq!(bench.lab().verdict().lost[0].records, 100, "the second of the two");
    bench.done("b", json!({"start": {"machine": copy}}));
    bench.now += 1_000;
    let prepared = bench.done("a", Bench::homeward(&copy, "original"));
    let (_, sent) = bench.come_home(&copy, &prepared);
    assert_eq!(sent, 200 * 64);
    assert_eq!(bench.read("a", "m1"), bench.read("b", &copy));
    let verdict = bench.verify("a", "m1");
    assert!(verdict.valid, "{verdict:?}");
    assert_eq!(verdict.records, 100 + 200);
}

#[test]
fn b06_an_alternate_location_is_made_anew_and_gets_everything() {
    let mut bench = Bench::new();
    let (copy, _) = bench.failed_over();
    bench.control(Some("a"), vec![Change::MachineGone { machine: "m1".into() }]);
    assert_eq!(bench.refused("a", Bench::homeward(&copy, "original")), "not-found");
    let prepared = bench.done("a", Bench::homeward(&copy, "alternate"));
    assert_eq!(prepared.get("mark"), None);
    let (machine, sent) = bench.come_home(&copy, &prepared);
    assert_ne!(machine, "m1");
    assert_eq!(sent, 600 * 64);
    assert_eq!(bench.read("a", &machine), bench.read("b", &copy));
    assert!(bench.verify("a", &machine).valid);
}

#[test]
fn b05_disks_that_hold_something_else_get_everything() {
    let mut bench = Bench::new();
    let (copy, _) = bench.failed_over();
    // Somebody starts the machine at home: what it writes is behind the point, and is overwritten.
    bench.control(
        Some("a"),
        vec![Change::Power {
            machine: "m1".into(),
            on: true,
        }],
    );
    assert_eq!(bench.refused("a", Bench::homeward(&copy, "original")), "running");
    bench.done("a", json!({"stop": {"machine": "m1"}}));
    let prepared = bench.done("a", Bench::homeward(&copy, "original"));
    assert!(prepared.contains_key("mark"));
    bench.done("a", json!({"delete-replica": {"replica": prepared["replica"]}}));
    bench.done("a", json!({"start": {"machine": "m1"}}));
    bench.done("a", json!({"stop": {"machine": "m1"}}));
    // Its disks are replaced: nothing of them can be trusted.
    let disk = crate::disk::Disk::new(1, 99, None);
    bench.control(
        Some("a"),
        vec![Change::DiskReplaced {
            machine: "m1".into(),
            disk,
        }],
    );
    let prepared = bench.done("a", Bench::homeward(&copy, "original"));
    assert_eq!(prepared.get("mark"), None);
    let (_, sent) = bench.come_home(&copy, &prepared);
    assert_eq!(sent, 600 * 64);
    assert_eq!(bench.read("a", "m1"), bench.read("b", &copy));
}

#[test]
fn a_machine_that_came_home_can_go_again() {
    let mut bench = Bench::new();
    let (copy, old) = bench.failed_over();
    let prepared = bench.done("a", Bench::homeward(&copy, "original"));
    bench.come_home(&copy, &prepared);
    bench.done("a", json!({"start": {"machine": "m1"}}));
    bench.done("a", json!({"delete-replica": {"replica": prepared["replica"]}}));
    bench.done("b", json!({"delete-machine": {"machine": copy}}));
    bench.done("b", json!({"delete-points": {"replica": old}}));
    let ext = json!({"direction": "forward"});
    let facts = json!({"id": "m1", "name": "m1", "origin": "kvm"});
    let again = bench.done(
        "b",
        json!({"prepare-replica":
        {"item": "item-m1", "machine": facts, "source_site": "a", "ext": ext}}),
    )["replica"]
        .clone();
    bench.now += 1_000;
    bench.carry(("a", "m1"), ("b", &again), None);
    let point = bench.done("b", json!({"process": {"replica": again}}))["point"].clone();
    bench.done("a", json!({"shutdown": {"machine": "m1"}}));
    let second = bench.done("b", creation("m1", &again, &point, "lan", false))["machine"].clone();
    assert_eq!(bench.read("b", &second), bench.read("a", "m1"));
    bench.done("b", json!({"start": {"machine": second}}));
    bench.now += 1_000;
    let prepared = bench.done("a", Bench::homeward(&second, "original"));
    assert!(prepared.contains_key("mark"), "home still holds it");
    let (_, sent) = bench.come_home(&second, &prepared);
    assert_eq!(sent, 200 * 64);
    assert!(bench.verify("a", "m1").valid);
    assert!(bench.lab().verdict().both_active.is_empty());
}

#[test]
fn b29_an_agent_takes_its_time_after_the_start() {
    let mut bench = Bench::new();
    let facts = SiteFacts {
        agent_delay_ms: 10_000,
        ..SiteFacts::of(Some(Profile::Azure))
    };
    bench.control(Some("b"), vec![Change::SiteFacts { facts: Box::new(facts) }]);
    let (copy, _) = bench.failed_over();
    let early = bench
        .answer("a", "early", Bench::homeward(&copy, "original"))
        .failure
        .unwrap();
    assert_eq!(
        (&*early.code, early.retryable, early.definite),
        ("agent-not-installed", true, true)
    );
    bench.now += 7_000;
    assert_eq!(
        bench.answer("a", "early", Bench::homeward(&copy, "original")).state,
        "done"
    );
}

#[test]
fn f25_a_lost_machine_does_nothing_until_it_is_restored() {
    let mut bench = Bench::new();
    let (copy, _) = bench.failed_over();
    let mut facts = bench.lab().site("a").unwrap().machines["m1"].facts.clone();
    facts.available = false;
    let set = |facts| {
        vec![Change::MachineFacts {
            machine: "m1".into(),
            facts: Box::new(facts),
        }]
    };
    bench.control(Some("a"), set(facts.clone()));
    assert_eq!(bench.refused("a", Bench::homeward(&copy, "original")), "unavailable");
    assert_eq!(bench.refused("a", json!({"start": {"machine": "m1"}})), "unavailable");
    facts.available = true;
    bench.control(Some("a"), set(facts));
    bench.done("a", Bench::homeward(&copy, "original"));
}

#[test]
fn excluded_disks_are_left_out_and_the_first_cannot_be() {
    let mut bench = Bench::new();
    let disks = json!([{"id": "d0", "bytes": 100}, {"id": "d1", "bytes": 200}, {"id": "swap", "bytes": 300}]);
    let machines = vec![serde_json::from_value(json!({"id": "m9", "disks": disks})).unwrap()];
    bench.control(Some("a"), vec![Change::MachinesDefined { machines }]);
    let members = json!([{"item": "item-m9", "machine": "m9"}]);
    let snapshot =
        |exclude: &str| json!({"snapshot": {"members": members, "group_mark": "g", "exclude": {"item-m9": exclude}}});
    let mark = bench.done("a", snapshot("swap, d1"))["mark/item-m9"].clone();
    assert_eq!(
        bench.lab().site("a").unwrap().machines["m9"].marks[&mark].excluded,
        ["swap", "d1"]
    );
    assert_eq!(bench.refused("a", snapshot("d0")), "invalid");
    let mark = bench.done("a", snapshot("d7"))["mark/item-m9"].clone();
    assert!(
        bench.lab().site("a").unwrap().machines["m9"].marks[&mark]
            .excluded
            .is_empty()
    );
    let listed = json!([{"id": "d0", "bytes": 100}, {"id": "d1", "bytes": 200}]);
    let facts = json!({"id": "m9", "name": "m9", "origin": "kvm", "disks": listed});
    let replica = bench.done(
        "b",
        json!({"prepare-replica": {"item": "item-m9", "machine": facts, "source_site": "a"}}),
    )["replica"]
        .clone();
    bench.cycle("m9", &replica);
    let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    let copy = bench.done("b", creation("m9", &replica, &point, "lan", false))["machine"].clone();
    let ids: Vec<String> = bench.lab().site("b").unwrap().machines[&copy]
        .all_disks()
        .into_iter()
        .map(|disk| disk.id)
        .collect();
    assert_eq!(ids, ["d0", "d1"]);
}

#[test]
fn a_cloud_machine_knows_where_it_came_from_and_forgets_it_at_home() {
    let mut bench = Bench::new();
    for (site, profile) in [("a", Profile::Vmware), ("b", Profile::Azure)] {
        let facts = Box::new(SiteFacts::of(Some(profile)));
        bench.control(Some(site), vec![Change::SiteFacts { facts }]);
    }
    let (copy, _) = bench.failed_over();
    let facts = bench.lab().site("b").unwrap().machines[&copy].facts.clone();
    let came = facts.came_from.unwrap();
    assert_eq!(
        (&*came.site, &*came.machine, came.vcenter.as_deref()),
        ("a", "m1", Some("vc-1"))
    );
    assert_eq!(came.configuration_server_address.as_deref(), Some("10.0.0.10"));
    assert_eq!(
        (facts.resource_group.as_deref(), facts.datastore),
        (Some("recovery"), None)
    );
    let prepared = bench.done("a", Bench::homeward(&copy, "alternate"));
    let (machine, _) = bench.come_home(&copy, &prepared);
    let facts = bench.lab().site("a").unwrap().machines[&machine].facts.clone();
    assert_eq!((facts.came_from, facts.resource_group), (None, None));
    assert_eq!(
        (facts.datastore.as_deref(), facts.host.as_deref()),
        (Some("ds-1"), Some("esx-1"))
    );
}
