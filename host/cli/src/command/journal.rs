//! `landfall journal`: is the record of the past what was written? Works on the data directory, beside a running daemon
//! or without one.

use clap::Subcommand;
use landfall_store::{Problem, Verified};

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::style;
use crate::units::count;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read all of the journal and compare it with its checksums, chains and signatures
    Verify {
        /// The installation's public key, from elsewhere [default: the one in the data directory]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Print the installation's public key, with which journals and evidence are verified
    Key,
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let directory = context.connection.data();
        match self {
            Self::Verify { key } => {
                let found = landfall_store::verify(&directory, key.as_deref())?;
                context.out.one(&found, || words(&found))?;
                Ok(if found.problems.is_empty() {
                    Exit::Ok
                } else {
                    Exit::Refused
                })
            }
            Self::Key => {
                let identity = landfall_store::identity(&directory)?;
                context.out.one(&identity, || format!("{}\n", identity.public_key))?;
                Ok(Exit::Ok)
            }
        }
    }
}

fn words(found: &Verified) -> String {
    let read = [
        count(usize::try_from(found.jobs).unwrap_or(usize::MAX), "job"),
        count(usize::try_from(found.records).unwrap_or(usize::MAX), "record"),
        count(usize::try_from(found.seals).unwrap_or(usize::MAX), "seal"),
        count(usize::try_from(found.rows).unwrap_or(usize::MAX), "row"),
    ];
    let mut lines = vec![
        format!(
            "{} of installation {}, epoch {}",
            read.join(", "),
            found.installation,
            found.epoch
        ),
        format!("signed with {}", found.public_key),
    ];
    if found.unsealed > 0 {
        lines.push(format!("{} ended before journals were signed", found.unsealed));
    }
    let wrong = style::error("wrong");
    let say = |problem: &Problem| format!("{wrong} {}: {}", problem.place, problem.what);
    lines.extend(found.problems.iter().map(say));
    let end = if found.problems.is_empty() {
        "all is as it was written"
    } else {
        "the journal is not what was written: `landfall explain LF0506`"
    };
    lines.push(end.to_owned());
    lines.join("\n") + "\n"
}
