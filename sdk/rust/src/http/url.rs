//! Just enough of a URL to hand its parts to the host, which parses what is really sent and compares it with the
//! grants. A full parser would triple the size of a small plugin.

use super::Error;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) https: bool,
    pub(super) authority: String,
    pub(super) path_with_query: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        // The text itself stays out of the error: it may hold a token, and errors are shown and stored.
        let invalid = |why: &str| Err(Error::Invalid(why.to_owned()));
        if text.chars().any(|c| c.is_ascii_control() || c == ' ') {
            return invalid("a URL holds no spaces or control characters; encode them");
        }
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return invalid("a URL begins with http:// or https://"),
        };
        // What follows `#` is for the reader of the answer and is never sent.
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return invalid("the URL names no host");
        }
        if authority.contains('@') {
            return invalid("credentials do not belong into a URL; the host adds them");
        }
        let path_with_query = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            https,
            authority: authority.to_owned(),
            path_with_query,
        })
    }
}

/// Percent-encodes text so that it can stand in one segment of a path or one value of a query.
pub fn encode_component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte => {
                encoded.push('%');
                encoded.push(hex(byte >> 4));
                encoded.push(hex(byte & 15));
            }
        }
    }
    encoded
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, String) {
        let url = Url::parse(text).unwrap();
        (url.https, url.authority, url.path_with_query)
    }

    #[test]
    fn splits_what_the_host_needs() {
        assert_eq!(
            parts("http://127.0.0.1:80/a?b=c#d"),
            (false, "127.0.0.1:80".into(), "/a?b=c".into())
        );
        assert_eq!(parts("HTTPS://example.org"), (true, "example.org".into(), "/".into()));
        assert_eq!(
            parts("https://[::1]:8443?x=1"),
            (true, "[::1]:8443".into(), "/?x=1".into())
        );
    }

    #[test]
    fn refuses_what_could_mean_two_things() {
        for text in [
            "ftp://a/",
            "//a/",
            "http:///x",
            "http://user:pw@a/",
            "http://a/ b",
            "http://a/\nx: y",
        ] {
            assert!(matches!(Url::parse(text), Err(Error::Invalid(_))), "{text:?}");
        }
    }

    #[test]
    fn encodes_all_that_is_not_unreserved() {
        assert_eq!(encode_component("db 01/é"), "db%2001%2F%C3%A9");
    }
}
