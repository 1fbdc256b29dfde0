//! Backups by the clock: an operator who must ask for them has none on the worst day of the year.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use jiff::Timestamp;
use landfall_recovery::words::Millis;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock;
use crate::engine::Engine;

/// What a scheduled backup is called, so that nothing else in the directory is ever removed.
const PREFIX: &str = "landfall-";
const SUFFIX: &str = ".backup";
/// What it is called while it is written; SQLite may have files beside it.
const PART: &str = ".backup.part";

/// A part that nobody has written to for so long was left by a daemon that died.
const PART_STALE_MS: Millis = 3_600_000;

pub(crate) async fn run(engine: Arc<Engine>) {
    let Some(config) = engine.config.now().backup.clone() else {
        return;
    };
    let every = Duration::from_mins(config.every_minutes.get());
    // A daemon that is started again and again must not fill the directory with backups of the same minute.
    let mut turn = tokio::time::interval_at(Instant::now() + wait(&config.directory, every, clock::now()), every);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let (data, directory, keep) = (
            engine.config.now().data.clone(),
            config.directory.clone(),
            config.keep.get(),
        );
        let made = tokio::task::spawn_blocking(move || make(&data, &directory, keep)).await;
        match made {
            Ok(Ok(file)) => tracing::info!(file, "backup written"),
            Ok(Err(error)) => tracing::error!(error, "no backup was written"),
            Err(error) => tracing::error!(%error, "no backup was written"),
        }
    }
}

/// Until the newest backup is as old as one may become. One from the future says that the clock was set back, and not
/// how old it is: it counts as new.
fn wait(directory: &Path, every: Duration, now: Millis) -> Duration {
    let newest = backups(directory).into_iter().flatten().map(|(at, _)| at).max();
    let age = newest.map(|at| Duration::from_millis(now.saturating_sub(at)));
    age.map_or(Duration::ZERO, |age| every.saturating_sub(age))
}

fn make(data: &Path, directory: &Path, keep: usize) -> Result<String, String> {
    let io = |error: io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(io)?;
    sweep(directory, clock::now()).map_err(io)?;
    let file = directory.join(name(clock::now()));
    landfall_store::backup(data, &file).map_err(|error| crate::words(&error))?;
    prune(directory, &file, keep).map_err(io)?;
    Ok(file.display().to_string())
}

/// When it was made, for people.
fn name(now: u64) -> String {
    let at = i64::try_from(now)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or_default().strftime("%Y%m%dT%H%M%S%3fZ");
    format!("{PREFIX}{at}{SUFFIX}")
}

/// Only after a new one is there, which stays whatever the clock says. The others go by when they were written, not by
/// their names: those of a clock that ran ahead would be the newest for ever.
fn prune(directory: &Path, new: &Path, keep: usize) -> io::Result<()> {
    let mut others = backups(directory)?;
    others.retain(|(_, path)| path != new);
    others.sort();
    let old = others.len().saturating_sub(keep.saturating_sub(1));
    others.iter().take(old).try_for_each(|(_, path)| fs::remove_file(path))
}

/// Removes what daemons left that died while they wrote a backup.
fn sweep(directory: &Path, now: Millis) -> io::Result<()> {
    for (at, path) in written(directory, |name| name.contains(PART))? {
        if now.abs_diff(at) > PART_STALE_MS {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn backups(directory: &Path) -> io::Result<Vec<(Millis, PathBuf)>> {
    written(directory, |name| name.ends_with(SUFFIX))
}

/// Files of ours, and when they were last written.
fn written(directory: &Path, fits: impl Fn(&str) -> bool) -> io::Result<Vec<(Millis, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && fits(&name) {
            files.push((since_1970(entry.metadata()?.modified()?), entry.path()));
        }
    }
    Ok(files)
}

fn since_1970(at: SystemTime) -> Millis {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;
    const DAY: Millis = 24 * 60 * MINUTE;

    /// A file that was written at a time.
    fn put(directory: &Path, name: &str, at: Millis) -> PathBuf {
        let path = directory.join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(at)).unwrap();
        path
    }

    fn left(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_old_backups_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let written: Vec<PathBuf> = (1..=4)
            .map(|day| put(place.path(), &name(day * DAY), day * DAY))
            .collect();
        put(place.path(), "notes.txt", 0);
        prune(place.path(), &written[3], 2).unwrap();
        let days = [
            "landfall-19700104T000000000Z.backup",
            "landfall-19700105T000000000Z.backup",
            "notes.txt",
        ];
        assert_eq!(left(place.path()), days);
    }

    #[test]
    fn a_clock_that_ran_ahead_costs_no_new_backup() {
        let place = tempfile::tempdir().unwrap();
        // Two from a month ahead, by name and by time; the clock is right again.
        for day in [40, 41] {
            put(place.path(), &name(day * DAY), day * DAY);
        }
        for day in 10..13 {
            let new = put(place.path(), &name(day * DAY), day * DAY);
            prune(place.path(), &new, 2).unwrap();
            assert!(new.exists(), "{:?}", left(place.path()));
            assert_eq!(left(place.path()).len(), 2);
        }
        // A name from ahead says nothing: it was written first.
        let place = tempfile::tempdir().unwrap();
        put(place.path(), &name(40 * DAY), 9 * DAY);
        for day in 10..12 {
            let new = put(place.path(), &name(day * DAY), day * DAY);
            prune(place.path(), &new, 2).unwrap();
        }
        assert_eq!(left(place.path()), [name(10 * DAY), name(11 * DAY)]);
    }

    #[test]
    fn a_restart_waits_until_the_newest_backup_is_old() {
        let place = tempfile::tempdir().unwrap();
        let every = Duration::from_hours(1);
        assert_eq!(wait(&place.path().join("none"), every, DAY), Duration::ZERO);
        assert_eq!(wait(place.path(), every, DAY), Duration::ZERO);
        put(place.path(), &name(0), DAY - 90 * MINUTE);
        assert_eq!(wait(place.path(), every, DAY), Duration::ZERO);
        put(place.path(), &name(1), DAY - 20 * MINUTE);
        assert_eq!(wait(place.path(), every, DAY), Duration::from_mins(40));
        put(place.path(), &name(2), DAY + MINUTE);
        assert_eq!(wait(place.path(), every, DAY), every);
    }

    #[test]
    fn what_a_crash_left_is_removed_and_what_is_being_written_is_not() {
        let place = tempfile::tempdir().unwrap();
        let part = |at: Millis| format!("{}.part", name(at));
        put(place.path(), &part(1), DAY - 2 * PART_STALE_MS);
        put(place.path(), &format!("{}-journal", part(2)), DAY + 2 * PART_STALE_MS);
        put(place.path(), &part(3), DAY - MINUTE);
        put(place.path(), &name(4), 0);
        put(place.path(), "mine.backup.part", 0);
        sweep(place.path(), DAY).unwrap();
        assert_eq!(left(place.path()), [part(3), name(4), "mine.backup.part".to_owned()]);
    }
}
