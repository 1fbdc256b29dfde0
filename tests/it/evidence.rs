//! The record of the past is signed, and its evidence is checked far from the daemon that wrote it (X06).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::cli::Ended;
use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

const ITEMS: [&str; 2] = ["db", "web"];

/// A planned failover that succeeded, and where its evidence was written.
fn failed_over() -> (World, String, std::path::PathBuf) {
    let text =
        plan(&ITEMS, &["name: announce, runbook: webhook, before: [all]"]).replace("\ngroups:", "\nrto: 2m\ngroups:");
    let world = World::protected(&Inventory::of(&ITEMS), &text);
    let job = world.run("planned-failover", &json!({}));
    assert_eq!(job.status, "succeeded");
    let into = world.path("");
    world
        .cli(&["evidence", &job.id, "--into", into.to_str().unwrap()])
        .code(0);
    (world, job.id, into)
}

#[test]
fn x06_evidence_is_written_from_the_journal_and_checked_offline() {
    let (mut world, job, into) = failed_over();
    let key = world.cli(&["journal", "key"]).code(0).out.trim().to_owned();
    let page = into.join(format!("evidence-{job}.html"));
    let file = into.join(format!("evidence-{job}.json"));
    let evidence: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let report = &evidence["report"];
    assert_eq!(report["job"]["status"], "succeeded");
    assert_eq!(report["job"]["requested-by"], "admin");
    assert_eq!(report["rto-target-ms"], 120_000);
    assert!(report["rto-ms"].as_u64().unwrap() < 120_000);
    for item in ITEMS {
        assert!(report["rpo-targets-ms"][item].as_u64().unwrap() > 0);
        assert_eq!(report["fence-proofs"][item]["kind"], "verified-off");
        assert_eq!(report["fence-proofs"][item]["machine"], format!("vm-{item}"));
    }
    let points: Vec<&Value> = report["job"]["items"].as_array().unwrap().iter().collect();
    assert!(
        points
            .iter()
            .all(|item| item["point"]["id"].is_string() && item["rto-ms"].is_u64())
    );
    assert!(report["job"]["plugins"].to_string().contains("sha256:"));
    let shown = fs::read_to_string(&page).unwrap();
    for part in ["vm-db", "verified-off", "(target 2 min 0 s)", "announce", key.as_str()] {
        assert!(shown.contains(part), "the page lacks {part}");
    }
    // No daemon is asked, and no data directory.
    world.kill_daemon();
    for path in [&page, &file] {
        let checked = world
            .cli(&[
                "--data-dir",
                "nowhere",
                "evidence",
                "verify",
                path.to_str().unwrap(),
                "--key",
                &key,
                "-o",
                "json",
            ])
            .code(0);
        let checked: Value = serde_json::from_str(&checked.out).unwrap();
        assert_eq!((&checked["job"], &checked["ended"]), (&json!(job), &json!(true)));
        assert_eq!(checked["notes"], json!([]));
    }
    world.cli(&["journal", "verify"]).code(0);
}

/// Where no data directory has a key of its own.
fn verify(world: &World, file: &Path, key: &str) -> Ended {
    let file = file.to_str().unwrap();
    world.cli(&["--data-dir", "nowhere", "evidence", "verify", file, "--key", key])
}

/// As a file carries the version of the program that wrote it.
fn carried_version(version: &str) -> String {
    format!("\\\"landfall\\\":\\\"{version}\\\"")
}

#[test]
fn x06_evidence_with_anything_changed_is_refused() {
    let (world, job, into) = failed_over();
    let key = world.cli(&["journal", "key"]).code(0).out.trim().to_owned();
    let page = fs::read_to_string(into.join(format!("evidence-{job}.html"))).unwrap();
    let json = fs::read_to_string(into.join(format!("evidence-{job}.json"))).unwrap();
    let changed: Vec<(&str, String)> = vec![
        ("a record's time", json.replacen("\\\"at\\\":1", "\\\"at\\\":2", 1)),
        (
            "the frozen job",
            json.replacen(
                "\\\"requested-by\\\":\\\"admin\\\"",
                "\\\"requested-by\\\":\\\"nobody\\\"",
                1,
            ),
        ),
        (
            "the report",
            json.replacen("\"requested-by\":\"admin\"", "\"requested-by\":\"nobody\"", 1),
        ),
        ("the page's words", page.replacen("by admin", "by nobody", 1)),
        (
            "what the page carries",
            page.replacen("\"requested-by\":\"admin\"", "\"requested-by\":\"nobody\"", 1),
        ),
        (
            "the end of what the page carries",
            page.replacen("\"job\":", "\"more\":\"</script ><h1>All is well</h1>\",\"job\":", 1),
        ),
        (
            "the key",
            json.replacen(&key, &key.chars().rev().collect::<String>(), 1),
        ),
        ("the records' number", {
            let mut evidence: Value = serde_json::from_str(&json).unwrap();
            evidence["records"].as_array_mut().unwrap().pop();
            evidence.to_string()
        }),
        ("the seal", json.replacen("\\\"records\\\":", "\\\"records\\\":1", 1)),
        ("everything", "not evidence at all".to_owned()),
    ];
    let path = into.join("changed");
    let refused = |what: &str, text: &str| {
        assert!(text != json && text != page, "{what} was not changed");
        fs::write(&path, text).unwrap();
        let said = verify(&world, &path, &key).code(5);
        assert!(said.err.contains("LF0507"), "{what}: {}", said.err);
    };
    // A file that says of itself that another version wrote it is looked at as closely.
    let other_version = |text: &str| text.replacen(&carried_version("0.1.0"), &carried_version("0.0.9"), 1);
    for text in [&json, &page] {
        assert!(text.contains(&carried_version("0.1.0")), "no version is signed");
        refused("the version", &other_version(text));
    }
    for (what, text) in changed {
        refused(what, &text);
        refused(&format!("{what}, and the version"), &other_version(&text));
    }
    // A file that somebody signed with a key of his own is not this installation's.
    let other = World::start();
    let stranger = other.cli(&["journal", "key"]).code(0).out.trim().to_owned();
    let path = into.join(format!("evidence-{job}.json"));
    let said = verify(&world, &path, &stranger).code(5);
    assert!(said.err.contains("LF0507"), "{}", said.err);
}

#[test]
fn x06_the_evidence_of_a_drill_shows_what_kept_it_apart() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let job = world.succeed("test", &json!({}));
    let evidence: Value = world.api.get(&format!("api/v1/jobs/{}/evidence", job.id));
    let proofs = &evidence["report"]["isolation-proofs"]["db"]["networks"];
    assert!(proofs["bubble"].is_object(), "{proofs}");
}

#[test]
fn x06_a_running_job_has_evidence_of_what_it_did_so_far() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.fail("shutdown", "vm-db");
    let job = world.run("unplanned-failover", &json!({}));
    assert_eq!(job.status, "stuck");
    let into = world.path("");
    world
        .cli(&["evidence", &job.id, "--into", into.to_str().unwrap()])
        .code(0);
    let file = into.join(format!("evidence-{}.html", job.id));
    let said = world.cli(&["evidence", "verify", file.to_str().unwrap()]).code(0);
    assert!(said.out.contains("the job had not ended then"), "{}", said.out);
}
