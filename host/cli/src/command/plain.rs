//! Commands that say nothing but whom they are about: `landfall cleanup`, `fence`, `resume-protection`.

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
    pub(super) async fn run(self, context: &Context, operation: &str) -> Result<Exit, Failure> {
        let request = self.subject.request(operation)?;
        self.start.run(context, request).await
    }
}
