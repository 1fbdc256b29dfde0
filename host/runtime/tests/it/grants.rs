//! Nothing without a grant: interfaces are not linked, requests are not sent, and the refusal says what would help.

use std::sync::Arc;
use std::time::Duration;

use landfall_runtime::contract::adapter::Extent;
use landfall_runtime::contract::runbook::{Context, Outcome};
use landfall_runtime::contract::types::{Call, Direction, ProbeAnswer};
use landfall_runtime::{Adapter, BindError, Binding, Buffer, CallError, Grants, Limits, Plugin, Remedy, Runbook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Fixture, Place};

const HTTP: &str = "wasi:http/types@0.2.12";

/// A runbook that sends one GET to `authority` and fails with the code `no-answer` if none comes.
fn caller(authority: &str) -> Fixture {
    let mut fixture = Fixture::new("runbook")
        .requests(r#"http = [{ scheme = "http", host = "*", port = "*" }]"#)
        .import("fields", HTTP, "[constructor]fields")
        .import("request", HTTP, "[constructor]outgoing-request")
        .import("scheme", HTTP, "[method]outgoing-request.set-scheme")
        .import("authority", HTTP, "[method]outgoing-request.set-authority")
        .import("path", HTTP, "[method]outgoing-request.set-path-with-query")
        .import("handle", "wasi:http/outgoing-handler@0.2.12", "handle")
        .import("subscribe", HTTP, "[method]future-incoming-response.subscribe")
        .import("get", HTTP, "[method]future-incoming-response.get")
        .import("block", "wasi:io/poll@0.2.12", "[method]pollable.block")
        .import("forget", "wasi:io/poll@0.2.12", "[resource-drop]pollable");
    let authority = fixture.text(authority);
    let path = fixture.text("/");
    let code = fixture.text("no-answer");
    let send = format!(
        "(func $send (result i32) (local $request i32) (local $answer i32) (local $ready i32)
            (local.set $request (call $request (call $fields)))
            (drop (call $scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
            (drop (call $authority (local.get $request) (i32.const 1) {authority}))
            (drop (call $path (local.get $request) (i32.const 1) {path}))
            (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 512))
            (if (i32.load8_u (i32.const 512)) (then (return (i32.const 1))))
            (local.set $answer (i32.load (i32.const 520)))
            (local.set $ready (call $subscribe (local.get $answer)))
            (call $block (local.get $ready))
            (call $forget (local.get $ready))
            (call $get (local.get $answer) (i32.const 512))
            (i32.load8_u (i32.const 528)))
         (func $text (param i32 i32 i32)
            (i32.store (local.get 0) (local.get 1))
            (i32.store offset=4 (local.get 0) (local.get 2)))"
    );
    let run = format!(
        "(if (call $send) (then
            (i32.store8 (i32.const 2048) (i32.const 1))
            (call $text (i32.const 2052) {code})))
         i32.const 2048"
    );
    fixture.helper(&send).body("run", run)
}

fn bind(place: &Place, plugin: &Arc<Plugin>, grants: &str, limits: Limits) -> Result<Runbook, BindError> {
    let grants: Grants = toml::from_str(grants).unwrap();
    Runbook::new(Binding::new(
        &place.runtime,
        Arc::clone(plugin),
        "tell",
        Arc::default(),
        grants,
        limits,
    )?)
}

pub(crate) async fn run(runbook: &Runbook) -> Result<Outcome, CallError> {
    runbook.run(call(), context(), None).await
}

pub(crate) fn call() -> Call {
    Call {
        installation: "i".into(),
        epoch: 1,
        job: None,
        step: "s".into(),
        attempt: 1,
        key: "k".into(),
        remaining_ms: 0,
        ext: vec![],
    }
}

fn context() -> Context {
    Context {
        plan: "p".into(),
        operation: "failover".into(),
        kind: None,
        direction: Direction::Forward,
        group: None,
        phase: "before".into(),
        action: "a".into(),
        machines: vec![],
        outputs: vec![],
        params: vec![],
        ext: vec![],
    }
}

/// A server that answers every connection once with `answer`, after reading something.
async fn server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                assert!(request[..read].starts_with(b"GET / HTTP/1.1\r\n"));
                stream.write_all(answer).await.unwrap();
                // Held open, so that a silent server stays silent.
                tokio::time::sleep(Duration::from_mins(1)).await;
            });
        }
    });
    port
}

const OK: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn an_interface_without_a_grant_is_not_linked() {
    let place = Place::new();
    let fixture = Fixture::new("runbook")
        .requests(r#"interfaces = ["clock", "random"]"#)
        .import("now", "landfall:plugin/clock", "now-ms")
        .body("run", "(drop (call $now)) i32.const 2048");
    let plugin = place.runtime.load(&fixture.write(&place.plugins())).await.unwrap();
    let error = bind(&place, &plugin, r#"interfaces = ["random"]"#, Limits::default())
        .err()
        .unwrap();
    assert_eq!(error.code(), "LF0420");
    assert_eq!(
        error.grant_line(),
        Some(r#"interfaces = ["clock", "random"]"#),
        "{error}"
    );
    let granted = bind(&place, &plugin, error.grant_line().unwrap(), Limits::default()).unwrap();
    assert_eq!(run(&granted).await.unwrap(), Outcome::Done(vec![]));
    assert_eq!(granted.probe(call(), context()).await.unwrap(), None);

    let silent = fixture.requests("").write(&place.directory.path().join("silent"));
    let plugin = place.runtime.load(&silent).await.unwrap();
    let error = bind(&place, &plugin, r#"interfaces = ["clock"]"#, Limits::default())
        .err()
        .unwrap();
    assert!(
        error.grant_line().is_none() && error.to_string().contains("plugin.toml"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_goes_only_where_it_is_granted() {
    let place = Place::new();
    let port = server(OK).await;
    let plugin = caller(&format!("127.0.0.1:{port}")).write(&place.plugins());
    let plugin = place.runtime.load(&plugin).await.unwrap();
    let elsewhere = r#"http = [{ scheme = "http", host = "127.0.0.1", port = 1 }]"#;
    let refused = bind(&place, &plugin, elsewhere, Limits::default()).unwrap();
    let error = run(&refused).await.unwrap_err();
    assert_eq!(
        (error.code(), error.failure().unwrap().code.as_str()),
        ("LF0437", "no-answer"),
        "{error}"
    );
    assert!(error.definite() && !error.sent, "a refused request has no effect");
    let granted = bind(&place, &plugin, error.grant_line().unwrap(), Limits::default()).unwrap();
    assert_eq!(run(&granted).await.unwrap(), Outcome::Done(vec![]));
}

#[tokio::test]
async fn a_site_that_is_down_is_a_definite_failure_and_a_silent_one_is_not() {
    let place = Place::new();
    let silent = server(b"").await;
    let down = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let limits = Limits {
        wall: Duration::from_millis(400),
        ..Limits::default()
    };
    for (port, code, definite) in [(down, "LF0430", true), (silent, "LF0433", false)] {
        let directory = place.directory.path().join(port.to_string());
        let plugin = caller(&format!("127.0.0.1:{port}")).write(&directory);
        let plugin = place.runtime.load(&plugin).await.unwrap();
        let grants = format!(r#"http = [{{ scheme = "http", host = "127.0.0.1", port = {port} }}]"#);
        let error = run(&bind(&place, &plugin, &grants, limits).unwrap()).await.unwrap_err();
        assert_eq!((error.code(), error.definite()), (code, definite), "{error}");
    }
}

#[tokio::test]
async fn no_grant_reaches_a_metadata_service() {
    let place = Place::new();
    let plugin = caller("169.254.169.254").write(&place.plugins());
    let plugin = place.runtime.load(&plugin).await.unwrap();
    let grants = r#"http = [{ scheme = "http", host = "169.254.169.254", port = 80 }]"#;
    let error = run(&bind(&place, &plugin, grants, Limits::default()).unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error.denials[0].remedy, Remedy::Never(_)) && error.grant_line().is_none(),
        "{error}"
    );
}

#[tokio::test]
async fn bytes_go_through_a_buffer() {
    let place = Place::new();
    let streams = "wasi:io/streams@0.2.12";
    let mut fixture = Fixture::new("hypervisor-adapter")
        .requests(r#"interfaces = ["buffers"]"#)
        .import("writer", "landfall:plugin/buffers", "[method]buffer.writer")
        .import("give-back", "landfall:plugin/buffers", "[resource-drop]buffer")
        .import("write", streams, "[method]output-stream.blocking-write-and-flush")
        .import("close", streams, "[resource-drop]output-stream");
    let data = fixture.text("disk data");
    let read = format!(
        "(local $stream i32)
         (local.set $stream (call $writer (local.get 6)))
         (call $write (local.get $stream) {data} (i32.const 512))
         (call $close (local.get $stream))
         (call $give-back (local.get 6))
         i32.const 2048"
    );
    let plugin = fixture.body("read", read).write(&place.plugins());
    let plugin = place.runtime.load(&plugin).await.unwrap();
    let grants: Grants = toml::from_str(r#"interfaces = ["buffers"]"#).unwrap();
    let binding = Binding::new(
        &place.runtime,
        plugin,
        "east",
        Arc::default(),
        grants,
        Limits::default(),
    )
    .unwrap();
    let adapter = Adapter::new(binding).unwrap();
    let buffer = Buffer::with_capacity(64);
    let extent = Extent { offset: 0, bytes: 9 };
    adapter.read("m".into(), "1".into(), extent, &buffer).await.unwrap();
    adapter.read("m".into(), "1".into(), extent, &buffer).await.unwrap();
    assert_eq!(buffer.to_bytes(), "disk datadisk data");
}

#[tokio::test]
async fn optional_exports_are_found() {
    let place = Place::new();
    let fixture = Fixture::new("runbook")
        .exporting(&["runbook-probe", "runbook-undo"])
        .answering("probe")
        .answering("undo");
    let plugin = place.runtime.load(&fixture.write(&place.plugins())).await.unwrap();
    assert!(plugin.has_probe() && plugin.has_undo());
    let runbook = bind(&place, &plugin, "", Limits::default()).unwrap();
    assert_eq!(
        runbook.probe(call(), context()).await.unwrap(),
        Some(ProbeAnswer::Absent)
    );
    assert_eq!(
        runbook.undo(call(), context(), None).await.unwrap(),
        Some(Outcome::Done(vec![]))
    );
    let error = Adapter::new(runbook.binding().clone()).err().unwrap();
    assert_eq!(error.code(), "LF0421", "{error}");
}

/// Asks WASI for the time and for random bytes; traps unless the clock stands still, or if random does too.
fn asks_wasi() -> Fixture {
    let body = "(call $now (i32.const 512))
        (if (i64.ne (i64.load (i32.const 512)) (i64.const 0)) (then unreachable))
        (if (i64.eq (call $random) (call $random)) (then unreachable))
        i32.const 2048";
    Fixture::new("runbook")
        .requests(r#"interfaces = ["clock"]"#)
        .import("now", "wasi:clocks/wall-clock@0.2.12", "now")
        .import("random", "wasi:random/random@0.2.12", "get-random-u64")
        .body("run", body)
}

#[tokio::test]
async fn wasi_is_there_and_tells_nothing_without_a_grant() {
    let place = Place::new();
    let plugin = place.runtime.load(&asks_wasi().write(&place.plugins())).await.unwrap();
    let blind = bind(&place, &plugin, "", Limits::default()).unwrap();
    assert_eq!(run(&blind).await.unwrap(), Outcome::Done(vec![]));
    let granted = bind(&place, &plugin, r#"interfaces = ["clock"]"#, Limits::default()).unwrap();
    assert_eq!(run(&granted).await.unwrap_err().code(), "LF0431", "the clock runs");
}

#[tokio::test]
async fn configuration_arrives() {
    let place = Place::new();
    let mut fixture = Fixture::new("runbook").import("get", "landfall:plugin/config", "get");
    let name = fixture.text("url");
    let body = format!(
        "(call $get {name} (i32.const 512))
         (if (i32.ne (i32.load (i32.const 520)) (i32.const 5)) (then unreachable))
         i32.const 2048"
    );
    let plugin = place
        .runtime
        .load(&fixture.body("run", body).write(&place.plugins()))
        .await
        .unwrap();
    for (value, code) in [("12345", None), ("1", Some("LF0431"))] {
        let config = Arc::new([("url".to_owned(), value.to_owned())].into());
        let plugin = Arc::clone(&plugin);
        let binding = Binding::new(
            &place.runtime,
            plugin,
            "tell",
            config,
            Grants::default(),
            Limits::default(),
        )
        .unwrap();
        let answer = run(&Runbook::new(binding).unwrap()).await;
        assert_eq!(answer.as_ref().err().map(CallError::code), code, "{answer:?}");
    }
}
