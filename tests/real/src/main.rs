//! `landfall-real`: Landfall on hypervisors that nobody here wrote. `cargo xtask real` runs it. Each platform's sites and
//! story stand in a module of their own.

mod libvirt;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
enum Command {
    /// Two libvirt sites with real guests: replication, failover and failback, with lost records counted
    Libvirt {
        /// The built program
        #[arg(long)]
        landfall: PathBuf,
        /// The directory of built plugins
        #[arg(long)]
        plugins: PathBuf,
        /// What is played
        #[arg(long, value_enum, default_value = "whole")]
        form: libvirt::Form,
    },
    /// The short form of all platforms whose packages are installed; the others are passed over, loudly
    Short {
        /// The built program
        #[arg(long)]
        landfall: PathBuf,
        /// The directory of built plugins
        #[arg(long)]
        plugins: PathBuf,
    },
    /// Installs what the libvirt sites need of Debian
    LibvirtInstall,
    /// Two libvirt sites for `landfall plugin check`, until it is ended
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

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Libvirt {
            landfall,
            plugins,
            form,
        } => libvirt::run(&landfall, &plugins, form),
        Command::Short { landfall, plugins } => libvirt::run_if_installed(&landfall, &plugins),
        Command::LibvirtInstall => libvirt::install(),
        Command::LibvirtSites { dir, ready } => libvirt::sites_until_ended(&dir, &ready),
        Command::LibvirtCleaner { dir } => libvirt::clean(&dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on stderr. Where nobody reads it there is nobody to tell.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}
