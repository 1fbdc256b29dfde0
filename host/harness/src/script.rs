//! The world of a test case: what it knows, what it does with it, and what was really asked of it.

mod far_side;
mod programs;
mod talk;
mod talks;
mod web;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use landfall_runtime::contract::types::GuestExit;
use landfall_runtime::{GuestFault, Socket, StageClock, StageDial, StageFault, StageReply, StageRequest};
use serde_json::Value;

use crate::case::{Act, Times, to_hex};
use crate::report::Asked;
use far_side::FarSide;
use programs::Programs;
pub(crate) use programs::Wanted;
use talks::Talks;
use web::Web;

/// Text that is shown of a body.
const SHOWN: usize = 400;

/// Shared between the stage, which asks it, and the player, which adds to it and judges it.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default, Clone)]
struct Inner {
    /// What comes of every request, instead of the script. Nobody else answers either.
    always: Option<StageReply>,
    web: Web,
    talks: Talks,
    programs: Programs,
    /// What was asked and nobody wrote, with the reason.
    strangers: Vec<String>,
}

impl World {
    /// One that does the same with every request.
    pub(crate) fn answering(reply: StageReply) -> Self {
        let inner = Inner {
            always: Some(reply),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The far side as it is now, to come back to.
    pub(crate) fn fork(&self) -> Self {
        Self {
            inner: Arc::new(Mutex::new(self.lock().clone())),
        }
    }

    /// The far side is again as it was.
    pub(crate) fn set_back(&self, to: &Self) {
        let before = to.lock().clone();
        *self.lock() = before;
    }

    /// What a call's script says.
    pub(crate) fn add(&self, act: &Act) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        inner.web.exchanges.extend(unused(&act.http));
        inner.programs.scripts.extend(unused(&act.guests));
        inner.talks.add(&act.transport);
    }

    /// The first exchange that fits and is not used up. One that nobody wrote is a connection that nobody takes, so
    /// that the plugin ends by itself; the case fails for it later.
    pub(crate) fn answer(&self, request: StageRequest) -> (StageReply, u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let (reply, took_ms) = match &inner.always {
            Some(reply) => (reply.clone(), 0),
            None => inner.web.answer(&request).unwrap_or_else(|why| {
                inner.strangers.push(why);
                (StageReply::Refused, 0)
            }),
        };
        inner.web.note(request, &reply);
        (reply, took_ms)
    }

    /// The far side of a new connection. One that nobody wrote is refused.
    pub(crate) fn dial(&self, wanted: &StageDial, clock: &StageClock) -> Result<Box<dyn Socket>, StageFault> {
        let mut inner = self.lock();
        match inner.always {
            None => {}
            Some(StageReply::Timeout) => return Err(StageFault::Timeout),
            Some(_) => return Err(StageFault::Refused),
        }
        let number = match inner.talks.dial(wanted, clock.now_ms()) {
            Ok(made) => made?,
            Err(why) => {
                inner.strangers.push(why);
                return Err(StageFault::Refused);
            }
        };
        Ok(Box::new(FarSide::new(self.clone(), clock.clone(), number)))
    }

    /// How a program ends, and how long it takes. One that nobody wrote is not run.
    pub(crate) fn run(&self, wanted: &Wanted) -> (Result<GuestExit, GuestFault>, u64) {
        let mut inner = self.lock();
        let (answer, took_ms) = match inner.always {
            Some(StageReply::Timeout) => (programs::nobody("no answer in time"), wanted.command.timeout_ms.into()),
            Some(_) => (programs::nobody("no connection"), 0),
            None => match inner.programs.find(wanted) {
                Ok(script) => {
                    let took_ms = script.takes_ms;
                    (programs::end(script), took_ms)
                }
                Err(why) => {
                    inner.strangers.push(why);
                    (programs::nobody("nobody wrote what comes of this program"), 0)
                }
            },
        };
        inner.programs.note(wanted, &answer);
        (answer, took_ms)
    }

    /// What was asked by HTTP since this was last called.
    pub(crate) fn take_asked(&self) -> Vec<(StageRequest, Asked)> {
        std::mem::take(&mut self.lock().web.asked)
    }

    /// What happened on connections since this was last called, and how many were opened or tried.
    pub(crate) fn take_said(&self) -> (Vec<String>, usize) {
        self.lock().talks.take_noted()
    }

    /// Programs that were run since this was last called.
    pub(crate) fn take_ran(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().programs.ran)
    }

    /// What was asked and nobody wrote, since this was last called.
    pub(crate) fn take_strangers(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().strangers)
    }

    /// What the plugin waits for and nobody wrote, since this was last called.
    pub(crate) fn take_waits(&self) -> Vec<String> {
        self.lock().talks.take_waits()
    }

    /// What was not used as often as it says, or not to its end.
    pub(crate) fn left(&self) -> Vec<String> {
        let inner = self.lock();
        let left = inner.web.left().chain(inner.talks.left()).chain(inner.programs.left());
        left.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unused<T: Clone>(scripts: &[T]) -> impl Iterator<Item = (T, u32)> {
    scripts.iter().cloned().map(|script| (script, 0))
}

fn is_used_up(times: Times, used: u32) -> bool {
    match times {
        Times::Exactly(times) => used >= times,
        Times::Any(_) => false,
    }
}

/// What is wrong with a script that was used less often than it says.
fn never(name: &str, times: Times, used: u32, done: &str) -> Option<String> {
    match times {
        Times::Exactly(1) if used < 1 => Some(format!("{name} was scripted and never {done}")),
        Times::Exactly(times) if used < times => {
            Some(format!("{name} was scripted {times} times and {done} {used} times"))
        }
        Times::Exactly(_) | Times::Any(_) => None,
    }
}

/// Whether everything in `wanted` is in `found`: objects may have more fields, lists are compared element by element,
/// and the text `*` stands for anything that is there. The error says what differs, and where.
pub(crate) fn lacks(wanted: &Value, found: &Value, place: &str) -> Result<(), String> {
    match (wanted, found) {
        (Value::String(any), found) if any == "*" && !found.is_null() => Ok(()),
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().try_for_each(|(name, wanted)| {
            let place = format!("{place} `{name}`");
            match found.get(name) {
                Some(found) => lacks(wanted, found, &place),
                None => Err(format!("{place} is missing")),
            }
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .try_for_each(|(index, (wanted, found))| lacks(wanted, found, &format!("{place} [{index}]"))),
        (wanted, found) if wanted == found => Ok(()),
        (wanted, found) => Err(format!("{place} is {found}, not {wanted}")),
    }
}

pub(crate) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), body.len()),
        None => text.into_owned(),
    }
}

/// Bytes as a case writes them: text in quotes, all else in hexadecimal.
pub(crate) fn seen(bytes: &[u8]) -> String {
    let beginning = bytes.get(..SHOWN.min(bytes.len())).unwrap_or_default();
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(plain) => return format!("{:?}", shown(bytes)),
        _ => format!("{{ hex = \"{}\" }}", to_hex(beginning)),
    };
    match bytes.len() {
        length if length > SHOWN => format!("{text}… ({length} bytes)"),
        _ => text,
    }
}
