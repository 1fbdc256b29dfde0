//! Plays a case: each call in a fresh instance, polls as the host would, on one stage from the first call to the last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use landfall_runtime::contract::runbook::{Context, Outcome as RunbookOutcome};
use landfall_runtime::contract::types::Progress;
use landfall_runtime::{
    Adapter, BindError, Binding, Kind, MemoryState, Owner, Plugin, Policy, Runbook, Scenery, Stage, StageClock,
    StageRequest,
};

use crate::act;
use crate::adapter::{self, Answered, Uncalled};
use crate::case::{Act, Case, Data, Pairs};
use crate::ended::{Ended, of_error, of_outcome, of_progress, of_value, unbound};
use crate::expect::{differences, forgotten};
use crate::home::{self, Home};
use crate::machines::Machines;
use crate::report::{CaseReport, Played};
use crate::script::{World, seen};

/// Polls after which a case is ended: a plugin that is not over then never is.
const MOST_POLLS: usize = 1_000;

/// The code of a call that took too long.
const WALL_LIMIT: &str = "LF0433";

/// A plugin with its kind's functions, on a stage.
pub(crate) enum Actor {
    Runbook(Runbook),
    Policy(Policy),
    Adapter(Adapter),
}

impl Actor {
    pub(crate) fn of(binding: Binding) -> Result<Self, BindError> {
        match binding.plugin().kind() {
            Kind::Runbook => Runbook::new(binding).map(Self::Runbook),
            Kind::RecoveryPointPolicy => Policy::new(binding).map(Self::Policy),
            Kind::HypervisorAdapter => Adapter::new(binding).map(Self::Adapter),
        }
    }

    /// What a case calls if it does not say.
    pub(crate) fn usual(&self) -> Option<&'static str> {
        match self {
            Self::Runbook(_) => Some("run"),
            Self::Policy(_) => Some("select"),
            Self::Adapter(_) => None,
        }
    }
}

/// Plays one case.
pub async fn play(home: &Home, plugin: &Arc<Plugin>, name: &str, case: &Case) -> CaseReport {
    let began = Instant::now();
    let mut report = CaseReport {
        name: name.to_owned(),
        file: None,
        about: case.about.clone(),
        passed: false,
        milliseconds: 0,
        problems: Vec::new(),
        calls: Vec::new(),
    };
    let played = Scene::set(home, plugin, case);
    match played {
        Ok(mut scene) => {
            for (index, act) in case.acts().iter().enumerate() {
                let (played, problems) = scene.act(act).await;
                let place = if case.then.is_empty() {
                    String::new()
                } else {
                    format!("call {}: ", index + 1)
                };
                report
                    .problems
                    .extend(problems.into_iter().map(|problem| format!("{place}{problem}")));
                report.calls.push(played);
            }
            report.problems.extend(scene.world.left());
        }
        Err(why) => report.problems.push(why),
    }
    report.passed = report.problems.is_empty();
    report.milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

/// What came of one call of `run`.
pub(crate) struct Once {
    pub(crate) ended: Ended,
    /// Of `again`.
    pub(crate) resume: Option<Vec<u8>>,
    pub(crate) requests: Vec<StageRequest>,
    /// What was said on connections and which programs were run, in words.
    pub(crate) others: Vec<String>,
}

/// One plugin on one stage.
pub(crate) struct Scene {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) world: World,
    /// What it keeps.
    kept: Arc<MemoryState>,
    clock: StageClock,
    /// Or why it could not be bound: a case may expect just that.
    pub(crate) actor: Result<Actor, BindError>,
}

impl Scene {
    pub(crate) fn set(home: &Home, plugin: &Arc<Plugin>, case: &Case) -> Result<Self, String> {
        Self::in_world(home, plugin, case, World::default())
    }

    pub(crate) fn in_world(home: &Home, plugin: &Arc<Plugin>, case: &Case, world: World) -> Result<Self, String> {
        let acts = case.acts();
        let grants = home::grants(plugin, case, &acts)?;
        let clock = StageClock::at(case.now());
        let kept = MemoryState::holding(Owner::of(plugin, plugin.name()), bytes(&case.state));
        let kept = Arc::new(kept);
        let (web, far_sides, dial_clock) = (world.clone(), world.clone(), clock.clone());
        let stage = Arc::new(Stage::scripted(Scenery {
            clock: clock.clone(),
            seed: case.seed,
            answer: Box::new(move |request| web.answer(request)),
            dial: Box::new(move |wanted| far_sides.dial(&wanted, &dial_clock)),
            state: Arc::clone(&kept),
            session: bytes(&case.session),
            secrets: case.secrets.clone(),
        }));
        let actor = home.bind(plugin, case, grants, Arc::clone(&stage)).and_then(Actor::of);
        Ok(Self {
            plugin: Arc::clone(plugin),
            stage,
            world,
            kept,
            clock,
            actor,
        })
    }

    /// What the plugin keeps now.
    fn kept(&self) -> BTreeMap<String, Vec<u8>> {
        let owner = Owner::of(&self.plugin, self.plugin.name());
        self.kept.rows().remove(&owner).unwrap_or_default()
    }

    /// The runbook with the machines of its context.
    fn with_machines(&self, runbook: &Runbook, context: &Context) -> Runbook {
        runbook.with_programs(Arc::new(Machines {
            world: self.world.clone(),
            clock: self.clock.clone(),
            in_call: context.machines.clone(),
        }))
    }

    /// One call with its polls, and what is wrong with what came of it.
    pub(crate) async fn act(&mut self, act: &Act) -> (Played, Vec<String>) {
        self.stage.advance(act.after_ms);
        self.world.add(act);
        let (function, result) = self.ended(act).await;
        let mut played = Played {
            function,
            ..Played::default()
        };
        let asked = self.world.take_asked();
        played.requests = asked.into_iter().map(|(_, asked)| asked).collect();
        (played.transport, played.connections) = self.world.take_said();
        played.programs = self.world.take_ran();
        let kept = self.kept();
        played.state = kept.iter().map(|(key, value)| (key.clone(), seen(value))).collect();
        let lines = self.stage.take_lines();
        played.log = lines
            .iter()
            .map(|line| format!("{}: {}", line.level, line.text))
            .collect();
        played.denied = self.stage.take_denials().iter().map(ToString::to_string).collect();
        let mut problems = Vec::new();
        match result {
            Ok((ended, times)) => {
                if let Err(error) = &self.actor {
                    played.denied.push(error.to_string());
                }
                ended.outcome.as_str().clone_into(&mut played.outcome);
                (played.answer, played.times) = (ended.answer.clone(), times);
                let expect = act.expect.clone().unwrap_or_default();
                problems = differences(&expect, &ended, &played);
                problems.extend(forgotten(&expect, &kept));
                let waits = self.world.take_waits();
                if ended.code.as_deref() == Some(WALL_LIMIT) {
                    problems.extend(waits);
                }
            }
            Err(why) => problems.push(why),
        }
        problems.extend(self.world.take_strangers());
        (played, problems)
    }

    /// The error is a mistake in the case.
    async fn ended(&self, act: &Act) -> (String, Result<(Ended, usize), String>) {
        let actor = match &self.actor {
            Ok(actor) => actor,
            Err(error) => {
                let function = act.function.clone().unwrap_or_default();
                return (function, Ok((unbound(error), 0)));
            }
        };
        let Some(function) = act.function.clone().or_else(|| actor.usual().map(str::to_owned)) else {
            let why = "an adapter's case says which function it calls: `do = \"submit\"`".to_owned();
            return (String::new(), Err(why));
        };
        let now = self.stage.now_ms().unwrap_or_default();
        let result = match actor {
            Actor::Runbook(runbook) => self.runbook(runbook, &function, act, now).await,
            Actor::Policy(policy) => policy_call(policy, &function, act, now).await,
            Actor::Adapter(adapter) => self.adapter(adapter, &function, act).await,
        };
        (function, result)
    }

    async fn runbook(&self, runbook: &Runbook, function: &str, act: &Act, now: u64) -> Result<(Ended, usize), String> {
        let call = act::call(&act.call.clone().unwrap_or_default());
        let context = act::context(act, self.plugin.name(), now);
        let pure = runbook;
        let runbook = &self.with_machines(runbook, &context);
        let mut resume = None;
        for times in 1..=MOST_POLLS {
            let outcome = match function {
                "run" => runbook.run(call.clone(), context.clone(), resume.clone()).await,
                "undo" => match runbook.undo(call.clone(), context.clone(), resume.clone()).await {
                    Ok(Some(outcome)) => Ok(outcome),
                    Ok(None) => return Err("the runbook does not export `runbook-undo`".to_owned()),
                    Err(error) => Err(error),
                },
                // Asked before there is a job, so about no machines that programs could be run in.
                "effect" => return Ok((of_value(pure.effect(context).await), 1)),
                "probe" => {
                    return match runbook.probe(call, context).await {
                        Ok(Some(answer)) => Ok((of_value(Ok(answer)), 1)),
                        Ok(None) => Err("the runbook does not export `runbook-probe`".to_owned()),
                        Err(error) => Ok((of_error(&error), 1)),
                    };
                }
                other => {
                    return Err(format!(
                        "a runbook has no function `{other}`; it has run, effect, probe, undo"
                    ));
                }
            };
            match outcome {
                Ok(RunbookOutcome::Again(again)) if act.resume != Some(false) => {
                    self.stage.advance(u64::from(again.after_ms));
                    resume = Some(again.resume);
                }
                Ok(outcome) => return Ok((of_outcome(outcome), times)),
                Err(error) => return Ok((of_error(&error), times)),
            }
        }
        Err(format!("it still said `again` after {MOST_POLLS} calls"))
    }

    /// One call of `run`, and nothing after it.
    pub(crate) async fn once(&self, act: &Act, resume: Option<Vec<u8>>) -> Result<Once, String> {
        let runbook = match &self.actor {
            Ok(Actor::Runbook(runbook)) => runbook,
            Ok(_) => return Err("it is no runbook".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let call = act::call(&act.call.clone().unwrap_or_default());
        let context = act::context(act, self.plugin.name(), self.stage.now_ms().unwrap_or_default());
        let runbook = self.with_machines(runbook, &context);
        let (ended, resume) = match runbook.run(call, context, resume).await {
            Ok(RunbookOutcome::Again(again)) => {
                let resume = again.resume.clone();
                (of_outcome(RunbookOutcome::Again(again)), Some(resume))
            }
            Ok(outcome) => (of_outcome(outcome), None),
            Err(error) => (of_error(&error), None),
        };
        let asked = self.world.take_asked();
        let mut others = self.world.take_said().0;
        others.extend(self.world.take_ran());
        Ok(Once {
            ended,
            resume,
            requests: asked.into_iter().map(|(request, _)| request).collect(),
            others,
        })
    }

    async fn adapter(&self, adapter: &Adapter, function: &str, act: &Act) -> Result<(Ended, usize), String> {
        let call = act::call(&act.call.clone().unwrap_or_default());
        let mut progress = match adapter::answer(adapter, function, call, act.arguments.as_ref()).await {
            Ok(Answered::Value(value)) => return Ok((Ended::done(value, Pairs::new()), 1)),
            Ok(Answered::Progress(progress)) => progress,
            Err(Uncalled::Call(error)) => return Ok((of_error(&error), 1)),
            Err(Uncalled::Case(why)) => return Err(why),
        };
        for times in 1..=MOST_POLLS {
            match progress {
                Progress::Running(running) if act.resume != Some(false) => {
                    self.stage.advance(u64::from(running.poll_after_ms));
                    let handle = running.handle.clone();
                    let polled = match adapter.poll_many(vec![handle.clone()], 0).await {
                        Ok(polled) => polled,
                        Err(error) => return Ok((of_error(&error), times + 1)),
                    };
                    let found = polled.into_iter().find(|(other, _)| *other == handle);
                    let Some((_, next)) = found else {
                        return Err(format!("poll-many was asked for `{handle}` and said nothing of it"));
                    };
                    progress = next;
                }
                progress => return Ok((of_progress(progress), times)),
            }
        }
        Err(format!("it was still running after {MOST_POLLS} polls"))
    }
}

fn bytes(pairs: &BTreeMap<String, Data>) -> BTreeMap<String, Vec<u8>> {
    pairs.iter().map(|(key, data)| (key.clone(), data.0.clone())).collect()
}

async fn policy_call(policy: &Policy, function: &str, act: &Act, now: u64) -> Result<(Ended, usize), String> {
    let request = || act::request(act, now);
    let ended = match function {
        "select" => of_value(policy.select(request()).await),
        "retain" => of_value(policy.retain(request()).await),
        "choices" => of_value(policy.choices().await),
        other => {
            return Err(format!(
                "a policy has no function `{other}`; it has select, retain, choices"
            ));
        }
    };
    Ok((ended, 1))
}
