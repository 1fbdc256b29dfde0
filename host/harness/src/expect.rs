//! Compares what came of a call with what its author expects, and says every difference at once.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::case::{Expect, Outcome, Pairs};
use crate::ended::Ended;
use crate::report::Played;
use crate::script::{lacks, seen};

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Skip => "skip",
            Self::Failure => "failure",
            Self::Fault => "fault",
        }
    }
}

/// Everything that is not as expected.
pub(crate) fn differences(expect: &Expect, ended: &Ended, played: &Played) -> Vec<String> {
    let mut wrong = Vec::new();
    let failing = expect.code.is_some() || expect.definite.is_some() || expect.retryable.is_some();
    let wanted = expect
        .outcome
        .unwrap_or(if failing { Outcome::Failure } else { Outcome::Done });
    if ended.outcome != wanted {
        let but = match &ended.code {
            Some(code) => format!("{} ({code}: {})", ended.outcome.as_str(), ended.message),
            None if ended.message.is_empty() => ended.outcome.as_str().to_owned(),
            None => format!("{} ({})", ended.outcome.as_str(), ended.message),
        };
        // What was expected of another outcome says nothing more.
        return vec![format!("expected {}, got {but}", wanted.as_str())];
    }
    outputs(&expect.outputs, &ended.outputs, &mut wrong);
    let mut compare = |what: &str, wanted: Option<String>, found: Option<String>| {
        if let Some(wanted) = wanted
            && found.as_ref() != Some(&wanted)
        {
            let found = found.unwrap_or_else(|| "none".to_owned());
            wrong.push(format!("{what}: expected {wanted}, got {found}"));
        }
    };
    let text = |flag: Option<bool>| flag.map(|flag| flag.to_string());
    compare("code", expect.code.clone(), ended.code.clone());
    compare("definite", text(expect.definite), text(ended.definite));
    compare("retryable", text(expect.retryable), text(ended.retryable));
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    compare("after-ms", number(expect.after_ms), number(ended.after_ms));
    let count = |count: Option<usize>| count.map(|count| count.to_string());
    compare(
        "requests",
        count(expect.requests),
        Some(played.requests.len().to_string()),
    );
    compare(
        "connections",
        count(expect.connections),
        Some(played.connections.to_string()),
    );
    compare(
        "programs",
        count(expect.programs),
        Some(played.programs.len().to_string()),
    );
    compare("calls", count(expect.calls), Some(played.times.to_string()));
    if let Some(text) = &expect.message
        && !ended.message.contains(text.as_str())
    {
        wrong.push(format!("message: expected `{text}` in `{}`", ended.message));
    }
    if let Some(wanted) = &expect.answer
        && let Err(why) = lacks(wanted, &ended.answer, "the answer's")
    {
        wrong.push(why);
    }
    selected(&expect.selected, &ended.answer, &mut wrong);
    kept(&expect.kept, &ended.answer, &mut wrong);
    among("log", &expect.log, &played.log, &mut wrong);
    among("denied", &expect.denied, &played.denied, &mut wrong);
    wrong
}

fn outputs(wanted: &Pairs, found: &Pairs, wrong: &mut Vec<String>) {
    for (name, wanted) in wanted {
        match found.get(name) {
            Some(found) if wanted == "*" || found == wanted => {}
            Some(found) => wrong.push(format!("output `{name}`: expected `{wanted}`, got `{found}`")),
            None => wrong.push(format!("output `{name}`: expected `{wanted}`, and it is missing")),
        }
    }
}

/// The elements of a list answer.
fn elements(answer: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    answer.as_array().into_iter().flatten().filter_map(|element| {
        let item = element.get("item")?.as_str()?;
        let point = element.get("point")?.as_str()?;
        Some((item, point, element))
    })
}

fn selected(wanted: &Pairs, answer: &Value, wrong: &mut Vec<String>) {
    if wanted.is_empty() {
        return;
    }
    let found: Pairs = elements(answer)
        .map(|(item, point, _)| (item.to_owned(), point.to_owned()))
        .collect();
    if found != *wanted {
        wrong.push(format!("selected: expected {wanted:?}, got {found:?}"));
    }
}

fn kept(wanted: &BTreeMap<String, Vec<String>>, answer: &Value, wrong: &mut Vec<String>) {
    for (item, wanted) in wanted {
        let keeps = |element: &Value| element.get("keep").and_then(Value::as_bool) == Some(true);
        let mut found: Vec<&str> = elements(answer)
            .filter(|(other, _, element)| other == item && keeps(element))
            .map(|(_, point, _)| point)
            .collect();
        let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        if found != wanted {
            wrong.push(format!("kept of `{item}`: expected {wanted:?}, got {found:?}"));
        }
    }
}

fn among(what: &str, wanted: &[String], found: &[String], wrong: &mut Vec<String>) {
    for text in wanted {
        if !found.iter().any(|line| line.contains(text.as_str())) {
            wrong.push(format!("{what}: `{text}` is in none of {found:?}"));
        }
    }
}

/// What the plugin should keep and does not, or keeps and should not. Looked at however the call ended.
pub(crate) fn forgotten(expect: &Expect, kept: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, wanted) in &expect.state {
        match kept.get(key) {
            Some(found) if wanted.0 == b"*" || *found == wanted.0 => {}
            Some(found) => wrong.push(format!(
                "state `{key}`: expected {}, got {}",
                seen(&wanted.0),
                seen(found)
            )),
            None => wrong.push(format!(
                "state `{key}`: expected {}, and there is none",
                seen(&wanted.0)
            )),
        }
    }
    for key in &expect.no_state {
        if let Some(found) = kept.get(key) {
            wrong.push(format!("state `{key}`: expected none, got {}", seen(found)));
        }
    }
    wrong
}
