//! Secrets and grants in a running daemon: values reach the far side and nothing else, and grants change while it runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

const TOKEN: &str = "s3cret-t0ken-of-the-hook";
const PASSWORD: &str = "p&ss-w0rd-of-svc";

/// A server that repeats whatever it is sent, in headers and body, and refuses it.
fn parrot() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let read = stream.read(&mut piece).unwrap_or(0);
                text.extend_from_slice(&piece[..read]);
                let whole = String::from_utf8_lossy(&text).to_ascii_lowercase();
                let Some((top, body)) = whole.split_once("\r\n\r\n") else {
                    if read == 0 {
                        break;
                    }
                    continue;
                };
                let length = top
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if read == 0 || body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            let request = String::from_utf8_lossy(&text).into_owned();
            let line = request.replace("\r\n", "|");
            let answer = format!(
                "HTTP/1.1 400 {line}\r\nx-said: {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{request}",
                request.len()
            );
            let _ = stream.write_all(answer.as_bytes());
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    (port, heard)
}

fn secret(world: &World, name: &str, value: &str) {
    let path = world.path(name);
    fs::write(&path, value).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Changes the configuration's text and has the daemon read it again.
fn reconfigure(world: &World, change: impl FnOnce(String) -> String) -> Value {
    let file = world.path("landfall.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, change(text)).unwrap();
    world.cli(&["daemon", "reload", "-o", "json"]).code(0).json()
}

/// Every file below, except those of these names.
fn search(directory: &Path, except: &[&str], needles: &[String]) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, except, needles);
        } else if !except.iter().any(|name| path.ends_with(name)) {
            let content = fs::read(&path).unwrap_or_default();
            for needle in needles {
                let found = content.windows(needle.len()).any(|part| part == needle.as_bytes());
                assert!(!found, "{needle} stands in {}", path.display());
            }
        }
    }
}

#[test]
fn c07_no_secret_stands_in_a_log_an_error_the_journal_or_an_answer() {
    let (port, heard) = parrot();
    let world = World::configured(|configuration| (configuration.hook, configuration.granted) = (port, port));
    secret(&world, "hook-token", TOKEN);
    secret(&world, "svc-password", PASSWORD);
    let reloaded = reconfigure(&world, |text| {
        let granted = format!("port = {port} }}]");
        let given = format!("port = {port}, auth = \"basic:svc\", secrets = [\"hook\"] }}]");
        text.replace(&granted, &given)
            + "[secrets]\nhook = { file = \"hook-token\" }\nsvc = { user = \"svc\", file = \"svc-password\" }\n"
    });
    assert_eq!(reloaded["changed"], json!(["secrets", "runbooks.webhook.grants"]));
    let action = "name: tell, runbook: webhook, before: [all], retries: 0, with: { header.x-token: \"{{secret:hook}}\", said: \"{{secret:hook|json}}\" }";
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[action]));
    let job = world.run("test", &json!({}));

    let basic = "c3ZjOnAmc3MtdzByZC1vZi1zdmM=";
    let request = heard.recv().unwrap();
    assert!(request.contains(&format!("x-token: {TOKEN}\r\n")), "{request}");
    assert!(
        request.contains(&format!("authorization: Basic {basic}\r\n")),
        "{request}"
    );
    assert!(request.contains(&format!("\"said\":\"{TOKEN}\"")), "{request}");

    let needles = [TOKEN, PASSWORD, basic, "p&amp;ss-w0rd"].map(str::to_owned);
    let answers = [
        world.cli(&["job", "show", &job.id, "-o", "json"]).code(0).to_string(),
        world
            .cli(&["plugin", "inspect", "webhook", "-o", "json"])
            .code(0)
            .to_string(),
        world.cli(&["site", "list"]).to_string(),
        world.api.get::<Value>(&format!("api/v1/jobs/{}", job.id)).to_string(),
    ];
    for needle in &needles {
        for answer in &answers {
            assert!(!answer.contains(needle.as_str()), "{needle} in {answer}");
        }
    }
    search(&world.path(""), &["hook-token", "svc-password"], &needles);

    // A secret that others can read is not used, and nothing is sent.
    fs::set_permissions(world.path("hook-token"), fs::Permissions::from_mode(0o644)).unwrap();
    let job = world.run("test", &json!({}));
    let step = job.step("action/tell/before-all");
    assert_eq!(step.code.as_deref(), Some("LF0423"), "{:?}", step.message);
    assert!(
        step.message.as_deref().unwrap_or_default().contains("chmod 600"),
        "{:?}",
        step.message
    );
    assert!(heard.try_recv().is_err());
}

#[test]
fn c06_a_job_keeps_its_grants_until_somebody_regrants_them() {
    let world = World::configured(|configuration| configuration.granted = 1);
    let hook = world.lab.port();
    let action = "name: tell, runbook: webhook, before: [all], retries: 0";
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[action]));
    let job = world.run("test", &json!({}));
    let step = job.step("action/tell/before-all");
    assert_eq!(step.code.as_deref(), Some("LF0437"), "{:?}", step.message);
    let message = step.message.clone().unwrap_or_default();
    let line = message
        .split("would grant it: ")
        .nth(1)
        .expect("the line")
        .lines()
        .next()
        .unwrap();
    let line = &line[..=line.find(']').map_or(0, |_| line.rfind(']').unwrap())];
    assert!(
        line.contains("methods = [\"POST\"]") && line.contains("path = \"/hooks/it\""),
        "{line}"
    );

    // A file with a mistake in it changes nothing.
    let file = world.path("landfall.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("port = 1 }", "port = 1, auth = \"basic:nobody\" }")).unwrap();
    let refused = world.cli(&["daemon", "reload"]);
    assert!(
        refused.err.contains("LF0504") && refused.err.contains("nobody"),
        "{refused}"
    );

    fs::write(&file, &good).unwrap();
    let reloaded = reconfigure(&world, |text| {
        let (before, after) = text.split_once("[runbooks.webhook.grants]\n").unwrap();
        let rest = after.split_once('\n').unwrap().1;
        format!("{before}[runbooks.webhook.grants]\n{line}\n{rest}")
    });
    assert_eq!(reloaded["changed"], json!(["runbooks.webhook.grants"]));
    let again = world.cli(&["job", "retry", &job.id, "--reason", "granted now"]);
    let again = again.err + &again.out;
    assert!(
        again.contains("LF0424")
            || world.rest(&job.id).step("action/tell/before-all").code.as_deref() == Some("LF0424"),
        "{again}"
    );
    assert!(world.lab.webhooks(&job.id).is_empty());

    world.cli(&["job", "regrant", &job.id, "--reason", "it was forgotten"]);
    let job = world.rest(&job.id);
    assert_eq!(job.status, "succeeded", "{:?}", job.reason);
    assert_eq!(world.lab.webhooks(&job.id).len(), 1, "port {hook}");
    let nothing = world.cli(&["job", "regrant", &job.id, "--reason", "again"]);
    assert!(!nothing.err.is_empty(), "{nothing}");
}
