//! The host's state is backed up and restored, and nothing that happened after the backup is repeated (X09).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::{World, troubles};

const ITEMS: [&str; 2] = ["db", "web"];

pub(crate) fn backup(world: &World) -> PathBuf {
    let file = world.path("host.backup");
    let _ = fs::remove_file(&file);
    world.cli(&["backup", "host.backup"]).code(0);
    file
}

/// The daemon's state is lost, and made again of a backup; the plugins' store is kept, as it is no state.
pub(crate) fn restore(world: &mut World, file: &Path) -> Value {
    restore_with(world, file, &[])
}

fn restore_with(world: &mut World, file: &Path, more: &[&str]) -> Value {
    world.kill_daemon();
    for name in ["landfall.db", "landfall.db-wal", "landfall.db-shm"] {
        let _ = fs::remove_file(world.path("data").join(name));
    }
    let restored = world
        .cli(&[&["restore", file.to_str().unwrap(), "-o", "json"], more].concat())
        .code(0)
        .json();
    world.restart_daemon();
    restored
}

#[test]
fn x09_a_restored_installation_keeps_its_identity_and_takes_a_new_epoch() {
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    let before: Value = world.api.get("version");
    let file = backup(&world);
    let points = world.points("db").len();
    let restored = restore(&mut world, &file);
    let after: Value = world.api.get("version");
    assert_eq!(before["installation"], after["installation"]);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    assert_eq!(restored["epoch"], after["epoch"]);
    assert_eq!(restored["items"], json!(ITEMS));
    // Nothing is asked of a machine before it was compared with the sites.
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    assert!(refused.err.contains("LF0217"), "{}", refused.err);
    let sent = world.item("db").bytes_sent;
    world.cli(&["reconcile"]).code(0);
    assert!(world.points("db").len() >= points);
    world.succeed("test", &json!({}));
    world.succeed("cleanup", &json!({}));
    eventually("replication goes on", || {
        (world.item("db").bytes_sent > sent).then_some(())
    });
    world.succeed("planned-failover", &json!({}));
    for item in ITEMS {
        let machine = world.item(item).target_machine.unwrap();
        assert_eq!(world.lab.lost(item, &machine), 0);
    }
    world.lab.assert_sound();
    world.cli(&["journal", "verify"]).code(0);
}

#[test]
fn x09_a_job_that_went_on_after_the_backup_repeats_nothing() {
    let hooks = [
        "name: before, runbook: webhook, before: [all]",
        "name: report, runbook: webhook, after: [all]",
    ];
    let mut world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &hooks));
    world.lab.latency("shutdown", 1_500, 1_500);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "shutdown/web", "running");
    let file = backup(&world);
    let job = world.rest(&job.id);
    assert_eq!(job.status, "succeeded", "{:#?}", troubles(&job));
    let machines: Vec<String> = ITEMS
        .iter()
        .map(|item| world.item(item).target_machine.unwrap())
        .collect();
    let restored = restore(&mut world, &file);
    assert_eq!(restored["jobs"], json!([job.id]));
    let listed = world.cli(&["item", "list"]).code(0);
    assert!(listed.out.contains("not compared since the restore"), "{listed}");
    let held = world.rest(&job.id);
    assert_eq!(held.status, "stuck");
    assert!(held.reason.unwrap().contains("restored"));
    // Whoever waits for it is told at once, though no step of it says anything.
    for follow in ["wait", "watch"] {
        let said = world.cli(&["job", follow, &job.id]).code(4);
        let way_on = format!("landfall job retry {}", job.id);
        assert!(
            said.err.contains("restored from a backup") && said.err.contains(&way_on),
            "{}",
            said.err
        );
    }
    // The sites know what the backup does not: by name. What this job made there since fits, as it will find it under
    // its keys.
    world.cli(&["job", "retry", &job.id]).code(5);
    let said = world.cli(&["reconcile"]).code(0);
    for machine in &machines {
        assert!(said.out.contains(machine.as_str()), "{}", said.out);
    }
    for words in ["LF0218", &job.id, "unfinished in the backup", "job retry"] {
        assert!(said.out.contains(words), "{words} is not in {}", said.out);
    }
    world.cli(&["job", "retry", &job.id]).code(0);
    let done = world.rest(&job.id);
    assert_eq!(done.status, "succeeded", "{:?} {:#?}", done.reason, troubles(&done));
    let again: Vec<String> = ITEMS
        .iter()
        .map(|item| world.item(item).target_machine.unwrap())
        .collect();
    assert_eq!(machines, again, "the same keys gave the same machines");
    for (item, machine) in ITEMS.iter().zip(&machines) {
        assert!(world.lab.is_on(AWAY, machine) && !world.lab.is_on(HOME, &format!("vm-{item}")));
        assert_eq!(world.lab.lost(item, machine), 0);
    }
    assert_eq!(world.lab.webhooks(&job.id), ["before", "report"]);
    world.lab.assert_sound();
    let said = world.cli(&["job", "show", &job.id]).code(0);
    assert!(said.out.contains("succeeded"));
    world.cli(&["journal", "verify"]).code(0);
}

#[test]
fn x09_what_the_backup_cannot_know_is_named() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let file = backup(&world);
    world.succeed("test", &json!({}));
    let made = world.item("db").test_machine.unwrap();
    restore(&mut world, &file);
    let said = world.cli(&["reconcile", "db"]).code(5);
    assert!(
        said.out.contains(&made) && said.out.contains("the backup is older"),
        "{}",
        said.out
    );
    // Once a person has removed it there, the state is true again.
    world.lab.remove(AWAY, &made);
    world.cli(&["reconcile", "db"]).code(0);
    assert!(world.cli(&["reconcile"]).code(0).err.contains("nothing to compare"));
    world.succeed("test", &json!({}));
    world.lab.assert_sound();
}

#[test]
fn x09_what_a_release_left_behind_is_no_younger_than_the_backup() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let job = world.succeed("planned-failover", &json!({}));
    let left = job.item("db").machine.clone().unwrap();
    world.succeed("release", &json!({"reason": "it stays there for ever"}));
    let file = backup(&world);
    restore(&mut world, &file);
    let said = world.cli(&["reconcile"]).code(0);
    assert!(
        said.out.contains(&left) && said.out.contains("a release left it behind"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("the backup is older"), "{}", said.out);
}

#[test]
fn x09_the_old_daemon_that_wakes_is_refused_by_both_sites_before_any_order_of_the_new_one() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let file = backup(&world);
    // The whole machine of the daemon comes back later as it was, data directory and all.
    world.kill_daemon();
    let copy = world.path("old");
    fs::rename(world.path("data"), &copy).unwrap();
    fs::create_dir(world.path("data")).unwrap();
    restore(&mut world, &file);
    world.cli(&["reconcile"]).code(0);
    world.kill_daemon();
    let before = world.lab.ledger().len();
    fs::rename(world.path("data"), world.path("new")).unwrap();
    fs::rename(&copy, world.path("data")).unwrap();
    world.restart_daemon();
    let job = world.run("planned-failover", &json!({}));
    assert_ne!(job.status, "succeeded");
    let said = format!("{:#?}", troubles(&job));
    assert!(said.contains("of this installation has taken over"), "{said}");
    let stale = world.lab.ledger().into_iter().skip(before);
    let effects: Vec<String> = stale
        .filter(|line| line.caller.ends_with("@1") && matches!(&*line.result, "changed" | "accepted"))
        .map(|line| format!("{line:?}"))
        .collect();
    assert_eq!(effects, Vec::<String>::new(), "a site took orders of an older epoch");
    assert!(world.lab.is_on(HOME, "vm-db"));
    // What it did where nobody keeps epochs would be found by who asks by name.
    world.lab.switch_off("vm-db");
    world.kill_daemon();
    fs::rename(world.path("data"), world.path("woken")).unwrap();
    fs::rename(world.path("new"), world.path("data")).unwrap();
    world.restart_daemon();
    let said = world.cli(&["reconcile", "db"]).code(0);
    assert!(said.out.contains("`vm-db` is off"), "{}", said.out);
}

#[test]
fn x09_a_site_that_obeys_a_later_daemon_is_named_and_can_be_taken_over_by_who_says_so() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let file = backup(&world);
    // Another one was restored while a clock was years ahead.
    let later: u64 = 1 << 51;
    let installation: Value = world.api.get("version");
    let installation = &installation["installation"];
    let ahead = json!({"installation": installation, "epoch": later});
    let _: Value = world.lab.api.post(&format!("sites/{AWAY}/take-over"), &ahead).ok();
    restore(&mut world, &file);
    let said = world.cli(&["reconcile"]).code(5);
    let named = "the target site `south` obeys a later daemon of this installation";
    assert!(
        said.out.contains(named) && said.out.contains("--after-epoch") && said.out.contains(&later.to_string()),
        "{}",
        said.out
    );
    let restored = restore_with(&mut world, &file, &["--after-epoch", &later.to_string()]);
    assert!(restored["epoch"].as_u64() > Some(later), "{restored}");
    world.cli(&["reconcile"]).code(0);
    world.succeed("test", &json!({}));
}

#[test]
fn x09_a_site_that_was_silent_while_a_person_took_the_state_as_it_is_is_told_later() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let file = backup(&world);
    world.lab.lose_home(false);
    restore(&mut world, &file);
    world.cli(&["reconcile"]).code(5);
    world.cli(&["reconcile", "--accept", "home is gone"]).code(0);
    let told = |site: &str| {
        let ledger = world.lab.ledger();
        let mut lines = ledger.iter().filter(|line| line.operation == "take-over");
        lines.any(|line| line.site.as_deref() == Some(site))
    };
    assert!(told(AWAY) && !told(HOME));
    let _: Value = world
        .lab
        .api
        .post(&format!("control/sites/{HOME}/back"), &json!({}))
        .ok();
    eventually("home is told", || told(HOME).then_some(()));
}

#[test]
fn x09_what_was_made_under_another_key_of_an_unfinished_step_does_not_fit() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.latency("shutdown", 1_500, 1_500);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "shutdown/db", "running");
    let file = backup(&world);
    // It is refused, mended and tried again under a key of which the backup knows nothing.
    world.lab.api.delete(&format!("control/networks/{AWAY}/lan"));
    assert_eq!(world.rest(&job.id).steps_in("failed"), ["create/db"]);
    let lan = json!({"site": AWAY, "id": "lan", "name": "Production", "isolated": false});
    let _: Value = world.lab.api.post("control/networks", &lan).ok();
    world.cli(&["job", "retry", &job.id]).code(0);
    let made = world.rest(&job.id).item("db").machine.clone().unwrap();
    restore(&mut world, &file);
    let said = world.cli(&["reconcile"]).code(5);
    assert!(
        said.out.contains(&made) && said.out.contains("the backup is older"),
        "{}",
        said.out
    );
}

#[test]
fn x09_any_machine_is_compared_by_name_and_nothing_is_changed_by_it() {
    let world = World::protected(&Inventory::of(&ITEMS), &plan(&ITEMS, &[]));
    world.succeed("test", &json!({}));
    let said = world.cli(&["reconcile", "db"]).code(0);
    assert!(!said.out.contains("LF0218"), "{}", said.out);
    // A job that is at work is named, since it may be what differs.
    world.lab.latency("delete-machine", 3_000, 3_000);
    let job = world.launch("cleanup", &json!({"items": ["web"]}));
    let said = world.cli(&["reconcile", "web"]);
    assert!(said.out.contains(&job.id), "{}", said.out);
    world.rest(&job.id);
    let made = world.item("db").test_machine.unwrap();
    world.lab.remove(AWAY, &made);
    for accept in [&["reconcile", "db"][..], &["reconcile", "db", "--accept", "so be it"]] {
        let said = world.cli(accept).code(5);
        assert!(said.out.contains(&made) && !said.out.contains("backup"), "{}", said.out);
    }
    assert_eq!(world.item("db").test_machine, Some(made));
    assert!(world.cli(&["reconcile"]).code(0).err.contains("nothing to compare"));
}

/// Restores a backup of now, and compares; nothing differs.
fn restored_as_it_is(world: &mut World) {
    let file = backup(world);
    restore(world, &file);
    let said = world.cli(&["reconcile"]).code(0);
    assert!(!said.out.contains("LF0218"), "{}", said.out);
}

#[test]
fn x09_machines_on_their_way_back_and_home_again_are_compared_where_they_stand() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.succeed("planned-failover", &json!({}));
    world.succeed("commit", &json!({}));
    world.succeed("reprotect", &json!({}));
    restored_as_it_is(&mut world);
    world.succeed("planned-failover", &json!({"direction": "reverse"}));
    restored_as_it_is(&mut world);
    // The machine at home is the one that counts now.
    world.lab.remove(HOME, "vm-db");
    let said = world.cli(&["reconcile", "db"]).code(5);
    assert!(
        said.out.contains("site `north` no longer has the machine `vm-db`"),
        "{}",
        said.out
    );
}

#[test]
fn x09_what_happens_while_sites_are_read_is_not_undone() {
    let hooks = ["name: before, runbook: webhook, before: [all]"];
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &hooks));
    world.lab.latency("shutdown", 2_000, 2_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "shutdown/db", "running");
    let file = backup(&world);
    world.rest(&job.id);
    restore(&mut world, &file);
    // The comparison waits for a site, and meanwhile a person gives the held job up.
    world.lab.latency("owned", 4_000, 4_000);
    let asked = world.begin(&["reconcile", "--accept", "as it is"]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    world
        .cli(&["job", "abandon", &job.id, "--reason", "it is over"])
        .code(0);
    assert_eq!(world.rest(&job.id).status, "abandoned");
    asked.end().code(0);
    let trouble = || world.item("db").trouble.unwrap_or_default();
    assert!(trouble().contains("abandoned"), "{}", trouble());
    // Neither is the lock of the job there again after a restart.
    world.restart_daemon();
    let trouble = world.item("db").trouble.unwrap_or_default();
    assert!(trouble.contains("abandoned"), "{trouble}");
    let answer = world.ask("test", &json!({}));
    assert!(
        !answer.text.contains("LF0217") && !answer.text.contains("locked"),
        "{}",
        answer.text
    );
}

#[test]
fn x09_backups_and_restores_overwrite_nothing_and_take_nothing_damaged() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let file = backup(&world);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let said = world.cli(&["backup", "host.backup"]).code(5);
    assert!(said.err.contains("LF0508"), "{}", said.err);
    let said = world.cli(&["restore", "host.backup", "--data-dir", "data"]).code(5);
    assert!(said.err.contains("LF0505"), "{}", said.err);
    let mut bytes = fs::read(&file).unwrap();
    let place = bytes.windows(9).position(|window| window == b"\"requeste").unwrap();
    bytes[place] = b'#';
    fs::write(world.path("bad.backup"), &bytes).unwrap();
    let said = world.cli(&["restore", "bad.backup", "--data-dir", "fresh"]).code(5);
    assert!(said.err.contains("not sound"), "{}", said.err);
    assert!(!world.path("fresh/landfall.db").exists());
    fs::write(world.path("none.backup"), "no database").unwrap();
    world.cli(&["restore", "none.backup", "--data-dir", "fresh"]).code(5);
    let said = world.cli(&["restore", "nosuch.backup", "--data-dir", "fresh"]).code(2);
    assert!(
        said.err.contains("nosuch.backup") && said.err.contains("No such file"),
        "{}",
        said.err
    );
    world.cli(&["restore", "host.backup", "--data-dir", "fresh"]).code(0);
    let said = world.cli(&["restore", "host.backup", "--data-dir", "fresh"]).code(5);
    assert!(said.err.contains("LF0508"), "{}", said.err);
}

#[test]
fn x09_a_restore_beside_the_log_of_the_lost_database_is_refused() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    backup(&world);
    world.succeed("test", &json!({}));
    world.kill_daemon();
    // The database is lost, and the log in which its last commits stand is not.
    fs::remove_file(world.path("data/landfall.db")).unwrap();
    assert!(fs::metadata(world.path("data/landfall.db-wal")).unwrap().len() > 0);
    let said = world.cli(&["restore", "host.backup"]).code(5);
    assert!(
        said.err.contains("LF0508") && said.err.contains("landfall.db-wal"),
        "{}",
        said.err
    );
    for name in ["landfall.db-wal", "landfall.db-shm"] {
        fs::rename(world.path("data").join(name), world.path(name)).unwrap();
    }
    world.cli(&["restore", "host.backup"]).code(0);
    world.restart_daemon();
    // It is the backup's state and not what the log said after it.
    assert_eq!(world.item("db").test, "none");
    world.cli(&["journal", "verify"]).code(0);
}

#[test]
fn x09_the_daemon_makes_backups_by_itself() {
    let mut world = World::start();
    let file = world.path("landfall.toml");
    let text =
        fs::read_to_string(&file).unwrap() + "\n[backup]\ndirectory = \"backups\"\nevery-minutes = 1\nkeep = 2\n";
    fs::write(&file, text).unwrap();
    world.restart_daemon();
    let made = eventually("a backup", || {
        let entry = fs::read_dir(world.path("backups")).ok()?.next()?.ok()?;
        entry
            .path()
            .extension()
            .is_some_and(|ending| ending == "backup")
            .then(|| entry.path())
    });
    world
        .cli(&["restore", made.to_str().unwrap(), "--data-dir", "fresh"])
        .code(0);
}
