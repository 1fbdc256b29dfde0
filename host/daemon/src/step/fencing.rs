//! Whether a source is off, and what is done if nobody can say so.
//!
//! One idea: the host believes reads, and only reads that began after whatever was done. A power that was cut is proved
//! by reading it where it was cut; that the order to cut it was accepted proves nothing.

use landfall_recovery::codes;
use landfall_recovery::document::Side;
use landfall_recovery::executor::{OBSERVED_AT, PROOF};
use landfall_recovery::operations::Operation;
use landfall_recovery::proof::{FenceProof, ProofKind};
use landfall_recovery::words::{Failure, Pairs};
use landfall_runtime::contract::adapter::{self, Power, PowerAnswer};
use landfall_store::faults;

use super::operation::{adapter, run};
use super::{Begin, Report, Task};
use crate::clock;
use crate::contract::{from_call_error, from_pairs};

/// Has a source's power cut by whom the inventory names. Not where it is read as off: cutting the power of what is off
/// helps nobody, and there may be a reason why it is.
pub(super) async fn stonith(
    task: &Task,
    site: &str,
    operation: adapter::Operation,
    source: &Side,
    begin: Begin,
) -> Report {
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

fn words(seen: &Result<PowerAnswer, Failure>) -> String {
    match seen {
        Ok(answer) => {
            let power = match answer.power {
                Power::On => "on",
                Power::Off => "off",
                Power::Unknown => "unknown",
            };
            format!("it was read as {power}")
        }
        Err(failure) => format!("it could not be read: {failure}"),
    }
}

/// The proof that a source is off, by a read that begins now. `cut`: who cut its power in this job.
pub(super) async fn fence(task: &Task, site: &str, machine: &str, cut: Option<&Side>) -> Report {
    let proof = |kind, evidence, held, observed_at| FenceProof {
        site: site.to_owned(),
        machine: machine.to_owned(),
        kind,
        evidence,
        observed_at,
        held,
    };
    let mut what = String::new();
    if let Some(cut) = cut {
        let observed_at = clock::now();
        let seen = power(task, cut).await;
        if let Ok(PowerAnswer {
            power: Power::Off,
            autostart,
            evidence,
        }) = &seen
        {
            let mut evidence = from_pairs(evidence.clone());
            evidence.insert("fencing-site".to_owned(), cut.site.clone());
            evidence.insert("fencing-machine".to_owned(), cut.machine.clone());
            let held = autostart.map(|autostart| !autostart);
            return proved(&proof(ProofKind::Stonith, evidence, held, observed_at), observed_at);
        }
        what = format!("after its power was cut at `{}`, {}; there ", cut.site, words(&seen));
    }
    let observed_at = clock::now();
    let source = Side {
        site: site.to_owned(),
        machine: machine.to_owned(),
    };
    let seen = power(task, &source).await;
    if let Err(failure) = &seen
        && codes::parks(&failure.code)
        && task.frozen.risk.is_none()
    {
        return Report::Failed(failure.clone());
    }
    if let Ok(PowerAnswer {
        power,
        autostart,
        evidence,
    }) = &seen
        && (*power == Power::Off || faults::broken("fence"))
    {
        let (evidence, held) = (from_pairs(evidence.clone()), autostart.map(|autostart| !autostart));
        return proved(&proof(ProofKind::VerifiedOff, evidence, held, observed_at), observed_at);
    }
    what.push_str(&words(&seen));
    // The person who asked for this job accepted that (F15), by name and with a reason.
    if let Some(risk) = &task.frozen.risk {
        let evidence = Pairs::from([
            ("accepted-by".to_owned(), risk.who.clone()),
            ("reason".to_owned(), risk.why.clone()),
            ("seen".to_owned(), what),
        ]);
        let attested = proof(ProofKind::HumanAttested, evidence, None, observed_at);
        return proved(&attested, observed_at);
    }
    not_proved(task, &source, &what)
}

fn not_proved(task: &Task, source: &Side, what: &str) -> Report {
    let (job, id) = (&task.frozen.job, &task.step().id);
    let Side { site, machine } = source;
    let message = format!("the source `{machine}` at site `{site}` is not proved off: {what}");
    if task.frozen.operation == Operation::PlannedFailover {
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
pub(crate) fn proved(proof: &FenceProof, observed_at: u64) -> Report {
    match serde_json::to_string(proof) {
        Ok(text) => Report::done(Pairs::from([
            (PROOF.to_owned(), text),
            (OBSERVED_AT.to_owned(), observed_at.to_string()),
        ])),
        Err(error) => Report::Failed(Failure::definite(codes::INTERNAL, error.to_string())),
    }
}
