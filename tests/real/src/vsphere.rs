//! A vCenter that nobody here wrote: the simulator of VMware's own client library, from Debian. It is reached as a real
//! one is, over TLS with a certificate and an account of its own; what came of it is read past the adapter.

mod documents;
mod life;
mod mixed;
mod simulator;
mod troubles;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::debian::{self, Needed};
use crate::landfall::Landfall;
use crate::processes::{Processes, in_directory};
use crate::{Built, say, seen, skipped};
use simulator::Simulator;

/// The compiler, and the library with the simulator.
const NEEDED: [Needed; 2] = [
    ("/usr/bin/go", "golang-go"),
    (
        "/usr/share/gocode/src/github.com/vmware/govmomi/simulator/simulator.go",
        "golang-github-vmware-govmomi-dev",
    ),
];

/// A play against two vCenters: one with production machines and the place where they are recovered, one that keeps
/// standbys of another platform's.
struct Stage<'s> {
    east: &'s Simulator,
    west: &'s Simulator,
    landfall: Landfall,
}

/// See the module.
pub(crate) fn run(built: &Built) -> Result<()> {
    install()?;
    in_directory(|directory, processes| play(built, directory, processes))?;
    say("\nAll of it was seen, and everything is ended and removed.");
    Ok(())
}

/// The short form; where something is missing that is said, and nothing is installed.
pub(crate) fn run_if_installed(built: &Built) -> Result<()> {
    let missing = debian::missing(&NEEDED);
    if !missing.is_empty() {
        skipped("vsphere", &missing.join(" "));
        return Ok(());
    }
    run(built)
}

/// What it needs of Debian.
pub(crate) fn install() -> Result<()> {
    debian::install(&NEEDED)
}

fn play(built: &Built, directory: &Path, processes: &Processes) -> Result<()> {
    say("== The published conformance suite, at a vCenter of its own");
    conformance(built)?;
    say("\n== Two simulated vCenters, a lab, and the daemon");
    let program = simulator::build(directory)?;
    let east = Simulator::start(&program, directory, "east", processes)?;
    let west = Simulator::start(&program, directory, "west", processes)?;
    let lab = mixed::Lab::start(&built.landfall, directory, processes)?;
    let configuration = documents::configuration(&built.plugins, &east, &west, &lab.url);
    let landfall = Landfall::start(&built.landfall, directory, processes, &configuration)?;
    let mut stage = Stage {
        east: &east,
        west: &west,
        landfall,
    };
    life::inventory(&stage)?;
    life::protect(&stage)?;
    life::test(&stage)?;
    if !built.short {
        troubles::sessions(&stage)?;
        troubles::refusals(&stage)?;
        troubles::half_answers(&stage)?;
        troubles::removed(&stage)?;
        troubles::full(&stage)?;
        troubles::crash(&mut stage)?;
        troubles::silence(&stage)?;
    }
    life::planned(&stage)?;
    life::commit(&stage)?;
    mixed::play(&stage, &lab, built.short)?;
    passwords(&[&east, &west], directory)
}

/// What the host relies on, as `landfall plugin check` tries it.
fn conformance(built: &Built) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/adapters/vsphere");
    let mut check = Command::new(&built.landfall);
    check.args(["plugin", "check"]).arg(&source).stderr(Stdio::inherit());
    let checked = check.output().context("cannot run `landfall plugin check`")?;
    let table = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.success(), "the conformance suite fails:\n{table}");
    seen(table.lines().last().unwrap_or_default());
    Ok(())
}

/// Neither journal nor log nor compiled plugin may hold a password, as it is or as it was sent.
fn passwords(vcenters: &[&Simulator], directory: &Path) -> Result<()> {
    let mut looked = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if !path.is_file() || path.file_name().is_some_and(|name| name == "password") {
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            looked += 1;
            for vcenter in vcenters {
                for text in vcenter.password()? {
                    let holds = memchr::memmem::find(&bytes, text.as_bytes()).is_some();
                    ensure!(!holds, "{} holds a password", path.display());
                }
            }
        }
    }
    seen(&format!("no password is in any of {looked} files"));
    Ok(())
}
