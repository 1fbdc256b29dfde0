//! `landfall item`: protected machines, what may be asked of them, and their recovery points.

use clap::Subcommand;
use landfall_daemon::api::wire::{ItemView, PointsView};

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::units::{count, time};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the items with their state and RPO
    List,
    /// Show an item, and which operations are allowed now
    Show {
        /// The item
        item: String,
    },
    /// List an item's recovery points, newest first
    Points {
        /// The item
        item: String,
        /// Ask the target site instead of the catalogue
        #[arg(long)]
        refresh: bool,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List => {
                let items: Vec<ItemView> = client.get(&["items"]).await?;
                let none = "no items: apply an inventory with `landfall inventory apply FILE`";
                out.many(&items, none, || render::items(&items))?;
            }
            Self::Show { item } => {
                let item: ItemView = client.get(&["items", &item]).await?;
                out.one(&item, || render::item(&item))?;
            }
            Self::Points { item, refresh } => {
                let query = [("refresh", refresh.to_string())];
                let points: PointsView = client.get_where(&["items", &item, "points"], &query).await?;
                out.one(&points, || render::points(&points))?;
                let observed = points.observed_at.map_or_else(|| "never".to_owned(), time);
                out.note(&format!(
                    "{}; the target was last asked: {observed}",
                    count(points.points.len(), "point")
                ));
            }
        }
        Ok(Exit::Ok)
    }
}
