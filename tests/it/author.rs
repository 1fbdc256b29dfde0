//! What a plugin's author uses: test cases in the real runtime, without a daemon.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::cli::{Ended, start};
use crate::harness::process::{path, plugins};

/// The plugins that ship, with the directories of their sources.
const SHIPPED: [(&str, &str); 4] = [
    ("webhook", "runbooks/webhook"),
    ("http-check", "runbooks/http-check"),
    ("wait", "runbooks/wait"),
    ("standard", "policies/standard"),
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

fn landfall(directory: &Path, arguments: &[&str]) -> Ended {
    start(directory, arguments).end()
}

/// The built webhook with one case of this text.
fn one(directory: &Path, text: &str) -> Ended {
    let file = directory.join("case.toml");
    fs::write(&file, text).unwrap();
    let plugin = plugins().join("webhook");
    landfall(directory, &["plugin", "test", path(&plugin), "--case", path(&file)])
}

/// Real time is the only thing that differs from run to run.
fn without_time(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    for case in value["cases"].as_array_mut().unwrap() {
        case["milliseconds"] = 0.into();
    }
    value.to_string()
}

#[test]
fn the_cases_of_every_shipped_plugin_pass_and_are_the_same_every_time() {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in SHIPPED {
        let (plugin, cases) = (plugins().join(name), sources().join(source).join("tests"));
        let arguments = ["plugin", "test", path(&plugin), "--cases", path(&cases), "-o", "json"];
        let runs: Vec<String> = (0..2)
            .map(|_| without_time(&landfall(directory.path(), &arguments).code(0).out))
            .collect();
        assert_eq!(runs[0], runs[1], "{name}");
        let report: Value = serde_json::from_str(&runs[0]).unwrap();
        assert!(report["passed"].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn every_shipped_runbook_and_policy_conforms() {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in SHIPPED {
        let (plugin, cases) = (plugins().join(name), sources().join(source).join("tests"));
        let arguments = ["plugin", "check", path(&plugin), "--cases", path(&cases), "-o", "json"];
        let report: Value = landfall(directory.path(), &arguments).code(0).json();
        assert_eq!(report["failed"], 0, "{report}");
        assert!(report["passed"].as_u64().unwrap() >= 10, "{report}");
    }
}

#[test]
fn a_case_that_fails_says_what_was_asked_and_what_was_scripted() {
    let directory = tempfile::tempdir().unwrap();
    let ended = one(
        directory.path(),
        r#"
about = "wrong on purpose"
params = { url = "https://hooks.example.org/dr" }
[[http]]
url = "https://hooks.example.org/dr"
json = { plan = "other" }
[[http]]
url = "https://hooks.example.org/never"
[expect]
outputs = { status = "200" }
"#,
    )
    .code(3);
    for words in [
        "FAILED case",
        "wrong on purpose",
        "expected done, got failure (unreachable",
        "POST https://hooks.example.org/dr was asked, and no [[http]] that is left fits",
        "the body's `plan` is \"plan-1\", not \"other\"",
        "https://hooks.example.org/never was scripted and never asked",
        "webhook 0.1.0: 0 passed, 1 failed",
    ] {
        assert!(ended.out.contains(words), "{words} is not in {ended}");
    }
}

#[test]
fn cases_that_cannot_be_read_are_refused_with_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let ended = one(directory.path(), "about = \"x\"\n\n[expect]\noutcom = \"done\"\n").code(5);
    for words in ["LF0486", "case.toml", "line 4", "outcom", "outcome"] {
        assert!(ended.err.contains(words), "{words} is not in {ended}");
    }
    let ended = landfall(directory.path(), &["plugin", "test", path(&plugins().join("wait"))]).code(5);
    assert!(ended.err.contains("LF0487"), "{ended}");
}

#[test]
fn a_refusal_in_a_case_is_the_one_the_operator_would_see() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"
params = { url = "http://169.254.169.254/latest/meta-data" }
[grants]
http = [{ scheme = "http", host = "169.254.169.254", port = 80 }]
[expect]
outcome = "failure"
definite = true
requests = 0
denied = ["is never allowed"]
"#;
    one(directory.path(), text).code(0);
}
