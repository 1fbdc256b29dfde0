//! `landfall-real`: the real program, through its daemon and its command, against real platforms. `cargo xtask real`
//! builds what it needs and runs it.
//!
//! It believes only what it reads past the adapter: the platform's own account, not ours. Each platform's sites and story
//! stand in a module of their own.

mod debian;
mod landfall;
mod libvirt;
mod processes;
mod vsphere;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

/// A platform to play against
#[derive(Debug, Parser)]
#[command(name = "landfall-real", bin_name = "cargo xtask real")]
enum Platform {
    /// Two libvirt sites with real guests: replication, failover and failback, with lost records counted
    Libvirt {
        #[command(flatten)]
        built: Built,
        #[command(flatten)]
        form: libvirt::Form,
    },
    /// A simulated vCenter
    Vsphere(Built),
    /// The short form of every platform whose packages are installed; the others are named
    Installed(Built),
    /// Install what all of them need of Debian, and play nothing
    Install,
    /// Two libvirt sites for `landfall plugin check`, until it is ended
    #[command(hide = true)]
    LibvirtSites {
        /// Where they live
        #[arg(long)]
        dir: PathBuf,
        /// Written once they are up
        #[arg(long)]
        ready: PathBuf,
    },
    /// Ends everything in a directory once its standard input ends: whoever started it is gone then, however it went
    #[command(hide = true)]
    LibvirtCleaner { dir: PathBuf },
}

/// What was built for it
#[derive(Debug, Args)]
struct Built {
    /// The program
    #[arg(long)]
    landfall: PathBuf,
    /// The directory of all plugins
    #[arg(long)]
    plugins: PathBuf,
    /// Only the main path, without the troubles
    #[arg(long)]
    short: bool,
}

impl Built {
    /// As seen from anywhere: programs are started in directories of their own.
    fn resolved(self) -> anyhow::Result<Self> {
        Ok(Self {
            landfall: self.landfall.canonicalize()?,
            plugins: self.plugins.canonicalize()?,
            short: self.short,
        })
    }
}

fn main() -> ExitCode {
    let result = match Platform::parse() {
        Platform::Libvirt { built, form } => built.resolved().and_then(|built| libvirt::run(&built, form)),
        Platform::Vsphere(built) => built.resolved().and_then(|built| vsphere::run(&built)),
        Platform::Installed(built) => installed(built),
        Platform::Install => libvirt::install().and_then(|()| vsphere::install()),
        Platform::LibvirtSites { dir, ready } => libvirt::sites_until_ended(&dir, &ready),
        Platform::LibvirtCleaner { dir } => libvirt::clean(&dir),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is not there is not installed, and not passed over in silence.
fn installed(built: Built) -> anyhow::Result<()> {
    let built = Built {
        short: true,
        ..built.resolved()?
    };
    libvirt::run_if_installed(&built)?;
    vsphere::run_if_installed(&built)
}

/// Where it is the last that is printed, so that nobody takes silence for success.
fn skipped(platform: &str, packages: &str) {
    say("\n********************************************************************************");
    say(&format!(
        "** SKIPPED: {platform}. Nothing of it was tried. It needs Debian's packages"
    ));
    say(&format!("**   {packages}"));
    say("** and `cargo xtask real install` installs them.");
    say("********************************************************************************");
}

/// A line of the transcript.
fn say(words: &str) {
    // Where nobody reads it there is nobody to tell.
    let _ = writeln!(std::io::stdout().lock(), "{words}");
}

/// Something that was seen to be so.
fn seen(what: &str) {
    say(&format!("  seen  {what}"));
}
