//! A running job can be followed live, and a follower that was cut off goes on where it was.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

/// Records of a stream of events: the id and the data of each.
fn records(stream: ureq::http::Response<ureq::Body>) -> impl Iterator<Item = (u64, Value)> {
    let mut lines = BufReader::new(stream.into_body().into_reader()).lines();
    std::iter::from_fn(move || {
        let (mut id, mut data, mut event) = (None, None, String::new());
        loop {
            let line = lines.next()?.ok()?;
            match line.split_once(':') {
                Some(("id", value)) => id = value.trim().parse().ok(),
                Some(("data", value)) => data = serde_json::from_str(value.trim()).ok(),
                Some(("event", value)) => value.trim().clone_into(&mut event),
                _ if line.is_empty() && event == "record" => return Some((id?, data?)),
                _ => {}
            }
        }
    })
}

fn word<'a>(event: &'a Value, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn f17_events_come_live_and_go_on_after_the_last_seen_one() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.latency("create-machine", 1_000, 1_000);
    let job = world.launch("test", &json!({}));
    let path = format!("api/v1/jobs/{}/events", job.id);

    // Live: the creation is seen to begin while it runs.
    let mut seen = Vec::new();
    for (id, event) in records(world.api.stream(&path, &[])) {
        let begun = word(&event, "step") == "create/db" && word(&event, "event") == "intent";
        seen.push(id);
        if begun {
            assert!(world.job(&job.id).ended_at.is_none(), "the stream came late");
            break;
        }
    }
    let last = seen.last().expect("events came").to_string();

    // The rest, to the end of the job, and nothing of it twice.
    let rest: Vec<(u64, Value)> = records(world.api.stream(&path, &[("last-event-id", &last)])).collect();
    assert!(rest.iter().all(|(id, _)| !seen.contains(id)));
    assert!(rest.is_sorted_by_key(|(id, _)| *id));
    let end = &rest.last().expect("the job goes on").1;
    assert_eq!((word(end, "event"), word(end, "result")), ("ended", "succeeded"));

    // Both together are the whole story: what a late reader gets.
    let whole: Vec<u64> = records(world.api.stream(&path, &[])).map(|(id, _)| id).collect();
    seen.extend(rest.iter().map(|(id, _)| *id));
    assert_eq!(seen, whole);
}

#[test]
fn f17_a_person_follows_steps_and_machines_live() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.latency("create-machine", 1_000, 1_000);
    let job = world.launch("test", &json!({}));
    let watching = world.begin(&["job", "watch", &job.id]);
    crate::harness::eventually("the creation is shown while it runs", || {
        watching.err().contains("create/db").then_some(())
    });
    assert!(world.job(&job.id).ended_at.is_none(), "it was shown late");
    let ended = watching.end().code(0);
    assert!(
        ended.err.contains("start/db") && ended.out.contains("isolated"),
        "{ended}"
    );
    // Programs get the same as lines of JSON.
    let lines = world.cli(&["job", "watch", &job.id, "-o", "jsonl"]).code(0);
    let lines: Vec<Value> = lines
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines.iter().map(|line| word(line, "type")).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("version", "job"));
    assert!(kinds.contains(&"event"));
}
