//! Grants of `state` and `transport`: a quota, and the endpoints that the operator configured and named.
//!
//! A plugin knows an endpoint only by its name. Where it leads, and with which certificates, is the operator's alone.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Host;

use crate::destination::HostName;

/// A megabyte holds ten thousand change numbers, and is read in a moment.
const STATE_BYTES: u64 = 1 << 20;

/// State is held in memory too, so it has an end whatever the operator writes.
const MOST_STATE_BYTES: u64 = 64 << 20;

/// How much durable state a plugin may keep (an adapter: for one site).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StateGrant {
    /// Bytes of all keys and values: at most 64 MiB.
    #[serde(deserialize_with = "state_bytes")]
    pub max_bytes: u64,
}

impl Default for StateGrant {
    fn default() -> Self {
        Self { max_bytes: STATE_BYTES }
    }
}

impl StateGrant {
    /// The line that would make room for so many bytes; none if nobody can have that much.
    pub(crate) fn line_for(wanted: u64) -> Option<String> {
        let max_bytes = wanted
            .checked_next_power_of_two()
            .filter(|most| *most <= MOST_STATE_BYTES)?;
        Some(format!("state = {{ max-bytes = {max_bytes} }}"))
    }
}

fn state_bytes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(from)?;
    if value <= MOST_STATE_BYTES {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!(
        "{value} is more than {MOST_STATE_BYTES} bytes"
    )))
}

/// Where a named endpoint leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Words", into = "Words")]
pub enum Endpoint {
    /// Bytes over TCP.
    Tcp(Address),
    /// TLS over TCP.
    Tls(Address, Tls),
    /// A socket of this machine.
    Unix(PathBuf),
}

/// A host and the ports that may be opened there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or address.
    pub host: HostName,
    /// First and last port.
    pub ports: (u16, u16),
}

/// Certificates, in PEM files that are read at each new connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Authorities for the server's certificate instead of the machine's.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain and key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, if it is not the host.
    pub server_name: Option<String>,
}

impl Endpoint {
    /// Makes relative paths relative to the file that they stood in.
    pub fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        match self {
            Self::Tcp(_) => {}
            Self::Tls(_, Tls { ca, client, .. }) => {
                ca.iter_mut().for_each(resolve);
                if let Some((certificate, key)) = client {
                    resolve(certificate);
                    resolve(key);
                }
            }
            Self::Unix(path) => resolve(path),
        }
    }

    /// The ports it has, if it has any.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp(address) | Self::Tls(address, _) => Some(address.ports),
            Self::Unix(_) => None,
        }
    }

    /// The same endpoint with a range that holds this port too.
    pub(crate) fn with_port(&self, port: u16) -> Self {
        let mut wider = self.clone();
        if let Self::Tcp(address) | Self::Tls(address, _) = &mut wider {
            let (first, last) = address.ports;
            address.ports = (first.min(port), last.max(port));
        }
        wider
    }
}

/// As it stands in the operator's file.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Words::from(self.clone());
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let pairs = [
            ("tcp", words.tcp),
            ("tls", words.tls),
            ("unix", path(&words.unix)),
            ("ports", words.ports),
            ("ca", path(&words.ca)),
            ("cert", path(&words.cert)),
            ("key", path(&words.key)),
            ("server-name", words.server_name),
        ];
        let stated = pairs
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} = {:?}", value.as_ref()?)));
        write!(f, "{{ {} }}", stated.collect::<Vec<_>>().join(", "))
    }
}

/// The table that an operator writes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Words {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unix: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
}

impl TryFrom<Words> for Endpoint {
    type Error = String;

    fn try_from(words: Words) -> Result<Self, String> {
        let Words {
            tcp,
            tls,
            unix,
            ports,
            ca,
            cert,
            key,
            server_name,
        } = words;
        let plain = ca.is_none() && cert.is_none() && key.is_none() && server_name.is_none();
        match (tcp, tls, unix) {
            (Some(tcp), None, None) if plain => Ok(Self::Tcp(address(&tcp, ports.as_deref())?)),
            (None, None, Some(path)) if plain && ports.is_none() => Ok(Self::Unix(path)),
            (None, Some(tls), None) => {
                let client = match (cert, key) {
                    (Some(cert), Some(key)) => Some((cert, key)),
                    (None, None) => None,
                    _ => return Err("`cert` and `key` belong together".to_owned()),
                };
                let tls = (
                    address(&tls, ports.as_deref())?,
                    Tls {
                        ca,
                        client,
                        server_name,
                    },
                );
                Ok(Self::Tls(tls.0, tls.1))
            }
            _ => Err(
                "an endpoint is one of `tcp` (with `ports`), `tls` (with `ports`, `ca`, `cert`, `key`, \
                      `server-name`) or `unix`"
                    .to_owned(),
            ),
        }
    }
}

/// `host:port`, or a host and a range of ports.
fn address(text: &str, ports: Option<&str>) -> Result<Address, String> {
    let bare = |host: &str| !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    let (host, ports) = match (ports, text.rsplit_once(':')) {
        (None, Some((host, port))) if bare(host) && port.parse::<u16>().is_ok() => (host, port),
        (Some(ports), _) if bare(text) => (text, ports),
        _ => {
            return Err(format!(
                "{text:?}: write \"host:port\", or \"host\" and beside it `ports = \"first-last\"` (IPv6 addresses stand in brackets)"
            ));
        }
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Address {
            host: HostName::try_from(host.to_owned())?,
            ports: (first, last),
        }),
        _ => Err(format!(
            "{ports:?} is no port and no range of ports such as \"49152-49215\""
        )),
    }
}

impl From<Endpoint> for Words {
    fn from(endpoint: Endpoint) -> Self {
        let at = |address: &Address| match address.ports {
            (first, last) if first == last => (format!("{}:{first}", address.host), None),
            (first, last) => (address.host.to_string(), Some(format!("{first}-{last}"))),
        };
        match endpoint {
            Endpoint::Tcp(address) => {
                let (tcp, ports) = at(&address);
                Self {
                    tcp: Some(tcp),
                    ports,
                    ..Self::default()
                }
            }
            Endpoint::Tls(
                address,
                Tls {
                    ca,
                    client,
                    server_name,
                },
            ) => {
                let ((tls, ports), (cert, key)) = (at(&address), client.unzip());
                Self {
                    tls: Some(tls),
                    ports,
                    ca,
                    cert,
                    key,
                    server_name,
                    ..Self::default()
                }
            }
            Endpoint::Unix(path) => Self {
                unix: Some(path),
                ..Self::default()
            },
        }
    }
}

impl Address {
    /// Its host as the resolver wants it.
    pub(crate) fn host(&self) -> &Host<String> {
        self.host.as_host()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct One {
        e: Endpoint,
    }

    fn read(table: &str) -> Result<Endpoint, String> {
        toml::from_str::<One>(&format!("e = {table}"))
            .map(|one| one.e)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for table in [
            r#"{ tcp = "far1.example:16509" }"#,
            r#"{ tcp = "far1.example", ports = "49152-49215" }"#,
            r#"{ tls = "[::1]:16514", ca = "ca.pem", cert = "c.pem", key = "k.pem", server-name = "far1" }"#,
            r#"{ tls = "10.0.0.1", ports = "1-2" }"#,
            r#"{ unix = "/run/x.sock" }"#,
        ] {
            assert_eq!(read(table).unwrap().to_string(), table);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_form() {
        for (table, words) in [
            ("{}", "one of `tcp`"),
            (r#"{ tcp = "a:1", unix = "/b" }"#, "one of `tcp`"),
            (r#"{ tcp = "a:1", ca = "b" }"#, "one of `tcp`"),
            (r#"{ unix = "/b", ports = "1-2" }"#, "one of `tcp`"),
            (r#"{ tls = "a:1", cert = "b" }"#, "belong together"),
            (r#"{ tcp = "a" }"#, "host:port"),
            (r#"{ tcp = "::1" }"#, "brackets"),
            (r#"{ tcp = "a:0" }"#, "no port"),
            (r#"{ tcp = "a:1", ports = "1-2" }"#, "host:port"),
            (r#"{ tcp = "a", ports = "2-1" }"#, "no range"),
            (r#"{ tcp = "*:1" }"#, "wildcards"),
            (r#"{ tpc = "a:1" }"#, "unknown field"),
        ] {
            let error = read(table).unwrap_err();
            assert!(error.contains(words), "{table}: {error}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let mut endpoint = read(r#"{ tls = "a:1", ca = "ca.pem", cert = "/c.pem", key = "k.pem" }"#).unwrap();
        endpoint.resolve_paths(Path::new("/etc/landfall"));
        let Endpoint::Tls(_, tls) = endpoint else { panic!() };
        assert_eq!(tls.ca.unwrap(), Path::new("/etc/landfall/ca.pem"));
        assert_eq!(tls.client.unwrap(), ("/c.pem".into(), "/etc/landfall/k.pem".into()));
    }

    #[test]
    fn a_quota_has_an_end() {
        assert!(toml::from_str::<StateGrant>("max-bytes = 67108865").is_err());
        assert_eq!(
            StateGrant::line_for(1_048_577).unwrap(),
            "state = { max-bytes = 2097152 }"
        );
        assert_eq!(StateGrant::line_for(MOST_STATE_BYTES + 1), None);
    }
}
