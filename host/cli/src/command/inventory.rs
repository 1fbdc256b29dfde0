//! `landfall inventory`: the one document that says what is protected.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Context, print_text, put_document};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Apply an inventory; nothing changes if anything is wrong with it
    Apply {
        /// YAML file, or `-` for stdin
        file: PathBuf,
    },
    /// Check an inventory without applying it
    Check {
        /// YAML file, or `-` for stdin
        file: PathBuf,
    },
    /// Print the inventory that is applied
    Show,
    /// Print the JSON Schema, for editors
    Schema,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Apply { file } => put_document(context, "inventory", &file, false).await,
            Self::Check { file } => put_document(context, "inventory", &file, true).await,
            Self::Show => print_text(context, &context.client()?.get(&["inventory"]).await?),
            Self::Schema => {
                let schema = landfall_recovery::document::inventory_schema();
                context.out.one(&schema, || format!("{schema:#}\n"))?;
                Ok(Exit::Ok)
            }
        }
    }
}
