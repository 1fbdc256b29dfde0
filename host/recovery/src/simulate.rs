//! A job in virtual time: the real executor, with invented durations and no cost of its own. Its makespan is the ideal
//! that a real run is measured against, and an estimate that a dry run can show.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{Event, StepResult};
use crate::executor::{Limits, Next, OBSERVED_AT, decide};
use crate::freeze::Frozen;
use crate::graph::{Step, StepIndex};
use crate::job::Job;
use crate::words::{EffectClass, Millis, Pairs};

/// Milliseconds from the start to the end of the job, if every step succeeds after the time that `duration` gives.
pub fn makespan_ms(frozen: &Arc<Frozen>, limits: &Limits, mut duration: impl FnMut(&Step) -> Millis) -> Millis {
    let mut job = Job::new(Arc::clone(frozen), 0);
    let mut under_way: BTreeSet<(Millis, StepIndex)> = BTreeSet::new();
    let mut now = 0;
    loop {
        let plan = decide(&job, now, limits);
        for next in plan.next {
            match next {
                Next::Begin {
                    step,
                    attempt,
                    generation,
                } => {
                    job.apply(now, &intent(step, attempt, generation));
                    let takes = job.graph().steps.get(step).map_or(0, &mut duration);
                    under_way.insert((now + takes, step));
                }
                // What nobody can tell stops a real job; here nothing was ever restored.
                Next::Ask { event } => job.apply(now, &event),
                // Nobody answers in here, and no gate is stuck.
                Next::Expire { .. } => {}
                Next::End { .. } => return now,
            }
        }
        let Some((at, _)) = under_way.first() else { return now };
        now = *at;
        let later = under_way.split_off(&(now + 1, 0));
        for (_, step) in std::mem::replace(&mut under_way, later) {
            // Proofs are dated, or the executor would make them anew for ever.
            let outputs = Pairs::from([(OBSERVED_AT.to_owned(), now.to_string())]);
            job.apply(
                now,
                &Event::Outcome {
                    step,
                    result: StepResult::Done {
                        outputs: Arc::new(outputs),
                    },
                },
            );
        }
    }
}

fn intent(step: StepIndex, attempt: u32, generation: u32) -> Event {
    Event::Intent {
        step,
        attempt,
        generation,
        key: String::new(),
        class: EffectClass::Read,
        arguments: String::new(),
    }
}
