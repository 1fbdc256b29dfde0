//! Whether a source is off, and what is done if nobody can say so.
//!
//! One idea: the host believes reads, and only reads that began after whatever was done. A power that was cut is proved
//! by reading it where it was cut; that the order to cut it was accepted proves nothing.

use landfall_recovery::codes;
use landfall_recovery::document::Side;
use landfall_recovery::executor::{OBSERVED_AT, PROOF};
use landfall_recovery::graph::StepKind;
use landfall_recovery::operations::Operation;
use landfall_recovery::proof::{FenceProof, ProofKind, Reading};
use landfall_recovery::words::{Failure, Pairs};
use landfall_runtime::contract::adapter::{Operation as Effect, Power, PowerAnswer};
use landfall_store::faults;

use super::operation::{adapter, run};
use super::{Begin, Report, Task};
use crate::clock;
use crate::contract::{from_call_error, from_pairs};

/// Has a source's power cut by whom the inventory names. Not where it is read as off: cutting the power of what is off
/// helps nobody, and there may be a reason why it is.
pub(super) async fn stonith(task: &Task, site: &str, operation: Effect, source: &Side, begin: Begin) -> Report {
    // What was begun is ended: by now nobody knows what a read before it would have said.
    if matches!(begin, Begin::Send)
        && let Ok(PowerAnswer { power: Power::Off, .. }) = power(task, source).await
    {
        let reason = format!("`{}` at site `{}` is off already", source.machine, source.site);
        return Report::Skipped { reason };
    }
    run(task, site, operation, &Pairs::new(), begin).await
}

async fn power(task: &Task, side: &Side) -> Result<PowerAnswer, Failure> {
    let adapter = adapter(task, &side.site).await?;
    let answer = adapter.power_state(side.machine.clone()).await;
    answer.map_err(|error| from_call_error(&error))
}

/// Reads a machine's power. What it says if it says off is evidence of this kind.
async fn read(task: &Task, side: &Side, kind: ProofKind) -> Result<Reading, Failure> {
    let observed_at = clock::now();
    let seen = power(task, side).await;
    if let Err(failure) = &seen
        && codes::parks(&failure.code)
        && task.frozen.risk.is_none()
    {
        return Err(failure.clone());
    }
    let (off, held, evidence, words) = match seen {
        Ok(PowerAnswer {
            power,
            autostart,
            evidence,
        }) => {
            let word = match power {
                Power::On => "on",
                Power::Off => "off",
                Power::Unknown => "unknown",
            };
            let off = power == Power::Off || faults::broken("fence");
            let held = autostart.map(|autostart| !autostart);
            (off, held, from_pairs(evidence), format!("was read as {word}"))
        }
        Err(failure) => (false, None, Pairs::new(), format!("could not be read: {failure}")),
    };
    let words = format!("at `{}` it {words}", side.site);
    Ok(Reading {
        kind,
        off,
        held,
        evidence,
        observed_at,
        words,
    })
}

/// The proof that a source is off, by a read that begins now. `cut`: who cut its power in this job, and is asked first.
pub(super) async fn fence(task: &Task, source: &Side, cut: Option<&Side>) -> Report {
    let mut readings = Vec::new();
    if let Some(cut) = cut {
        match read(task, cut, ProofKind::Stonith).await {
            Err(failure) => return Report::Failed(failure),
            Ok(mut reading) => {
                let mut put = |name: &str, value: &str| reading.evidence.insert(name.to_owned(), value.to_owned());
                put("fencing-site", &cut.site);
                put("fencing-machine", &cut.machine);
                readings.push(reading);
            }
        }
    }
    if !readings.iter().any(|reading| reading.off) {
        match read(task, source, ProofKind::VerifiedOff).await {
            Err(failure) => return Report::Failed(failure),
            Ok(reading) => readings.push(reading),
        }
    }
    if let Some(proof) = FenceProof::of(source, &readings, task.frozen.risk.as_ref()) {
        return proved(&proof);
    }
    let seen: Vec<String> = readings.into_iter().map(|reading| reading.words).collect();
    not_proved(task, source, &seen.join("; "))
}

fn not_proved(task: &Task, source: &Side, what: &str) -> Report {
    let (job, id) = (&task.frozen.job, &task.step().id);
    let Side { site, machine } = source;
    let message = format!("the source `{machine}` at site `{site}` is not proved off: {what}");
    if task.frozen.operation == Operation::PlannedFailover && task.step().kind == StepKind::Fence {
        return Report::Failed(Failure::definite(codes::NOT_FENCED, message));
    }
    let ways = format!(
        "make sure that it is off, then `landfall job retry {job} {id}` to look again, or \
         `landfall job attest {job} {id} --reason WHY` to vouch for it"
    );
    Report::Stuck {
        code: codes::NOT_FENCED,
        reason: format!("{message}; {ways}"),
    }
}

/// The outputs of a fence step.
pub(crate) fn proved(proof: &FenceProof) -> Report {
    match serde_json::to_string(proof) {
        Ok(text) => Report::done(Pairs::from([
            (PROOF.to_owned(), text),
            (OBSERVED_AT.to_owned(), proof.observed_at.to_string()),
        ])),
        Err(error) => Report::Failed(Failure::definite(codes::INTERNAL, error.to_string())),
    }
}
