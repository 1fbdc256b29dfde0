//! Room for the journal. A full disk would end the daemon in the middle of a failover, so before that nothing new is
//! begun; what is under way is still recorded. It goes on by itself once there is room.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall_recovery::codes;

use crate::engine::Engine;

/// A second's writing is far below any sensible reserve.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn watch(engine: Arc<Engine>) {
    loop {
        look(&engine);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sets or lifts the pause.
pub(crate) fn look(engine: &Engine) {
    let config = engine.config.now();
    let shortage = shortage(&config.data, config.min_free_mb);
    let before = engine.shortage();
    match (&before, &shortage) {
        (None, Some(why)) => tracing::error!(code = codes::DISK_LOW, why, "nothing new is begun"),
        (Some(_), None) => tracing::info!("there is room again; work goes on"),
        _ => {}
    }
    engine.set_shortage(shortage);
}

fn shortage(data: &Path, wanted_mb: u64) -> Option<String> {
    match rustix::fs::statvfs(data) {
        Ok(space) => {
            let free_mb = (space.f_bavail.saturating_mul(space.f_frsize)) >> 20;
            (free_mb < wanted_mb).then(|| {
                format!(
                    "{} has {free_mb} MiB left, and `min-free-mb` is {wanted_mb} ({})",
                    data.display(),
                    codes::DISK_LOW
                )
            })
        }
        // A disk that cannot be asked is found out by the next commit.
        Err(error) => {
            tracing::warn!(%error, "the free space cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_compared_with_what_is_wanted() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(shortage(place.path(), 0), None);
        assert!(shortage(place.path(), u64::MAX).unwrap().contains("LF0509"));
        assert_eq!(shortage(Path::new("/nowhere/at/all"), 1), None);
    }
}
