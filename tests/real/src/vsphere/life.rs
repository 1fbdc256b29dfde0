//! The main path: what `features` declares, from the inventory to the commit, within one vCenter.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::documents::{Item, inventory as inventory_of, plan};
use super::{Stage, mixed};
use crate::{say, seen};

/// The protected machines, as the simulator names them.
pub(super) const MACHINES: [(&str, &str); 2] = [("db", "DC0_H0_VM0"), ("web", "DC0_C0_RP0_VM0")];

/// One more, which somebody deletes.
pub(super) const SPARE: (&str, &str) = ("spare", "DC0_C0_RP0_VM1");

/// The simulator's ids of the networks that its main program adds.
pub(super) const BUBBLE: &str = "network-68";
pub(super) const PRODUCTION: &str = "network-69";

/// What the site is, compared with what the simulator has.
pub(super) fn inventory(stage: &Stage<'_>) -> Result<()> {
    say("\n== Inventory, networks, health");
    let error = stage.landfall.site_error("east")?;
    ensure!(error.is_none(), "site east: {error:?}");
    let there = stage.east.machines()?;
    let listed: Vec<Value> = stage.landfall.json(&["site", "machines", "east"])?;
    ensure!(
        listed.len() == there.len(),
        "{} machines are listed of {}",
        listed.len(),
        there.len()
    );
    for machine in &there {
        let text = |one: &Value, field: &str| one.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let found = listed.iter().find(|one| text(one, "id") == machine.id);
        let found = found.with_context(|| format!("{} is not listed", machine.id))?;
        ensure!(text(found, "name") == machine.name, "{found}");
        ensure!((text(found, "power") == "on") == machine.is_on(), "{found}");
    }
    seen(&format!("{} machines by id, name and power", there.len()));
    let networks: Vec<Value> = stage.landfall.json(&["site", "networks", "east"])?;
    let isolated = |id: &str| {
        let found = networks
            .iter()
            .find(|one| one.get("id").and_then(Value::as_str) == Some(id));
        found.and_then(|one| one.get("isolated")).and_then(Value::as_bool)
    };
    ensure!(
        isolated(BUBBLE) == Some(true) && isolated(PRODUCTION) == Some(false),
        "{networks:?}"
    );
    seen("a port group without uplinks is isolated, one with an uplink is not");
    Ok(())
}

pub(super) fn protect(stage: &Stage<'_>) -> Result<()> {
    say("\n== Preflight and protection");
    let machines = MACHINES.into_iter().chain([mixed::BESIDE, SPARE]);
    let sources: Vec<(&str, String)> = machines
        .map(|(item, machine)| Ok((item, stage.east.machine(machine)?.id)))
        .collect::<Result<_>>()?;
    let items = sources.iter().map(|(name, id)| Item {
        name,
        source: ("east", id),
        target: "recovery",
        nic: "4000",
        production: PRODUCTION,
        test: BUBBLE,
    });
    let items: Vec<Item<'_>> = items.chain([mixed::ITEM]).collect();
    stage.landfall.apply("inventory", "inventory", &inventory_of(&items))?;
    stage
        .landfall
        .apply("plan", "shop", &plan("shop", &MACHINES.map(|(name, _)| name)))?;
    let job = stage.landfall.job(&["protect", "--plan", "shop"])?;
    let warned = job
        .findings
        .iter()
        .any(|finding| finding.id == "vsphere/points-at-source");
    ensure!(
        warned,
        "nobody said that the points are at the source: {:?}",
        job.findings
    );
    seen("preflight warns that points are on the source's own datastore");
    for (item, machine) in MACHINES {
        let points = stage.east.machine(machine)?;
        ensure!(
            points.points().len() == 1 && points.points().iter().all(|name| name.starts_with("landfall-")),
            "{points:?}"
        );
        ensure!(
            job.step(&format!("prepare-replica/{item}"))?.class == "probeable",
            "{job:?}"
        );
    }
    seen("each machine has one snapshot of ours");
    let (_, machine) = MACHINES[0];
    let id = stage.east.machine(machine)?.id;
    stage.east.tell(&format!("snapshot?machine={id}&name=nightly"))?;
    let points: Value = stage.landfall.json(&["item", "points", "db", "--refresh"])?;
    let points = points.get("points").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(points == 2, "{points} points instead of ours and vCenter's own");
    seen("a snapshot that vCenter's own schedule took is a recovery point too");
    Ok(())
}

pub(super) fn test(stage: &Stage<'_>) -> Result<()> {
    say("\n== Test failover and cleanup");
    let before = stage.east.machines()?.len();
    stage.east.tell("tag?name=recovered")?;
    let job = stage.landfall.job(&["failover", "shop", "--kind", "test"])?;
    for (item, machine) in MACHINES {
        let made = stage.east.with_id(job.machine(item)?)?;
        ensure!(made.name == format!("{machine}-test") && made.is_on(), "{made:?}");
        ensure!(made.folder == "recovered", "{made:?}");
        ensure!(
            made.networks.iter().flatten().all(|network| network == "bubble"),
            "{made:?}"
        );
        ensure!(made.stamp("item") == item && made.stamp("job") == job.id, "{made:?}");
        ensure!(
            !made.stamp("key").is_empty() && !made.stamp("installation").is_empty(),
            "{made:?}"
        );
        ensure!(stage.east.machine(machine)?.is_on(), "the source of {item} was touched");
        let proof = job.step(&format!("isolation/{item}"))?;
        ensure!(
            proof.outputs.values().any(|text| text.contains("no uplink")),
            "{proof:?}"
        );
    }
    let mut tagged: Vec<String> = stage.east.ask("tagged?name=recovered")?;
    let mut made: Vec<String> = MACHINES
        .iter()
        .map(|(item, _)| Ok(job.machine(item)?.to_owned()))
        .collect::<Result<_>>()?;
    tagged.sort_unstable();
    made.sort_unstable();
    ensure!(tagged == made, "{tagged:?} are tagged, and {made:?} were made");
    seen(
        "clones run in the isolated network, with our key, item and job in them and the site's tag on them; the sources run on",
    );
    stage.landfall.job(&["cleanup", "shop"])?;
    ensure!(stage.east.machines()?.len() == before, "the cleanup left machines");
    seen("nothing is left of the test");
    Ok(())
}

pub(super) fn planned(stage: &Stage<'_>) -> Result<()> {
    say("\n== Planned failover: off with proof, then up elsewhere");
    let job = stage
        .landfall
        .job(&["failover", "shop", "--kind", "planned", "--confirm", "shop"])?;
    for (item, machine) in MACHINES {
        let made = stage.east.with_id(job.machine(item)?)?;
        ensure!(
            made.is_on() && made.name == machine && made.folder == "recovered",
            "{made:?}"
        );
        ensure!(
            made.networks.iter().flatten().all(|network| network == "production"),
            "{made:?}"
        );
        let same: Vec<_> = stage
            .east
            .named(machine)?
            .into_iter()
            .filter(|one| one.id != made.id)
            .collect();
        ensure!(same.len() == 1 && same.iter().all(|source| !source.is_on()), "{same:?}");
        let proof = job.step(&format!("fence/{item}"))?;
        let proof = proof.outputs.get("proof").with_context(|| format!("{proof:?}"))?;
        let proof: Value = serde_json::from_str(proof)?;
        ensure!(
            proof.pointer("/kind").and_then(Value::as_str) == Some("verified-off"),
            "{proof}"
        );
        ensure!(
            proof.pointer("/evidence/power-state").and_then(Value::as_str) == Some("poweredOff"),
            "{proof}"
        );
        ensure!(proof.pointer("/held").and_then(Value::as_bool) == Some(true), "{proof}");
    }
    seen("sources are off, read as off with evidence, and would not start by themselves");
    seen("the recovered machines run in the production network, from the point made after the shutdown");
    Ok(())
}

pub(super) fn commit(stage: &Stage<'_>) -> Result<()> {
    say("\n== Commit: our points go, nobody else's");
    stage.landfall.job(&["commit", "shop"])?;
    let sources = stage.east.machines()?.into_iter().filter(|one| one.folder == "vm");
    let left: Vec<String> = sources.flat_map(|one| one.snapshots.unwrap_or_default()).collect();
    ensure!(left == ["nightly"], "{left:?}");
    seen("of all snapshots only vCenter's own is left");
    Ok(())
}
