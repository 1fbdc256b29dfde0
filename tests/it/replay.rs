//! Decisions of policies, made again over past data.

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::process::{path, plugins};
use crate::harness::world::World;

fn with_two_points() -> World {
    let inventory = Inventory {
        rpo: "1s",
        points_every: "500ms",
        ..Inventory::of(&["db"])
    };
    let world = World::protected(&inventory, &plan(&["db"], &[]));
    eventually("two points", || (world.points("db").len() > 1).then_some(()));
    world
}

#[test]
fn x05_a_decision_is_recorded_and_the_same_version_decides_the_same() {
    let world = with_two_points();
    let job = world.succeed("test", &json!({"point": "latest-processed"}));
    let chosen = job.item("db").point.clone().expect("a point was chosen");

    let decisions: Vec<Value> = world
        .cli(&["policy", "decisions", &job.id, "--output", "json"])
        .code(0)
        .json();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert_eq!(decisions[0]["selections"][0]["point"], chosen.id.as_str());
    assert!(decisions[0]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(
        !decisions[0]["input"]["candidates"][0]["points"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let rows: Vec<Value> = world
        .cli(&["policy", "replay", "--job", &job.id, "--output", "json"])
        .code(0)
        .json();
    assert_eq!(rows[0]["same"], true, "{rows:?}");
    assert_eq!(rows[0]["would-choose"], chosen.id.as_str());
    let text = world.cli(&["policy", "replay", "--job", &job.id]).code(0);
    assert!(text.out.contains("same") && text.err.contains("0 of 1"), "{text}");
}

#[test]
fn x05_another_choice_shows_where_it_would_have_gone() {
    let world = with_two_points();
    let oldest = world.points("db").last().expect("two points").id.clone();
    let job = world.succeed("test", &json!({"point": "latest-processed"}));
    let arguments = ["policy", "replay", "--job", &job.id, "--choice", "custom"];
    let param = format!("db={oldest}");
    let rows: Vec<Value> = world
        .cli(&[&arguments[..], &["--param", &param, "--output", "json"]].concat())
        .code(0)
        .json();
    assert_eq!(
        (&rows[0]["would-choose"], &rows[0]["same"]),
        (&json!(oldest), &json!(false)),
        "{rows:?}"
    );
    // A choice that cannot be made is a row with its reason.
    let none: Vec<Value> = world
        .cli(&[
            "policy",
            "replay",
            "--job",
            &job.id,
            "--choice",
            "latest-app-consistent",
            "--output",
            "json",
        ])
        .code(0)
        .json();
    assert_eq!(none[0]["would-choose"], Value::Null);
    assert!(
        none[0]["reason"].as_str().unwrap().contains("app-consistent"),
        "{none:?}"
    );
}

#[test]
fn x05_recorded_decisions_are_replayed_without_a_daemon() {
    let world = with_two_points();
    let job = world.succeed("test", &json!({"point": "latest-processed"}));
    let recorded = world
        .cli(&["policy", "decisions", &job.id, "--output", "jsonl"])
        .code(0);
    let file = world.path("decisions.jsonl");
    std::fs::write(&file, &recorded.out).unwrap();
    let policy = plugins().join("standard");
    let offline = [
        "policy",
        "replay",
        "--plugin",
        path(&policy),
        "--input",
        path(&file),
        "--output",
        "json",
    ];
    let rows: Vec<Value> = world
        .cli(&[&offline[..], &["--server", "http://127.0.0.1:9"]].concat())
        .code(0)
        .json();
    assert_eq!(rows[0]["same"], true, "{rows:?}");
}

#[test]
fn x05_an_items_past_has_only_the_points_of_then() {
    let world = with_two_points();
    let points = world.points("db");
    let oldest = points.last().expect("two points");
    let at = jiff_time(oldest.source_time_ms);
    let rows: Vec<Value> = world
        .cli(&["policy", "replay", "--item", "db", "--at", &at, "--output", "json"])
        .code(0)
        .json();
    assert_eq!(rows[0]["would-choose"], oldest.id.as_str(), "{rows:?} {points:?}");
}

#[test]
fn c04_what_a_policy_would_keep_is_shown_and_nothing_is_deleted() {
    let world = with_two_points();
    let before = world.points("db").len();
    let verdicts: Vec<Value> = world
        .cli(&["policy", "retain", "db", "--keep", "1ms", "--output", "json"])
        .code(0)
        .json();
    assert!(verdicts.iter().any(|verdict| verdict["keep"] == false), "{verdicts:?}");
    let all: Vec<Value> = world
        .cli(&["policy", "retain", "db", "--output", "json"])
        .code(0)
        .json();
    assert!(all.iter().all(|verdict| verdict["keep"] == true), "{all:?}");
    assert!(world.points("db").len() >= before);
}

/// A time as the command line takes it, to the millisecond.
fn jiff_time(ms: u64) -> String {
    let seconds = ms / 1_000;
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"])
        .output()
        .expect("date runs");
    format!("{}.{:03}Z", String::from_utf8_lossy(&output.stdout).trim(), ms % 1_000)
}
