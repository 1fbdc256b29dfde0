//! What the operator lets a plugin do.
//!
//! An interface with authority is linked only if it is requested and granted; a URL is checked at every call against
//! both lists. A manifest may use wildcards, since it is only an upper bound. A grant names each destination exactly:
//! what stands in the operator's file is what can be reached. A refusal carries the line that would change it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::destination::{HttpGrant, HttpPattern, Method, Target};
use crate::endpoint::{Endpoint, StateGrant};
use crate::manifest::Requests;
use crate::secret::Secrets;

/// An interface that must be granted. `log` and `config` carry no authority and are always linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// Host-owned bytes.
    Buffers,
    /// The host's clocks.
    Clock,
    /// Programs inside the machines that a runbook is called for.
    Guests,
    /// `wasi:http`, to granted destinations.
    Http,
    /// Random bytes.
    Random,
    /// What may be forgotten at any time: logins.
    Session,
    /// Signatures with keys that stay outside.
    Signing,
    /// Durable text by key.
    State,
    /// Streams to endpoints that the operator named.
    Transport,
}

impl Interface {
    /// Every interface that can be granted.
    pub const ALL: [Self; 9] = [
        Self::Buffers,
        Self::Clock,
        Self::Guests,
        Self::Http,
        Self::Random,
        Self::Session,
        Self::Signing,
        Self::State,
        Self::Transport,
    ];

    /// Its name in manifests and grants.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buffers => "buffers",
            Self::Clock => "clock",
            Self::Guests => "guests",
            Self::Http => "http",
            Self::Random => "random",
            Self::Session => "session",
            Self::Signing => "signing",
            Self::State => "state",
            Self::Transport => "transport",
        }
    }

    /// The interface that an import of this name (without version) belongs to.
    pub fn of_import(name: &str) -> Option<Self> {
        match name {
            "landfall:plugin/buffers" => Some(Self::Buffers),
            "landfall:plugin/clock" => Some(Self::Clock),
            "landfall:plugin/guests" => Some(Self::Guests),
            "landfall:plugin/random" => Some(Self::Random),
            "landfall:plugin/session" => Some(Self::Session),
            "landfall:plugin/signing" => Some(Self::Signing),
            "landfall:plugin/state" => Some(Self::State),
            "landfall:plugin/transport" => Some(Self::Transport),
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
    /// How much durable state it may keep, if not a megabyte. Naming it grants the interface `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateGrant>,
    /// Secrets that it may sign with. Naming one grants the interface `signing`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hmac: BTreeSet<String>,
    /// Endpoints by the name under which the plugin opens them. Naming one grants the interface `transport`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub transport: BTreeMap<String, Endpoint>,
}

impl Grants {
    /// Whether this interface is granted.
    pub fn include(&self, interface: Interface) -> bool {
        let named = match interface {
            Interface::Http => !self.http.is_empty(),
            Interface::State => self.state.is_some(),
            Interface::Transport => !self.transport.is_empty(),
            Interface::Signing => !self.hmac.is_empty(),
            _ => false,
        };
        named || self.interfaces.contains(&interface)
    }

    /// Makes relative paths relative to the file that they stood in.
    pub fn resolve_paths(&mut self, base: &Path) {
        self.http.iter_mut().for_each(|grant| grant.resolve_paths(base));
        self.transport
            .values_mut()
            .for_each(|endpoint| endpoint.resolve_paths(base));
    }

    /// The `transport` line with one endpoint added or changed.
    pub(crate) fn transport_line_with(&self, name: &str, endpoint: &str) -> String {
        let mut all: BTreeMap<_, _> = self
            .transport
            .iter()
            .map(|(name, endpoint)| (name.as_str(), endpoint.to_string()))
            .collect();
        all.insert(name, endpoint.to_owned());
        let entries: Vec<_> = all
            .iter()
            .map(|(name, endpoint)| format!("{name} = {endpoint}"))
            .collect();
        format!("transport = {{ {} }}", entries.join(", "))
    }

    /// The `interfaces` line with one more interface in it.
    fn line_with(&self, interface: Interface) -> String {
        let mut all = self.interfaces.clone();
        all.insert(interface);
        let names: Vec<_> = all.iter().map(|name| format!("\"{name}\"")).collect();
        format!("interfaces = [{}]", names.join(", "))
    }

    /// The `http` line under which this request is allowed: a grant that lacks only its method has it added.
    fn http_line_for(&self, target: &Target) -> Option<String> {
        let mut all = self.http.clone();
        let near = all
            .iter_mut()
            .find_map(|grant| grant.widened(target).map(|wider| (grant, wider)));
        if let Some((grant, wider)) = near {
            *grant = wider;
        } else {
            let mut narrow = target.as_grant()?;
            // The same server has the same certificate, wherever its name leads.
            if let Some(sibling) = self.http.iter().find(|grant| grant.is_at(target)) {
                narrow.private = sibling.private;
                narrow.ca.clone_from(&sibling.ca);
                narrow.cert.clone_from(&sibling.cert);
                narrow.key.clone_from(&sibling.key);
            }
            all.push(narrow);
        }
        Some(http_line(&all))
    }

    /// The `http` line with one grant replaced.
    pub(crate) fn http_line_instead(&self, old: &HttpGrant, new: HttpGrant) -> String {
        let all = self.http.iter().filter(|grant| *grant != old).cloned();
        http_line(&all.chain([new]).collect::<Vec<_>>())
    }

    /// The narrowest grant that covers a request, the first of several.
    fn http_for(&self, target: &Target) -> Option<&HttpGrant> {
        let covering = self.http.iter().rev().filter(|grant| grant.covers(target));
        covering.max_by_key(|grant| grant.narrowness())
    }

    /// What the form of the file cannot say: whether the values make sense, and every secret that is named exists.
    pub fn check(&self, secrets: &Secrets) -> Result<(), String> {
        self.http.iter().try_for_each(HttpGrant::check)?;
        for grant in &self.http {
            crate::host::http::try_client(grant)?;
        }
        let keys = self.hmac.iter().map(|name| (name.as_str(), false));
        for (name, needs_user) in self.http.iter().flat_map(HttpGrant::named_secrets).chain(keys) {
            match secrets.has_user(name) {
                None => return Err(format!("there is no secret `{name}` under [secrets]")),
                Some(false) if needs_user => {
                    return Err(format!(
                        "basic authentication needs a user, and the secret `{name}` has none"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn hmac_line<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
    format!("hmac = [{}]", names.join(", "))
}

fn http_line(grants: &[HttpGrant]) -> String {
    let all: Vec<_> = grants.iter().map(ToString::to_string).collect();
    format!("http = [{}]", all.join(", "))
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
    /// The operator: a secret or certificate that is granted cannot be used. The text says why.
    Secret(String),
    /// The operator: it was granted after the job began that asks for it.
    Regrant,
    /// The operator: the server shows a certificate that is not trusted. The text says why.
    Distrusted(String),
}

impl Denial {
    /// A stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self.remedy {
            Remedy::Grant(_) | Remedy::Request(_) | Remedy::Never(_) => "LF0437",
            Remedy::Secret(_) => "LF0423",
            Remedy::Regrant => "LF0424",
            Remedy::Distrusted(_) => "LF0425",
        }
    }

    /// The line to add to the operator's grants, if one would help.
    pub fn grant_line(&self) -> Option<&str> {
        match &self.remedy {
            Remedy::Grant(line) => Some(line),
            Remedy::Request(_) | Remedy::Never(_) | Remedy::Secret(_) | Remedy::Regrant | Remedy::Distrusted(_) => None,
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
            Remedy::Secret(why) => write!(f, "{what} cannot be used: {why}"),
            Remedy::Regrant => write!(
                f,
                "{what} was granted after this job began, which keeps to what was granted then; to let it have this too: landfall job regrant JOB --reason WHY"
            ),
            Remedy::Distrusted(why) => write!(
                f,
                "{what} is answered with a certificate that is not trusted ({why}); if it is the right server, name its authority in the grant: ca = \"FILE\""
            ),
        }
    }
}

/// Requests AND grants of one plugin: what it really may do.
#[derive(Debug, Clone)]
pub(crate) struct Effective {
    pub(crate) requests: Requests,
    /// What stands in the operator's file now.
    pub(crate) grants: Grants,
    /// What stood there when the job began that this is for.
    pub(crate) pinned: Option<Grants>,
}

impl Effective {
    /// Granted when the job began, if this is for one.
    fn was_granted(&self, then: impl FnOnce(&Grants) -> bool) -> bool {
        self.pinned.as_ref().is_none_or(then)
    }

    pub(crate) fn interfaces(&self) -> BTreeSet<Interface> {
        let both = |interface: &Interface| {
            let interface = *interface;
            let now = self.requests.include(interface) && self.grants.include(interface);
            now && self.was_granted(|then| then.include(interface))
        };
        Interface::ALL.into_iter().filter(both).collect()
    }

    /// Why an interface that the component imports is not linked, if it is not.
    pub(crate) fn check_interface(&self, interface: Interface) -> Result<(), Denial> {
        let what = format!("the interface `{interface}`");
        if !self.requests.include(interface) {
            let asked = Grants {
                interfaces: self.requests.interfaces.clone(),
                ..Grants::default()
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
        if !self.was_granted(|then| then.include(interface)) {
            return Err(Denial {
                what,
                remedy: Remedy::Regrant,
            });
        }
        Ok(())
    }

    /// The grant under which a request may be sent.
    pub(crate) fn check_target(&self, target: &Target) -> Result<HttpGrant, Denial> {
        let denied = |remedy| Denial {
            what: target.what(),
            remedy,
        };
        let never = |why: &str| denied(Remedy::Never(why.to_owned()));
        if Method::is_never_sent(&target.method) {
            return Err(never("CONNECT and TRACE are not sent"));
        }
        if !self.requests.http.iter().any(|pattern| pattern.matches(target)) {
            return Err(match target.as_grant() {
                Some(line) => denied(Remedy::Request(format!("http = [{line}]"))),
                None => never(&target.ungrantable()),
            });
        }
        if let Some(grant) = self.grants.http_for(target) {
            return self.as_pinned(grant, target).ok_or_else(|| denied(Remedy::Regrant));
        }
        match self.grants.http_line_for(target) {
            Some(line) => Err(denied(Remedy::Grant(line))),
            None => Err(never(&target.ungrantable())),
        }
    }
}

impl Effective {
    /// Where a named endpoint leads, and at which port.
    pub(crate) fn endpoint(&self, name: &str, port: Option<u16>) -> Result<(Endpoint, Option<u16>), Denial> {
        let what = format!("the endpoint `{name}`");
        if !self.requests.transport.matches(name) {
            return Err(Denial {
                what,
                remedy: Remedy::Request(format!("transport = [{name:?}]")),
            });
        }
        let Some(endpoint) = self.grants.transport.get(name) else {
            let line = self.grants.transport_line_with(name, r#"{ tcp = "HOST:PORT" }"#);
            return Err(Denial {
                what,
                remedy: Remedy::Grant(line),
            });
        };
        if !self.was_granted(|then| then.transport.contains_key(name)) {
            return Err(Denial {
                what,
                remedy: Remedy::Regrant,
            });
        }
        match (endpoint.ports(), port) {
            (Some((first, last)), None) if first == last => Ok((endpoint.clone(), Some(first))),
            (Some((first, last)), Some(port)) if (first..=last).contains(&port) => Ok((endpoint.clone(), Some(port))),
            (None, None) => Ok((endpoint.clone(), None)),
            (Some(_), None) => Err(Denial {
                what,
                remedy: Remedy::Never("it has a range of ports, and the plugin names none of them".to_owned()),
            }),
            (Some(_), Some(port)) => {
                let wider = endpoint.with_port(port).to_string();
                Err(Denial {
                    what: format!("port {port} of {what}"),
                    remedy: Remedy::Grant(self.grants.transport_line_with(name, &wider)),
                })
            }
            (None, Some(port)) => Err(Denial {
                what: format!("port {port} of {what}"),
                remedy: Remedy::Never("a Unix socket has no ports".to_owned()),
            }),
        }
    }

    /// A present grant without what it did not give when the job began. None if it gave nothing then, or something else:
    /// a request that would be sent with other credentials is another request.
    fn as_pinned(&self, grant: &HttpGrant, target: &Target) -> Option<HttpGrant> {
        let mut both = grant.clone();
        if let Some(pinned) = &self.pinned {
            let then = pinned.http_for(target).filter(|then| then.auth == grant.auth)?;
            both.private &= then.private;
            both.secrets.retain(|name| then.secrets.contains(name));
        }
        Some(both)
    }

    /// What would let this request's name lead to a private address.
    pub(crate) fn private_remedy(&self, target: &Target) -> Remedy {
        match self.grants.http_for(target) {
            Some(grant) if !grant.private => {
                let wider = HttpGrant {
                    private: true,
                    ..grant.clone()
                };
                Remedy::Grant(self.grants.http_line_instead(grant, wider))
            }
            Some(_) | None => Remedy::Regrant,
        }
    }

    /// Whether the plugin may sign with this secret.
    pub(crate) fn check_key(&self, name: &str) -> Result<(), Denial> {
        let denied = |remedy| Denial {
            what: format!("signing with the secret `{name}`"),
            remedy,
        };
        if !self.requests.hmac.contain(name) {
            return Err(denied(Remedy::Request(hmac_line(std::iter::once(name)))));
        }
        if !self.grants.hmac.contains(name) {
            let names = self.grants.hmac.iter().map(String::as_str);
            return Err(denied(Remedy::Grant(hmac_line(names.chain([name])))));
        }
        if !self.was_granted(|then| then.hmac.contains(name)) {
            return Err(denied(Remedy::Regrant));
        }
        Ok(())
    }

    /// Whether the plugin may place this secret into the request that this grant allows.
    pub(crate) fn check_secret(&self, name: &str, grant: &HttpGrant, target: &Target) -> Result<(), Denial> {
        let denied = |remedy| Denial {
            what: format!("the secret `{name}` for {}", target.what()),
            remedy,
        };
        let asks = |pattern: &HttpPattern| pattern.matches(target) && pattern.secrets.contain(name);
        if !self.requests.http.iter().any(asks) {
            let narrow = target
                .as_grant()
                .unwrap_or_else(|| HttpGrant::at(target.scheme, target.host.clone(), target.port));
            let line = format!("http = [{}]", narrow.with_secret(name));
            return Err(denied(Remedy::Request(line)));
        }
        if !grant.secrets.contains(name) {
            return Err(denied(match self.grants.http_for(target) {
                Some(now) if !now.secrets.contains(name) => {
                    Remedy::Grant(self.grants.http_line_instead(now, now.with_secret(name)))
                }
                Some(_) | None => Remedy::Regrant,
            }));
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
            pinned: None,
        }
    }

    fn target(url: &str) -> Target {
        asking("GET", url)
    }

    fn asking(method: &str, url: &str) -> Target {
        Target::of(method, &url::Url::parse(url).unwrap()).unwrap()
    }

    const ANY: &str = r#"interfaces = ["clock"]
        http = [{ scheme = "http", host = "*", port = "*" }]"#;

    #[test]
    fn both_sides_must_allow() {
        let allowed = effective(ANY, r#"http = [{ scheme = "http", host = "LAB.example", port = 80 }]"#);
        assert_eq!(allowed.interfaces(), BTreeSet::from([Interface::Http]));
        allowed.check_target(&target("http://lab.example/x")).unwrap();
        let denial = allowed.check_target(&target("https://lab.example/")).unwrap_err();
        assert!(matches!(denial.remedy, Remedy::Request(_)), "{denial}");
    }

    #[test]
    fn the_line_that_is_printed_grants_it() {
        let refused = effective(ANY, r#"http = [{ scheme = "http", host = "127.0.0.1", port = 9000 }]"#);
        let other = target("http://127.1:9001/");
        let denial = refused.check_target(&other).unwrap_err();
        let line = denial.grant_line().unwrap();
        effective(ANY, line).check_target(&other).unwrap();
        effective(ANY, line)
            .check_target(&target("http://127.0.0.1:9000/"))
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
    fn the_line_names_method_and_path_and_keeps_what_was_granted() {
        let api = r#"http = [{ scheme = "https", host = "vc.example", port = 443, methods = ["GET"], path = "/api", private = true }]"#;
        let any = r#"http = [{ scheme = "*", host = "*", port = "*" }]"#;
        let refused = effective(any, api);
        let post = asking("POST", "https://vc.example/api/session");
        let denial = refused.check_target(&post).unwrap_err();
        let line = denial.grant_line().unwrap();
        assert_eq!(
            line,
            api.replace(r#"["GET"]"#, r#"["GET", "POST"]"#),
            "only the method was missing"
        );
        effective(any, line).check_target(&post).unwrap();

        let rest = asking("POST", "https://vc.example/rest/x%22%0Ay?z=1");
        assert!(
            refused.check_target(&rest).unwrap_err().grant_line().is_none(),
            "a line break in the path"
        );
        let rest = asking("POST", "https://vc.example/rest/%22x%22/?z=1");
        let denial = refused.check_target(&rest).unwrap_err();
        let wider = effective(any, denial.grant_line().unwrap());
        wider.check_target(&rest).unwrap();
        wider.check_target(&asking("GET", "https://vc.example/api/")).unwrap();
        for other in [
            asking("GET", "https://vc.example/rest/"),
            asking("POST", "https://vc.example/rest/"),
        ] {
            assert!(wider.check_target(&other).is_err(), "no more than that was granted");
        }
    }

    #[test]
    fn a_manifest_bounds_methods_and_paths() {
        let requests = r#"http = [{ scheme = "*", host = "*", port = "*", methods = ["GET"], path = "/api" }]"#;
        let grants = r#"http = [{ scheme = "http", host = "a", port = 80 }]"#;
        let bounded = effective(requests, grants);
        bounded.check_target(&asking("GET", "http://a/api/x")).unwrap();
        for over in [asking("POST", "http://a/api/x"), asking("GET", "http://a/x")] {
            let denial = bounded.check_target(&over).unwrap_err();
            let Remedy::Request(line) = &denial.remedy else {
                panic!("{denial}")
            };
            effective(line, grants).check_target(&over).unwrap();
        }
    }

    #[test]
    fn the_narrowest_grant_is_the_one_that_is_used() {
        let grants = r#"http = [{ scheme = "http", host = "a", port = 80 },
            { scheme = "http", host = "a", port = 80, path = "/api/v1" }, { scheme = "http", host = "a", port = 80, path = "/api" }]"#;
        let both = effective(ANY, grants);
        for (url, path) in [
            ("http://a/api/v1/x", "/api/v1"),
            ("http://a/api/x", "/api"),
            ("http://a/x", "/"),
        ] {
            assert_eq!(both.check_target(&target(url)).unwrap().path.to_string(), path);
        }
    }

    fn pinned(then: &str, now: &str) -> Effective {
        Effective {
            pinned: Some(toml::from_str(then).unwrap()),
            ..effective(
                r#"interfaces = ["clock", "random"]
                http = [{ scheme = "*", host = "*", port = "*", secrets = ["*"] }]
                hmac = ["*"]"#,
                now,
            )
        }
    }

    #[test]
    fn a_job_has_what_it_was_started_with_and_what_is_granted_now() {
        let then = r#"interfaces = ["clock"]
            hmac = ["a"]
            http = [{ scheme = "http", host = "a", port = 80, methods = ["GET"], secrets = ["s", "t"] },
                    { scheme = "http", host = "a", port = 80, path = "/login", auth = "basic:s" },
                    { scheme = "http", host = "b", port = 80 }]"#;
        let now = r#"interfaces = ["clock", "random"]
            hmac = ["a", "b"]
            http = [{ scheme = "http", host = "a", port = 80, secrets = ["t", "u"], private = true },
                    { scheme = "http", host = "a", port = 80, path = "/login", auth = "basic:t" },
                    { scheme = "http", host = "c", port = 80 }]"#;
        let job = pinned(then, now);
        assert!(job.interfaces().contains(&Interface::Clock) && !job.interfaces().contains(&Interface::Random));
        let later = |denial: Denial| assert_eq!(denial.code(), "LF0424", "{denial}");
        later(job.check_interface(Interface::Random).unwrap_err());
        job.check_key("a").unwrap();
        later(job.check_key("b").unwrap_err());
        let asked = asking("GET", "http://a/x");
        let grant = job.check_target(&asked).unwrap();
        assert!(!grant.private, "that names may lead inside came later");
        job.check_secret("t", &grant, &asked).unwrap();
        later(job.check_secret("u", &grant, &asked).unwrap_err());
        assert!(
            job.check_secret("s", &grant, &asked)
                .unwrap_err()
                .grant_line()
                .is_some(),
            "taken away"
        );
        later(job.check_target(&asking("POST", "http://a/x")).unwrap_err());
        later(job.check_target(&asking("GET", "http://c/")).unwrap_err());
        later(job.check_target(&asking("GET", "http://a/login")).unwrap_err());
        let gone = job.check_target(&asking("GET", "http://b/")).unwrap_err();
        assert!(
            gone.grant_line().is_some(),
            "what was taken away needs the operator, not the job: {gone}"
        );

        let same = pinned(now, now);
        let grant = same.check_target(&asking("GET", "http://a/login")).unwrap();
        assert_eq!(grant, same.grants.http[1]);
    }

    #[test]
    fn a_grant_that_makes_no_sense_is_refused() {
        for bad in [
            r#"methods = ["get"]"#,
            r#"methods = ["CONNECT"]"#,
            r#"methods = ["*"]"#,
            r#"path = "api""#,
            r#"path = "/api/*""#,
            r#"paths = "/api""#,
        ] {
            let grant = format!(r#"http = [{{ scheme = "http", host = "a", port = 80, {bad} }}]"#);
            assert!(toml::from_str::<Grants>(&grant).is_err(), "{bad}");
        }
        let zero: Grants = toml::from_str(r#"http = [{ scheme = "http", host = "a", port = 0 }]"#).unwrap();
        assert!(zero.check(&Secrets::default()).is_err());
    }

    #[test]
    fn a_grant_with_a_wildcard_is_no_grant() {
        let error = toml::from_str::<Grants>(r#"http = [{ scheme = "http", host = "*", port = 80 }]"#).unwrap_err();
        assert!(error.to_string().contains("exactly"), "{error}");
        assert!(toml::from_str::<Grants>(r#"http = [{ scheme = "http", host = "a", port = "*" }]"#).is_err());
    }

    #[test]
    fn an_endpoint_is_had_by_name_and_the_line_that_is_printed_grants_it() {
        let asks = r#"transport = ["manager", "nbd", "agent"]"#;
        let granted = |line: &str| effective(asks, line);
        let first = granted("").endpoint("manager", None).unwrap_err();
        let line = first.grant_line().unwrap().replace("HOST:PORT", "far1:16509");
        let (_, port) = granted(&line).endpoint("manager", None).unwrap();
        assert_eq!(port, Some(16_509));

        let grants = granted(r#"transport = { nbd = { tcp = "far1", ports = "5-6" }, agent = { unix = "/run/a" } }"#);
        assert_eq!(grants.endpoint("nbd", Some(6)).unwrap().1, Some(6));
        assert_eq!(grants.endpoint("agent", None).unwrap().1, None);
        let line = grants
            .endpoint("nbd", Some(9))
            .unwrap_err()
            .grant_line()
            .unwrap()
            .to_owned();
        assert_eq!(
            line,
            r#"transport = { agent = { unix = "/run/a" }, nbd = { tcp = "far1", ports = "5-9" } }"#
        );
        granted(&line).endpoint("nbd", Some(9)).unwrap();
        for (name, port) in [("nbd", None), ("agent", Some(1))] {
            let denial = grants.endpoint(name, port).unwrap_err();
            assert!(matches!(denial.remedy, Remedy::Never(_)), "{denial}");
        }
        let denial = grants.endpoint("other", None).unwrap_err();
        assert!(matches!(&denial.remedy, Remedy::Request(line) if line == r#"transport = ["other"]"#));
    }

    #[test]
    fn naming_a_value_grants_its_interface() {
        let asks = r#"interfaces = ["state"]
            transport = "*""#;
        let grants = r#"state = { max-bytes = 10 }
            transport = { a = { unix = "/a" } }"#;
        let both = [Interface::State, Interface::Transport];
        assert_eq!(effective(asks, grants).interfaces(), both.into());
        assert!(effective("", grants).interfaces().is_empty());
        effective(asks, grants).endpoint("a", None).unwrap();
    }
}
