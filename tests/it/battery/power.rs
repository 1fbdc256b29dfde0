//! T3: the power fails at any moment, and the disk keeps what was synced and any part of the rest, torn and in any order.
//! T4: the disk refuses, at the n-th operation, for every n.
//!
//! A child writes batches into a store, and says in a file which were acknowledged; a library preloaded into it records
//! every write and sync in order, or lets them fail. From a record the disk is made as it could have been left at any
//! moment, and the store is opened on it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use landfall_recovery::event::{Event, Record};
use landfall_store::{Batch, JobRow, Space, Store};

use super::{Harm, budget, report};
use crate::crash::Dice;
use crate::harness::process::shim;

/// Batches that a child writes: enough for several checkpoints of the log.
const BATCHES: u64 = 260;
/// So large that the log of 1,000 pages is checkpointed again and again.
const VALUE: usize = 20_000;
/// The disk writes sectors whole.
const SECTOR: usize = 512;

const JOB: &str = "job-1";
const ACKED: &str = "acked.txt";

/// The child. Writes until it is done, or the store refuses.
#[test]
#[ignore = "run by the tests beside it"]
fn workload() {
    let Ok(place) = std::env::var("LANDFALL_WORKLOAD") else {
        return;
    };
    let place = PathBuf::from(place);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut acked = File::options()
            .create(true)
            .append(true)
            .open(place.join(ACKED))
            .expect("the file");
        let Ok(store) = Store::open(&place.join("data")) else {
            return;
        };
        for number in 0..BATCHES {
            if store.commit(batch(number)).await.is_err() {
                // From here on nothing may be accepted any more.
                assert!(
                    store.commit(batch(number)).await.is_err(),
                    "a closed store took a batch"
                );
                return;
            }
            // One write, so that one act of the record is one acknowledgement.
            acked.write_all(b"x\n").expect("the file");
        }
    });
}

/// A record and a row that belong together.
fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    if number == 0 {
        batch.job(JobRow {
            id: JOB.to_owned(),
            plan: "p".to_owned(),
            operation: "test".to_owned(),
            created_at: 1,
            frozen: "{}".to_owned(),
        });
    }
    let hash = format!("{number}");
    batch.record(
        JOB,
        Record {
            at: number,
            event: Event::Started { hash },
        },
    );
    batch
        .put(Space::Item, &format!("{number:06}"), &"x".repeat(VALUE))
        .expect("text");
    if number % 50 == 49 {
        batch.seal(None, number);
    }
    batch
}

fn child(place: &Path, environment: &[(&str, &str)]) -> ExitStatus {
    let exe = std::env::current_exe().expect("the test knows where it is");
    Command::new(exe)
        .args(["--exact", "battery::power::workload", "--ignored", "--nocapture"])
        .env("LANDFALL_WORKLOAD", place)
        .env("LD_PRELOAD", shim())
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child starts")
}

/// One thing that happened to a file.
#[derive(Debug, Clone)]
enum Act {
    Write(u64, Vec<u8>),
    Truncate(u64),
    Sync,
}

fn read_trace(path: &Path) -> Vec<(String, Act)> {
    let bytes = fs::read(path).expect("the trace");
    let mut rest = bytes.as_slice();
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    let mut acts = Vec::new();
    while let Some(kind) = take(1) {
        let mut number = |length: usize| {
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(take(length).expect("a whole entry"));
            u64::from_le_bytes(bytes)
        };
        let length = usize::try_from(number(4)).expect("a length");
        let path = String::from_utf8(take(length).expect("a whole entry").to_vec()).expect("a path");
        let mut number = |length: usize| {
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(take(length).expect("a whole entry"));
            u64::from_le_bytes(bytes)
        };
        let offset = number(8);
        let length = usize::try_from(number(4)).expect("a length");
        let data = take(length).expect("a whole entry").to_vec();
        let name = Path::new(&path)
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        acts.push((
            name,
            match kind[0] {
                1 => Act::Write(offset, data),
                2 => Act::Sync,
                _ => Act::Truncate(offset),
            },
        ));
    }
    acts
}

fn apply(file: &mut Vec<u8>, act: &Act, sectors: impl Fn(usize) -> bool) {
    match act {
        Act::Write(offset, bytes) => {
            let offset = usize::try_from(*offset).expect("an offset");
            if file.len() < offset + bytes.len() {
                file.resize(offset + bytes.len(), 0);
            }
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if sectors(number) {
                    let at = offset + number * SECTOR;
                    file[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        Act::Truncate(length) => file.truncate(usize::try_from(*length).expect("a length")),
        Act::Sync => {}
    }
}

/// Files as they were when last synced, and what happened to them since.
#[derive(Default)]
struct Disk {
    synced: BTreeMap<String, Vec<u8>>,
    pending: BTreeMap<String, Vec<Act>>,
}

impl Disk {
    fn happen(&mut self, name: &str, act: &Act) {
        if matches!(act, Act::Sync) {
            let file = self.synced.entry(name.to_owned()).or_default();
            for act in self.pending.remove(name).unwrap_or_default() {
                apply(file, &act, |_| true);
            }
        } else {
            self.pending.entry(name.to_owned()).or_default().push(act.clone());
        }
    }

    /// As the power cut may leave it: of what was not synced any part, in any order, some of it torn.
    fn cut(&self, dice: &mut Dice) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.synced.clone();
        for (name, acts) in &self.pending {
            let file = files.entry(name.clone()).or_default();
            let mut order: Vec<&Act> = acts.iter().collect();
            for place in (1..order.len()).rev() {
                let other = usize::try_from(dice.below(place as u64 + 1)).expect("an index");
                order.swap(place, other);
            }
            for act in order {
                match dice.below(4) {
                    0 => {}
                    1 => {
                        let torn: Vec<bool> = (0..4096).map(|_| dice.below(2) == 0).collect();
                        apply(file, act, |sector| torn.get(sector).copied().unwrap_or(false));
                    }
                    _ => apply(file, act, |_| true),
                }
            }
        }
        files
    }
}

/// What is wrong with a store that was found on a disk, given what had been acknowledged.
fn examine(data: &Path, acked: u64, harm: &mut Harm) {
    let store = match Store::open(data) {
        Ok(store) => store,
        // Before anything was acknowledged there need not be a store.
        Err(_) if acked == 0 => return,
        Err(error) => {
            harm.other.push(format!(
                "it does not open: {error}: {:?}",
                std::error::Error::source(&error)
            ));
            return;
        }
    };
    let rows: Vec<(String, String)> = match store.reader().all(Space::Item) {
        Ok(rows) => rows,
        Err(error) => {
            harm.other.push(error.to_string());
            return;
        }
    };
    let records = match store.reader().chain(JOB) {
        Ok(chain) => chain.map_or(0, |chain| chain.records.len()),
        Err(error) => {
            harm.other.push(error.to_string());
            return;
        }
    };
    if (rows.len() as u64) < acked {
        harm.lost += acked - rows.len() as u64;
    }
    if rows.len() != records {
        harm.other
            .push(format!("{} rows and {records} records: half a batch", rows.len()));
    }
    let found = landfall_store::verify(data, None).expect("it can be read");
    harm.other.extend(
        found
            .problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.place, problem.what)),
    );
}

/// Writes files into a fresh data directory.
fn lay(files: &BTreeMap<String, Vec<u8>>) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("landfall.")) {
        fs::write(place.path().join(name), bytes).expect("the file");
    }
    place
}

/// Cuts the power at moments of a recorded run; gives the number of disks looked at.
fn cut_power(environment: &[(&str, &str)], until: Instant, harm: &mut Harm, enough: impl Fn(&Harm) -> bool) -> u64 {
    let mut dice = Dice::seeded();
    let place = tempfile::tempdir().expect("a directory");
    let trace = place.path().join("trace");
    let mut environment = environment.to_vec();
    let path = trace.to_str().expect("a path").to_owned();
    environment.push(("LANDFALL_SHIM_TRACE", &path));
    environment.push((
        "LANDFALL_SHIM_FILES",
        "landfall.db,landfall.db-wal,landfall.mark,acked.txt",
    ));
    assert!(child(place.path(), &environment).success());
    let acts = read_trace(&trace);
    let mut images = 0;
    while Instant::now() < until && !enough(harm) {
        // One pass through the run, with a cut now and then.
        let (mut disk, mut acked) = (Disk::default(), 0);
        for (name, act) in &acts {
            disk.happen(name, act);
            if name == ACKED {
                acked += 1;
            }
            if dice.below(60) == 0 {
                let files = disk.cut(&mut dice);
                examine(lay(&files).path(), acked, harm);
                images += 1;
                if enough(harm) || Instant::now() > until {
                    break;
                }
            }
        }
    }
    images
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t03_whatever_a_power_cut_leaves_opens_and_has_all_that_was_acknowledged() {
    let mut harm = Harm::default();
    let images = cut_power(&[], Instant::now() + budget(), &mut harm, |harm| !harm.is_none());
    assert!(harm.is_none(), "{harm:?}");
    report("T3", "power cuts with torn and reordered writes", images, &harm);
    assert!(images > 50, "{images} images");
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t14_without_syncs_the_power_cuts_are_found_to_do_harm() {
    let mut harm = Harm::default();
    let until = Instant::now() + budget().max(std::time::Duration::from_mins(1));
    cut_power(&[("LANDFALL_SHIM_NO_SYNC", "1")], until, &mut harm, |harm| {
        !harm.is_none()
    });
    assert!(!harm.is_none(), "without syncs nothing was found: the battery is blind");
    report("T14", "mutant killed: sync", 1, &Harm::default());
}

/// What a child's run has, a little more or less: later ones never come.
const OPERATIONS: u64 = 2_540;

/// Everything that the disk can say.
const ERRORS: [(&str, i32); 3] = [("EIO", 5), ("ENOSPC", 28), ("EROFS", 30)];

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t04_a_disk_that_fails_at_the_nth_operation_costs_nothing_that_was_acknowledged() {
    let mut dice = Dice::seeded();
    let until = Instant::now() + budget();
    let (mut cases, mut harm) = (0, Harm::default());
    // The first operations, one by one, make the file; then all the others, in any order. With every round each meets
    // another error, for good or once.
    let mut order: Vec<u64> = (1..=OPERATIONS).collect();
    for place in (41..order.len()).rev() {
        let other = 40 + usize::try_from(dice.below(place as u64 - 39)).expect("an index");
        order.swap(place, other);
    }
    let all = (0..6_u64).flat_map(|round| order.iter().map(move |n| (round, *n)));
    for (round, n) in all.take_while(|_| Instant::now() < until) {
        let kind = usize::try_from((n + round) % 6).expect("an index");
        let (name, errno) = ERRORS[kind % 3];
        let place = tempfile::tempdir().expect("a directory");
        let fail = format!("{n}:{errno}{}", if kind < 3 { "" } else { ":1" });
        let environment = [
            ("LANDFALL_SHIM_FAIL", fail.as_str()),
            ("LANDFALL_SHIM_FILES", "landfall.db,landfall.db-wal,landfall.mark"),
        ];
        assert!(
            child(place.path(), &environment).success(),
            "{name} at operation {n}: the child panicked"
        );
        let acked = fs::read_to_string(place.path().join(ACKED))
            .unwrap_or_default()
            .lines()
            .count() as u64;
        examine(&place.path().join("data"), acked, &mut harm);
        assert!(harm.is_none(), "{name} at operation {n}: {harm:?}");
        cases += 1;
    }
    report(
        "T4",
        "disks that fail (EIO, ENOSPC, EROFS) at the n-th operation, for good or once",
        cases,
        &harm,
    );
    assert!(cases > 20, "{cases} cases");
    // A disk that takes its time loses nothing and keeps everybody waiting.
    let place = tempfile::tempdir().expect("a directory");
    let environment = [
        ("LANDFALL_SHIM_SLOW", "30"),
        ("LANDFALL_SHIM_FILES", "landfall.db,landfall.db-wal,landfall.mark"),
    ];
    assert!(child(place.path(), &environment).success(), "a slow disk");
    examine(&place.path().join("data"), BATCHES, &mut harm);
    assert!(harm.is_none(), "a slow disk: {harm:?}");
}
