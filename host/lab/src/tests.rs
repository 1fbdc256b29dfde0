//! The lab as a whole, with time as an argument: keys, barriers, restarts, replication of both kinds, and that a
//! replayed ledger gives the same state.

mod home;
mod replay;

use std::path::Path;

use serde_json::json;

use crate::autonomous;
use crate::clock::Clock;
use crate::entry::{Change, Entry};
use crate::fault::{Fault, Latency};
use crate::lab::Lab;
use crate::operation::{Operation, Progress, Request};
use crate::state::{MachineSpec, Replication, Settings};
use crate::task::{Known, Reply};

/// When every test begins.
const START: u64 = 1_800_000_000_000;

struct Bench {
    directory: tempfile::TempDir,
    lab: Option<Lab>,
    now: u64,
    keys: u64,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::open(directory.path(), START, None).unwrap();
        let mut bench = Self {
            directory,
            lab: Some(lab),
            now: START,
            keys: 0,
        };
        let machines = ["m1", "m2"].map(|id| -> MachineSpec {
            serde_json::from_value(json!({"id": id, "records_per_second": 100.0})).unwrap()
        });
        bench.control(
            Some("a"),
            vec![Change::MachinesDefined {
                machines: machines.to_vec(),
            }],
        );
        bench
    }

    fn lab(&mut self) -> &mut Lab {
        self.lab.as_mut().unwrap()
    }

    fn control(&mut self, site: Option<&str>, change: Vec<Change>) {
        let now = self.now;
        let entry = Entry {
            site: site.map(str::to_owned),
            ..Entry::plain("control", "test", change)
        };
        self.lab().record(now, entry).unwrap();
    }

    fn settings(&mut self, site: &str, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.lab().site(site).unwrap().settings.clone();
        change(&mut settings);
        self.control(Some(site), vec![Change::SiteSettings { settings }]);
    }

    fn slow_shutdown(&mut self, ms: u64) {
        let latency = Latency {
            site: None,
            operation: Some("shutdown".to_owned()),
            min_ms: ms,
            max_ms: ms,
        };
        self.control(None, vec![Change::LatencySet { latency }]);
    }

    fn fault(&mut self, fault: serde_json::Value) {
        let fault: Fault = serde_json::from_value(fault).unwrap();
        self.control(None, vec![Change::FaultSet { fault }]);
    }

    fn restart(&mut self) {
        self.lab = None;
        self.lab = Some(Lab::open(self.directory.path(), self.now, None).unwrap());
    }

    fn request(key: &str, epoch: u64, operation: serde_json::Value) -> Request {
        let operation: Operation = serde_json::from_value(operation).unwrap();
        serde_json::from_value(json!({
            "key": key, "installation": "i", "epoch": epoch, "job": "job", "step": key.split('/').next(),
            "operation": operation,
        }))
        .unwrap()
    }

    fn send(&mut self, site: &str, key: &str, operation: serde_json::Value) -> Reply {
        let now = self.now;
        self.lab().submit(now, site, &Self::request(key, 1, operation)).unwrap()
    }

    fn answer(&mut self, site: &str, key: &str, operation: serde_json::Value) -> Progress {
        match self.send(site, key, operation) {
            Reply::Answer(progress) => progress,
            Reply::Lost => panic!("the reply was lost"),
        }
    }

    /// Under a fresh key, expecting it to be over at once.
    fn done(&mut self, site: &str, operation: serde_json::Value) -> crate::operation::Pairs {
        self.keys += 1;
        let progress = self.answer(site, &format!("step-{}", self.keys), operation);
        assert_eq!(progress.state, "done", "{progress:?}");
        progress.outputs
    }

    fn refused(&mut self, site: &str, operation: serde_json::Value) -> String {
        self.keys += 1;
        let progress = self.answer(site, &format!("step-{}", self.keys), operation);
        let failure = progress.failure.unwrap();
        assert!(failure.definite);
        failure.code
    }

    fn prepare(&mut self, machine: &str) -> String {
        let facts = json!({"id": machine, "name": machine, "origin": "kvm"});
        let prepare = json!({"item": format!("item-{machine}"), "machine": facts, "source_site": "a"});
        self.done("b", json!({"prepare-replica": prepare}))["replica"].clone()
    }

    /// One driven cycle of one machine: snapshot, transfer, complete. Gives the mark.
    fn cycle(&mut self, machine: &str, replica: &str) -> String {
        let item = format!("item-{machine}");
        let members = json!([{"item": item, "machine": machine}]);
        let made = self.done("a", json!({"snapshot": {"members": members, "group_mark": "g"}}));
        let mark = made[&format!("mark/{item}")].clone();
        let bytes = self.transfer(machine, replica, &mark);
        let complete = json!({"replica": replica, "mark": mark, "bytes": bytes.len(), "consistency": "crash",
            "source_time_ms": made[&format!("source-time-ms/{item}")].parse::<u64>().unwrap()});
        self.done("b", json!({"receive-complete": complete}));
        mark
    }

    fn transfer(&mut self, machine: &str, replica: &str, mark: &str) -> Vec<u8> {
        let lab = self.lab();
        let source = &lab.site("a").unwrap().machines[machine];
        let length = source.marks[mark].bytes;
        let bytes = source.disk.read(&lab.state.clock, lab.blobs.root(), 0, length).unwrap();
        lab.blobs.store("b", replica).unwrap().write(mark, 0, &bytes).unwrap();
        bytes
    }

    fn read(&mut self, site: &str, machine: &str) -> Vec<u8> {
        let now = self.now;
        let lab = self.lab();
        let disk = &lab.site(site).unwrap().machines[machine].disk;
        let clock = &lab.state.clock;
        disk.read(clock, lab.blobs.root(), 0, disk.bytes(clock.lab(now)))
            .unwrap()
    }

    fn verify(&mut self, site: &str, machine: &str) -> crate::record::Verdict {
        let now = self.now;
        let lab = self.lab();
        let disk = &lab.site(site).unwrap().machines[machine].disk;
        disk.verify(&lab.state.clock, lab.blobs.root(), lab.state.clock.lab(now))
            .unwrap()
    }

    fn results(&mut self, operation: &str) -> Vec<String> {
        let path = self.directory.path().join("ledger.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of = lines.filter(|line| line["operation"] == operation);
        of.map(|line| line["result"].as_str().unwrap().to_owned()).collect()
    }
}

fn creation(machine: &str, replica: &str, point: &str, network: &str, isolated: bool) -> serde_json::Value {
    json!({"create-machine": {"item": format!("item-{machine}"), "name": machine, "replica": replica,
        "point": point, "isolated": isolated, "networks": [{"nic": "nic-0", "network": network}]}})
}

#[test]
fn a_known_key_is_answered_from_the_first_request() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    let prepare = json!({"prepare-replica": {"item": "item-m1", "source_site": "a",
        "machine": {"id": "m1", "name": "m1", "origin": "kvm"}}});
    assert_eq!(bench.answer("b", "step-1", prepare).outputs["replica"], replica);
    assert_eq!(bench.results("prepare-replica"), ["changed", "unchanged"]);
    let other = bench.answer("b", "step-1", json!({"process": {"replica": replica}}));
    assert_eq!(other.failure.unwrap().code, "key-reused");
    assert!(bench.lab().verdict().doubled.is_empty());
}

#[test]
fn without_deduplication_a_repeat_acts_again_and_the_check_finds_it() {
    let mut bench = Bench::new();
    bench.settings("b", |settings| settings.dedupe = false);
    let replica = bench.prepare("m1");
    bench.cycle("m1", &replica);
    let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    let create = creation("m1", &replica, &point, "lan", false);
    let first = bench.answer("b", "twice", create.clone()).outputs["machine"].clone();
    let second = bench.answer("b", "twice", create).outputs["machine"].clone();
    assert_ne!(first, second);
    let doubled = bench.lab().verdict().doubled;
    assert_eq!(doubled.len(), 1);
    assert_eq!(
        (&*doubled[0].operation, doubled[0].subject.as_deref()),
        ("create-machine", Some("item-m1"))
    );
}

#[test]
fn a_lost_reply_leaves_the_effect_and_its_key() {
    let mut bench = Bench::new();
    bench.fault(json!({"operation": "shutdown", "mode": "lose-reply", "times": 1}));
    let shutdown = json!({"shutdown": {"machine": "m1"}});
    assert!(matches!(bench.send("a", "k", shutdown.clone()), Reply::Lost));
    let now = bench.now;
    assert!(matches!(bench.lab().by_key(now, "a", "k").unwrap(), Known::Task(task) if task.state == "done"));
    assert_eq!(bench.answer("a", "k", shutdown).state, "done");
    assert_eq!(bench.results("shutdown"), ["changed", "unchanged"]);
}

#[test]
fn failures_before_and_after_the_effect_differ_in_what_the_key_says() {
    let mut bench = Bench::new();
    let now = bench.now;
    bench.fault(json!({"operation": "shutdown", "machine": "m1", "mode": "fail-after-effect", "times": 1}));
    bench.fault(json!({"operation": "shutdown", "machine": "m2", "mode": "fail", "definite": true, "times": 1}));
    assert_eq!(
        bench.answer("a", "k1", json!({"shutdown": {"machine": "m1"}})).state,
        "failed"
    );
    assert!(!bench.lab().site("a").unwrap().machines["m1"].on);
    assert!(matches!(bench.lab().by_key(now, "a", "k1").unwrap(), Known::Task(task) if task.state == "done"));
    let failed = bench.answer("a", "k2", json!({"shutdown": {"machine": "m2"}}));
    assert!(failed.failure.unwrap().definite);
    assert!(bench.lab().site("a").unwrap().machines["m2"].on);
    assert_eq!(bench.lab().by_key(now, "a", "k2").unwrap(), Known::Absent);
    assert_eq!(
        bench.answer("a", "k2", json!({"shutdown": {"machine": "m2"}})).state,
        "failed",
        "the key's answer"
    );
    assert_eq!(
        bench.answer("a", "k3", json!({"shutdown": {"machine": "m2"}})).state,
        "done"
    );
}

#[test]
fn a_task_survives_a_restart_in_its_middle_and_happens_once() {
    let mut bench = Bench::new();
    bench.slow_shutdown(1_000);
    let running = bench.answer("a", "k", json!({"shutdown": {"machine": "m1"}}));
    assert_eq!((running.state, running.percent), ("running", Some(0)));
    bench.now += 400;
    bench.restart();
    let now = bench.now;
    let polled = bench
        .lab()
        .poll(now, "a", std::slice::from_ref(&running.handle))
        .unwrap();
    assert_eq!((polled[0].state, polled[0].percent), ("running", Some(40)));
    bench.now += 5_000;
    bench.restart();
    let now = bench.now;
    let polled = bench
        .lab()
        .poll(now, "a", &[running.handle, "t-none".to_owned()])
        .unwrap();
    assert_eq!(polled[0].state, "done");
    assert_eq!(polled[1].failure.as_ref().unwrap().code, "unknown-handle");
    assert_eq!(bench.results("shutdown"), ["accepted", "changed"]);
    assert_eq!(
        bench.verify("a", "m1").records,
        100,
        "it stopped when it was due, not when the lab came back"
    );
}

#[test]
fn a_hanging_task_can_be_cancelled() {
    let mut bench = Bench::new();
    bench.fault(json!({"operation": "shutdown", "forced": false, "mode": "hang", "times": 1}));
    let running = bench.answer("a", "k", json!({"shutdown": {"machine": "m1"}}));
    bench.now += 1_000_000;
    let now = bench.now;
    assert_eq!(
        bench
            .lab()
            .poll(now, "a", std::slice::from_ref(&running.handle))
            .unwrap()[0]
            .state,
        "running"
    );
    let cancelled = bench.lab().cancel(now, "a", &running.handle).unwrap();
    assert_eq!(cancelled.failure.unwrap().code, "cancelled");
    assert_eq!(bench.results("shutdown"), ["accepted", "failed-definite"]);
}

#[test]
fn a_barrier_marks_all_members_at_one_instant() {
    let mut bench = Bench::new();
    bench.now += 1_234;
    let members = json!([{"item": "x", "machine": "m1"}, {"item": "y", "machine": "m2"}]);
    let made = bench.done(
        "a",
        json!({"snapshot": {"members": members, "quiesce": true, "group_mark": "g7"}}),
    );
    assert_eq!(made["source-time-ms/x"], made["source-time-ms/y"]);
    bench.now += 1_000;
    let machines = &bench.lab().site("a").unwrap().machines;
    let marks =
        ["x", "y"].map(|item| &machines[if item == "x" { "m1" } else { "m2" }].marks[&made[&format!("mark/{item}")]]);
    assert_eq!(marks[0].at, marks[1].at);
    assert_eq!((&*marks[0].group, marks[0].bytes), ("g7", 123 * 64));
}

#[test]
fn a_recovered_machine_holds_exactly_what_its_point_held() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    bench.now += 2_000;
    bench.cycle("m1", &replica);
    let held = bench.read("a", "m1");
    bench.now += 3_000;
    let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    bench.control(Some("a"), vec![Change::SiteLost { machines_off: true }]);
    let create = creation("m1", &replica, &point, "lan", false);
    let machine = bench.done("b", create)["machine"].clone();
    assert_eq!(bench.read("b", &machine), held);
    bench.done("b", json!({"delete-points": {"replica": replica}}));
    bench.done("b", json!({"delete-replica": {"replica": replica}}));
    bench.restart();
    bench.done("b", json!({"start": {"machine": machine}}));
    bench.now += 1_000;
    assert_eq!(&bench.read("b", &machine)[..held.len()], &held[..]);
    let verdict = bench.verify("b", &machine);
    assert!(verdict.valid, "{verdict:?}");
    assert_eq!((verdict.records, verdict.incarnations.len()), (300, 2));
    let check = bench.lab().verdict();
    assert_eq!(
        (
            check.lost[0].source_last,
            check.lost[0].recovered_last,
            check.lost[0].records
        ),
        (500, 200, 300)
    );
    assert!(check.both_active.is_empty());
}

#[test]
fn points_stay_as_they_were_while_the_replica_goes_on() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    let mut points = Vec::new();
    for _ in 0..4 {
        bench.now += 1_000;
        bench.cycle("m1", &replica);
        let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
        points.push((point, bench.read("a", "m1")));
    }
    let store = bench.lab().blobs.store("b", &replica).unwrap();
    store.write("other", 64, &[7; 640]).unwrap();
    for (point, held) in points {
        let create = creation("m1", &replica, &point, "bubble", true);
        let machine = bench.done("b", create)["machine"].clone();
        assert_eq!(bench.read("b", &machine), held, "{point}");
        bench.done("b", json!({"delete-machine": {"machine": machine}}));
    }
    let bases = std::fs::read_dir(bench.directory.path().join("bases/b")).unwrap();
    assert_eq!(bases.count(), 0, "nothing is left of deleted machines");
}

#[test]
fn a_short_transfer_is_refused_and_pending_data_is_no_point() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    let complete = |mark: &str, bytes: u64| {
        json!({"receive-complete": {"replica": replica, "mark": mark, "bytes": bytes, "source_time_ms": 1,
            "consistency": "crash"}})
    };
    assert_eq!(bench.refused("b", complete("mk", 64)), "incomplete");
    assert!(bench.done("b", json!({"process": {"replica": replica}})).is_empty());
    bench.now += 1_000;
    bench.cycle("m1", &replica);
    let now = bench.now;
    let lab = bench.lab();
    let site = lab.site("b").unwrap();
    let pending = autonomous::points(&lab.state, site, &site.replicas[&replica], now)[0]
        .id
        .clone();
    let create = creation("m1", &replica, &pending, "lan", false);
    assert_eq!(bench.refused("b", create), "not-processed");
    bench.now += 1_000;
    bench.cycle("m1", &replica);
    bench.done("b", json!({"process": {"replica": replica}}));
    let points = &bench.lab().site("b").unwrap().replicas[&replica].points;
    assert_eq!(points.len(), 1, "older pending data went with it");
    assert!(points[0].processed);
}

#[test]
fn a_test_may_use_only_isolated_networks() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    bench.cycle("m1", &replica);
    let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    let create = creation("m1", &replica, &point, "lan", true);
    assert_eq!(bench.refused("b", create), "not-isolated");
    let create = creation("m1", &replica, &point, "none", false);
    assert_eq!(bench.refused("b", create), "unknown-network");
    let create = creation("m1", &replica, &point, "bubble", true);
    let machine = bench.done("b", create)["machine"].clone();
    bench.done("b", json!({"start": {"machine": machine}}));
    assert!(
        bench.lab().verdict().both_active.is_empty(),
        "a test beside its running source is no split brain"
    );
    assert_eq!(
        bench.refused("b", json!({"delete-machine": {"machine": machine}})),
        "running"
    );
}

#[test]
fn power_that_returns_starts_what_was_not_held() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    bench.cycle("m1", &replica);
    let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    bench.done("a", json!({"hold": {"machine": "m2", "held": true}}));
    bench.control(Some("a"), vec![Change::SiteLost { machines_off: true }]);
    let create = creation("m1", &replica, &point, "lan", false);
    let machine = bench.done("b", create)["machine"].clone();
    bench.done("b", json!({"start": {"machine": machine}}));
    assert!(bench.lab().verdict().both_active.is_empty());
    bench.control(Some("a"), vec![Change::SiteBack]);
    assert!(bench.lab().site("a").unwrap().machines["m1"].on);
    assert!(!bench.lab().site("a").unwrap().machines["m2"].on);
    let both = bench.lab().verdict().both_active;
    assert_eq!(both.len(), 1);
    assert_eq!((&*both[0].lineage, both[0].machines.len()), ("a/m1", 2));
}

#[test]
fn an_order_under_a_higher_epoch_takes_nothing_over() {
    let mut bench = Bench::new();
    let replica = bench.prepare("m1");
    let now = bench.now;
    let process = json!({"process": {"replica": replica}});
    bench.cycle("m1", &replica);
    for (key, epoch) in [("new", 2), ("old", 1)] {
        let request = Bench::request(key, epoch, process.clone());
        let Reply::Answer(answer) = bench.lab().submit(now, "b", &request).unwrap() else {
            panic!("lost")
        };
        assert_eq!(answer.state, "done");
    }
}

#[test]
fn a_site_that_was_taken_over_refuses_older_epochs_and_lets_what_was_begun_end() {
    let mut bench = Bench::new();
    bench.slow_shutdown(1_000);
    bench.answer("a", "begun", json!({"shutdown": {"machine": "m1"}}));
    let now = bench.now;
    for epoch in [7, 7] {
        bench.lab().take_over(now, "a", "i", epoch).unwrap();
    }
    let stale = bench.lab().take_over(now, "a", "i", 6).unwrap_err();
    assert_eq!(stale.code, "stale-epoch");
    assert_eq!(bench.results("take-over"), ["changed"]);
    bench.restart();
    assert_eq!(
        bench.refused("a", json!({"shutdown": {"machine": "m2"}})),
        "stale-epoch"
    );
    // Other installations and other sites have their own.
    bench.lab().take_over(now, "a", "other", 1).unwrap();
    bench.lab().take_over(now, "b", "i", 1).unwrap();
    bench.now += 5_000;
    let (now, begun) = (bench.now, "begun");
    assert!(
        matches!(bench.lab().by_key(now, "a", begun).unwrap(), crate::task::Known::Task(task) if task.state == "done")
    );
}

#[test]
fn a_fenced_machine_does_not_start_until_it_is_let_go() {
    let mut bench = Bench::new();
    bench.done("a", json!({"fence": {"machine": "m1"}}));
    assert_eq!(bench.refused("a", json!({"start": {"machine": "m1"}})), "fenced");
    bench.done("a", json!({"hold": {"machine": "m1", "held": false}}));
    bench.done("a", json!({"start": {"machine": "m1"}}));
    assert!(bench.lab().site("a").unwrap().machines["m1"].autostart);
}

#[test]
fn autonomous_points_follow_from_time_lag_and_loss() {
    let mut bench = Bench::new();
    bench.settings("b", |settings| {
        (settings.replication, settings.lag_ms, settings.interval_ms) = (Replication::Autonomous, 3_000, 1_000);
        settings.app_every = 2;
    });
    let replica = bench.prepare("m1");
    bench.now += 10_500;
    bench.control(Some("a"), vec![Change::SiteLost { machines_off: true }]);
    bench.now += 100_000;
    let now = bench.now;
    let lab = bench.lab();
    let site = lab.site("b").unwrap();
    let points = autonomous::points(&lab.state, site, &site.replicas[&replica], now);
    let processed: Vec<u64> = points
        .iter()
        .filter(|p| p.processed)
        .map(|p| p.source_time_ms - START)
        .collect();
    assert_eq!(processed, [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000]);
    assert_eq!(
        points.last().unwrap().source_time_ms - START,
        7_500,
        "what had arrived when the site was lost"
    );
    let newest = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    let create = creation("m1", &replica, &newest, "lan", false);
    let machine = bench.done("b", create)["machine"].clone();
    assert_eq!(bench.verify("b", &machine).records, 750);
    assert_eq!(bench.lab().verdict().lost[0].records, 300, "three seconds of lag");
}

#[test]
fn a_planned_end_of_autonomous_replication_loses_nothing() {
    let mut bench = Bench::new();
    bench.settings("b", |settings| settings.replication = Replication::Autonomous);
    let replica = bench.prepare("m1");
    bench.now += 5_000;
    bench.done("a", json!({"shutdown": {"machine": "m1"}}));
    let point = bench.done("b", json!({"process": {"replica": replica}}))["point"].clone();
    let create = creation("m1", &replica, &point, "lan", false);
    let machine = bench.done("b", create)["machine"].clone();
    assert_eq!(bench.read("b", &machine), bench.read("a", "m1"));
    assert_eq!(
        bench.refused("a", json!({"delete-machine": {"machine": "m1"}})),
        "replicating"
    );
}

#[test]
fn many_machines_cost_nothing() {
    let mut bench = Bench::new();
    let machines: Vec<MachineSpec> = (0..10_000)
        .map(|number| serde_json::from_value(json!({"id": format!("x{number}")})).unwrap())
        .collect();
    bench.control(Some("a"), vec![Change::MachinesDefined { machines }]);
    bench.now += 3_600_000;
    let now = bench.now;
    assert_eq!(
        bench.lab().site("a").unwrap().machines["x9999"].disk.records(now),
        36_000
    );
}

#[test]
fn an_unscaled_lab_is_on_wall_time() {
    let bench = Bench::new();
    let clock: &Clock = &bench.lab.as_ref().unwrap().state.clock;
    assert_eq!(clock.lab(START + 5), START + 5);
    assert!(Path::new(bench.directory.path()).join("ledger.jsonl").exists());
}
