//! The lab over real connections: answers, and the ways of not giving one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{LabError, Options, serve};

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), LabError>>,
    directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options {
            listen: address,
            data: directory.path().join("data"),
            time_scale: None,
            ready_file: Some(directory.path().join("ready")),
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, options, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
            directory,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// None: the connection was closed without an answer.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}"
        );
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, text) = self.ask("POST", path, "", &body.to_string()).await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.ask("GET", path, "", "").await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn machine(&self, id: &str) {
        self.post("/control/machines", json!({"site": "a", "id": id, "boot_ms": 60_000}))
            .await;
    }

    fn shutdown(key: &str, machine: &str) -> Value {
        json!({"key": key, "installation": "i", "epoch": 1, "operation": {"shutdown": {"machine": machine}}})
    }
}

#[tokio::test]
async fn the_ready_file_names_the_url_once_it_listens() {
    let server = Server::start().await;
    let ready = server.directory.path().join("ready");
    while !ready.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        std::fs::read_to_string(ready).unwrap(),
        format!("http://{}", server.address)
    );
    assert_eq!(server.get("/livez").await, (200, json!("ok")));
    server.stop().await;
}

#[tokio::test]
async fn a_lost_site_closes_the_connection_and_comes_back() {
    let server = Server::start().await;
    server.machine("m").await;
    server.post("/control/sites/a/lost", json!({})).await;
    assert_eq!(server.ask("GET", "/sites/a/health", "", "").await, None);
    assert_eq!(
        server
            .ask(
                "POST",
                "/sites/a/operations",
                "",
                &Server::shutdown("k", "m").to_string()
            )
            .await,
        None
    );
    assert_eq!(server.get("/sites/b/health").await.0, 200);
    assert_eq!(
        server.get("/control/machines/a/m").await.1["power"],
        "on",
        "the hand behind the lab sees on"
    );
    server.post("/control/sites/a/back", json!({})).await;
    assert_eq!(server.get("/sites/a/health").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_known_under_its_key() {
    let server = Server::start().await;
    server.machine("m").await;
    server
        .post(
            "/control/faults",
            json!({"operation": "shutdown", "mode": "lose-reply", "times": 1}),
        )
        .await;
    let shutdown = Server::shutdown("k/1", "m");
    assert_eq!(
        server
            .ask("POST", "/sites/a/operations", "", &shutdown.to_string())
            .await,
        None
    );
    assert_eq!(server.get("/sites/a/operations/by-key/k%2F1").await.1["state"], "done");
    assert_eq!(server.get("/sites/a/machines/m/power").await.1["power"], "off");
    assert_eq!(server.post("/sites/a/operations", shutdown).await["state"], "done");
    server.stop().await;
}

#[tokio::test]
async fn a_poll_waits_until_a_task_is_over_and_no_longer() {
    let server = Server::start().await;
    server.machine("m").await;
    server
        .post(
            "/control/latency",
            json!({"operation": "shutdown", "min_ms": 150, "max_ms": 150}),
        )
        .await;
    let begun = Instant::now();
    let task = server.post("/sites/a/operations", Server::shutdown("k", "m")).await;
    assert_eq!(task["state"], "running");
    let poll = json!({"handles": [task["handle"]], "wait_ms": 20_000});
    let answer = server.post("/sites/a/tasks/poll", poll).await;
    assert_eq!(answer["tasks"][0]["state"], "done");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(149) && took < Duration::from_secs(10),
        "{took:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn waiting_requests_do_not_hold_up_the_end() {
    let server = Server::start().await;
    server.machine("m").await;
    server
        .post("/control/faults", json!({"operation": "shutdown", "mode": "hang"}))
        .await;
    let task = server.post("/sites/a/operations", Server::shutdown("k", "m")).await;
    let body = json!({"handles": [task["handle"]], "wait_ms": 30_000}).to_string();
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /sites/a/tasks/poll HTTP/1.1\r\nhost: lab\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    waiting.write_all((head + &body).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn webhooks_are_counted_once_a_key() {
    let server = Server::start().await;
    let body = json!({"job": "j", "step": "s"}).to_string();
    for _ in 0..2 {
        let (status, _) = server
            .ask("POST", "/hooks/before/web", "Idempotency-Key: k\r\n", &body)
            .await
            .unwrap();
        assert_eq!(status, 200);
    }
    assert_eq!(server.get("/control/check").await.1["doubled"], json!([]));
    server.ask("POST", "/hooks/before/web", "", &body).await.unwrap();
    let check = server.get("/control/check").await.1;
    assert_eq!(
        (&check["webhooks"], check["doubled"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let (_, lines) = server.ask("GET", "/control/ledger?after=4", "", "").await.unwrap();
    let results: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["result"].clone())
        .collect();
    assert_eq!(results, ["changed", "unchanged", "changed"]);
    server.stop().await;
}

#[tokio::test]
async fn a_machines_web_server_is_up_once_it_has_booted() {
    let server = Server::start().await;
    server.machine("m").await;
    assert_eq!(server.get("/http/a/m").await.0, 503);
    server
        .ask("PATCH", "/control/machines/a/m", "", r#"{"boot_ms":0}"#)
        .await
        .unwrap();
    assert_eq!(server.get("/http/a/m").await, (200, json!("ok")));
    server
        .ask("PATCH", "/control/machines/a/m", "", r#"{"on":false}"#)
        .await
        .unwrap();
    assert_eq!(server.get("/http/a/m").await.0, 503);
    server.stop().await;
}

#[tokio::test]
async fn bytes_go_out_and_in_and_short_ones_are_refused() {
    let server = Server::start().await;
    server.machine("m").await;
    let facts = server.get("/sites/a/machines/m").await.1;
    let operation =
        |key: &str, operation: Value| json!({"key": key, "installation": "i", "epoch": 1, "operation": operation});
    let prepare = json!({"prepare-replica": {"item": "x", "machine": facts, "source_site": "a"}});
    let replica = server.post("/sites/b/operations", operation("p", prepare)).await["outputs"]["replica"].clone();
    let path = format!(
        "/sites/b/replicas/{}/data?mark=m1&installation=i&epoch=1&offset=0",
        replica.as_str().unwrap()
    );
    assert_eq!(server.ask("PUT", &path, "", &"x".repeat(128)).await.unwrap().0, 204);
    let complete = |bytes: u64| {
        json!({"receive-complete": {"replica": replica, "mark": "m1", "bytes": bytes, "source_time_ms": 5,
            "consistency": "app"}})
    };
    let short = server.post("/sites/b/operations", operation("r1", complete(129))).await;
    assert_eq!(short["failure"]["code"], "incomplete");
    assert_eq!(
        server.post("/sites/b/operations", operation("r2", complete(128))).await["state"],
        "done"
    );
    let points = server
        .get(&format!("/sites/b/replicas/{}/points", replica.as_str().unwrap()))
        .await
        .1;
    assert_eq!(
        (&points["points"][0]["processed"], &points["points"][0]["bytes"]),
        (&json!(false), &json!(128))
    );
    let stale = path.replace("epoch=1", "epoch=0");
    assert_eq!(server.ask("PUT", &stale, "", "x").await.unwrap().0, 409);
    let again = || server.ask("PUT", &path, "", "x");
    assert!(again().await.unwrap().0 < 300);
    let speaker = |epoch: u64| json!({"installation": "i", "epoch": epoch}).to_string();
    for (epoch, status) in [(2, 200), (2, 200), (1, 409)] {
        let said = server.ask("POST", "/sites/b/take-over", "", &speaker(epoch)).await;
        assert_eq!(said.unwrap().0, status);
    }
    assert_eq!(again().await.unwrap().0, 409);
    let cancel = "/sites/b/tasks/t-1/cancel?installation=i&epoch=1";
    let said = server.ask("POST", cancel, "", "").await.unwrap();
    assert!(said.0 == 409 && said.1.contains("stale-epoch"), "{said:?}");
    server.stop().await;
}

#[tokio::test]
async fn mistakes_are_named() {
    let server = Server::start().await;
    assert_eq!(server.get("/sites/z/health").await.1["code"], "unknown-site");
    assert_eq!(server.get("/nowhere").await.1["code"], "unknown-path");
    let (status, text) = server
        .ask("POST", "/control/machines", "", r#"{"site":"a","id":"m","on":3}"#)
        .await
        .unwrap();
    assert_eq!(status, 400, "{text}");
    let (status, text) = server
        .ask("POST", "/control/faults", "", r#"{"mode":"fail","machin":"m"}"#)
        .await
        .unwrap();
    assert!(status == 400 && text.contains("machin"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_site_becomes_one_of_a_kind_and_its_facts_are_changed_and_listed() {
    let server = Server::start().await;
    let json = |answer: Option<(u16, String)>| -> Value {
        let (status, body) = answer.unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    json(
        server
            .ask("POST", "/control/sites", "", r#"{"id": "home", "profile": "vmware"}"#)
            .await,
    );
    let facts = json(server.ask("GET", "/sites/home/facts", "", "").await);
    assert_eq!(
        facts["master_targets"][0],
        json!({"id": "mt-linux", "os": "linux", "host": "esx-1", "snapshots": 0})
    );
    let body = r#"{"datastores": [{"id": "san", "kind": "rdm"}], "process_servers": []}"#;
    let facts = json(server.ask("PATCH", "/control/sites/home/facts", "", body).await);
    assert_eq!(
        (&facts["datastores"][0]["kind"], &facts["process_servers"]),
        (&json!("rdm"), &json!([]))
    );
    assert_eq!(facts["vcenters"][0]["id"], "vc-1", "what is not named stays");
    let (status, wrong) = server
        .ask("PATCH", "/control/sites/home/facts", "", r#"{"vcenter": 1}"#)
        .await
        .unwrap();
    assert_eq!(status, 400, "{wrong}");
    let machine = r#"{"site": "home", "id": "db", "on": false, "facts": {"agent_version": "9.7"}}"#;
    json(server.ask("POST", "/control/machines", "", machine).await);
    let listed = json(server.ask("GET", "/sites/home/machines/db", "", "").await);
    assert_eq!(
        (&listed["origin"], &listed["facts"]["datastore"]),
        (&json!("vmware"), &json!("san"))
    );
    assert_eq!(
        (&listed["facts"]["platform"], &listed["facts"]["agent_version"]),
        (&json!("vmware"), &json!("9.7"))
    );
    json(server.ask("POST", "/control/machines/home/db/lose", "", "").await);
    assert_eq!(
        json(server.ask("GET", "/control/machines/home/db/facts", "", "").await)["available"],
        false
    );
    json(
        server
            .ask("POST", "/control/machines/home/db/restore", "", r#"{"records": 0}"#)
            .await,
    );
    let facts = json(server.ask("GET", "/control/machines/home/db/facts", "", "").await);
    assert_eq!(
        (&facts["available"], &facts["agent_version"]),
        (&json!(true), &json!("9.7"))
    );
    let azure = json(
        server
            .ask("PATCH", "/control/sites/home/facts", "", r#"{"profile": "azure"}"#)
            .await,
    );
    assert_eq!(
        (&azure["vcenters"], &azure["resource_group"]),
        (&json!([]), &json!("recovery"))
    );
    server.stop().await;
}
