//! `landfall plugin check`: the conformance suite of the plugin's kind.

use std::path::PathBuf;

use clap::Args;
use landfall_harness::{check, find, read};

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
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let source = self.directory.clone().unwrap_or_else(|| PathBuf::from("."));
        let directory = self.cases.clone().unwrap_or_else(|| source.join("tests"));
        let mut cases = Vec::new();
        for file in find(&directory)? {
            cases.push((test::stem(&file), read(&file)?));
        }
        let built = test::built(&source, self.no_build)?;
        let report = check(&test::home()?, &built, &cases, self.seed).await?;
        context.out.one(&report, || report.to_string())?;
        Ok(if report.failed == 0 { Exit::Ok } else { Exit::JobFailed })
    }
}
