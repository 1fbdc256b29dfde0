//! Live events. The stream's ids are journal numbers, so a client that lost its connection goes on where it was, and
//! a slow one is caught up from the store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as Frame, KeepAlive};
use futures_util::Stream;
use landfall_recovery::event::Event;
use landfall_recovery::freeze::Frozen;
use landfall_store::Stored;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Shared;
use super::wire::{EventView, Problem};
use crate::engine::{Engine, Signal};
use crate::problem::Refusal;
use crate::views;

/// Records read from the store at once.
const BATCH: u32 = 500;
/// Frames that a client may be behind before its stream waits for it.
const QUEUE: usize = 64;

/// A job's events, from `Last-Event-ID` or its start, until it ends.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/events", params(("job" = String, Path), ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = EventView), (status = 404, body = Problem)))]
pub(super) async fn of_job(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Frame, Infallible>>>, Refusal> {
    if shared.engine.store.reader().job(&id)?.is_none() {
        return Err(Refusal::unknown_job(format!("there is no job {id}")));
    }
    let after = last_event(&headers).unwrap_or(0);
    Ok(stream(&shared.engine, Some(id), after))
}

/// The events of all jobs, from `Last-Event-ID` or from now on.
#[utoipa::path(get, path = "/api/v1/events", params(("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = EventView)))]
pub(super) async fn all(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Frame, Infallible>>>, Refusal> {
    let after = match last_event(&headers) {
        Some(after) => after,
        None => shared.engine.store.reader().last_seq()?,
    };
    Ok(stream(&shared.engine, None, after))
}

fn last_event(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

fn stream(
    engine: &Arc<Engine>,
    job: Option<String>,
    after: u64,
) -> Sse<impl Stream<Item = Result<Frame, Infallible>> + use<>> {
    let (frames, waiting) = mpsc::channel(QUEUE);
    let follower = Follower {
        engine: Arc::clone(engine),
        job,
        after,
        frames,
        frozen: None,
    };
    // Subscribed before the store is read, so that nothing falls between.
    let signals = engine.events.subscribe();
    tokio::spawn(follower.run(signals));
    Sse::new(ReceiverStream::new(waiting)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

struct Follower {
    engine: Arc<Engine>,
    job: Option<String>,
    after: u64,
    frames: mpsc::Sender<Result<Frame, Infallible>>,
    /// The graph that names the steps of the records that are being sent.
    frozen: Option<Arc<Frozen>>,
}

impl Follower {
    /// Ends when the client goes, or with the job.
    async fn run(mut self, mut signals: broadcast::Receiver<Signal>) {
        loop {
            match self.catch_up().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "events cannot be read");
                    return;
                }
            }
            match signals.recv().await {
                Ok(Signal::Committed) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Ok(Signal::Note {
                    job,
                    step,
                    percent,
                    note,
                }) => {
                    if self.job.as_ref().is_none_or(|wanted| *wanted == job) {
                        let data = serde_json::json!({ "job": job, "step": step, "percent": percent, "note": note });
                        if self
                            .frames
                            .send(Ok(Frame::default().event("progress").data(data.to_string())))
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                }
                Ok(Signal::Rpo {
                    item,
                    rpo_ms,
                    target_ms,
                    missed,
                }) => {
                    if self.job.is_some() {
                        continue;
                    }
                    let data = serde_json::json!({ "item": item, "rpo-ms": rpo_ms, "rpo-target-ms": target_ms, "missed": missed });
                    let frame = Frame::default().event("rpo").data(data.to_string());
                    if self.frames.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Sends what is committed and was not sent. False: the client is gone, or the job has ended.
    async fn catch_up(&mut self) -> Result<bool, landfall_store::StoreError> {
        loop {
            let records = self
                .engine
                .store
                .reader()
                .after(self.after, self.job.as_deref(), BATCH)?;
            if records.is_empty() {
                return Ok(true);
            }
            for stored in records {
                self.after = stored.seq;
                let ended = self.job.is_some() && matches!(stored.record.event, Event::Ended { .. });
                let Some(frame) = self.frame(&stored)? else { continue };
                if self.frames.send(Ok(frame)).await.is_err() {
                    return Ok(false);
                }
                if ended && !self.engine.jobs().contains_key(&stored.job) {
                    return Ok(false);
                }
            }
        }
    }

    fn frame(&mut self, stored: &Stored) -> Result<Option<Frame>, landfall_store::StoreError> {
        if self.frozen.as_ref().is_none_or(|frozen| frozen.job != stored.job) {
            let running = self
                .engine
                .jobs()
                .get(&stored.job)
                .map(|handle| Arc::clone(&handle.job().frozen));
            self.frozen = match running {
                Some(frozen) => Some(frozen),
                None => self.engine.store.reader().frozen(&stored.job)?.map(Arc::new),
            };
        }
        let Some(frozen) = &self.frozen else { return Ok(None) };
        let view = views::event(&frozen.graph.steps, &stored.job, stored.seq, &stored.record);
        let data = serde_json::to_string(&view).unwrap_or_default();
        Ok(Some(
            Frame::default().event("record").id(stored.seq.to_string()).data(data),
        ))
    }
}
