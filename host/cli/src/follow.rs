//! Watches a job until it is over, needs a person, or the user has seen enough. The job does not know that it is
//! watched: leaving changes nothing, and a watcher that comes back sees everything from where it left.

mod bars;
mod progress;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use landfall_daemon::api::wire::{EventView, JobView};
use serde_json::json;

use crate::client::Client;
use crate::client::events::{Message, Parser};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Output};
use crate::render;
use bars::Bars;
use progress::{Progress, ProgressEvent};

/// A daemon that restarts is back within seconds; after two minutes somebody has to look at it.
const PATIENCE: Duration = Duration::from_mins(2);

/// Between attempts to reach it again.
const RECONNECT: Duration = Duration::from_secs(1);

/// A step gets stuck and the next begins in the same moment; only after this long without one the job waits.
const SETTLE: Duration = Duration::from_millis(500);

/// A daemon that begins a job's step again says so; one that took the whole job from a backup, or lost what it was told,
/// may say nothing. So a job that is silent is asked for now and then, whatever its steps seem to do.
const DOUBT: Duration = Duration::from_secs(5);

/// Version of the lines that `-o jsonl` prints.
const UI_VERSION: &str = "1.0";

/// How the watching ended.
enum End {
    /// The job is over, or waits for a person.
    Rests(Box<JobView>),
    /// The user left.
    Detached,
}

/// Why one connection's watching ended.
enum Pause {
    Rests(Box<JobView>),
    /// The stream ended before the job did.
    Cut,
}

/// Watches a job, prints what came of it, and gives the exit code that fits.
pub(crate) async fn job(client: &Client, id: &str, out: Output) -> Result<Exit, Failure> {
    let job: JobView = client.get(&["jobs", id]).await?;
    let mut view = View::new(out, &job)?;
    let mut progress = Progress::new(&job);
    let end = tokio::select! {
        end = watch(client, id, &mut progress, &mut view) => end,
        _ = tokio::signal::ctrl_c() => Ok(End::Detached),
    };
    view.close();
    match end? {
        End::Rests(job) => finish(&job, out),
        End::Detached => {
            output::say(&format!(
                "detached: job {id} goes on\n  follow it:  landfall job watch {id}\n  cancel it:  landfall job cancel \
                 {id} --reason WHY"
            ));
            Ok(Exit::Detached)
        }
    }
}

/// Prints a job that rests.
fn finish(job: &JobView, out: Output) -> Result<Exit, Failure> {
    match out.format {
        Format::Text => output::write(&render::summary(job))?,
        Format::Json => out.one(job, String::new)?,
        Format::Jsonl => output::write(&format!("{}\n", json!({"type": "job", "job": job})))?,
    }
    if job.status == "stuck" {
        output::say(render::stuck(job).trim_end());
    } else {
        out.note(&progress::ending(job));
    }
    Ok(Exit::of_job(&job.status))
}

/// Survives lost connections; dropping it at any point harms nothing.
async fn watch(client: &Client, id: &str, progress: &mut Progress, view: &mut View) -> Result<End, Failure> {
    let mut seen: Option<String> = None;
    let mut lost: Option<Instant> = None;
    loop {
        match connected(client, id, progress, view, &mut seen, &mut lost).await {
            Ok(Pause::Rests(job)) => return Ok(End::Rests(job)),
            Ok(Pause::Cut) | Err(Failure::Unreachable { .. }) => {}
            Err(failure) => return Err(failure),
        }
        let since = *lost.get_or_insert_with(|| {
            view.say("the connection to the daemon is lost; the job does not need it; trying again");
            Instant::now()
        });
        if since.elapsed() > PATIENCE {
            return Err(Failure::Lost { job: id.to_owned() });
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Watches over one connection.
async fn connected(
    client: &Client,
    id: &str,
    progress: &mut Progress,
    view: &mut View,
    seen: &mut Option<String>,
    lost: &mut Option<Instant>,
) -> Result<Pause, Failure> {
    let mut stream = client.events(id, seen.as_deref()).await?.bytes_stream();
    if lost.take().is_some() {
        view.say("connected again");
    }
    let mut parser = Parser::default();
    let mut asked: Option<Instant> = None;
    loop {
        let bytes = match tokio::time::timeout(SETTLE, stream.next()).await {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(Some(Err(_)) | None) => return Ok(rest(client, id).await?.map_or(Pause::Cut, Pause::Rests)),
            // Nothing happened for a while: either something takes its time, or the job waits for a person.
            Err(_) if progress.may_rest() || asked.is_none_or(|asked| asked.elapsed() > DOUBT) => {
                asked = Some(Instant::now());
                match rest(client, id).await? {
                    Some(job) => return Ok(Pause::Rests(job)),
                    None => continue,
                }
            }
            Err(_) => continue,
        };
        for message in parser.feed(&bytes) {
            seen.clone_from(&message.id);
            take(&message, progress, view)?;
        }
    }
}

/// The job, if nothing will happen to it without a person.
async fn rest(client: &Client, id: &str) -> Result<Option<Box<JobView>>, Failure> {
    let job: JobView = client.get(&["jobs", id]).await?;
    // A job counts as stuck only while none of its steps runs or will by itself.
    let rests = job.ended_at.is_some() || job.status == "stuck";
    Ok(rests.then(|| Box::new(job)))
}

fn take(message: &Message, progress: &mut Progress, view: &mut View) -> Result<(), Failure> {
    let unread = |error: serde_json::Error| Failure::Internal(format!("an event cannot be read: {error}"));
    match message.event.as_str() {
        "progress" => {
            let event: ProgressEvent = serde_json::from_str(&message.data).map_err(unread)?;
            view.line("progress", &event)?;
            progress.report(&event);
        }
        "record" => {
            let event: EventView = serde_json::from_str(&message.data).map_err(unread)?;
            view.line("event", &event)?;
            if let Some(words) = progress.apply(&event) {
                view.step(&event, &words);
            }
        }
        // Kinds of event that a later daemon may add.
        _ => {}
    }
    view.show(progress);
    Ok(())
}

/// How the user watches.
enum View {
    /// Only the end counts.
    Silent,
    /// A line for every change, on stderr.
    Lines,
    /// On a terminal.
    Bars(Box<Bars>),
    /// A JSON line for every event, on stdout.
    Json,
}

impl View {
    fn new(out: Output, job: &JobView) -> Result<Self, Failure> {
        if out.format == Format::Jsonl {
            output::write(&format!("{}\n", json!({"type": "version", "ui": UI_VERSION})))?;
            return Ok(Self::Json);
        }
        Ok(match (out.quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bars(Box::new(Bars::new(job))),
            (false, false) => Self::Lines,
        })
    }

    /// One event, for programs.
    fn line<T: serde::Serialize>(&self, kind: &str, event: &T) -> io::Result<()> {
        match self {
            Self::Json => output::write(&format!("{}\n", json!({"type": kind, kind: event}))),
            Self::Silent | Self::Lines | Self::Bars(_) => Ok(()),
        }
    }

    /// What became of a step, for people.
    fn step(&self, event: &EventView, words: &str) {
        match self {
            Self::Lines => output::say(words),
            // What begins has a line of its own below.
            Self::Bars(bars) if event.event != "intent" => bars.say(words),
            Self::Bars(_) | Self::Silent | Self::Json => {}
        }
    }

    fn show(&mut self, progress: &Progress) {
        if let Self::Bars(bars) = self {
            bars.show(progress);
        }
    }

    /// Something about the watching, not about the job.
    fn say(&self, words: &str) {
        match self {
            Self::Bars(bars) => bars.say(words),
            Self::Lines | Self::Json | Self::Silent => output::say(words),
        }
    }

    fn close(&self) {
        if let Self::Bars(bars) = self {
            bars.close();
        }
    }
}
