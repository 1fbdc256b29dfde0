//! What a grant says about credentials: which the host adds by itself, and which it takes out of answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::is_name;

/// `basic:NAME` or `bearer:NAME`: what the host puts into `authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Auth {
    /// User and value of this secret.
    Basic(String),
    /// The value of this secret.
    Bearer(String),
}

impl Auth {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Basic(name) | Self::Bearer(name) => name,
        }
    }

    pub(crate) fn needs_user(&self) -> bool {
        matches!(self, Self::Basic(_))
    }
}

impl TryFrom<String> for Auth {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let auth = match text.split_once(':') {
            Some(("basic", name)) => Self::Basic(name.to_owned()),
            Some(("bearer", name)) => Self::Bearer(name.to_owned()),
            _ => return Err(format!("{text:?}: write basic:NAME or bearer:NAME")),
        };
        if is_name(auth.name()) {
            Ok(auth)
        } else {
            Err(format!("{text:?} names no secret"))
        }
    }
}

impl From<Auth> for String {
    fn from(auth: Auth) -> Self {
        auth.to_string()
    }
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic(name) => write!(f, "basic:{name}"),
            Self::Bearer(name) => write!(f, "bearer:{name}"),
        }
    }
}

/// A session token of an answer that stays with the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Capture {
    pub(crate) place: TokenPlace,
    pub(crate) name: String,
}

impl Capture {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Where a token stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TokenPlace {
    /// The value of this header, in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The string at this JSON pointer; the empty one is the whole document.
    Json(String),
}

/// A [`Capture`] as it stands in the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<String>,
    #[serde(rename = "as")]
    name: String,
}

impl TryFrom<Written> for Capture {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let name = written.name;
        if !is_name(&name) {
            return Err(format!(
                "`as = {name:?}`: use letters, digits, dots, dashes and underscores"
            ));
        }
        let place = match (written.header, written.cookie, written.json) {
            (Some(header), None, None) => match http::HeaderName::try_from(&header) {
                Ok(header) => TokenPlace::Header(header.as_str().to_owned()),
                Err(_) => return Err(format!("{header:?} is no header")),
            },
            (None, Some(cookie), None) if !cookie.is_empty() => TokenPlace::Cookie(cookie),
            (None, None, Some(pointer)) if pointer.is_empty() || pointer.starts_with('/') => TokenPlace::Json(pointer),
            (None, None, Some(pointer)) => {
                return Err(format!(
                    "{pointer:?} is no JSON pointer: it is empty or begins with `/`"
                ));
            }
            _ => {
                return Err(format!(
                    "the capture `{name}` needs one of `header`, `cookie` and `json`"
                ));
            }
        };
        Ok(Self { place, name })
    }
}

impl From<Capture> for Written {
    fn from(capture: Capture) -> Self {
        let mut written = Self {
            header: None,
            cookie: None,
            json: None,
            name: capture.name,
        };
        match capture.place {
            TokenPlace::Header(name) => written.header = Some(name),
            TokenPlace::Cookie(name) => written.cookie = Some(name),
            TokenPlace::Json(pointer) => written.json = Some(pointer),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_grant_says_is_read_and_written() {
        for good in [
            r#"{ header = "x-token", as = "t" }"#,
            r#"{ cookie = "SID", as = "t" }"#,
            r#"{ json = "", as = "t" }"#,
            r#"{ json = "/a/0", as = "t" }"#,
        ] {
            let capture = |text: &str| toml::from_str::<toml::Table>(&format!("c = {text}")).unwrap()["c"].clone();
            let read: Capture = capture(good).try_into().unwrap();
            assert_eq!(crate::destination::inline(&read).unwrap(), good);
        }
        for bad in [
            r#"as = "t""#,
            r#"header = "a", cookie = "b", as = "t""#,
            r#"header = "a b", as = "t""#,
            r#"json = "a", as = "t""#,
            r#"header = "a", as = "}}""#,
            r#"header = "a""#,
        ] {
            assert!(toml::from_str::<Capture>(bad).is_err(), "{bad}");
        }
        for bad in ["vc01", "digest:vc01", "basic:", "basic:a b"] {
            assert!(Auth::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
