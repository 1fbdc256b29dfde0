//! `cargo xtask demo`: the main job from end to end, on free ports and in a temporary directory. It drives the same
//! program as everybody else, and believes only what it reads back from the disks at the end.

mod answers;
mod lab;
mod processes;
mod verdict;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{build, print, say};
use answers::Item;
use lab::Lab;
use processes::Processes;
use verdict::{Report, table};

/// The machines of the example inventory at their home.
const MACHINES: [&str; 6] = ["db-1", "db-2", "app-1", "app-2", "web-1", "web-2"];

/// Port of the lab in the example files; the real one takes its place.
const EXAMPLE_PORT: &str = "7421";

/// What operations take, in milliseconds: long enough to watch, short enough for a demonstration of a minute.
const LATENCIES: [(&str, u64, u64); 6] = [
    ("prepare-replica", 200, 500),
    ("shutdown", 400, 900),
    ("process", 200, 600),
    ("create-machine", 400, 1_000),
    ("start", 200, 600),
    ("delete-machine", 200, 500),
];

/// How long a machine takes from power on to its first answer.
const BOOT_MS: u64 = 1_000;

/// All items replicate within two or three cycles of some seconds.
const PROTECTED_WITHIN: Duration = Duration::from_mins(1);

pub(crate) fn run() -> Result<()> {
    say("Building landfall and its plugins");
    let built = build::plugins()?;
    let began = Instant::now();
    let directory = tempfile::Builder::new()
        .prefix("landfall-demo-")
        .tempdir()
        .context("no temporary directory")?;
    let processes = Processes::new(directory.path())?;
    let result = play(&built, directory.path(), &processes);
    processes.end();
    match result {
        Ok(()) => print(&format!(
            "\nThe demo took {:.1} s and its data read back right.",
            began.elapsed().as_secs_f64()
        )),
        Err(error) => {
            // What happened is in the logs and the ledger, so they stay.
            let kept = directory.keep();
            Err(error.context(format!("the demo failed; its logs and data are in {}", kept.display())))
        }
    }
}

fn play(built: &build::Built, directory: &Path, processes: &Processes) -> Result<()> {
    step("Two virtual sites, six machines that write numbered records");
    let lab = Lab::start(&built.landfall, directory, processes)?;
    lab.furnish(&MACHINES, &LATENCIES, BOOT_MS)?;
    step("The daemon, with the example configuration");
    write_examples(directory, lab.port(), &built.plugins)?;
    let landfall = processes.daemon(&built.landfall, directory)?;
    landfall.run(&["site", "list"])?;
    step("Inventory and plan");
    landfall.run(&["inventory", "apply", "inventory.yaml"])?;
    landfall.run(&["plan", "apply", "plan.yaml"])?;
    step("Protection: the first full copy, then one cycle after the other");
    landfall.job(&["protect", "--plan", "hrweb"])?;
    wait_until_protected(&landfall)?;
    landfall.run(&["item", "list"])?;
    step("A test failover, in networks that reach nothing");
    let test = landfall.job(&["failover", "hrweb", "--kind", "test"])?;
    let tested = Report::read(&lab, &test, false)?;
    print(&table(&tested))?;
    step("Cleanup of the test");
    landfall.job(&["cleanup", "hrweb"])?;
    step("A planned failover: shut down, synchronise, then move");
    let planned = landfall.job(&["failover", "hrweb", "--kind", "planned", "--confirm", "hrweb"])?;
    let moved = Report::read(&lab, &planned, true)?;
    step("Commit");
    landfall.job(&["commit", "hrweb"])?;
    landfall.run(&["item", "list"])?;
    step("What was read back from the disks");
    print(&table(&moved))?;
    tested.check(MACHINES.len())?;
    moved.check(MACHINES.len())?;
    verdict::webhooks(&lab, &test, &["announce", "open-database-firewall", "report"])?;
    verdict::webhooks(
        &lab,
        &planned,
        &["announce", "open-database-firewall", "switch-dns", "report"],
    )?;
    verdict::ledger(&lab)
}

fn step(words: &str) {
    say(&format!("\n== {words}"));
}

/// The files that newcomers read are the files that the demo runs.
fn write_examples(directory: &Path, port: &str, plugins: &Path) -> Result<()> {
    let plugins = plugins.to_str().context("the path of the plugins is no text")?;
    for file in ["landfall.toml", "inventory.yaml", "plan.yaml"] {
        let path = build::root().join("examples").join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = text.replace(EXAMPLE_PORT, port).replace("../target/plugins", plugins);
        fs::write(directory.join(file), text).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}

fn wait_until_protected(landfall: &processes::Landfall<'_>) -> Result<()> {
    let began = Instant::now();
    loop {
        let items: Vec<Item> = landfall.json(&["item", "list"])?;
        let is_ready = |item: &Item| item.phase == "protected" && item.points > 0;
        if items.len() == MACHINES.len() && items.iter().all(is_ready) {
            return Ok(());
        }
        if began.elapsed() > PROTECTED_WITHIN {
            bail!(
                "the items are not protected after {} s: {items:?}",
                PROTECTED_WITHIN.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
