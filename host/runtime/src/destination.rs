//! Destinations of HTTP requests: one that a request wants, those that the operator grants, those that a manifest asks
//! for. A grant names scheme, host and port exactly; method and path may limit it further.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::credential::{Auth, Capture};
use crate::path::{PathPrefix, RequestPath};

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// With TLS; certificates are checked against the machine's roots, or the grant's `ca`.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
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

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl HostName {
    pub(crate) fn as_host(&self) -> &Host<String> {
        &self.0
    }
}

/// A request's method, in upper case. CONNECT and TRACE are never sent and cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

impl Method {
    /// One opens a tunnel that nobody could check, the other sends credentials back to whoever asks.
    pub(crate) fn is_never_sent(name: &str) -> bool {
        name.eq_ignore_ascii_case("connect") || name.eq_ignore_ascii_case("trace")
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        if text.is_empty() || !known || Self::is_never_sent(&text) {
            return Err(format!(
                "{text:?} is no method that can be granted; methods are written in capitals, and CONNECT and TRACE are never sent"
            ));
        }
        Ok(Self(text))
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}

/// Some methods, or, where none are named, all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Methods(BTreeSet<Method>);

impl Methods {
    fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    fn contain(&self, name: &str) -> bool {
        self.are_all() || self.0.iter().any(|method| method.0 == name)
    }
}

/// What one request wants.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) host: HostName,
    pub(crate) port: u16,
    pub(crate) method: String,
    pub(crate) path: RequestPath,
}

impl Target {
    /// None if the URL is neither http nor https.
    pub(crate) fn of(method: &str, url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        Some(Self {
            scheme,
            host: HostName(url.host()?.to_owned()),
            port: url.port_or_known_default()?,
            method: method.to_owned(),
            path: RequestPath::of(url.path()),
        })
    }

    /// The narrowest grant that would allow it; none if its method or path cannot be granted.
    pub(crate) fn as_grant(&self) -> Option<HttpGrant> {
        Some(HttpGrant {
            methods: Methods(BTreeSet::from([Method::try_from(self.method.clone()).ok()?])),
            path: self.path.prefix()?,
            ..HttpGrant::at(self.scheme, self.host.clone(), self.port)
        })
    }

    /// Why no line can be offered that would grant it.
    pub(crate) fn ungrantable(&self) -> String {
        match self.path.ambiguous() {
            Some(why) => format!("only a grant without `path` would cover it, as a path {why}"),
            None => "no grant can name its method".to_owned(),
        }
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme.as_str(), self.host.0, self.port)
    }

    /// Method and origin. The path is the plugin's text and stands in the line that would grant it.
    pub(crate) fn what(&self) -> String {
        format!("{} {}", self.method, self.origin())
    }
}

/// One destination, and what the host does for requests to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Name or address.
    pub host: HostName,
    /// TCP port.
    pub port: u16,
    /// All but CONNECT and TRACE if none is named.
    #[serde(default, skip_serializing_if = "Methods::are_all")]
    pub methods: Methods,
    /// All if it is not there.
    #[serde(default, skip_serializing_if = "PathPrefix::is_all")]
    pub path: PathPrefix,
    /// The name may resolve to a private or loopback address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Authorities for the server's certificate, instead of the machine's: a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate that the host shows, with its chain: a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its key: a PEM file that only the daemon's user can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The host adds this to every request; the plugin's own `authorization` is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Secrets that the plugin may place in requests by `{{secret:NAME}}`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<String>,
    /// Session tokens that the plugin sees only as `{{captured:NAME}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<Capture>,
}

impl HttpGrant {
    pub(crate) fn at(scheme: Scheme, host: HostName, port: u16) -> Self {
        Self {
            scheme,
            host,
            port,
            methods: Methods::default(),
            path: PathPrefix::default(),
            private: false,
            ca: None,
            cert: None,
            key: None,
            auth: None,
            secrets: BTreeSet::new(),
            capture: Vec::new(),
        }
    }

    /// This grant with one more secret.
    pub(crate) fn with_secret(&self, name: &str) -> Self {
        let mut wider = self.clone();
        wider.secrets.insert(name.to_owned());
        wider
    }

    /// Every secret that it names, with whether that needs a user.
    pub(crate) fn named_secrets(&self) -> impl Iterator<Item = (&str, bool)> {
        let auth = self.auth.as_ref().map(|auth| (auth.name(), auth.needs_user()));
        auth.into_iter()
            .chain(self.secrets.iter().map(|name| (name.as_str(), false)))
    }

    pub(crate) fn is_at(&self, target: &Target) -> bool {
        (self.scheme, &self.host, self.port) == (target.scheme, &target.host, target.port)
    }

    /// To methods or a path.
    pub(crate) fn is_limited(&self) -> bool {
        !self.methods.are_all() || !self.path.is_all()
    }

    /// It allows the request.
    pub(crate) fn covers(&self, target: &Target) -> bool {
        self.is_at(target) && self.methods.contain(&target.method) && self.path.covers(&target.path)
    }

    /// This grant with the request's method added, if only that is missing.
    pub(crate) fn widened(&self, target: &Target) -> Option<Self> {
        if !self.is_at(target) || !self.path.covers(&target.path) {
            return None;
        }
        let mut wider = self.clone();
        wider.methods.0.insert(Method::try_from(target.method.clone()).ok()?);
        Some(wider)
    }

    /// How narrow it is: the narrowest of those that cover a request is the one that is used.
    pub(crate) fn narrowness(&self) -> (usize, bool) {
        (self.path.depth(), !self.methods.are_all())
    }

    /// Makes relative paths relative to the file that they stood in.
    pub(crate) fn resolve_paths(&mut self, base: &Path) {
        for path in [&mut self.ca, &mut self.cert, &mut self.key].into_iter().flatten() {
            *path = base.join(&*path);
        }
    }

    /// What the form cannot say.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.port == 0 {
            return Err(format!("{self}: there is no port 0"));
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(format!("{self}: `cert` and `key` belong together"));
        }
        if self.scheme == Scheme::Http && (self.ca.is_some() || self.cert.is_some()) {
            return Err(format!("{self}: there are no certificates without https"));
        }
        let names: BTreeSet<_> = self.capture.iter().map(Capture::name).collect();
        if names.len() < self.capture.len() {
            return Err(format!("{self}: two captures have one name"));
        }
        Ok(())
    }
}

/// As TOML, in one line.
impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        inline(self).map_err(|_| fmt::Error).and_then(|line| f.write_str(&line))
    }
}

/// A value as TOML, in one line and in the order of its fields.
pub(crate) fn inline(value: &impl Serialize) -> Result<String, toml::ser::Error> {
    let mut line = String::new();
    value.serialize(toml::ser::ValueSerializer::new(&mut line))?;
    Ok(line)
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

/// Names that a manifest asks for; `"*"` among them stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// None is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This one is asked for.
    pub fn contain(&self, name: &str) -> bool {
        self.0.contains("*") || self.0.contains(name)
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
    /// All that are ever sent if none is named.
    #[serde(default, skip_serializing_if = "Methods::are_all")]
    pub methods: Methods,
    /// All if it is not there.
    #[serde(default, skip_serializing_if = "PathPrefix::is_all")]
    pub path: PathPrefix,
    /// Secrets that it puts into requests by placeholders; the names are the operator's, so mostly `*`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub secrets: Names,
}

impl HttpPattern {
    pub(crate) fn matches(&self, target: &Target) -> bool {
        self.scheme.matches(&target.scheme)
            && self.host.matches(&target.host)
            && self.port.matches(&target.port)
            && self.methods.contain(&target.method)
            && self.path.covers(&target.path)
    }
}
