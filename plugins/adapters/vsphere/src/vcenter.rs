//! The connection to a vCenter: SOAP requests over the granted HTTP, and a session that is had again when it is gone.
//!
//! The password never comes here: the login's body holds the host's placeholder for it. The session's cookie stays in
//! the host too, which captures it from the login's answer; what is sent is its placeholder. Without one, or with one
//! that vCenter no longer knows, the call logs in once and is sent again: vCenter refused it, so nothing had happened.

use landfall_sdk::http::{Error, Request, Response};
use landfall_sdk::{Failure, config, session};
use roxmltree::{Document, Node};
use std::time::Duration;

use crate::fault::{Fault, Trouble};
use crate::xml::{self, element, escape, reference};

/// One request: vCenter answers reads at once and starts tasks within seconds; one that takes longer is as good as gone.
const PATIENCE_MS: u64 = 10_000;
/// Left of a call when vCenter has not answered: time to say so, rather than be cut off.
const MARGIN_MS: u64 = 500;
/// What a vCenter says of itself changes with its upgrades.
const CONTENT_KEPT: Duration = Duration::from_hours(1);
/// The session's cookie, and the name under which the grant must capture it.
const COOKIE: &str = "vmware_soap_session={{captured:session}}";

/// The site that the operator configured.
pub(crate) struct Vcenter {
    sdk: String,
    user: String,
    secret: String,
    patience_ms: u64,
}

/// Where things are at this vCenter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) root_folder: String,
    pub(crate) property_collector: String,
    pub(crate) session_manager: String,
    pub(crate) search_index: String,
    /// Of the vCenter itself.
    pub(crate) instance: String,
    pub(crate) full_name: String,
}

/// What came back, before anybody read it.
enum Answer {
    Text(String),
    /// The host holds no cookie.
    SessionLost,
}

impl Vcenter {
    /// Reads `url`, `user` and `secret`.
    pub(crate) fn configured() -> Result<Self, Failure> {
        let needed = |name: &str| {
            config::get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
                Failure::definite(
                    "not-configured",
                    format!("the site's configuration has no `{name}`; see the adapter's schema"),
                )
            })
        };
        let secret = config::get("secret").unwrap_or_else(|| "vcenter".to_owned());
        // It becomes part of a placeholder, where nothing else may begin.
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if secret.is_empty() || !secret.chars().all(is_name) {
            return Err(Failure::definite(
                "not-configured",
                "`secret` is not the name of a secret",
            ));
        }
        Ok(Self {
            sdk: format!("{}/sdk", needed("url")?.trim_end_matches('/')),
            user: needed("user")?,
            secret,
            patience_ms: PATIENCE_MS,
        })
    }

    /// With no more patience than the call has time left.
    pub(crate) fn within(self, remaining_ms: u64) -> Self {
        Self {
            patience_ms: remaining_ms.saturating_sub(MARGIN_MS).clamp(1, PATIENCE_MS),
            ..self
        }
    }

    /// What vCenter says of itself, asked once an hour.
    pub(crate) fn content(&self) -> Result<Content, Trouble> {
        if let Some(known) = session::get_text("content").and_then(|lines| Content::from_lines(&lines)) {
            return Ok(known);
        }
        let this = reference("_this", "ServiceInstance", "ServiceInstance");
        let content = self.call("RetrieveServiceContent", &this, |node| {
            Content::read(node).ok_or_else(|| {
                Failure::definite(
                    "not-a-vcenter",
                    "the server at `url` speaks vim25 and names no folders; is it a vCenter?",
                )
                .into()
            })
        })?;
        session::set("content", content.lines(), Some(CONTENT_KEPT))?;
        Ok(content)
    }

    /// Calls a method and reads its answer. `read` is given the `...Response` element; it may be called twice.
    pub(crate) fn call<T>(
        &self,
        method: &str,
        arguments: &str,
        mut read: impl FnMut(Node<'_, '_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut has_logged_in = false;
        loop {
            let trouble = match self.post(method, arguments, true)? {
                Answer::Text(text) => match answered(&text, &mut read) {
                    Err(trouble) if trouble.is("NotAuthenticated") => trouble,
                    result => return result,
                },
                Answer::SessionLost => Failure::definite(
                    "no-session",
                    "the host keeps no session; the grant needs `capture = [{ cookie = \"vmware_soap_session\", as = \"session\" }]`",
                )
                .into(),
            };
            if has_logged_in {
                return Err(trouble);
            }
            self.log_in()?;
            has_logged_in = true;
        }
    }

    /// As [`Self::call`], for methods that start a task: gives its id.
    pub(crate) fn start(&self, method: &str, arguments: &str) -> Result<String, Trouble> {
        self.call(method, arguments, |node| {
            let task = xml::text(node, &["returnval"]).map(str::to_owned);
            task.ok_or_else(|| half("it names no task").into())
        })
    }

    fn log_in(&self) -> Result<(), Trouble> {
        let content = self.content()?;
        let arguments = [
            reference("_this", "SessionManager", &content.session_manager),
            element("userName", &self.user),
            // Filled in by the host, on its way out.
            format!("<password>{{{{secret:{}|xml}}}}</password>", self.secret),
        ];
        match self.post("Login", &arguments.concat(), false)? {
            Answer::Text(text) => answered(&text, &mut |_| Ok(())),
            Answer::SessionLost => Err(half("a login needs no session").into()),
        }
    }

    fn post(&self, method: &str, arguments: &str, with_session: bool) -> Result<Answer, Failure> {
        // What needs no session must not fail for want of one.
        let with_session = with_session && method != "RetrieveServiceContent";
        let request = Request::post(&self.sdk)?
            .header("content-type", "text/xml; charset=utf-8")
            .header("soapaction", "urn:vim25/6.5")
            .timeout_ms(self.patience_ms)
            .body(envelope(method, arguments));
        let request = if with_session {
            request.header("cookie", COOKIE)
        } else {
            request
        };
        let response = request.send().map_err(unreachable)?;
        match response.status() {
            200 | 500 => Ok(Answer::Text(text_of(response)?)),
            401 if response.header("landfall-session-lost").is_some() => Ok(Answer::SessionLost),
            status @ (502..=504) => Err(Failure::in_doubt(
                "unavailable",
                format!("vCenter's services do not answer (HTTP {status}); it may be starting, and is asked again"),
            )
            .retryable()),
            status => Err(Failure::definite(
                "not-a-vcenter",
                format!("the server answers {status} at {}; check `url`", self.sdk),
            )),
        }
    }
}

impl Content {
    fn read(response: Node<'_, '_>) -> Option<Self> {
        let text = |path: &[&str]| xml::text(xml::child(response, "returnval")?, path).map(str::to_owned);
        Some(Self {
            root_folder: text(&["rootFolder"])?,
            property_collector: text(&["propertyCollector"])?,
            session_manager: text(&["sessionManager"])?,
            search_index: text(&["searchIndex"])?,
            instance: text(&["about", "instanceUuid"])?,
            full_name: text(&["about", "fullName"])?,
        })
    }

    fn lines(&self) -> String {
        [
            &*self.root_folder,
            &*self.property_collector,
            &*self.session_manager,
            &*self.search_index,
            &*self.instance,
            &*self.full_name,
        ]
        .join("\n")
    }

    fn from_lines(lines: &str) -> Option<Self> {
        let mut lines = lines.lines().map(str::to_owned);
        Some(Self {
            root_folder: lines.next()?,
            property_collector: lines.next()?,
            session_manager: lines.next()?,
            search_index: lines.next()?,
            instance: lines.next()?,
            full_name: lines.next()?,
        })
    }
}

fn envelope(method: &str, arguments: &str) -> String {
    let method = escape(method);
    [
        r#"<?xml version="1.0" encoding="UTF-8"?>"#,
        r#"<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" "#,
        r#"xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">"#,
        &format!(r#"<soapenv:Body><{method} xmlns="urn:vim25">{arguments}</{method}></soapenv:Body>"#),
        "</soapenv:Envelope>",
    ]
    .concat()
}

fn answered<T>(text: &str, read: &mut impl FnMut(Node<'_, '_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
    let document = Document::parse(text).map_err(|error| half(&error.to_string()))?;
    let body = xml::child(document.root_element(), "Body").ok_or_else(|| half("it is no SOAP"))?;
    let content = body
        .children()
        .find(Node::is_element)
        .ok_or_else(|| half("its body is empty"))?;
    if content.tag_name().name() == "Fault" {
        return Err(Trouble::Fault(Fault::of_answer(content)));
    }
    read(content)
}

/// An answer that breaks off, or that is something else than was asked for.
pub(crate) fn half(why: &str) -> Failure {
    let message = format!("vCenter's answer cannot be read: {why}; it is asked again");
    Failure::in_doubt("half-an-answer", message).retryable()
}

fn text_of(response: Response) -> Result<String, Failure> {
    response.text().map_err(|error| half(&error.to_string()))
}

/// One code for a vCenter that does not answer, however it does not; whether the request was sent is in `definite`.
fn unreachable(error: Error) -> Failure {
    match error {
        Error::NotSent(_) | Error::InDoubt(_) | Error::Unreadable(_) => {
            let failure = Failure::from(error);
            Failure {
                message: format!(
                    "vCenter does not answer: {}; check its address, and that it runs",
                    failure.message
                ),
                code: "unreachable".to_owned(),
                ..failure
            }
        }
        Error::Invalid(_) | Error::Denied => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: &str = "<e:Envelope xmlns:e='urn:e'><e:Body><e:Fault><detail><NotAuthenticatedFault/></detail></e:Fault></e:Body></e:Envelope>";

    #[test]
    fn an_answer_is_read_or_is_a_fault() {
        let text = envelope("LoginResponse", &element("returnval", "x"));
        let read = answered(&text, &mut |node| {
            Ok(xml::text(node, &["returnval"]).unwrap().to_owned())
        });
        assert_eq!(read.unwrap(), "x");
        assert!(answered(FAULT, &mut |_| Ok(())).unwrap_err().is("NotAuthenticated"));
    }

    #[test]
    fn half_an_answer_is_in_doubt_and_tried_again() {
        for text in ["", "<a", &FAULT[..60], "<html/>", "<a><Body/></a>"] {
            let failure = Failure::from(answered(text, &mut |_| Ok(())).unwrap_err());
            assert_eq!(
                (&*failure.code, failure.retryable, failure.definite),
                ("half-an-answer", true, false)
            );
        }
    }

    #[test]
    fn entities_are_not_expanded() {
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a><Body><c>&b;</c></Body></a>";
        assert_eq!(
            Failure::from(answered(bomb, &mut |_| Ok(())).unwrap_err()).code,
            "half-an-answer"
        );
    }

    #[test]
    fn content_survives_the_session_memory() {
        let content = Content {
            root_folder: "group-d1".into(),
            property_collector: "propertyCollector".into(),
            session_manager: "SessionManager".into(),
            search_index: "SearchIndex".into(),
            instance: "uuid".into(),
            full_name: "VMware vCenter Server 8".into(),
        };
        assert_eq!(Content::from_lines(&content.lines()), Some(content));
        assert_eq!(Content::from_lines("one\ntwo"), None);
    }
}
