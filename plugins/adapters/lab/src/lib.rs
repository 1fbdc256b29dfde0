//! The `lab` adapter: one site of `landfall lab` in both roles. Configuration: `url`, where the lab listens, `site`,
//! the lab's name of the site, and `boot-prepare-ms`, how long boot preparation takes.
//!
//! A lab site may pretend to be of some platform. Then this adapter is one for that platform: it reads the site's facts
//! and applies the rules of `landfall-rules`, as the platforms' own adapters do.
//!
//! All state is the lab's, and it deduplicates by our key; so every operation is `keyed`, and a probe by key tells
//! what became of one. Disk bytes go between the lab and the host's buffer and never enter this plugin.
//!
//! It asks for `http` and `buffers`.

mod answer;
mod preflight;
mod request;
mod site;

use answer::{
    LabExtents, LabFeatures, LabHealth, LabIsolation, LabMachine, LabNetworks, LabOwnedPage, LabPage, LabPoints,
    LabPower, LabProgress, LabReplica, LabTasks,
};
use landfall_rules::tools;
use landfall_sdk::adapter_types::{
    Extent, ExtentPage, Features, IsolationAnswer, ItemFacts, MachinePage, Network, Operation, OwnedPage, PowerAnswer,
    PreflightAnswer, SiteFacts,
};
use landfall_sdk::buffers::Buffer;
use landfall_sdk::http::encode_component;
use landfall_sdk::{
    Adapter, Call, Direction, Effect, Failure, Finding, GuestCommand, GuestExec, GuestExit, Plugin, ProbeAnswer,
    Progress, RecoveryPoint, Takeover, config, export_adapter, pair,
};
use serde_json::json;
use site::{Site, query};

/// Beyond the wait that was asked for, so that the lab and not the clock ends a poll.
const POLL_GRACE_MS: u64 = 5_000;

/// What a lab offers, for when it cannot be asked.
const OPERATIONS: [&str; 16] = [
    "shutdown",
    "hold",
    "snapshot",
    "release",
    "start",
    "prepare-replica",
    "receive-complete",
    "process",
    "delete-points",
    "delete-replica",
    "create-machine",
    "boot-prepare",
    "change-point",
    "stop",
    "delete-machine",
    "fence",
];

struct Lab;

impl Plugin for Lab {
    const NAME: &'static str = "lab";
    const SUMMARY: &'static str = "A site of the lab: virtual machines with real data, for demonstrations and tests";
    const CONFIG_SCHEMA: Option<&'static str> = Some(
        r#"{
  "type": "object",
  "properties": {
    "url": { "type": "string", "description": "Where the lab listens, as in http://127.0.0.1:7400" },
    "site": { "type": "string", "description": "The lab's name of the site, as in a" },
    "boot-prepare-ms": { "type": "string", "pattern": "^[0-9]+$", "description": "How long boot preparation takes, in milliseconds; 540000 if nothing is said" }
  },
  "required": ["url", "site"],
  "additionalProperties": false
}"#,
    );
    const FINDINGS: &'static [(&'static str, &'static str)] = &preflight::ALL_FINDINGS;
}

/// Left of a call when the lab has not answered: time to say so, rather than be cut off.
const MARGIN_MS: u64 = 500;

fn left(call: &Call) -> u64 {
    call.remaining_ms.saturating_sub(MARGIN_MS)
}

impl Adapter for Lab {
    /// The site says it itself; one that is gone is taken for a plain one, so that a plan can still be looked at.
    fn get_features(origin: &str, direction: Direction) -> Features {
        let asked = Site::configured().and_then(|site| site.get::<LabFeatures>("features"));
        asked.map_or_else(|_| usual_features(), |features| features.offered(origin, direction))
    }

    fn health() -> Result<Vec<Finding>, Failure> {
        let health: LabHealth = Site::configured()?.get("health")?;
        let full = Finding {
            id: "lab/no-capacity".to_owned(),
            severity: "warning".to_owned(),
            subject: "site".to_owned(),
            cause: format!("the site holds {} machines and not one more", health.machines),
            cure: "Remove machines there, or raise its capacity.".to_owned(),
        };
        Ok(Some(full).filter(|_| health.free == Some(0)).into_iter().collect())
    }

    fn list_machines(cursor: Option<String>) -> Result<MachinePage, Failure> {
        let query = query(&[("cursor", cursor.as_deref())]);
        Ok(Site::configured()?.get::<LabPage>(&format!("machines?{query}"))?.into())
    }

    fn list_networks() -> Result<Vec<Network>, Failure> {
        Ok(Site::configured()?.get::<LabNetworks>("networks")?.into())
    }

    fn preflight(item: &ItemFacts, _peer: Option<&SiteFacts>, operation: &str) -> Result<PreflightAnswer, Failure> {
        let lab = Site::configured()?;
        let machine = |id: Option<&String>| match id {
            Some(id) => there(lab.get::<LabMachine>(&format!("machines/{}", encode_component(id)))),
            None => Ok(None),
        };
        let health: LabHealth = lab.get("health")?;
        let replica = match &item.replica {
            Some(id) => there(lab.get::<LabReplica>(&format!("replicas/{}", encode_component(id))))?,
            None => None,
        };
        let facts = preflight::Facts {
            networks: lab.get::<LabNetworks>("networks")?.into(),
            free: health.free,
            site: match health.profile {
                Some(_) => lab.get("facts")?,
                None => landfall_rules::site::Site::default(),
            },
            machine: machine(item.machine.as_ref().map(|machine| &machine.id))?.map(LabMachine::facts),
            replica,
            target_machine: machine(item.target_machine.as_ref())?.map(LabMachine::facts),
            boot_preparation_ms: config::get("boot-prepare-ms").and_then(|text| text.parse().ok()),
        };
        Ok(preflight::judge(item, operation, &facts))
    }

    fn submit(call: &Call, operation: &Operation) -> Result<Progress, Failure> {
        let lab = Site::configured()?;
        let body = request::submission(call, operation, guest_tools(&lab, operation)?);
        let progress: LabProgress = lab.post("operations", &body, left(call))?;
        Ok(progress.into())
    }

    fn poll_many(handles: Vec<String>, wait_ms: u32) -> Result<Vec<(String, Progress)>, Failure> {
        let body = json!({"handles": handles, "wait_ms": wait_ms});
        let answer: LabTasks = Site::configured()?.post("tasks/poll", &body, u64::from(wait_ms) + POLL_GRACE_MS)?;
        Ok(answer
            .tasks
            .into_iter()
            .map(|task| (task.handle.clone(), task.into()))
            .collect())
    }

    fn probe(call: &Call, _operation: &Operation) -> Result<ProbeAnswer, Failure> {
        let path = format!("operations/by-key/{}", encode_component(&call.key));
        Ok(Site::configured()?.get::<LabProgress>(&path)?.into())
    }

    fn cancel(call: &Call, handle: &str) -> Result<Progress, Failure> {
        let query = query(&[
            ("installation", Some(&call.installation)),
            ("epoch", Some(&call.epoch.to_string())),
        ]);
        let path = format!("tasks/{}/cancel?{query}", encode_component(handle));
        let progress: LabProgress = Site::configured()?.post(&path, &json!({}), left(call))?;
        Ok(progress.into())
    }

    fn power_state(machine: &str) -> Result<PowerAnswer, Failure> {
        let path = format!("machines/{}/power", encode_component(machine));
        Ok(Site::configured()?.get::<LabPower>(&path)?.into())
    }

    fn prove_isolation(network: &str) -> Result<IsolationAnswer, Failure> {
        let path = format!("networks/{}/isolation", encode_component(network));
        Ok(Site::configured()?.get::<LabIsolation>(&path)?.into())
    }

    fn changes(
        machine: &str,
        since: Option<String>,
        mark: &str,
        cursor: Option<String>,
    ) -> Result<ExtentPage, Failure> {
        let query = query(&[
            ("since", since.as_deref()),
            ("mark", Some(mark)),
            ("cursor", cursor.as_deref()),
        ]);
        let path = format!("machines/{}/changes?{query}", encode_component(machine));
        Ok(Site::configured()?.get::<LabExtents>(&path)?.into())
    }

    fn read(machine: &str, mark: &str, extent: Extent, buffer: &Buffer) -> Result<(), Failure> {
        let (offset, bytes) = (extent.offset.to_string(), extent.bytes.to_string());
        let query = query(&[("mark", Some(mark)), ("offset", Some(&offset)), ("bytes", Some(&bytes))]);
        let path = format!("machines/{}/data?{query}", encode_component(machine));
        let read = Site::configured()?.download(&path, buffer)?;
        if read == extent.bytes {
            return Ok(());
        }
        let message = format!("the lab sent {read} bytes where {bytes} were asked for");
        Err(Failure::definite("short-read", message).retryable())
    }

    fn write(call: &Call, replica: &str, mark: &str, offset: u64, buffer: &Buffer) -> Result<(), Failure> {
        let (offset, epoch) = (offset.to_string(), call.epoch.to_string());
        let query = query(&[
            ("mark", Some(mark)),
            ("offset", Some(&offset)),
            ("installation", Some(&call.installation)),
            ("epoch", Some(&epoch)),
        ]);
        Site::configured()?.upload(&format!("replicas/{}/data?{query}", encode_component(replica)), buffer)
    }

    fn list_points(replica: &str) -> Result<Vec<RecoveryPoint>, Failure> {
        let path = format!("replicas/{}/points", encode_component(replica));
        Ok(Site::configured()?
            .get::<LabPoints>(&path)?
            .points
            .into_iter()
            .map(Into::into)
            .collect())
    }

    fn list_owned(installation: &str, cursor: Option<String>) -> Result<OwnedPage, Failure> {
        let query = query(&[("installation", Some(installation)), ("cursor", cursor.as_deref())]);
        Ok(Site::configured()?
            .get::<LabOwnedPage>(&format!("owned?{query}"))?
            .into())
    }
}

/// What the site has; what is not an answer stays a failure.
fn there<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.code == "not-found" => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// B26: what a machine that changes its platform is told about its guest tools. Only a VMware machine is asked about.
fn guest_tools(lab: &Site, operation: &Operation) -> Result<Option<&'static str>, Failure> {
    let Operation::CreateMachine(create) = operation else {
        return Ok(None);
    };
    let Some(way) = pair(&create.ext, "direction").filter(|_| pair(&create.ext, "origin") == Some("vmware")) else {
        return Ok(None);
    };
    let path = format!("replicas/{}", encode_component(&create.replica));
    // One that is gone is refused by the site itself.
    let Some(replica) = there(lab.get::<LabReplica>(&path))? else {
        return Ok(None);
    };
    let change = tools::change(
        replica.profile,
        &replica.origin,
        replica.os.as_deref(),
        way == "reverse",
    );
    Ok(change.map(tools::Tools::word))
}

fn usual_features() -> Features {
    Features {
        source: true,
        target: true,
        replication: "driven".to_owned(),
        operations: OPERATIONS.map(Effect::keyed).to_vec(),
        app_consistent: true,
        planned_failover: true,
        direct_transfer: Vec::new(),
        ext: vec![("assumed".to_owned(), "the site did not answer".to_owned())],
    }
}

/// The lab knows a few programs, and answers the same key with the same exit.
impl GuestExec for Lab {
    fn exec(call: &Call, machine: &str, command: &GuestCommand) -> Result<GuestExit, Failure> {
        let body = request::execution(call, machine, command);
        let progress: LabProgress = Site::configured()?.post("operations", &body, left(call))?;
        answer::exit(progress.into())
    }
}

/// The lab keeps the epoch of an installation for each site.
impl Takeover for Lab {
    fn take_over(call: &Call) -> Result<(), Failure> {
        let body = json!({"installation": call.installation, "epoch": call.epoch});
        let _: serde_json::Value = Site::configured()?.post("take-over", &body, left(call))?;
        Ok(())
    }
}

export_adapter!(Lab, guest_exec, takeover);
