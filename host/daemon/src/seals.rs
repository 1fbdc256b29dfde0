//! Signs the journal's heads: at start, so that what was open then is known to have been; and once a day.

use std::sync::Arc;
use std::time::Duration;

use landfall_store::Batch;

use crate::clock;
use crate::engine::Engine;

/// A job that runs for days is anchored each day.
const EVERY: Duration = Duration::from_hours(24);

pub(crate) async fn run(engine: Arc<Engine>) {
    let mut day = tokio::time::interval(EVERY);
    loop {
        day.tick().await;
        let mut batch = Batch::new();
        batch.seal(None, clock::now());
        if engine.commit(batch).await.is_err() {
            // The engine has said so and ends the daemon.
            return;
        }
    }
}
