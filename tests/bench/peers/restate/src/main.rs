//! Durable steps of Restate: a handler of its Rust SDK whose steps do nothing, called through the server's ingress.
//!
//! `landfall-bench-restate SERVER STEPS IN-FLIGHT CHAIN` starts the server in a directory of its own and prints steps a
//! second as JSON: `many`, with so many invocations under way, and `chain`, one step after the other.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use restate_sdk::prelude::*;
use serde_json::json;

#[allow(deprecated, reason = "the trait says in one place what is called")]
#[restate_sdk::service]
trait Bench {
    async fn steps(count: u32) -> Result<u32, HandlerError>;
}

struct Steps;

impl Bench for Steps {
    async fn steps(&self, ctx: Context<'_>, count: u32) -> Result<u32, HandlerError> {
        for _ in 0..count {
            ctx.run(|| async { Ok(()) }).await?;
        }
        Ok(count)
    }
}

/// Ends with this program.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().context("SERVER is missing")?;
    let mut number = |name: &str| -> Result<u32> { Ok(arguments.next().context(name.to_owned())?.parse()?) };
    let (steps, in_flight, chain) = (number("STEPS")?, number("IN-FLIGHT")?, number("CHAIN")?);
    let place = tempfile::tempdir()?;
    let [ingress, admin, node, service] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let endpoint = Endpoint::builder().bind(Steps.serve()).build();
    tokio::spawn(HttpServer::new(endpoint).listen_and_serve(([127, 0, 0, 1], service).into()));
    let _server = start(&server, place.path(), (ingress, admin, node))?;
    let http = reqwest::Client::new();
    let deployment = json!({ "uri": format!("http://127.0.0.1:{service}") });
    let registered = async || -> Result<bool> {
        let answer = http.post(format!("http://127.0.0.1:{admin}/deployments")).json(&deployment).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().is_success()))
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !registered().await? {
        ensure!(Instant::now() < until, "the server did not become ready");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let url = format!("http://127.0.0.1:{ingress}/Bench/steps");
    let call = async |count: u32| -> Result<()> {
        let answer = http.post(&url).json(&count).send().await?;
        ensure!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await?);
        Ok(())
    };
    // Warm: the first call of a deployment is slow, and after a start the server is not settled at once.
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = call(1).await {
        ensure!(Instant::now() < until, "no call succeeds: {error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let each = steps / in_flight;
    let began = Instant::now();
    try_join_all((0..in_flight).map(|_| call(each))).await?;
    let many = f64::from(each * in_flight) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    call(chain).await?;
    let chain = f64::from(chain) / began.elapsed().as_secs_f64();
    println!("{}", json!({ "many": many, "chain": chain }));
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// As it comes, but for where it listens and keeps its data; everything that it acknowledges is on disk.
fn start(server: &str, place: &Path, (ingress, admin, node): (u16, u16, u16)) -> Result<Server> {
    let config = place.join("restate.toml");
    std::fs::write(
        &config,
        format!(
            "node-name = \"bench\"\nauto-provision = true\nlisten-mode = \"tcp\"\nbase-dir = \"{}\"\nbind-address = \"127.0.0.1:{node}\"\n\
             advertised-address = \"http://127.0.0.1:{node}\"\ndisable-telemetry = true\n\
             [ingress]\nbind-address = \"127.0.0.1:{ingress}\"\n[admin]\nbind-address = \"127.0.0.1:{admin}\"\n",
            place.join("data").display()
        ),
    )?;
    let log = std::fs::File::create(place.join("log"))?;
    let child = Command::new(server)
        .arg("--config-file")
        .arg(&config)
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {server}"))?;
    Ok(Server(child))
}
