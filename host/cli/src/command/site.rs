//! `landfall site`: what the adapters say of their sites, asked now.

use clap::Subcommand;
use landfall_daemon::api::wire::{MachineView, NetworkView, SiteView};

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the sites of the configuration, and whether they answer
    List,
    /// List the machines at a site
    Machines {
        /// The site
        site: String,
    },
    /// List the networks at a site
    Networks {
        /// The site
        site: String,
    },
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        match self {
            Self::List => {
                let sites: Vec<SiteView> = client.get(&["sites"]).await?;
                let none = "no sites: add `[sites.NAME]` to the daemon's configuration";
                out.many(&sites, none, || render::sites(&sites))?;
            }
            Self::Machines { site } => {
                let machines: Vec<MachineView> = client.get(&["sites", &site, "machines"]).await?;
                out.many(&machines, "no machines", || render::machines(&machines))?;
            }
            Self::Networks { site } => {
                let networks: Vec<NetworkView> = client.get(&["sites", &site, "networks"]).await?;
                out.many(&networks, "no networks", || render::networks(&networks))?;
            }
        }
        Ok(Exit::Ok)
    }
}
