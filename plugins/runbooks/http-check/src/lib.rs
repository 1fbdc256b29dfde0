//! The `http-check` runbook: waits until every machine answers a web request as expected, or says which did not.
//!
//! ```yaml
//! action: http-check
//! params: { url: "http://{address}:8080/health", expect-body: ready, timeout: 3m }
//! ```
//!
//! | parameter | meaning |
//! |---|---|
//! | `url` | needed; `{item}`, `{machine}`, `{address}` and `{site}` stand for each machine's own |
//! | `expect-status` | `200`, `2xx`, `200,302`; default `2xx` |
//! | `expect-body` | text that the answer must contain |
//! | `timeout` | how long the machines have, all together; default `5m` |
//! | `interval` | how long to wait between two rounds; default `5s` |
//!
//! `{machine}` and `{address}` are those of the machine at the target; `{address}` is its first one. Redirects are not
//! followed: expect the `3xx`, or name the address behind it.
//!
//! It changes nothing (class `read`). Machines that have passed are not asked again; what is left, and the deadline,
//! is handed to the host as `resume`. A call that runs out of time goes on where it stopped. Output: `status/ITEM` for
//! every machine. The failure `not-up` names each machine that is missing with its last answer. A request that no
//! grant covers fails at once, as waiting would not help.
//!
//! It asks for `clock` and `http`.

mod check;
mod progress;

use check::{Check, Seen};
use landfall_sdk::http::{Error, Request};
use landfall_sdk::{Call, Context, Effect, Failure, Outcome, Plugin, Runbook, again, clock, export_runbook, log};
use progress::{Progress, Waiting};

/// What stays unused of the call's time, for the answer's way back to the host.
const MARGIN_MS: u64 = 1_000;

/// A machine that is up answers within this; one that is not must not use up the call.
const LONGEST_REQUEST_MS: u64 = 5_000;

struct HttpCheck;

impl Plugin for HttpCheck {
    const NAME: &'static str = "http-check";
    const SUMMARY: &'static str = "Waits until every machine answers a web request as expected";
}

impl Runbook for HttpCheck {
    fn effect(_context: &Context) -> Effect {
        Effect::read("http-check")
    }

    fn run(call: &Call, context: &Context, resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
        if context.machines.is_empty() {
            return Ok(Outcome::Skip("there is no machine to check".to_owned()));
        }
        let check = Check::of(&context.params)?;
        let mut progress = match resume {
            Some(bytes) => Progress::from_bytes(&bytes)
                .ok_or_else(|| Failure::definite("bad-resume", "the stored progress is unreadable; retry the step"))?,
            None => Progress::begin(context, clock::now_ms() + check.timeout_ms),
        };
        round(call, context, &check, &mut progress)?;
        let now = clock::now_ms();
        if progress.is_complete() {
            return Ok(Outcome::Done(progress.outputs()));
        }
        if now >= progress.deadline_ms {
            return Err(progress.failure());
        }
        let after = progress.pause_ms(check.interval_ms, now);
        Ok(again(
            u32::try_from(after).unwrap_or(u32::MAX),
            progress.to_bytes(),
            progress.note(),
        ))
    }
}

/// Asks every waiting machine once, as far as the call's time goes. Whoever was asked goes to the end of the queue, so
/// that a slow machine cannot keep the others from ever being asked.
fn round(call: &Call, context: &Context, check: &Check, progress: &mut Progress) -> Result<(), Failure> {
    let began = clock::monotonic_ms();
    let budget = call.remaining_ms.saturating_sub(MARGIN_MS);
    for turn in 0..progress.waiting.len() {
        let left = budget.saturating_sub(clock::monotonic_ms() - began);
        if turn > 0 && left < LONGEST_REQUEST_MS {
            progress.cut_short = true;
            return Ok(());
        }
        let Some(waiting) = progress.waiting.pop_front() else {
            break;
        };
        match ask(context, check, &waiting, left.clamp(1, LONGEST_REQUEST_MS))? {
            Seen::Up(status) => progress.passed.push((waiting.item, status)),
            Seen::Down(last) => progress.waiting.push_back(Waiting { last, ..waiting }),
        }
    }
    progress.cut_short = false;
    Ok(())
}

fn ask(context: &Context, check: &Check, waiting: &Waiting, timeout_ms: u64) -> Result<Seen, Failure> {
    let Some(machine) = context.machines.iter().find(|machine| machine.item == waiting.item) else {
        return Ok(Seen::Down("it is no longer among the action's machines".to_owned()));
    };
    let url = match check.url_for(machine) {
        Ok(url) => url,
        Err(missing) => return Ok(Seen::Down(missing)),
    };
    let answer = Request::get(&url).and_then(|request| request.timeout_ms(timeout_ms).send());
    let response = match answer {
        Ok(response) => response,
        Err(error @ (Error::Denied | Error::Invalid(_))) => {
            let what = error.to_string();
            return Err(Failure::from(error).detail(&waiting.item, what));
        }
        Err(error) => return Ok(Seen::Down(error.to_string())),
    };
    let status = response.status();
    let seen = if check.needs_body(status) {
        response
            .text()
            .map_or_else(|error| Seen::Down(error.to_string()), |body| check.judge(status, &body))
    } else {
        check.judge(status, "")
    };
    log::debug!("{}: {seen:?}", waiting.item);
    Ok(seen)
}

export_runbook!(HttpCheck);
