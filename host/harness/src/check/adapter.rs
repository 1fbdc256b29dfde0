//! Adapters, against a scratch site: everything that a failover, its test and its clean-up ask of a site, in their
//! order, with every effect repeated as a crash would repeat it (`effect`). Only what `get-features` offers is asked.

mod data;
mod effect;
mod epochs;
mod machines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall_runtime::contract::adapter::{
    Features, ItemFacts, Machine, MachineRef, NetworkMapping, Operation, SiteFacts,
};
use landfall_runtime::contract::types::{Direction, Progress};
use landfall_runtime::{Adapter, CallError, Fault, Plugin, Stage};

use self::effect::{Caller, Outputs, Role, effect, finish};
use super::{Said, Table};
use crate::home::Home;
use crate::scratch::{self, Scratch, Site};
use crate::traffic::Traffic;

/// Pages after which a listing is taken to be endless.
const MOST_PAGES: usize = 10_000;

/// The protected item's name.
const ITEM: &str = "check-item";

/// What the suite needs and finds on its way.
struct Run<'c> {
    candidate: &'c super::Candidate<'c>,
    scratch: Scratch,
    caller: Caller,
    source: Option<Role>,
    target: Option<Role>,
    features: BTreeMap<&'static str, Features>,
    machine: Option<Machine>,
    replica: Option<String>,
    mark: Option<String>,
    points: Vec<String>,
    created: Option<String>,
}

/// Adds the suite to the table. `installation` is stamped on all that is made, and must be nobody else's.
pub(super) async fn check(
    table: &mut Table,
    candidate: &super::Candidate<'_>,
    scratch: Option<&Scratch>,
    (directory, installation): (&Path, &str),
    traffic: &Traffic,
) {
    let Some(scratch) = scratch else {
        let why = "plugin.toml has no [scratch], and --scratch FILE is not given".to_owned();
        table
            .check("scratch", "a scratch site can be had", async { Said::Skip(why) })
            .await;
        return;
    };
    traffic.begin("scratch");
    let mut started = None;
    table
        .check("scratch", "a scratch site can be had", async {
            match Site::start(scratch, directory).await {
                Ok(site) => {
                    started = Some(site);
                    Said::Fine("started".to_owned())
                }
                Err(error) => Said::Wrong(vec![error.to_string()]),
            }
        })
        .await;
    let Some(site) = started else { return };
    let run = Run::new(candidate, &site.scratch, directory, installation, traffic).await;
    let mut run = match run {
        Ok(run) => run,
        Err(why) => {
            table
                .check("binds", "it takes its configuration and grants", async {
                    Said::Wrong(vec![why])
                })
                .await;
            return;
        }
    };
    macro_rules! checks {
        ($($name:literal $about:literal $method:ident;)*) => {
            $(
                traffic.begin($name);
                let said = Box::pin(run.$method()).await;
                let said = with_traffic(said, traffic, $name);
                table.check($name, $about, async { said }).await;
            )*
        };
    }
    checks! {
        "features" "it says what it offers, and offers what its roles need" features;
        "health" "it reports how the site is" health;
        "machines" "machines are listed in pages, each once, the scratch machine among them" machines;
        "networks" "networks are listed, the isolated one among them" networks;
        "unknown" "what does not exist ends in a failure, and an unknown handle has failed" unknown;
        "preflight" "it says what stands against protecting the machine" preflight;
        "prepare-replica" "a replica is prepared, once" prepare_replica;
        "snapshot" "a snapshot gives a mark and the source's time" snapshot;
        "transfer" "what changed is read, twice alike, and written, twice" transfer;
        "receive" "the mark is complete only when all of it is there" receive;
        "process" "received data becomes a recovery point, once" process;
        "increment" "a second cycle sends what changed since the first" increment;
        "create-machine" "a machine is made of a point, once, powered off" create_machine;
        "isolation" "the test network is proved to reach nothing" isolation;
        "start" "it starts, and is seen to run" start;
        "stop" "it stops, and is seen to be off" stop;
        "change-point" "a machine that is off goes to another point" change_point;
        "delete-machine" "it is deleted, once" delete_machine;
        "shutdown" "the source is shut down and held, seen to be off, and can be started again" shutdown;
        "cancel" "cancelling what is over or unknown changes nothing" cancel;
        "fence" "a fenced machine cannot start" fence;
        "delete-points" "points are deleted, once" delete_points;
        "delete-replica" "the replica is deleted, and nothing with our stamp is left" delete_replica;
        "take-over" "a new epoch takes over, and an older one is refused from then on" take_over;
    }
}

/// A failure comes with the requests that led to it.
fn with_traffic(said: Said, traffic: &Traffic, check: &'static str) -> Said {
    match said {
        Said::Wrong(mut wrong) => {
            let lines = traffic.of(check);
            if !lines.is_empty() {
                wrong.push(format!("traffic:\n{}", lines.join("\n")));
            }
            Said::Wrong(wrong)
        }
        other => other,
    }
}

fn failure(error: &CallError) -> String {
    error.to_string()
}

impl<'c> Run<'c> {
    async fn new(
        candidate: &'c super::Candidate<'c>,
        scratch: &Scratch,
        directory: &Path,
        installation: &str,
        traffic: &Traffic,
    ) -> Result<Run<'c>, String> {
        let restarted = candidate.home.restarted().map_err(|error| error.to_string())?;
        let mut secrets = scratch.secrets().map_err(|error| error.to_string())?;
        secrets.rebase(directory);
        candidate.home.set_secrets(secrets.clone());
        restarted.set_secrets(secrets);
        let plugin = restarted
            .load_digest(candidate.plugin.digest())
            .await
            .map_err(|error| error.to_string())?;
        let role = |name: &'static str, role: Option<&scratch::Role>| -> Result<Option<Role>, String> {
            let Some(role) = role else { return Ok(None) };
            // What it keeps durably survives the restart, so both stand on one stage.
            let stage = Arc::new(Stage::watched(traffic.watcher(name)));
            let bind = |home: &Home, plugin: &Arc<Plugin>| home.bind_role(plugin, name, role, Arc::clone(&stage));
            Ok(Some(Role {
                now: bind(candidate.home, &candidate.plugin)?,
                restarted: bind(&restarted, &plugin)?,
                classes: BTreeMap::new(),
                settle: BTreeMap::new(),
            }))
        };
        let source = role("source", scratch.source.as_ref())?;
        let target = role("target", scratch.target.as_ref())?;
        Ok(Run {
            candidate,
            caller: Caller {
                installation: installation.to_owned(),
                patience: Duration::from_millis(scratch.patience_ms),
            },
            scratch: scratch.clone(),
            source,
            target,
            features: BTreeMap::new(),
            machine: None,
            replica: None,
            mark: None,
            points: Vec::new(),
            created: None,
        })
    }

    /// The adapter of a role, if the site plays it and offers this.
    fn offers(&self, role: &'static str, operation: &str) -> Result<&Role, Said> {
        let played = if role == "source" { &self.source } else { &self.target };
        let Some(played) = played else {
            return Err(Said::Skip(format!("[scratch.{role}] is missing")));
        };
        if !played.classes.contains_key(operation) {
            return Err(Said::Skip(format!(
                "`{operation}` is not offered in the role of {role}"
            )));
        }
        Ok(played)
    }

    async fn features(&mut self) -> Said {
        let mut wrong = Vec::new();
        let mut looked_at = Vec::new();
        for (name, role) in [("source", &mut self.source), ("target", &mut self.target)] {
            let Some(role) = role else { continue };
            let asked = role.now.get_features(String::new(), Direction::Forward).await;
            let again = role.restarted.get_features(String::new(), Direction::Forward).await;
            let (features, again) = match (asked, again) {
                (Ok(features), Ok(again)) => (features, again),
                (Err(error), _) | (_, Err(error)) => {
                    wrong.push(failure(&error));
                    continue;
                }
            };
            if features != again {
                wrong.push(format!("{name}: first {features:?}, then {again:?}"));
            }
            if !matches!(features.replication.as_str(), "driven" | "autonomous") {
                wrong.push(format!(
                    "{name}: replication `{}` is neither driven nor autonomous",
                    features.replication
                ));
            }
            let plays = if name == "source" {
                features.source
            } else {
                features.target
            };
            if !plays {
                wrong.push(format!(
                    "[scratch.{name}] is there, and the features say that it does not play that role"
                ));
            }
            for facts in &features.operations {
                if role.classes.insert(facts.operation.clone(), facts.class).is_some() {
                    wrong.push(format!("{name}: `{}` is listed twice", facts.operation));
                }
                role.settle.insert(facts.operation.clone(), facts.settle_ms);
            }
            let is_driven = features.replication == "driven";
            let needed: &[&str] = match (name, is_driven) {
                ("source", true) => &["shutdown", "hold", "start", "snapshot", "release"],
                ("source", false) => &["shutdown", "hold", "start"],
                (_, true) => &[
                    "prepare-replica",
                    "receive-complete",
                    "process",
                    "delete-points",
                    "delete-replica",
                    "create-machine",
                    "start",
                    "stop",
                    "delete-machine",
                ],
                (_, false) => &[
                    "prepare-replica",
                    "process",
                    "delete-replica",
                    "create-machine",
                    "start",
                    "stop",
                    "delete-machine",
                ],
            };
            let missing = needed
                .iter()
                .filter(|operation| !role.classes.contains_key(**operation));
            wrong.extend(
                missing.map(|operation| format!("{name}: `{operation}` is needed for its role and not offered")),
            );
            looked_at.push(format!(
                "{name}: {} operations, {}",
                features.operations.len(),
                features.replication
            ));
            self.features.insert(name, features);
        }
        if looked_at.is_empty() && wrong.is_empty() {
            return Said::Skip("neither [scratch.source] nor [scratch.target] is there".to_owned());
        }
        Said::of(wrong, looked_at.join("; "))
    }

    fn roles(&self) -> impl Iterator<Item = (&'static str, &Role)> {
        let source = self.source.iter().map(|role| ("source", role));
        source.chain(self.target.iter().map(|role| ("target", role)))
    }

    async fn health(&mut self) -> Said {
        let mut wrong = Vec::new();
        let mut findings = 0;
        let prefix = format!("{}/", self.candidate.plugin.name());
        let known: BTreeSet<&str> = self
            .candidate
            .plugin
            .info()
            .findings
            .iter()
            .map(|(id, _)| id.as_str())
            .collect();
        for (name, role) in self.roles() {
            match role.now.health().await {
                Ok(found) => {
                    for finding in found {
                        findings += 1;
                        let is_known = finding.id.strip_prefix(&prefix).is_some_and(|id| known.contains(id));
                        if !is_known {
                            wrong.push(format!("{name}: `describe` does not list the finding `{}`", finding.id));
                        }
                    }
                }
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        Said::of(wrong, format!("{findings} findings"))
    }

    async fn machines(&mut self) -> Said {
        let mut wrong = Vec::new();
        let mut counts = Vec::new();
        for (name, role) in self.roles() {
            match list_machines(&role.now).await {
                Ok(machines) => {
                    let ids: BTreeSet<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
                    if ids.len() < machines.len() {
                        wrong.push(format!("{name}: {} machines under {} ids", machines.len(), ids.len()));
                    }
                    counts.push(format!("{name}: {}", machines.len()));
                }
                Err(why) => wrong.push(format!("{name}: {why}")),
            }
        }
        if let (Some(source), Some(wanted)) = (&self.source, &self.scratch.machine) {
            let found = list_machines(&source.now).await.unwrap_or_default();
            self.machine = found
                .into_iter()
                .find(|machine| machine.id == *wanted || machine.name == *wanted);
            if self.machine.is_none() {
                wrong.push(format!("the scratch machine `{wanted}` is not among them"));
            }
        }
        Said::of(wrong, counts.join(", "))
    }

    async fn networks(&mut self) -> Said {
        let mut wrong = Vec::new();
        for (name, role) in self.roles() {
            match role.now.list_networks().await {
                Ok(networks) => {
                    let wanted = self.scratch.isolated_network.as_ref().filter(|_| name == "target");
                    let is_there =
                        |wanted: &String| networks.iter().any(|network| network.id == *wanted && network.isolated);
                    if let Some(wanted) = wanted.filter(|wanted| !is_there(wanted)) {
                        wrong.push(format!("target: `{wanted}` is not there, or not isolated"));
                    }
                }
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        Said::of(wrong, "both".to_owned())
    }

    async fn unknown(&mut self) -> Said {
        let mut wrong = Vec::new();
        let mut expect = |what: &str, result: Result<String, CallError>| match result {
            Err(error) if matches!(error.fault, Fault::Failure(_)) => {}
            Err(error) => wrong.push(format!("{what}: {error}")),
            Ok(answer) => wrong.push(format!("{what}: answered {answer}")),
        };
        let mut handles = Vec::new();
        for (name, role) in self.roles() {
            let adapter = &role.now;
            let stranger = || "no-such-thing".to_owned();
            let power = adapter
                .power_state(stranger())
                .await
                .map(|answer| format!("{answer:?}"));
            expect(&format!("{name}: power-state of an unknown machine"), power);
            let isolation = adapter
                .prove_isolation(stranger())
                .await
                .map(|answer| format!("{answer:?}"));
            expect(&format!("{name}: prove-isolation of an unknown network"), isolation);
            if name == "target" {
                let points = adapter
                    .list_points(stranger())
                    .await
                    .map(|answer| format!("{answer:?}"));
                expect("target: list-points of an unknown replica", points);
            }
            if role.classes.contains_key("start") {
                let start = Operation::Start(MachineRef { machine: stranger() });
                let call = self.caller.call(&format!("unknown-{name}"), 1);
                match adapter.submit(call, start).await {
                    Ok(progress) => {
                        let mut told = Vec::new();
                        if finish(adapter, &self.caller, "start", progress, &mut told)
                            .await
                            .is_some()
                        {
                            handles.push(format!("{name}: an unknown machine was started"));
                        }
                    }
                    Err(error) if matches!(error.fault, Fault::Failure(_)) => {}
                    Err(error) => handles.push(format!("{name}: start of an unknown machine: {error}")),
                }
            }
            match adapter.poll_many(vec!["no-such-handle".to_owned()], 0).await {
                Ok(polled) if matches!(polled.as_slice(), [(handle, Progress::Failed(_))] if handle == "no-such-handle") =>
                    {}
                Ok(polled) => handles.push(format!("{name}: poll-many of an unknown handle gave {polled:?}")),
                Err(error) => handles.push(format!("{name}: poll-many of an unknown handle: {error}")),
            }
        }
        wrong.extend(handles);
        Said::of(wrong, "machine, network, replica, handle".to_owned())
    }

    async fn preflight(&mut self) -> Said {
        let Some(machine) = self.machine.clone() else {
            return Said::Skip("[scratch] names no machine".to_owned());
        };
        let mut wrong = Vec::new();
        for (name, role) in self.roles() {
            let item = ItemFacts {
                item: ITEM.to_owned(),
                origin: machine.origin.clone(),
                direction: Direction::Forward,
                machine: Some(machine.clone()),
                replica: None,
                target_machine: None,
                networks: self.mapping(&machine),
                ext: vec![("role".to_owned(), name.to_owned())],
            };
            let peer = SiteFacts {
                site: "check-peer".to_owned(),
                plugin: self.candidate.plugin.name().to_owned(),
                replication: self
                    .features
                    .get(name)
                    .map(|features| features.replication.clone())
                    .unwrap_or_default(),
                ext: vec![],
            };
            match role.now.preflight(item, Some(peer), "protect".to_owned()).await {
                Ok(answer) => {
                    let errors = answer.findings.iter().filter(|finding| finding.severity == "error");
                    wrong.extend(errors.map(|finding| format!("{name}: {}: {}", finding.id, finding.cause)));
                }
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        Said::of(wrong, "no errors".to_owned())
    }

    fn mapping(&self, machine: &Machine) -> Vec<NetworkMapping> {
        let Some(network) = &self.scratch.isolated_network else {
            return Vec::new();
        };
        let nic = |id: &String| NetworkMapping {
            nic: id.clone(),
            network: network.clone(),
            addresses: vec![],
        };
        machine.nics.iter().map(|one| nic(&one.id)).collect()
    }

    /// One effect of a role as a whole check.
    async fn one(&self, role: &'static str, step: &str, operation: Operation) -> Result<Outputs, Said> {
        let name = effect::name(&operation).to_owned();
        let role = self.offers(role, &name)?;
        let mut wrong = Vec::new();
        let outputs = effect(role, &self.caller, step, operation, &mut wrong).await;
        match outputs {
            Some(outputs) if wrong.is_empty() => Ok(outputs),
            _ => Err(Said::Wrong(wrong)),
        }
    }
}

async fn list_machines(adapter: &Adapter) -> Result<Vec<Machine>, String> {
    let (mut machines, mut cursor) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = adapter.list_machines(cursor).await.map_err(|error| error.to_string())?;
        machines.extend(page.machines);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(machines);
        }
    }
    Err(format!("the list has more than {MOST_PAGES} pages"))
}

async fn list_owned(adapter: &Adapter, installation: &str) -> Result<Vec<String>, String> {
    let (mut owned, mut cursor) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = adapter
            .list_owned(installation.to_owned(), cursor)
            .await
            .map_err(|error| error.to_string())?;
        owned.extend(page.owned.iter().map(|one| format!("{} {}", one.kind, one.id)));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(owned);
        }
    }
    Err(format!("the list has more than {MOST_PAGES} pages"))
}
