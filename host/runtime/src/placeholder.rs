//! Placeholders: what a plugin writes where a credential belongs. `{{secret:NAME}}`, with an encoding where the place
//! needs one (`{{secret:NAME|json}}`), and `{{captured:NAME}}`.
//!
//! Filling is one pass from left to right: what was filled in is never read again, so a value that looks like a
//! placeholder stays what it is. Text that is not exactly a placeholder is left alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::secret::is_name;

/// What `application/x-www-form-urlencoded` leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// How a value is written at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Plain,
    /// For text and attributes of XML.
    Xml,
    /// Inside of a JSON string.
    Json,
    /// A value of a form.
    Form,
    /// Base64 with padding.
    Base64,
    /// `user:value` in Base64, as basic authentication sends it.
    Basic,
}

impl Encoding {
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Plain, ""),
        (Self::Xml, "|xml"),
        (Self::Json, "|json"),
        (Self::Form, "|form"),
        (Self::Base64, "|base64"),
        (Self::Basic, "|basic"),
    ];

    /// None: the value is no text, or there is no user.
    pub(crate) fn apply(self, user: Option<&str>, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(match self {
            Self::Plain => value.to_vec(),
            Self::Xml => xml(std::str::from_utf8(value).ok()?).into_bytes(),
            Self::Json => json(std::str::from_utf8(value).ok()?)?.into_bytes(),
            Self::Form => percent_encode(value, FORM).to_string().into_bytes(),
            Self::Base64 => STANDARD.encode(value).into_bytes(),
            Self::Basic => {
                let both = Zeroizing::new([user?.as_bytes(), b":", value].concat());
                STANDARD.encode(&*both).into_bytes()
            }
        }))
    }
}

fn xml(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for letter in value.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // Parsers make spaces or single line breaks of these unless they are written so.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
    out
}

fn json(value: &str) -> Option<String> {
    let quoted = Zeroizing::new(serde_json::to_string(value).ok()?);
    Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

/// A placeholder in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder<'t> {
    /// A secret of the operator.
    Secret { name: &'t str, encoding: Encoding },
    /// A session's token.
    Captured { name: &'t str },
    /// A secret in an encoding that there is not.
    Unknown { name: &'t str, encoding: &'t str },
}

/// The placeholders of a text with the bytes before each, and what follows the last.
pub(crate) fn split(text: &[u8]) -> (Vec<(&[u8], Placeholder<'_>)>, &[u8]) {
    let (mut found, mut start, mut from) = (Vec::new(), 0, 0);
    while let Some(at) = text.get(from..).and_then(open) {
        let place = from + at;
        match text.get(place..).and_then(parse) {
            Some((placeholder, length)) => {
                found.push((text.get(start..place).unwrap_or_default(), placeholder));
                (start, from) = (place + length, place + length);
            }
            None => from = place + 1,
        }
    }
    (found, text.get(start..).unwrap_or_default())
}

fn open(text: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, b"{{")
}

/// At the start of `text`; with its length.
fn parse(text: &[u8]) -> Option<(Placeholder<'_>, usize)> {
    const LONGEST: usize = 128;
    let near = text.get(..LONGEST).unwrap_or(text);
    let end = memchr::memmem::find(near, b"}}")?;
    let inner = std::str::from_utf8(near.get(2..end)?).ok()?;
    let length = end + 2;
    if let Some(name) = inner.strip_prefix("captured:") {
        return is_name(name).then_some((Placeholder::Captured { name }, length));
    }
    let inner = inner.strip_prefix("secret:")?;
    let (name, encoding) = inner
        .split_once('|')
        .map_or((inner, ""), |(name, encoding)| (name, encoding));
    if !is_name(name) {
        return None;
    }
    let written = inner.get(name.len()..).unwrap_or_default();
    let known = Encoding::ALL.iter().find(|(_, text)| *text == written);
    Some(match known {
        Some((known, _)) => (Placeholder::Secret { name, encoding: *known }, length),
        None => (Placeholder::Unknown { name, encoding }, length),
    })
}

/// The text with every placeholder filled in; none if there is no placeholder in it.
pub(crate) fn fill<E>(
    text: &[u8],
    mut value: impl FnMut(Placeholder<'_>) -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<Option<Zeroizing<Vec<u8>>>, E> {
    let (pieces, rest) = split(text);
    if pieces.is_empty() {
        return Ok(None);
    }
    let filled = pieces
        .into_iter()
        .map(|(before, placeholder)| Ok((before, value(placeholder)?)))
        .collect::<Result<Vec<_>, E>>()?;
    let size = filled
        .iter()
        .map(|(before, value)| before.len() + value.len())
        .sum::<usize>()
        + rest.len();
    // Grown in place it would leave copies behind that nobody wipes.
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    for (before, value) in filled {
        out.extend_from_slice(before);
        out.extend_from_slice(&value);
    }
    out.extend_from_slice(rest);
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, value: &str) -> Option<String> {
        let filled = fill(text.as_bytes(), |placeholder| match placeholder {
            Placeholder::Secret { encoding, .. } => encoding.apply(Some("u"), value.as_bytes()).ok_or(()),
            Placeholder::Captured { name } => Ok(Zeroizing::new(format!("<{name}>").into_bytes())),
            Placeholder::Unknown { .. } => Err(()),
        });
        filled.unwrap().map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn each_encoding_is_what_a_parser_of_that_form_reads_back() {
        let value = "a<b>&\"'\\ \n+%=é{}";
        let at = |encoding: &str| filled(&format!("{{{{secret:x{encoding}}}}}"), value).unwrap();
        assert_eq!(at(""), value);
        assert_eq!(at("|xml"), "a&lt;b&gt;&amp;&quot;&apos;\\ &#10;+%=é{}");
        assert_eq!(
            serde_json::from_str::<String>(&format!("\"{}\"", at("|json"))).unwrap(),
            value
        );
        let form = format!("k={}&l=1", at("|form"));
        let pairs: Vec<_> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert_eq!(pairs[0].1, value);
        assert_eq!(STANDARD.decode(at("|base64")).unwrap(), value.as_bytes());
        assert_eq!(STANDARD.decode(at("|basic")).unwrap(), format!("u:{value}").as_bytes());
    }

    #[test]
    fn what_is_filled_in_is_not_read_again() {
        assert_eq!(filled("{{secret:x}}y}}", "{{secret:").unwrap(), "{{secret:y}}");
        assert_eq!(
            filled("{{secret:x}}{{captured:t}}", "{{captured:t}}").unwrap(),
            "{{captured:t}}<t>"
        );
        assert_eq!(filled("{{{{secret:x}}}}", "v").unwrap(), "{{v}}");
    }

    #[test]
    fn what_is_not_exactly_a_placeholder_is_left_alone() {
        for text in [
            "",
            "{{",
            "{{secret:}}",
            "{{secret:a b}}",
            "{{ secret:a }}",
            "{{Secret:a}}",
            "{secret:a}",
            "{{secret:a",
            "{{captured:a|json}}",
            "{{secret:a\n}}",
        ] {
            assert_eq!(filled(text, "v"), None, "{text}");
        }
        assert!(fill(b"{{secret:a|rot13}}", |_| Err::<Zeroizing<Vec<u8>>, _>(())).is_err());
    }
}
