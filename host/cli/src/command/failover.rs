//! `landfall failover`: the button. A test asks for nothing; a real one wants the name typed.

use clap::{Args, ValueEnum};
use landfall_daemon::api::wire::JobRequest;
use landfall_recovery::words::{Direction, span};

use super::Context;
use super::request::{Settings, Start, Subject, ask};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Why the machines are brought up elsewhere
    #[arg(long, value_enum)]
    kind: Kind,
    /// Recovery point: one of the policy's choices, such as `latest` or `latest-processed` [default: the plan's]
    #[arg(long, value_name = "CHOICE")]
    point: Option<String>,
    /// Recovery-point policy plugin [default: the plan's]
    #[arg(long)]
    policy: Option<String>,
    /// Parameter of the choice; for `custom` the item and its point
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    point_param: Vec<(String, String)>,
    /// For a test: use this isolated network
    #[arg(long, value_name = "NETWORK")]
    test_network: Option<String>,
    /// For a real failover: the plan's or machine's name, as a deliberate act
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// For an unplanned failover: go on though a source may still run, and record this reason under your name
    #[arg(long, value_name = "WHY")]
    accept_split_brain_risk: Option<String>,
    /// With that risk accepted: switch the old source off when it is seen again
    #[arg(long, requires = "accept_split_brain_risk")]
    fence_on_return: bool,
    /// For an unplanned failover: do not shut sources down first; where their site is gone nobody waits for it. Each is to
    /// be proved off all the same
    #[arg(long)]
    no_shutdown: bool,
    /// Of a plan only this group and those after it
    #[arg(long, value_name = "GROUP")]
    from_group: Option<String>,
    /// Wait for a person before this group; may be given more than once
    #[arg(long, value_name = "GROUP")]
    pause_before: Vec<String>,
    /// For a test: its machines are removed after this long, such as 2h [default: 1d]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    ttl: Option<u64>,
    #[command(flatten)]
    settings: Settings,
    /// For a test: let a step go wrong on purpose: fail, crash (the host forgets that it happened), repeat (it is sent
    /// twice), slow or slow:2m; the dry run lists the steps
    #[arg(long, value_name = "STEP=FAULT", value_parser = pair)]
    inject: Vec<(String, String)>,
    #[command(flatten)]
    start: Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// In an isolated network; touches neither source nor replication
    Test,
    /// Shut down, synchronise, then move; loses nothing
    Planned,
    /// The source may be gone; runs to the end whatever fails
    Unplanned,
}

impl Kind {
    fn operation(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Planned => "planned-failover",
            Self::Unplanned => "unplanned-failover",
        }
    }
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Arguments {
    pub(super) async fn run(self, context: &Context, way: Option<Direction>) -> Result<Exit, Failure> {
        let asked = self.settings.apply(self.subject.request(self.kind.operation())?);
        let request = JobRequest {
            fence_on_return: self.fence_on_return,
            shutdown: self.no_shutdown.then_some(false),
            direction: asked.direction.or(way),
            from_group: self.from_group,
            pause_before: self.pause_before,
            ttl_ms: self.ttl,
            point: self.point,
            policy: self.policy,
            point_params: self.point_param.into_iter().collect(),
            test_network: self.test_network,
            accept_split_brain_risk: self.accept_split_brain_risk,
            inject: self.inject.into_iter().collect(),
            ..asked
        };
        let needs_name = self.kind != Kind::Test && !self.start.dry_run;
        let confirm = match self.confirm {
            None if needs_name && context.asks => Some(ask(&question(&request))?),
            given => given,
        };
        self.start.run(context, JobRequest { confirm, ..request }).await
    }
}

fn question(request: &JobRequest) -> String {
    let name = request.plan.clone().unwrap_or_else(|| request.items.join(","));
    format!(
        "This is a real {} of `{name}`. Type its name to go on:",
        request.operation
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_a_point_is_named_by_its_item() {
        assert_eq!(pair("hr-db-1=p-7"), Ok(("hr-db-1".to_owned(), "p-7".to_owned())));
        assert!(pair("hr-db-1").is_err());
    }
}
