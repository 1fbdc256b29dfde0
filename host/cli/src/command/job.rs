//! `landfall job`: follows jobs, and takes the decisions that only a person can take.

use std::io::BufRead;

use clap::{Args, Subcommand};
use landfall_daemon::api::wire::{DecisionRequest, JobView, Page, RecordedView};
use landfall_harness::{CallFacts, Recorded, recorded};

use super::Context;
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Output};
use crate::{follow, render, style};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs, newest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Only jobs older than this one
        #[arg(long, value_name = "JOB")]
        before: Option<String>,
    },
    /// Show a job with its machines and steps
    Show {
        /// The job
        job: String,
    },
    /// Print what a step sent to a plugin, as the beginning of a test case of that plugin
    Record {
        /// The job
        job: String,
        /// The step, as `job show` lists it
        step: String,
    },
    /// Follow a job live, from its start
    Watch {
        /// The job
        job: String,
    },
    /// Wait until a job is over or needs a person; says nothing until then
    Wait {
        /// The job
        job: String,
    },
    /// Print the graph of a job's steps
    Graph {
        /// The job
        job: String,
        /// In Graphviz's language
        #[arg(long)]
        dot: bool,
    },
    /// Try stuck or failed steps again; a job that failed is opened again
    Retry {
        /// The job
        job: String,
        /// Steps; none: all that are stuck or failed
        steps: Vec<String>,
        #[command(flatten)]
        decision: Optional,
    },
    /// Go on without a step; for a step in doubt: it did happen
    Skip {
        /// The job
        job: String,
        /// The step
        step: String,
        #[command(flatten)]
        decision: Reasoned,
    },
    /// Vouch that a source is off, where nobody can prove it
    Attest {
        /// The job
        job: String,
        /// The step that waits for the proof
        step: String,
        #[command(flatten)]
        decision: Reasoned,
    },
    /// Answer a gate, or a pause: the job goes on, or the gate fails
    Answer {
        /// The job
        job: String,
        /// The step that waits for an answer
        step: String,
        /// Go on
        #[arg(long, conflicts_with = "refuse", required_unless_present = "refuse")]
        approve: bool,
        /// Do not; wants a reason
        #[arg(long, requires = "reason")]
        refuse: bool,
        /// Why; kept in the journal
        #[arg(long, value_name = "WHY", default_value = "", hide_default_value = true)]
        reason: String,
        /// Do not follow the job
        #[arg(long)]
        detach: bool,
    },
    /// Go on with another version of a plugin, where the pinned one was revoked or is gone
    Repin {
        /// The job
        job: String,
        /// A step that calls the plugin; all pins of the version that it calls change
        #[arg(required_unless_present = "all")]
        step: Option<String>,
        /// Instead of a step: every step that waits for its plugin
        #[arg(long, conflicts_with = "step")]
        all: bool,
        /// The version: its digest, or at least 12 digits of it
        #[arg(long, value_name = "DIGEST")]
        to: String,
        #[command(flatten)]
        decision: Reasoned,
    },
    /// Let a job have what was granted since it began, and try again what failed
    Regrant {
        /// The job
        job: String,
        #[command(flatten)]
        decision: Reasoned,
    },
    /// Start nothing new, and end when what runs is over
    Cancel {
        /// The job
        job: String,
        /// Why; kept in the journal
        #[arg(long, alias = "why", value_name = "WHY")]
        reason: String,
    },
    /// Give a job up as it is, and unlock its machines
    Abandon {
        /// The job
        job: String,
        /// Why; kept in the journal
        #[arg(long, alias = "why", value_name = "WHY")]
        reason: String,
    },
}

/// A decision that may go without a reason.
#[derive(Debug, Args)]
pub(super) struct Optional {
    /// Why; kept in the journal
    #[arg(long, alias = "why", value_name = "WHY", default_value = "")]
    reason: String,
    /// Do not follow the job afterwards
    #[arg(long)]
    detach: bool,
}

/// A decision that wants a reason.
#[derive(Debug, Args)]
pub(super) struct Reasoned {
    /// Why; kept in the journal
    #[arg(long, alias = "why", value_name = "WHY")]
    reason: String,
    /// Do not follow the job afterwards
    #[arg(long)]
    detach: bool,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List { limit, before } => list(&client, out, limit, before).await,
            Self::Show { job } => {
                let job: JobView = client.get(&["jobs", &job]).await?;
                out.one(&job, || render::job(&job))?;
                Ok(Exit::Ok)
            }
            Self::Record { job, step } => {
                let view: RecordedView = client.get_where(&["jobs", &job, "recorded"], &[("step", step)]).await?;
                let text = case(&view)?;
                out.one(&view, || text)?;
                Ok(Exit::Ok)
            }
            Self::Watch { job } => follow::job(&client, &job, out).await,
            Self::Wait { job } => follow::job(&client, &job, Output { quiet: true, ..out }).await,
            Self::Graph { job, dot } => graph(&client, out, &job, dot).await,
            Self::Retry {
                job,
                steps,
                decision: Optional { reason, detach },
            } => {
                let request = DecisionRequest {
                    steps,
                    reason,
                    ..DecisionRequest::default()
                };
                decide(&client, out, "retry", &job, request, detach).await
            }
            Self::Repin {
                job,
                step,
                all: _,
                to,
                decision: Reasoned { reason, detach },
            } => {
                let request = DecisionRequest {
                    steps: step.into_iter().collect(),
                    reason,
                    to: Some(to),
                    ..DecisionRequest::default()
                };
                decide(&client, out, "repin", &job, request, detach).await
            }
            Self::Regrant {
                job,
                decision: Reasoned { reason, detach },
            } => {
                let request = DecisionRequest {
                    steps: Vec::new(),
                    reason,
                    ..DecisionRequest::default()
                };
                decide(&client, out, "regrant", &job, request, detach).await
            }
            Self::Skip {
                job,
                step,
                decision: Reasoned { reason, detach },
            } => {
                decide(
                    &client,
                    out,
                    "skip",
                    &job,
                    DecisionRequest {
                        steps: vec![step],
                        reason,
                        ..DecisionRequest::default()
                    },
                    detach,
                )
                .await
            }
            Self::Attest {
                job,
                step,
                decision: Reasoned { reason, detach },
            } => {
                decide(
                    &client,
                    out,
                    "attest",
                    &job,
                    DecisionRequest {
                        steps: vec![step],
                        reason,
                        ..DecisionRequest::default()
                    },
                    detach,
                )
                .await
            }
            Self::Answer {
                job,
                step,
                approve,
                refuse: _,
                reason,
                detach,
            } => {
                let decision = DecisionRequest {
                    steps: vec![step],
                    approve: Some(approve),
                    reason,
                    ..DecisionRequest::default()
                };
                decide(&client, out, "answer", &job, decision, detach).await
            }
            Self::Cancel { job, reason } => cancel(&client, context, &job, reason).await,
            Self::Abandon { job, reason } => {
                let decision = DecisionRequest {
                    steps: Vec::new(),
                    reason,
                    ..DecisionRequest::default()
                };
                decide(&client, out, "abandon", &job, decision, true).await
            }
        }
    }
}

async fn list(client: &Client, out: Output, limit: usize, before: Option<String>) -> Result<Exit, Failure> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(before.map(|before| ("before", before)));
    let page: Page<JobView> = client.get_where(&["jobs"], &query).await?;
    out.many(&page.items, "no jobs", || render::jobs(&page.items))?;
    if let Some(next) = page.next {
        out.note(&format!("older ones: landfall job list --before {next}"));
    }
    Ok(Exit::Ok)
}

async fn graph(client: &Client, out: Output, job: &str, dot: bool) -> Result<Exit, Failure> {
    let job: JobView = client.get(&["jobs", job]).await?;
    if dot {
        output::write(&render::dot(&job))?;
    } else {
        out.one(&job.steps, || render::graph(&job))?;
    }
    Ok(Exit::Ok)
}

/// Sends a decision, and follows what comes of it.
async fn decide(
    client: &Client,
    out: Output,
    action: &str,
    job: &str,
    decision: DecisionRequest,
    detach: bool,
) -> Result<Exit, Failure> {
    let view: JobView = client.post(&["jobs", job, action], &decision).await?;
    if !detach {
        return follow::job(client, job, out).await;
    }
    match out.format {
        Format::Text => out.note(&format!("job {job}: {}", style::status(&view.status))),
        Format::Json | Format::Jsonl => out.one(&view, String::new)?,
    }
    Ok(Exit::Ok)
}

/// A cancelled failover leaves machines as they are then, and replication stopped with it (F27): said first.
async fn cancel(client: &Client, context: &Context, job: &str, reason: String) -> Result<Exit, Failure> {
    let view: JobView = client.get(&["jobs", job]).await?;
    if view.operation.ends_with("-failover") && view.ended_at.is_none() {
        output::say(&format!(
            "{}: replication of the machines has stopped with the failover, and goes on only where the source still \
             runs; what was done stays done: a source that was switched off stays off, until `landfall \
             resume-protection` goes back to it, or `landfall job retry {job}` goes on",
            style::warning("warning")
        ));
        if context.asks && !agreed(job)? {
            output::say("nothing was cancelled");
            return Ok(Exit::Ok);
        }
    }
    let decision = DecisionRequest {
        steps: Vec::new(),
        reason,
        ..DecisionRequest::default()
    };
    let exit = decide(client, context.out, "cancel", job, decision, true).await?;
    context
        .out
        .note(&format!("`landfall job watch {job}` follows it to its end"));
    Ok(exit)
}

fn agreed(job: &str) -> Result<bool, Failure> {
    output::say(&format!("Cancel job {job}? Type yes:"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().eq_ignore_ascii_case("yes"))
}

/// A case of the plugin that the step called. What the network answers, and what must come of it, is its author's part.
fn case(view: &RecordedView) -> Result<String, Failure> {
    let about = format!(
        "as job {} called {} {} in step {}",
        view.job, view.plugin, view.version, view.step
    );
    let call = CallFacts {
        installation: view.installation.clone(),
        epoch: view.epoch,
        job: Some(view.job.clone()),
        step: view.step.clone(),
        attempt: view.attempt,
        key: view.key.clone(),
    };
    let step = Recorded {
        config: view.config.clone().into_iter().collect(),
        call,
        begun_ms: view.begun_at,
        sends: view.sends.clone(),
    };
    recorded(about, step).map_err(|why| Failure::Usage(format!("step {} is no test case: {why}", view.step)))
}
