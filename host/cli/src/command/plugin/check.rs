//! `landfall plugin check`: the conformance suite of the plugin's kind.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use landfall_harness::{CheckReport, Scratch, ScratchError, Suite, check, find, read, scratch};

use super::{Context, test};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(in crate::command) struct Check {
    /// Directory of the plugin: its crate or project, or a directory with `plugin.toml` and the component [default: the
    /// current one]
    directory: Option<PathBuf>,
    /// Take the component that is there; do not build
    #[arg(long)]
    no_build: bool,
    /// Directory with the author's cases, `*.toml` [default: `tests` beside `plugin.toml`]
    #[arg(long, value_name = "DIRECTORY")]
    cases: Option<PathBuf>,
    /// Draws the random inputs; a report prints its own
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A scratch site for an adapter: a TOML file with the keys of `[scratch]` [default: `[scratch]` of plugin.toml]
    #[arg(long, value_name = "FILE")]
    scratch: Option<PathBuf>,
    /// Write what went over the network to the scratch site, one JSON object a line
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = test::source(self.directory.as_deref())?;
        let directory = self.cases.clone().unwrap_or_else(|| source.join("tests"));
        if self.cases.is_some() && !directory.exists() {
            let filter = None;
            return Err(Failure::NoCases { directory, filter });
        }
        let mut cases = Vec::new();
        for file in find(&directory)? {
            cases.push((test::stem(&file), read(&file)?));
        }
        let built = test::built(&source, self.no_build)?;
        let scratch = self.scratch(&built)?;
        let installation = format!("check-{}", uuid::Uuid::new_v4().simple());
        let suite = Suite {
            cases: &cases,
            seed: self.seed,
            scratch: scratch.as_ref(),
            source: &source,
            installation: &installation,
        };
        let report = check(&test::home()?, &built, suite).await?;
        if let Some(file) = &self.record {
            record(file, &report)?;
        }
        context.out.one(&report, || report.to_string())?;
        Ok(if report.failed == 0 { Exit::Ok } else { Exit::JobFailed })
    }
    /// The operator's file, else the manifest's table.
    fn scratch(&self, built: &Path) -> Result<Option<Scratch>, Failure> {
        let file = self.scratch.clone().unwrap_or_else(|| built.join("plugin.toml"));
        let text = fs::read_to_string(&file).map_err(|source| Failure::File {
            action: "read",
            path: file.clone(),
            source,
        })?;
        let invalid = |why: String| Failure::Scratch(ScratchError::Invalid(format!("{}: {why}", file.display())));
        let table: serde_json::Value = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        let table = if self.scratch.is_some() {
            Some(&table)
        } else {
            table.get("scratch")
        };
        Ok(table.map(scratch).transpose()?)
    }
}

fn record(file: &Path, report: &CheckReport) -> Result<(), Failure> {
    let lines: Vec<String> = report
        .traffic
        .iter()
        .map(|one| serde_json::to_string(one).unwrap_or_default())
        .collect();
    fs::write(file, lines.join("\n") + "\n").map_err(|source| Failure::File {
        action: "write",
        path: file.to_owned(),
        source,
    })
}
