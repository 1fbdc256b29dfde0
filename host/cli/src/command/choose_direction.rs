//! `landfall choose-direction`: where a machine runs at both sites, says which of them stays.

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
    /// The site whose machine stays. The old source: the recovered machine is deleted with all that it wrote. The other
    /// one: the old source is switched off and kept off
    #[arg(long, value_name = "SITE")]
    keep: String,
    #[command(flatten)]
    typed: Typed,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = JobRequest {
            keep: Some(self.keep),
            ..self.typed.apply(self.subject.request("choose-direction")?)
        };
        self.start.run(context, request).await
    }
}
