//! The `wait` runbook: holds the plan for a set time, for software that needs a while and cannot be asked.
//! (What can be asked is better served by `http-check`.)
//!
//! ```yaml
//! action: wait
//! params: { duration: 2m }
//! ```
//!
//! | parameter | meaning |
//! |---|---|
//! | `duration` | needed: a number with `ms`, `s`, `m` or `h`, up to 24 hours |
//!
//! It changes nothing (class `read`). The moment at which the wait ends is handed to the host as `resume`, so a host
//! that restarts in between waits only for the rest. Output: `waited-ms`, the time that really passed.
//!
//! It asks for the interface `clock`, and for nothing else.

mod deadline;

use deadline::Deadline;
use landfall_sdk::{
    Call, Context, Effect, Failure, Outcome, Plugin, Runbook, again, clock, duration_ms, export_runbook, pair,
};

struct Wait;

impl Plugin for Wait {
    const NAME: &'static str = "wait";
    const SUMMARY: &'static str = "Waits a set time before the plan goes on";
}

impl Runbook for Wait {
    fn effect(_context: &Context) -> Effect {
        Effect::read("wait")
    }

    fn run(_call: &Call, context: &Context, resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        let now = clock::now_ms();
        let deadline = match resume {
            Some(bytes) => Deadline::from_bytes(&bytes)
                .ok_or_else(|| Failure::definite("bad-resume", "the stored wait is unreadable; retry the step"))?,
            None => Deadline::after(now, requested(context)?),
        };
        Ok(deadline.outcome(now))
    }
}

fn requested(context: &Context) -> Result<u64, Failure> {
    let text = pair(&context.params, "duration")
        .ok_or_else(|| Failure::definite("bad-params", "`duration` is missing; give it as `30s` or `2m`"))?;
    duration_ms(text).map_err(|why| Failure::definite("bad-params", format!("`duration`: {why}")))
}

impl Deadline {
    fn outcome(&self, now: u64) -> Outcome {
        match self.remaining(now) {
            0 => Outcome::Done(vec![("waited-ms".to_owned(), self.waited(now).to_string())]),
            left => {
                let after = u32::try_from(left).unwrap_or(u32::MAX);
                again(after, self.to_bytes(), format!("{} s to go", left.div_ceil(1_000)))
            }
        }
    }
}

export_runbook!(Wait);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_until_the_deadline_and_then_says_how_long_it_was() {
        let deadline = Deadline::after(1_000, 5_000);
        let Outcome::Again(first) = deadline.outcome(1_000) else {
            panic!("it is over at once")
        };
        assert_eq!((first.after_ms, first.note.as_str()), (5_000, "5 s to go"));
        let restored = Deadline::from_bytes(&first.resume).unwrap();
        assert_eq!(
            restored.outcome(6_500),
            Outcome::Done(vec![("waited-ms".to_owned(), "5500".to_owned())])
        );
    }
}
