//! A running job can be followed live, and a follower that was cut off goes on where it was.

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

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
    for (id, event) in world.api.events(&path, None) {
        let begun = word(&event, "step") == "create/db" && word(&event, "event") == "intent";
        seen.push(id);
        if begun {
            assert!(world.job(&job.id).ended_at.is_none(), "the stream came late");
            break;
        }
    }
    let last = seen.last().expect("events came").to_string();

    // The rest, to the end of the job, and nothing of it twice.
    let rest: Vec<(u64, Value)> = world.api.events(&path, Some(&last)).collect();
    assert!(rest.iter().all(|(id, _)| !seen.contains(id)));
    assert!(rest.is_sorted_by_key(|(id, _)| *id));
    let end = &rest.last().expect("the job goes on").1;
    assert_eq!((word(end, "event"), word(end, "result")), ("ended", "succeeded"));

    // Both together are the whole story: what a late reader gets.
    let whole: Vec<u64> = world.api.events(&path, None).map(|(id, _)| id).collect();
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
