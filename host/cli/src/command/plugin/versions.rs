//! Which version of a plugin serves, which did, and which shall.

use clap::{Args, Subcommand};
use landfall_daemon::api::wire::{ChangeView, PluginDetail, PluginOrder, PluginView, RevokeRequest};

use crate::command::Context;
use crate::failure::Failure;
use crate::render;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a plugin: its versions, what it asks for and gets where, and which jobs keep which version
    #[command(alias = "show")]
    Inspect {
        /// The plugin
        plugin: String,
    },
    /// List what served when, and why, the last first
    History {
        /// The plugin
        plugin: String,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Go back to the last good version, or to a given one; the one that serves is set aside
    Rollback {
        /// The plugin
        plugin: String,
        /// The version to go back to: its digest, or at least 12 digits of it
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Serve this version for new jobs, whatever lies in the plugin directory
    Activate {
        /// The plugin
        plugin: String,
        /// The version: its digest, or at least 12 digits of it
        digest: String,
        #[command(flatten)]
        why: Why,
    },
    /// Take a version out of service for good: its calls end, new jobs never get it, pinned jobs wait for `job repin`
    Revoke {
        /// The version: its digest; at least 12 digits if it is stored here
        digest: String,
        /// Why; kept in the history
        #[arg(long, alias = "why", value_name = "WHY")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why; kept in the history
    #[arg(long, alias = "why", value_name = "WHY", default_value = "")]
    reason: String,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (client, out) = (context.client()?, context.out);
        let printed = match self {
            Self::Inspect { plugin } => {
                let detail: PluginDetail = client.get(&["plugins", &plugin]).await?;
                out.one(&detail, || render::plugin(&detail))
            }
            Self::History { plugin, limit } => {
                let query = [("limit", limit.to_string())];
                let changes: Vec<ChangeView> = client.get_where(&["plugins", &plugin, "history"], &query).await?;
                out.many(&changes, "no changes", || render::history(&changes))
            }
            Self::Rollback { plugin, to, why } => {
                let order = PluginOrder {
                    digest: to,
                    reason: why.reason,
                };
                let view: PluginView = client.post(&["plugins", &plugin, "rollback"], &order).await?;
                out.one(&view, || render::serves(&view))
            }
            Self::Activate { plugin, digest, why } => {
                let order = PluginOrder {
                    digest: Some(digest),
                    reason: why.reason,
                };
                let view: PluginView = client.post(&["plugins", &plugin, "activate"], &order).await?;
                out.one(&view, || render::serves(&view))
            }
            Self::Revoke { digest, reason } => {
                let request = RevokeRequest { digest, reason };
                let all: Vec<PluginView> = client.post(&["plugins", "revoke"], &request).await?;
                out.many(&all, "no plugins", || render::plugins(&all))
            }
        };
        Ok(printed?)
    }
}
