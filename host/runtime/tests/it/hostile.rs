//! Hostile guests: each is stopped by its own limit with its own code, nothing that left this host is forgotten, and
//! nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use landfall_guests::{Hostile, endless_reader, hostile, large_answer, trap_after_effect, wasi_probe};
use landfall_runtime::contract::adapter::Extent;
use landfall_runtime::contract::runbook::{Context, Outcome};
use landfall_runtime::contract::types::{Call, Direction};
use landfall_runtime::{Adapter, Binding, Buffer, CallError, Fault, Grants, Interface, Limits, Runbook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Fixture, Place};

/// Small, so that a test is short; wide enough for a machine that is busy with something else.
fn limits() -> Limits {
    Limits {
        cpu: Duration::from_millis(100),
        wall: Duration::from_secs(20),
        memory: 8 << 20,
        ..Limits::default()
    }
}

async fn runbook(place: &Place, fixture: &Fixture, grants: &str, limits: Limits) -> Runbook {
    let directory = place.directory.path().join(fixture.name);
    let plugin = place.runtime.load(&fixture.write(&directory)).await.unwrap();
    let grants: Grants = toml::from_str(grants).unwrap();
    let config = Arc::new([("password".to_owned(), "none of your business".to_owned())].into());
    Runbook::new(Binding::new(&place.runtime, plugin, fixture.name, config, grants, limits).unwrap()).unwrap()
}

async fn run(runbook: &Runbook) -> Result<Outcome, CallError> {
    let call = Call {
        installation: "i".into(),
        epoch: 1,
        job: None,
        step: "s".into(),
        attempt: 1,
        key: "k".into(),
        remaining_ms: 0,
        ext: vec![],
    };
    let context = Context {
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
    };
    runbook.run(call, context, None).await
}

/// A runbook that does nothing, of the host that the hostile one runs in.
fn harmless() -> Fixture {
    Fixture::new("runbook")
        .named("harmless", "1.0.0")
        .answering("effect")
        .answering("run")
}

/// Runs one, with neighbours before, beside and after it.
async fn is_stopped(name: &str) {
    let place = Place::new();
    let Hostile {
        code,
        strike,
        grants,
        fixture,
        ..
    } = hostile().into_iter().find(|hostile| hostile.name == name).unwrap();
    let neighbour = runbook(&place, &harmless(), "", Limits::default()).await;
    let mut limits = limits();
    if code == "LF0433" {
        limits.wall = Duration::from_millis(300);
    }
    let hostile = runbook(&place, &fixture, grants, limits).await;
    let beside = tokio::spawn({
        let hostile = hostile.clone();
        async move { run(&hostile).await }
    });
    while !beside.is_finished() {
        assert_eq!(run(&neighbour).await.unwrap(), Outcome::Done(vec![]));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = beside.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.fault.is_strike()), (code, strike), "{error}");
    assert!(!error.sent && error.definite(), "nothing left this host: {error}");
    let said = error.to_string();
    assert!(said.contains(name) && !said.contains("none of your business"), "{said}");
    // As often as there are instances, and once more: none was lost.
    for _ in 0..5 {
        assert_eq!(run(&hostile).await.unwrap_err().code(), code);
    }
    assert_eq!(run(&neighbour).await.unwrap(), Outcome::Done(vec![]));
}

#[tokio::test]
async fn hostile_endless_loop() {
    is_stopped("endless-loop").await;
}

#[tokio::test]
async fn hostile_bulk_memory_loop() {
    is_stopped("bulk-memory-loop").await;
}

#[tokio::test]
async fn hostile_deep_recursion() {
    is_stopped("deep-recursion").await;
}

#[tokio::test]
async fn hostile_memory_bomb() {
    is_stopped("memory-bomb").await;
}

#[tokio::test]
async fn hostile_table_bomb() {
    is_stopped("table-bomb").await;
}

#[tokio::test]
async fn hostile_handle_bomb() {
    is_stopped("handle-bomb").await;
}

#[tokio::test]
async fn hostile_log_flood() {
    is_stopped("log-flood").await;
}

#[tokio::test]
async fn hostile_gigabyte_result() {
    is_stopped("gigabyte-result").await;
}

#[tokio::test]
async fn hostile_gigabyte_claim() {
    is_stopped("gigabyte-claim").await;
}

#[tokio::test]
async fn hostile_blocking_call() {
    is_stopped("blocking-call").await;
}

#[tokio::test]
async fn hostile_start_loop() {
    is_stopped("start-loop").await;
}

#[tokio::test]
async fn hostile_trap() {
    is_stopped("trap").await;
}

#[tokio::test]
async fn hostile_forged_handle() {
    is_stopped("forged-handle").await;
}

/// A server that answers each connection once.
async fn server(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            assert!(request[..read].starts_with(b"POST / HTTP/1.1\r\n"));
            // A client that goes away while a large answer comes is what is tested.
            let _ = stream.write_all(&answer).await;
        }
    });
    port
}

fn granted(port: u16) -> String {
    format!(r#"http = [{{ scheme = "http", host = "127.0.0.1", port = {port} }}]"#)
}

#[tokio::test]
async fn hostile_trap_after_an_effect_is_not_definite() {
    let place = Place::new();
    let port = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let fixture = trap_after_effect(&format!("127.0.0.1:{port}"));
    let hostile = runbook(&place, &fixture, &granted(port), limits()).await;
    let error = run(&hostile).await.unwrap_err();
    assert_eq!((error.code(), error.fault.is_strike()), ("LF0431", true), "{error}");
    assert!(error.sent && !error.definite() && !error.retryable(), "{error}");

    // The same guest, whose request is refused: nothing left, so nothing happened, whatever the guest then did.
    let refused = runbook(&place, &fixture, r#"interfaces = ["http"]"#, limits()).await;
    let error = run(&refused).await.unwrap_err();
    assert_eq!(error.code(), "LF0437", "{error}");
    assert!(!error.sent && error.definite(), "{error}");
}

#[tokio::test]
async fn hostile_answer_is_cut_at_its_limit() {
    let place = Place::new();
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 100_000, b'x');
    let port = server(answer).await;
    let fixture = large_answer(&format!("127.0.0.1:{port}"));
    let hostile = runbook(&place, &fixture, &granted(port), limits()).await;
    assert_eq!(run(&hostile).await.unwrap(), Outcome::Done(vec![]));
    let tight = Limits {
        body_bytes: 65_536,
        ..limits()
    };
    let error = run(&hostile.with_limits(tight)).await.unwrap_err();
    assert_eq!(error.code(), "LF0446", "{error}");
    assert!(matches!(error.fault, Fault::Trap { .. }) && error.sent, "{error}");
    assert!(error.to_string().contains("`limits.body-bytes`"), "{error}");
    // The site's doing, not the plugin's.
    for _ in 0..3 {
        run(&hostile.with_limits(tight)).await.unwrap_err();
    }
    assert!(hostile.binding().plugin().strikes().is_empty());
}

#[tokio::test]
async fn hostile_reading_of_a_stream_without_end_ends_at_a_limit() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { while stream.write_all(&[7; 8_192]).await.is_ok() {} });
        }
    });
    let neighbour = runbook(&place, &harmless(), "", Limits::default()).await;
    let grants = format!(r#"transport = {{ far = {{ tcp = "127.0.0.1:{port}" }} }}"#);
    let reader = runbook(&place, &endless_reader(), &grants, Limits::default()).await;
    let (slow, busy) = (Duration::from_millis(300), Duration::from_millis(100));
    for (cpu, wall, code) in [
        (Duration::from_mins(1), slow, "LF0433"),
        (busy, Duration::from_mins(1), "LF0432"),
    ] {
        let reader = reader.with_limits(Limits { cpu, wall, ..limits() });
        let beside = tokio::spawn(async move { run(&reader).await });
        while !beside.is_finished() {
            assert_eq!(run(&neighbour).await.unwrap(), Outcome::Done(vec![]));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = beside.await.unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.sent && error.definite(), "it only listened: {error}");
    }
}

/// A plugin that imports one function of the interface.
fn touching(interface: Interface) -> Fixture {
    match interface {
        Interface::Buffers => reads_buffer(),
        Interface::Clock => Fixture::new("runbook")
            .import("now", "landfall:plugin/clock", "now-ms")
            .body("run", "(drop (call $now)) i32.const 2048"),
        Interface::Http => trap_after_effect("127.0.0.1:1"),
        Interface::Random => Fixture::new("runbook")
            .import("random", "landfall:plugin/random", "bytes")
            .body("run", "(call $random (i32.const 8) (i32.const 512)) i32.const 2048"),
        Interface::Session => Fixture::new("runbook")
            .import("delete", "landfall:plugin/session", "delete")
            .body("run", "(call $delete (i32.const 0) (i32.const 0)) i32.const 2048"),
        Interface::State => Fixture::new("runbook")
            .import("delete", "landfall:plugin/state", "delete")
            .body(
                "run",
                "(call $delete (i32.const 0) (i32.const 0) (i32.const 512)) i32.const 2048",
            ),
        Interface::Guests => Fixture::new("runbook")
            .import("exec", "landfall:plugin/guests", "exec")
            .body(
                "run",
                format!(
                    "(call $exec {} (i32.const 512)) i32.const 2048",
                    "(i32.const 0) ".repeat(12)
                ),
            ),
        Interface::Transport => Fixture::new("runbook")
            .import("park", "landfall:plugin/transport", "[method]connection.park")
            .body("run", "(call $park (i32.const 1)) i32.const 2048"),
        Interface::Signing => Fixture::new("runbook")
            .import("hmac", "landfall:plugin/signing", "hmac")
            .body(
                "run",
                "(call $hmac (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
                 i32.const 2048",
            ),
    }
}

#[tokio::test]
async fn x01_hostile_probe_of_every_interface_that_is_not_granted() {
    let place = Place::new();
    for interface in Interface::ALL {
        let fixture = touching(interface).requests(&format!("interfaces = [\"{interface}\"]"));
        let plugin = fixture.write(&place.directory.path().join(interface.as_str()));
        let plugin = place.runtime.load(&plugin).await.unwrap();
        let bind = |interfaces| {
            let grants = Grants {
                interfaces,
                ..Grants::default()
            };
            let (plugin, config) = (Arc::clone(&plugin), Arc::default());
            Binding::new(&place.runtime, plugin, "probe", config, grants, Limits::default())
        };
        let others = Interface::ALL.into_iter().filter(|other| *other != interface);
        let error = bind(others.collect()).err().unwrap();
        assert_eq!(error.code(), "LF0420", "{error}");
        let line = error.grant_line().unwrap();
        assert!(line.contains(&format!("\"{interface}\"")), "{line}");
        bind(toml::from_str::<Grants>(line).unwrap().interfaces).unwrap();
    }
}

#[tokio::test]
async fn x01_hostile_probe_of_wasi_reaches_nothing() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let fixture = wasi_probe(listener.local_addr().unwrap().port());
    let probe = runbook(&place, &fixture, "", limits()).await;
    assert_eq!(run(&probe).await.unwrap(), Outcome::Done(vec![]));
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

/// An adapter that asks for the length of a buffer; the offset says which handle it uses, 0 its own.
fn reads_buffer() -> Fixture {
    Fixture::new("hypervisor-adapter")
        .requests(r#"interfaces = ["buffers"]"#)
        .import("len", "landfall:plugin/buffers", "[method]buffer.len")
        .import("forget", "landfall:plugin/buffers", "[resource-drop]buffer")
        .body(
            "read",
            "(local $handle i32)
             (local.set $handle (i32.wrap_i64 (local.get 4)))
             (if (i32.eqz (local.get $handle)) (then (local.set $handle (local.get 6))))
             (if (i64.ne (call $len (local.get $handle)) (i64.const 9)) (then unreachable))
             (call $forget (local.get 6))
             i32.const 2048",
        )
}

#[tokio::test]
async fn x01_hostile_forged_handles_of_another_call_are_unknown() {
    let place = Place::new();
    let plugin = place
        .runtime
        .load(&reads_buffer().write(&place.plugins()))
        .await
        .unwrap();
    let site = |name: &str| {
        let grants: Grants = toml::from_str(r#"interfaces = ["buffers"]"#).unwrap();
        let (plugin, config) = (Arc::clone(&plugin), Arc::default());
        Adapter::new(Binding::new(&place.runtime, plugin, name, config, grants, limits()).unwrap()).unwrap()
    };
    let (east, west) = (site("east"), site("west"));
    let secret = Buffer::from_bytes("disk data".into());
    let read = |site: Adapter, offset, buffer: Buffer| async move {
        let extent = Extent { offset, bytes: 1 };
        site.read("m".into(), "1".into(), extent, &buffer).await
    };
    // While other calls hold buffers of their own.
    let others = (0..50).map(|_| tokio::spawn(read(east.clone(), 0, secret.clone())));
    let others: Vec<_> = others.collect();
    for handle in (2..40).chain([1 << 20, 0x0fff_ffff, 0x7fff_ffff, 0xffff_ffff]) {
        let error = read(west.clone(), handle, Buffer::with_capacity(1)).await.unwrap_err();
        assert_eq!(error.code(), "LF0448", "{handle}: {error}");
        assert!(error.to_string().contains("handle"), "{error}");
    }
    for other in others {
        other.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn hostile_waiting_in_all_calls_leaves_instances_for_others() {
    let place = Place::new();
    let waits = hostile().into_iter().find(|kind| kind.name == "blocking-call").unwrap();
    let waits = runbook(&place, &waits.fixture, "", Limits::default()).await;
    let neighbour = runbook(&place, &harmless(), "", Limits::default()).await;
    // Twice as many as there are instances.
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let waits = waits.clone();
            tokio::spawn(async move { run(&waits).await })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(run(&neighbour).await.unwrap(), Outcome::Done(vec![]));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(calls.iter().all(|call| !call.is_finished()));
    for call in calls {
        call.abort();
    }
}
