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

/// Pairs of a first copy and a copy by qemu-img, in turns, each of a disk of its own.
const PAIRS: usize = 3;

/// What runs while it is measured.
struct Bench<'d> {
    directory: &'d Path,
    north: Site,
    landfall: Landfall,
    /// Names and references of the machines.
    machines: Vec<(String, String)>,
    /// The least and the most that the daemon was seen to need, in KiB.
    memory: (u64, u64),
}

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, kernel: &Kernel) -> Result<()> {
    step("Two sites, and machines with a gigabyte of random data each");
    let image = guest::image(directory, kernel)?;
    let north = Site::up(directory, "north")?;
    let south = Site::up(directory, "south")?;
    north.pool()?;
    south.pool()?;
    let mut machines = Vec::new();
    for number in 1..=PAIRS {
        let name = format!("big-{number}");
        let machine = north.guest(&image, &name, FILL)?;
        north.virsh(&["start", &name, "--paused"])?;
        machines.push((name, machine));
    }
    let sites = [
        Access::to("north", &north, PORTS[0]),
        Access::to("south", &south, PORTS[1]),
    ];
    configure(directory, plugins, &sites, &[])?;
    let mut bench = Bench {
        directory,
        north,
        landfall: Landfall::start(program, directory)?,
        machines,
        memory: (u64::MAX, 0),
    };
    bench.inventory("1h")?;

    step("First full copies, and qemu-img convert from the same exports");
    let mut ratios = Vec::new();
    for number in 0..PAIRS {
        let (ours, theirs) = bench.pair(number)?;
        print(&format!(
            "pair {}: first copy {ours:.0} MB/s, qemu-img {theirs:.0} MB/s: {:.2}",
            number + 1,
            ours / theirs
        ))?;
        ratios.push(ours / theirs);
    }
    ratios.sort_by(f64::total_cmp);
    let speed = ratios.get(PAIRS / 2).copied().context("no pair")?;
    let (least, most) = bench.memory;
    print(&format!("daemon's memory meanwhile: {least} to {most} KiB"))?;

    step("A mebibyte of scattered writes");
    let (dirty, moved) = bench.scattered()?;
    let overhead = ratio(moved, dirty);
    print(&format!(
        "{} bytes written, {dirty} bytes in dirty clusters, {moved} bytes sent: {overhead:.3}",
        WRITES * WRITE
    ))?;
    print(&format!(
        "\nmedian speed beside qemu-img {speed:.2} (at least {SPEED}), overhead {overhead:.3} (at most {OVERHEAD})"
    ))?;
    ensure!(
        speed >= SPEED,
        "BELOW THE AIM: {speed:.2} of qemu-img's speed, and not {SPEED}; was the machine busy?"
    );
    ensure!(
        dirty > 0 && overhead <= OVERHEAD,
        "ABOVE THE AIM: {overhead:.3} bytes are sent for each byte in a dirty cluster"
    );
    ensure!(
        most - least <= GROWTH_KIB,
        "ABOVE THE AIM: the daemon's memory grew by {} KiB",
        most - least
    );
    Ok(())
}

impl Bench<'_> {
    /// Our speed and theirs, in megabytes a second, of one machine's disk.
    fn pair(&mut self, number: usize) -> Result<(f64, f64)> {
        let (name, _) = self.machines.get(number).context("no such machine")?.clone();
        settle()?;
        let job = self.landfall.begin(&["protect", &name])?;
        let mut looks = 0_u32;
        loop {
            let memory = self.landfall.memory_kib()?;
            self.memory = (self.memory.0.min(memory), self.memory.1.max(memory));
            std::thread::sleep(Duration::from_millis(100));
            looks += 1;
            // To ask costs more than to look, and would be measured too.
            if looks.is_multiple_of(10)
                && text(&self.landfall.json(&["job", "show", &job])?, "status") != Some("running")
            {
                break;
            }
        }
        let job = self.landfall.wait(&job, &["succeeded"])?;
        let bytes = sent(&self.landfall, &name)?;
        let ours = rate(bytes, took(&job, &format!("seed/{name}"))?);
        settle()?;
        Ok((ours, rate(bytes, self.theirs(&name)?)))
    }

    /// How long qemu-img takes for the same.
    fn theirs(&self, name: &str) -> Result<Duration> {
        let backup = self.north.virsh(&["backup-dumpxml", name])?;
        let port = between(&backup, " port='", "'").context("no port")?;
        let export = between(&backup, "exportname='", "'").context("no export")?;
        let copy = self.directory.join("copy.qcow2");
        let url = format!("nbd://127.0.0.1:{port}/{export}");
        let began = Instant::now();
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
        fs::remove_file(&copy)?;
        Ok(took)
    }

    /// Bytes in dirty clusters, and bytes sent for them.
    fn scattered(&self) -> Result<(u64, u64)> {
        let (name, _) = self.machines.first().context("no machine")?;
        for index in 0..WRITES {
            // A stride that is no multiple of a cluster.
            let offset = (256 << 20) + index * 3_997_696;
            let command = format!("qemu-io -d {DEVICE} \"write -P 7 {offset} {WRITE}\"");
            let said = self.north.virsh(&["qemu-monitor-command", name, "--hmp", &command])?;
            ensure!(said.is_empty(), "{command}: {said}");
        }
        let dirty = dirty(&self.north, name)?;
        let before = sent(&self.landfall, name)?;
        self.inventory("2s")?;
        self.landfall
            .until("the writes are sent", |landfall| Ok(sent(landfall, name)? > before))?;
        Ok((dirty, sent(&self.landfall, name)? - before))
    }

    fn inventory(&self, rpo: &str) -> Result<()> {
        let item = |(name, machine): &(String, String)| {
            format!(
                "  - name: {name}\n    source: {{ site: north, machine: {machine} }}\n    target: {{ site: south }}\n    \
                 networks:\n      - {{ nic: nic-0, production: lan, test: bubble }}\n    replication: {{ rpo: {rpo} }}\n"
            )
        };
        let items: String = self.machines.iter().map(item).collect();
        fs::write(self.directory.join("inventory.yaml"), format!("items:\n{items}"))?;
        self.landfall.json(&["inventory", "apply", "inventory.yaml"]).map(drop)
    }
}

/// What others left in memory is on the disks, so that nobody pays for it.
fn settle() -> Result<()> {
    let status = Command::new("sync").status().context("cannot run sync")?;
    ensure!(status.success(), "sync: {status}");
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

fn sent(landfall: &Landfall, name: &str) -> Result<u64> {
    let items = landfall.json(&["item", "list"])?;
    let sent = item(&items, name).and_then(|item| item.get("bytes-sent")?.as_u64());
    sent.context("no bytes-sent")
}

/// What QEMU has noted since the last mark, in bytes.
fn dirty(site: &Site, name: &str) -> Result<u64> {
    let command = r#"{"execute":"query-named-block-nodes","arguments":{"flat":true}}"#;
    let answer: Value = serde_json::from_str(&site.virsh(&["qemu-monitor-command", name, command])?)?;
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
