//! One plan with machines of two platforms (X07), and a mixed pair in it: a machine of one platform, recovered at
//! another. The lab plays its source, where it is shut down and proved off; a vCenter keeps a standby of it, whose
//! snapshots are its points. The other machine lives in a vCenter and is recovered there.
//!
//! How the source's data reaches the standby is not played: another product does that, and the simulator has no disks.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Stage;
use super::documents::{Item, plan};
use super::life::{BUBBLE, PRODUCTION};
use crate::processes::{Process, Processes};
use crate::{say, seen};

/// The standby, which has the name of its source.
const NAME: &str = "DC0_H0_VM0";

/// Its card has another platform's name.
pub(super) const ITEM: Item<'static> = Item {
    name: "orders",
    source: ("lab", "orders"),
    target: "standby",
    nic: "nic-0",
    production: PRODUCTION,
    test: BUBBLE,
};

/// The machine beside it in the plan.
pub(super) const BESIDE: (&str, &str) = ("cache", "DC0_H0_VM1");

/// A lab with one machine.
pub(super) struct Lab {
    pub(super) url: String,
    _process: Process,
}

impl Lab {
    pub(super) fn start(landfall: &Path, directory: &Path, processes: &Processes) -> Result<Self> {
        let ready = directory.join("lab.ready");
        let mut command = Command::new(landfall);
        command.args(["lab", "--listen", "127.0.0.1:0", "--data", "lab", "--ready-file"]);
        let (process, url) = processes.start("lab", directory, command.arg(&ready), &ready)?;
        let machine = json!({"site": "a", "id": "orders", "name": NAME, "records_per_second": 10});
        let made = ureq::post(format!("{url}/control/machines")).send_json(json!([machine]));
        made.context("the lab makes no machine")?;
        Ok(Self { url, _process: process })
    }

    fn machine(&self) -> Result<Value> {
        let asked = ureq::get(format!("{}/sites/a/machines/orders", self.url)).call();
        let mut answer = asked.context("the lab does not answer")?;
        answer.body_mut().read_json().context("the lab's answer cannot be read")
    }
}

pub(super) fn play(stage: &Stage<'_>, lab: &Lab, short: bool) -> Result<()> {
    say(
        "\n== One plan of two platforms, with a mixed pair: a lab machine, recovered at a vCenter that keeps its standby",
    );
    stage
        .landfall
        .apply("plan", "orders", &plan("orders", &[BESIDE.0, "orders"]))?;
    stage.landfall.job(&["protect", "--plan", "orders"])?;
    let standby = stage.west.machine(NAME)?;
    ensure!(standby.points().len() == 1, "{standby:?}");
    seen("the standby was found by its source's name, and has a point");
    if !short {
        let refusal = stage
            .landfall
            .refused(&["failover", "orders", "--kind", "planned", "--confirm", "orders"])?;
        ensure!(
            refusal.contains("vsphere/standby-may-lag") && refusal.contains("30 s behind"),
            "{refusal}"
        );
        seen("a planned failover is refused: nobody can promise that the standby has the last data");
        stage.landfall.job(&["failover", "orders", "--kind", "test"])?;
        stage.landfall.job(&["cleanup", "orders"])?;
    }
    let job = stage
        .landfall
        .job(&["failover", "orders", "--kind", "unplanned", "--confirm", "orders"])?;
    let source = lab.machine()?;
    ensure!(source.get("power").and_then(Value::as_str) == Some("off"), "{source}");
    let made = stage.west.with_id(job.machine("orders")?)?;
    ensure!(made.is_on() && made.folder == "recovered", "{made:?}");
    ensure!(
        made.networks.iter().flatten().all(|network| network == "production"),
        "{made:?}"
    );
    let fence = job.step("fence/orders")?;
    ensure!(
        fence
            .outputs
            .get("proof")
            .is_some_and(|proof| proof.contains("verified-off")),
        "{fence:?}"
    );
    seen(
        "the lab's machine is off with proof, and its standby's clone runs at the vCenter, mapped by the card's order",
    );
    let (item, machine) = BESIDE;
    let beside = stage.east.with_id(job.machine(item)?)?;
    ensure!(
        beside.is_on() && beside.folder == "recovered" && beside.name == machine,
        "{beside:?}"
    );
    ensure!(
        !stage.east.machine_in("vm", machine)?.is_on(),
        "the source of {item} runs"
    );
    seen("in the same job a machine of the other platform was recovered at its own site");
    let rpo = job
        .items
        .iter()
        .find(|one| one.item == "orders")
        .and_then(|one| one.rpo_ms)
        .context("no RPO is shown")?;
    ensure!(rpo >= 30_000, "the RPO of {rpo} ms leaves out the standby's lag");
    seen(&format!(
        "the RPO shown, {} s, has the standby's lag in it",
        rpo / 1_000
    ));
    stage.landfall.job(&["commit", "orders"])?;
    ensure!(
        stage.west.machine_in("vm", NAME)?.points().is_empty(),
        "points are left at the standby"
    );
    Ok(())
}
