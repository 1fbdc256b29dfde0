//! The installation's state in one file, and an installation made of it again.
//!
//! A backup is old the moment it is made: what happened after it is in no file. So a restored installation keeps its
//! identity and takes a new epoch, by which targets tell it from the one that may still run somewhere; its unfinished
//! jobs are held, and its items are marked, until a person has compared them with the sites.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_recovery::cycle::Progress;
use landfall_recovery::event::{Event, Record};
use landfall_recovery::item::ItemState;

use crate::batch::{Batch, Space};
use crate::read::Reader;
use crate::verify::{Verified, verify_file};
use crate::{StoreError, directory, mark, read, schema, writer};

/// Replication goes on with cycle numbers that the lost time cannot have used: nobody makes that many in a lifetime. And
/// never below the epoch, so that two restores of one backup do not share them: keys and marks follow from them.
const CYCLES_APART: u64 = 1 << 32;

/// What a restore made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restored {
    /// As it was.
    pub installation: String,
    /// The new one.
    pub epoch: u64,
    /// Unfinished jobs, which wait for a person.
    pub jobs: Vec<String>,
    /// Items that are to be compared with the sites.
    pub items: Vec<String>,
}

/// Writes the state of the installation in a data directory to a file that is not there yet. The daemon may run.
pub fn backup(directory: &Path, file: &Path) -> Result<Verified, StoreError> {
    let fail = |source| StoreError::File {
        path: file.display().to_string(),
        source,
    };
    if file.exists() {
        return Err(StoreError::Exists(file.display().to_string()));
    }
    let temporary = beside(file, "part");
    let private = || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
    };
    private().map_err(fail)?;
    let written = copy(directory, &temporary).and_then(|()| {
        let found = verify_file(&temporary, None)?;
        sound(&temporary, &found)?;
        File::open(&temporary).and_then(|file| file.sync_all()).map_err(fail)?;
        publish(&temporary, file).map_err(fail)?;
        Ok(found)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn copy(directory: &Path, to: &Path) -> Result<(), StoreError> {
    let connection = read::open(&directory.join(directory::DATABASE))?;
    schema::present(&connection)?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// Makes an installation of a backup, in a data directory that has none. `now_s` is in seconds since 1970. Its epoch is
/// above the backup's and above `after`.
pub fn restore(file: &Path, data: &Path, now_s: u64, after: u64) -> Result<Restored, StoreError> {
    let held = directory::take(data)?;
    let place = data.join(directory::DATABASE);
    if place.exists() {
        return Err(StoreError::Exists(place.display().to_string()));
    }
    // SQLite would take what is left of another database's log for this one's.
    if let Some(left) = logs(&place).into_iter().find(|log| log.exists()) {
        return Err(StoreError::Leftover(left.display().to_string()));
    }
    // A file without an installation would get a new one: that is not restored but begun.
    if schema::known(&read::open(file)?)? == 0 {
        return Err(StoreError::Unsound {
            path: file.display().to_string(),
            what: "it is no backup of an installation".to_owned(),
        });
    }
    let temporary = beside(&place, "restoring");
    let fail = |source| StoreError::File {
        path: temporary.display().to_string(),
        source,
    };
    remove(&temporary);
    fs::copy(file, &temporary).map_err(fail)?;
    fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(fail)?;
    let restored = begin_anew(file, &temporary, now_s, after);
    if restored.is_ok() {
        File::open(&temporary).and_then(|file| file.sync_all()).map_err(fail)?;
        // What an earlier installation here had come to says nothing of this one.
        match fs::remove_file(data.join(mark::NAME)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
            _ => publish(&temporary, &place).map_err(fail)?,
        }
    } else {
        remove(&temporary);
    }
    drop(held);
    restored
}

/// `file` is a copy of `backup`: one of an earlier format is taken over before it is verified.
fn begin_anew(backup: &Path, file: &Path, now_s: u64, after: u64) -> Result<Restored, StoreError> {
    let (mut connection, before, _) = schema::open(file)?;
    sound(backup, &verify_file(file, None)?)?;
    let epoch = epoch_after(before.epoch.max(after), now_s, uuid::Uuid::new_v4().as_u128());
    schema::set_meta(&connection, "epoch", &epoch.to_string())?;
    let (identity, key) = schema::identity(&connection)?;
    let (batch, restored) = changes(file, epoch, now_s.saturating_mul(1000))?;
    let restored = Restored {
        installation: identity.installation.clone(),
        ..restored
    };
    let signer = writer::Signer::new(Arc::new(identity), Arc::new(key));
    writer::commit(&mut connection, None, &signer, &mut HashMap::new(), &[batch])?;
    // Everything into the one file, which is then renamed alone.
    let _: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(restored)
}

/// Bits of an epoch that are drawn by lot. With them, seconds until the year 2106 fit into 52 bits. Every plugin's language
/// can hold 53, so there is room for restores after one whose clock was wrong.
const LOT_BITS: u32 = 20;
/// The last second of which that holds; a clock that is beyond it is wrong.
const LAST_SECOND: u64 = (1 << (52 - LOT_BITS)) - 1;

/// The time of the restore and a lot: two restores of one backup have two epochs, also where the clock is so far behind
/// that the time is the backup's own, counted on by one.
fn epoch_after(before: u64, now_s: u64, lot: u128) -> u64 {
    let second = now_s.min(LAST_SECOND).max((before >> LOT_BITS) + 1);
    let lot = u64::try_from(lot & ((1 << LOT_BITS) - 1)).unwrap_or(0);
    (second << LOT_BITS) | lot
}

fn changes(file: &Path, epoch: u64, at: u64) -> Result<(Batch, Restored), StoreError> {
    let reader = Reader::open(file)?;
    let mut batch = Batch::new();
    let mut restored = Restored {
        installation: String::new(),
        epoch,
        jobs: Vec::new(),
        items: Vec::new(),
    };
    for job in reader.unfinished()? {
        let event = Event::Restored { epoch };
        batch.record(&job.id, Record { at, event });
        restored.jobs.push(job.id);
    }
    let mut items: BTreeMap<String, ItemState> = reader.all(Space::Item)?.into_iter().collect();
    // What the inventory names and nothing was done with may have been protected since.
    for (_, applied) in reader.all::<serde_json::Value>(Space::Inventory)? {
        let named = applied.pointer("/inventory/items").and_then(|items| items.as_object());
        for name in named.into_iter().flat_map(serde_json::Map::keys) {
            items.entry(name.clone()).or_default();
        }
    }
    for (name, state) in items {
        let state = ItemState {
            restored: true,
            ..state
        };
        batch.put(Space::Item, &name, &state)?;
        restored.items.push(name);
    }
    for (name, progress) in reader.all::<Progress>(Space::Progress)? {
        let progress = Progress {
            cycle: epoch.max(progress.cycle + CYCLES_APART),
            transfer: None,
            ..progress
        };
        batch.put(Space::Progress, &name, &progress)?;
    }
    for (unit, _) in reader.all::<serde_json::Value>(Space::Cycle)? {
        batch.remove(Space::Cycle, &unit);
    }
    batch.seal(None, at);
    Ok((batch, restored))
}

fn sound(file: &Path, found: &Verified) -> Result<(), StoreError> {
    match found.problems.first() {
        None => Ok(()),
        Some(problem) => Err(StoreError::Unsound {
            path: file.display().to_string(),
            what: format!("{}: {}", problem.place, problem.what),
        }),
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    file.with_file_name(name)
}

fn remove(database: &Path) {
    // What is not there need not be removed; what cannot be is found when it is written.
    let _ = fs::remove_file(database);
    for log in logs(database) {
        let _ = fs::remove_file(log);
    }
}

/// Where SQLite keeps what is not in the database itself yet.
fn logs(database: &Path) -> [PathBuf; 3] {
    ["-wal", "-shm", "-journal"].map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        path.into()
    })
}

/// Renames, durably.
fn publish(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::rename(from, to)?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const EXACT: u64 = 1 << 53;

    #[test]
    fn x09_two_restores_of_one_backup_have_two_epochs_whatever_the_clock_says() {
        // Of a new installation, of one that was restored when epochs were seconds, and of one that was restored since.
        for before in [1, NOW - 5, epoch_after(1, NOW, 7)] {
            for now in [0, NOW - 1_000, NOW, NOW + 1_000, u64::MAX] {
                let (one, other) = (epoch_after(before, now, 1), epoch_after(before, now, 2));
                assert_ne!(one, other, "after {before} at {now}");
                assert!(before < one && before < other && one.max(other) < EXACT);
                assert!(other < epoch_after(other, now, 0), "the next one is later");
            }
        }
        let lots: std::collections::BTreeSet<u64> = (0..8)
            .map(|_| epoch_after(1, 0, uuid::Uuid::new_v4().as_u128()))
            .collect();
        assert!(lots.len() > 1, "{lots:?}");
    }

    #[tokio::test]
    async fn x09_two_restores_share_no_cycle_and_name_what_may_have_been_protected_since() {
        let place = tempfile::tempdir().unwrap();
        let (data, file) = (place.path().join("data"), place.path().join("file.backup"));
        let store = crate::Store::open(&data).unwrap();
        let mut batch = Batch::new();
        batch.put(Space::Progress, "db", &Progress::default()).unwrap();
        batch.put(Space::Item, "db", &ItemState::default()).unwrap();
        let inventory =
            serde_json::json!({"applied": {"text": "", "at": 1}, "inventory": {"items": {"db": {}, "web": {}}}});
        batch.put(Space::Inventory, "inventory", &inventory).unwrap();
        store.commit(batch).await.unwrap();
        backup(&data, &file).unwrap();
        let mut cycles = Vec::new();
        for second in [NOW, NOW + 10] {
            let other = place.path().join(second.to_string());
            let restored = restore(&file, &other, second, 0).unwrap();
            assert_eq!(restored.items, ["db", "web"]);
            let store = crate::Store::open(&other).unwrap();
            let web: ItemState = store.reader().get(Space::Item, "web").unwrap().unwrap();
            assert!(web.restored);
            let progress: Progress = store.reader().get(Space::Progress, "db").unwrap().unwrap();
            cycles.push(progress.cycle);
        }
        let day = 24 * 60 * 60;
        assert!(
            cycles[1] - cycles[0] > day,
            "{cycles:?}: one has a day's cycles behind it"
        );
    }

    #[test]
    fn x09_nothing_is_restored_beside_another_databases_log() {
        let place = tempfile::tempdir().unwrap();
        let (data, file) = (place.path().join("data"), place.path().join("file.backup"));
        let installation = crate::Store::open(&data).unwrap().identity().installation.clone();
        backup(&data, &file).unwrap();
        let fresh = place.path().join("fresh");
        for left in logs(&fresh.join(directory::DATABASE)) {
            fs::create_dir_all(&fresh).unwrap();
            fs::write(&left, "of another database").unwrap();
            let refused = restore(&file, &fresh, NOW, 0);
            assert!(
                matches!(&refused, Err(StoreError::Leftover(named)) if *named == left.display().to_string()),
                "{refused:?}"
            );
            assert!(!fresh.join(directory::DATABASE).exists());
            fs::remove_file(left).unwrap();
        }
        let after = epoch_after(1, NOW + 1_000, 5);
        let restored = restore(&file, &fresh, NOW, after).unwrap();
        assert!(
            restored.epoch > after,
            "a clock was ahead when another one was restored"
        );
        assert_eq!(restored.installation, installation);
    }
}
