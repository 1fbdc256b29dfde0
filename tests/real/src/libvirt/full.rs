//! The target's pool is full: what cannot be written is said with its cure, finished points stay, and it goes on by itself
//! when there is room.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result, ensure};

use super::host::{Landfall, ask_until};
use super::measure::DEVICE;
use super::site::Site;
use super::story::step;
use super::tell::print;
use super::trouble::{ITEM, goes_on, newest, says};

/// Room of the pool, in MiB: for all data of the machine a few times, since a copy that is sent anew lies beside the old.
pub(super) const ROOM: u32 = 256;

/// What is left of it while it is full, and what is written into the guest's disk then.
const LEFT: u64 = 1 << 20;
const WRITE: &str = "write -P 7 314572800 16777216";

pub(super) fn play(landfall: &Landfall, source: &Site, target: &Site) -> Result<()> {
    step("The target's pool is full");
    let filler = target.directory.join("pool/filler");
    fill(&filler)?;
    let points = newest(landfall)?;
    let command = format!("qemu-io -d {DEVICE} \"{WRITE}\"");
    let said = source.virsh(&["qemu-monitor-command", "db", "--hmp", &command])?;
    ensure!(said.is_empty(), "{command}: {said}");
    says(landfall, "no-space")?;
    ensure!(newest(landfall)? >= points, "a finished point went");
    fs::remove_file(&filler).context("cannot make room")?;
    goes_on(landfall)?;
    landfall.job(&["failover", "--item", ITEM, "--kind", "test"])?;
    let (found, bad) = (ask_until("127.0.2.1", "found")?, ask_until("127.0.2.1", "bad")?);
    ensure!(found > 0 && bad == 0, "found {found}, {bad} bad");
    landfall.job(&["cleanup", "--item", ITEM])?;
    print(&format!("with room again a test found {found} records, 0 bad"))
}

/// All but a little.
fn fill(path: &std::path::Path) -> Result<()> {
    let mut file = File::create(path).context("cannot write into the pool")?;
    let piece = vec![1; 64 << 10];
    let mut written = 0_u64;
    while file.write_all(&piece).is_ok() {
        written += 64 << 10;
    }
    file.set_len(written.saturating_sub(LEFT))
        .context("cannot leave a little room")
}
