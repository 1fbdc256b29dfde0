//! `landfall plugin check`: what the host relies on in every plugin of a kind, as a table of named checks.
//!
//! A check never looks into a plugin: it calls it as the host does, and judges answers, requests and time. What cannot
//! be told from outside, a check asks the author's own cases for, and says so where they are missing. A check that was
//! skipped says why; it never counts as passed.

mod adapter;
mod every;
mod policy;
mod random;
mod runbook;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use landfall_runtime::{Kind, Plugin};
use serde::Serialize;

use crate::case::Case;
use crate::home::{Home, HomeError};
use crate::scratch::Scratch;
use crate::traffic::{Exchanged, Traffic};

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// The host cannot rely on it.
    Failed,
    /// It does not apply, or could not be made; the reason stands beside it.
    Skipped,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Stable, so that scripts can name it.
    pub name: &'static str,
    /// What the host relies on.
    pub about: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What is wrong, or why it was skipped, or what was looked at.
    pub notes: Vec<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// The table.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What was checked, exactly.
    pub digest: String,
    /// Which suite.
    pub kind: Kind,
    /// Gives the same random inputs again.
    pub seed: u64,
    /// How many passed.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// One by one.
    pub checks: Vec<Check>,
    /// What went over the network to a scratch site.
    #[serde(skip)]
    pub traffic: Vec<Exchanged>,
}

/// What a check says: nothing wrong with a word on what was looked at, or all that is wrong.
pub(crate) enum Said {
    Fine(String),
    Wrong(Vec<String>),
    Skip(String),
}

impl Said {
    /// Fine if nothing is wrong.
    pub(crate) fn of(wrong: Vec<String>, looked_at: String) -> Self {
        if wrong.is_empty() {
            Self::Fine(looked_at)
        } else {
            Self::Wrong(wrong)
        }
    }
}

/// Problems of one check that are shown; the rest is counted.
const MOST_SHOWN: usize = 5;

/// The table while it is made.
pub(crate) struct Table {
    checks: Vec<Check>,
}

impl Table {
    pub(crate) async fn check(&mut self, name: &'static str, about: &'static str, work: impl Future<Output = Said>) {
        let began = Instant::now();
        let (verdict, notes) = match work.await {
            Said::Fine(looked_at) => (Verdict::Passed, vec![looked_at]),
            Said::Skip(why) => (Verdict::Skipped, vec![why]),
            Said::Wrong(mut wrong) => {
                let more = wrong.len().saturating_sub(MOST_SHOWN);
                wrong.truncate(MOST_SHOWN);
                if more > 0 {
                    wrong.push(format!("and {more} more"));
                }
                (Verdict::Failed, wrong)
            }
        };
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.checks.push(Check {
            name,
            about,
            verdict,
            notes,
            milliseconds,
        });
    }
}

/// A plugin with the cases of its author.
pub(crate) struct Candidate<'c> {
    pub(crate) home: &'c Home,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) cases: &'c [(String, Case)],
    pub(crate) seed: u64,
}

/// What a suite is run with.
#[derive(Debug, Clone, Copy)]
pub struct Suite<'s> {
    /// The author's cases, by name.
    pub cases: &'s [(String, Case)],
    /// Draws random inputs.
    pub seed: u64,
    /// Where an adapter is tried.
    pub scratch: Option<&'s Scratch>,
    /// The directory in which the scratch site's command runs.
    pub source: &'s Path,
    /// Stamped on all that is made at the scratch site: nobody else's.
    pub installation: &'s str,
}

/// Runs the suite of its kind on the built plugin in this directory.
pub async fn check(home: &Home, directory: &Path, suite: Suite<'_>) -> Result<CheckReport, HomeError> {
    let Suite { cases, seed, .. } = suite;
    let first = home.load(directory).await?;
    let described = first.info().clone();
    drop(first);
    let plugin = home.load(directory).await?;
    let mut table = Table { checks: Vec::new() };
    let traffic = Traffic::default();
    let candidate = Candidate {
        home,
        plugin: Arc::clone(&plugin),
        cases,
        seed,
    };
    every::check(&mut table, &candidate, &described).await;
    match plugin.kind() {
        Kind::Runbook => runbook::check(&mut table, &candidate).await,
        Kind::RecoveryPointPolicy => policy::check(&mut table, &candidate).await,
        Kind::HypervisorAdapter => {
            let place = (suite.source, suite.installation);
            Box::pin(adapter::check(&mut table, &candidate, suite.scratch, place, &traffic)).await;
        }
    }
    let checks = table.checks;
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let identity = plugin.identity();
    Ok(CheckReport {
        plugin: identity.name.clone(),
        version: identity.version.to_string(),
        digest: identity.digest.clone(),
        kind: plugin.kind(),
        seed,
        passed: count(Verdict::Passed),
        failed: count(Verdict::Failed),
        skipped: count(Verdict::Skipped),
        checks,
        traffic: traffic.all(),
    })
}

impl fmt::Display for CheckReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            let Check { name, about, notes, .. } = check;
            let (verdict, notes) = match check.verdict {
                Verdict::Passed => ("passed ", &[][..]),
                Verdict::Skipped => ("skipped", &notes[..]),
                Verdict::Failed => ("FAILED ", &notes[..]),
            };
            writeln!(out, "{verdict}  {name:<width$}  {about}")?;
            for note in notes {
                writeln!(
                    out,
                    "         {:<width$}  - {}",
                    "",
                    note.replace('\n', "\n           ")
                )?;
            }
        }
        let Self {
            plugin,
            version,
            kind,
            passed,
            failed,
            skipped,
            seed,
            ..
        } = self;
        writeln!(
            out,
            "{plugin} {version} ({kind}): {passed} passed, {failed} failed, {skipped} skipped, seed {seed}"
        )
    }
}
