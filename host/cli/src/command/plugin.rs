//! `landfall plugin`: for those who write plugins and those who install them.

mod check;
mod dev;
mod sign;
mod test;
mod versions;

use std::path::PathBuf;

use clap::Subcommand;
use landfall_daemon::api::wire::PluginView;
use landfall_runtime::Kind;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{plugin, render};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the plugins: which serve, and which failed to load and why
    List,
    /// Begin a plugin: a project that builds as it is
    New {
        /// The plugin's name
        name: String,
        /// What it is
        #[arg(long, value_name = "runbook|hypervisor-adapter|recovery-point-policy")]
        kind: NewKind,
        /// What it is written in
        #[arg(long, value_name = "rust|python|js", default_value = "rust")]
        lang: plugin::Language,
        /// Where it goes [default: a directory of its name]
        directory: Option<PathBuf>,
        /// A checkout of the Rust SDK's crate [default: the one that this program carries]
        #[arg(long, value_name = "DIRECTORY")]
        sdk: Option<PathBuf>,
    },
    #[command(flatten)]
    Versions(versions::Command),
    /// Make a pair of keys to sign plugins with
    Keygen(sign::Keygen),
    /// Sign a plugin's directory
    Sign(sign::Sign),
    /// Make components of plugin crates and projects, each in a directory of its own beside its `plugin.toml`
    Build {
        /// Directories of plugins in Rust, Python or JavaScript [default: the current one]
        paths: Vec<PathBuf>,
        /// Where the plugins go [default: `target/plugins` of the crate's workspace, or of the project]
        #[arg(long, value_name = "DIRECTORY")]
        out: Option<PathBuf>,
        /// Every crate with a `plugin.toml` in the workspaces of the given directories
        #[arg(long)]
        all: bool,
    },
    /// Check what the host relies on in every plugin of its kind: the conformance suite
    Check(check::Check),
    /// Build, test and install a plugin whenever its source changes, and drill a plan with it
    Dev(dev::Dev),
    /// Run a plugin's test cases, with scripted answers, clock and random, in the daemon's own runtime
    Test(test::Test),
}

/// The runtime's kinds, as arguments.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum NewKind {
    /// An action before or after a group
    Runbook,
    /// Speaks for one site
    HypervisorAdapter,
    /// Chooses recovery points, and which to keep
    RecoveryPointPolicy,
}

impl From<NewKind> for Kind {
    fn from(kind: NewKind) -> Self {
        match kind {
            NewKind::Runbook => Self::Runbook,
            NewKind::HypervisorAdapter => Self::HypervisorAdapter,
            NewKind::RecoveryPointPolicy => Self::RecoveryPointPolicy,
        }
    }
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Check(check) => return check.run(context).await,
            Self::Dev(dev) => return dev.run(context).await,
            Self::Test(test) => return test.run(context).await,
            Self::List => {
                let plugins: Vec<PluginView> = context.client()?.get(&["plugins"]).await?;
                let none = "no plugins: put their directories where the daemon's configuration says";
                context.out.many(&plugins, none, || render::plugins(&plugins))?;
            }
            Self::New {
                name,
                kind,
                lang,
                directory,
                sdk,
            } => {
                let wish = plugin::Wish {
                    name,
                    kind: kind.into(),
                    language: lang,
                    directory,
                    sdk,
                };
                let created = plugin::new(&wish)?;
                context.out.one(&created, || created.to_string())?;
            }
            Self::Versions(command) => command.run(context).await?,
            Self::Keygen(arguments) => arguments.run(context)?,
            Self::Sign(arguments) => arguments.run(context)?,
            Self::Build { paths, out, all } => {
                let request = plugin::Request { paths, out, all };
                let mut notes = anstream::stderr();
                let built = tokio::task::block_in_place(|| plugin::build(&request, &mut notes))?;
                context.out.one(&built, || built.to_string())?;
            }
        }
        Ok(Exit::Ok)
    }
}
