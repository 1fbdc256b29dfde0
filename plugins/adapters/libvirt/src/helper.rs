//! The helper: a machine whose processors never run and that has no disks of its own. Through its QEMU the disks are
//! read and written that no guest uses now: replicas at the target, and the disks of a source that is off. It is there
//! while it is needed, and libvirt forgets it when it stops.

use landfall_sdk::{Failure, clock};
use serde_json::{Value, json};

use crate::facts::{self, Facts, hash, uuid_from};
use crate::failure::{code, garbled, no_space};
use crate::libvirt::{Domain, LIVE, Libvirt, uuid_text};
use crate::xml::escape;

const NAME: &str = "landfall-helper";

/// QEMU alone needs more; its guest has nothing to do.
const MEMORY_KIB: u32 = 16_384;

/// How often it is tried to close a disk that QEMU still lets go of: each try is a round trip.
const CLOSE_TRIES: u32 = 200;

/// How often it is looked whether a port that is in use was noted: each is a round trip, and to note it takes one.
const NOTED_TRIES: u32 = 200;

/// A helper that runs and offers disks.
#[derive(Debug, Clone)]
pub(crate) struct Helper {
    pub(crate) domain: Domain,
    pub(crate) run: String,
    pub(crate) port: u16,
}

/// A disk that the helper has open.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) read_only: bool,
    /// The file that it lies upon.
    pub(crate) backing: Option<String>,
    pub(crate) bitmaps: Vec<Bitmap>,
}

#[derive(Debug, Clone)]
pub(crate) struct Bitmap {
    pub(crate) name: String,
    /// Bytes in clusters that were written.
    pub(crate) bytes: u64,
    /// QEMU does not vouch for it.
    pub(crate) inconsistent: bool,
}

/// What an export offers.
pub(crate) struct Export<'a> {
    pub(crate) node: &'a str,
    pub(crate) name: &'a str,
    pub(crate) writable: bool,
    pub(crate) bitmaps: &'a [String],
}

/// The name of a file's node: the same file has the same.
pub(crate) fn node_name(file: &str) -> String {
    format!("lf{:016x}", hash(file))
}

/// A command to a machine's QEMU. `Err` with QEMU's words where it says no.
pub(crate) fn command(
    libvirt: &mut Libvirt,
    domain: &Domain,
    name: &str,
    arguments: &Value,
) -> Result<Result<Value, String>, Failure> {
    let mut command = json!({ "execute": name });
    if !arguments.is_null()
        && let Some(command) = command.as_object_mut()
    {
        command.insert("arguments".to_owned(), arguments.clone());
    }
    let answer = libvirt.monitor(domain, command.to_string())?;
    said(name, &answer)
}

fn said(name: &str, answer: &str) -> Result<Result<Value, String>, Failure> {
    let answer: Value = serde_json::from_str(answer).map_err(|error| garbled("QEMU", &format!("{name}: {error}")))?;
    if let Some(error) = answer.get("error") {
        let text = error.get("desc").and_then(Value::as_str).unwrap_or("no reason");
        return Ok(Err(text.to_owned()));
    }
    Ok(Ok(answer.get("return").cloned().unwrap_or_default()))
}

/// The helper's own: somebody else found it idle and ended it in the middle of this.
const ENDED: &str = "helper-ended";

/// That the helper is not there any more says nothing about what was asked for: another try starts one.
fn ended(failure: Failure) -> Failure {
    if failure.code != "not-found" {
        return failure;
    }
    let why = "the helper ended in the middle of this, as another operation needed it no more; another try starts one";
    Failure::in_doubt(ENDED, why.to_owned()).retryable()
}

fn refused(what: &str, why: &str) -> Failure {
    if why.contains("No space left") {
        return no_space(why);
    }
    Failure::in_doubt("refused", format!("QEMU does not {what}: {why}")).retryable()
}

impl Helper {
    /// The one that runs.
    pub(crate) fn running(libvirt: &mut Libvirt) -> Result<Option<Self>, Failure> {
        let Some(domain) = libvirt.find(uuid_from(NAME))? else {
            return Ok(None);
        };
        let text = match libvirt.metadata(&domain, LIVE) {
            // It ended just now.
            Err(error) if error.code() == Some(code::NO_DOMAIN) => return Ok(None),
            said => said?,
        };
        match text.as_deref().and_then(Facts::from_metadata) {
            Some(Facts::Helper(facts::Helper { run, port: Some(port) })) => Ok(Some(Self { domain, run, port })),
            Some(Facts::Helper(facts::Helper { run, port: None })) => {
                Self::serve(libvirt, domain, run).map(Some).map_err(ended)
            }
            _ => Err(Failure::in_doubt(
                "name-taken",
                format!("the site has a machine `{NAME}` that this adapter did not make; rename it"),
            )),
        }
    }

    /// Starts one if none runs.
    pub(crate) fn ensure(libvirt: &mut Libvirt) -> Result<Self, Failure> {
        if let Some(helper) = Self::running(libvirt)? {
            return Ok(helper);
        }
        let run = format!("{:016x}", clock::now_ms());
        let facts = Facts::Helper(facts::Helper {
            run: run.clone(),
            port: None,
        });
        match libvirt.create_paused(definition(&facts)) {
            Ok(domain) => Self::serve(libvirt, domain, run).map_err(ended),
            // Somebody was faster.
            Err(error) if error.code() == Some(code::DOMAIN_EXISTS) || error.says("already") => {
                Self::running(libvirt)?.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Once nothing is open it is of no use.
    pub(crate) fn end_if_idle(libvirt: &mut Libvirt) -> Result<(), Failure> {
        let Some(helper) = Self::running(libvirt)? else {
            return Ok(());
        };
        match helper.nodes(libvirt) {
            Ok(nodes) if nodes.iter().any(|node| node.name.starts_with("lf")) => return Ok(()),
            Err(failure) if failure.code == ENDED => return Ok(()),
            said => said?,
        };
        match libvirt.destroy(&helper.domain) {
            Err(error) if error.code() == Some(code::NO_DOMAIN) || error.says("not running") => Ok(()),
            other => Ok(other?),
        }
    }

    /// Begins to offer disks, on the first port that is free.
    fn serve(libvirt: &mut Libvirt, domain: Domain, run: String) -> Result<Self, Failure> {
        let mut last = "no port is configured".to_owned();
        let listen = libvirt.config.listen.clone();
        for port in libvirt.config.ports_from(0) {
            let address = json!({ "type": "inet", "data": { "host": listen, "port": port.to_string() } });
            let arguments = json!({ "addr": address, "max-connections": 0 });
            match command(libvirt, &domain, "nbd-server-start", &arguments)? {
                Ok(_) => {
                    let facts = Facts::Helper(facts::Helper {
                        run: run.clone(),
                        port: Some(port),
                    });
                    libvirt.set_metadata(&domain, Some(facts.to_metadata()), LIVE)?;
                    return Ok(Self { domain, run, port });
                }
                Err(why) if why.contains("already running") => {
                    if let Some(port) = Self::noted(libvirt, &domain)? {
                        return Ok(Self { domain, run, port });
                    }
                    // It was started, and the port was not noted before a crash.
                    let _ = command(libvirt, &domain, "nbd-server-stop", &Value::Null)?;
                    last = why;
                }
                Err(why) => last = why,
            }
        }
        Err(refused("offer disks on any port of `nbd-ports`", &last))
    }

    /// The port that somebody who was faster is just noting.
    fn noted(libvirt: &mut Libvirt, domain: &Domain) -> Result<Option<u16>, Failure> {
        for _ in 0..NOTED_TRIES {
            let text = libvirt.metadata(domain, LIVE)?;
            if let Some(Facts::Helper(helper)) = text.as_deref().and_then(Facts::from_metadata)
                && helper.port.is_some()
            {
                return Ok(helper.port);
            }
        }
        Ok(None)
    }

    pub(crate) fn command(&self, libvirt: &mut Libvirt, name: &str, arguments: &Value) -> Result<Value, Failure> {
        let answer = command(libvirt, &self.domain, name, arguments).map_err(ended)?;
        answer.map_err(|why| refused(name, &why))
    }

    /// Every disk that was opened by name.
    pub(crate) fn nodes(&self, libvirt: &mut Libvirt) -> Result<Vec<Node>, Failure> {
        let answer = self.command(libvirt, "query-named-block-nodes", &json!({ "flat": true }))?;
        Ok(nodes(&answer))
    }

    /// Opens a qcow2 file with all that it lies upon. It is done if it is open that way.
    pub(crate) fn open(&self, libvirt: &mut Libvirt, file: &str, read_only: bool) -> Result<Node, Failure> {
        let name = node_name(file);
        let found = self.nodes(libvirt)?.into_iter().find(|node| node.name == name);
        match found {
            Some(node) if node.read_only == read_only => return Ok(node),
            Some(_) => self.close(libvirt, file)?,
            None => {}
        }
        let arguments = json!({
            "driver": "qcow2", "node-name": name, "read-only": read_only, "discard": "unmap",
            "file": { "driver": "file", "filename": file },
        });
        self.command(libvirt, "blockdev-add", &arguments)?;
        let opened = self.nodes(libvirt)?.into_iter().find(|node| node.name == name);
        opened.ok_or_else(|| garbled("QEMU", "a disk that was opened is not there"))
    }

    /// Offers an open disk. It is done if it is offered.
    pub(crate) fn export(&self, libvirt: &mut Libvirt, export: &Export<'_>) -> Result<(), Failure> {
        if self.exports(libvirt)?.iter().any(|id| id == export.node) {
            return Ok(());
        }
        let arguments = json!({
            "type": "nbd", "id": export.node, "node-name": export.node, "name": export.name,
            "writable": export.writable, "bitmaps": export.bitmaps,
        });
        self.command(libvirt, "block-export-add", &arguments).map(drop)
    }

    pub(crate) fn exports(&self, libvirt: &mut Libvirt) -> Result<Vec<String>, Failure> {
        let answer = self.command(libvirt, "query-block-exports", &Value::Null)?;
        let list = answer.as_array().cloned().unwrap_or_default();
        let id = |export: &Value| export.get("id")?.as_str().map(str::to_owned);
        Ok(list.iter().filter_map(id).collect())
    }

    /// Closes a file for everybody. It is done if it is not open.
    pub(crate) fn close(&self, libvirt: &mut Libvirt, file: &str) -> Result<(), Failure> {
        match self.try_close(libvirt, file).map_err(ended) {
            // Nothing is open in a helper that is no more.
            Err(failure) if failure.code == ENDED => Ok(()),
            closed => closed,
        }
    }

    fn try_close(&self, libvirt: &mut Libvirt, file: &str) -> Result<(), Failure> {
        let name = node_name(file);
        if self.exports(libvirt)?.contains(&name) {
            let arguments = json!({ "id": name, "mode": "hard" });
            // It may be on its way out already.
            let _ = command(libvirt, &self.domain, "block-export-del", &arguments)?;
        }
        let mut last = String::new();
        for _ in 0..CLOSE_TRIES {
            match command(libvirt, &self.domain, "blockdev-del", &json!({ "node-name": name }))? {
                Ok(_) => return Ok(()),
                Err(why) if why.contains("Failed to find node") || why.contains("Cannot find") => return Ok(()),
                // Clients are let go of in the background.
                Err(why) => last = why,
            }
        }
        Err(refused("close a disk", &last))
    }
}

fn definition(facts: &Facts) -> String {
    format!(
        "<domain type='qemu'><name>{NAME}</name><uuid>{}</uuid>\
         <description>{}</description><memory unit='KiB'>{MEMORY_KIB}</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os><features><acpi/></features>{}\
         <devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
        uuid_text(&uuid_from(NAME)),
        escape("Reads and writes disks for Landfall. Never runs."),
        facts.to_element(),
    )
}

fn nodes(answer: &Value) -> Vec<Node> {
    let list = answer.as_array().cloned().unwrap_or_default();
    let node = |node: &Value| {
        let name = node.get("node-name")?.as_str()?.to_owned();
        let bitmaps = node.get("dirty-bitmaps").and_then(Value::as_array);
        let bitmap = |bitmap: &Value| {
            Some(Bitmap {
                name: bitmap.get("name")?.as_str()?.to_owned(),
                bytes: bitmap.get("count")?.as_u64()?,
                inconsistent: bitmap.get("inconsistent").and_then(Value::as_bool).unwrap_or(false),
            })
        };
        Some(Node {
            name,
            read_only: node.get("ro").and_then(Value::as_bool).unwrap_or(false),
            backing: node.get("backing_file").and_then(Value::as_str).map(str::to_owned),
            bitmaps: bitmaps.into_iter().flatten().filter_map(bitmap).collect(),
        })
    };
    list.iter().filter_map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_no_is_told_from_nonsense() {
        assert_eq!(
            said("x", r#"{"return": {"a": 1}, "id": "libvirt-3"}"#).unwrap(),
            Ok(json!({"a": 1}))
        );
        let no = said(
            "x",
            r#"{"id": "libvirt-3", "error": {"class": "GenericError", "desc": "No"}}"#,
        );
        assert_eq!(no.unwrap(), Err("No".to_owned()));
        assert!(said("x", "half {").is_err());
    }

    #[test]
    fn a_helper_that_ended_in_the_middle_is_no_definite_failure() {
        let gone = ended(Failure::definite("not-found", "no domain"));
        assert_eq!((&*gone.code, gone.definite, gone.retryable), (ENDED, false, true));
        let other = ended(Failure::definite("no-space", "full"));
        assert_eq!((&*other.code, other.definite), ("no-space", true));
    }

    #[test]
    fn nodes_come_with_their_bitmaps() {
        let answer = json!([
            { "node-name": "lf1", "ro": true, "dirty-bitmaps": [
                { "name": "lf-a", "count": 65_536, "recording": true },
                { "name": "lf-b", "count": 0, "inconsistent": true },
                { "count": 7 },
            ]},
            { "node-name": "#block1", "ro": false, "backing_file": "/pool/a.qcow2" },
        ]);
        let found = nodes(&answer);
        assert!(found[0].read_only && !found[1].read_only);
        assert_eq!(
            (&found[0].backing, found[1].backing.as_deref()),
            (&None, Some("/pool/a.qcow2"))
        );
        assert_eq!(found[0].bitmaps.len(), 2, "QEMU's own have no name");
        assert!(found[0].bitmaps[1].inconsistent);
        assert_eq!(found[0].bitmaps[0].bytes, 65_536);
    }

    #[test]
    fn a_nodes_name_is_short_and_its_files_own() {
        assert_eq!(node_name("/pool/a"), node_name("/pool/a"));
        assert_ne!(node_name("/pool/a"), node_name("/pool/b"));
        // QEMU's limit is 31.
        assert!(node_name("/pool/a").len() <= 31);
    }
}
