//! `landfall reconcile`: does the state still say what the sites say? After a restore everything is asked.

use clap::Args;
use landfall_daemon::api::wire::{ReconcileRequest, ReconcileView};

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::style;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Machines, at any time [default: all that were restored and not compared yet]
    items: Vec<String>,
    /// Take the restored state as it is, whatever the sites say, and why; your name and reason are kept
    #[arg(long, value_name = "WHY")]
    accept: Option<String>,
}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = ReconcileRequest {
            items: self.items,
            accept: self.accept,
        };
        let answers: Vec<ReconcileView> = context.client()?.post(&["reconcile"], &request).await?;
        let none = "nothing to compare: no machine's state was restored";
        context.out.many(&answers, none, || words(&answers))?;
        let clean = answers.iter().all(|answer| answer.reconciled);
        Ok(if clean { Exit::Ok } else { Exit::Refused })
    }
}

fn words(answers: &[ReconcileView]) -> String {
    let said = answers.iter().map(|answer| {
        let how = if answer.reconciled {
            style::good("reconciled")
        } else {
            style::error("differs")
        };
        format!("{} {how}\n{}", answer.item, render::findings(&answer.findings))
    });
    said.collect()
}
