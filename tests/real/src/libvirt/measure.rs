//! Speed and memory of replication: a first full copy beside `qemu-img convert` from the same NBD export, and what a
//! cycle sends after scattered writes. The machine's processors never run, so that only what is written here is dirty.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guest;
use super::host::{Access, Landfall, configure, text};
use super::packages::Kernel;
use super::site::Site;
use super::story::{PORTS, item, step};
use super::tell::print;

/// The disk's random data, in MiB.
const FILL: u64 = 1_024;

/// Scattered writes: a mebibyte in all.
const WRITES: u64 = 256;
const WRITE: u64 = 4_096;

/// The guest's disk, as its QEMU names it.
pub(super) const DEVICE: &str = "/machine/peripheral/virtio-disk0/virtio-backend";

/// At least this part of the speed of `qemu-img convert`.
const SPEED: f64 = 0.5;

/// At most so many bytes sent for each byte in a dirty cluster.
const OVERHEAD: f64 = 1.1;

/// The daemon's memory may grow by this while a gigabyte passes through: buffers of a few slices.
const GROWTH_KIB: u64 = 64 << 10;

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, kernel: &Kernel) -> Result<()> {
    step("Two sites, and a machine with a gigabyte of random data");
    let image = guest::image(directory, kernel)?;
    let north = Site::up(directory, "north")?;
    let south = Site::up(directory, "south")?;
    north.pool()?;
    south.pool()?;
    let machine = north.guest(&image, "big", FILL)?;
    north.virsh(&["start", "big", "--paused"])?;
    configure(
        directory,
        plugins,
        &[
            Access::to("north", &north, PORTS[0]),
            Access::to("south", &south, PORTS[1]),
        ],
        &[],
    )?;
    let landfall = Landfall::start(program, directory)?;
    inventory(&landfall, directory, &machine, "1h")?;

    step("The first full copy");
    let job = landfall.begin(&["protect", "big"])?;
    let (mut least, mut most, mut looks) = (u64::MAX, 0, 0_u32);
    loop {
        let memory = landfall.memory_kib()?;
        (least, most) = (least.min(memory), most.max(memory));
        std::thread::sleep(Duration::from_millis(100));
        looks += 1;
        // To ask costs more than to look, and would be measured too.
        if looks.is_multiple_of(10) && text(&landfall.json(&["job", "show", &job])?, "status") != Some("running") {
            break;
        }
    }
    let job = landfall.wait(&job, &["succeeded"])?;
    let copied = took(&job, "seed/big")?;
    let bytes = sent(&landfall)?;
    let ours = rate(bytes, copied);
    print(&format!(
        "first copy: {bytes} bytes in {:.2} s, {ours:.0} MB/s",
        copied.as_secs_f64()
    ))?;
    print(&format!("daemon's memory meanwhile: {least} to {most} KiB"))?;

    step("qemu-img convert from the same export");
    let backup = north.virsh(&["backup-dumpxml", "big"])?;
    let port = between(&backup, " port='", "'").context("no port")?;
    let export = between(&backup, "exportname='", "'").context("no export")?;
    let copy = directory.join("copy.qcow2");
    let began = Instant::now();
    let url = format!("nbd://127.0.0.1:{port}/{export}");
    let done = Command::new("qemu-img")
        // A replica is on the disk when it is acknowledged; without this qemu-img leaves it in memory.
        .args(["convert", "-t", "writeback", "-f", "raw", "-O", "qcow2", &url])
        .arg(&copy)
        .status();
    ensure!(
        done.context("cannot run qemu-img")?.success(),
        "qemu-img does not copy {url}"
    );
    let took = began.elapsed();
    let theirs = rate(bytes, took);
    print(&format!(
        "qemu-img:   {bytes} bytes in {:.2} s, {theirs:.0} MB/s",
        took.as_secs_f64()
    ))?;
    fs::remove_file(&copy)?;

    step("A mebibyte of scattered writes");
    for index in 0..WRITES {
        // A stride that is no multiple of a cluster.
        let offset = (256 << 20) + index * 3_997_696;
        let command = format!("qemu-io -d {DEVICE} \"write -P 7 {offset} {WRITE}\"");
        let said = north.virsh(&["qemu-monitor-command", "big", "--hmp", &command])?;
        ensure!(said.is_empty(), "{command}: {said}");
    }
    let dirty = dirty(&north)?;
    let before = sent(&landfall)?;
    inventory(&landfall, directory, &machine, "2s")?;
    landfall.until("the writes are sent", |landfall| Ok(sent(landfall)? > before))?;
    let moved = sent(&landfall)? - before;
    print(&format!(
        "{} bytes written, {dirty} bytes in dirty clusters, {moved} bytes sent: {:.3}",
        WRITES * WRITE,
        ratio(moved, dirty)
    ))?;

    print(&format!(
        "\nspeed beside qemu-img {:.2} (at least {SPEED}), overhead {:.3} (at most {OVERHEAD})",
        ours / theirs,
        ratio(moved, dirty)
    ))?;
    ensure!(ours / theirs >= SPEED, "too slow");
    ensure!(dirty > 0 && ratio(moved, dirty) <= OVERHEAD, "too much is sent");
    ensure!(most - least <= GROWTH_KIB, "memory grew by {} KiB", most - least);
    Ok(())
}

/// From a step's first call to its last answer.
fn took(job: &Value, step: &str) -> Result<Duration> {
    let steps = job.get("steps").and_then(Value::as_array).context("no steps")?;
    let step = steps
        .iter()
        .find(|one| text(one, "id") == Some(step))
        .context("no such step")?;
    let at = |name: &str| step.get(name).and_then(Value::as_u64);
    let (begun, ended) = at("begun-at").zip(at("ended-at")).context("a step without times")?;
    Ok(Duration::from_millis(ended.saturating_sub(begun)))
}

fn inventory(landfall: &Landfall, directory: &Path, machine: &str, rpo: &str) -> Result<()> {
    let text = format!(
        "items:\n  - name: big\n    source: {{ site: north, machine: {machine} }}\n    target: {{ site: south }}\n    \
         networks:\n      - {{ nic: nic-0, production: lan, test: bubble }}\n    replication: {{ rpo: {rpo} }}\n"
    );
    fs::write(directory.join("inventory.yaml"), text)?;
    landfall.json(&["inventory", "apply", "inventory.yaml"]).map(drop)
}

fn sent(landfall: &Landfall) -> Result<u64> {
    let items = landfall.json(&["item", "list"])?;
    let sent = item(&items, "big").and_then(|item| item.get("bytes-sent")?.as_u64());
    sent.context("no bytes-sent")
}

/// What QEMU has noted since the last mark, in bytes.
fn dirty(site: &Site) -> Result<u64> {
    let command = r#"{"execute":"query-named-block-nodes","arguments":{"flat":true}}"#;
    let answer: Value = serde_json::from_str(&site.virsh(&["qemu-monitor-command", "big", command])?)?;
    let nodes = answer.get("return").and_then(Value::as_array).context("no nodes")?;
    let bitmaps = nodes
        .iter()
        .filter_map(|node| node.get("dirty-bitmaps")?.as_array())
        .flatten();
    let ours = bitmaps.filter(|bitmap| text(bitmap, "name").is_some_and(|name| name.starts_with("lf-")));
    ours.filter_map(|bitmap| bitmap.get("count")?.as_u64())
        .max()
        .context("no bitmap")
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}
