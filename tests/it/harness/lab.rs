//! The lab of a test, through its control API: what no adapter and no daemon could tell.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::answers::{Disk, Line, Point, Verdict};
use super::api::Api;
use super::process::Process;

/// Where every protected machine comes from, and where it goes.
pub(crate) const HOME: &str = "a";
pub(crate) const AWAY: &str = "b";

/// Records that every machine gains in a second: enough that a second of lost data is seen.
const RECORDS_PER_SECOND: u64 = 20;

/// A running lab.
pub(crate) struct Lab {
    process: Process,
    pub(crate) api: Api,
    directory: PathBuf,
}

impl Lab {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::listen(directory, "127.0.0.1:0")
    }

    fn listen(directory: &Path, address: &str) -> Self {
        let arguments = ["lab", "--listen", address, "--data", "lab"];
        let (process, url) = Process::start("lab", directory, &arguments);
        Self {
            process,
            api: Api::new(&url, None),
            directory: directory.to_owned(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self.api.authority().rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Goes on at the same address with the same data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let address = self.api.authority().to_owned();
        *self = Self::listen(&self.directory, &address);
    }

    /// Machines at home, one for every item, called `vm-ITEM`.
    pub(crate) fn furnish(&self, items: &[&str]) {
        let machine =
            |item: &&str| json!({"site": HOME, "id": format!("vm-{item}"), "records_per_second": RECORDS_PER_SECOND});
        let machines: Vec<Value> = items.iter().map(machine).collect();
        self.control("machines", &json!(machines));
    }

    /// Tells the lab something; gives its answer.
    pub(crate) fn control(&self, path: &str, body: &Value) -> Value {
        self.api.post(&format!("control/{path}"), body).ok()
    }

    pub(crate) fn set_site(&self, site: &str, settings: &Value) {
        let _: Value = self.api.patch(&format!("control/sites/{site}"), settings).ok();
    }

    /// Everything of this kind fails at a site, until the faults are cleared.
    pub(crate) fn fail_at(&self, site: &str, operation: &str) {
        self.fault(&json!({"site": site, "operation": operation, "mode": "fail", "definite": true}));
    }

    /// Somebody deletes points of an item's replica, past the host.
    pub(crate) fn delete_points(&self, site: &str, item: &str, points: &[&str]) {
        let ledger = self.ledger();
        let there = ledger.iter().rev().filter(|line| line.site.as_deref() == Some(site));
        let replica = there.flat_map(|line| &line.change).find_map(|change| {
            let replica = change.pointer("/replica")?;
            (replica.pointer("/stamp/item")? == item).then(|| replica.pointer("/id").cloned())?
        });
        let replica = replica.expect("the item has a replica there");
        let key = format!("by-hand-{}", self.now());
        let operation = json!({"delete-points": {"replica": replica, "points": points}});
        let ask = json!({"key": key, "installation": "somebody", "epoch": 1, "operation": operation});
        let _: Value = self.api.post(&format!("sites/{site}/operations"), &ask).ok();
    }

    /// Changes what a site pretends to be.
    pub(crate) fn facts(&self, site: &str, facts: &Value) {
        let _: Value = self.api.patch(&format!("control/sites/{site}/facts"), facts).ok();
    }

    pub(crate) fn machine_facts(&self, site: &str, machine: &str, facts: &Value) {
        let path = format!("control/machines/{site}/{machine}/facts");
        let _: Value = self.api.patch(&path, facts).ok();
    }

    pub(crate) fn machine_disks(&self, site: &str, machine: &str, disks: &Value) {
        let path = format!("control/machines/{site}/{machine}");
        let _: Value = self.api.patch(&path, &json!({"disks": disks})).ok();
    }

    pub(crate) fn latency(&self, operation: &str, min_ms: u64, max_ms: u64) {
        self.control(
            "latency",
            &json!({"operation": operation, "min_ms": min_ms, "max_ms": max_ms}),
        );
    }

    pub(crate) fn fault(&self, fault: &Value) {
        self.control("faults", fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.api.delete("control/faults");
    }

    /// A definite failure of an operation on a machine at home, for ever.
    pub(crate) fn fail(&self, operation: &str, machine: &str) {
        self.fault(&json!({"operation": operation, "machine": machine, "mode": "fail", "definite": true}));
    }

    /// Somebody switches a machine at home on, past the host.
    pub(crate) fn switch_on(&self, machine: &str) {
        let _: Value = self
            .api
            .patch(&format!("control/machines/{HOME}/{machine}"), &json!({"on": true}))
            .ok();
    }

    /// Somebody switches a machine at home off, past the host.
    pub(crate) fn switch_off(&self, machine: &str) {
        let _: Value = self
            .api
            .patch(&format!("control/machines/{HOME}/{machine}"), &json!({"on": false}))
            .ok();
    }

    /// Somebody removes a machine, past the host.
    pub(crate) fn remove(&self, site: &str, machine: &str) {
        self.api.delete(&format!("control/machines/{site}/{machine}"));
    }

    pub(crate) fn lose_home(&self, machines_off: bool) {
        self.control(&format!("sites/{HOME}/lost"), &json!({"machines_off": machines_off}));
    }

    pub(crate) fn home_is_back(&self) {
        self.control(&format!("sites/{HOME}/back"), &json!({}));
    }

    /// A machine, as the lab itself sees it; none if there is none.
    pub(crate) fn machine(&self, site: &str, machine: &str) -> Option<Value> {
        let answer = self.api.try_get(&format!("control/machines/{site}/{machine}"));
        let answer = answer.expect("the lab answers");
        (answer.status != 404).then(|| answer.ok())
    }

    pub(crate) fn is_on(&self, site: &str, machine: &str) -> bool {
        let found = self.api.get::<Value>(&format!("sites/{site}/machines/{machine}/power"));
        found.get("power").and_then(Value::as_str) == Some("on")
    }

    /// Everything that happened, in order.
    pub(crate) fn ledger(&self) -> Vec<Line> {
        let answer = self.api.try_get("control/ledger").expect("the lab answers");
        let lines = answer.text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a line of the ledger"))
            .collect()
    }

    /// Number of the newest line.
    pub(crate) fn now(&self) -> u64 {
        self.ledger().last().map_or(0, |line| line.seq)
    }

    /// Effects that a job had.
    pub(crate) fn effects(&self, job: &str) -> Vec<Line> {
        let mut lines = self.ledger();
        lines.retain(|line| line.job.as_deref() == Some(job) && line.result == "changed");
        lines
    }

    /// Actions whose webhook arrived, in order, repeats under a known key left out.
    pub(crate) fn webhooks(&self, job: &str) -> Vec<String> {
        let effects = self.effects(job);
        effects.iter().filter_map(Line::action).map(str::to_owned).collect()
    }

    /// Reads a whole disk.
    pub(crate) fn disk(&self, site: &str, machine: &str) -> Disk {
        self.api
            .get(&format!("control/machines/{site}/{machine}/disk?verify=1"))
    }

    /// What is on a disk, record by record: each is 64 bytes.
    pub(crate) fn records(&self, site: &str, machine: &str) -> Vec<[u8; 64]> {
        let bytes = self.api.bytes(&format!("control/machines/{site}/{machine}/disk"));
        let (records, rest) = bytes.as_chunks();
        assert!(rest.is_empty(), "{machine} has a torn record");
        records.to_vec()
    }

    /// The machine's disk holds what its source wrote up to the point's time, byte for byte, and nothing after it. What
    /// it has written itself since does not count.
    #[track_caller]
    pub(crate) fn assert_holds(&self, recovered: (&str, &str), source: (&str, &str), point: &Point) {
        let machine = self.machine(recovered.0, recovered.1).expect("the recovered machine");
        let taken = machine["base_records"].as_u64().expect("how much it began with");
        let taken = usize::try_from(taken).expect("a small disk");
        let (copy, original) = (self.records(recovered.0, recovered.1), self.records(source.0, source.1));
        assert!(taken > 0, "{recovered:?} began empty");
        assert!(
            original.get(..taken) == copy.get(..taken),
            "{recovered:?} differs from {source:?} within {taken} records"
        );
        let written_at = |record: &[u8; 64]| u64::from_le_bytes(record[32..40].try_into().expect("8 bytes"));
        let upto = point.source_time_ms;
        let (last, next) = (written_at(&copy[taken - 1]), original.get(taken).map(written_at));
        assert!(
            last <= upto && next.is_none_or(|next| next > upto),
            "{recovered:?}: the last record is of {last}, the next at its source of {next:?}, and its point of {upto}"
        );
    }

    pub(crate) fn check(&self) -> Verdict {
        self.api.get("control/check")
    }

    /// No effect happened twice, and no machine ever ran at both sites.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let verdict = self.check();
        assert!(verdict.doubled.is_empty(), "doubled: {:?}", verdict.doubled);
        assert!(verdict.both_active.is_empty(), "both active: {:?}", verdict.both_active);
    }

    /// Records of an item's source that the recovered machine lacks, counted by reading both disks. The source must be
    /// off, or the answer grows while it is counted.
    #[track_caller]
    pub(crate) fn lost(&self, item: &str, recovered: &str) -> u64 {
        self.lost_between((HOME, &format!("vm-{item}")), (AWAY, recovered))
    }

    /// The same for machines of any two sites.
    #[track_caller]
    pub(crate) fn lost_between(&self, source: (&str, &str), recovered: (&str, &str)) -> u64 {
        let item = source.1;
        let source = self.disk(source.0, source.1);
        let copy = self.disk(recovered.0, recovered.1);
        for disk in [&source, &copy] {
            assert!(disk.valid, "{item}: {:?}", disk.problem);
        }
        let writer = source.incarnations.last().expect("the source wrote").incarnation;
        // The recovered machine writes on under a number of its own, so only the source's records count.
        let spans = copy.incarnations.iter().filter(|span| span.incarnation == writer);
        let kept = spans.map(|span| span.last).max().unwrap_or(0);
        assert!(kept > 0, "{item}: nothing was recovered");
        source.last.unwrap_or(0).saturating_sub(kept)
    }
}
