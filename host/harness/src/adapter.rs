//! An adapter's functions by name, with arguments as a case writes them.

use landfall_runtime::contract::adapter::{Extent, ItemFacts, Operation, SiteFacts};
use landfall_runtime::contract::types::{Call, Direction, GuestCommand, Progress};
use landfall_runtime::{Adapter, Buffer, CallError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::act;
use crate::case::Data;
use crate::naming;

/// Room for what one `read` of a case may bring.
const READ_ROOM: u64 = 4 << 20;

/// How long a program of a case may run, where it does not say.
const PROGRAM_MS: u32 = 20_000;

/// What came of it.
pub(crate) enum Answered {
    Value(Value),
    Progress(Progress),
}

/// Why it could not even be called: the case is wrong.
pub(crate) enum Uncalled {
    Case(String),
    Call(Box<CallError>),
}

impl From<CallError> for Uncalled {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

/// The arguments of one call: each is taken once, and what is left over is a mistake.
struct Arguments(Map<String, Value>);

impl Arguments {
    fn text(&mut self, name: &str) -> Result<String, Uncalled> {
        self.maybe(name)?
            .ok_or_else(|| Uncalled::Case(format!("arguments: `{name}` is missing")))
    }

    fn maybe<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Uncalled> {
        let Some(value) = self.0.remove(name) else {
            return Ok(None);
        };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Uncalled::Case(format!("arguments: `{name}`: {error}")))
    }

    fn end(self) -> Result<(), Uncalled> {
        match self.0.keys().next() {
            Some(name) => Err(Uncalled::Case(format!("arguments: `{name}` is none of this function"))),
            None => Ok(()),
        }
    }
}

fn operation(written: &Value) -> Result<Operation, Uncalled> {
    let value = naming::operation(written).map_err(Uncalled::Case)?;
    serde_json::from_value(value).map_err(|error| Uncalled::Case(format!("arguments: {error}")))
}

pub(crate) async fn answer(
    adapter: &Adapter,
    function: &str,
    call: Call,
    written: Option<&Value>,
) -> Result<Answered, Uncalled> {
    let empty = json!({});
    let written = written.unwrap_or(&empty);
    let Some(table) = written.as_object() else {
        return Err(Uncalled::Case("arguments: they are a table".to_owned()));
    };
    let mut a = Arguments(table.clone());
    let value = match function {
        "submit" => return Ok(Answered::Progress(adapter.submit(call, operation(written)?).await?)),
        "probe" => {
            return Ok(Answered::Value(naming::shown(
                &adapter.probe(call, operation(written)?).await?,
            )));
        }
        "cancel" => {
            let handle = a.text("handle")?;
            a.end()?;
            return Ok(Answered::Progress(adapter.cancel(call, handle).await?));
        }
        "get-features" => {
            let origin = a.maybe("origin")?.unwrap_or_default();
            let direction = direction(&mut a)?;
            a.end()?;
            naming::shown(&adapter.get_features(origin, direction).await?)
        }
        "health" => {
            a.end()?;
            naming::shown(&adapter.health().await?)
        }
        "list-machines" => {
            let cursor = a.maybe("cursor")?;
            a.end()?;
            naming::shown(&adapter.list_machines(cursor).await?)
        }
        "list-networks" => {
            a.end()?;
            naming::shown(&adapter.list_networks().await?)
        }
        "preflight" => {
            let facts = a.maybe("item")?.unwrap_or_else(|| json!({}));
            let facts = naming::record(&naming::item_facts(), &facts, "`item`").map_err(Uncalled::Case)?;
            let item: ItemFacts =
                serde_json::from_value(facts).map_err(|error| Uncalled::Case(format!("arguments: `item`: {error}")))?;
            let operation = a.text("operation")?;
            let peer: Option<SiteFacts> = None;
            a.end()?;
            naming::shown(&adapter.preflight(item, peer, operation).await?)
        }
        "poll-many" => {
            let handles = a.maybe("handles")?.unwrap_or_default();
            let wait_ms = a.maybe("wait-ms")?.unwrap_or(0);
            a.end()?;
            naming::shown(&adapter.poll_many(handles, wait_ms).await?)
        }
        "power-state" => {
            let machine = a.text("machine")?;
            a.end()?;
            naming::shown(&adapter.power_state(machine).await?)
        }
        "prove-isolation" => {
            let network = a.text("network")?;
            a.end()?;
            naming::shown(&adapter.prove_isolation(network).await?)
        }
        "changes" => {
            let (machine, mark) = (a.text("machine")?, a.text("mark")?);
            let (since, cursor) = (a.maybe("since")?, a.maybe("cursor")?);
            a.end()?;
            naming::shown(&adapter.changes(machine, since, mark, cursor).await?)
        }
        "read" => {
            let (machine, mark) = (a.text("machine")?, a.text("mark")?);
            let extent = Extent {
                offset: a.maybe("offset")?.unwrap_or(0),
                bytes: a.maybe("bytes")?.unwrap_or(READ_ROOM),
            };
            a.end()?;
            let buffer = Buffer::with_capacity(extent.bytes.min(READ_ROOM) + 1);
            adapter.read(machine, mark, extent, &buffer).await?;
            json!({ "bytes": buffer.len(), "text": String::from_utf8_lossy(&buffer.to_bytes()) })
        }
        "write" => {
            let (replica, mark) = (a.text("replica")?, a.text("mark")?);
            let offset = a.maybe("offset")?.unwrap_or(0);
            let buffer = Buffer::from_bytes(a.text("text")?.into());
            a.end()?;
            adapter.write(call, replica, mark, offset, &buffer).await?;
            Value::Null
        }
        "list-points" => {
            let replica = a.text("replica")?;
            a.end()?;
            naming::shown(&adapter.list_points(replica).await?)
        }
        "list-owned" => {
            let installation = a.maybe("installation")?.unwrap_or(call.installation);
            let cursor = a.maybe("cursor")?;
            a.end()?;
            naming::shown(&adapter.list_owned(installation, cursor).await?)
        }
        "exec" => {
            let machine = a.text("machine")?;
            let command = GuestCommand {
                program: a.text("program")?,
                arguments: a.maybe("arguments")?.unwrap_or_default(),
                environment: act::pairs(&a.maybe("environment")?.unwrap_or_default()),
                input: a.maybe::<Data>("input")?.unwrap_or_default().0,
                timeout_ms: a.maybe("timeout-ms")?.unwrap_or(PROGRAM_MS),
            };
            a.end()?;
            match adapter.exec(call, machine, command).await? {
                Some(exit) => naming::shown(&exit),
                None => return Err(Uncalled::Case("the adapter does not export `guest-exec`".to_owned())),
            }
        }
        other => return Err(Uncalled::Case(format!("an adapter has no function `{other}`"))),
    };
    Ok(Answered::Value(value))
}

fn direction(a: &mut Arguments) -> Result<Direction, Uncalled> {
    let text: Option<String> = a.maybe("direction")?;
    match text.as_deref() {
        None | Some("forward") => Ok(Direction::Forward),
        Some("reverse") => Ok(Direction::Reverse),
        Some(other) => Err(Uncalled::Case(format!(
            "arguments: `direction` is forward or reverse, not `{other}`"
        ))),
    }
}
