//! What to do next: decisions from a folded job and the time, nothing else.
//!
//! The daemon carries decisions out and feeds back what happened; the simulation does the same with invented times.
//! After a crash [`resume`] says, for every step that was under way, what the step protocol demands.

use std::collections::BTreeMap;

use crate::codes;
use crate::document::Side;
use crate::event::{Event, Outcome};
use crate::graph::{Step, StepIndex, StepKind};
use crate::job::{BACKOFF_MAX_MS, Job, Status, StepState, Stopping};
use crate::proof::{FenceProof, is_fresh};
use crate::words::{EffectClass, Millis};

/// How many operations may be under way at once, by site or runbook.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// For those not named.
    pub default: usize,
    /// By name.
    pub by_name: BTreeMap<String, usize>,
}

impl Limits {
    fn of(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or(self.default)
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this step's INTENT, then have its effect.
    Begin {
        /// Which step.
        step: StepIndex,
        /// Number of this try.
        attempt: u32,
        /// Number of its key.
        generation: u32,
    },
    /// Nobody can tell whether it happened: record this, for a person.
    Ask {
        /// The event.
        event: Event,
    },
    /// Nobody answered this gate in its time: it fails.
    Expire {
        /// Which step.
        step: StepIndex,
    },
    /// Nothing runs and nothing will.
    End {
        /// How it went.
        outcome: Outcome,
        /// In a sentence.
        reason: String,
    },
}

/// Decisions, and when to ask again if nothing happens before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub next: Vec<Next>,
    /// Host time.
    pub wake_at: Option<Millis>,
}

/// Decides what comes next.
pub fn decide(job: &Job, now: Millis, limits: &Limits) -> Plan {
    let mut plan = Plan::default();
    if job.outcome.is_some() || job.held.is_some() {
        return plan;
    }
    if job.stopping.is_none() {
        begin(job, now, limits, &mut plan);
    }
    expire(job, now, &mut plan);
    let idle = plan.next.is_empty() && job.running().next().is_none();
    let waits = job.stopping.is_none() && job.backing_off().next().is_some();
    // A stuck step keeps the job open, but not one that a person cancelled.
    let given_up = matches!(job.stopping, Some(Stopping::Cancelled | Stopping::Abandoned));
    let stuck = job.stuck().next().is_some() && !given_up;
    if idle && !waits && !stuck {
        plan.next.push(end(job));
    }
    plan
}

fn begin(job: &Job, now: Millis, limits: &Limits, plan: &mut Plan) {
    let mut in_flight: BTreeMap<&str, usize> = BTreeMap::new();
    for index in job.running() {
        if let Some(name) = job.graph().steps.get(index).and_then(|step| step.calls.as_deref()) {
            *in_flight.entry(name).or_default() += 1;
        }
    }
    // Nobody waits longer than the longest wait: what is later than that was set by a clock that was ahead.
    let wait = |index: StepIndex| match job.steps.get(index).map(|state| &state.status) {
        Some(Status::Backoff { until }) => until
            .checked_sub(now)
            .filter(|left| (1..=BACKOFF_MAX_MS).contains(left)),
        _ => None,
    };
    for index in job.backing_off().filter(|index| wait(*index).is_none()) {
        begin_one(job, index, now, (limits, &mut in_flight), plan);
    }
    for (lane, steps) in job.ready() {
        for index in steps {
            let full = |name: &String| in_flight.get(name.as_str()).copied().unwrap_or(0) >= limits.of(name);
            if lane.as_ref().is_some_and(full) {
                // Of thousands that wait for the same site none is looked at before there is room.
                break;
            }
            begin_one(job, *index, now, (limits, &mut in_flight), plan);
        }
    }
    plan.wake_at = job.backing_off().filter_map(wait).min().map(|left| now + left);
}

/// Has a step begin if its site has room.
fn begin_one<'j>(
    job: &'j Job,
    index: StepIndex,
    now: Millis,
    (limits, in_flight): (&Limits, &mut BTreeMap<&'j str, usize>),
    plan: &mut Plan,
) {
    // A proof that has grown old is made anew before the machine is activated; meanwhile the start waits.
    let index = match stale_proof(job, index, now) {
        None => index,
        Some((fence, true)) => fence,
        Some((_, false)) => return,
    };
    let Some((step, state)) = job.step(index) else { return };
    if state.doubted && step.effect.class == EffectClass::OneShot {
        plan.next.push(Next::Ask {
            event: in_doubt(job, index),
        });
        return;
    }
    if let Some(name) = step.calls.as_deref() {
        let count = in_flight.entry(name).or_default();
        if *count >= limits.of(name) {
            return;
        }
        *count += 1;
    }
    plan.next.push(Next::Begin {
        step: index,
        attempt: state.attempt + 1,
        generation: state.generation,
    });
}

/// Gates whose time is over, and when the next one's is.
fn expire(job: &Job, now: Millis, plan: &mut Plan) {
    for index in job.stuck() {
        let Some((step, state)) = job.step(index) else { continue };
        let (StepKind::Gate { .. }, Some(begun)) = (&step.kind, state.begun_at) else {
            continue;
        };
        let until = begun.saturating_add(step.timeout_ms);
        if until <= now {
            plan.next.push(Next::Expire { step: index });
        } else {
            plan.wake_at = Some(plan.wake_at.map_or(until, |at| at.min(until)));
        }
    }
}

/// The proof step to repeat before this activation, if its proof is too old, and whether it is there to be repeated now.
pub fn stale_proof(job: &Job, activation: StepIndex, now: Millis) -> Option<(StepIndex, bool)> {
    let (step, _) = job.step(activation)?;
    if !step.kind.activates() {
        return None;
    }
    let (fence, proof, state) = proof_before(job, step)?;
    if state.status != Status::Done {
        return Some((fence, false));
    }
    if state.distrusted {
        return Some((fence, true));
    }
    let observed: Millis = state
        .outputs
        .get(OBSERVED_AT)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let age_max = job.frozen.fence_max_age_ms;
    let subject = job.frozen.items.get(proof.items.first()?).map(|item| &item.item);
    let fits = match (FenceProof::of_step(&state.outputs), subject) {
        // Where home is, only the job that looked knows; its site is the item's.
        (Some(said), Some(item)) if proof.kind == StepKind::ProveOldOff => {
            said.check(&item.target_site, &said.machine, now, age_max).is_ok()
        }
        (Some(said), Some(item)) => {
            let Side { site, machine } = &item.source;
            said.check(site, machine, now, age_max).is_ok()
        }
        _ => is_fresh(observed, now, age_max),
    };
    (!fits).then_some((fence, true))
}

/// The nearest proof among the steps of the same machine that an activation comes after.
fn proof_before<'j>(job: &'j Job, activation: &Step) -> Option<(StepIndex, &'j Step, &'j StepState)> {
    let mut before: Vec<StepIndex> = activation.after.iter().map(|edge| edge.step).collect();
    let mut next = 0;
    while let Some(index) = before.get(next).copied() {
        next += 1;
        let Some((step, state)) = job.step(index) else { continue };
        if step.kind.proves() {
            return Some((index, step, state));
        }
        if step.items == activation.items {
            let further = step.after.iter().map(|edge| edge.step);
            before.extend(further.filter(|index| !before.contains(index)).collect::<Vec<_>>());
        }
    }
    None
}

/// Output of a fence or isolation step: when it was observed.
pub const OBSERVED_AT: &str = "observed-at";
/// Output of an isolation step: the whole proof as JSON.
pub const ISOLATION: &str = "isolation";
/// Output of a fence step: the whole proof as JSON.
pub const PROOF: &str = "proof";

fn end(job: &Job) -> Next {
    let bad: Vec<&str> = job
        .steps
        .iter()
        .zip(&job.graph().steps)
        .filter(|(state, _)| {
            matches!(
                state.status,
                Status::Failed | Status::Stuck { .. } | Status::Skipped { goes_on: false }
            )
        })
        .map(|(_, step)| step.id.as_str())
        .collect();
    let named = || match bad.as_slice() {
        [] => "nothing had failed".to_owned(),
        [one] => format!("step {one}"),
        [one, rest @ ..] => format!("step {one} and {} more", rest.len()),
    };
    let (outcome, reason) = match (job.stopping, bad.is_empty()) {
        (Some(Stopping::Abandoned), _) => (Outcome::Abandoned, format!("given up; {}", named())),
        (Some(Stopping::Cancelled), _) => (Outcome::Cancelled, format!("cancelled; {}", named())),
        (Some(Stopping::Error), _) => (Outcome::Failed, format!("stopped at the first error: {}", named())),
        (None, false) => (
            Outcome::CompletedWithErrors,
            format!("ran to its end; failed: {}", named()),
        ),
        (None, true) => (Outcome::Succeeded, "all steps succeeded".to_owned()),
    };
    Next::End { outcome, reason }
}

/// What the step protocol demands of a step that was under way when the host died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumption {
    /// The far side works on it: poll this handle.
    Attach {
        /// Which step.
        step: StepIndex,
        /// The durable handle.
        handle: String,
    },
    /// Send it again under the same key: the far side makes one effect of both.
    Resend {
        /// Which step.
        step: StepIndex,
    },
    /// Ask the far side by key.
    Probe {
        /// Which step.
        step: StepIndex,
    },
    /// Nobody can tell; a person decides.
    Ask {
        /// Which step.
        step: StepIndex,
        /// The event to record.
        event: Event,
    },
}

/// The resumptions of all steps that have an INTENT and no OUTCOME.
///
/// Of a job that was restored from a backup nothing is taken up before a person lets it go on.
pub fn resume(job: &Job) -> Vec<Resumption> {
    if job.held.is_some() {
        return Vec::new();
    }
    job.running().filter_map(|index| resumption(job, index)).collect()
}

/// The resumption of one step.
pub fn resumption(job: &Job, index: StepIndex) -> Option<Resumption> {
    let (step, state) = job.step(index)?;
    if let Status::Running { handle: Some(handle) } = &state.status {
        return Some(Resumption::Attach {
            step: index,
            handle: handle.clone(),
        });
    }
    Some(match step.effect.class {
        EffectClass::Read | EffectClass::Idempotent | EffectClass::Keyed => Resumption::Resend { step: index },
        EffectClass::Probeable => Resumption::Probe { step: index },
        EffectClass::OneShot => Resumption::Ask {
            step: index,
            event: in_doubt(job, index),
        },
    })
}

/// The event for an effect of which nobody can say whether it happened.
pub fn in_doubt(job: &Job, step: StepIndex) -> Event {
    let (id, ways, restored) = job.step(step).map_or(("", String::new(), false), |(step, state)| {
        let ways = step.ways_out(&job.frozen.job);
        (step.id.as_str(), ways, state.doubted)
    });
    let how = if restored {
        format!("the journal was restored from a backup, after which `{id}` may have run")
    } else {
        format!("the host stopped after it had begun `{id}`")
    };
    Event::Stuck {
        step,
        code: codes::IN_DOUBT.to_owned(),
        reason: format!("{how}, and it cannot be repeated or asked for; {ways}"),
    }
}
