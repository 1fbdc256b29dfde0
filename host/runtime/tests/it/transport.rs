//! `transport` through a guest: bytes pass, connections are kept warm only when that is safe, and nothing that the far
//! side or the guest does costs more than the call.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use landfall_runtime::contract::adapter::Extent;
use landfall_runtime::contract::runbook::Outcome;
use landfall_runtime::{Adapter, Binding, Buffer, CallError, Grants, Limits, Plugin, Remedy, Runbook};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use crate::fixture::{Fixture, Place};
use crate::grants::{call, run};

const MODULE: &str = "landfall:plugin/transport";
const STREAMS: &str = "wasi:io/streams@0.2.12";

/// A runbook that opens `e`, and then does what `then` says with the connection `$c`, its reader `$r` and writer `$w`.
/// A failure to open is handed on.
fn opener(kind: &'static str, function: &'static str, then: &str) -> Fixture {
    let mut fixture = Fixture::new(kind)
        .requests("interfaces = [\"buffers\"]\ntransport = [\"e\"]")
        .import("open", MODULE, "open")
        .import("reader", MODULE, "[method]connection.reader")
        .import("writer", MODULE, "[method]connection.writer")
        .import("park", MODULE, "[method]connection.park")
        .import("write", STREAMS, "[method]output-stream.blocking-write-and-flush")
        .import("read", STREAMS, "[method]input-stream.blocking-read");
    if kind == "hypervisor-adapter" {
        fixture = fixture
            .import("splice", STREAMS, "[method]output-stream.blocking-splice")
            .import("give-back", "landfall:plugin/buffers", "[resource-drop]buffer")
            .import("buffer-reader", "landfall:plugin/buffers", "[method]buffer.reader")
            .import("buffer-writer", "landfall:plugin/buffers", "[method]buffer.writer")
            .import("close-in", STREAMS, "[resource-drop]input-stream")
            .import("close-out", STREAMS, "[resource-drop]output-stream");
    }
    let (endpoint, tag, ping) = (fixture.text("e"), fixture.text("t"), fixture.text("ping"));
    let open = format!("(call $open {endpoint} (i32.const 0) (i32.const 0) {tag} (i32.const 512))");
    let body = format!(
        "(local $c i32) (local $r i32) (local $w i32) (local $b i32) (local $left i64)
         {open}
         (if (i32.load8_u (i32.const 512)) (then (return (i32.const 512))))
         (local.set $c (i32.load (i32.const 516)))
         (call $reader (local.get $c) (i32.const 512))
         (if (i32.load8_u (i32.const 512)) (then unreachable))
         (local.set $r (i32.load (i32.const 516)))
         (call $writer (local.get $c) (i32.const 512))
         (if (i32.load8_u (i32.const 512)) (then unreachable))
         (local.set $w (i32.load (i32.const 516)))
         {}
         i32.const 2048",
        then.replace(
            "PING",
            &format!("(call $write (local.get $w) {ping} (i32.const 512)) {FINE}")
        )
        .replace("OPEN", &open)
    );
    fixture.body(function, body)
}

/// The stream did it.
const FINE: &str = "(if (i32.load8_u (i32.const 512)) (then unreachable))";

/// Reads up to so many bytes; at least one.
fn read(bytes: usize) -> String {
    format!("(call $read (local.get $r) (i64.const {bytes}) (i32.const 512)) {FINE}")
}

const PARK: &str = "(call $park (local.get $c))";

fn talker(then: &str) -> Fixture {
    opener("runbook", "run", then).requests(r#"transport = ["e"]"#)
}

async fn load(place: &Place, fixture: &Fixture) -> Arc<Plugin> {
    place.runtime.load(&fixture.write(&place.plugins())).await.unwrap()
}

fn bind(place: &Place, plugin: &Arc<Plugin>, label: &str, grants: &str, limits: Limits) -> Binding {
    let grants: Grants = toml::from_str(grants).unwrap();
    Binding::new(
        &place.runtime,
        Arc::clone(plugin),
        label,
        Arc::default(),
        grants,
        limits,
    )
    .unwrap()
}

async fn talk(place: &Place, fixture: &Fixture, grants: &str) -> Result<Outcome, CallError> {
    let plugin = load(place, fixture).await;
    run(&Runbook::new(bind(place, &plugin, "tell", grants, Limits::default())).unwrap()).await
}

fn tcp(port: u16) -> String {
    format!(r#"transport = {{ e = {{ tcp = "127.0.0.1:{port}" }} }}"#)
}

/// What a server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    written: AtomicUsize,
    received: Mutex<Vec<u8>>,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

/// A server whose connections each run `serve`. It tells when one ended.
async fn server<F, S>(serve: S) -> (u16, Arc<Seen>, mpsc::UnboundedReceiver<()>)
where
    F: Future<Output = ()> + Send,
    S: Fn(tokio::net::TcpStream, Arc<Seen>) -> F + Clone + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, over) = mpsc::unbounded_channel();
    let seen = Arc::new(Seen::default());
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (serve, seen, ended) = (serve.clone(), Arc::clone(&seen), ended.clone());
            seen.connections.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(async move {
                serve(stream, seen).await;
                let _ = ended.send(());
            });
        }
    });
    (port, all, over)
}

/// Answers what it gets with the same.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
}

async fn ends(over: &mut mpsc::UnboundedReceiver<()>) {
    tokio::time::timeout(Duration::from_secs(10), over.recv())
        .await
        .expect("the connection is closed");
}

#[tokio::test]
async fn a_parked_connection_serves_the_next_call_of_the_same_site_only() {
    let place = Place::new();
    let (port, seen, _over) = server(|stream, _| echo(stream)).await;
    let fixture = talker(&format!("PING {} {PARK}", read(64)));
    for _ in 0..5 {
        assert_eq!(talk(&place, &fixture, &tcp(port)).await.unwrap(), Outcome::Done(vec![]));
    }
    assert_eq!(seen.connections(), 1);
    let plugin = load(&place, &fixture).await;
    let other = bind(&place, &plugin, "other", &tcp(port), Limits::default());
    run(&Runbook::new(other).unwrap()).await.unwrap();
    assert_eq!(seen.connections(), 2);
    let newer = talker(&format!("PING {} {PARK}", read(64))).named("fixture", "2.0.0");
    talk(&place, &newer, &tcp(port)).await.unwrap();
    assert_eq!(seen.connections(), 3);
}

#[tokio::test]
async fn what_is_not_parked_last_thing_is_closed() {
    let place = Place::new();
    let (port, seen, mut over) = server(|stream, _| echo(stream)).await;
    let all = read(64);
    let half = read(2);
    for (count, then) in [
        format!("PING {all}"),
        format!("PING {PARK} {all}"),
        format!("PING {all} {PARK} PING"),
        // Two bytes of the answer are left over.
        format!("PING {half} {PARK}"),
    ]
    .iter()
    .enumerate()
    {
        talk(&place, &talker(then), &tcp(port)).await.unwrap();
        ends(&mut over).await;
        assert_eq!(seen.connections(), count + 1, "{then}");
    }
    let trap = talker(&format!("PING {all} {PARK} unreachable"));
    let error = talk(&place, &trap, &tcp(port)).await.unwrap_err();
    assert!(error.code() == "LF0431" && error.sent && !error.definite(), "{error}");
    ends(&mut over).await;
}

#[tokio::test]
async fn a_connection_that_died_or_spoke_unasked_while_it_was_parked_is_not_handed_out() {
    for last in [&b""[..], b"bye"] {
        let place = Place::new();
        let (port, seen, mut over) = server(move |mut stream, _| async move {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            if !last.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(last).await.unwrap();
                tokio::time::sleep(Duration::from_mins(1)).await;
            }
        })
        .await;
        let fixture = talker(&format!("PING {} {PARK}", read(64)));
        talk(&place, &fixture, &tcp(port)).await.unwrap();
        if last.is_empty() {
            ends(&mut over).await;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        talk(&place, &fixture, &tcp(port)).await.unwrap();
        assert_eq!(seen.connections(), 2);
    }
}

#[tokio::test]
async fn c07_an_endpoint_that_was_not_granted_is_refused_with_the_line() {
    let place = Place::new();
    let (port, seen, _over) = server(|stream, _| echo(stream)).await;
    let fixture = talker(&format!("PING {}", read(64)));
    let refused = talk(&place, &fixture, r#"interfaces = ["transport"]"#)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.failure().unwrap().code.as_str()),
        ("LF0437", "not-granted"),
        "{refused}"
    );
    assert!(refused.definite() && !refused.sent && seen.connections() == 0);
    let line = refused
        .grant_line()
        .unwrap()
        .replace("HOST:PORT", &format!("127.0.0.1:{port}"));
    talk(&place, &fixture, &line).await.unwrap();
    // Whatever is granted.
    let never = r#"transport = { e = { tcp = "169.254.169.254:80" } }"#;
    let error = talk(&place, &fixture, never).await.unwrap_err();
    assert!(
        matches!(error.denials[0].remedy, Remedy::Never(_)) && error.grant_line().is_none(),
        "{error}"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_a_definite_failure() {
    let place = Place::new();
    let down = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = talk(&place, &talker("PING"), &tcp(down)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.failure().unwrap().code.as_str()),
        ("LF0475", "unreachable"),
        "{error}"
    );
    assert!(error.definite() && error.retryable() && !error.sent, "{error}");
    for missing in [
        r#"{ tcp = "no-such-host.invalid:1" }"#,
        r#"{ unix = "/no/such/socket" }"#,
    ] {
        let grants = format!("transport = {{ e = {missing} }}");
        let error = talk(&place, &talker("PING"), &grants).await.unwrap_err();
        assert_eq!(error.code(), "LF0475", "{error}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint_too() {
    let place = Place::new();
    let path = place.directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    let fixture = talker(&format!("PING {} {PARK}", read(64)));
    let grants = format!("transport = {{ e = {{ unix = {path:?} }} }}");
    for _ in 0..2 {
        talk(&place, &fixture, &grants).await.unwrap();
    }
}

fn pem(name: &str) -> String {
    format!("{}/tests/it/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(Path::new(&pem(name))).unwrap();
    found.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn tls_needs_the_right_authority_the_right_name_and_the_clients_certificate() {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates("ca.pem").remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let known = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_file(Path::new(&pem("server.key"))).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(known.build().unwrap())
        .with_single_cert(certificates("server.pem"), key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (port, seen, _over) = server(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                echo(stream).await;
            }
        }
    })
    .await;
    let place = Place::new();
    // A key is nobody else's to read; a checkout does not say that of its files.
    let private = |name: &str| {
        let path = place.directory.path().join(name);
        std::fs::copy(pem(name), &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (ca, cert, key) = (pem("ca.pem"), private("client.pem"), private("client.key"));
    let exposed = place.directory.path().join("exposed.key");
    std::fs::copy(pem("client.key"), &exposed).unwrap();
    std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let fixture = talker(&format!("PING {} {PARK}", read(64)));
    let with = |more: &str| format!(r#"transport = {{ e = {{ tls = "127.0.0.1:{port}"{more} }} }}"#);
    let good = with(&format!(
        ", ca = {ca:?}, cert = {cert:?}, key = {key:?}, server-name = \"kvm1.example\""
    ));
    for _ in 0..3 {
        talk(&place, &fixture, &good).await.unwrap();
    }
    assert_eq!(seen.connections(), 1, "TLS is kept warm too");
    for (more, words) in [
        (String::new(), "certificate"),
        (format!(", ca = {ca:?}, cert = {cert:?}, key = {key:?}"), "certificate"),
        (format!(", ca = {ca:?}, cert = {cert:?}, key = {cert:?}"), "private key"),
        (
            format!(", ca = {ca:?}, cert = {cert:?}, key = {exposed:?}"),
            "others than its owner",
        ),
        (r#", ca = "/no/such.pem""#.to_owned(), "/no/such.pem"),
    ] {
        let error = talk(&place, &fixture, &with(&more)).await.unwrap_err();
        assert_eq!((error.code(), error.definite()), ("LF0476", true), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // The server finds out only after the handshake that the client has no certificate.
    let nameless = with(&format!(", ca = {ca:?}, server-name = \"kvm1.example\""));
    talk(&place, &fixture, &nameless).await.unwrap_err();
}

#[tokio::test]
async fn a_call_has_so_many_connections_and_foreign_handles_end_it() {
    let place = Place::new();
    let (port, seen, _over) = server(|stream, _| echo(stream)).await;
    let many = "OPEN (if (i32.load8_u (i32.const 512)) (then (return (i32.const 512))))".repeat(17);
    let error = talk(&place, &talker(&many), &tcp(port)).await.unwrap_err();
    assert_eq!(error.code(), "LF0474", "{error}");
    assert!(error.definite() && seen.connections() <= 16);
    for forged in [
        "(call $park (i32.const 12345))",
        // A stream is no connection.
        "(call $park (local.get $r))",
        "(call $reader (local.get $w) (i32.const 512))",
    ] {
        let error = talk(&place, &talker(forged), &tcp(port)).await.unwrap_err();
        assert_eq!(error.code(), "LF0448", "{error}");
    }
    let twice = "(call $reader (local.get $c) (i32.const 512)) (return (i32.const 512))";
    let error = talk(&place, &talker(twice), &tcp(port)).await.unwrap_err();
    assert_eq!(error.code(), "LF0477", "{error}");
}

#[tokio::test]
async fn a_flood_stays_with_its_sender_and_a_slow_far_side_ends_at_the_wall() {
    let place = Place::new();
    let (flood, seen, _over) = server(|mut stream, seen| async move {
        let block = vec![0; 65_536];
        while let Ok(count) = stream.write(&block).await {
            seen.written.fetch_add(count, Ordering::AcqRel);
        }
    })
    .await;
    let (slow, ..) = server(|mut stream, _| async move {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (silent, ..) = server(|stream, _| async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(stream);
    })
    .await;
    let one_byte = read(1);
    let forever = format!("(loop $on {} (br $on))", read(64));
    let limits = Limits {
        wall: Duration::from_millis(400),
        ..Limits::default()
    };
    for (port, then) in [
        (
            flood,
            format!(
                "{one_byte} (loop $on (call $write (local.get $w) (i32.const 0) (i32.const 1) (i32.const 512)) {FINE} (br $on))"
            ),
        ),
        (slow, forever.clone()),
        (silent, forever),
    ] {
        let plugin = load(&place, &talker(&then)).await;
        let began = Instant::now();
        let error = run(&Runbook::new(bind(&place, &plugin, "tell", &tcp(port), limits)).unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.code(), "LF0433", "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(plugin.strikes().is_empty(), "a slow site is not the plugin's fault");
    }
    let written = seen.written.load(Ordering::Acquire);
    assert!(
        written < 16 << 20,
        "{written} bytes were taken of a flood that nobody read"
    );
}

/// Bytes that show where they came from.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 1_000 + at).to_le_bytes()[0]).collect()
}

fn adapter(place: &Place, plugin: &Arc<Plugin>, port: u16) -> Adapter {
    let grants = format!("interfaces = [\"buffers\"]\n{}", tcp(port));
    Adapter::new(bind(place, plugin, "north", &grants, Limits::default())).unwrap()
}

/// Moves `$left` bytes from one stream to another.
const SPLICE: &str = "(loop $on
    (call $splice (local.get $TO) (local.get $FROM) (local.get $left) (i32.const 512))
    (if (i32.load8_u (i32.const 512)) (then unreachable))
    (local.set $left (i64.sub (local.get $left) (i64.load (i32.const 520))))
    (br_if $on (i64.ne (local.get $left) (i64.const 0))))";

#[tokio::test]
async fn disk_data_passes_between_a_connection_and_a_buffer_in_both_directions() {
    const LENGTH: usize = 48 << 20;
    let place = Place::new();
    let data = Arc::new(pattern(LENGTH));
    let source = Arc::clone(&data);
    let (sender, ..) = server(move |mut stream, _| {
        let source = Arc::clone(&source);
        async move {
            stream.write_all(&source).await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let (taker, seen, mut over) = server(|mut stream, seen| async move {
        // Slow to begin with, so that the sending side has to wait.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        *seen.received.lock().unwrap() = all;
    })
    .await;
    let set = format!("(local.set $left (i64.const {LENGTH}))");
    let reading = format!(
        "{set} (call $buffer-writer (local.get 6)) (local.set $b) {} (call $close-out (local.get $b)) (call $give-back (local.get 6))",
        SPLICE.replace("$TO", "$b").replace("$FROM", "$r")
    );
    let plugin = load(&place, &opener("hypervisor-adapter", "read", &reading)).await;
    let buffer = Buffer::with_capacity(LENGTH as u64);
    let extent = Extent {
        offset: 0,
        bytes: LENGTH as u64,
    };
    adapter(&place, &plugin, sender)
        .read("m".into(), "1".into(), extent, &buffer)
        .await
        .unwrap();
    assert!(buffer.to_bytes() == data.as_slice());

    // The arguments of `write` are too many for parameters; the buffer's handle stands last in memory, at 88.
    let writing = format!(
        "{set} (call $buffer-reader (i32.load offset=88 (local.get 0))) (local.set $b) {} (call $close-in (local.get $b))
         (call $give-back (i32.load offset=88 (local.get 0)))",
        SPLICE.replace("$TO", "$w").replace("$FROM", "$b")
    );
    let plugin = load(&place, &opener("hypervisor-adapter", "write", &writing)).await;
    adapter(&place, &plugin, taker)
        .write(call(), "r".into(), "1".into(), 0, &buffer)
        .await
        .unwrap();
    ends(&mut over).await;
    assert!(*seen.received.lock().unwrap() == *data);
}
