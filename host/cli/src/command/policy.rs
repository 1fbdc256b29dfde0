//! `landfall policy`: what recovery-point policies offer, what they decided, and what they would have decided (X05).

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use landfall_daemon::api::wire::{PluginView, ReplayRequest, RetainRequest, VerdictView};
use landfall_daemon::replay::{Otherwise, PolicyDecision, Replayed, replay};
use landfall_recovery::words::{Pairs, span};
use landfall_runtime::{Binding, Grants, Limits, Policy, Runtime, RuntimeOptions};

use super::{Context, read_file};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the policies with their choices
    List,
    /// List the decisions that policies made; `--output jsonl` gives the input of `replay`
    Decisions {
        /// Only of this job
        job: Option<String>,
    },
    /// Let a policy decide again, over recorded decisions or an item's points: which point would it have chosen?
    ///
    /// Without another policy, version, choice or parameter the very version that decided is asked again. It must decide
    /// the same: if it does not, the command ends with exit code 3.
    Replay(Box<Replay>),
    /// Show which of an item's points a policy would keep; nothing is deleted
    Retain {
        /// The item
        item: String,
        /// Another policy than the item's
        #[arg(long)]
        policy: Option<String>,
        /// Another retention than the inventory's, as `36h`
        #[arg(long, value_parser = span)]
        keep: Option<u64>,
        /// As if it were then, as `2026-11-22T03:00:00Z`
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Decisions of this job [default: all recorded decisions]
    #[arg(long, conflicts_with_all = ["item", "input"])]
    job: Option<String>,
    /// An item's present points, as an unplanned failover would ask
    #[arg(long, conflicts_with = "input")]
    item: Option<String>,
    /// With `--item`: as if it were then, as `2026-11-22T03:00:00Z`
    #[arg(long, value_name = "TIME", requires = "item")]
    at: Option<Timestamp>,
    /// Decisions as `landfall policy decisions --output jsonl` printed them; `-` for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Ask this policy instead of the one that decided
    #[arg(long, conflicts_with = "plugin")]
    policy: Option<String>,
    /// Ask this version of it
    #[arg(long, requires = "policy")]
    digest: Option<String>,
    /// Ask the policy in this directory, without a daemon
    #[arg(long, value_name = "DIRECTORY", requires = "input")]
    plugin: Option<PathBuf>,
    /// Ask for this choice instead
    #[arg(long)]
    choice: Option<String>,
    /// A parameter of the choice, as NAME=VALUE
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let out = context.out;
        match self {
            Self::List => {
                let plugins: Vec<PluginView> = context.client()?.get(&["plugins"]).await?;
                let mut policies = Vec::new();
                for plugin in plugins {
                    if plugin.kind.as_deref() == Some("recovery-point-policy") {
                        // The list has no choices: the policy itself is asked for them.
                        policies.push(context.client()?.get::<PluginView>(&["plugins", &plugin.name]).await?);
                    }
                }
                out.many(&policies, "no policy serves", || render::policies(&policies))?;
            }
            Self::Decisions { job } => {
                let query: Vec<_> = job.into_iter().map(|job| ("job", job)).collect();
                let decisions: Vec<PolicyDecision> =
                    context.client()?.get_where(&["policies", "decisions"], &query).await?;
                let none = "no decision is recorded yet: a job records one for each choice of a point";
                out.many(&decisions, none, || render::decisions(&decisions))?;
            }
            Self::Replay(replay) => return replay.run(context).await,
            Self::Retain { item, policy, keep, at } => {
                let request = RetainRequest {
                    item,
                    policy,
                    keep_ms: keep,
                    at_ms: at.map(milliseconds).transpose()?,
                };
                let verdicts: Vec<VerdictView> = context.client()?.post(&["policies", "retain"], &request).await?;
                out.many(&verdicts, "the item has no points", || render::verdicts(&verdicts))?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn milliseconds(time: Timestamp) -> Result<u64, Failure> {
    u64::try_from(time.as_millisecond()).map_err(|_| Failure::Usage(format!("{time} is before 1970")))
}

impl Replay {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let decisions = match &self.input {
            Some(path) => read_decisions(path)?,
            None => Vec::new(),
        };
        let as_it_was =
            self.policy.is_none() && self.plugin.is_none() && self.choice.is_none() && self.params.is_empty();
        let otherwise = Otherwise {
            choice: self.choice,
            params: self.params.into_iter().collect::<Pairs>(),
        };
        let rows = if let Some(directory) = &self.plugin {
            offline(directory, &decisions, &otherwise).await?
        } else {
            let request = ReplayRequest {
                policy: self.policy,
                digest: self.digest,
                job: self.job,
                item: self.item.clone(),
                at_ms: self.at.map(milliseconds).transpose()?,
                decisions,
                otherwise,
            };
            context.client()?.post(&["policies", "replay"], &request).await?
        };
        let none = "no decision is recorded yet: a job records one for each choice of a point";
        context.out.many(&rows, none, || render::replayed(&rows))?;
        let other = rows.iter().filter(|row| !row.same).count();
        if self.item.is_some() {
            return Ok(Exit::Ok);
        }
        context
            .out
            .note(&format!("{} of {} would go to another point", other, rows.len()));
        // The same version, the same input, another answer: it decides by something else than its input.
        let broken = as_it_was && other > 0;
        Ok(if broken { Exit::JobFailed } else { Exit::Ok })
    }
}

/// One decision a line, or a list of them.
fn read_decisions(path: &Path) -> Result<Vec<PolicyDecision>, Failure> {
    let (name, text) = read_file(path)?;
    let refused = |line: usize, error: serde_json::Error| {
        Failure::Usage(format!(
            "{name}, line {line}: this is no recorded decision: {error}; make the file with `landfall policy decisions \
             --output jsonl`"
        ))
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(|error| refused(error.line(), error));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| serde_json::from_str(line).map_err(|error| refused(index + 1, error)))
        .collect()
}

/// With a runtime of our own: a policy needs no host but that.
async fn offline(
    directory: &Path,
    decisions: &[PolicyDecision],
    otherwise: &Otherwise,
) -> Result<Vec<Replayed>, Failure> {
    let place = tempfile::tempdir()?;
    let internal = |error: &dyn std::error::Error| Failure::Internal(error.to_string());
    let runtime = Runtime::new(RuntimeOptions::new(place.path())).map_err(|error| internal(&error))?;
    let plugin = runtime.load(directory).await.map_err(|error| {
        Failure::Usage(format!(
            "{}: the policy does not load ({}): {error}",
            directory.display(),
            error.code()
        ))
    })?;
    let label = plugin.name().to_owned();
    let binding = Binding::new(
        &runtime,
        plugin,
        label,
        std::sync::Arc::default(),
        Grants::default(),
        Limits::default(),
    );
    let policy = binding
        .and_then(Policy::new)
        .map_err(|error| Failure::Usage(format!("{}: {error} ({})", directory.display(), error.code())))?;
    let mut rows = Vec::new();
    for decision in decisions {
        rows.extend(replay(&policy, decision, otherwise).await);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_pairs_are_read() {
        assert_eq!(span("36h"), Ok(36 * 3_600_000));
        assert!(span("-1h").is_err() && span("soon").is_err());
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err());
    }

    #[test]
    fn a_file_that_holds_no_decisions_names_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n{\"job\": 1}\n").unwrap();
        let Err(Failure::Usage(text)) = read_decisions(file.path()) else {
            panic!()
        };
        assert!(text.contains("line 2"), "{text}");
    }
}
