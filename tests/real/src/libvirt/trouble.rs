//! What goes wrong at a site while one machine is replicated: each must be said in an error with its cure, cost nothing
//! that was received, and go on by itself where that can help.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::guest;
use super::host::{Landfall, ask_until, configure, text};
use super::packages::Kernel;
use super::site::Site;
use super::story::{PORTS, item, step};
use super::tell::print;

const ITEM: &str = "shop-db";

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, kernel: &Kernel) -> Result<()> {
    step("Two sites, and one machine that is replicated");
    let image = guest::image(directory, kernel)?;
    let mut north = Site::up(directory, "north")?;
    let mut south = Site::up(directory, "south")?;
    north.pool()?;
    south.pool()?;
    let machine = north.guest(&image, "db", 8)?;
    north.boot("db")?;
    configure(
        directory,
        plugins,
        [("north", &north, PORTS[0]), ("south", &south, PORTS[1])],
        &[],
    )?;
    let landfall = Landfall::start(program, directory)?;
    let inventory = format!(
        "items:\n  - name: {ITEM}\n    source: {{ site: north, machine: {machine} }}\n    target: {{ site: south }}\n    \
         networks:\n      - {{ nic: nic-0, production: lan, test: bubble, addresses: [127.0.2.1] }}\n    \
         replication: {{ rpo: 2s, points-every: 3s }}\n"
    );
    fs::write(directory.join("inventory.yaml"), inventory)?;
    landfall.json(&["inventory", "apply", "inventory.yaml"])?;
    landfall.job(&["protect", ITEM])?;
    goes_on(&landfall)?;

    for (name, site) in [("source", &mut north), ("target", &mut south)] {
        step(&format!("libvirtd of the {name} is killed; its guests go on"));
        site.kill_daemon()?;
        says(&landfall, "unreachable")?;
        site.start_daemon()?;
        goes_on(&landfall)?;
    }

    step("The helper of the target is killed: what it was writing is sent again");
    south.virsh(&["destroy", "landfall-helper"])?;
    goes_on(&landfall)?;

    step("The guest's QEMU is killed: nobody knows what changed, and everything is sent");
    let before = sent(&landfall)?;
    north.kill_guest("db")?;
    north.boot("db")?;
    landfall.until("everything was sent again", |landfall| {
        Ok(sent(landfall)? > before + (8 << 20))
    })?;
    goes_on(&landfall)?;

    step("Somebody deletes the machine of a test; its cleanup passes over it");
    landfall.job(&["failover", "--item", ITEM, "--kind", "test"])?;
    let found = ask_until("127.0.2.1", "found")?;
    ensure!(
        ask_until("127.0.2.1", "bad")? == 0 && found > 0,
        "the point is damaged: found {found}"
    );
    south.virsh(&["destroy", "db-test"])?;
    south.virsh(&["undefine", "db-test"])?;
    landfall.job(&["cleanup", "--item", ITEM])?;
    goes_on(&landfall)?;

    step("Somebody deletes the protected machine");
    north.virsh(&["destroy", "db"])?;
    north.virsh(&["undefine", "db", "--checkpoints-metadata"])?;
    says(&landfall, "not-found")?;
    print("\nEverything that broke was said, and went on where it could.")
}

/// A further point comes.
fn goes_on(landfall: &Landfall) -> Result<()> {
    let newest = newest(landfall)?;
    landfall.until("replication goes on", |landfall| {
        let items = landfall.json(&["item", "list"])?;
        let failing = item(&items, ITEM).is_some_and(|item| item.get("replication-error").is_some());
        Ok(!failing && self::newest(landfall)? > newest)
    })?;
    print("replication goes on")
}

fn newest(landfall: &Landfall) -> Result<u64> {
    let points = landfall.json(&["item", "points", ITEM])?;
    let list = points.as_array().or_else(|| points.get("points")?.as_array());
    let times = list
        .into_iter()
        .flatten()
        .filter_map(|point| point.get("source-time-ms")?.as_u64());
    Ok(times.max().unwrap_or(0))
}

fn sent(landfall: &Landfall) -> Result<u64> {
    let items = landfall.json(&["item", "list"])?;
    item(&items, ITEM)
        .and_then(|item| item.get("bytes-sent")?.as_u64())
        .context("no bytes-sent")
}

/// The item shows an error of this kind.
fn says(landfall: &Landfall, code: &str) -> Result<()> {
    let error = |landfall: &Landfall| -> Result<Option<String>> {
        let items = landfall.json(&["item", "list"])?;
        Ok(item(&items, ITEM).and_then(|item| text(item, "replication-error").map(str::to_owned)))
    };
    landfall.until(&format!("`{code}` is shown"), |landfall| {
        Ok(error(landfall)?.is_some_and(|error| error.contains(code)))
    })?;
    print(&error(landfall)?.unwrap_or_default())
}
