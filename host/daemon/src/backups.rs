//! Backups by the clock: an operator who must ask for them has none on the worst day of the year.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use jiff::Timestamp;

use crate::clock;
use crate::engine::Engine;

/// What a scheduled backup is called, so that nothing else in the directory is ever removed.
const PREFIX: &str = "landfall-";
const SUFFIX: &str = ".backup";

pub(crate) async fn run(engine: Arc<Engine>) {
    let Some(config) = engine.config.now().backup.clone() else {
        return;
    };
    let mut turn = tokio::time::interval(Duration::from_mins(config.every_minutes.get()));
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

fn make(data: &Path, directory: &Path, keep: usize) -> Result<String, String> {
    let io = |error: io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(io)?;
    let file = directory.join(name(clock::now()));
    landfall_store::backup(data, &file).map_err(|error| crate::words(&error))?;
    prune(directory, keep).map_err(io)?;
    Ok(file.display().to_string())
}

/// Sorts by time.
fn name(now: u64) -> String {
    let at = i64::try_from(now)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or_default().strftime("%Y%m%dT%H%M%S%3fZ");
    format!("{PREFIX}{at}{SUFFIX}")
}

/// Only after a new one is there.
fn prune(directory: &Path, keep: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            files.push(entry.path());
        }
    }
    files.sort();
    let old = files.len().saturating_sub(keep);
    files.iter().take(old).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_backups_are_removed() {
        let place = tempfile::tempdir().unwrap();
        for day in 1..=4 {
            fs::write(place.path().join(name(day * 86_400_000)), "").unwrap();
        }
        fs::write(place.path().join("notes.txt"), "").unwrap();
        prune(place.path(), 2).unwrap();
        let mut left: Vec<String> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let days = [
            "landfall-19700104T000000000Z.backup",
            "landfall-19700105T000000000Z.backup",
            "notes.txt",
        ];
        assert_eq!(left, days);
    }
}
