//! From a request to a running job: check that it is legal, ask preflight, freeze, write, run. Nothing at any site has
//! changed before the frozen job is durable, and a refusal names everything that stands against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_recovery::codes;
use landfall_recovery::diagnostic::suggest;
use landfall_recovery::document::{Group, Inventory, Plan, PointChoice};
use landfall_recovery::event::{Event, Record};
use landfall_recovery::freeze::{Frozen, FrozenItem, Injection, Pinned, Risk, operation_name, sha256_hex};
use landfall_recovery::graph::{Graph, Step, StepKind};
use landfall_recovery::item::ItemState;
use landfall_recovery::job::Job;
use landfall_recovery::operations::{Facts, OPERATIONS, Operation, Permission, SiteFacts, permission};
use landfall_recovery::words::{Direction, EffectFacts, Failure, Finding, Millis, Severity};
use landfall_runtime::contract::types::Direction as WitDirection;
use landfall_store::{Batch, JobRow, Space};

use crate::api::wire::JobRequest;
use crate::clock;
use crate::contract::{from_call_error, from_effect};
use crate::engine::{Engine, Listed, consistency_group};
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
    let requested_at = clock::now();
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
    // Only one job is frozen at a time: it looks at many items and then locks them. A dry run locks nothing.
    let _freezing = if request.dry_run {
        None
    } else {
        Some(engine.freezing.lock().await)
    };
    if let Some(known) = once.as_ref().map(|once| answered(engine, once)).transpose()?.flatten() {
        return Ok(Started::Before(known));
    }
    let (plan, items) = subject_of(engine, &request)?;
    confirmed(&request, operation, &plan, &items)?;
    let sites = observe_sites(engine, &items).await;
    let missing = list_sources(engine, &items, &sites).await;
    let items = legal(engine, operation, items, &sites)?;
    let mut frozen = shape(engine, operation, plan, items, &request, who, requested_at)?;
    pin(engine, &mut frozen)?;
    choose_policy(engine, &mut frozen, &request).await?;
    frozen.findings = known_findings(engine, &frozen, &sites);
    frozen.findings.extend(not_at_source(operation, &missing, &frozen));
    preflight(engine, &mut frozen).await?;
    frozen.build_graph();
    injected_steps(&frozen)?;
    set_effects(engine, &mut frozen).await?;
    let frozen = Arc::new(frozen);
    let hash = frozen.hash().map_err(|error| Refusal::internal(&error))?;
    let job = Job::new(Arc::clone(&frozen), requested_at);
    if request.dry_run {
        return Ok(Started::Dry(Box::new(job)));
    }
    write(engine, job, hash, once).await.map(Started::Job)
}

/// The plan and the names of the items that a request is about. Items without a plan get one made for them.
fn subject_of(engine: &Engine, request: &JobRequest) -> Result<(Plan, Vec<String>), Refusal> {
    let world = engine.world();
    let unknown = |item: &String| !world.inventory.items.contains_key(item);
    if let Some(item) = request.items.iter().find(|item| unknown(item)) {
        return Err(Refusal::unknown(format!("the inventory has no item `{item}`")));
    }
    match &request.plan {
        Some(name) => {
            let applied = world
                .plans
                .get(name)
                .ok_or_else(|| Refusal::unknown(format!("there is no plan `{name}`")))?;
            let plan = applied.plan.clone();
            let members: Vec<String> = plan.groups.iter().flat_map(|group| group.machines.clone()).collect();
            if let Some(stray) = request.items.iter().find(|item| !members.contains(item)) {
                return Err(Refusal::unknown(format!("plan `{name}` has no machine `{stray}`")));
            }
            let items = if request.items.is_empty() {
                members
            } else {
                request.items.clone()
            };
            Ok((plan, items))
        }
        None if request.items.is_empty() => Err(Refusal::bad_request("name a plan or items".to_owned())),
        None => {
            let items: Vec<String> = request
                .items
                .iter()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .cloned()
                .collect();
            let plan = Plan {
                name: items.join("+"),
                description: "made for single machines".to_owned(),
                point: PointChoice::default(),
                shutdown: true,
                test_network: None,
                fence_max_age_ms: FENCE_MAX_AGE_MS,
                rto_ms: None,
                groups: vec![Group {
                    name: "machines".to_owned(),
                    machines: items.clone(),
                }],
                actions: Vec::new(),
            };
            Ok((plan, items))
        }
    }
}

/// As in a plan that says nothing about it.
const FENCE_MAX_AGE_MS: Millis = 60_000;

/// A real failover wants its name typed.
fn confirmed(request: &JobRequest, operation: Operation, plan: &Plan, items: &[String]) -> Result<(), Refusal> {
    let real = matches!(operation, Operation::PlannedFailover | Operation::UnplannedFailover);
    if !real || request.dry_run {
        return Ok(());
    }
    let fits = |typed: &String| *typed == plan.name || (items.len() == 1 && items.first() == Some(typed));
    if request.confirm.as_ref().is_some_and(fits) {
        return Ok(());
    }
    Err(Refusal::refused(
        codes::NOT_CONFIRMED,
        format!("a {operation} of `{}` was not confirmed", plan.name),
    ))
}

type Sites = BTreeMap<String, SiteFacts>;

async fn observe_sites(engine: &Arc<Engine>, items: &[String]) -> Sites {
    let names: BTreeSet<String> = {
        let world = engine.world();
        items
            .iter()
            .filter_map(|name| world.inventory.items.get(name))
            .flat_map(|item| [item.source.site.clone(), item.target_site.clone()])
            .collect()
    };
    let asked = names.into_iter().map(|name| async {
        let facts = engine.site_facts(&name).await;
        (name, facts)
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// Lists the source machines; what cannot be listed stays as it was last seen. Gives the items whose site answered
/// and does not have their machine.
async fn list_sources(engine: &Arc<Engine>, items: &[String], sites: &Sites) -> BTreeSet<String> {
    let wanted: BTreeMap<(String, String), String> = {
        let world = engine.world();
        let item = |name: &String| world.inventory.items.get(name);
        items
            .iter()
            .filter_map(item)
            .filter(|item| sites.get(&item.source.site).is_some_and(|facts| facts.reachable))
            .map(|item| {
                (
                    (item.source.site.clone(), item.source.machine.clone()),
                    item.name.clone(),
                )
            })
            .collect()
    };
    let names: BTreeSet<&String> = wanted.keys().map(|(site, _)| site).collect();
    let mut found = Vec::new();
    let mut missing = BTreeSet::new();
    for site in names {
        let Ok(machines) = list_machines(engine, site).await else {
            continue;
        };
        missing.extend(
            wanted
                .iter()
                .filter(|((at, _), _)| at == site)
                .map(|(_, item)| item.clone()),
        );
        for machine in machines {
            if let Some(item) = wanted.get(&(site.clone(), machine.id.clone())) {
                missing.remove(item);
                found.push((
                    item.clone(),
                    Listed {
                        machine,
                        observed_at: clock::now(),
                    },
                ));
            }
        }
    }
    let mut batch = Batch::new();
    for (item, listed) in &found {
        let known = engine.world().machines.get(item).map(|known| known.machine.clone());
        if known.as_ref() != Some(&listed.machine) && batch.put(Space::Machines, item, listed).is_err() {
            return missing;
        }
    }
    if batch.is_empty() || engine.commit(batch).await.is_ok() {
        engine.world_mut().machines.extend(found);
    }
    missing
}

/// Who is to be protected, or shut down in order, must be there.
fn not_at_source(operation: Operation, missing: &BTreeSet<String>, frozen: &Frozen) -> Vec<Finding> {
    if !matches!(operation, Operation::Protect | Operation::PlannedFailover) {
        return Vec::new();
    }
    let say = |name: &String| {
        let source = &frozen.items.get(name)?.item.source;
        let cause = format!("site `{}` has no machine `{}`", source.site, source.machine);
        Some(finding(codes::NOT_AT_SOURCE, Severity::Error, name, cause))
    };
    missing.iter().filter_map(say).collect()
}

/// All pages of a site's machines.
pub(crate) async fn list_machines(
    engine: &Arc<Engine>,
    site: &str,
) -> Result<Vec<landfall_runtime::contract::adapter::Machine>, Failure> {
    let adapter = engine.adapter(site).await?;
    let (mut machines, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = adapter
            .list_machines(cursor)
            .await
            .map_err(|error| from_call_error(&error))?;
        machines.extend(page.machines);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(machines);
        }
    }
    Err(Failure::definite(
        codes::BAD_OUTPUT,
        format!("site `{site}` lists machines without end"),
    ))
}

/// Far more pages than any site has; an adapter that repeats its cursor is stopped here.
pub(crate) const PAGES_MAX: usize = 10_000;

/// The facts on which legality rests.
pub(crate) fn facts(engine: &Engine, inventory: &Inventory, name: &str, sites: &Sites) -> Facts {
    let item = inventory.items.get(name);
    Facts {
        source: item.and_then(|item| sites.get(&item.source.site).cloned()),
        target: item.and_then(|item| sites.get(&item.target_site).cloned()),
        points: engine
            .world()
            .points
            .get(name)
            .map_or(0, |catalogue| catalogue.points.len()),
    }
}

/// Keeps the items for which the operation is legal, or refuses with everything that stands against it. Operations
/// that bring a plan into a state (protect, cleanup, commit) pass over items that are in it already.
fn legal(
    engine: &Engine,
    operation: Operation,
    names: Vec<String>,
    sites: &Sites,
) -> Result<Vec<(String, ItemState)>, Refusal> {
    let inventory = Arc::clone(&engine.world().inventory);
    let (mut items, mut findings, mut passed) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let state = engine.world().items.get(&name).cloned().unwrap_or_default();
        match permission(&name, &state, &facts(engine, &inventory, &name, sites), operation) {
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
                let settled = matches!(operation, Operation::Protect | Operation::Cleanup | Operation::Commit);
                if settled && code == codes::NOT_LEGAL {
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
        let code = if operation == Operation::Commit {
            codes::NOT_LEGAL
        } else {
            codes::NOTHING_TO_DO
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
    operation: Operation,
    mut plan: Plan,
    items: Vec<(String, ItemState)>,
    request: &JobRequest,
    who: &str,
    requested_at: Millis,
) -> Result<Frozen, Refusal> {
    if request.test_network.is_some() {
        plan.test_network.clone_from(&request.test_network);
    }
    if request.accept_split_brain_risk.is_some() && operation != Operation::UnplannedFailover {
        return Err(Refusal::bad_request(
            "a risk is accepted for an unplanned failover only".to_owned(),
        ));
    }
    let world = engine.world();
    let mut frozen_items = BTreeMap::new();
    for (name, state) in items {
        let Some(item) = world.inventory.items.get(&name).cloned() else {
            continue;
        };
        let listed = world.machines.get(&name);
        let machine = listed.map(|listed| serde_json::to_value(&listed.machine)).transpose();
        let frozen = FrozenItem {
            replication_group: consistency_group(&world.inventory, &item),
            machine: machine.map_err(|error| Refusal::internal(&error))?,
            listed_at: listed.map(|listed| listed.observed_at),
            extra_steps: Vec::new(),
            item,
            state,
        };
        frozen_items.insert(name, frozen);
    }
    let identity = engine.store.identity();
    Ok(Frozen {
        installation: identity.installation.clone(),
        epoch: identity.epoch,
        job: uuid::Uuid::now_v7().to_string(),
        operation,
        direction: Direction::Forward,
        point: operation.failover_kind().map(|_| plan.point.clone()),
        fence_max_age_ms: plan.fence_max_age_ms,
        plan,
        items: frozen_items,
        processes_first: false,
        risk: request.accept_split_brain_risk.clone().map(|why| Risk {
            who: who.to_owned(),
            why,
        }),
        injections: injections(operation, &request.inject)?,
        plugins: BTreeMap::new(),
        findings: Vec::new(),
        requested_at,
        requested_by: who.to_owned(),
        graph: Graph::default(),
    })
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
                    return Err(refuse(format!(
                        "`{fault}` of `{step}` is no fault that can be rehearsed"
                    )));
                }
            },
            Some(("slow", span)) => {
                let span: jiff::SignedDuration = span
                    .parse()
                    .map_err(|error| refuse(format!("`{span}` of `{step}` is no span of time: {error}")))?;
                let ms = u64::try_from(span.as_millis()).map_err(|_| refuse(format!("`{step}` cannot be hurried")))?;
                Injection::Slow { ms }
            }
            Some(_) => {
                return Err(refuse(format!(
                    "`{fault}` of `{step}` is no fault that can be rehearsed"
                )));
            }
        };
        Ok((step.clone(), injection))
    };
    wanted.iter().map(read).collect()
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

/// Pins every plugin that the job may call.
fn pin(engine: &Engine, frozen: &mut Frozen) -> Result<(), Refusal> {
    let mut pinned = BTreeMap::new();
    for item in frozen.items.values() {
        let fencing = item.item.fencing.as_ref().map(|fencing| &fencing.site);
        let fencing = fencing.filter(|_| frozen.operation == Operation::UnplannedFailover);
        for site in [&item.item.source.site, &item.item.target_site].into_iter().chain(fencing) {
            let key = site_key(site);
            if !pinned.contains_key(&key) {
                pinned.insert(key, engine.pin_site(site)?);
            }
        }
    }
    if frozen.operation.failover_kind().is_some() {
        for action in &frozen.plan.actions {
            pinned.insert(runbook_key(&action.runbook), engine.pin_runbook(&action.runbook)?);
        }
    }
    frozen.plugins = pinned;
    Ok(())
}

/// Settles which policy chooses, and whether it wants pending data processed first.
async fn choose_policy(engine: &Arc<Engine>, frozen: &mut Frozen, request: &JobRequest) -> Result<(), Refusal> {
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
    if frozen.operation == Operation::PlannedFailover && !asked {
        choice = PointChoice::default();
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
    frozen.processes_first = offered.needs_processing;
    frozen.plugins.insert(format!("policy:{}", choice.policy), pinned);
    frozen.point = Some(choice);
    Ok(())
}

/// What the host itself has to say.
fn known_findings(engine: &Engine, frozen: &Frozen, sites: &Sites) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, item) in &frozen.items {
        let reachable = sites.get(&item.item.source.site).is_some_and(|facts| facts.reachable);
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
    if real {
        let tested = engine.world().tested.get(&frozen.plan.name).cloned();
        let plan = &frozen.plan.name;
        let cause = match tested {
            None => Some(format!("`{plan}` was never tested")),
            Some(tested) if tested.subject != subject(frozen, &frozen.plugins) => Some(format!(
                "plan, inventory or plugins of `{plan}` changed since its last test (job {})",
                tested.job
            )),
            Some(_) => None,
        };
        findings.extend(cause.map(|cause| finding(codes::NEVER_TESTED, Severity::Warning, plan, cause)));
    }
    findings
}

/// What a test vouches for: the plan, the inventory of its machines, and the plugins.
pub(crate) fn subject(frozen: &Frozen, pins: &Pins) -> String {
    let items: Vec<_> = frozen.items.values().map(|item| &item.item).collect();
    let plugins: Vec<(&String, &String)> = pins
        .iter()
        .filter(|(name, _)| !name.starts_with("policy:"))
        .map(|(name, pinned)| (name, &pinned.digest))
        .collect();
    let text = serde_json::to_string(&(&frozen.plan.groups, &frozen.plan.actions, items, plugins)).unwrap_or_default();
    sha256_hex(text.as_bytes())
}

async fn preflight(engine: &Arc<Engine>, frozen: &mut Frozen) -> Result<(), Refusal> {
    // Cleanup and commit look at nothing that could be mended first.
    if matches!(frozen.operation, Operation::Cleanup | Operation::Commit) {
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
async fn set_effects(engine: &Arc<Engine>, frozen: &mut Frozen) -> Result<(), Refusal> {
    let mut sites: BTreeMap<(String, String), EffectFacts> = BTreeMap::new();
    for (key, pinned) in &frozen.plugins {
        let Some(site) = key.strip_prefix("site:") else {
            continue;
        };
        let adapter = engine.pinned_adapter(site, pinned).await?;
        // An adapter that cannot say keeps the strictest class for everything.
        let Ok(features) = adapter.get_features(String::new(), WitDirection::Forward).await else {
            continue;
        };
        for facts in features.operations {
            sites.insert((site.to_owned(), facts.operation.clone()), from_effect(&facts));
        }
    }
    let cannot = cannot_fence(frozen, &sites);
    frozen.findings.extend(cannot);
    let actions = action_effects(engine, frozen).await?;
    frozen.set_effects(|step: &Step| match operation_name(&step.kind) {
        Some(name) => sites.get(&(step.calls.clone()?, name.to_owned())).copied(),
        None => actions.get(&step.id).copied(),
    });
    Ok(())
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
        Some(finding(codes::NOT_FENCED, Severity::Warning, step.items.first()?, cause))
    };
    steps.filter_map(say).collect()
}

async fn action_effects(engine: &Arc<Engine>, frozen: &Frozen) -> Result<BTreeMap<String, EffectFacts>, Refusal> {
    let job = Job::new(Arc::new(frozen.clone()), frozen.requested_at);
    let mut effects = BTreeMap::new();
    for (index, step) in frozen.graph.steps.iter().enumerate() {
        if !matches!(step.kind, StepKind::Action { .. }) {
            continue;
        }
        let Arguments::Action { runbook, context } = arguments(&job, index) else {
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
async fn write(engine: &Arc<Engine>, mut job: Job, hash: String, once: Option<Once>) -> Result<Handle, Refusal> {
    let frozen = Arc::clone(&job.frozen);
    let at = clock::now();
    let event = Event::Started { hash };
    job.apply(at, &event);
    let mut batch = Batch::new();
    batch.job(JobRow {
        id: frozen.job.clone(),
        plan: frozen.plan.name.clone(),
        operation: frozen.operation.name().to_owned(),
        created_at: frozen.requested_at,
        frozen: serde_json::to_string(&*frozen).map_err(|error| Refusal::internal(&error))?,
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
