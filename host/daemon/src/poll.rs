//! Waiting for work at the far side: one task per adapter polls all its handles together, so that a thousand running
//! operations cost one call, and no instance waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use landfall_recovery::codes;
use landfall_recovery::words::Failure;
use landfall_runtime::Adapter;
use landfall_runtime::contract::types::Progress;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::contract::from_call_error;

/// Handles in one call: their answers stay far below the limit of a response.
const HANDLES_PER_CALL: usize = 500;
/// Handles that are due this soon are polled along, so that calls are few.
const TOGETHER: Duration = Duration::from_millis(5);
/// An adapter that names no time is asked ten times a second.
const POLL_AFTER_DEFAULT: Duration = Duration::from_millis(100);
/// A site that does not answer is asked again after this long, so that its return is noticed soon.
const UNREACHABLE: Duration = Duration::from_secs(1);

/// What is heard of a handle.
#[derive(Debug)]
pub(crate) enum Word {
    /// Over, or still running.
    Progress(Progress),
    /// The version that gave the handle cannot be called any more.
    Gone(Failure),
    /// The site could not be asked; the handle is asked for again.
    Silence(String),
}

/// The pollers that run, by site and digest.
#[derive(Default)]
pub(crate) struct Pollers {
    running: Mutex<HashMap<(String, String), mpsc::UnboundedSender<Watch>>>,
}

struct Watch {
    handle: String,
    poll_after_ms: u32,
    words: mpsc::UnboundedSender<Word>,
}

impl Pollers {
    /// Hears what becomes of a handle. The receiver's end is the end of interest.
    pub(crate) fn watch(&self, adapter: &Adapter, handle: String, poll_after_ms: u32) -> mpsc::UnboundedReceiver<Word> {
        let (words, heard) = mpsc::unbounded_channel();
        let binding = adapter.binding();
        let key = (binding.label().to_owned(), binding.plugin().digest().to_owned());
        let mut watch = Watch {
            handle,
            poll_after_ms,
            words,
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(poller) = running.get(&key) {
            match poller.send(watch) {
                Ok(()) => return heard,
                Err(returned) => watch = returned.0,
            }
        }
        let (poller, watches) = mpsc::unbounded_channel();
        // The task has just not started yet, so its end is open.
        let _ = poller.send(watch);
        tokio::spawn(run(adapter.clone(), watches));
        running.insert(key, poller);
        heard
    }
}

type Due = BTreeMap<(Instant, u64), Watch>;

async fn run(adapter: Adapter, mut watches: mpsc::UnboundedReceiver<Watch>) {
    let mut due: Due = BTreeMap::new();
    let mut serial = 0;
    let mut file = |due: &mut Due, watch: Watch, after: Duration| {
        serial += 1;
        due.insert((Instant::now() + after, serial), watch);
    };
    loop {
        let next = due.keys().next().map(|(at, _)| *at);
        let arrived = match next {
            None => match watches.recv().await {
                Some(watch) => Some(watch),
                None => return,
            },
            Some(at) => tokio::time::timeout_at(at, watches.recv()).await.ok().flatten(),
        };
        if let Some(watch) = arrived {
            let after = patience(watch.poll_after_ms);
            file(&mut due, watch, after);
            continue;
        }
        let later = due.split_off(&(Instant::now() + TOGETHER, 0));
        let mut now: Vec<Watch> = std::mem::replace(&mut due, later).into_values().collect();
        now.retain(|watch| !watch.words.is_closed());
        while !now.is_empty() {
            let batch = now.split_off(now.len().saturating_sub(HANDLES_PER_CALL));
            for (watch, after) in poll(&adapter, batch).await {
                file(&mut due, watch, after);
            }
        }
    }
}

/// Polls once and passes on what is heard; gives back those still to be watched, and for how long.
async fn poll(adapter: &Adapter, batch: Vec<Watch>) -> Vec<(Watch, Duration)> {
    let handles = batch.iter().map(|watch| watch.handle.clone()).collect();
    let mut answers: HashMap<String, Progress> = match adapter.poll_many(handles, 0).await {
        Ok(answers) => answers.into_iter().collect(),
        Err(error) => {
            let failure = from_call_error(&error);
            if codes::parks(&failure.code) {
                for watch in batch {
                    // As below.
                    let _ = watch.words.send(Word::Gone(failure.clone()));
                }
                return Vec::new();
            }
            for watch in &batch {
                // Whoever no longer listens is dropped at the next turn.
                let _ = watch.words.send(Word::Silence(failure.to_string()));
            }
            return batch.into_iter().map(|watch| (watch, UNREACHABLE)).collect();
        }
    };
    let mut again = Vec::new();
    for watch in batch {
        let answer = answers.remove(&watch.handle);
        let after = match &answer {
            Some(Progress::Running(running)) => Some(patience(running.poll_after_ms)),
            Some(Progress::Done(_) | Progress::Failed(_)) => None,
            None => Some(UNREACHABLE),
        };
        let word = match answer {
            Some(progress) => Word::Progress(progress),
            None => Word::Silence("the adapter gave no answer for this handle".to_owned()),
        };
        let heard = watch.words.send(word).is_ok();
        if let Some(after) = after.filter(|_| heard) {
            again.push((watch, after));
        }
    }
    again
}

fn patience(poll_after_ms: u32) -> Duration {
    if poll_after_ms == 0 {
        POLL_AFTER_DEFAULT
    } else {
        Duration::from_millis(u64::from(poll_after_ms))
    }
}
