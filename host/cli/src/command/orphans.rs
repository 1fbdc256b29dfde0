//! `landfall orphans`: what carries our stamp at the sites, and nobody knows of.

use clap::Args;
use landfall_daemon::api::wire::OrphansView;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::style;
use crate::table::table;
use crate::units::or_none;

#[derive(Debug, Args)]
pub(super) struct Arguments {}

impl Arguments {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let view: OrphansView = context.client()?.get(&["orphans"]).await?;
        context.out.one(&view, || words(&view))?;
        for (site, why) in &view.unasked {
            let warning = style::warning("warning");
            context
                .out
                .note(&format!("{warning}: site `{site}` was not asked: {why}"));
        }
        Ok(Exit::Ok)
    }
}

fn words(view: &OrphansView) -> String {
    if view.orphans.is_empty() {
        return "nothing at the sites is without its item\n".to_owned();
    }
    let rows = view.orphans.iter().map(|orphan| {
        [
            orphan.site.clone(),
            orphan.kind.clone(),
            orphan.id.clone(),
            or_none(orphan.item.as_deref()),
            or_none(orphan.job.as_deref()),
            or_none(orphan.step.as_deref()),
            orphan.epoch.to_string(),
        ]
    });
    table(["site", "kind", "id", "item", "job", "step", "epoch"], rows)
}
