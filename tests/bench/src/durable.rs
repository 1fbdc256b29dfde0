//! Durable steps beside those of others, by turns: Restate with its Rust SDK, DBOS on SQLite, and Ansible.
//!
//! The same for all: steps that do nothing, many under way at once, and one after the other. What a step costs differs in
//! what it is: ours is an INTENT, a HANDLE in the chain, and an OUTCOME, all on disk; Restate's and DBOS's is a result on
//! disk; Ansible's is a task that starts a module and leaves nothing behind, which is how runbooks are mostly run today.
//! Ours has no network in between, theirs has what they need of it: this is the cost of a step as one buys it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::figures::micros;
use crate::steps::once;

/// Every peer is measured that often, ours between them.
const ROUNDS: usize = 3;

/// A peer, and what it is given: steps, how many under way at once, steps one after the other. Slow ones get fewer, so
/// that a round ends in minutes.
struct Peer {
    name: &'static str,
    command: Vec<PathBuf>,
    sizes: [u32; 3],
    how: &'static str,
}

fn peers() -> Vec<Peer> {
    let at = |name: &str| Path::new("target/peers").join(name);
    let script = |name: &str| Path::new("tests/bench/peers").join(name);
    let python = at("venv/bin/python");
    vec![
        Peer {
            name: "Restate",
            command: vec![
                at("restate/release/landfall-bench-restate"),
                at("npm/node_modules/.bin/restate-server"),
            ],
            sizes: [5_120, 128, 500],
            how: "npm install --prefix target/peers/npm @restatedev/restate-server",
        },
        Peer {
            name: "DBOS on SQLite",
            command: vec![python.clone(), script("dbos_steps.py"), at("venv/bin/dbos")],
            sizes: [1_280, 128, 200],
            how: "python3 -m venv target/peers/venv && target/peers/venv/bin/pip install dbos",
        },
        Peer {
            name: "Ansible",
            command: vec![python, script("ansible_steps.py"), at("venv/bin/ansible-playbook")],
            sizes: [128, 128, 10],
            how: "python3 -m venv target/peers/venv && target/peers/venv/bin/pip install ansible-core",
        },
    ]
}

impl Peer {
    fn is_here(&self) -> bool {
        self.command.iter().all(|part| part.exists())
    }

    fn run(&self) -> Result<(f64, f64)> {
        let [program, rest @ ..] = self.command.as_slice() else {
            anyhow::bail!("{} has no program", self.name);
        };
        let ended = Command::new(program)
            .args(rest)
            .args(self.sizes.map(|size| size.to_string()))
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        anyhow::ensure!(ended.status.success(), "{} failed: {}", self.name, ended.status);
        let text = String::from_utf8(ended.stdout)?;
        let line = text.lines().last().context("it printed nothing")?;
        let said: Value = serde_json::from_str(line).with_context(|| format!("{} printed {line}", self.name))?;
        let number = |name: &str| said.get(name).and_then(Value::as_f64).context("a number is missing");
        Ok((number("many")?, number("chain")?))
    }
}

pub(crate) async fn run() -> Result<()> {
    let (here, absent): (Vec<Peer>, Vec<Peer>) = peers().into_iter().partition(Peer::is_here);
    for peer in absent {
        println!(
            "peers: {} is not here and is left out; `{}` brings it",
            peer.name, peer.how
        );
    }
    let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); here.len()]);
    let mut fdatasync = Vec::new();
    for _ in 0..ROUNDS {
        for (peer, speeds) in here.iter().zip(&mut theirs) {
            let speed = once().await?;
            ours.push((speed.many, speed.chain));
            fdatasync.push(speed.fdatasync);
            speeds.push(peer.run()?);
        }
        if here.is_empty() {
            let speed = once().await?;
            ours.push((speed.many, speed.chain));
            fdatasync.push(speed.fdatasync);
        }
    }
    fdatasync.sort_unstable();
    let sync = fdatasync.get(fdatasync.len() / 2).copied().unwrap_or_default();
    println!(
        "peers: medians of {ROUNDS} rounds by turns; fdatasync of 300 bytes here: {}",
        micros(sync)
    );
    println!("| | steps/s, 128 or more in flight | | one after the other | |");
    println!("|---|---|---|---|---|");
    let (many, chain) = median(&ours);
    println!("| Landfall | {many:.0} | | {chain:.0} | |");
    for (peer, speeds) in here.iter().zip(&theirs) {
        let (their_many, their_chain) = median(speeds);
        println!(
            "| {} | {their_many:.0} | {:.1} times slower | {their_chain:.1} | {:.1} times slower |",
            peer.name,
            many / their_many,
            chain / their_chain
        );
    }
    Ok(())
}

/// Of each of the two.
fn median(speeds: &[(f64, f64)]) -> (f64, f64) {
    let middle = |mut numbers: Vec<f64>| {
        numbers.sort_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied().unwrap_or_default()
    };
    let (many, chain) = speeds.iter().copied().unzip();
    (middle(many), middle(chain))
}
