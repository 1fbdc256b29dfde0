//! Requests as a guest makes them, and a server that says what arrived.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures_util::StreamExt;
use http::HeaderMap;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::error::Identity;
use crate::grants::Grants;
use crate::runtime::{Runtime, RuntimeOptions};

const PASSWORD: &str = "p&ss\"w/rd 1";
const TOKEN: &str = "tok+en/1234";

/// The answer to one request, given its head and body.
type Answer = fn(&str) -> String;

/// A server, a plugin with grants for it, and the operator's secrets.
struct Place {
    directory: tempfile::TempDir,
    runtime: Runtime,
    port: u16,
    seen: mpsc::UnboundedReceiver<String>,
    requests: String,
    grants: String,
    label: &'static str,
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

impl Place {
    /// `grant` is what stands in the grant beside scheme, host and port.
    async fn new(grant: &str, answer: Answer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = RuntimeOptions::new(directory.path().join("state"));
        (options.instances, options.guest_threads) = (1, Some(1));
        let runtime = Runtime::new(options).unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    while let Some(request) = read(&mut stream).await {
                        let answer = answer(&request);
                        let _ = tell.send(request);
                        let _ = stream.write_all(answer.as_bytes()).await;
                        if !answer.contains("content-length") {
                            return;
                        }
                    }
                });
            }
        });
        let mut place = Self {
            requests: r#"http = [{ scheme = "*", host = "*", port = "*", secrets = ["*"] }]"#.to_owned(),
            grants: format!(r#"http = [{{ scheme = "http", host = "127.0.0.1", port = {port}{grant} }}]"#),
            label: "north",
            directory,
            runtime,
            port,
            seen,
        };
        place.secret("vc01", PASSWORD);
        place.secret("hook", "hook-token-77");
        place
    }

    /// Writes a secret's file and names it, with the user `svc`.
    fn secret(&mut self, name: &str, value: &str) {
        let path = self.directory.path().join(name);
        std::fs::write(&path, value).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let places =
            ["vc01", "hook", "other"].map(|name| format!("{name} = {{ user = \"svc\", file = \"{name}\" }}\n"));
        let mut secrets: crate::Secrets = toml::from_str(&places.concat()).unwrap();
        secrets.rebase(self.directory.path());
        self.runtime.set_secrets(secrets);
    }

    fn gate(&self) -> (Gate, Arc<Record>) {
        let grants: Grants = toml::from_str(&self.grants).unwrap();
        let effective = Arc::new(Effective {
            requests: toml::from_str(&self.requests).unwrap(),
            grants,
            pinned: None,
        });
        let subject = Subject {
            plugin: Identity {
                name: "test".to_owned(),
                version: semver::Version::new(1, 0, 0),
                digest: "sha256:1".to_owned(),
            },
            label: self.label.to_owned(),
            config: Arc::default(),
            interfaces: effective.interfaces(),
            stage: None,
            shelf: None,
            session: Arc::default(),
        };
        let record = Arc::new(Record::default());
        let deadline = Instant::now() + Duration::from_secs(20);
        let shared = Arc::clone(&self.runtime.shared);
        let gate = Gate::new(
            shared,
            effective,
            Arc::clone(&record),
            deadline,
            16 << 20,
            Arc::new(subject),
        );
        (gate, record)
    }

    /// Sends, and gives status, headers and body as the guest sees them, or the refusal.
    async fn ask(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Seen, Vec<Denial>> {
        let (mut gate, record) = self.gate();
        let mut request = http::Request::post(format!("http://127.0.0.1:{}{path}", self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {});
        let sent = Box::into_pin(gate.send_request(
            request.body(body.boxed_unsync()).unwrap(),
            None,
            Box::new(async { Ok(()) }),
        ));
        match sent.await {
            Ok((response, _)) => {
                let (parts, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok(Seen {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                })
            }
            Err(error) => {
                assert!(!record.was_sent(), "{error:?}");
                let denials = record.denials();
                assert!(denials.iter().all(|denial| !denial.to_string().contains(PASSWORD)));
                Err(denials)
            }
        }
    }

    /// What arrived at the server.
    async fn arrived(&mut self) -> String {
        self.seen.recv().await.unwrap()
    }
}

#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn holds(&self, text: &str) -> bool {
        self.body.contains(text)
            || self
                .headers
                .values()
                .any(|value| value.as_bytes().windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

/// One request, whole.
async fn read(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&piece[..read]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(whole);
        }
    }
}

#[tokio::test]
async fn c07_the_host_adds_the_credential_and_the_plugin_cannot() {
    let mut place = Place::new(r#", auth = "basic:vc01""#, |_| ok("fine")).await;
    place
        .ask(
            "/",
            &[("authorization", "Bearer mine"), ("proxy-authorization", "x")],
            "",
        )
        .await
        .unwrap();
    let arrived = place.arrived().await;
    let line = format!("authorization: Basic {}\r\n", base64("svc:p&ss\"w/rd 1"));
    assert!(
        arrived.contains(&line) && !arrived.contains("mine") && !arrived.contains("proxy-"),
        "{arrived}"
    );
    // A rotation is a new content of the file, and no more.
    place.secret("vc01", "rotated");
    place.ask("/", &[], "").await.unwrap();
    assert!(place.arrived().await.contains(&base64("svc:rotated")));

    place.grants = place.grants.replace("basic:vc01", "bearer:hook");
    place.ask("/", &[], "").await.unwrap();
    assert!(
        place
            .arrived()
            .await
            .contains("authorization: Bearer hook-token-77\r\n")
    );
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn c07_placeholders_are_filled_in_and_the_length_is_right() {
    let mut place = Place::new(r#", secrets = ["vc01"]"#, |_| ok("")).await;
    let body = r#"<p>{{secret:vc01|xml}}</p>{"p":"{{secret:vc01|json}}"}&p={{secret:vc01|form}}"#;
    let seen = place
        .ask(
            "/x",
            &[("x-key", "k={{secret:vc01|base64}}"), ("content-length", "3")],
            body,
        )
        .await
        .unwrap();
    assert_eq!(seen.status, 200);
    let arrived = place.arrived().await;
    let (head, body) = arrived.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        r#"<p>p&amp;ss&quot;w/rd 1</p>{"p":"p&ss\"w/rd 1"}&p=p%26ss%22w%2Frd%201"#
    );
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(head.contains(&format!("x-key: k={}", base64(PASSWORD))), "{head}");
    assert_eq!(head.matches("content-length").count(), 1);
}

#[tokio::test]
async fn c06_a_secret_that_is_not_granted_is_refused_with_the_line() {
    let mut place = Place::new("", |_| ok("")).await;
    for headers in [vec![("x", "{{secret:vc01}}")], vec![]] {
        let body = if headers.is_empty() { "a{{secret:vc01|xml}}" } else { "" };
        let denials = place.ask("/", &headers, body).await.unwrap_err();
        let line = denials[0].grant_line().unwrap().to_owned();
        let before = std::mem::replace(&mut place.grants, line);
        place.ask("/", &headers, body).await.unwrap();
        place.grants = before;
    }
    // Both sides must allow it.
    place.grants = place.grants.replace(" }]", r#", secrets = ["vc01"] }]"#);
    place.requests = r#"http = [{ scheme = "*", host = "*", port = "*", secrets = ["hook"] }]"#.to_owned();
    let denials = place.ask("/", &[], "{{secret:vc01}}").await.unwrap_err();
    assert!(
        matches!(&denials[0].remedy, Remedy::Request(line) if line.contains(r#"secrets = ["vc01"]"#)),
        "{denials:?}"
    );
    for (path, body) in [
        ("/?{{secret:vc01}}", ""),
        ("/", "{{secret:hook|rot13}}"),
        ("/%7b%7bsecret:hook", ""),
    ] {
        let denials = place.ask(path, &[], body).await.unwrap_err();
        assert!(matches!(denials[0].remedy, Remedy::Never(_)), "{denials:?}");
    }
}

#[tokio::test]
async fn c07_a_secret_that_cannot_be_read_or_sent_stops_the_request() {
    let mut place = Place::new(r#", secrets = ["vc01"]"#, |_| ok("")).await;
    place.secret("vc01", "two\nlines");
    let denials = place.ask("/", &[("x", "{{secret:vc01}}")], "").await.unwrap_err();
    assert_eq!(denials[0].code(), "LF0423", "no header of its own: {denials:?}");
    place.ask("/", &[], "{{secret:vc01}}").await.unwrap();
    std::fs::set_permissions(
        place.directory.path().join("vc01"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let denials = place.ask("/", &[], "").await.unwrap_err();
    assert!(denials[0].to_string().contains("chmod 600"), "{denials:?}");
    std::fs::remove_file(place.directory.path().join("vc01")).unwrap();
    assert_eq!(place.ask("/", &[], "").await.unwrap_err()[0].code(), "LF0423");
}

#[tokio::test]
async fn c07_what_the_server_repeats_does_not_reach_the_plugin() {
    let mut place = Place::new(r#", auth = "basic:vc01", secrets = ["hook"]"#, |request| {
        let echo = request.replace("\r\n", "|");
        let body = format!("{echo} {PASSWORD} {}", base64(PASSWORD));
        let head = format!("HTTP/1.1 400 No\r\nx-echo: {echo}\r\nset-cookie: p=hook-token-77\r\n");
        if request.contains("/chunked") {
            return format!("{head}connection: close\r\n\r\n{body}");
        }
        if request.contains("/large") {
            let body = body + &"x".repeat(300_000);
            return format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        }
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    })
    .await;
    for path in ["/small", "/chunked", "/large"] {
        let seen = place
            .ask(path, &[("x-hook", "{{secret:hook}}"), ("accept-encoding", "gzip")], "")
            .await
            .unwrap();
        for secret in [
            PASSWORD,
            "hook-token-77",
            &base64(PASSWORD),
            &base64("svc:p&ss\"w/rd 1"),
        ] {
            assert!(
                !seen.holds(secret),
                "{path}: {secret} in {:?} {:.600}",
                seen.headers,
                seen.body
            );
        }
        if let Some(length) = seen.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), seen.body.len().to_string());
        }
        assert!(
            seen.headers["x-echo"]
                .to_str()
                .unwrap()
                .contains("{{secret:vc01|basic}}"),
            "{seen:?}"
        );
        assert!(place.arrived().await.contains("accept-encoding: identity\r\n"));
    }
}

#[tokio::test]
async fn c07_an_answer_that_cannot_be_searched_is_not_given_on() {
    let place = Place::new(r#", auth = "basic:vc01""#, |_| {
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_owned()
    })
    .await;
    let (mut gate, _) = place.gate();
    let body = http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = http::Request::get(format!("http://127.0.0.1:{}/", place.port))
        .body(body)
        .unwrap();
    let sent = Box::into_pin(gate.send_request(request, None, Box::new(async { Ok(()) }))).await;
    assert!(matches!(sent.err(), Some(Error::HttpResponseContentCoding(_))));
}

const CAPTURE: &str = r#", capture = [{ header = "X-Session", as = "h" }, { cookie = "SID", as = "c" }, { json = "/value/token", as = "j" }]"#;

fn login(request: &str) -> String {
    if !request.starts_with("POST /login") {
        return ok(&format!("you sent {}", request.replace("\r\n", "|")));
    }
    let body = format!(r#"{{"n":1,"value":{{"token":"{TOKEN}j"}},"again":"{TOKEN}h"}}"#);
    format!(
        "HTTP/1.1 201 Created\r\nX-Session: {TOKEN}h\r\nSet-Cookie: a=b\r\nSet-Cookie: SID={TOKEN}c; Path=/; HttpOnly\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn c07_a_session_token_stays_in_the_host() {
    let mut place = Place::new(CAPTURE, login).await;
    let use_it = [("x-session", "{{captured:h}}"), ("cookie", "SID={{captured:c}}")];
    let lost = place.ask("/vms", &use_it, "").await.unwrap();
    assert_eq!(
        (lost.status, lost.headers.contains_key("landfall-session-lost")),
        (401, true)
    );

    let seen = place.ask("/login", &[], "").await.unwrap();
    assert!(place.arrived().await.contains("POST /login"), "nothing was sent before");
    assert!(!seen.holds(TOKEN), "{seen:?}");
    assert_eq!(seen.headers["x-session"], "{{captured:h}}");
    let cookies: Vec<_> = seen.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=b", "SID={{captured:c}}; Path=/; HttpOnly"]);
    assert_eq!(
        seen.body,
        r#"{"again":"{{captured:h}}","n":1,"value":{"token":"{{captured:j}}"}}"#
    );

    let seen = place.ask("/vms", &use_it, r#"{"t":"{{captured:j}}"}"#).await.unwrap();
    let arrived = place.arrived().await;
    for token in [
        format!("x-session: {TOKEN}h\r\n"),
        format!("SID={TOKEN}c"),
        format!(r#"{{"t":"{TOKEN}j"}}"#),
    ] {
        assert!(arrived.contains(&token), "{arrived}");
    }
    assert!(seen.body.contains("{{captured:h}}") && !seen.holds(TOKEN), "{seen:?}");

    // Another site has sessions of its own, even with the same plugin.
    place.label = "south";
    assert_eq!(place.ask("/vms", &use_it, "").await.unwrap().status, 401);
}

#[tokio::test]
async fn c07_a_token_goes_nowhere_else() {
    let place = Place::new(CAPTURE, login).await;
    let mut other = Place::new("", |_| ok("")).await;
    place.ask("/login", &[], "").await.unwrap();
    other.runtime = place.runtime.clone();
    let seen = other.ask("/", &[("x-session", "{{captured:h}}")], "").await.unwrap();
    assert_eq!(seen.status, 401);
    assert!(other.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_whole_json_string_can_be_a_token() {
    let place = Place::new(r#", capture = [{ json = "", as = "rest" }]"#, |_| {
        ok(&format!("\"{TOKEN}\""))
    })
    .await;
    let seen = place.ask("/", &[], "").await.unwrap();
    assert_eq!(
        (seen.body.as_str(), &seen.headers["content-length"]),
        ("\"{{captured:rest}}\"", &"19".parse().unwrap())
    );
}

#[tokio::test]
async fn a_guest_cannot_smuggle() {
    let mut place = Place::new("", |_| ok("")).await;
    let smuggled = [
        ("transfer-encoding", "chunked"),
        ("content-length", "0"),
        ("connection", "x-drop"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("host", "other.example"),
        ("upgrade", "h2c"),
    ];
    place
        .ask("/", &smuggled, "0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let arrived = place.arrived().await;
    let (head, body) = arrived.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 28") && body.len() == 28, "{arrived}");
    for gone in [
        "transfer-encoding",
        "x-drop",
        "te:",
        "expect",
        "other.example",
        "upgrade",
    ] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[tokio::test]
async fn an_endless_answer_goes_on_flowing() {
    let place = Place::new(r#", auth = "bearer:hook""#, |_| {
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\none\r\n\r\n".to_owned()
            + &format!("; content-length never{}", "")
    })
    .await;
    let (mut gate, _) = place.gate();
    let body = http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = http::Request::get(format!("http://127.0.0.1:{}/", place.port))
        .body(body)
        .unwrap();
    let (response, _) = Box::into_pin(gate.send_request(request, None, Box::new(async { Ok(()) })))
        .await
        .unwrap();
    let mut pieces = response.into_body().into_data_stream();
    let first = tokio::time::timeout(Duration::from_secs(5), pieces.next())
        .await
        .unwrap();
    assert_eq!(first.unwrap().unwrap(), "one\r\n");
}

fn certificates(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

/// An https server that answers every request, and asks for a client's certificate if told so.
async fn secured(wants_client: bool) -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = |name| {
        CertificateDer::pem_file_iter(certificates(name))
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if wants_client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain("ca.pem").remove(0)).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(certificates("server.key")).unwrap();
    let config = builder.with_single_cert(chain("server.pem"), key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(ok("secured").as_bytes()).await;
            });
        }
    });
    port
}

async fn get(place: &Place, url: &str) -> (Result<u16, Error>, Vec<Denial>) {
    let (mut gate, record) = place.gate();
    let body = http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = http::Request::get(url).body(body).unwrap();
    let sent = Box::into_pin(gate.send_request(request, None, Box::new(async { Ok(()) }))).await;
    if let Err(error) = &sent {
        assert!(
            !record.was_sent() || matches!(error, Error::TlsAlertReceived { .. }),
            "{error:?}"
        );
    }
    (sent.map(|(response, _)| response.status().as_u16()), record.denials())
}

#[tokio::test]
async fn a_grant_has_its_own_authority() {
    let mut place = Place::new("", |_| ok("")).await;
    let port = secured(false).await;
    for (host, ca, trusted) in [
        ("127.0.0.1", "ca.pem", true),
        ("localhost", "ca.pem", true),
        ("127.0.0.1", "other-ca.pem", false),
        ("127.0.0.1", "", false),
    ] {
        let ca = if ca.is_empty() {
            String::new()
        } else {
            format!(", ca = {:?}", certificates(ca))
        };
        place.grants = format!(r#"http = [{{ scheme = "https", host = "{host}", port = {port}{ca} }}]"#);
        let (answer, denials) = get(&place, &format!("https://{host}:{port}/")).await;
        if trusted {
            assert_eq!(answer.unwrap(), 200);
        } else {
            assert!(matches!(answer, Err(Error::TlsCertificateError)), "{answer:?}");
            assert_eq!(denials[0].code(), "LF0425", "{denials:?}");
        }
    }
    // A server that speaks no TLS is neither down nor distrusted.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
    });
    place.grants = format!(r#"http = [{{ scheme = "https", host = "127.0.0.1", port = {port} }}]"#);
    let (answer, denials) = get(&place, &format!("https://127.0.0.1:{port}/")).await;
    assert!(
        matches!(answer, Err(Error::TlsProtocolError)) && denials.is_empty(),
        "{answer:?}"
    );
}

#[tokio::test]
async fn the_host_shows_a_certificate_where_one_is_wanted() {
    let mut place = Place::new("", |_| ok("")).await;
    let port = secured(true).await;
    let key = place.directory.path().join("client.key");
    std::fs::copy(certificates("client.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let trust = format!(
        r#"http = [{{ scheme = "https", host = "127.0.0.1", port = {port}, ca = {:?}"#,
        certificates("ca.pem")
    );
    place.grants = format!("{trust} }}]");
    let url = format!("https://127.0.0.1:{port}/");
    let (answer, _) = get(&place, &url).await;
    assert!(answer.is_err(), "{answer:?}");
    place.grants = format!("{trust}, cert = {:?}, key = {key:?} }}]", certificates("client.pem"));
    let (answer, _) = get(&place, &url).await;
    assert_eq!(answer.unwrap(), 200);
}

#[test]
fn certificate_files_are_looked_at_when_they_are_configured() {
    let check = |what: &str| {
        let grants = format!(r#"http = [{{ scheme = "https", host = "a", port = 443, {what} }}]"#);
        let mut grants: Grants = toml::from_str(&grants).unwrap();
        grants.resolve_paths(&certificates(""));
        grants.check(&crate::Secrets::default())
    };
    check(r#"ca = "ca.pem""#).unwrap();
    for (bad, why) in [
        (r#"ca = "missing.pem""#, "cannot be read"),
        (r#"ca = "server.key""#, "no certificate"),
        (r#"cert = "client.pem""#, "belong together"),
        (r#"cert = "client.pem", key = "ca.pem""#, "others than its owner"),
    ] {
        let error = check(bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let plain: Grants =
        toml::from_str(r#"http = [{ scheme = "http", host = "a", port = 80, ca = "ca.pem" }]"#).unwrap();
    assert!(plain.check(&crate::Secrets::default()).unwrap_err().contains("https"));
}
