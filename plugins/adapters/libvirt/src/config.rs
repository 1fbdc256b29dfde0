//! What the operator configures for a site.

use landfall_sdk::{Failure, config};

/// A site's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// As libvirt names its own connection.
    pub(crate) uri: String,
    /// The endpoint is TLS.
    pub(crate) tls: bool,
    /// Where replicas and the disks of machines made here lie.
    pub(crate) pool: String,
    /// QEMU offers disks on one of these ports.
    pub(crate) ports: (u16, u16),
    /// On this address of the site.
    pub(crate) listen: String,
    /// How long a guest may take to shut down.
    pub(crate) shutdown_ms: u64,
    /// Networks that are not libvirt's own.
    pub(crate) networks: Vec<(String, Attachment)>,
}

/// How a card is attached to a network that is not libvirt's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// A bridge of the site.
    Bridge(String),
    /// Machines that share a group and port of QEMU's own, and nothing else.
    Multicast(String, u16),
    /// QEMU's user network: the site reaches the guest's ports at its fixed addresses. `isolated`: and the guest
    /// reaches nothing.
    User {
        isolated: bool,
        /// Of the site, and of the guest.
        ports: Vec<(u16, u16)>,
    },
}

impl Attachment {
    pub(crate) fn is_isolated(&self) -> bool {
        match self {
            Self::Bridge(_) => false,
            Self::Multicast(..) => true,
            Self::User { isolated, .. } => *isolated,
        }
    }
}

/// JSON Schema of all of it.
pub(crate) const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "uri": { "type": "string", "description": "libvirt's own name of the connection [default: qemu:///system]" },
    "tls": { "type": "string", "enum": ["yes", "no"], "description": "The endpoint `libvirt` is TLS [default: no]" },
    "pool": { "type": "string", "description": "Storage pool for replicas and for machines made here [default: default]" },
    "nbd-ports": { "type": "string", "description": "Ports of the endpoint `nbd` [default: 49152-49215]" },
    "nbd-listen": { "type": "string", "description": "Address at which QEMU offers disks [default: 127.0.0.1]" },
    "shutdown-ms": { "type": "string", "description": "How long a guest may take to shut down [default: 120000]" },
    "networks": { "type": "string", "description": "Networks that are not libvirt's own, as in: lan=bridge:br0, bubble=mcast:230.0.0.1:5558, web=user:8080-80" }
  },
  "additionalProperties": false
}"#;

/// Two minutes are enough for a database that writes back its memory.
const SHUTDOWN_MS: u64 = 120_000;

/// What libvirt itself uses for migration.
const PORTS: (u16, u16) = (49_152, 49_215);

impl Config {
    pub(crate) fn configured() -> Result<Self, Failure> {
        Self::read(&|name| config::get(name).filter(|value| !value.is_empty()))
    }

    fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let bad = |name: &str, value: &str, what: &str| {
            Failure::definite(
                "not-configured",
                format!("the site's `{name}` is `{value}`; write {what}"),
            )
        };
        let ports = match get("nbd-ports") {
            None => PORTS,
            Some(text) => range(&text).ok_or_else(|| bad("nbd-ports", &text, "two ports, as in 49152-49215"))?,
        };
        let shutdown_ms = match get("shutdown-ms") {
            None => SHUTDOWN_MS,
            Some(text) => text.parse().map_err(|_| bad("shutdown-ms", &text, "milliseconds"))?,
        };
        let networks = get("networks").unwrap_or_default();
        let networks = networks.split(',').map(str::trim).filter(|text| !text.is_empty());
        let networks = networks
            .map(|text| {
                network(text).ok_or_else(|| {
                    bad(
                        "networks",
                        text,
                        "NAME=bridge:BRIDGE, NAME=mcast:ADDRESS:PORT or NAME=user:SITEPORT-GUESTPORT",
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            uri: get("uri").unwrap_or_else(|| "qemu:///system".to_owned()),
            tls: get("tls").as_deref() == Some("yes"),
            pool: get("pool").unwrap_or_else(|| "default".to_owned()),
            ports,
            listen: get("nbd-listen").unwrap_or_else(|| "127.0.0.1".to_owned()),
            shutdown_ms,
            networks,
        })
    }

    pub(crate) fn attachment(&self, network: &str) -> Option<&Attachment> {
        self.networks
            .iter()
            .find(|(name, _)| name == network)
            .map(|(_, attachment)| attachment)
    }

    /// The ports, beginning somewhere that follows from the seed: two disks seldom want the same one first.
    pub(crate) fn ports_from(&self, seed: u64) -> impl Iterator<Item = u16> + use<> {
        let (first, last) = self.ports;
        let count = u64::from(last - first) + 1;
        // Below the count, so it fits.
        (0..count).map(move |step| first + u16::try_from((seed % count + step) % count).unwrap_or(0))
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-')?;
    let range = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (range.0 <= range.1).then_some(range)
}

fn network(text: &str) -> Option<(String, Attachment)> {
    let (name, how) = text.split_once('=')?;
    let (kind, rest) = how.trim().split_once(':').unwrap_or((how.trim(), ""));
    let attachment = match kind {
        "bridge" if is_word(rest) => Attachment::Bridge(rest.to_owned()),
        "mcast" => {
            let (group, port) = rest.rsplit_once(':')?;
            let address: std::net::Ipv4Addr = group.parse().ok()?;
            Attachment::Multicast(
                Some(group).filter(|_| address.is_multicast())?.to_owned(),
                port.parse().ok()?,
            )
        }
        "user" | "user-isolated" => Attachment::User {
            isolated: kind == "user-isolated",
            ports: rest
                .split('+')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (site, guest) = pair.split_once('-')?;
                    Some((site.parse().ok()?, guest.parse().ok()?))
                })
                .collect::<Option<_>>()?,
        },
        _ => return None,
    };
    Some((name.trim().to_owned(), attachment)).filter(|(name, _)| !name.is_empty())
}

/// A name of an interface: nothing that could mean something else in XML or on a command line.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Failure> {
        let get = |name: &str| {
            pairs
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::read(&get)
    }

    #[test]
    fn everything_has_a_default() {
        let config = read(&[]).unwrap();
        assert_eq!(
            (&*config.uri, &*config.pool, config.ports),
            ("qemu:///system", "default", PORTS)
        );
    }

    #[test]
    fn networks_say_how_a_card_is_attached() {
        let config = read(&[(
            "networks",
            "lan=bridge:br0, bubble=mcast:230.0.0.1:5558, web=user:8080-80, cage=user-isolated:8080-80+8443-443",
        )])
        .unwrap();
        assert_eq!(config.attachment("lan"), Some(&Attachment::Bridge("br0".into())));
        assert_eq!(
            config.attachment("bubble"),
            Some(&Attachment::Multicast("230.0.0.1".into(), 5558))
        );
        let isolated: Vec<bool> = config.networks.iter().map(|(_, how)| how.is_isolated()).collect();
        assert_eq!(isolated, [false, true, false, true]);
        let Some(Attachment::User { ports, .. }) = config.attachment("cage") else {
            panic!()
        };
        assert_eq!(ports, &[(8080, 80), (8443, 443)]);
    }

    #[test]
    fn mistakes_are_named() {
        for (name, value) in [
            ("networks", "lan=bridge:br0'/><x"),
            ("networks", "lan=mcast:10.0.0.1:5"),
            ("networks", "lan=user:x-80"),
            ("nbd-ports", "9-5"),
            ("shutdown-ms", "soon"),
        ] {
            let failure = read(&[(name, value)]).unwrap_err();
            assert!(
                failure.definite && failure.message.contains(name),
                "{value}: {}",
                failure.message
            );
        }
    }

    #[test]
    fn ports_begin_somewhere_and_are_all_tried() {
        let config = read(&[("nbd-ports", "10-12")]).unwrap();
        assert_eq!(config.ports_from(4).collect::<Vec<_>>(), [11, 12, 10]);
    }
}
