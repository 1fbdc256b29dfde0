//! `landfall reprotect`: replicates machines in the other direction, as the way back or after it.

use clap::Args;
use landfall_daemon::api::wire::JobRequest;

use super::Context;
use super::request::{Settings, Start, Subject};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Come back to this site instead of the one that the machines came from
    #[arg(long, value_name = "SITE")]
    to: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = JobRequest {
            to: self.to,
            ..self.settings.apply(self.subject.request("reprotect")?)
        };
        self.start.run(context, request).await
    }
}
