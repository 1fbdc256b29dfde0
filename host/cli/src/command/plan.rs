//! `landfall plan`: recovery plans as documents. `failover` and its kin run them.

use std::path::PathBuf;

use clap::Subcommand;
use landfall_daemon::api::wire::DocumentView;

use super::{Context, print_text, put_document};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Apply a plan; nothing changes if anything is wrong with it
    Apply {
        /// YAML file, or `-` for stdin
        file: PathBuf,
    },
    /// Check a plan without applying it
    Check {
        /// YAML file, or `-` for stdin
        file: PathBuf,
    },
    /// List the plans
    List,
    /// Print a plan as it was written
    Show {
        /// The plan
        plan: String,
    },
    /// Print the JSON Schema, for editors
    Schema,
    /// Delete a plan; jobs that were started with it keep their copy
    Delete {
        /// The plan
        plan: String,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Apply { file } => return put_document(context, "plan", &file, false).await,
            Self::Check { file } => return put_document(context, "plan", &file, true).await,
            Self::Show { plan } => return print_text(context, &context.client()?.get(&["plans", &plan]).await?),
            Self::List => {
                let plans: Vec<DocumentView> = context.client()?.get(&["plans"]).await?;
                let none = "no plans: apply one with `landfall plan apply FILE`";
                context.out.many(&plans, none, || render::documents(&plans))?;
            }
            Self::Schema => {
                let schema = landfall_recovery::document::plan_schema();
                context.out.one(&schema, || format!("{schema:#}\n"))?;
            }
            Self::Delete { plan } => {
                context.client()?.delete(&["plans", &plan]).await?;
                context.out.note(&format!("plan `{plan}` deleted"));
            }
        }
        Ok(Exit::Ok)
    }
}
