//! Keeps credentials out of what comes back: a value that the host put into requests, or took out of answers, is
//! replaced by its placeholder, in each form in which a server might repeat it.
//!
//! A body is searched while it streams. Only bytes that may be the beginning of a value are held back until more comes,
//! so an endless answer goes on flowing. What a server transforms beyond these forms (encrypts, reverses, cuts into
//! pieces) is not found: a secret is granted to servers that may know it.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::placeholder::Encoding;
use crate::secret::{SHORTEST, Secret};

/// What to look for, and what to put in its place.
#[derive(Default)]
pub(crate) struct Needles(Vec<(Zeroizing<Vec<u8>>, String)>);

impl Needles {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add_secret(&mut self, name: &str, user: Option<&str>, value: &Secret) {
        let value = value.expose();
        for (encoding, suffix) in Encoding::ALL {
            if let Some(form) = encoding.apply(user, value) {
                self.add_forms(&form, &format!("{{{{secret:{name}{suffix}}}}}"));
            }
        }
        let plain = format!("{{{{secret:{name}}}}}");
        let digit = |digit: u8| char::from_digit(u32::from(digit), 16);
        let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
        let hex: String = value.iter().flat_map(digits).flatten().collect();
        self.add(hex.to_ascii_uppercase().into_bytes(), &plain);
        self.add(hex.into_bytes(), &plain);
        let base64 = format!("{{{{secret:{name}|base64}}}}");
        self.add(STANDARD_NO_PAD.encode(value).into_bytes(), &base64);
        self.add(URL_SAFE_NO_PAD.encode(value).into_bytes(), &base64);
    }

    pub(crate) fn add_captured(&mut self, name: &str, value: &Secret) {
        let placeholder = format!("{{{{captured:{name}}}}}");
        for encoding in [Encoding::Plain, Encoding::Xml, Encoding::Json, Encoding::Form] {
            if let Some(form) = encoding.apply(None, value.expose()) {
                self.add_forms(&form, &placeholder);
            }
        }
    }

    /// One form and the other ways in which its encoding may be spelled.
    fn add_forms(&mut self, form: &[u8], placeholder: &str) {
        self.add(form.to_vec(), placeholder);
        let Ok(text) = std::str::from_utf8(form) else {
            return;
        };
        for other in [
            text.replace('/', "\\/"),
            text.replace("%20", "+"),
            text.replace("&apos;", "&#39;").replace("&quot;", "&#34;"),
            text.replace("&apos;", "'").replace("&quot;", "\""),
            lower_percent(text),
        ] {
            self.add(other.into_bytes(), placeholder);
        }
    }

    fn add(&mut self, form: Vec<u8>, placeholder: &str) {
        if form.len() >= SHORTEST && !self.0.iter().any(|(known, _)| **known == form) {
            self.0.push((Zeroizing::new(form), placeholder.to_owned()));
        }
    }

    /// `masked`: what is found is covered by as many stars, so that the length stays what was announced.
    pub(crate) fn scrubber(&self, masked: bool) -> Option<Scrubber> {
        let forms = self.0.iter().map(|(form, _)| form.as_slice());
        // Building fails only beyond four billion states.
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(forms)
            .ok()?;
        Some(Scrubber {
            search,
            forms: self.0.iter().map(|(form, _)| form.clone()).collect(),
            places: self.0.iter().map(|(_, placeholder)| placeholder.clone()).collect(),
            held: Zeroizing::default(),
            masked,
        })
    }
}

/// `%2F` as `%2f`.
fn lower_percent(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        out = format!("{out}%{}{rest}", digits.to_ascii_lowercase());
    }
    out
}

/// The search through one stream.
pub(crate) struct Scrubber {
    search: AhoCorasick,
    forms: Vec<Zeroizing<Vec<u8>>>,
    places: Vec<String>,
    held: Zeroizing<Vec<u8>>,
    masked: bool,
}

impl Scrubber {
    /// A whole text; none if nothing was found.
    pub(crate) fn whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.search.is_match(text).then(|| self.replace(text, text.len()).0)
    }

    /// What can be given on of a stream after this piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut text = Zeroizing::new(Vec::with_capacity(self.held.len() + piece.len()));
        text.extend_from_slice(&self.held);
        text.extend_from_slice(piece);
        let (out, used) = self.replace(&text, text.len() - self.begun(&text));
        self.held = Zeroizing::new(text.get(used..).unwrap_or_default().to_vec());
        out
    }

    /// What is left at the end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        self.replace(&text, text.len()).0
    }

    /// How many bytes at the end may be the beginning of a value.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = |form: &Zeroizing<Vec<u8>>| {
            let most = form.len().saturating_sub(1).min(text.len());
            (1..=most)
                .rev()
                .find(|length| form.get(..*length) == text.get(text.len() - length..))
        };
        self.forms.iter().filter_map(longest).max().unwrap_or(0)
    }

    /// Replaces what begins before `safe`; gives the text up to there, and how much of the input that was.
    fn replace(&self, text: &[u8], safe: usize) -> (Vec<u8>, usize) {
        let (mut out, mut used) = (Vec::with_capacity(text.len()), 0);
        for found in self.search.find_iter(text) {
            if found.start() >= safe {
                break;
            }
            out.extend_from_slice(text.get(used..found.start()).unwrap_or_default());
            match self.places.get(found.pattern().as_usize()) {
                Some(place) if !self.masked => out.extend_from_slice(place.as_bytes()),
                _ => out.extend(std::iter::repeat_n(b'*', found.len())),
            }
            used = found.end();
        }
        let end = safe.max(used);
        out.extend_from_slice(text.get(used..end).unwrap_or_default());
        (out, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(value: &str) -> Needles {
        let mut needles = Needles::default();
        needles.add_secret("s", Some("u"), &Secret::new(value.into()));
        needles
    }

    fn streamed(needles: &Needles, masked: bool, text: &[u8], piece: usize) -> String {
        let mut scrubber = needles.scrubber(masked).unwrap();
        let mut out: Vec<u8> = text.chunks(piece).flat_map(|piece| scrubber.push(piece)).collect();
        out.extend(scrubber.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_is_found_wherever_a_piece_ends() {
        let value = "p&s\"w/ rd";
        let needles = needles(value);
        let form = |encoding: Encoding| {
            String::from_utf8(encoding.apply(Some("u"), value.as_bytes()).unwrap().to_vec()).unwrap()
        };
        let forms: Vec<String> = Encoding::ALL.iter().map(|(encoding, _)| form(*encoding)).collect();
        let text = format!(
            "p&s\"{}; p&amp;s {}",
            forms.join("|p&"),
            form(Encoding::Form).replace("%20", "+")
        );
        for piece in [1, 2, 3, 7, text.len()] {
            let out = streamed(&needles, false, text.as_bytes(), piece);
            for form in &forms {
                assert!(!out.contains(form.as_str()), "{form} in {out} by {piece}");
            }
            assert!(
                out.starts_with("p&s\"{{secret:s}}|p&{{secret:s|xml}}|p&{{secret:s|json}}"),
                "{out}"
            );
            assert_eq!(streamed(&needles, true, text.as_bytes(), piece).len(), text.len());
        }
    }

    #[test]
    fn only_what_may_be_a_value_is_held_back() {
        let mut scrubber = needles("password").scrubber(false).unwrap();
        assert_eq!(scrubber.push(b"event: one\n"), b"event: one\n");
        assert_eq!(scrubber.push(b"event: pass"), b"event: ");
        assert_eq!(scrubber.push(b"age\n"), b"passage\n");
        assert_eq!(scrubber.push(b"passpassword"), b"pass{{secret:s}}");
        assert_eq!(scrubber.push(b"passwor"), b"");
        assert_eq!(scrubber.finish(), b"passwor");
    }

    #[test]
    fn percent_digits_have_two_cases() {
        assert_eq!(lower_percent("a%2Fb%3"), "a%2fb%3");
        assert!(
            needles("pass/word")
                .scrubber(false)
                .unwrap()
                .whole(b"x=pass%2fword")
                .is_some()
        );
    }
}
