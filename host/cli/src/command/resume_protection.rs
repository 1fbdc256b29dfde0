//! `landfall resume-protection`: after a failover that broke off, back to the source, which is replicated again.

use clap::Args;

use super::Context;
use super::request::{Start, Subject};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = self.subject.request("resume-protection")?;
        self.start.run(context, request).await
    }
}
