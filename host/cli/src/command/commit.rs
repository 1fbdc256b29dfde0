//! `landfall commit`: makes a failover final.

use clap::Args;

use super::Context;
use super::request::{Start, Subject, Typed};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    typed: Typed,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = self.typed.apply(self.subject.request("commit")?);
        if !self.start.dry_run {
            context
                .out
                .note("commit deletes the recovery points: after it no other point can be chosen");
        }
        self.start.run(context, request).await
    }
}
