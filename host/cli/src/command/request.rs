//! What the commands that start a job share: who it is about, and what follows the start.

use std::io::BufRead;

use clap::Args;
use landfall_daemon::api::wire::{JobRequest, JobView};
use landfall_recovery::codes;
use landfall_recovery::words::Direction;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{follow, output, render, style};

/// A plan, some machines of it, or machines without a plan.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// A plan's name, or `item/NAME` for a machine without a plan
    #[arg(
        value_name = "PLAN|item/NAME",
        required_unless_present = "item",
        conflicts_with = "item"
    )]
    name: Option<String>,
    /// A machine without a plan; may be given more than once
    #[arg(long, value_name = "ITEM")]
    item: Vec<String>,
    /// Of the plan only this machine; may be given more than once
    #[arg(long, value_name = "ITEM", conflicts_with = "item")]
    only: Vec<String>,
    /// Leave this machine out; may be given more than once
    #[arg(long, value_name = "ITEM")]
    exclude: Vec<String>,
    /// `forward` or `reverse`, where machines of the plan would go different ways; the others are left out
    #[arg(long, value_name = "DIRECTION", value_parser = direction)]
    direction: Option<Direction>,
}

pub(super) fn direction(text: &str) -> Result<Direction, String> {
    match text {
        "forward" => Ok(Direction::Forward),
        "reverse" => Ok(Direction::Reverse),
        _ => Err("write `forward` or `reverse`".to_owned()),
    }
}

/// What the adapters are told beside the inventory.
#[derive(Debug, Default, Args)]
pub(super) struct Settings {
    /// Option for the adapters, instead of the inventory's; the adapter's page lists them
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::failover::pair)]
    set: Vec<(String, String)>,
}

/// A name that is typed where something may be lost for good.
#[derive(Debug, Default, Args)]
pub(super) struct Typed {
    /// The plan's or machine's name, as a deliberate act, where this deletes or gives up what may be the only copy
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

impl Typed {
    pub(super) fn apply(self, request: JobRequest) -> JobRequest {
        JobRequest {
            confirm: self.confirm,
            ..request
        }
    }
}

impl Settings {
    pub(super) fn apply(self, request: JobRequest) -> JobRequest {
        JobRequest {
            set: self.set.into_iter().collect(),
            ..request
        }
    }
}

impl Subject {
    /// A request for it.
    pub(super) fn request(&self, operation: &str) -> Result<JobRequest, Failure> {
        let item = self.name.as_deref().and_then(|name| name.strip_prefix("item/"));
        let (plan, items) = match (&self.name, item) {
            (_, Some(_)) if !self.only.is_empty() => {
                return Err(Failure::Usage(
                    "`--only` chooses among the machines of a plan".to_owned(),
                ));
            }
            (_, Some(item)) => (None, vec![item.to_owned()]),
            (Some(plan), None) => (Some(plan.clone()), self.only.clone()),
            (None, None) => (None, self.item.clone()),
        };
        Ok(JobRequest {
            operation: operation.to_owned(),
            plan,
            items,
            exclude: self.exclude.clone(),
            direction: self.direction,
            ..JobRequest::default()
        })
    }
}

/// How the command goes on after the job has started.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Only show what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not follow the job, only print it
    #[arg(long)]
    detach: bool,
}

impl Start {
    /// Starts the job and follows it to its end, or shows what it would do.
    pub(super) async fn run(&self, context: &Context, mut request: JobRequest) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        request.dry_run = self.dry_run;
        let mut answer = client.post(&["jobs"], &request).await;
        if let Err(Failure::Problem(problem)) = &answer
            && problem.code == codes::NOT_CONFIRMED
            && request.confirm.is_none()
            && context.asks
        {
            // Only the daemon knows whether this is one of the cases that want it.
            output::say(&problem.detail);
            output::say(render::findings(&problem.findings).trim_end());
            request.confirm = Some(ask("Type its name to go on:")?);
            answer = client.post(&["jobs"], &request).await;
        }
        let job: JobView = answer?;
        if self.dry_run {
            out.one(&job, || render::dry_run(&job, out.verbose > 0))?;
            return Ok(Exit::Ok);
        }
        out.note(&format!("job {}: {} of {}", job.id, job.operation, job.plan));
        if !job.findings.is_empty() {
            out.note(render::findings(&job.findings).trim_end());
        }
        if self.detach {
            out.one(&job, || format!("{}\n", job.id))?;
            out.note(&format!(
                "{}: `landfall job watch {}` follows it",
                style::hint("hint"),
                job.id
            ));
            return Ok(Exit::Ok);
        }
        follow::job(&client, &job.id, out).await
    }
}

/// Asks a person. What was typed is checked by the daemon, as for everybody else.
pub(super) fn ask(question: &str) -> Result<String, Failure> {
    output::say(question);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: Option<&str>, item: &[&str], only: &[&str]) -> Subject {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Subject {
            name: name.map(str::to_owned),
            item: owned(item),
            only: owned(only),
            exclude: Vec::new(),
            direction: None,
        }
    }

    #[test]
    fn f04_one_machine_needs_no_plan() {
        let request = subject(Some("item/hr-db-1"), &[], &[]).request("test").unwrap();
        assert_eq!((request.plan, request.items), (None, vec!["hr-db-1".to_owned()]));
        let request = subject(None, &["a", "b"], &[]).request("test").unwrap();
        assert_eq!((request.plan, request.items.len()), (None, 2));
        let request = subject(Some("hrweb"), &[], &["hr-db-1"]).request("test").unwrap();
        assert_eq!((request.plan.as_deref(), request.items.len()), (Some("hrweb"), 1));
        assert!(subject(Some("item/a"), &[], &["b"]).request("test").is_err());
    }
}
