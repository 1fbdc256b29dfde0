//! From a request to a running job: check that it is legal, ask preflight, freeze, write, run. Nothing at any site has
//! changed before the frozen job is durable, and a refusal names everything that stands against it.

mod foresee;
mod look;
mod losses;
mod subject;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::diagnostic::suggest;
use landfall_recovery::document::{Action, GATE_TIMEOUT_DEFAULT_MS, Inventory, Item, Plan, PointChoice, Position};
use landfall_recovery::event::{Event, Record};
use landfall_recovery::freeze::{Frozen, FrozenItem, Injection, Keep, Pinned, Risk, operation_name, sha256_hex};
use landfall_recovery::graph::{Graph, Step, StepKind};
use landfall_recovery::item::ItemState;
use landfall_recovery::job::Job;
use landfall_recovery::operations::{OPERATIONS, Operation, Permission, permission};
use landfall_recovery::words::{self, Carried, Direction, EffectFacts, FailoverKind, Finding, Millis, Pairs, Severity};
use landfall_store::{Batch, JobRow, Space};

use self::look::Listing;
pub(crate) use self::look::{PAGES_MAX, Sites, facts, machines as list_machines, observe};
use self::losses::{can_return, gives_up, left_behind};
use self::subject::{confirmed, direction_of, subject_of, typed};
use crate::api::wire::{JobRequest, ReadinessView};
use crate::clock;
use crate::contract::{from_call_error, from_effect};
use crate::engine::{Engine, Tested, consistency_group};
use crate::preflight::{self, finding};
use crate::problem::Refusal;
use crate::runner::{self, Handle};
use crate::sites::Pins;
use crate::step::{Arguments, arguments, runbook_key, site_key};

/// What became of a request.
pub(crate) enum Started {
    /// A job runs.
    Job(Handle),
    /// What would run.
    Dry(Box<Job>),
    /// The request was answered before, by this job.
    Before(String),
}

/// The idempotency key of a request, and a fingerprint of what was asked under it.
pub(crate) struct Once {
    pub(crate) key: String,
    pub(crate) fingerprint: String,
}

/// What was answered under an idempotency key.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Answered {
    pub(crate) fingerprint: String,
    pub(crate) job: String,
}

/// The job that was started by the same request under the same key.
pub(crate) fn answered(engine: &Engine, once: &Once) -> Result<Option<String>, Refusal> {
    let Some(known) = engine.store.reader().get::<Answered>(Space::Request, &once.key)? else {
        return Ok(None);
    };
    if known.fingerprint == once.fingerprint {
        return Ok(Some(known.job));
    }
    let what = match known.job.as_str() {
        "" => "the key was used for another request".to_owned(),
        job => format!("the key was used for another request, answered by job {job}"),
    };
    Err(Refusal::refused(codes::SAME_REQUEST, what))
}

/// Freezes and starts a job, or refuses.
pub(crate) async fn start(
    engine: &Arc<Engine>,
    request: JobRequest,
    who: &str,
    once: Option<Once>,
) -> Result<Started, Refusal> {
    let at = clock::now();
    let operation = OPERATIONS
        .into_iter()
        .find(|operation| operation.name() == request.operation)
        .ok_or_else(|| Refusal::bad_request(format!("unknown operation `{}`", request.operation)))?;
    if request
        .accept_split_brain_risk
        .as_ref()
        .is_some_and(|why| why.trim().is_empty())
    {
        return Err(Refusal::bad_request("accepting the risk wants a reason".to_owned()));
    }
    if let Some(known) = once.as_ref().map(|once| answered(engine, once)).transpose()?.flatten() {
        return Ok(Started::Before(known));
    }
    let asked = Asked {
        request: &request,
        operation,
        who,
        at,
    };
    // Sites are asked before the lock is taken: one that is slow to answer holds nobody else's failover.
    let mut prepared = prepare(engine, &asked).await?;
    if request.dry_run {
        return Ok(Started::Dry(Box::new(prepared.job())));
    }
    // One job at a time takes its items.
    let _freezing = engine.freezing.lock().await;
    if let Some(known) = once.as_ref().map(|once| answered(engine, once)).transpose()?.flatten() {
        return Ok(Started::Before(known));
    }
    if !prepared.holds(engine, &asked)? {
        prepared = prepare(engine, &asked).await?;
    }
    write(engine, prepared.job(), once).await.map(Started::Job)
}

/// A request as it came.
struct Asked<'r> {
    request: &'r JobRequest,
    operation: Operation,
    who: &'r str,
    at: Millis,
}

/// A job that could begin, with what it rests on.
struct Prepared {
    frozen: Frozen,
    ground: Ground,
    sites: Sites,
}

/// What the host itself knows that a job is made from, beside the states that the job has itself. If it changes, the job
/// is made anew.
#[derive(PartialEq)]
struct Ground {
    inventory: Arc<Inventory>,
    plan: Plan,
    direction: Direction,
}

impl Prepared {
    fn job(self) -> Job {
        let at = self.frozen.requested_at;
        Job::new(Arc::new(self.frozen), at)
    }

    /// Nothing that it rests on has changed since. Asked under the lock under which items are taken.
    fn holds(&self, engine: &Engine, asked: &Asked<'_>) -> Result<bool, Refusal> {
        let (ground, items) = ground(engine, asked, about(engine, asked)?, &self.sites)?;
        let known = &self.frozen.items;
        let same = |(name, state): &(String, ItemState)| known.get(name).is_some_and(|item| item.state == *state);
        let stands = ground == self.ground && items.len() == known.len() && items.iter().all(same);
        Ok(stands && pins_hold(engine, &self.frozen)?)
    }
}

/// Who a request is about, and what is to be said of those that are left out.
struct About {
    inventory: Arc<Inventory>,
    plan: Plan,
    direction: Direction,
    names: Vec<String>,
    left_out: Vec<Finding>,
}

fn about(engine: &Engine, asked: &Asked<'_>) -> Result<About, Refusal> {
    let inventory = Arc::clone(&engine.world().inventory);
    let (mut plan, names) = subject_of(engine, asked.request)?;
    pause_before(&mut plan, &asked.request.pause_before)?;
    let (direction, names, left_out) = direction_of(engine, asked.operation, names, asked.request.direction)?;
    pauses_somewhere(&plan, &asked.request.pause_before, &names)?;
    Ok(About {
        inventory,
        plan,
        direction,
        names,
        left_out,
    })
}

fn ground(
    engine: &Engine,
    asked: &Asked<'_>,
    about: About,
    sites: &Sites,
) -> Result<(Ground, Vec<(String, ItemState)>), Refusal> {
    let to = asked.request.to.as_deref();
    let items = legal(engine, asked.operation, about.names, sites, to)?;
    let ground = Ground {
        inventory: about.inventory,
        plan: about.plan,
        direction: about.direction,
    };
    Ok((ground, items))
}

/// Checks all that can be checked, and asks everybody who has a say.
async fn prepare(engine: &Arc<Engine>, asked: &Asked<'_>) -> Result<Prepared, Refusal> {
    let (request, operation) = (asked.request, asked.operation);
    let mut about = about(engine, asked)?;
    let left_out = std::mem::take(&mut about.left_out);
    let to = moved_to(engine, operation, about.direction, request)?;
    let sites = look::observe(engine, &about.names, Some(about.direction), to).await;
    let listing = look::list(engine, &about.names, operation, about.direction).await;
    let (ground, items) = ground(engine, asked, about, &sites)?;
    // What makes no sense is said first: nobody should confirm that.
    let taken: Vec<&String> = items.iter().map(|(name, _)| name).collect();
    confirmed(request, operation, &ground.plan, &taken, ground.direction)?;
    let mut frozen = shape(engine, asked, &ground, items)?;
    place(engine, &mut frozen, request, &sites, &listing)?;
    can_return(&frozen, &listing)?;
    let given_up = gives_up(&frozen, &listing);
    if !given_up.is_empty() {
        let items: Vec<&String> = frozen.items.keys().collect();
        typed(request, operation, &frozen.plan, &items, &given_up)?;
    }
    frozen.plugins = pin(engine, &frozen)?;
    choose_policy(engine, &mut frozen, request, &sites).await?;
    frozen.findings = known_findings(engine, &frozen, &sites);
    frozen.findings.extend(left_behind(&frozen, request.reason.as_deref()));
    frozen.findings.extend(given_up);
    frozen.findings.extend(left_out);
    frozen
        .findings
        .extend(not_at_source(operation, &listing.missing, &frozen));
    let foreseen = foresee::findings(engine, &frozen).await;
    frozen.findings.extend(foreseen);
    preflight(engine, &mut frozen).await?;
    frozen.build_graph();
    injected_steps(&frozen)?;
    let frozen = set_effects(engine, frozen).await?;
    Ok(Prepared { frozen, ground, sites })
}

/// Who is to be protected, or shut down in order, must be there.
fn not_at_source(operation: Operation, missing: &BTreeSet<String>, frozen: &Frozen) -> Vec<Finding> {
    if !matches!(
        operation,
        Operation::Protect | Operation::PlannedFailover | Operation::Reprotect
    ) {
        return Vec::new();
    }
    let say = |name: &String| {
        let source = &frozen.items.get(name)?.item.source;
        let cause = format!("site `{}` has no machine `{}`", source.site, source.machine);
        Some(finding(codes::NOT_AT_SOURCE, Severity::Error, name, cause))
    };
    missing.iter().filter_map(say).collect()
}

/// Keeps the items for which the operation is legal, or refuses with everything that stands against it. Operations
/// that bring a plan into a state (protect, cleanup, commit) pass over items that are in it already.
fn legal(
    engine: &Engine,
    operation: Operation,
    names: Vec<String>,
    sites: &Sites,
    to: Option<&str>,
) -> Result<Vec<(String, ItemState)>, Refusal> {
    let (mut items, mut findings, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let state = engine.world().items.get(&name).cloned().unwrap_or_default();
        match permission(&name, &state, &facts(engine, &name, sites, to), operation) {
            Permission::Allowed => items.push((name, state)),
            Permission::Blocked { findings: more } => findings.extend(more),
            Permission::Illegal { code, reason, legal } => {
                let names: Vec<&str> = legal.iter().map(|operation| operation.name()).collect();
                let cure = match names.as_slice() {
                    [] => codes::explain(&code).map_or("", |page| page.cure).to_owned(),
                    names => format!("legal now: {}", names.join(", ")),
                };
                let finding = Finding {
                    id: code.clone(),
                    severity: Severity::Error,
                    subject: name,
                    cause: reason,
                    cure,
                };
                if operation.passes_over() && code == codes::NOT_LEGAL {
                    passed.push(finding);
                } else {
                    findings.push(finding);
                }
            }
        }
    }
    if !findings.is_empty() {
        let code = if findings.iter().all(|finding| finding.id == codes::ITEM_LOCKED) {
            codes::ITEM_LOCKED
        } else {
            codes::PREFLIGHT_REFUSED
        };
        let code = if findings.iter().all(|finding| finding.id == codes::NOT_LEGAL) {
            codes::NOT_LEGAL
        } else {
            code
        };
        return Err(Refusal::findings(code, format!("{operation} is refused"), findings));
    }
    if items.is_empty() {
        // That there is nothing to clean up or protect is good news; that there is nothing to commit is not.
        let code = if matches!(operation, Operation::Protect | Operation::Cleanup | Operation::Fence) {
            codes::NOTHING_TO_DO
        } else {
            codes::NOT_LEGAL
        };
        return Err(Refusal::findings(
            code,
            format!("nothing to do for {operation}"),
            passed,
        ));
    }
    Ok(items)
}

fn shape(
    engine: &Engine,
    asked: &Asked<'_>,
    ground: &Ground,
    items: Vec<(String, ItemState)>,
) -> Result<Frozen, Refusal> {
    let (request, operation, direction) = (asked.request, asked.operation, ground.direction);
    let mut plan = ground.plan.clone();
    if request.test_network.is_some() {
        plan.test_network.clone_from(&request.test_network);
    }
    if request.accept_split_brain_risk.is_some() && operation != Operation::UnplannedFailover {
        return Err(Refusal::bad_request(
            "a risk is accepted for an unplanned failover only".to_owned(),
        ));
    }
    if request.shutdown.is_some() && operation != Operation::UnplannedFailover {
        return Err(Refusal::bad_request(
            "whether sources are shut down first is said for an unplanned failover only: a planned one always does, and \
             so it loses nothing"
                .to_owned(),
        ));
    }
    let reason = request.reason.as_ref().filter(|reason| !reason.trim().is_empty());
    if reason.is_some() != (operation == Operation::Release) {
        return Err(Refusal::bad_request(
            "a release wants a `reason`, and nothing else has one".to_owned(),
        ));
    }
    if request.fence_on_return && request.accept_split_brain_risk.is_none() {
        return Err(Refusal::bad_request(
            "a source is fenced on its return only where the risk was accepted".to_owned(),
        ));
    }
    let world = engine.world();
    let mut frozen_items = BTreeMap::new();
    for (name, state) in items {
        let Some(item) = look::seen(&world, &name, direction, request.to.as_deref()) else {
            continue;
        };
        let listed = world.listed(&name, direction);
        let machine = listed.map(|listed| Carried::of(&listed.machine)).transpose();
        let frozen = FrozenItem {
            replication_group: consistency_group(&world.inventory, &item),
            machine: machine.map_err(|error| Refusal::internal(&error))?,
            listed_at: listed.map(|listed| listed.observed_at),
            extra_steps: Vec::new(),
            origin: look::origin(&world, &name),
            turn: None,
            syncs_on_shutdown: false,
            item,
            state,
        };
        frozen_items.insert(name, Box::new(frozen));
    }
    let identity = engine.store.identity();
    Ok(Frozen {
        installation: identity.installation.clone(),
        epoch: identity.epoch,
        job: uuid::Uuid::now_v7().to_string(),
        operation,
        direction,
        point: operation.goes_to_a_point().then(|| plan.point.clone()),
        fence_max_age_ms: plan.fence_max_age_ms,
        plan,
        items: frozen_items,
        processes_first: false,
        risk: request.accept_split_brain_risk.clone().map(|why| Risk {
            who: asked.who.to_owned(),
            why,
            fence_on_return: request.fence_on_return,
        }),
        shutdown: request.shutdown,
        keep: None,
        test_ttl_ms: (operation == Operation::Test).then(|| test_ttl(request)).transpose()?,
        options: request.set.clone(),
        injections: injections(operation, &request.inject)?,
        plugins: BTreeMap::new(),
        findings: Vec::new(),
        requested_at: asked.at,
        requested_by: asked.who.to_owned(),
        graph: Graph::default(),
    })
}

/// A day: nobody needs a forgotten test machine tomorrow.
const TEST_TTL_MS: Millis = 24 * 3_600_000;

/// A year: nobody means a longer one.
const TEST_TTL_MAX_MS: Millis = 366 * 24 * 3_600_000;

fn test_ttl(request: &JobRequest) -> Result<Millis, Refusal> {
    match request.ttl_ms.unwrap_or(TEST_TTL_MS) {
        ttl @ 1..=TEST_TTL_MAX_MS => Ok(ttl),
        _ => Err(Refusal::bad_request(
            "a test lives for a while, and for a year at most".to_owned(),
        )),
    }
}

/// Begins the keys of pinned policies.
const POLICY: &str = "policy:";

/// Begins the names of gates that a request asked for; no name in a plan has it.
const PAUSE: &str = "pause:";

/// A gate before each of these groups, and before all that the plan itself has there.
fn pause_before(plan: &mut Plan, groups: &[String]) -> Result<(), Refusal> {
    let mut pauses = Vec::new();
    for group in groups {
        if !plan.groups.iter().any(|known| known.name == *group) {
            let hint = suggest(group, plan.groups.iter().map(|group| group.name.as_str()));
            let what = format!("plan `{}` has no group `{group}`; {hint}", plan.name);
            return Err(Refusal::refused(codes::GROUP_UNKNOWN, what));
        }
        pauses.push(Action {
            name: format!("{PAUSE}{group}"),
            runbook: String::new(),
            gate: Some(format!("the job pauses before group `{group}`")),
            positions: vec![Position::Before(Some(group.clone()))],
            kinds: BTreeSet::from([FailoverKind::Test, FailoverKind::Planned, FailoverKind::Unplanned]),
            directions: BTreeSet::from([Direction::Forward, Direction::Reverse]),
            with: Pairs::new(),
            timeout_ms: GATE_TIMEOUT_DEFAULT_MS,
            retries: 0,
            on_error: None,
        });
    }
    plan.actions.splice(0..0, pauses);
    Ok(())
}

/// Before a group without a machine in the job there is nothing to wait for, and whoever asked for it means something else.
fn pauses_somewhere(plan: &Plan, groups: &[String], names: &[String]) -> Result<(), Refusal> {
    let paused = plan.groups.iter().filter(|group| groups.contains(&group.name));
    let mut empty = paused.filter(|group| !group.machines.iter().any(|machine| names.contains(machine)));
    match empty.next() {
        None => Ok(()),
        Some(group) => Err(Refusal::bad_request(format!(
            "the job would not pause before group `{}`: all of its machines are left out",
            group.name
        ))),
    }
}

/// Where home is to be from now on, if the request says so.
fn moved_to<'r>(
    engine: &Engine,
    operation: Operation,
    direction: Direction,
    request: &'r JobRequest,
) -> Result<Option<&'r str>, Refusal> {
    let Some(site) = request.to.as_deref() else {
        return Ok(None);
    };
    let turns = matches!(operation, Operation::Reprotect | Operation::PlannedFailover);
    if !turns || direction == Direction::Forward {
        return Err(Refusal::bad_request(
            "`to` names the site at which a machine comes back, when its way back is prepared".to_owned(),
        ));
    }
    if !engine.config.now().sites.contains_key(site) {
        let what = format!("the daemon's configuration has no site `{site}`");
        return Err(Refusal::refused(codes::UNKNOWN_SITE, what));
    }
    Ok(Some(site))
}

/// Settles what the sites were asked for: where replication is turned to, and what else a source can do.
fn place(
    engine: &Engine,
    frozen: &mut Frozen,
    request: &JobRequest,
    sites: &Sites,
    listing: &Listing,
) -> Result<(), Refusal> {
    frozen.keep = kept(frozen, request)?;
    let to = request.to.as_deref();
    let (operation, direction) = (frozen.operation, frozen.direction);
    let world = engine.world();
    let mut findings = Vec::new();
    for (name, item) in &mut frozen.items {
        item.turn = look::turn(&world, operation, name, (direction, to), listing);
        let why = item
            .turn
            .as_ref()
            .and_then(|turn| look::unturnable(&world, name, turn, listing));
        findings.extend(why);
        let source = sites.of(&item.item.source.site, name, direction);
        item.syncs_on_shutdown = source.is_some_and(|facts| facts.syncs_on_shutdown);
    }
    drop(world);
    if !findings.is_empty() {
        let what = format!("{operation} is refused");
        return Err(Refusal::findings(codes::PREFLIGHT_REFUSED, what, findings));
    }
    let options = frozen.items.values().flat_map(|item| item.item.options.values());
    for value in options.chain(frozen.options.values()) {
        secret_exists(engine, value)?;
    }
    Ok(())
}

/// An option may name a secret; it never is one.
fn secret_exists(engine: &Engine, value: &str) -> Result<(), Refusal> {
    let Some(name) = value.strip_prefix("secret:") else {
        return Ok(());
    };
    match engine.config.now().secrets.try_read(name) {
        Ok(()) => Ok(()),
        Err(error) => Err(Refusal::refused(codes::OPTION_SECRET, error.to_string())),
    }
}

/// Which of two running machines stays.
fn kept(frozen: &Frozen, request: &JobRequest) -> Result<Option<Keep>, Refusal> {
    let refuse = |what: String| Err(Refusal::refused(codes::WRONG_KEEP, what));
    match (&request.keep, frozen.operation == Operation::ChooseDirection) {
        (None, false) => Ok(None),
        (Some(_), false) => Err(Refusal::bad_request("`keep` belongs to choose-direction".to_owned())),
        (None, true) => Err(Refusal::bad_request(
            "say which site's machine stays: `keep`".to_owned(),
        )),
        (Some(site), true) => {
            let all = |fits: fn(&FrozenItem, &str) -> bool| frozen.items.values().all(|item| fits(item, site));
            if all(|item, site| item.item.source.site == site) {
                Ok(Some(Keep::Source))
            } else if all(|item, site| item.item.target_site == site) {
                Ok(Some(Keep::Target))
            } else {
                let item = frozen.items.values().next().map(|item| &item.item);
                let sites = item.map_or(String::new(), |item| {
                    format!("; they run at `{}` and `{}`", item.source.site, item.target_site)
                });
                refuse(format!("`{site}` is not one of the two sites{sites}"))
            }
        }
    }
}

/// What a drill wants to go wrong.
fn injections(operation: Operation, wanted: &BTreeMap<String, String>) -> Result<BTreeMap<String, Injection>, Refusal> {
    let refuse = |why: String| Refusal::refused(codes::BAD_INJECTION, why);
    if !wanted.is_empty() && operation != Operation::Test {
        return Err(refuse("faults are injected into drills only".to_owned()));
    }
    let read = |(step, fault): (&String, &String)| {
        let injection = match fault.split_once(':') {
            None => match fault.as_str() {
                "fail" => Injection::Fail,
                "crash" => Injection::Crash,
                "repeat" => Injection::Repeat,
                "slow" => Injection::Slow { ms: SLOW_MS },
                _ => {
                    return Err(refuse(no_fault(step, fault)));
                }
            },
            Some(("slow", span)) => {
                let ms = words::span(span).map_err(|error| refuse(format!("`{step}` cannot be slow: {error}")))?;
                Injection::Slow { ms }
            }
            Some(_) => {
                return Err(refuse(no_fault(step, fault)));
            }
        };
        Ok((step.clone(), injection))
    };
    wanted.iter().map(read).collect()
}

fn no_fault(step: &str, fault: &str) -> String {
    format!(
        "`{fault}` of `{step}` is no fault that can be rehearsed: there are fail, crash, repeat, slow and slow:SPAN"
    )
}

/// Long enough to be felt in a drill.
const SLOW_MS: Millis = 30_000;

fn injected_steps(frozen: &Frozen) -> Result<(), Refusal> {
    let ids = || {
        let real = frozen.graph.steps.iter().filter(|step| !step.kind.is_milestone());
        real.map(|step| step.id.as_str())
    };
    match frozen.injections.keys().find(|step| !ids().any(|id| id == *step)) {
        None => Ok(()),
        Some(stranger) => {
            let hint = suggest(stranger, ids());
            let why = format!("the job has no step `{stranger}`; {hint}");
            Err(Refusal::refused(codes::BAD_INJECTION, why))
        }
    }
}

/// Pins every plugin that the job may call, but for its policy.
fn pin(engine: &Engine, frozen: &Frozen) -> Result<Pins, Refusal> {
    // It calls nobody, and what is lost may have no plugin any more.
    if frozen.operation == Operation::Release {
        return Ok(Pins::new());
    }
    let items = frozen.items.values().map(|item| &item.item);
    pins(engine, items, &frozen.plan, frozen.operation)
}

/// All that the job may call still serves: a version that was replaced meanwhile may be revoked, or gone.
fn pins_hold(engine: &Engine, frozen: &Frozen) -> Result<bool, Refusal> {
    let mut now = pin(engine, frozen)?;
    for key in frozen.plugins.keys() {
        if let Some(policy) = key.strip_prefix(POLICY) {
            now.insert(key.clone(), engine.pin_policy(policy)?);
        }
    }
    Ok(now == frozen.plugins)
}

fn pins<'i>(
    engine: &Engine,
    items: impl Iterator<Item = &'i Item>,
    plan: &Plan,
    operation: Operation,
) -> Result<Pins, Refusal> {
    let mut pinned = BTreeMap::new();
    for item in items {
        let fencing = item.fencing.as_ref().map(|fencing| &fencing.site);
        let fencing = fencing.filter(|_| operation == Operation::UnplannedFailover);
        for site in [&item.source.site, &item.target_site].into_iter().chain(fencing) {
            let key = site_key(site);
            if let Entry::Vacant(free) = pinned.entry(key) {
                free.insert(engine.pin_site(site)?);
            }
        }
    }
    if operation.failover_kind().is_some() {
        for action in plan.actions.iter().filter(|action| action.gate.is_none()) {
            pinned.insert(runbook_key(&action.runbook), engine.pin_runbook(&action.runbook)?);
        }
    }
    Ok(pinned)
}

/// Settles which policy chooses, and whether it wants pending data processed first.
async fn choose_policy(
    engine: &Arc<Engine>,
    frozen: &mut Frozen,
    request: &JobRequest,
    sites: &Sites,
) -> Result<(), Refusal> {
    let Some(mut choice) = frozen.point.clone() else {
        return Ok(());
    };
    let asked = request.point.is_some() || request.policy.is_some();
    if let Some(policy) = &request.policy {
        choice.policy.clone_from(policy);
    }
    if let Some(point) = &request.point {
        choice.choice.clone_from(point);
        choice.params.clear();
    }
    choice.params.extend(request.point_params.clone());
    let narrowed = narrowed(frozen, sites);
    match frozen.operation {
        Operation::PlannedFailover if !asked => choice = PointChoice::default(),
        // Nothing new comes from a source that was left: one goes to what is there.
        Operation::ChangePoint if !asked => {
            return Err(Refusal::refused(
                codes::CHOICE_REFUSED,
                "say which point to change to: `point`".to_owned(),
            ));
        }
        // What the plan says was said for the way out.
        _ if !asked && forbids(&narrowed, &choice.choice).is_some() => {
            choice = PointChoice {
                choice: LATEST_PROCESSED.to_owned(),
                ..PointChoice::default()
            };
        }
        _ => {}
    }
    if let Some((item, only)) = forbids(&narrowed, &choice.choice) {
        let what = format!(
            "`{item}` comes back to {} only, not to `{}`",
            only.join(", "),
            choice.choice
        );
        return Err(Refusal::refused(codes::CHOICE_REFUSED, what));
    }
    let pinned = engine.pin_policy(&choice.policy)?;
    let policy = engine.pinned_policy(&choice.policy, &pinned).await?;
    let choices = policy
        .choices()
        .await
        .map_err(|error| Refusal::from(from_call_error(&error)))?;
    let names: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
    let offered = choices
        .iter()
        .find(|offered| offered.name == choice.choice)
        .ok_or_else(|| {
            let hint = landfall_recovery::diagnostic::suggest(&choice.choice, names.iter().copied());
            Refusal::refused(
                codes::UNKNOWN_CHOICE,
                format!("policy `{}` has no choice `{}`; {hint}", choice.policy, choice.choice),
            )
        })?;
    // F08, F09: only with a replication group; F22: a planned failover loses nothing, so it goes to its newest data.
    let grouped = frozen.items.values().any(|item| item.replication_group.is_some());
    if offered.needs_group && !grouped {
        let what = format!(
            "`{}` needs a machine with multi-VM consistency, and `{}` has none",
            offered.name, frozen.plan.name
        );
        return Err(Refusal::refused(codes::CHOICE_REFUSED, what));
    }
    if frozen.operation == Operation::PlannedFailover && !offered.needs_processing {
        let what = format!(
            "a planned failover goes to the data of its own last synchronisation, not to `{}`",
            offered.name
        );
        return Err(Refusal::refused(codes::CHOICE_REFUSED, what));
    }
    if frozen.operation == Operation::ChangePoint && offered.needs_processing {
        let what = format!(
            "a change of point goes to a point that is there; `{}` would process data first",
            offered.name
        );
        return Err(Refusal::refused(codes::CHOICE_REFUSED, what));
    }
    frozen.processes_first = offered.needs_processing;
    frozen.plugins.insert(format!("{POLICY}{}", choice.policy), pinned);
    frozen.point = Some(choice);
    Ok(())
}

/// The standard policy's choice that waits for nothing.
const LATEST_PROCESSED: &str = "latest-processed";

/// By machine: the choices of a point to which its platform is limited on the way back (B20).
fn narrowed(frozen: &Frozen, sites: &Sites) -> BTreeMap<String, Vec<String>> {
    if frozen.direction != Direction::Reverse {
        return BTreeMap::new();
    }
    let limited = frozen.items.iter().filter_map(|(name, item)| {
        let facts = sites.of(&item.item.source.site, name, frozen.direction)?;
        Some((name.clone(), facts.point_choices.clone()?))
    });
    limited.collect()
}

/// A machine that cannot go to this choice of a point, and those to which it can: one choice is made for all.
fn forbids<'n>(narrowed: &'n BTreeMap<String, Vec<String>>, choice: &str) -> Option<(&'n String, &'n Vec<String>)> {
    narrowed
        .iter()
        .find(|(_, only)| !only.iter().any(|allowed| allowed == choice))
}

/// What the host itself has to say.
fn known_findings(engine: &Engine, frozen: &Frozen, sites: &Sites) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, item) in &frozen.items {
        let source = sites.of(&item.item.source.site, name, frozen.direction);
        let reachable = source.is_some_and(|facts| facts.reachable);
        if !reachable && frozen.operation.failover_kind().is_some() {
            let age = match item.listed_at {
                Some(at) => format!("{} s old", frozen.requested_at.saturating_sub(at) / 1000),
                None => "missing".to_owned(),
            };
            let cause = format!(
                "site `{}` does not answer; what is known of `{name}` is {age}",
                item.item.source.site
            );
            findings.push(finding(codes::STALE_INVENTORY, Severity::Warning, name, cause));
        }
    }
    let real = matches!(
        frozen.operation,
        Operation::PlannedFailover | Operation::UnplannedFailover
    );
    if frozen.shutdown == Some(false) {
        let cause = format!(
            "sources of `{}` are not shut down first, as was asked for: each machine starts only once its source is \
             proved off or somebody vouches for it",
            frozen.plan.name
        );
        findings.push(finding(codes::NO_SHUTDOWN, Severity::Warning, &frozen.plan.name, cause));
    }
    if real {
        let left = |name: &str, item: &FrozenItem| {
            let machine = item.state.leftover().filter(|_| item.turn.is_none())?;
            let cause = format!(
                "an earlier failover left `{machine}` at `{}`; it is stopped, proved off and deleted first",
                item.item.target_site
            );
            Some(finding(codes::LEFTOVER, Severity::Warning, name, cause))
        };
        findings.extend(frozen.items.iter().filter_map(|(name, item)| left(name, item)));
        let plan = &frozen.plan.name;
        let tested = engine.world().tested.get(plan).cloned();
        let now = present(engine, &frozen.plan, frozen.direction);
        let cause = unverified(plan, tested.as_ref(), &now);
        findings.extend(cause.map(|cause| finding(codes::NEVER_TESTED, Severity::Warning, plan, cause)));
    }
    findings
}

/// Why the last test of a plan says nothing about it as it is now, if so.
fn unverified(plan: &str, tested: Option<&Tested>, subject: &str) -> Option<String> {
    match tested {
        None => Some(format!("`{plan}` was never tested")),
        Some(tested) if !tested.succeeded() => Some(format!(
            "the last test of `{plan}` (job {}) ended as {}",
            tested.job, tested.outcome
        )),
        Some(tested) if tested.subject != subject => Some(format!(
            "plan, inventory or plugins of `{plan}` changed since its last test (job {})",
            tested.job
        )),
        Some(_) => None,
    }
}

/// What a plan's last test says about it as it is now (F01).
pub(crate) fn readiness(engine: &Engine, plan: &Plan) -> ReadinessView {
    let world = engine.world();
    let tested = world.tested.get(&plan.name);
    let plan = plan.resolved(&world.inventory);
    let reason = unverified(&plan.name, tested, &present(engine, &plan, Direction::Forward));
    ReadinessView {
        job: tested.map(|tested| tested.job.clone()),
        tested_at: tested.map(|tested| tested.at),
        outcome: tested.map(|tested| tested.outcome.clone()),
        verified: reason.is_none(),
        reason,
    }
}

/// What a test of the whole plan would vouch for now, whatever part of it a job takes.
fn present(engine: &Engine, plan: &Plan, direction: Direction) -> String {
    let members = plan.groups.iter().flat_map(|group| &group.machines);
    let items: BTreeMap<&String, Item> = {
        let world = engine.world();
        members
            .filter_map(|name| Some((name, world.oriented(name, direction)?)))
            .collect()
    };
    let pins = pins(engine, items.values(), plan, Operation::Test);
    // Something that does not serve is a change.
    pins.map_or_else(|_| String::new(), |pins| subject(plan, items.values(), &pins))
}

/// What this test says about its plan. One of some of its machines says nothing about the whole, and one of machines
/// without a plan nothing about a plan that is called as they are.
pub(crate) fn vouches(engine: &Engine, frozen: &Frozen) -> bool {
    let mut members = frozen.plan.groups.iter().flat_map(|group| &group.machines);
    let whole = members.all(|name| frozen.items.contains_key(name));
    let namesake = subject::is_made(&frozen.plan) && engine.world().plans.contains_key(&frozen.plan.name);
    frozen.operation == Operation::Test && whole && !namesake
}

/// What a test vouches for: the plan, the inventory of its machines, and the plugins.
pub(crate) fn subject<'i>(plan: &Plan, items: impl Iterator<Item = &'i Item>, pins: &Pins) -> String {
    let items: Vec<_> = items.collect();
    let plugins: Vec<(&String, &String)> = pins
        .iter()
        .filter(|(name, _)| !name.starts_with(POLICY))
        .map(|(name, pinned)| (name, &pinned.digest))
        .collect();
    // The pauses that somebody asked for this once are not the plan's, and where a test was isolated is no failover's.
    let mut plan = plan.clone();
    plan.actions.retain(|action| !is_pause(action));
    plan.test_network = None;
    let text = serde_json::to_string(&(plan, items, plugins)).unwrap_or_default();
    sha256_hex(text.as_bytes())
}

fn is_pause(action: &Action) -> bool {
    action.gate.is_some() && action.name.starts_with(PAUSE)
}

async fn preflight(engine: &Arc<Engine>, frozen: &mut Frozen) -> Result<(), Refusal> {
    // The others look at nothing that could be mended first.
    if frozen.operation.failover_kind().is_none()
        && !matches!(
            frozen.operation,
            Operation::Protect | Operation::Reprotect | Operation::ChangePoint
        )
    {
        return Ok(());
    }
    let answers = preflight::all(engine, frozen).await;
    let (mut errors, known): (Vec<_>, Vec<_>) = std::mem::take(&mut frozen.findings)
        .into_iter()
        .partition(|finding| finding.severity == Severity::Error);
    frozen.findings = known;
    for (name, answer) in answers {
        if let Some(item) = frozen.items.get_mut(&name) {
            item.extra_steps = answer.extra_steps;
        }
        let (bad, fine): (Vec<_>, Vec<_>) = answer
            .findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        errors.extend(bad);
        frozen.findings.extend(fine);
    }
    if errors.is_empty() {
        return Ok(());
    }
    errors.append(&mut frozen.findings.clone());
    let what = format!("preflight refuses {} of `{}`", frozen.operation, frozen.plan.name);
    Err(Refusal::findings(codes::PREFLIGHT_REFUSED, what, errors))
}

/// Asks adapters and runbooks what may be assumed about each effect, and writes it into the graph.
async fn set_effects(engine: &Arc<Engine>, mut frozen: Frozen) -> Result<Frozen, Refusal> {
    let mut sites: BTreeMap<(String, String), EffectFacts> = BTreeMap::new();
    let direction = crate::contract::direction(frozen.direction);
    for (key, pinned) in &frozen.plugins {
        let Some(site) = key.strip_prefix("site:") else {
            continue;
        };
        let adapter = engine.pinned_adapter(site, pinned).await?;
        // An adapter that cannot say keeps the strictest class for everything.
        let Ok(features) = adapter.get_features(String::new(), direction).await else {
            continue;
        };
        for facts in features.operations {
            sites.insert((site.to_owned(), facts.operation.clone()), from_effect(&facts));
        }
    }
    let cannot = cannot_fence(&frozen, &sites);
    frozen.findings.extend(cannot);
    // What an action is told is a matter of the whole job, which is large: it is lent, and not copied.
    let at = frozen.requested_at;
    let job = Job::new(Arc::new(frozen), at);
    let actions = action_effects(engine, &job).await?;
    let mut frozen = Arc::unwrap_or_clone(job.frozen);
    frozen.set_effects(|step: &Step| match operation_name(&step.kind) {
        Some(name) => sites.get(&(step.calls.clone()?, name.to_owned())).copied(),
        None => actions.get(&step.id).copied(),
    });
    Ok(frozen)
}

/// A site that is named for fencing and does not offer it: then a source that is not proved off waits for a person.
fn cannot_fence(frozen: &Frozen, sites: &BTreeMap<(String, String), EffectFacts>) -> Vec<Finding> {
    let steps = frozen.graph.steps.iter().filter(|step| step.kind == StepKind::Stonith);
    let say = |step: &Step| {
        let offered = (step.calls.clone()?, operation_name(&step.kind)?.to_owned());
        if sites.contains_key(&offered) {
            return None;
        }
        let (site, operation) = offered;
        let cause = format!("site `{site}` is named for fencing and does not offer `{operation}`");
        Some(finding(
            codes::NOT_FENCED,
            Severity::Warning,
            step.items.first()?,
            cause,
        ))
    };
    steps.filter_map(say).collect()
}

async fn action_effects(engine: &Arc<Engine>, job: &Job) -> Result<BTreeMap<String, EffectFacts>, Refusal> {
    let frozen = &job.frozen;
    let mut effects = BTreeMap::new();
    for (index, step) in frozen.graph.steps.iter().enumerate() {
        if !matches!(step.kind, StepKind::Action { .. }) {
            continue;
        }
        let Arguments::Action { runbook, context } = arguments(job, index) else {
            continue;
        };
        let Some(pinned) = frozen.plugins.get(&runbook_key(&runbook)) else {
            continue;
        };
        let bound = engine.pinned_runbook(&runbook, pinned).await?;
        let facts = bound
            .effect(*context)
            .await
            .map_err(|error| Refusal::from(from_call_error(&error)))?;
        effects.insert(step.id.clone(), from_effect(&facts));
    }
    Ok(effects)
}

/// Writes the job, its first record, the locks on its items and the answer to its request in one commit, and runs it.
async fn write(engine: &Arc<Engine>, mut job: Job, once: Option<Once>) -> Result<Handle, Refusal> {
    let frozen = Arc::clone(&job.frozen);
    let at = clock::now();
    let text = serde_json::to_string(&*frozen).map_err(|error| Refusal::internal(&error))?;
    let event = Event::Started {
        hash: sha256_hex(text.as_bytes()),
    };
    job.apply(at, &event);
    let mut batch = Batch::new();
    batch.job(JobRow {
        id: frozen.job.clone(),
        plan: frozen.plan.name.clone(),
        operation: frozen.operation.name().to_owned(),
        created_at: frozen.requested_at,
        frozen: text,
    });
    let mut states = Vec::new();
    for (item, change) in landfall_recovery::consequence::consequences(&job, at, &event) {
        let mut state = engine.world().items.get(&item).cloned().unwrap_or_default();
        state.apply(&change);
        batch.put(Space::Item, &item, &state)?;
        states.push((item, state));
    }
    batch.record(&frozen.job, Record { at, event });
    if let Some(once) = once {
        let answered = Answered {
            fingerprint: once.fingerprint,
            job: frozen.job.clone(),
        };
        batch.put(Space::Request, &once.key, &answered)?;
    }
    engine.commit(batch).await?;
    engine.world_mut().items.extend(states);
    tracing::info!(job = %frozen.job, operation = %frozen.operation, plan = %frozen.plan.name, "job started");
    Ok(runner::spawn(engine, job))
}

/// Plugins that a job is pinned to, in words.
pub(crate) fn pinned_words(pinned: &Pinned) -> String {
    format!("{} {} {}", pinned.plugin, pinned.version, pinned.digest)
}

/// Steps that a dry run cannot fill in yet send this.
pub(crate) fn sends(job: &Job, index: usize) -> serde_json::Value {
    serde_json::to_value(arguments(job, index)).unwrap_or(serde_json::Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f12_b20_a_choice_is_possible_if_no_machine_forbids_it() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let narrowed = BTreeMap::from([
            ("db".to_owned(), of(&["latest", "latest-processed"])),
            ("web".to_owned(), of(&["latest-processed", "latest-app-consistent"])),
        ]);
        let who = |choice: &str| forbids(&narrowed, choice).map(|(item, _)| item.as_str());
        assert_eq!(who("latest-processed"), None);
        assert_eq!((who("latest"), who("latest-app-consistent")), (Some("web"), Some("db")));
        assert_eq!(forbids(&BTreeMap::new(), "custom"), None);
    }
}
