//! Journals that earlier versions wrote are taken up by this one.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::backup::{backup, restore};
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::{World, troubles};

/// A job that waits for a person, in the first format: without signatures and without checksums of rows.
const FIRST: &str = "01a2030a-656c-7567-b2e0-a4be4e27ed20";
const ENDED: &str = "01a2030a-64d1-710d-a486-f4fc5c626fdc";

#[test]
fn x02_a_journal_of_the_first_format_is_taken_up_where_it_was() {
    let mut world = World::start();
    world.kill_daemon();
    for name in ["landfall.db", "landfall.db-wal", "landfall.db-shm", "landfall.mark"] {
        let _ = fs::remove_file(world.path("data").join(name));
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journal-1.db");
    fs::copy(fixture, world.path("data/landfall.db")).unwrap();
    world.restart_daemon();
    let job = world.rest(FIRST);
    assert_eq!(
        (job.status.as_str(), job.steps_in("stuck")),
        ("stuck", vec!["fence/db"])
    );
    assert_eq!(world.item("web").phase, "failed-over");
    assert_eq!(world.job(ENDED).status, "succeeded");
    // What ended before there were signatures is signed when its evidence is asked for.
    for job in [ENDED, FIRST] {
        world.cli(&["evidence", job]).code(0);
        world
            .cli(&["evidence", "verify", &format!("evidence-{job}.html")])
            .code(0);
    }
    world
        .cli(&["job", "abandon", FIRST, "--reason", "a new version is here"])
        .code(0);
    assert_eq!(world.rest(FIRST).status, "abandoned");
    let found: Value = world.cli(&["journal", "verify", "-o", "json"]).code(0).json();
    assert_eq!(
        (&found["problems"], &found["jobs"]),
        (&Value::Array(Vec::new()), &2.into())
    );
    world.restart_daemon();
    assert_eq!(world.job(FIRST).status, "abandoned");
}

const ITEMS: [&str; 2] = ["db", "web"];

/// What each format added, taken away again.
const FORMATS: [(i64, &str); 3] = [
    (
        3,
        "ALTER TABLE frozen RENAME TO frozen_blob;
         CREATE TABLE frozen (job TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
         INSERT INTO frozen SELECT job, CAST(body AS TEXT) FROM frozen_blob;
         DROP TABLE frozen_blob;",
    ),
    (
        2,
        "ALTER TABLE jobs ADD COLUMN frozen TEXT NOT NULL DEFAULT '';
         UPDATE jobs SET frozen = (SELECT body FROM frozen WHERE job = id);
         DROP TABLE frozen;",
    ),
    (
        1,
        "DROP TABLE seals;
         DELETE FROM meta WHERE name IN ('key', 'commits');
         ALTER TABLE meta DROP COLUMN crc;
         ALTER TABLE jobs DROP COLUMN crc;
         ALTER TABLE state DROP COLUMN crc;",
    ),
];

/// Makes a journal or a backup one of an earlier format.
fn put_back(file: &Path, format: i64) {
    let database = Connection::open(file).unwrap();
    for (number, back) in FORMATS.into_iter().filter(|(number, _)| *number >= format) {
        database.execute_batch(back).unwrap();
        database.pragma_update(None, "user_version", number).unwrap();
    }
}

/// Kills the daemon, makes its journal one of an earlier format, and starts it again.
fn as_if_written_by(world: &mut World, format: i64) {
    world.kill_daemon();
    put_back(&world.path("data/landfall.db"), format);
    if format < 2 {
        // It came with the second.
        fs::remove_file(world.path("data/landfall.mark")).unwrap();
    }
    world.restart_daemon();
    let database = Connection::open(world.path("data/landfall.db")).unwrap();
    let now: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert!(now > format, "it was taken over");
}

/// The machines run at the target with all their data, and everything happened once.
fn assert_whole(world: &World, id: &str) {
    let job = world.job(id);
    for item in ITEMS {
        let machine = job.item(item).machine.as_ref().unwrap();
        assert!(world.lab.is_on(AWAY, machine) && !world.lab.is_on(HOME, &format!("vm-{item}")));
        assert_eq!(world.lab.lost(item, machine), 0, "records of {item}");
    }
    world.lab.assert_sound();
    world.cli(&["journal", "verify"]).code(0);
}

#[test]
fn x02_t12_a_job_in_the_middle_goes_on_from_a_journal_of_every_earlier_format() {
    for format in [1, 2, 3] {
        for step in ["shutdown/web", "create/db"] {
            let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
            for operation in ["shutdown", "create-machine"] {
                world.lab.latency(operation, 500, 500);
            }
            let job = world.launch("planned-failover", &json!({}));
            world.step_is(&job.id, step, "running");
            as_if_written_by(&mut world, format);
            let job = world.rest(&job.id);
            assert_eq!(
                job.status,
                "succeeded",
                "format {format}, {step}: {:#?}",
                troubles(&job)
            );
            assert_whole(&world, &job.id);
        }
    }
}

#[test]
fn x02_t12_a_stuck_job_waits_on_in_a_journal_of_every_earlier_format() {
    for format in [1, 2, 3] {
        let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
        world.lab.fail("shutdown", "vm-db");
        let job = world.run("unplanned-failover", &json!({}));
        assert_eq!(job.steps_in("stuck"), ["fence/db"]);
        as_if_written_by(&mut world, format);
        let job = world.rest(&job.id);
        assert_eq!(job.steps_in("stuck"), ["fence/db"], "format {format}");
        let off = json!({"on": false});
        world
            .lab
            .api
            .patch(&format!("control/machines/{HOME}/vm-db"), &off)
            .ok::<Value>();
        world.cli(&["job", "retry", &job.id, "fence/db"]).code(3);
        let machine = world.job(&job.id).item("db").machine.clone().unwrap();
        assert!(world.lab.is_on(AWAY, &machine));
        world.lab.assert_sound();
    }
}

/// A person compares the restored machines and lets the job go on, which ends well.
fn let_go_on(world: &World, id: &str) {
    world
        .cli(&["reconcile", "--accept", "the machines there are this job's own"])
        .code(0);
    world.cli(&["job", "retry", id]).code(0);
    assert_eq!(world.rest(id).status, "succeeded");
    assert_whole(world, id);
}

#[test]
fn x02_x09_t12_a_backup_of_every_earlier_format_is_restored() {
    for format in [1, 2, 3] {
        let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
        world.lab.latency("shutdown", 1_000, 1_000);
        let job = world.launch("planned-failover", &json!({}));
        world.step_is(&job.id, "shutdown/web", "running");
        let file = backup(&world);
        put_back(&file, format);
        world.rest(&job.id);
        let restored = restore(&mut world, &file);
        assert_eq!(restored["jobs"], json!([job.id]), "format {format}");
        let held = world.rest(&job.id);
        assert_eq!(held.status, "stuck");
        let_go_on(&world, &job.id);
    }
}

#[test]
fn x02_t12_a_restored_job_is_held_on_in_a_journal_of_the_second_format() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.lab.latency("shutdown", 1_000, 1_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "shutdown/web", "running");
    let file = backup(&world);
    world.rest(&job.id);
    restore(&mut world, &file);
    as_if_written_by(&mut world, 2);
    let held = world.rest(&job.id);
    assert_eq!(held.status, "stuck");
    assert!(held.reason.unwrap().contains("restored"));
    let_go_on(&world, &job.id);
}
