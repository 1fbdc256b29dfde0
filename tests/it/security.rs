//! Who may speak to the daemon, and what it does not do twice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::answers::{Job, Problem};
use crate::harness::api::Api;
use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

/// A request with headers as they are given, which no client library would send.
fn raw(world: &World, headers: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(world.api.authority()).expect("the daemon listens");
    let mut request = "GET /api/v1/items HTTP/1.1\r\nConnection: close\r\n".to_owned();
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn bearer(world: &World) -> String {
    let token = std::fs::read_to_string(world.path("data/token")).unwrap();
    format!("Bearer {}", token.trim())
}

#[test]
fn without_the_token_nothing_is_answered() {
    let world = World::start();
    for token in [None, Some("wrong"), Some("")] {
        let stranger = Api::new(&format!("http://{}", world.api.authority()), token);
        let answer = stranger.try_get("api/v1/items").unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json::<Problem>().code, "LF0502");
        assert_eq!(
            stranger.post("api/v1/jobs", &json!({"operation": "protect"})).status,
            401
        );
        // That it lives is no secret.
        assert_eq!(stranger.try_get("livez").unwrap().status, 200);
    }
    let file = world.path("data/token");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(world.path("data")).unwrap().mode() & 0o777, 0o700);
    std::fs::write(world.path("other"), "wrong").unwrap();
    let refused = world.cli(&["item", "list", "--token-file", "other"]).code(6);
    assert!(refused.err.contains("LF0502"), "{refused}");
}

#[test]
fn a_web_page_of_another_site_gets_nothing() {
    let world = World::start();
    let (bearer, here) = (bearer(&world), world.api.authority().to_owned());
    let status = |host: &str, origin: Option<&str>| {
        let mut headers = vec![("Host", host), ("Authorization", bearer.as_str())];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        let answer = raw(&world, &headers);
        answer.split(' ').nth(1).map(str::to_owned).expect("a status")
    };
    assert_eq!(status(&here, None), "200");
    assert_eq!(status(&here, Some(&format!("http://{here}"))), "200");
    // A name that somebody else's name server points at this machine.
    assert_eq!(status("rebound.example.org", None), "401");
    assert_eq!(status(&here, Some("http://page.example.org")), "401");
    assert_eq!(status(&here, Some("http://127.0.0.1:1")), "401");
    assert_eq!(status(&here, Some("null")), "401");
}

#[test]
fn the_same_request_under_one_key_is_one_job() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let ask = |operation: &str| {
        let body = json!({"operation": operation, "plan": "hr"});
        world
            .api
            .post_with("api/v1/jobs", &body, &[("idempotency-key", "once")])
    };
    let first: Job = ask("test").ok();
    world.rest(&first.id);
    let second: Job = ask("test").ok();
    assert_eq!(first.id, second.id);
    let other = ask("cleanup");
    assert_eq!((other.status, other.json::<Problem>().code.as_str()), (409, "LF0214"));
    let jobs: Value = world.api.get("api/v1/jobs");
    assert_eq!(
        jobs["items"].as_array().map(Vec::len),
        Some(2),
        "the protection and the test"
    );
}

#[test]
fn the_api_is_not_opened_to_other_hosts() {
    let world = World::start();
    let text = std::fs::read_to_string(world.path("landfall.toml")).unwrap();
    std::fs::write(world.path("open.toml"), text.replace("127.0.0.1:0", "0.0.0.0:0")).unwrap();
    let file = world
        .cli(&["daemon", "run", "--config", "open.toml", "--data-dir", "elsewhere"])
        .code(5);
    assert!(file.err.contains("LF0504") && file.err.contains("loopback"), "{file}");
    let flag = world
        .cli(&[
            "daemon",
            "run",
            "--config",
            "landfall.toml",
            "--data-dir",
            "elsewhere",
            "--listen",
            "0.0.0.0:0",
        ])
        .code(5);
    assert!(flag.err.contains("loopback"), "{flag}");
}

#[test]
fn two_daemons_do_not_share_a_data_directory() {
    let world = World::start();
    let second = world.cli(&["daemon", "run", "--config", "landfall.toml"]).code(5);
    assert!(second.err.contains("LF0505"), "{second}");
    // The first one does not mind.
    world.cli(&["item", "list"]).code(0);
}

#[test]
fn a_configuration_with_a_mistake_is_refused_with_its_place() {
    let world = World::start();
    let text = std::fs::read_to_string(world.path("landfall.toml")).unwrap();
    std::fs::write(world.path("wrong.toml"), text.replace("adapter =", "adaptor =")).unwrap();
    let refused = world
        .cli(&["daemon", "run", "--config", "wrong.toml", "--data-dir", "elsewhere"])
        .code(5);
    for word in ["LF0504", "adaptor", "line 5"] {
        assert!(refused.err.contains(word), "{word} is not in {refused}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_told_by_the_exit_code() {
    let mut world = World::start();
    world.kill_daemon();
    let ended = world.cli(&["item", "list"]).code(6);
    assert!(
        ended.err.contains("LF0501") && ended.err.contains("landfall daemon run"),
        "{ended}"
    );
}
