//! From YAML text to located values, and from the parser's errors to diagnostics.

use std::borrow::Cow;
use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::codes;
use crate::diagnostic::{Diagnostic, Place, suggest};

/// A value and where it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            place: place(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

/// A span of time as people write it: `30s`, `5m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match crate::words::span(&text).map_err(serde::de::Error::custom)? {
            0 => Err(serde::de::Error::custom(format!(
                "`{text}` is no time at all; write 30s, 5m, 24h or 7d"
            ))),
            ms => Ok(Self(Duration::from_millis(ms))),
        }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "examples": ["30s", "5m", "24h", "7d"] })
    }
    fn inline_schema() -> bool {
        true
    }
}

impl Span {
    pub(super) fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Deserializes a document. The parser stops at the first error of form; errors of meaning are collected later.
pub(super) fn from_yaml<T: DeserializeOwned>(text: &str, kind: &str) -> Result<T, Diagnostic> {
    // No budget: the daemon bounds the size of what it reads, and a plan of 10,000 machines is legitimate.
    let options = serde_saphyr::options! { budget: None };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| diagnose(error.without_snippet(), kind))
}

fn diagnose(error: &serde_saphyr::Error, kind: &str) -> Diagnostic {
    let place = error.location().map(place).unwrap_or_default();
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => Diagnostic::at(
            place,
            codes::UNKNOWN_KEY,
            format!("unknown key `{field}`"),
            suggest(field, expected.iter().copied()),
        ),
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => Diagnostic::at(
            place,
            codes::WRONG_VALUE,
            format!("unknown value `{variant}`"),
            suggest(variant, expected.iter().copied()),
        ),
        serde_saphyr::Error::SerdeMissingField { field, .. } => Diagnostic::at(
            place,
            codes::MISSING_KEY,
            format!("the key `{field}` is missing"),
            format!("add `{field}:`"),
        ),
        other => {
            let words = other.to_string();
            // The place is shown beside the message.
            let message = words.split(" at line ").next().unwrap_or(&words).to_owned();
            Diagnostic::at(
                place,
                codes::WRONG_VALUE,
                message,
                format!("compare it with the schema: landfall {kind} schema"),
            )
        }
    }
}

fn place(location: serde_saphyr::Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

pub(super) fn schema<T: JsonSchema>() -> serde_json::Value {
    SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// What names may be made of: they become parts of keys, step ids and file names.
pub(super) fn check_name(name: &At<String>, what: &str, found: &mut Vec<Diagnostic>) {
    let fits = !name.value.is_empty()
        && name.value.len() <= NAME_LENGTH_MAX
        && name
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !fits {
        found.push(Diagnostic::at(
            name.place,
            codes::BAD_NAME,
            format!("`{}` cannot name a {what}", name.value),
            format!("use 1 to {NAME_LENGTH_MAX} letters, digits, dashes, dots and underscores"),
        ));
    }
}

/// Longer names would not fit the tables that people read at night.
const NAME_LENGTH_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_a_document_have_days_and_are_some_time() {
        let read = |text: &str| from_yaml::<Span>(text, "plan").map(Span::millis);
        assert_eq!(read("1d").unwrap(), 86_400_000);
        assert_eq!(read("2w").unwrap(), read("14d").unwrap());
        for wrong in ["0s", "-1d", "1 month"] {
            let said = read(wrong).unwrap_err();
            assert_eq!(said.code, codes::WRONG_VALUE, "{wrong}");
        }
    }
}
