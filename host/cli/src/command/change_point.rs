//! `landfall change-point`: moves recovered machines to another recovery point, as often as wanted before the commit.

use clap::Args;
use landfall_daemon::api::wire::JobRequest;

use super::Context;
use super::failover::pair;
use super::request::{Start, Subject, Typed};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Recovery point: one of the policy's choices that need no processing, such as `latest-app-consistent` or `custom`
    #[arg(long, value_name = "CHOICE")]
    point: String,
    /// Recovery-point policy plugin [default: the plan's]
    #[arg(long)]
    policy: Option<String>,
    /// Parameter of the choice; for `custom` the item and its point
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    point_param: Vec<(String, String)>,
    #[command(flatten)]
    typed: Typed,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = JobRequest {
            point: Some(self.point),
            policy: self.policy,
            point_params: self.point_param.into_iter().collect(),
            ..self.typed.apply(self.subject.request("change-point")?)
        };
        self.start.run(context, request).await
    }
}
