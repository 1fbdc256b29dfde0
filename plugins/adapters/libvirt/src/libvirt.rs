//! The procedures of libvirt that this adapter calls, each with its arguments and its answer. The numbers are those of
//! libvirt's public protocol definition; they never change.

use std::io::Read;

use landfall_sdk::Failure;
use landfall_sdk::transport::Connection;

use crate::config::Config;
use crate::failure::code;
use crate::rpc::{Error, Link, Program};
use crate::xdr::Xdr;

type Result<T> = std::result::Result<T, Error>;

/// A machine as libvirt names it: name, UUID, and its number while it runs (else -1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) uuid: [u8; 16],
    pub(crate) id: i32,
}

impl Domain {
    pub(crate) fn is_active(&self) -> bool {
        self.id >= 0
    }

    /// The UUID as text: what the host knows a machine by.
    pub(crate) fn reference(&self) -> String {
        uuid_text(&self.uuid)
    }
}

impl Xdr for Domain {
    fn write(&self, out: &mut Vec<u8>) {
        self.name.write(out);
        self.uuid.write(out);
        self.id.write(out);
    }

    fn read(from: &mut crate::xdr::Reader<'_>) -> crate::xdr::Result<Self> {
        let (name, uuid, id) = from.read()?;
        Ok(Self { name, uuid, id })
    }
}

/// Name and UUID.
pub(crate) type Network = (String, [u8; 16]);
/// Name and UUID.
pub(crate) type Pool = (String, [u8; 16]);
/// Pool, name, key; of a directory's volume the key is its path.
pub(crate) type Volume = (String, String, String);
/// Name, and the machine that it belongs to.
pub(crate) type Checkpoint = (String, Domain);

/// `virDomainState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) state: i32,
    pub(crate) reason: i32,
}

impl State {
    pub(crate) const PAUSED: i32 = 3;
    pub(crate) const SHUT_OFF: i32 = 5;
    pub(crate) const CRASHED: i32 = 6;

    pub(crate) fn is_off(self) -> bool {
        self.state == Self::SHUT_OFF
    }

    pub(crate) fn name(self) -> &'static str {
        match self.state {
            1 => "running",
            2 => "blocked",
            3 => "paused",
            4 => "being shut down",
            5 => "shut off",
            6 => "crashed",
            7 => "suspended",
            _ => "unknown",
        }
    }
}

const CREATE_XML: u32 = 10;
const GET_XML_DESC: u32 = 14;
const GET_AUTOSTART: u32 = 15;
const LOOKUP_BY_NAME: u32 = 23;
const LOOKUP_BY_UUID: u32 = 24;
const RESUME: u32 = 28;
const SET_AUTOSTART: u32 = 29;
const SUSPEND: u32 = 34;
const NETWORK_XML: u32 = 43;
const NETWORK_BY_NAME: u32 = 46;
const AUTH_LIST: u32 = 66;
const POOL_BY_NAME: u32 = 84;
const POOL_INFO: u32 = 87;
const POOL_XML: u32 = 88;
const VOLUME_CREATE: u32 = 93;
const VOLUME_DELETE: u32 = 94;
const VOLUME_BY_NAME: u32 = 95;
const VOLUME_BY_PATH: u32 = 97;
const NETWORK_IS_ACTIVE: u32 = 152;
const LIB_VERSION: u32 = 157;
const ABORT_JOB: u32 = 164;
const BLOCK_INFO: u32 = 194;
const CREATE_WITH_FLAGS: u32 = 196;
const GET_STATE: u32 = 212;
const UNDEFINE_FLAGS: u32 = 231;
const DESTROY_FLAGS: u32 = 234;
const SHUTDOWN_FLAGS: u32 = 258;
const SET_METADATA: u32 = 264;
const GET_METADATA: u32 = 265;
const LIST_DOMAINS: u32 = 273;
const LIST_VOLUMES: u32 = 282;
const LIST_NETWORKS: u32 = 283;
const FS_FREEZE: u32 = 335;
const FS_THAW: u32 = 336;
const DEFINE_XML_FLAGS: u32 = 350;
const CHECKPOINT_CREATE: u32 = 411;
const CHECKPOINT_XML: u32 = 412;
const LIST_CHECKPOINTS: u32 = 413;
const CHECKPOINT_BY_NAME: u32 = 415;
const CHECKPOINT_DELETE: u32 = 417;
const BACKUP_BEGIN: u32 = 421;
const BACKUP_XML: u32 = 422;
const MONITOR_COMMAND: u32 = 1;

const POOL_RUNNING: u32 = 2;
const CONNECT_OPEN: u32 = 1;
const AUTH_NONE: u32 = 0;

const START_PAUSED: u32 = 1;
const XML_INACTIVE: u32 = 2;
const METADATA_ELEMENT: i32 = 2;
pub(crate) const LIVE: u32 = 1;
pub(crate) const CONFIG: u32 = 2;
const CHECKPOINT_REDEFINE: u32 = 1;
const CHECKPOINT_METADATA_ONLY: u32 = 2;
/// Managed save, snapshots' and checkpoints' metadata, firmware variables: whatever else belongs to a machine.
const UNDEFINE_ALL: u32 = 1 | 2 | 4 | 16;

/// The namespace of what this adapter keeps in a machine's metadata.
pub(crate) const NAMESPACE: &str = "urn:landfall:libvirt:1";
/// Its prefix there.
pub(crate) const PREFIX: &str = "landfall";

/// A conversation with one libvirt daemon.
pub(crate) struct Libvirt {
    link: Link<Connection>,
    pub(crate) config: Config,
}

/// The endpoint that the operator configures for libvirt itself.
const ENDPOINT: &str = "libvirt";

/// Opens a conversation, has it, and keeps the connection for the next call if no message is half way.
pub(crate) fn with<T>(
    work: impl FnOnce(&mut Libvirt) -> std::result::Result<T, Failure>,
) -> std::result::Result<T, Failure> {
    let mut libvirt = Libvirt::open()?;
    let done = work(&mut libvirt);
    if let Some(connection) = libvirt.link.into_whole() {
        connection.park();
    }
    done
}

impl Libvirt {
    fn open() -> std::result::Result<Self, Failure> {
        let config = Config::configured()?;
        let mut connection = Connection::open_with(ENDPOINT, None, &config.uri)?;
        if connection.is_warm() {
            let link = Link::new(connection);
            return Ok(Self { link, config });
        }
        if config.tls {
            // Over TLS libvirt says by one byte that it takes the client's certificate.
            let mut word = [0];
            // TLS itself is done before the server has judged the client, so a judgement shows as an end too.
            if connection.read_exact(&mut word).is_err() || word != [1] {
                return Err(not_taken());
            }
        }
        let mut link = Link::new(connection);
        let (methods,): (Vec<u32>,) = link.call(Program::Remote, AUTH_LIST, &())?;
        if !methods.contains(&AUTH_NONE) {
            return Err(Failure::definite(
                "authentication",
                "libvirt wants a login by SASL or polkit; use TLS with a client certificate (auth_tls = \"none\") or a \
                 Unix socket that the daemon's user may open",
            )
            .retryable());
        }
        let () = link.call(Program::Remote, CONNECT_OPEN, &(Some(config.uri.clone()), 0_u32))?;
        Ok(Self { link, config })
    }

    fn call<A: Xdr, R: Xdr>(&mut self, procedure: u32, arguments: &A) -> Result<R> {
        self.link.call(Program::Remote, procedure, arguments)
    }

    pub(crate) fn version(&mut self) -> Result<String> {
        let (number,): (u64,) = self.call(LIB_VERSION, &())?;
        Ok(format!(
            "{}.{}.{}",
            number / 1_000_000,
            number / 1_000 % 1_000,
            number % 1_000
        ))
    }

    // Machines.

    pub(crate) fn domains(&mut self) -> Result<Vec<Domain>> {
        let (domains, _): (Vec<Domain>, u32) = self.call(LIST_DOMAINS, &(1_i32, 0_u32))?;
        Ok(domains)
    }

    /// By UUID. None: there is none.
    pub(crate) fn find(&mut self, uuid: [u8; 16]) -> Result<Option<Domain>> {
        absent(self.call(LOOKUP_BY_UUID, &(uuid,)), code::NO_DOMAIN)
    }

    pub(crate) fn find_name(&mut self, name: &str) -> Result<Option<Domain>> {
        absent(self.call(LOOKUP_BY_NAME, &(name.to_owned(),)), code::NO_DOMAIN)
    }

    /// By the reference that the host has.
    pub(crate) fn domain(&mut self, reference: &str) -> std::result::Result<Domain, Failure> {
        let missing = || {
            let why = format!(
                "the site has no machine `{reference}`; restore it under this UUID, or unprotect the item if it is gone for good"
            );
            Failure::definite("not-found", why)
        };
        let uuid = uuid_of(reference).ok_or_else(missing)?;
        self.find(uuid)?.ok_or_else(missing)
    }

    /// What is defined, not what runs. None: the machine went while others were asked.
    pub(crate) fn xml_if_there(&mut self, domain: &Domain) -> Result<Option<String>> {
        absent(self.xml(domain), code::NO_DOMAIN)
    }

    /// What is defined, not what runs.
    pub(crate) fn xml(&mut self, domain: &Domain) -> Result<String> {
        let (xml,): (String,) = self.call(GET_XML_DESC, &(domain.clone(), XML_INACTIVE))?;
        Ok(xml)
    }

    pub(crate) fn live_xml(&mut self, domain: &Domain) -> Result<String> {
        let (xml,): (String,) = self.call(GET_XML_DESC, &(domain.clone(), 0_u32))?;
        Ok(xml)
    }

    pub(crate) fn state(&mut self, domain: &Domain) -> Result<State> {
        let (state, reason) = self.call(GET_STATE, &(domain.clone(), 0_u32))?;
        Ok(State { state, reason })
    }

    pub(crate) fn autostart(&mut self, domain: &Domain) -> Result<bool> {
        let (autostart,): (i32,) = self.call(GET_AUTOSTART, &(domain.clone(),))?;
        Ok(autostart != 0)
    }

    pub(crate) fn set_autostart(&mut self, domain: &Domain, autostart: bool) -> Result<()> {
        self.call(SET_AUTOSTART, &(domain.clone(), i32::from(autostart)))
    }

    pub(crate) fn define(&mut self, xml: String) -> Result<Domain> {
        self.call(DEFINE_XML_FLAGS, &(xml, 0_u32))
    }

    /// A machine that is gone when it stops, with its processors stopped.
    pub(crate) fn create_paused(&mut self, xml: String) -> Result<Domain> {
        self.call(CREATE_XML, &(xml, START_PAUSED))
    }

    pub(crate) fn undefine(&mut self, domain: &Domain) -> Result<()> {
        self.call(UNDEFINE_FLAGS, &(domain.clone(), UNDEFINE_ALL))
    }

    pub(crate) fn start(&mut self, domain: &Domain, paused: bool) -> Result<()> {
        let flags = if paused { START_PAUSED } else { 0 };
        let _: Domain = self.call(CREATE_WITH_FLAGS, &(domain.clone(), flags))?;
        Ok(())
    }

    pub(crate) fn suspend(&mut self, domain: &Domain) -> Result<()> {
        self.call(SUSPEND, &(domain.clone(),))
    }

    pub(crate) fn resume(&mut self, domain: &Domain) -> Result<()> {
        self.call(RESUME, &(domain.clone(),))
    }

    pub(crate) fn shutdown(&mut self, domain: &Domain) -> Result<()> {
        self.call(SHUTDOWN_FLAGS, &(domain.clone(), 0_u32))
    }

    pub(crate) fn destroy(&mut self, domain: &Domain) -> Result<()> {
        self.call(DESTROY_FLAGS, &(domain.clone(), 0_u32))
    }

    /// What this adapter keeps with a machine: one element, whose text is given.
    pub(crate) fn metadata(&mut self, domain: &Domain, flags: u32) -> Result<Option<String>> {
        let arguments = (domain.clone(), METADATA_ELEMENT, Some(NAMESPACE.to_owned()), flags);
        let found: Option<(String,)> = absent(self.call(GET_METADATA, &arguments), code::NO_METADATA)?;
        Ok(found.map(|(xml,)| xml))
    }

    /// The same of a machine that may run or not, and that may go while others are asked.
    pub(crate) fn metadata_if_there(&mut self, domain: &Domain) -> Result<Option<String>> {
        let flags = if domain.is_active() { 0 } else { CONFIG };
        Ok(absent(self.metadata(domain, flags), code::NO_DOMAIN)?.flatten())
    }

    pub(crate) fn set_metadata(&mut self, domain: &Domain, xml: Option<String>, flags: u32) -> Result<()> {
        let arguments = (
            domain.clone(),
            METADATA_ELEMENT,
            xml,
            Some(PREFIX.to_owned()),
            Some(NAMESPACE.to_owned()),
            flags,
        );
        self.call(SET_METADATA, &arguments)
    }

    // Checkpoints and backups.

    pub(crate) fn checkpoints(&mut self, domain: &Domain) -> Result<Vec<Checkpoint>> {
        let (checkpoints, _): (Vec<Checkpoint>, i32) = self.call(LIST_CHECKPOINTS, &(domain.clone(), 1_i32, 0_u32))?;
        Ok(checkpoints)
    }

    pub(crate) fn checkpoint(&mut self, domain: &Domain, name: &str) -> Result<Option<Checkpoint>> {
        let arguments = (domain.clone(), name.to_owned(), 0_u32);
        absent(self.call(CHECKPOINT_BY_NAME, &arguments), code::NO_CHECKPOINT)
    }

    pub(crate) fn checkpoint_xml(&mut self, checkpoint: &Checkpoint) -> Result<String> {
        let (xml,): (String,) = self.call(CHECKPOINT_XML, &(checkpoint.clone(), 0_u32))?;
        Ok(xml)
    }

    /// `redefine`: libvirt is told of one that its disks have already.
    pub(crate) fn create_checkpoint(&mut self, domain: &Domain, xml: String, redefine: bool) -> Result<()> {
        let flags = if redefine { CHECKPOINT_REDEFINE } else { 0 };
        let _: Checkpoint = self.call(CHECKPOINT_CREATE, &(domain.clone(), xml, flags))?;
        Ok(())
    }

    /// `forget`: libvirt forgets it, and its disks keep it.
    pub(crate) fn delete_checkpoint(&mut self, checkpoint: &Checkpoint, forget: bool) -> Result<()> {
        let flags = if forget { CHECKPOINT_METADATA_ONLY } else { 0 };
        self.call(CHECKPOINT_DELETE, &(checkpoint.clone(), flags))
    }

    pub(crate) fn begin_backup(&mut self, domain: &Domain, backup: String, checkpoint: String) -> Result<()> {
        self.call(BACKUP_BEGIN, &(domain.clone(), backup, Some(checkpoint), 0_u32))
    }

    /// The backup that runs, if one does.
    pub(crate) fn backup(&mut self, domain: &Domain) -> Result<Option<String>> {
        let found: Option<(String,)> = absent(self.call(BACKUP_XML, &(domain.clone(), 0_u32)), code::NO_BACKUP)?;
        Ok(found.map(|(xml,)| xml))
    }

    pub(crate) fn abort_job(&mut self, domain: &Domain) -> Result<()> {
        self.call(ABORT_JOB, &(domain.clone(),))
    }

    /// Bytes that a disk has for its guest.
    pub(crate) fn disk_bytes(&mut self, domain: &Domain, target: &str) -> Result<u64> {
        let (_, capacity, _): (u64, u64, u64) = self.call(BLOCK_INFO, &(domain.clone(), target.to_owned(), 0_u32))?;
        Ok(capacity)
    }

    pub(crate) fn freeze(&mut self, domain: &Domain) -> Result<i32> {
        let (frozen,): (i32,) = self.call(FS_FREEZE, &(domain.clone(), Vec::<String>::new(), 0_u32))?;
        Ok(frozen)
    }

    pub(crate) fn thaw(&mut self, domain: &Domain) -> Result<()> {
        let _: (i32,) = self.call(FS_THAW, &(domain.clone(), Vec::<String>::new(), 0_u32))?;
        Ok(())
    }

    /// A command of QEMU's own monitor, and its answer, both JSON.
    pub(crate) fn monitor(&mut self, domain: &Domain, command: String) -> Result<String> {
        let arguments = (domain.clone(), command, 0_u32);
        let (answer,): (String,) = self.link.call(Program::Qemu, MONITOR_COMMAND, &arguments)?;
        Ok(answer)
    }

    // Networks.

    pub(crate) fn networks(&mut self) -> Result<Vec<Network>> {
        let (networks, _): (Vec<Network>, u32) = self.call(LIST_NETWORKS, &(1_i32, 0_u32))?;
        Ok(networks)
    }

    pub(crate) fn network(&mut self, name: &str) -> Result<Option<Network>> {
        absent(self.call(NETWORK_BY_NAME, &(name.to_owned(),)), code::NO_NETWORK)
    }

    pub(crate) fn network_xml(&mut self, network: &Network) -> Result<String> {
        let (xml,): (String,) = self.call(NETWORK_XML, &(network.clone(), 0_u32))?;
        Ok(xml)
    }

    pub(crate) fn network_is_active(&mut self, network: &Network) -> Result<bool> {
        let (active,): (i32,) = self.call(NETWORK_IS_ACTIVE, &(network.clone(),))?;
        Ok(active != 0)
    }

    // Storage.

    pub(crate) fn pool(&mut self, name: &str) -> Result<Option<Pool>> {
        absent(self.call(POOL_BY_NAME, &(name.to_owned(),)), code::NO_POOL)
    }

    /// Whether it is running, and the bytes that are free.
    pub(crate) fn pool_info(&mut self, pool: &Pool) -> Result<(bool, u64)> {
        let (state, _, _, free): (u32, u64, u64, u64) = self.call(POOL_INFO, &(pool.clone(),))?;
        Ok((state == POOL_RUNNING, free))
    }

    pub(crate) fn pool_xml(&mut self, pool: &Pool) -> Result<String> {
        let (xml,): (String,) = self.call(POOL_XML, &(pool.clone(), 0_u32))?;
        Ok(xml)
    }

    /// Makes a volume, or finds the one that is there.
    pub(crate) fn create_volume(&mut self, pool: &Pool, name: &str, xml: String) -> Result<Volume> {
        match self.call(VOLUME_CREATE, &(pool.clone(), xml, 0_u32)) {
            Err(error) if error.code() == Some(code::VOLUME_EXISTS) => {
                self.call(VOLUME_BY_NAME, &(pool.clone(), name.to_owned()))
            }
            other => other,
        }
    }

    pub(crate) fn volume(&mut self, path: &str) -> Result<Option<Volume>> {
        absent(self.call(VOLUME_BY_PATH, &(path.to_owned(),)), code::NO_VOLUME)
    }

    pub(crate) fn volumes(&mut self, pool: &Pool) -> Result<Vec<Volume>> {
        let (volumes, _): (Vec<Volume>, u32) = self.call(LIST_VOLUMES, &(pool.clone(), 1_i32, 0_u32))?;
        Ok(volumes)
    }

    /// Once it is gone it is gone.
    pub(crate) fn delete_volume(&mut self, path: &str) -> Result<()> {
        let Some(volume) = self.volume(path)? else {
            return Ok(());
        };
        absent(self.call::<_, ()>(VOLUME_DELETE, &(volume, 0_u32)), code::NO_VOLUME).map(drop)
    }
}

/// Said before anything was asked.
fn not_taken() -> Failure {
    Failure::definite(
        "access-denied",
        "libvirt does not take the client's certificate; look at `cert` and `key` of the endpoint, and at `ca_file` and \
         `tls_allowed_dn_list` in libvirtd.conf",
    )
    .retryable()
}

/// A refusal with this code is none.
fn absent<T>(answer: Result<T>, code: i32) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == Some(code) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `8-4-4-4-12` in lower case.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = format!("{:032x}", u128::from_be_bytes(*uuid));
    // From the end, so that the places stay.
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}

/// None: it is none.
pub(crate) fn uuid_of(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_uuid() {
        let text = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        assert_eq!(uuid_text(&uuid_of(text).unwrap()), text);
        assert_eq!(uuid_of("no-such-thing"), None);
        assert_eq!(uuid_of(&"ü".repeat(32)), None);
    }
}
