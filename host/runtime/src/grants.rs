//! What the operator lets a plugin do.
//!
//! An interface with authority is linked only if it is requested and granted; a URL is checked at every call against
//! both lists. A manifest may use wildcards, since it is only an upper bound. A grant names each destination exactly:
//! what stands in the operator's file is what can be reached. A refusal carries the line that would change it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::manifest::Requests;

/// An interface that must be granted. `log` and `config` carry no authority and are always linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// Host-owned bytes.
    Buffers,
    /// The host's clocks.
    Clock,
    /// `wasi:http`, to granted destinations.
    Http,
    /// Random bytes.
    Random,
}

impl Interface {
    /// Every interface that can be granted.
    pub const ALL: [Self; 4] = [Self::Buffers, Self::Clock, Self::Http, Self::Random];

    /// Its name in manifests and grants.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buffers => "buffers",
            Self::Clock => "clock",
            Self::Http => "http",
            Self::Random => "random",
        }
    }

    /// The interface that an import of this name (without version) belongs to.
    pub fn of_import(name: &str) -> Option<Self> {
        match name {
            "landfall:plugin/buffers" => Some(Self::Buffers),
            "landfall:plugin/clock" => Some(Self::Clock),
            "landfall:plugin/random" => Some(Self::Random),
            "wasi:http/types" | "wasi:http/outgoing-handler" => Some(Self::Http),
            _ => None,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The operator's grants to one plugin (an adapter: at one site).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Interfaces to link.
    #[serde(default)]
    pub interfaces: BTreeSet<Interface>,
    /// Destinations, each named exactly. Naming one grants the interface `http`.
    #[serde(default)]
    pub http: Vec<HttpGrant>,
}

impl Grants {
    /// Whether this interface is granted.
    pub fn include(&self, interface: Interface) -> bool {
        self.interfaces.contains(&interface) || (interface == Interface::Http && !self.http.is_empty())
    }

    /// The `interfaces` line with one more interface in it.
    fn line_with(&self, interface: Interface) -> String {
        let mut all = self.interfaces.clone();
        all.insert(interface);
        let names: Vec<_> = all.iter().map(|name| format!("\"{name}\"")).collect();
        format!("interfaces = [{}]", names.join(", "))
    }

    fn http_line_with(&self, destination: &HttpGrant) -> String {
        let all: Vec<_> = self.http.iter().chain([destination]).map(ToString::to_string).collect();
        format!("http = [{}]", all.join(", "))
    }
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// With TLS; certificates are checked against the machine's roots.
    Https,
}

/// A host as `url` normalises it, so that `127.1`, upper case and Unicode cannot slip past a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Host<String>);

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Host::parse(&text) {
            Ok(Host::Domain(name)) if name.contains('*') => {
                Err(format!("{text:?}: a grant names each host exactly, without wildcards"))
            }
            Ok(host) => Ok(Self(host)),
            Err(error) => Err(format!(
                "{text:?} is no host: {error} (IPv6 addresses stand in brackets)"
            )),
        }
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0.to_string()
    }
}

/// One destination, named exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Name or address.
    pub host: HostName,
    /// TCP port.
    pub port: u16,
}

impl HttpGrant {
    /// The destination that a URL leads to; none if it is neither http nor https.
    pub fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let host = HostName(url.host()?.to_owned());
        Some(Self {
            scheme,
            host,
            port: url.port_or_known_default()?,
        })
    }
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(
            f,
            "{{ scheme = \"{}\", host = \"{}\", port = {port} }}",
            scheme.as_str(),
            host.0
        )
    }
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// `"*"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Star {
    /// Anything.
    #[serde(rename = "*")]
    Star,
}

/// Anything, or exactly one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pattern<T> {
    /// `"*"`.
    Any(Star),
    /// This value.
    Exact(T),
}

impl<T: PartialEq> Pattern<T> {
    fn matches(&self, value: &T) -> bool {
        match self {
            Self::Any(Star::Star) => true,
            Self::Exact(exact) => exact == value,
        }
    }
}

/// Destinations that a manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpPattern {
    /// `http`, `https` or `*`.
    pub scheme: Pattern<Scheme>,
    /// A host or `*`.
    pub host: Pattern<HostName>,
    /// A port or `*`.
    pub port: Pattern<u16>,
}

impl HttpPattern {
    fn matches(&self, destination: &HttpGrant) -> bool {
        let HttpGrant { scheme, host, port } = destination;
        self.scheme.matches(scheme) && self.host.matches(host) && self.port.matches(port)
    }
}

/// Something a plugin was refused, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What it wanted: an interface or a destination.
    pub what: String,
    /// Where the cure belongs.
    pub remedy: Remedy,
}

/// Who can change a refusal, and by which line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// The operator: this line belongs into the grants.
    Grant(String),
    /// The plugin's author: this belongs into `[requests]` of `plugin.toml`, and then into the grants.
    Request(String),
    /// Nobody: such a request is never sent. The text says why.
    Never(String),
}

impl Denial {
    /// The line to add to the operator's grants, if one would help.
    pub fn grant_line(&self) -> Option<&str> {
        match &self.remedy {
            Remedy::Grant(line) => Some(line),
            Remedy::Request(_) | Remedy::Never(_) => None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.remedy {
            Remedy::Grant(line) => write!(
                f,
                "{what} is not granted; this line in its grants would grant it: {line}"
            ),
            Remedy::Request(line) => {
                write!(
                    f,
                    "{what} is not requested in plugin.toml; its author would add to [requests]: {line}"
                )
            }
            Remedy::Never(why) => write!(f, "{what} is never allowed: {why}"),
        }
    }
}

/// Requests AND grants of one plugin: what it really may do.
#[derive(Debug, Clone)]
pub(crate) struct Effective {
    pub(crate) requests: Requests,
    pub(crate) grants: Grants,
}

impl Effective {
    pub(crate) fn interfaces(&self) -> BTreeSet<Interface> {
        let both = |interface: &Interface| self.requests.include(*interface) && self.grants.include(*interface);
        Interface::ALL.into_iter().filter(both).collect()
    }

    /// Why an interface that the component imports is not linked, if it is not.
    pub(crate) fn check_interface(&self, interface: Interface) -> Result<(), Denial> {
        let what = format!("the interface `{interface}`");
        if !self.requests.include(interface) {
            let asked = Grants {
                interfaces: self.requests.interfaces.clone(),
                http: Vec::new(),
            };
            return Err(Denial {
                what,
                remedy: Remedy::Request(asked.line_with(interface)),
            });
        }
        if !self.grants.include(interface) {
            return Err(Denial {
                what,
                remedy: Remedy::Grant(self.grants.line_with(interface)),
            });
        }
        Ok(())
    }

    pub(crate) fn check_destination(&self, destination: &HttpGrant) -> Result<(), Denial> {
        let HttpGrant { scheme, host, port } = destination;
        let what = format!("{}://{}:{port}", scheme.as_str(), host.0);
        if !self.requests.http.iter().any(|pattern| pattern.matches(destination)) {
            return Err(Denial {
                what,
                remedy: Remedy::Request(format!("http = [{destination}]")),
            });
        }
        if !self.grants.http.contains(destination) {
            return Err(Denial {
                what,
                remedy: Remedy::Grant(self.grants.http_line_with(destination)),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(requests: &str, grants: &str) -> Effective {
        Effective {
            requests: toml::from_str(requests).unwrap(),
            grants: toml::from_str(grants).unwrap(),
        }
    }

    fn destination(url: &str) -> HttpGrant {
        HttpGrant::of(&Url::parse(url).unwrap()).unwrap()
    }

    const ANY: &str = r#"interfaces = ["clock"]
        http = [{ scheme = "http", host = "*", port = "*" }]"#;

    #[test]
    fn both_sides_must_allow() {
        let allowed = effective(ANY, r#"http = [{ scheme = "http", host = "LAB.example", port = 80 }]"#);
        assert_eq!(allowed.interfaces(), BTreeSet::from([Interface::Http]));
        allowed.check_destination(&destination("http://lab.example/x")).unwrap();
        let denial = allowed
            .check_destination(&destination("https://lab.example/"))
            .unwrap_err();
        assert!(matches!(denial.remedy, Remedy::Request(_)), "{denial}");
    }

    #[test]
    fn the_line_that_is_printed_grants_it() {
        let refused = effective(ANY, r#"http = [{ scheme = "http", host = "127.0.0.1", port = 9000 }]"#);
        let other = destination("http://127.1:9001/");
        let denial = refused.check_destination(&other).unwrap_err();
        let line = denial.grant_line().unwrap();
        effective(ANY, line).check_destination(&other).unwrap();
        effective(ANY, line)
            .check_destination(&destination("http://127.0.0.1:9000/"))
            .unwrap();

        let denial = refused.check_interface(Interface::Clock).unwrap_err();
        effective(ANY, denial.grant_line().unwrap())
            .check_interface(Interface::Clock)
            .unwrap();
        let denial = refused.check_interface(Interface::Random).unwrap_err();
        assert!(
            matches!(&denial.remedy, Remedy::Request(line) if line.contains("random")),
            "{denial}"
        );
    }

    #[test]
    fn a_grant_with_a_wildcard_is_no_grant() {
        let error = toml::from_str::<Grants>(r#"http = [{ scheme = "http", host = "*", port = 80 }]"#).unwrap_err();
        assert!(error.to_string().contains("exactly"), "{error}");
        assert!(toml::from_str::<Grants>(r#"http = [{ scheme = "http", host = "a", port = "*" }]"#).is_err());
    }
}
