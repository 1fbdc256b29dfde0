//! What goes wrong at a site while one machine is replicated: each must be said in an error with its cure, cost nothing
//! that was received, and go on by itself where that can help.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::host::{Landfall, ask_until, configure, text};
use super::packages::Kernel;
use super::site::Site;
use super::story::{item, step};
use super::tell::print;
use super::{breaks, doors, full, guest};
use crate::debian::is_root;
use crate::say;

pub(super) const ITEM: &str = "shop-db";

/// Layers of the replica beside one for each point: the lowest, those of cycles without a point, and the one in work.
const MORE_LAYERS: usize = 12;

/// Few, since somebody stands at each of them.
const PORTS: [(u16, u16); 2] = [(47_300, 47_315), (47_320, 47_335)];

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, kernel: &Kernel) -> Result<()> {
    doors::play(program, plugins, directory, kernel)?;
    step("Two sites, and one machine that is replicated");
    let image = guest::image(directory, kernel)?;
    let mut north = Site::up(directory, "north")?;
    let mut south = Site::up(directory, "south")?;
    north.pool()?;
    let is_small = is_root()?;
    if is_small {
        south.small_pool(full::ROOM)?;
    } else {
        south.pool()?;
    }
    let machine = north.guest(&image, "db", 8)?;
    north.boot("db")?;
    let (to_north, at_north) = breaks::way("north", &north, PORTS[0])?;
    let (to_south, at_south) = breaks::way("south", &south, PORTS[1])?;
    configure(directory, plugins, &[to_north, to_south], &[])?;
    let landfall = Landfall::start(program, directory)?;
    let inventory = format!(
        "items:\n  - name: {ITEM}\n    source: {{ site: north, machine: {machine} }}\n    target: {{ site: south }}\n    \
         networks:\n      - {{ nic: nic-0, production: lan, test: bubble, addresses: [127.0.2.1] }}\n    \
         replication: {{ rpo: 2s, points-every: 3s, retention: 1m }}\n"
    );
    fs::write(directory.join("inventory.yaml"), inventory)?;
    landfall.json(&["inventory", "apply", "inventory.yaml"])?;
    landfall.job(&["protect", ITEM])?;
    goes_on(&landfall)?;

    breaks::cycles(&landfall, "source", &at_north)?;
    breaks::cycles(&landfall, "target", &at_south)?;
    breaks::jobs(&landfall, &south, &at_south)?;
    breaks::silence(&landfall, &north)?;
    if is_small {
        full::play(&landfall, &north, &south)?;
    } else {
        say("\n** SKIPPED: a full pool. Only root can mount a small file system for it.");
    }
    killed(&landfall, &mut north, &mut south)?;
    deleted(&landfall, &north, &south)?;
    print("\nEverything that broke was said, and went on where it could.")
}

/// Processes of the sites end.
fn killed(landfall: &Landfall, north: &mut Site, south: &mut Site) -> Result<()> {
    for (name, site) in [("source", &mut *north), ("target", &mut *south)] {
        step(&format!("libvirtd of the {name} is killed; its guests go on"));
        site.kill_daemon()?;
        says(landfall, "unreachable")?;
        site.start_daemon()?;
        goes_on(landfall)?;
    }

    step("The helper of the target is killed: what it was writing is sent again");
    south.virsh(&["destroy", "landfall-helper"])?;
    goes_on(landfall)?;

    step("The guest's QEMU is killed: nobody knows what changed, and everything is sent");
    let before = sent(landfall)?;
    north.kill_guest("db")?;
    north.boot("db")?;
    landfall.until("everything was sent again", |landfall| {
        Ok(sent(landfall)? > before + (8 << 20))
    })?;
    goes_on(landfall)
}

/// Somebody deletes what Landfall works with.
fn deleted(landfall: &Landfall, north: &Site, south: &Site) -> Result<()> {
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
    goes_on(landfall)?;
    left_over(landfall, north, south)?;

    step("Somebody deletes the replica: it is unprotected and protected again");
    let replica = replica(south)?;
    south.virsh(&["undefine", &replica])?;
    says(landfall, "unprotect the item and protect it again")?;
    let refused = landfall.refused(&["failover", "--item", ITEM, "--kind", "test"])?;
    ensure!(refused.contains("libvirt/replica-missing"), "{refused}");
    landfall.job(&["unprotect", "--item", ITEM])?;
    let left = south.files()?;
    ensure!(left.is_empty(), "left of the replica: {left:?}");
    landfall.job(&["protect", ITEM])?;
    goes_on(landfall)?;

    step("Somebody deletes the protected machine");
    north.virsh(&["destroy", "db"])?;
    north.virsh(&["undefine", "db", "--checkpoints-metadata"])?;
    says(landfall, "unprotect the item if it is gone for good")
}

/// The name of the only one there is.
fn replica(target: &Site) -> Result<String> {
    let all = target.virsh(&["list", "--all", "--name"])?;
    let mut replicas = all.lines().filter(|name| name.starts_with("landfall-replica-"));
    Ok(replicas.next().context("there is no replica")?.to_owned())
}

/// After all that there is one replica and nothing else: no machine, no file, no backup but the last cycle's.
fn left_over(landfall: &Landfall, north: &Site, south: &Site) -> Result<()> {
    let machines = south.virsh(&["list", "--all", "--name"])?;
    let strange = machines
        .lines()
        .filter(|name| !name.is_empty() && *name != "landfall-helper" && !name.starts_with("landfall-replica-"));
    let strange: Vec<&str> = strange.collect();
    ensure!(strange.is_empty(), "left at the target: {strange:?}");
    let replica = south.virsh(&["domuuid", &replica(south)?])?;
    landfall.until("layers that nobody needs go", |landfall| {
        Ok(south.files()?.len() <= points(landfall)?.len() + MORE_LAYERS)
    })?;
    let files = south.files()?;
    let strange: Vec<&String> = files.iter().filter(|name| !name.starts_with(&replica)).collect();
    ensure!(strange.is_empty(), "left in the target's pool: {strange:?}");
    let scratch = north.files()?;
    ensure!(scratch.len() <= 1, "left in the source's pool: {scratch:?}");
    print(&format!(
        "left at the target: one replica of {} files; at the source: {} file of the last snapshot",
        files.len(),
        scratch.len()
    ))
}

/// A further point comes.
pub(super) fn goes_on(landfall: &Landfall) -> Result<()> {
    let newest = newest(landfall)?;
    landfall.until("replication goes on", |landfall| {
        let items = landfall.json(&["item", "list"])?;
        let failing = item(&items, ITEM).is_some_and(|item| item.get("replication-error").is_some());
        Ok(!failing && self::newest(landfall)? > newest)
    })?;
    print("replication goes on")
}

pub(super) fn newest(landfall: &Landfall) -> Result<u64> {
    Ok(points(landfall)?.into_iter().max().unwrap_or(0))
}

/// The times of all points.
fn points(landfall: &Landfall) -> Result<Vec<u64>> {
    let points = landfall.json(&["item", "points", ITEM])?;
    let list = points.as_array().or_else(|| points.get("points")?.as_array());
    let time = |point: &serde_json::Value| point.get("source-time-ms")?.as_u64();
    Ok(list.into_iter().flatten().filter_map(time).collect())
}

fn sent(landfall: &Landfall) -> Result<u64> {
    let items = landfall.json(&["item", "list"])?;
    item(&items, ITEM)
        .and_then(|item| item.get("bytes-sent")?.as_u64())
        .context("no bytes-sent")
}

/// What the last cycle ran into, if it failed.
pub(super) fn error(landfall: &Landfall) -> Result<Option<String>> {
    let items = landfall.json(&["item", "list"])?;
    Ok(item(&items, ITEM).and_then(|item| text(item, "replication-error").map(str::to_owned)))
}

/// The item shows an error of this kind.
pub(super) fn says(landfall: &Landfall, code: &str) -> Result<()> {
    landfall.until(&format!("`{code}` is shown"), |landfall| {
        Ok(error(landfall)?.is_some_and(|error| error.contains(code)))
    })?;
    print(&error(landfall)?.unwrap_or_default())
}
