//! What goes wrong at a real site: each trouble ends in a clear error with its cure, or in a retry that helps, and
//! nothing is done twice or left over.

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGCONT, SIGSTOP};

use super::Stage;
use super::life::{MACHINES, SPARE};
use crate::landfall::{Step, wait};
use crate::processes::signal;
use crate::{say, seen};

/// A clone that takes longer than a request may: the host must not take silence for failure.
const SLOW_MS: u32 = 12_000;

/// Wrong password, wrong certificate.
pub(super) fn refusals(stage: &Stage<'_>) -> Result<()> {
    say("\n== Trouble: a wrong password, a certificate that is not trusted");
    let error = stage
        .landfall
        .site_error("wrong-password")?
        .context("a wrong password was taken")?;
    ensure!(
        error.contains("wrong-password") && error.contains("the content of the secret"),
        "{error}"
    );
    seen(&error);
    let error = stage
        .landfall
        .site_error("untrusted")?
        .context("a certificate of somebody else was taken")?;
    ensure!(error.contains("LF0425"), "{error}");
    seen(&error);
    Ok(())
}

/// Sessions end while nobody looks, and in the middle of a job.
pub(super) fn sessions(stage: &Stage<'_>) -> Result<()> {
    say("\n== Trouble: an administrator ends our sessions");
    let before: u32 = stage.east.ask("sessions/end")?;
    ensure!(before > 0, "there was no session to end");
    stage.east.tell("delay?method=CloneVM_Task&ms=1000")?;
    let id = stage.landfall.launch(&["failover", "shop", "--kind", "test"])?;
    wait("a machine is being made", || {
        let job = stage.landfall.show(&id)?;
        let making = |step: &Step| step.id.starts_with("create/") && step.status == "running";
        Ok(job.steps.iter().any(making).then_some(()))
    })?;
    let during: u32 = stage.east.ask("sessions/end")?;
    ensure!(during > 0, "there was no session to end in the middle");
    let job = stage.landfall.resting(&id)?;
    ensure!(job.status == "succeeded", "{job:?}");
    exactly_one_each(stage)?;
    stage.east.tell("delay?method=none&ms=0")?;
    stage.landfall.job(&["cleanup", "shop"])?;
    seen(&format!(
        "{before} sessions before and {during} in the middle of a test failover: it logged in again and succeeded"
    ));
    Ok(())
}

/// Answers break off: of a read, of the request that makes something, of a poll.
pub(super) fn half_answers(stage: &Stage<'_>) -> Result<()> {
    say("\n== Trouble: vCenter's answers break off in the middle");
    stage.east.tell("cut?method=RetrievePropertiesEx")?;
    let ended = stage.landfall.run(&["site", "machines", "east"])?;
    ensure!(ended.code != 0 && ended.stderr.contains("vCenter"), "{}", ended.stderr);
    seen(ended.stderr.lines().next().unwrap_or_default());
    stage.east.tell("cut?method=CloneVM_Task")?;
    let job = stage.landfall.job(&["failover", "shop", "--kind", "test"])?;
    exactly_one_each(stage)?;
    let tried: Vec<&str> = job
        .steps
        .iter()
        .filter(|step| step.attempt > 1)
        .map(|step| &*step.id)
        .collect();
    ensure!(
        tried.len() == 1 && tried.iter().all(|step| step.starts_with("create/")),
        "{tried:?} were tried again"
    );
    seen(&format!(
        "vCenter cloned, and its answer was lost: {} asked by key and went on",
        tried.join(", ")
    ));
    stage.east.tell("cut?method=Destroy_Task")?;
    stage.landfall.job(&["cleanup", "shop"])?;
    ensure!(
        stage.east.machines()?.iter().all(|one| one.folder != "recovered"),
        "machines are left"
    );
    Ok(())
}

fn exactly_one_each(stage: &Stage<'_>) -> Result<()> {
    for (_, machine) in MACHINES {
        stage.east.machine(&format!("{machine}-test"))?;
    }
    Ok(())
}

/// A test machine is deleted before the cleanup comes to it, and a source before a test.
pub(super) fn removed(stage: &Stage<'_>) -> Result<()> {
    say("\n== Trouble: machines are removed behind our back");
    let job = stage.landfall.job(&["failover", "shop", "--kind", "test"])?;
    stage.east.tell(&format!("destroy?machine={}", job.machine("db")?))?;
    let cleanup = stage.landfall.rest(&["cleanup", "shop"])?;
    ensure!(
        stage.east.machines()?.iter().all(|one| one.folder != "recovered"),
        "{cleanup:?}"
    );
    ensure!(cleanup.status == "succeeded", "{cleanup:?}");
    seen("a test machine that is gone is no obstacle to its cleanup");
    let (item, machine) = SPARE;
    stage.landfall.job(&["protect", item])?;
    let id = stage.east.machine(machine)?.id;
    stage.east.tell(&format!("destroy?machine={id}"))?;
    let refusal = stage
        .landfall
        .refused(&["failover", "--item", item, "--kind", "test"])?;
    ensure!(
        refusal.contains("vsphere/replica-missing") && refusal.contains("cure"),
        "{refusal}"
    );
    seen(
        refusal
            .lines()
            .find(|line| line.contains("replica-missing"))
            .unwrap_or_default()
            .trim(),
    );
    Ok(())
}

/// A datastore without room: as vCenter reports it, and as it says when it is too late.
pub(super) fn full(stage: &Stage<'_>) -> Result<()> {
    say("\n== Trouble: the datastore is full");
    stage.east.tell("free?bytes=1000")?;
    let refusal = stage.landfall.refused(&["failover", "shop", "--kind", "test"])?;
    ensure!(
        refusal.contains("vsphere/datastore-full") && refusal.contains("name another `datastore`"),
        "{refusal}"
    );
    seen(
        refusal
            .lines()
            .find(|line| line.contains("datastore-full"))
            .unwrap_or_default()
            .trim(),
    );
    stage.east.tell(&format!("free?bytes={}", 1_u64 << 40))?;
    stage.east.tell("full?full=true")?;
    let job = stage.landfall.rest(&["failover", "shop", "--kind", "test"])?;
    let create = job.step("create/db")?;
    ensure!(job.status == "failed" && create.status == "failed", "{job:?}");
    let message = create.message.clone().unwrap_or_default();
    ensure!(
        message.contains("no room on the datastore LocalDS_0") && message.contains("free some"),
        "{create:?}"
    );
    seen(&format!("create/db: {message}"));
    stage.east.tell("full?full=false")?;
    ensure!(
        stage.east.machines()?.iter().all(|one| one.folder != "recovered"),
        "machines are left"
    );
    Ok(())
}

/// The daemon is killed while vCenter clones, before it can know of the task.
pub(super) fn crash(stage: &mut Stage<'_>) -> Result<()> {
    say("\n== Trouble: the daemon is killed while vCenter makes the machines");
    stage.east.tell("delay?method=CloneVM_Task&ms=3000")?;
    let id = stage.landfall.launch(&["failover", "shop", "--kind", "test"])?;
    wait("both machines are being made", || {
        let job = stage.landfall.show(&id)?;
        let making = job
            .steps
            .iter()
            .filter(|step| step.id.starts_with("create/") && step.status == "running");
        Ok((making.count() == MACHINES.len()).then_some(()))
    })?;
    stage.landfall.kill();
    stage.landfall.restart()?;
    let job = stage.landfall.resting(&id)?;
    ensure!(job.status == "succeeded", "{job:?}");
    exactly_one_each(stage)?;
    seen("after the restart vCenter was asked by key; each machine was made exactly once");
    stage.east.tell("delay?method=none&ms=0")?;
    stage.landfall.job(&["cleanup", "shop"])?;
    Ok(())
}

/// vCenter stops answering in the middle of a call, and comes back.
pub(super) fn silence(stage: &Stage<'_>) -> Result<()> {
    say("\n== Trouble: vCenter is gone in the middle of a call, and comes back");
    stage.east.tell(&format!("delay?method=CloneVM_Task&ms={SLOW_MS}"))?;
    let id = stage.landfall.launch(&["failover", "shop", "--kind", "test"])?;
    wait("both machines are being made", || {
        let job = stage.landfall.show(&id)?;
        let making = job
            .steps
            .iter()
            .filter(|step| step.id.starts_with("create/") && step.status != "pending");
        Ok((making.count() == MACHINES.len()).then_some(()))
    })?;
    // Requests that have arrived are carried out when it wakes; nobody hears of it.
    signal(stage.east.process.id, SIGSTOP)?;
    let doubt = wait("the host gives the call up", || {
        let job = stage.landfall.show(&id)?;
        let create = job.step("create/db")?;
        Ok(create
            .message
            .clone()
            .filter(|_| create.status != "running" || create.attempt > 1))
    });
    signal(stage.east.process.id, SIGCONT)?;
    seen(&format!("create/db: {}", doubt?));
    stage.east.tell("delay?method=none&ms=0")?;
    let job = stage.landfall.resting(&id)?;
    ensure!(job.status == "succeeded", "{job:?}");
    exactly_one_each(stage)?;
    seen("what was in doubt was asked for by key; each machine was made exactly once");
    stage.landfall.job(&["cleanup", "shop"])?;
    Ok(())
}
