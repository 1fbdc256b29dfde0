//! Submitted operations: from the request over the wait to the effect, once per key. Everything that makes a far end
//! hard to trust lives here: repeated requests, lost answers, failures before and after the effect, work that hangs.

use std::cmp::Reverse;

use crate::effect::{Context, Effect, evaluate};
use crate::entry::{Change, Entry, Outcome};
use crate::fault::{Fault, Mode};
use crate::lab::{Lab, ledger_failed};
use crate::operation::{Failure, Pairs, Progress, Request};
use crate::state::{Fate, Status, Task};

/// The longest that a caller is told to wait before it asks again: short beside any operation that a person notices.
const POLL_AFTER_MS: u64 = 1_000;

/// What the caller of `submit` gets.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Progress),
    /// The connection is closed without an answer.
    Lost,
}

/// What is known under a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Absent,
    Task(Progress),
    /// This site cannot tell.
    Unknown,
}

/// A request on its way to its effect.
struct Job<'a> {
    site: &'a str,
    handle: String,
    request: &'a Request,
    fate: Fate,
    /// The fault that is used up with it.
    fault: Option<u64>,
}

impl Lab {
    /// Finishes what is due. Every method of this file does that first; the server's timer does nothing else.
    pub(crate) fn settle(&mut self, wall: u64) -> Result<(), Failure> {
        let wall = self.wall(wall);
        let now = self.state.clock.lab(wall);
        let mut ended = false;
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Some(Reverse((due, handle))) = self.due.pop() else {
                break;
            };
            let Some(task) = self.state.tasks.get(&handle).cloned() else {
                continue;
            };
            let Status::Running {
                call, operation, fate, ..
            } = task.status
            else {
                continue;
            };
            // A timer fires late; the effect has happened when it was due.
            let at = self.wall(self.state.clock.wall(due)).min(wall);
            let request = Request { call, operation };
            let job = Job {
                site: &task.site,
                handle,
                request: &request,
                fate,
                fault: None,
            };
            self.conclude(at, &job).map_err(|error| ledger_failed(&error))?;
            ended = true;
        }
        if ended {
            self.flush().map_err(|error| ledger_failed(&error))?;
        }
        Ok(())
    }

    /// Lab time at which the next task is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes an operation. What is over at once is answered as `done`; the rest gets a handle.
    pub(crate) fn submit(&mut self, wall: u64, site: &str, request: &Request) -> Result<Reply, Failure> {
        self.settle(wall)?;
        let wall = self.wall(wall);
        if request.call.key.is_empty() || request.call.installation.is_empty() {
            return Err(Failure::refused(
                "invalid",
                "an operation needs a key and an installation",
            ));
        }
        let speaker = &request.call;
        if let Err(failure) = self.site(site)?.check_epoch(&speaker.installation, speaker.epoch) {
            return self.refuse_order(wall, site, request, failure);
        }
        let operation = &request.operation;
        let dedupe = self.site(site)?.settings.dedupe;
        let fault = self.fault(site, operation.name(), &operation.subjects(), operation.forced());
        let reply = match self.known_task(site, &request.call.key).filter(|_| dedupe) {
            Some(task) => self.repeat(wall, site, request, &task, fault.as_ref()),
            None => self.first(wall, site, request, fault.as_ref()),
        };
        let flushed = self.flush();
        reply
            .and_then(|reply| flushed.map(|()| reply))
            .map_err(|error| ledger_failed(&error))
    }

    /// From here on a lower epoch is refused. What was accepted before goes its way.
    pub(crate) fn take_over(&mut self, wall: u64, site: &str, installation: &str, epoch: u64) -> Result<(), Failure> {
        let home = self.site(site)?;
        home.check_epoch(installation, epoch)?;
        if home.epoch(installation) == epoch {
            return Ok(());
        }
        let entry = Entry {
            site: Some(site.to_owned()),
            before: Some(home.epoch(installation).to_string()),
            after: Some(epoch.to_string()),
            ..Entry::plain(
                &format!("{installation}@{epoch}"),
                "take-over",
                vec![Change::TakenOver {
                    installation: installation.to_owned(),
                    epoch,
                }],
            )
        };
        self.record(wall, entry).map(drop)
    }

    /// Of somebody whose epoch is over: it has no task and no key.
    fn refuse_order(&mut self, wall: u64, site: &str, request: &Request, failure: Failure) -> Result<Reply, Failure> {
        let mut entry = Entry::of_call(site, &request.call, &request.operation, Outcome::Refused);
        entry.note = Some(format!("{}: {}", failure.code, failure.message));
        self.record(wall, entry)?;
        Ok(Reply::Answer(failed(String::new(), failure)))
    }

    fn known_task(&self, site: &str, key: &str) -> Option<Task> {
        let handle = self.state.sites.get(site)?.keys.get(key)?;
        self.state.tasks.get(handle).cloned()
    }

    /// A key that is known: the first request's answer, and nothing else happens.
    fn repeat(
        &mut self,
        wall: u64,
        site: &str,
        request: &Request,
        task: &Task,
        fault: Option<&Fault>,
    ) -> std::io::Result<Reply> {
        let mut entry = Entry::of_call(site, &request.call, &request.operation, Outcome::Unchanged);
        if task.operation != request.operation.name() {
            let message = format!(
                "this key belongs to a `{}`; a new operation needs a new key",
                task.operation
            );
            entry.result = Outcome::Refused;
            entry.note = Some(message.clone());
            self.stage(wall, entry)?;
            let failure = Failure::refused("key-reused", message);
            return Ok(Reply::Answer(failed(task.handle.clone(), failure)));
        }
        entry.note = Some("known key".to_owned());
        let lost = fault.filter(|fault| fault.mode == Mode::LoseReply);
        entry
            .change
            .extend(lost.map(|fault| Change::FaultUsed { id: fault.id }));
        self.stage(wall, entry)?;
        if lost.is_some() {
            return Ok(Reply::Lost);
        }
        let now = self.state.clock.lab(wall);
        Ok(Reply::Answer(self.progress(task, now, false)))
    }

    fn first(&mut self, wall: u64, site: &str, request: &Request, fault: Option<&Fault>) -> std::io::Result<Reply> {
        let operation = &request.operation;
        let mode = fault.map(|fault| fault.mode);
        let extra = fault
            .filter(|fault| fault.mode == Mode::Slow)
            .map_or(0, |fault| fault.delay_ms);
        let delay = self.latency(site, operation.name()) + extra;
        let fate = match (mode, fault) {
            (Some(Mode::Fail), Some(fault)) => Fate::Fail(fault.failure()),
            (Some(Mode::FailAfterEffect), Some(fault)) => Fate::FailAfterEffect(fault.failure()),
            _ => Fate::Effect,
        };
        let handle = format!("t-{}", self.state.seq + 1);
        let job = Job {
            site,
            handle,
            request,
            fate,
            fault: fault.map(|fault| fault.id),
        };
        let due = (mode != Some(Mode::Hang)).then_some(delay);
        let progress = if due == Some(0) {
            self.conclude(wall, &job)?
        } else {
            self.accept(wall, &job, due)?
        };
        Ok(if mode == Some(Mode::LoseReply) {
            Reply::Lost
        } else {
            Reply::Answer(progress)
        })
    }

    /// Long work: what can be refused is refused now, the rest waits until it is due.
    fn accept(&mut self, wall: u64, job: &Job, delay: Option<u64>) -> std::io::Result<Progress> {
        if !matches!(job.fate, Fate::Fail(_))
            && let Err(failure) = self.evaluate(wall, job)
        {
            return self.refuse(wall, job, failure);
        }
        let now = self.state.clock.lab(wall);
        let due = delay.map(|delay| now + delay);
        let task = Task {
            handle: job.handle.clone(),
            site: job.site.to_owned(),
            key: job.request.call.key.clone(),
            operation: job.request.operation.name().to_owned(),
            status: Status::Running {
                call: job.request.call.clone(),
                operation: job.request.operation.clone(),
                accepted: now,
                due,
                fate: job.fate.clone(),
            },
        };
        let mut entry = Self::entry(job, Outcome::Accepted);
        entry.change.push(Change::Accepted {
            task: Box::new(task.clone()),
        });
        self.stage(wall, entry)?;
        self.due.extend(due.map(|due| Reverse((due, job.handle.clone()))));
        Ok(self.progress(&task, now, true))
    }

    /// The end of an operation: its effect, or what it was made to be.
    fn conclude(&mut self, wall: u64, job: &Job) -> std::io::Result<Progress> {
        let report = match &job.fate {
            Fate::Fail(failure) => return self.fail(wall, job, failure.clone()),
            Fate::Effect => None,
            Fate::FailAfterEffect(failure) => Some(failure.clone()),
        };
        match self.evaluate(wall, job) {
            Ok(effect) => self.carry_out(wall, job, effect, report),
            Err(failure) => self.refuse(wall, job, failure),
        }
    }

    fn evaluate(&self, wall: u64, job: &Job) -> Result<Effect, Failure> {
        let context = Context {
            state: &self.state,
            blobs: &self.blobs,
            name: job.site,
            site: self.site(job.site)?,
            call: &job.request.call,
            now: self.state.clock.lab(wall),
            wall,
            seq: self.state.seq + 1,
        };
        evaluate(&context, &job.request.operation)
    }

    fn carry_out(
        &mut self,
        wall: u64,
        job: &Job,
        effect: Effect,
        report: Option<Failure>,
    ) -> std::io::Result<Progress> {
        if let Some(link) = &effect.link {
            self.blobs.link(&link.from, &link.to)?;
        }
        let result = if effect.changes.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Changed
        };
        let mut entry = Self::entry(job, result);
        entry.machine = effect.made.or(entry.machine);
        (entry.before, entry.after) = (effect.before, effect.after);
        entry.note = report
            .as_ref()
            .map(|failure| format!("reported as failed: {}", failure.code));
        entry.change.extend(effect.changes);
        let status = Status::Done {
            outputs: effect.outputs,
            report,
        };
        self.end(wall, job, entry, &status, true)
    }

    /// A definite failure stays the key's answer; after any other the key may try again.
    fn fail(&mut self, wall: u64, job: &Job, failure: Failure) -> std::io::Result<Progress> {
        let result = if failure.definite {
            Outcome::FailedDefinite
        } else {
            Outcome::Unchanged
        };
        let mut entry = Self::entry(job, result);
        entry.note = Some(format!("failed: {}", failure.code));
        let remember = failure.definite;
        self.end(wall, job, entry, &Status::Failed(failure), remember)
    }

    /// Nothing happened, so asking again under the same key asks anew.
    fn refuse(&mut self, wall: u64, job: &Job, failure: Failure) -> std::io::Result<Progress> {
        let mut entry = Self::entry(job, Outcome::Refused);
        entry.note = Some(format!("{}: {}", failure.code, failure.message));
        self.end(wall, job, entry, &Status::Failed(failure), false)
    }

    fn entry(job: &Job, result: Outcome) -> Entry {
        let mut entry = Entry::of_call(job.site, &job.request.call, &job.request.operation, result);
        entry.change.extend(job.fault.map(|id| Change::FaultUsed { id }));
        entry
    }

    fn end(
        &mut self,
        wall: u64,
        job: &Job,
        mut entry: Entry,
        status: &Status,
        remember: bool,
    ) -> std::io::Result<Progress> {
        entry.change.push(Change::Settled {
            handle: job.handle.clone(),
            key: job.request.call.key.clone(),
            operation: job.request.operation.name().to_owned(),
            status: status.clone(),
            remember,
        });
        self.stage(wall, entry)?;
        Ok(over(job.handle.clone(), status, true))
    }

    /// Where a task stands; `by_handle` is told what its holder was meant to see.
    fn progress(&self, task: &Task, now: u64, by_handle: bool) -> Progress {
        let Status::Running { accepted, due, .. } = &task.status else {
            return over(task.handle.clone(), &task.status, by_handle);
        };
        let wall = self.state.clock.wall(now);
        let left = due.map_or(POLL_AFTER_MS, |due| self.state.clock.wall(due).saturating_sub(wall));
        let percent = due.map(|due| now.saturating_sub(*accepted) * 100 / due.saturating_sub(*accepted).max(1));
        Progress {
            state: "running",
            handle: task.handle.clone(),
            percent: percent.and_then(|percent| u8::try_from(percent.min(99)).ok()),
            outputs: Pairs::new(),
            failure: None,
            poll_after_ms: left.clamp(1, POLL_AFTER_MS),
        }
    }

    /// Where tasks stand, in the order asked for. A handle that this site does not know is `failed`.
    pub(crate) fn poll(&mut self, wall: u64, site: &str, handles: &[String]) -> Result<Vec<Progress>, Failure> {
        self.settle(wall)?;
        let now = self.state.clock.lab(self.wall(wall));
        let one = |handle: &String| match self.state.tasks.get(handle).filter(|task| task.site == site) {
            Some(task) => self.progress(task, now, true),
            None => failed(
                handle.clone(),
                Failure {
                    code: "unknown-handle".to_owned(),
                    message: format!("site `{site}` knows no handle `{handle}`; ask by key"),
                    retryable: false,
                    definite: false,
                },
            ),
        };
        Ok(handles.iter().map(one).collect())
    }

    /// The wall time at which the first of these tasks will be over; none if all of them hang.
    pub(crate) fn first_due(&self, handles: &[String]) -> Option<u64> {
        let due = |handle| match self.state.tasks.get(handle)?.status {
            Status::Running { due, .. } => due,
            _ => None,
        };
        handles
            .iter()
            .filter_map(due)
            .min()
            .map(|due| self.state.clock.wall(due))
    }

    /// Did the effect under this key happen?
    pub(crate) fn by_key(&mut self, wall: u64, site: &str, key: &str) -> Result<Known, Failure> {
        self.settle(wall)?;
        if self.site(site)?.settings.effect_class == "one-shot" {
            return Ok(Known::Unknown);
        }
        let now = self.state.clock.lab(self.wall(wall));
        Ok(match self.known_task(site, key) {
            Some(Task {
                status: Status::Failed(_),
                ..
            })
            | None => Known::Absent,
            Some(task) => Known::Task(self.progress(&task, now, false)),
        })
    }

    /// Stops a task that is not over; one that is over stays as it is.
    pub(crate) fn cancel(&mut self, wall: u64, site: &str, handle: &str) -> Result<Progress, Failure> {
        self.settle(wall)?;
        let failure = Failure {
            code: "cancelled".to_owned(),
            message: "the operation was cancelled before it had any effect".to_owned(),
            retryable: false,
            definite: true,
        };
        self.drop_task(wall, site, handle, failure)
    }

    /// Ends a task without its effect.
    pub(crate) fn drop_task(
        &mut self,
        wall: u64,
        site: &str,
        handle: &str,
        failure: Failure,
    ) -> Result<Progress, Failure> {
        let wall = self.wall(wall);
        let Some(task) = self.state.tasks.get(handle).filter(|task| task.site == site).cloned() else {
            return Err(Failure::refused(
                "not-found",
                format!("site `{site}` knows no handle `{handle}`"),
            ));
        };
        let Status::Running { call, operation, .. } = task.status else {
            return Ok(over(task.handle, &task.status, true));
        };
        let request = Request { call, operation };
        let job = Job {
            site,
            handle: task.handle,
            request: &request,
            fate: Fate::Effect,
            fault: None,
        };
        self.fail(wall, &job, failure)
            .and_then(|progress| self.flush().map(|()| progress))
            .map_err(|error| ledger_failed(&error))
    }
}

fn failed(handle: String, failure: Failure) -> Progress {
    over(handle, &Status::Failed(failure), true)
}

/// The answer about a task that is over.
fn over(handle: String, status: &Status, by_handle: bool) -> Progress {
    let (state, outputs, failure) = match status {
        Status::Done {
            report: Some(failure), ..
        } if by_handle => ("failed", Pairs::new(), Some(failure.clone())),
        Status::Done { outputs, .. } => ("done", outputs.clone(), None),
        Status::Failed(failure) => ("failed", Pairs::new(), Some(failure.clone())),
        Status::Running { .. } => ("running", Pairs::new(), None),
    };
    Progress {
        state,
        handle,
        percent: None,
        outputs,
        failure,
        poll_after_ms: 0,
    }
}
