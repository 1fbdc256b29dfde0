//! `landfall backup` and `landfall restore`: the installation's state in one file, and an installation made of it.

use std::path::PathBuf;

use clap::Args;
use landfall_store::{Restored, Verified};
use serde::Serialize;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::units::count;

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write; it must not be there yet
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Take an epoch above this one: the one that a site names when it says that it has taken over, though this
    /// installation is the one to stay. It happens where a clock was ahead at an earlier restore
    #[arg(long, value_name = "EPOCH", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u64).range(..HIGHEST))]
    after_epoch: u64,
}

/// Epochs stay exact in every plugin's language, also some restores later.
const HIGHEST: u64 = 1 << 52;

/// What was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    file: PathBuf,
    #[serde(flatten)]
    verified: Verified,
}

impl Backup {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let verified = landfall_store::backup(&context.connection.data(), &self.file)?;
        let written = Written {
            file: self.file,
            verified,
        };
        context.out.one(&written, || {
            let Verified { jobs, records, .. } = written.verified;
            let file = written.file.display();
            format!("{file}: {jobs} jobs, {records} records, verified; keep it as secret as the data directory\n")
        })?;
        Ok(Exit::Ok)
    }
}

impl Restore {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let data = context.connection.data();
        let now = jiff::Timestamp::now().as_second().cast_unsigned();
        std::fs::metadata(&self.file).map_err(|source| Failure::File {
            action: "read",
            path: self.file.clone(),
            source,
        })?;
        let restored = landfall_store::restore(&self.file, &data, now, self.after_epoch)?;
        context.out.one(&restored, || {
            let Restored {
                installation,
                epoch,
                jobs,
                items,
            } = &restored;
            let mut lines = vec![format!(
                "{} holds installation {installation} under epoch {epoch}, with {} to compare",
                data.display(),
                count(items.len(), "machine")
            )];
            lines.extend(
                jobs.iter()
                    .map(|job| format!("job {job} had not ended and waits for you")),
            );
            lines.push("next: start the daemon, then `landfall reconcile`".to_owned());
            lines.join("\n") + "\n"
        })?;
        Ok(Exit::Ok)
    }
}
