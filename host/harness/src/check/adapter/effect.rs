//! One effect, carried through everything that a crash of the host can do to it: asked for before, submitted, polled by
//! a host that was started anew, submitted again under its key while it runs and when it is over, and asked for after.
//! What of this applies follows from the class that the adapter declares, which is thereby found honest or not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use landfall_runtime::contract::adapter::Operation;
use landfall_runtime::contract::types::{Call, EffectClass, ProbeAnswer, Progress};
use landfall_runtime::{Adapter, CallError};

/// The far end may wait this long for one of the handles.
const WAIT_MS: u32 = 1_000;

/// Between two polls, at most: a scratch site is quick.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// An adapter seen by a host, and by the host after a restart: memory, sessions and runtime are another's.
pub(super) struct Role {
    pub(super) now: Adapter,
    pub(super) restarted: Adapter,
    pub(super) classes: BTreeMap<String, EffectClass>,
    /// For `probeable`: after this long, absent means absent.
    pub(super) settle: BTreeMap<String, u64>,
}

/// Who calls.
pub(super) struct Caller {
    pub(super) installation: String,
    pub(super) patience: Duration,
}

impl Caller {
    pub(super) fn call(&self, step: &str, attempt: u32) -> Call {
        Call {
            installation: self.installation.clone(),
            epoch: 1,
            job: Some(format!("{}-job", self.installation)),
            step: step.to_owned(),
            attempt,
            key: format!("{}/{step}/1", self.installation),
            remaining_ms: 0,
            ext: vec![],
        }
    }
}

pub(super) type Outputs = BTreeMap<String, String>;

/// The name of an operation as the contract has it.
pub(super) fn name(operation: &Operation) -> &str {
    match operation {
        Operation::Shutdown(_) => "shutdown",
        Operation::Hold(_) => "hold",
        Operation::Snapshot(_) => "snapshot",
        Operation::Release(_) => "release",
        Operation::Start(_) => "start",
        Operation::PrepareReplica(_) => "prepare-replica",
        Operation::ReceiveComplete(_) => "receive-complete",
        Operation::Process(_) => "process",
        Operation::DeletePoints(_) => "delete-points",
        Operation::DeleteReplica(_) => "delete-replica",
        Operation::CreateMachine(_) => "create-machine",
        Operation::BootPrepare(_) => "boot-prepare",
        Operation::ChangePoint(_) => "change-point",
        Operation::Stop(_) => "stop",
        Operation::DeleteMachine(_) => "delete-machine",
        Operation::Fence(_) => "fence",
        Operation::Custom(custom) => &custom.name,
    }
}

/// What the effect gave, and what is wrong with how it came. None: it did not come at all.
pub(super) async fn effect(
    role: &Role,
    caller: &Caller,
    step: &str,
    operation: Operation,
    wrong: &mut Vec<String>,
) -> Option<Outputs> {
    let name = name(&operation).to_owned();
    let class = role.classes.get(&name).copied().unwrap_or(EffectClass::OneShot);
    let repeatable = matches!(class, EffectClass::Read | EffectClass::Idempotent | EffectClass::Keyed);
    let by_key = matches!(class, EffectClass::Keyed | EffectClass::Probeable);
    let before = wrong.len();
    if by_key {
        match role.now.probe(caller.call(step, 1), operation.clone()).await {
            Ok(ProbeAnswer::Absent) => {}
            Ok(ProbeAnswer::Unknown(_)) if class == EffectClass::Keyed => {}
            Ok(other) => wrong.push(format!(
                "{name}: probed before it was submitted, it is {other:?}, not absent"
            )),
            Err(error) => wrong.push(format!("{name}: probed before it was submitted: {error}")),
        }
    }
    let first = match role.now.submit(caller.call(step, 1), operation.clone()).await {
        Ok(progress) => progress,
        Err(error) => {
            wrong.push(format!("{name}: {error}"));
            return None;
        }
    };
    // The answer may have been lost: the host, started anew, sends it again or asks for it.
    let second = if repeatable {
        Some(submit_again(role, caller, step, &operation, 2).await)
    } else {
        None
    };
    let done = finish(&role.restarted, caller, &name, first, wrong).await?;
    if let Some(second) = second {
        match second {
            Ok(progress) => {
                if let Some(again) = finish(&role.restarted, caller, &name, progress, wrong).await {
                    same(&name, "submitted again while it ran", &done, &again, wrong);
                }
            }
            Err(error) => wrong.push(format!("{name}: submitted again under its key while it ran: {error}")),
        }
        match submit_again(role, caller, step, &operation, 3).await {
            Ok(progress) => {
                if let Some(again) = finish(&role.now, caller, &name, progress, wrong).await {
                    same(&name, "submitted again when it was over", &done, &again, wrong);
                }
            }
            Err(error) => wrong.push(format!(
                "{name}: submitted again under its key when it was over: {error}"
            )),
        }
    }
    if by_key {
        let settle = role.settle.get(&name).copied().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(settle)).await;
        match role.restarted.probe(caller.call(step, 2), operation.clone()).await {
            Ok(ProbeAnswer::Done(outputs)) => {
                same(
                    &name,
                    "probed when it was over",
                    &done,
                    &outputs.into_iter().collect(),
                    wrong,
                );
            }
            Ok(ProbeAnswer::Unknown(_)) if class == EffectClass::Keyed => {}
            Ok(other) => wrong.push(format!("{name}: probed when it was over, it is {other:?}, not done")),
            Err(error) => wrong.push(format!("{name}: probed when it was over: {error}")),
        }
    }
    if wrong.len() > before {
        wrong.push(format!("{name} is declared `{}`", class_words(class)));
    }
    Some(done)
}

async fn submit_again(
    role: &Role,
    caller: &Caller,
    step: &str,
    operation: &Operation,
    attempt: u32,
) -> Result<Progress, CallError> {
    role.restarted
        .submit(caller.call(step, attempt), operation.clone())
        .await
}

fn same(name: &str, when: &str, first: &Outputs, again: &Outputs, wrong: &mut Vec<String>) {
    if first != again {
        wrong.push(format!("{name}: {when}, it gave {again:?}, and first {first:?}"));
    }
}

/// Polls to the end.
pub(super) async fn finish(
    adapter: &Adapter,
    caller: &Caller,
    name: &str,
    mut progress: Progress,
    wrong: &mut Vec<String>,
) -> Option<Outputs> {
    let began = Instant::now();
    loop {
        match progress {
            Progress::Done(outputs) => return Some(outputs.into_iter().collect()),
            Progress::Failed(failure) => {
                wrong.push(format!("{name}: {}: {}", failure.code, failure.message));
                return None;
            }
            Progress::Running(running) => {
                if began.elapsed() > caller.patience {
                    wrong.push(format!(
                        "{name}: still running after {} s: {}",
                        caller.patience.as_secs(),
                        running.note
                    ));
                    return None;
                }
                let pause = Duration::from_millis(u64::from(running.poll_after_ms)).min(LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
                let handle = running.handle.clone();
                match adapter.poll_many(vec![handle.clone()], WAIT_MS).await {
                    Ok(polled) => {
                        let Some((_, next)) = polled.into_iter().find(|(other, _)| *other == handle) else {
                            wrong.push(format!("{name}: poll-many says nothing of the handle `{handle}`"));
                            return None;
                        };
                        progress = next;
                    }
                    Err(error) => {
                        wrong.push(format!("{name}: poll-many: {error}"));
                        return None;
                    }
                }
            }
        }
    }
}

fn class_words(class: EffectClass) -> &'static str {
    match class {
        EffectClass::Read => "read",
        EffectClass::Idempotent => "idempotent",
        EffectClass::Keyed => "keyed",
        EffectClass::Probeable => "probeable",
        EffectClass::OneShot => "one-shot",
    }
}
