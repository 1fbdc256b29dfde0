//! A tag on every machine that is made, so that people and their tools find them in vCenter: over its REST interface,
//! with a session of its own. A convenience: what goes wrong here is logged, and never stops a recovery.
//!
//! The host adds user and password to the login and captures the token, as the grants say (docs/vsphere.md).

use std::time::Duration;

use landfall_sdk::http::{Method, Request, Response, encode_component};
use landfall_sdk::{Failure, config, log, session};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// One request: the tagging service answers at once.
const PATIENCE_MS: u64 = 5_000;
/// Tags that are looked through for a name; the service has no search.
const MOST_TAGS: usize = 500;
/// A tag that was deleted and made anew is found again after this.
const KEPT: Duration = Duration::from_hours(1);

/// Every answer has this around it.
#[derive(Deserialize)]
struct Answer<T> {
    value: T,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

/// The name in the site's configuration; none: nothing is tagged.
pub(crate) fn configured() -> Option<String> {
    config::get("tag").filter(|name| !name.is_empty())
}

/// Tags a machine, if the configuration wants it.
pub(crate) fn attach(machine: &str) {
    let Some(name) = configured() else { return };
    let attached = match id_of(&name) {
        Ok(Some(id)) => attach_to(&id, machine),
        Ok(None) => Err(Failure::definite("tag-missing", format!("vCenter has no tag `{name}`"))),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = attached {
        log::warn!(
            "{machine} is not tagged `{name}`: {}: {}",
            failure.code,
            failure.message
        );
    }
}

/// The id of the tag of this name.
pub(crate) fn id_of(name: &str) -> Result<Option<String>, Failure> {
    let known = format!("tag/{name}");
    if let Some(id) = session::get_text(&known) {
        return Ok(Some(id));
    }
    let ids: Answer<Vec<String>> = parsed(ask(Method::Get, "tagging/tag", "")?)?;
    for id in ids.value.into_iter().take(MOST_TAGS) {
        let path = format!("tagging/tag/id:{}", encode_component(&id));
        let tag: Answer<Tag> = parsed(ask(Method::Get, &path, "")?)?;
        if tag.value.name == name {
            session::set(&known, &id, Some(KEPT))?;
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn attach_to(tag: &str, machine: &str) -> Result<(), Failure> {
    let path = format!("tagging/tag-association/id:{}?~action=attach", encode_component(tag));
    let object = json!({ "object_id": { "id": machine, "type": "VirtualMachine" } });
    ask(Method::Post, &path, &object.to_string()).map(drop)
}

/// Asks, with a session, which is had if there is none.
fn ask(method: Method, path: &str, body: &str) -> Result<Response, Failure> {
    let first = send(method.clone(), path, body, true)?;
    if first.status() != 401 {
        return succeeded(first);
    }
    succeeded(send(Method::Post, "session", "", false)?)?;
    succeeded(send(method, path, body, true)?)
}

fn send(method: Method, path: &str, body: &str, with_session: bool) -> Result<Response, Failure> {
    let url = config::get("url").unwrap_or_default();
    let address = format!("{}/rest/com/vmware/cis/{path}", url.trim_end_matches('/'));
    let request = Request::new(method, &address)?.timeout_ms(PATIENCE_MS);
    let request = if with_session {
        request.header("vmware-api-session-id", "{{captured:rest}}")
    } else {
        request
    };
    let request = if body.is_empty() {
        request
    } else {
        request.header("content-type", "application/json").body(body)
    };
    Ok(request.send()?)
}

fn succeeded(response: Response) -> Result<Response, Failure> {
    match response.status() {
        200..=299 => Ok(response),
        status => Err(Failure::definite(
            "tagging",
            format!("vCenter's tagging service answers {status}; look at the grants and the account's rights"),
        )),
    }
}

fn parsed<T: DeserializeOwned>(response: Response) -> Result<T, Failure> {
    serde_json::from_slice(&response.bytes()?).map_err(|error| {
        Failure::in_doubt(
            "half-an-answer",
            format!("the tagging service's answer cannot be read: {error}"),
        )
    })
}
