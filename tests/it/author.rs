//! What a plugin's author uses: test cases in the real runtime, without a daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::cli::{Ended, start};
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::process::{binary, path, plugins};
use crate::harness::world::{World, copy_plugin};

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

/// The test in the documentation, on the project that it is about.
#[test]
fn a_test_in_the_authors_language_hands_a_case_over() {
    let manual = fs::read_to_string(sources().join("../docs/plugins.md")).unwrap();
    let (_, block) = manual.split_once("```python\ndef played").unwrap();
    let (code, _) = block.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let webhook = plugins().join("webhook");
    copy_plugin(&webhook, directory.path());
    // The shipped plugin takes its address from the action.
    let code = code.replace("config={", "params={");
    let script = format!("import json, subprocess\ndef played{code}\ntest_a_refusal_is_definite()\nprint('passed')\n");
    let bin = binary();
    let search = format!("{}:{}", path(bin.parent().unwrap()), std::env::var("PATH").unwrap());
    let ended = Command::new("python3")
        .args(["-c", &script])
        .current_dir(directory.path())
        .env("PATH", search)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "passed\n", "{said}");
}

/// The lab adapter's suite; `scratch` are further lines of its manifest's table.
fn check_lab(directory: &Path, more: &str) -> Ended {
    let manifest = fs::read_to_string(plugins().join("lab/plugin.toml")).unwrap();
    let (_, table) = manifest.split_once("[scratch]").unwrap();
    let file = directory.join("scratch.toml");
    fs::write(
        &file,
        format!(
            "{}\n{more}",
            table.replace("[[scratch.", "[[").replace("[scratch.", "[")
        ),
    )
    .unwrap();
    let (plugin, cases) = (plugins().join("lab"), sources().join("adapters/lab/tests"));
    landfall(
        directory,
        &[
            "plugin",
            "check",
            path(&plugin),
            "--cases",
            path(&cases),
            "--scratch",
            path(&file),
            "--record",
            "traffic",
            "-o",
            "json",
        ],
    )
}

#[test]
fn c07_a_scratch_site_may_want_a_login() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "open sesame").unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    let scratch = |secrets: &str| {
        let manifest = fs::read_to_string(plugins().join("lab/plugin.toml")).unwrap();
        let (_, table) = manifest.split_once("[scratch]").unwrap();
        let table = table.replace("[[scratch.", "[[").replace("[scratch.", "[");
        let table = table.replace("host = \"{host}\"", "auth = \"basic:login\", host = \"{host}\"");
        fs::write(directory.path().join("login.toml"), format!("{secrets}\n{table}")).unwrap();
        let (plugin, cases) = (plugins().join("lab"), sources().join("adapters/lab/tests"));
        let arguments = [
            "plugin",
            "check",
            path(&plugin),
            "--cases",
            path(&cases),
            "--scratch",
            "login.toml",
        ];
        landfall(directory.path(), &arguments)
    };
    let ended = scratch("").code(3);
    assert!(
        ended.out.contains("FAILED   machines") && ended.out.contains("the secret `login` cannot be used"),
        "{ended}"
    );
    let login = format!("secrets = {{ login = {{ user = \"root\", file = {password:?} }} }}");
    scratch(&login).code(0);
    let ended = scratch("secrets = { login = { value = \"open sesame\" } }").code(5);
    assert!(
        ended.err.contains("LF0488") && ended.err.contains("unknown field `value`"),
        "{ended}"
    );
}

fn verdict<'r>(report: &'r Value, name: &str) -> &'r Value {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name}"))
}

#[test]
fn c07_the_lab_adapter_conforms_and_its_traffic_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let report: Value = check_lab(directory.path(), "").code(0).json();
    assert_eq!(
        (&report["failed"], &report["skipped"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    let traffic = fs::read_to_string(directory.path().join("traffic")).unwrap();
    let seen = |what: &str| traffic.lines().filter(|line| line.contains(what)).count();
    assert!(seen("\"check\":\"create-machine\"") >= 3, "{traffic}");
    assert!(seen("\"role\":\"source\"") > 0 && seen("\"role\":\"target\"") > 0);
}

#[test]
fn c07_an_adapter_whose_site_does_not_keep_what_it_declares_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    // The site acts again under a known key, and the adapter still calls its effects keyed.
    let more = "[[prepare]]\nmethod = \"PATCH\"\nurl = \"{url}/control/sites/b\"\njson = { dedupe = false }\n";
    let ended = check_lab(directory.path(), more).code(3);
    let report: Value = ended.json();
    let process = verdict(&report, "process");
    assert_eq!(process["verdict"], "failed", "{ended}");
    let notes = process["notes"].to_string();
    assert!(notes.contains("keyed") && notes.contains("traffic:"), "{notes}");

    // An effect fails after it happened.
    let more = "[[prepare]]\nurl = \"{url}/control/faults\"\njson = { site = \"b\", operation = \"create-machine\", mode = \"fail\", code = \"broken\", message = \"no\", definite = true }\n";
    let report: Value = check_lab(directory.path(), more).code(3).json();
    assert!(
        verdict(&report, "create-machine")["notes"]
            .to_string()
            .contains("broken"),
        "{report}"
    );
    assert_eq!(verdict(&report, "start")["verdict"], "skipped");
}

/// A copy of the `wait` runbook with its cases, outside of the world's plugin directory, as somebody's work.
fn work(world: &World) -> PathBuf {
    let work = world.path("work");
    copy_plugin(&plugins().join("wait"), &work);
    fs::create_dir_all(work.join("tests")).unwrap();
    for case in ["waits.toml", "pause.toml"] {
        fs::copy(
            sources().join("runbooks/wait/tests").join(case),
            work.join("tests").join(case),
        )
        .unwrap();
    }
    change(&work, "A first change");
    work
}

/// Another summary is another version: the digest covers the manifest.
fn change(work: &Path, summary: &str) {
    let manifest = work.join("plugin.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let lines = text.lines().map(|line| {
        if line.starts_with("summary") {
            format!("summary = \"{summary}\"")
        } else {
            line.to_owned()
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    fs::write(&manifest, text).unwrap();
}

#[test]
fn dev_tests_installs_and_drills_and_installs_nothing_that_fails() {
    let hook = "name: pause, runbook: wait, before: [all], with: { duration: 10ms }";
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[hook]));
    let work = work(&world);
    let before = world.plugin("wait").digest;
    let round = ["plugin", "dev", "work", "--into", "plugins", "--drill", "hr", "--once"];
    let ended = world.cli(&round).code(0);
    assert!(ended.out.contains("2 passed, 0 failed"), "{ended}");
    let served = world.plugin("wait").digest;
    assert_ne!(before, served, "{ended}");
    let doubled = world.cli(&["job", "list", "-o", "json"]).out;
    assert!(doubled.contains("cleanup"), "{doubled}");

    change(&work, "A second change");
    fs::write(
        work.join("tests/waits.toml"),
        "params = { duration = \"1s\" }\n[expect]\ncalls = 7\n",
    )
    .unwrap();
    let ended = world.cli(&round).code(3);
    assert!(ended.out.contains("calls: expected 7, got 2"), "{ended}");
    assert_eq!(world.plugin("wait").digest, served);
}

#[test]
fn c06_a_step_of_a_past_job_is_a_test_case() {
    let hook = "name: tell, runbook: webhook, before: [all], with: { colour: red }";
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[hook]));
    let job = world.succeed("test", &json!({})).id;
    let recorded = world
        .cli(&["job", "record", &job, "action/tell/before-all"])
        .code(0)
        .out;
    for words in ["colour = \"red\"", "operation = \"test\"", "item = \"db\"", &job] {
        assert!(recorded.contains(words), "{words} is not in {recorded}");
    }
    // The receiver has other words now: how would the same call have ended?
    let more = "[[http]]\nurl = \"*\"\nbody-contains = [\"red\", \"db\"]\nreply = { status = 410 }\n[expect]\ncode = \"refused\"\n";
    let port = world.lab.port();
    let grants = format!("[grants]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {port} }}]\n");
    fs::write(world.path("again.toml"), format!("{recorded}\n{grants}{more}")).unwrap();
    let plugin = plugins().join("webhook");
    world
        .cli(&["plugin", "test", path(&plugin), "--case", "again.toml"])
        .code(0);

    let adapter = world.cli(&["job", "record", &job, "create/db"]).code(0).out;
    assert!(
        adapter.contains("create-machine") && adapter.contains("do = \"submit\""),
        "{adapter}"
    );
    world.cli(&["job", "record", &job, "no/such-step"]).code(5);
}

#[test]
fn dev_goes_on_with_every_change() {
    let world = World::start();
    let work = work(&world);
    let running = world.begin(&["plugin", "dev", "work", "--into", "plugins"]);
    eventually("the first round is over", || {
        running.err().contains("Waiting for a change").then_some(())
    });
    let first = world.plugin("wait").digest;
    change(&work, "A second change");
    eventually("the daemon serves the change", || {
        (world.plugin("wait").digest != first).then_some(())
    });
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
    let wait = plugins().join("wait");
    let refused = |arguments: &[&str], words: &[&str]| {
        let ended = landfall(directory.path(), &[&["plugin"], arguments].concat()).code(5);
        assert!(words.iter().all(|word| ended.err.contains(word)), "{ended}");
    };
    refused(&["test", path(&wait)], &["LF0487"]);
    refused(&["check", path(&wait), "--cases", "nowhere"], &["LF0487", "nowhere"]);
    let cases = sources().join("runbooks/wait/tests");
    let filter = ["test", path(&wait), "--cases", path(&cases), "--filter", "nobody"];
    refused(&filter, &["LF0487", "with `nobody` in their name"]);
    for command in ["test", "check", "dev"] {
        refused(&[command], &["LF0480", "no plugin.toml", "landfall plugin new"]);
    }
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
