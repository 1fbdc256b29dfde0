//! The virtual pair of sites, seen through its control API: what no adapter and no daemon could tell.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::processes::Processes;

/// So many that losing a tenth of a second would show.
const RECORDS_PER_SECOND: u32 = 200;

/// A running lab.
pub(super) struct Lab {
    url: String,
}

impl Lab {
    pub(super) fn start(landfall: &Path, directory: &Path, processes: &Processes) -> Result<Self> {
        let mut command = Command::new(landfall);
        command.args(["lab", "--listen", "127.0.0.1:0", "--data", "lab"]);
        Ok(Self {
            url: processes.start("lab", directory, &mut command)?,
        })
    }

    /// The port that it listens on.
    pub(super) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap_or_default()
    }

    /// Machines at site `a`, and what operations take.
    pub(super) fn furnish(&self, machines: &[&str], latencies: &[(&str, u64, u64)], boot_ms: u64) -> Result<()> {
        let machine = |id: &&str| json!({"site": "a", "id": id, "name": format!("hr-{id}"), "boot_ms": boot_ms, "records_per_second": RECORDS_PER_SECOND});
        let machines: Vec<Value> = machines.iter().map(machine).collect();
        self.post("control/machines", &json!(machines))?;
        for (operation, min, max) in latencies {
            self.post(
                "control/latency",
                &json!({"operation": operation, "min_ms": min, "max_ms": max}),
            )?;
        }
        Ok(())
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_str(&self.text(path)?).with_context(|| format!("the lab's /{path} cannot be read"))
    }

    pub(super) fn text(&self, path: &str) -> Result<String> {
        let asked = ureq::get(format!("{}/{path}", self.url)).call();
        let mut answer = asked.with_context(|| format!("the lab does not answer to /{path}"))?;
        // A ledger of a demo has some thousand lines; the client's own limit is below that.
        let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string();
        text.with_context(|| format!("the lab's answer to /{path} broke off"))
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        let asked = ureq::post(format!("{}/{path}", self.url)).send_json(body);
        asked.map(|_| ()).with_context(|| format!("the lab refuses /{path}"))
    }
}
