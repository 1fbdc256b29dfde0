//! What is wrong with a document that a person wrote: code, place, cause, cure. All diagnostics of a document are
//! reported at once, so that nobody mends a plan one error a run.

use serde::{Deserialize, Serialize};

/// One thing wrong, at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diagnostic {
    /// Stable code; `landfall explain CODE` has its page.
    pub code: String,
    /// Line, counted from 1; 0 where no place can be named.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl Diagnostic {
    /// A diagnostic at a place.
    pub fn at(place: Place, code: &str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            line: place.line,
            column: place.column,
            message: message.into(),
            cure: cure.into(),
        }
    }
}

/// A place in a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1; 0 is nowhere.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
}

/// How unlike two names may be for one to be suggested for the other: a third of the letters, as spell checkers do.
const SUGGESTION_SHARE: usize = 3;

/// The known name nearest to a mistyped one, if any is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= wrong.len().max(name.len()).div_ceil(SUGGESTION_SHARE))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The cure for an unknown name: the near one, else the list.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(wrong, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let names: Vec<&str> = known.into_iter().take(12).collect();
    if names.is_empty() {
        "none is known".to_owned()
    } else {
        format!("known: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_near_name_or_lists_all() {
        assert_eq!(suggest("databse", ["database", "web"]), "did you mean `database`?");
        assert_eq!(suggest("zzz", ["database", "web"]), "known: database, web");
        assert_eq!(suggest("zzz", []), "none is known");
    }
}
