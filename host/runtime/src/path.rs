//! Path prefixes of grants, compared by whole segments of the path that is really sent.
//!
//! Servers read paths differently: some decode `%2f` before they split, some drop what stands behind a semicolon, some
//! join double slashes. Where two readings of a path could differ, no prefix covers it, so that a plugin cannot leave
//! its prefix by a spelling that only the far side resolves.

use std::fmt;

use percent_encoding::percent_decode;
use serde::{Deserialize, Serialize};

/// How often a segment is decoded in search of another reading; two broken servers in a row decode twice.
const READINGS: usize = 3;

/// Segments of a path, decoded.
type Segments = Vec<String>;

/// What a URL's path must begin with, in whole segments: `/api` and `/api/` cover `/api`, `/api/` and `/api/v1`, and
/// not `/apis`. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix {
    text: String,
    segments: Segments,
}

impl PathPrefix {
    /// Covers every path, even one that cannot be read for certain.
    pub fn is_all(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn covers(&self, path: &RequestPath) -> bool {
        let inside = |segments: &Segments| segments.starts_with(&self.segments);
        self.is_all() || path.segments.as_ref().is_ok_and(inside)
    }

    /// How narrow it is.
    pub(crate) fn depth(&self) -> usize {
        self.segments.len()
    }
}

impl Default for PathPrefix {
    fn default() -> Self {
        Self {
            text: "/".to_owned(),
            segments: Segments::new(),
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.starts_with('/') || text.contains(['?', '#', '*']) {
            return Err(format!(
                "{text:?}: a path begins with `/` and has no query and no wildcard"
            ));
        }
        match segments(&text) {
            Ok(segments) => Ok(Self { text, segments }),
            Err(why) => Err(format!("{text:?}: a path of a grant {why}")),
        }
    }
}

impl From<PathPrefix> for String {
    fn from(prefix: PathPrefix) -> Self {
        prefix.text
    }
}

/// The path of one request, as `url` normalised it.
#[derive(Debug, Clone)]
pub(crate) struct RequestPath {
    text: String,
    segments: Result<Segments, &'static str>,
}

impl RequestPath {
    pub(crate) fn of(path: &str) -> Self {
        Self {
            segments: segments(path),
            text: path.to_owned(),
        }
    }

    /// Why no prefix covers it, if none does.
    pub(crate) fn ambiguous(&self) -> Option<&'static str> {
        self.segments.as_ref().err().copied()
    }

    /// The prefix that covers exactly this path and what is below it.
    pub(crate) fn prefix(&self) -> Option<PathPrefix> {
        PathPrefix::try_from(self.text.clone()).ok()
    }
}

/// Decoded segments, or why the path can be read in more than one way. A slash at the end says nothing.
fn segments(path: &str) -> Result<Segments, &'static str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() && path.len() <= 1 {
        return Ok(Segments::new());
    }
    inner.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, &'static str> {
    if raw.is_empty() {
        return Err("holds no empty segment");
    }
    let first = decode(raw)?;
    let mut reading = first.clone();
    for _ in 0..READINGS {
        let name = reading.split(';').next().unwrap_or_default();
        if matches!(name, "" | "." | "..") {
            return Err("holds no segment that some servers take for `.` or `..`");
        }
        if reading.contains(['/', '\\']) || reading.chars().any(char::is_control) {
            return Err("holds no encoded slash, backslash or control character");
        }
        let next = decode(&reading)?;
        if next == reading {
            return Ok(first);
        }
        reading = next;
    }
    Err("is not encoded several times over")
}

/// What is no UTF-8 may be an overlong dot or slash to somebody.
fn decode(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode(text.as_bytes()).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "holds nothing that is no UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(prefix: &str, url: &str) -> bool {
        let url = url::Url::parse(&format!("http://x{url}")).unwrap();
        PathPrefix::try_from(prefix.to_owned())
            .unwrap()
            .covers(&RequestPath::of(url.path()))
    }

    #[test]
    fn prefixes_end_at_segments() {
        for prefix in ["/api", "/api/"] {
            for inside in [
                "/api",
                "/api/",
                "/api/v1",
                "/%61pi/v1",
                "/x/../api/y",
                "/api/a%20b?q=//",
                "/api/v1/",
            ] {
                assert!(covers(prefix, inside), "{prefix} {inside}");
            }
            for outside in [
                "/",
                "/apis",
                "/api.",
                "/API/",
                "/x/api/",
                "/api/../admin",
                "/api/%2e%2E/admin",
            ] {
                assert!(!covers(prefix, outside), "{prefix} {outside}");
            }
        }
        assert!(covers("/", "/") && covers("/", "/anything"));
    }

    #[test]
    fn what_servers_read_differently_is_under_no_prefix() {
        for path in [
            "/api/x%2f..%2f..%2fadmin",
            "/api/..%2fadmin",
            "/api/..;/admin",
            "/api/..%3b/admin",
            "/api/.;x/admin",
            "/api/%252e%252e/admin",
            "/api/%25252e%25252e%25252f/admin",
            "/api//admin",
            "//api/admin",
            "/api/x%5cadmin",
            "/api/%00",
            "/api/%0d%0ax",
            "/api/%c0%ae%c0%ae/admin",
            "/api/;/admin",
        ] {
            assert!(!covers("/api", path), "{path}");
            assert!(covers("/", path), "a grant without a path covers all: {path}");
        }
    }

    #[test]
    fn a_grant_names_a_plain_path() {
        for bad in ["api", "", "/api/*", "/a?b", "/a//b", "/a/../b", "/a/%2e%2e", "/a%2fb"] {
            assert!(PathPrefix::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
