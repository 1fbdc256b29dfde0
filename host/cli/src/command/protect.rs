//! `landfall protect`: starts to replicate, and waits until the first copy is complete.

use clap::Args;
use landfall_daemon::api::wire::JobRequest;
use landfall_recovery::words::Direction;

use super::Context;
use super::request::{Settings, Start, direction};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Items of the inventory
    #[arg(value_name = "ITEM", required_unless_present = "plan", conflicts_with = "plan")]
    items: Vec<String>,
    /// All items of a plan
    #[arg(long)]
    plan: Option<String>,
    /// `forward` or `reverse`, where machines of the plan would go different ways; the others are left out
    #[arg(long, value_name = "DIRECTION", value_parser = direction)]
    direction: Option<Direction>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    start: Start,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (plan, items) = (self.plan, self.items);
        let request = JobRequest {
            operation: "protect".to_owned(),
            plan,
            items,
            direction: self.direction,
            ..JobRequest::default()
        };
        self.start.run(context, self.settings.apply(request)).await
    }
}
