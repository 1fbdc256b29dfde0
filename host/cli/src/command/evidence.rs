//! `landfall evidence`: what a job did, signed, for people who were not there; and the check of such a file.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use landfall_daemon::evidence::{Checked, Evidence, check};
use serde::Serialize;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::units;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    /// The job
    #[arg(required = true)]
    job: Option<String>,
    /// Directory for evidence-JOB.html and evidence-JOB.json
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    into: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a file of evidence against the installation's public key; no daemon is asked
    Verify {
        /// The page or the JSON file
        file: PathBuf,
        /// The public key, as `landfall journal key` prints it there [default: that of the data directory]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

/// What was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    page: PathBuf,
    json: PathBuf,
    public_key: String,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match (self.command, self.job) {
            (Some(Command::Verify { file, key }), _) => verify(context, &file, key),
            (None, Some(job)) => collect(context, &job, &self.into).await,
            (None, None) => Err(Failure::Usage("name a job".to_owned())),
        }
    }
}

async fn collect(context: &Context, job: &str, into: &Path) -> Result<Exit, Failure> {
    let evidence: Evidence = context.client()?.get(&["jobs", job, "evidence"]).await?;
    let json = serde_json::to_string_pretty(&evidence).map_err(|error| Failure::Internal(error.to_string()))? + "\n";
    let written = Written {
        page: into.join(format!("evidence-{job}.html")),
        json: into.join(format!("evidence-{job}.json")),
        public_key: evidence.public_key.clone(),
    };
    let page = evidence.page().and_then(|page| {
        // A program of another version than the daemon may write another page than the one that was signed.
        check(&page, &evidence.public_key)?;
        Ok(page)
    });
    let page = page.map_err(|why| Failure::Evidence {
        name: written.page.display().to_string(),
        why,
    })?;
    write(&written.page, &page)?;
    write(&written.json, &json)?;
    context.out.one(&written, || {
        let (page, json) = (written.page.display(), written.json.display());
        format!("{page}\n{json}\nsigned with {}\n", written.public_key)
    })?;
    Ok(Exit::Ok)
}

fn verify(context: &Context, file: &Path, key: Option<String>) -> Result<Exit, Failure> {
    let key = match key {
        Some(key) => key,
        None => landfall_store::identity(&context.connection.data())
            .map_err(|error| {
                Failure::Usage(format!(
                    "name the installation's public key with --key (`landfall journal key` prints it there); the data \
                     directory has none: {error}"
                ))
            })?
            .public_key,
    };
    let (name, text) = super::read_file(file)?;
    let checked = check(&text, &key).map_err(|why| Failure::Evidence { name, why })?;
    context.out.one(&checked, || words(&checked))?;
    Ok(Exit::Ok)
}

fn words(checked: &Checked) -> String {
    let Checked {
        installation,
        epoch,
        job,
        records,
        sealed_at,
        ended,
        notes,
    } = checked;
    let mut lines = vec![format!(
        "job {job}: {records} records are what installation {installation} (epoch {epoch}) signed at {}",
        units::time(*sealed_at)
    )];
    if !ended {
        lines.push("the job had not ended then".to_owned());
    }
    lines.extend(notes.iter().cloned());
    lines.join("\n") + "\n"
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
