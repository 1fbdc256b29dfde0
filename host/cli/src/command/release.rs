//! `landfall release`: lets go of a machine that is away from home and cannot come back.

use clap::Args;
use landfall_daemon::api::wire::JobRequest;

use super::Context;
use super::request::{Start, Subject, Typed};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Why what is away is let go; stays in the journal
    #[arg(long, value_name = "WHY")]
    reason: String,
    #[command(flatten)]
    typed: Typed,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = JobRequest {
            reason: Some(self.reason),
            ..self.typed.apply(self.subject.request("release")?)
        };
        self.start.run(context, request).await
    }
}
