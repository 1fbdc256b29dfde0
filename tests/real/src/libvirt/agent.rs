//! A machine with two disks and a guest agent: at an application-consistent point both disks say the same, because the
//! agent froze the file system of one for that moment; at another point what the guest had not written back is missing.
//! And with points that come and go the layers of both disks stay few.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::guest::Image;
use super::host::{Access, Landfall, ask, ask_until, configure, text};
use super::site::Site;
use super::story::{PORTS, step};
use super::tell::print;

const ITEM: &str = "ledger";

/// Where the guest answers at home, in tests and after the failover.
const HOME: &str = "127.0.4.1";
const AWAY: &str = "127.0.4.2";

/// Points live this long, in seconds, so that layers are merged while it is looked.
const RETENTION: u64 = 12;

/// Layers of a disk beside one for each point: the lowest, those that are being written and merged, and a few that wait.
const MORE_LAYERS: usize = 5;

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, image: &Image) -> Result<()> {
    step("A guest with two disks and an agent: application-consistent points");
    let (east, west) = (Site::up(directory, "east")?, Site::up(directory, "west")?);
    east.pool()?;
    west.pool()?;
    let machine = east.guest_with_agent(image, ITEM)?;
    east.boot(ITEM)?;
    east.forward(ITEM, HOME)?;
    ask_until(HOME, "now")?;
    let own = directory.join("agent");
    fs::create_dir_all(&own)?;
    let sites = [Access::to("east", &east, PORTS[0]), Access::to("west", &west, PORTS[1])];
    configure(&own, plugins, &sites, &[])?;
    let landfall = Landfall::start(program, &own)?;
    let inventory = format!(
        "items:\n  - name: {ITEM}\n    source: {{ site: east, machine: {machine} }}\n    target: {{ site: west }}\n    \
         networks:\n      - {{ nic: nic-0, production: lan, test: bubble, addresses: [{AWAY}] }}\n    \
         replication: {{ rpo: 2s, points-every: 2s, app-consistent-every: 6s, retention: {RETENTION}s }}\n"
    );
    fs::write(own.join("inventory.yaml"), inventory)?;
    landfall.json(&["inventory", "apply", "inventory.yaml"])?;
    landfall.job(&["protect", ITEM])?;
    layers_stay_few(&landfall, &west)?;

    let (found, logged) = tested(&landfall, &["--point", "latest-app-consistent"])?;
    print(&format!(
        "application-consistent: {found} records, and {logged} in the log"
    ))?;
    ensure!(found - logged <= 1, "the log was not frozen with the records");
    landfall.until("there is a crash-consistent point", |landfall| {
        Ok(newest(landfall, "crash")?.is_some())
    })?;
    let crash = newest(&landfall, "crash")?.context("no crash-consistent point")?;
    let named = format!("{ITEM}={crash}");
    let (found, logged) = tested(&landfall, &["--point", "custom", "--point-param", &named])?;
    print(&format!("crash-consistent: {found} records, and {logged} in the log"))?;
    ensure!(
        found - logged > 1,
        "the log is whole without being frozen: nothing is shown by it"
    );
    let (frozen, thawed) = (ask(HOME, "frozen")?, ask(HOME, "thawed")?);
    ensure!(
        frozen > 0 && frozen == thawed,
        "{frozen} times frozen, {thawed} times thawed"
    );
    print(&format!("the guest was frozen {frozen} times, and thawed as often"))?;

    landfall.job(&["failover", "--item", ITEM, "--kind", "planned", "--confirm", ITEM])?;
    let source = Site::last_record(&east.disk(&machine)?)?;
    let (found, bad, logged) = (ask_until(AWAY, "found")?, ask(AWAY, "bad")?, ask(AWAY, "logged")?);
    print(&format!(
        "planned failover: the source wrote {source}, found {found}, {logged} in the log, {bad} bad"
    ))?;
    // The counter may be stopped between a record and its line in the log.
    ensure!(
        source == found && logged + 1 >= source && bad == 0,
        "something was lost"
    );
    Ok(())
}

/// Until many more cycles ran than there are layers.
fn layers_stay_few(landfall: &Landfall, target: &Site) -> Result<()> {
    landfall.until("old points go, and the layers that nobody needs", |landfall| {
        let points = points(landfall)?;
        let ids: Vec<u64> = points.iter().map(|(_, _, time)| *time).collect();
        let span = ids
            .iter()
            .max()
            .zip(ids.iter().min())
            .map_or(0, |(last, first)| last - first);
        let has_app = points.iter().any(|(_, consistency, _)| consistency == "app");
        Ok(has_app && span > RETENTION * 1_000 / 2 && written(target)? > points.len() + 3 * MORE_LAYERS)
    })?;
    // Merging follows deleting: the two are counted at a moment when it has caught up, if there is one.
    let count = || anyhow::Ok((points(landfall)?.len(), target.files()?.len()));
    let (mut points, mut files) = count()?;
    for _ in 0..40 {
        if files <= 2 * (points + MORE_LAYERS) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        (points, files) = count()?;
    }
    print(&format!(
        "{} layers were written; {points} points, {files} files of two disks",
        written(target)?
    ))?;
    ensure!(
        files <= 2 * (points + MORE_LAYERS),
        "layers are not merged: {files} files for {points} points"
    );
    Ok(())
}

/// Layers that were ever made: their files' numbers only grow.
fn written(target: &Site) -> Result<usize> {
    let number = |name: &String| name.strip_suffix(".qcow2")?.rsplit('.').next()?.parse().ok();
    Ok(target.files()?.iter().filter_map(number).max().unwrap_or(0))
}

/// Id, consistency and time of each point that can be used.
fn points(landfall: &Landfall) -> Result<Vec<(String, String, u64)>> {
    let answer = landfall.json(&["item", "points", ITEM])?;
    let list = answer.as_array().or_else(|| answer.get("points")?.as_array());
    let point = |point: &serde_json::Value| {
        point.get("processed")?.as_bool()?.then_some(())?;
        let time = point.get("source-time-ms")?.as_u64()?;
        Some((
            text(point, "id")?.to_owned(),
            text(point, "consistency")?.to_owned(),
            time,
        ))
    };
    Ok(list.into_iter().flatten().filter_map(point).collect())
}

fn newest(landfall: &Landfall, consistency: &str) -> Result<Option<String>> {
    let fits = points(landfall)?
        .into_iter()
        .filter(|(_, found, _)| found == consistency);
    Ok(fits.max_by_key(|(_, _, time)| *time).map(|(id, ..)| id))
}

/// What a test of a point finds: records on the first disk, and the last one in the log on the second.
fn tested(landfall: &Landfall, choice: &[&str]) -> Result<(u64, u64)> {
    landfall.job(&[&["failover", "--item", ITEM, "--kind", "test"], choice].concat())?;
    let (found, bad, logged) = (
        ask_until(AWAY, "found")?,
        ask_until(AWAY, "bad")?,
        ask_until(AWAY, "logged")?,
    );
    ensure!(
        found > 0 && bad == 0 && logged <= found,
        "found {found}, {bad} bad, {logged} in the log"
    );
    landfall.job(&["cleanup", "--item", ITEM])?;
    Ok((found, logged))
}
