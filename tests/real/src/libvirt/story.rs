//! The story: three tiers of real guests are protected, rehearsed, moved, brought home, and lost; what counts is what
//! the guests themselves find on their disks.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guest::Image;
use super::host::{Access, Landfall, ask, ask_until, configure, text};
use super::site::{DISK, Site};
use super::tell::{Row, print, table};
use crate::say;

/// Machines of the application, from the lowest tier to the one that people see.
const TIERS: [&str; 3] = ["db", "app", "web"];

/// Random data on each disk, in MiB: enough that a first copy can be interrupted.
const FILL: u64 = 128;

/// The one plan.
const PLAN: &str = "shop";

/// The third part of the addresses at which the machines answer, by site.
const HOME: u8 = 1;
const AWAY: u8 = 2;

fn at(site: u8, index: usize) -> String {
    format!("127.0.{site}.{}", index + 1)
}

/// A planned move.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Out,
    /// The daemon is killed in the middle.
    OutThroughCrash,
    Back,
}

/// The ports on which the two sites' QEMUs offer disks.
pub(super) const PORTS: [(u16, u16); 2] = [(47_100, 47_149), (47_150, 47_199)];

/// A point of a whole application this old still counts as kept, beside the time from the loss to the request.
const SLACK_MS: u64 = 2_000;

/// What is known of one machine in the direction in which it is protected now.
struct Tier {
    name: &'static str,
    item: String,
    /// Its reference at the site that it runs at.
    machine: String,
    /// Where it answers now, and where it will after a failover.
    address: String,
    next: String,
}

pub(super) fn play(program: &Path, plugins: &Path, directory: &Path, image: &Image, short: bool) -> Result<()> {
    let began = Instant::now();
    let names: &[&'static str] = if short { &TIERS[..1] } else { &TIERS };
    step("Two libvirt sites, north and south; guests at north that count onto their disks");
    let mut north = Site::up(directory, "north")?;
    let south = Site::up(directory, "south")?;
    north.pool()?;
    south.pool()?;
    let mut tiers = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let machine = north.guest(image, name, FILL)?;
        north.boot(name)?;
        let address = at(HOME, index);
        north.forward(name, &address)?;
        tiers.push(Tier {
            name,
            item: format!("shop-{name}"),
            machine,
            address,
            next: at(AWAY, index),
        });
    }
    for tier in &tiers {
        ask_until(&tier.address, "now")?;
    }
    let addresses: Vec<String> = [HOME, AWAY]
        .into_iter()
        .flat_map(|site| (0..TIERS.len()).map(move |index| at(site, index)))
        .collect();
    configure(
        directory,
        plugins,
        &[
            Access::to("north", &north, PORTS[0]),
            Access::to("south", &south, PORTS[1]),
        ],
        &addresses,
    )?;
    let mut landfall = Landfall::start(program, directory)?;
    landfall.show(&["site", "list"])?;
    let mut story = Story {
        directory,
        rows: Vec::new(),
    };

    step("Protect: the first copy of each disk, and the daemon is killed (SIGKILL) in the middle of it");
    story.apply(&landfall, &tiers)?;
    let job = landfall.begin(&["protect", "--plan", PLAN])?;
    if !short {
        landfall.until("data moves", |landfall| {
            Ok(transferring(&landfall.json(&["item", "list"])?))
        })?;
        landfall.kill_and_restart()?;
        say("killed, and started again");
    }
    landfall.wait(&job, &["succeeded"])?;
    Story::until_points(&landfall, &tiers)?;
    landfall.show(&["item", "list"])?;

    step("A test failover, in networks that reach nothing; the web server is checked by a runbook");
    landfall.job(&["failover", PLAN, "--kind", "test"])?;
    for tier in &tiers {
        let found = ask_until(&tier.next, "found")?;
        let bad = ask_until(&tier.next, "bad")?;
        let source = ask(&tier.address, "now")?;
        ensure!(
            found > 0 && found <= source && bad == 0,
            "{}: found {found} of {source}, {bad} bad",
            tier.item
        );
        print(&format!(
            "{}: found {found} in the test, {source} at the source, which counts on",
            tier.item
        ))?;
    }
    step("Cleanup of the test");
    landfall.job(&["cleanup", PLAN])?;
    ensure!(
        machines(&landfall, "south")?.is_empty(),
        "the test left machines at south"
    );

    step("A planned failover: shut down, synchronise, move");
    let way = if short { Way::Out } else { Way::OutThroughCrash };
    story.planned(&mut landfall, &mut tiers, &north, way)?;
    landfall.job(&["commit", PLAN])?;
    landfall.show(&["item", "list"])?;
    if short {
        return story.end(began);
    }

    step("Re-protected: replication in the other direction, of what changed only");
    Story::turn(&landfall, &mut tiers, HOME)?;
    step("Failback, planned");
    story.planned(&mut landfall, &mut tiers, &south, Way::Back)?;
    landfall.job(&["commit", PLAN, "--confirm", PLAN])?;
    ensure!(
        machines(&landfall, "south")?.is_empty(),
        "the commit left machines at south"
    );

    step("Protected again, and then site north is lost: its daemon and its guests are killed");
    Story::turn(&landfall, &mut tiers, AWAY)?;
    story.unplanned(&landfall, &tiers, &mut north)?;
    landfall.show(&["item", "list"])?;
    story.end(began)
}

pub(super) fn step(words: &str) {
    say(&format!("\n== {words}"));
}

struct Story<'d> {
    directory: &'d Path,
    rows: Vec<Row>,
}

impl Story<'_> {
    /// Applies an inventory of the tiers, and a plan of them.
    fn apply(&self, landfall: &Landfall, tiers: &[Tier]) -> Result<()> {
        let (mut inventory, mut groups) = ("items:\n".to_owned(), String::new());
        for (index, tier) in tiers.iter().enumerate() {
            inventory = format!(
                "{inventory}  - name: {}\n    source: {{ site: north, machine: {} }}\n    target: {{ site: south }}\n    \
                 networks:\n      - {{ nic: nic-0, production: lan, test: bubble, addresses: [{}], home: lan, \
                 home-test: bubble, home-addresses: [{}] }}\n    replication: {{ rpo: 4s, points-every: 6s, retention: 1h }}\n",
                tier.item,
                tier.machine,
                at(AWAY, index),
                at(HOME, index)
            );
            groups = format!("{groups}  - name: {}\n    machines: [{}]\n", tier.name, tier.item);
        }
        let last = tiers.last().context("no tier")?.name;
        let text = format!(
            "plan: {PLAN}\ngroups:\n{groups}actions:\n  - name: web-answers\n    runbook: http-check\n    after: [{last}]\n    \
             with: {{ url: \"http://{{address}}:8080/index.html\", expect-body: ready, interval: 500ms, timeout: 2m }}\n"
        );
        fs::write(self.directory.join("inventory.yaml"), inventory)?;
        fs::write(self.directory.join("plan.yaml"), text)?;
        landfall.json(&["inventory", "apply", "inventory.yaml"])?;
        landfall.json(&["plan", "apply", "plan.yaml"])?;
        Ok(())
    }

    /// Replicates in the other direction: home, where the old disks are, only what changed.
    fn turn(landfall: &Landfall, tiers: &mut [Tier], next: u8) -> Result<()> {
        let before: Vec<u64> = tiers
            .iter()
            .map(|tier| Self::bytes(landfall, &tier.item))
            .collect::<Result<_>>()?;
        landfall.job(&["reprotect", PLAN])?;
        for (index, (tier, before)) in tiers.iter_mut().zip(before).enumerate() {
            tier.next = at(next, index);
            let after = Self::bytes(landfall, &tier.item)?;
            let sent = after.checked_sub(before).unwrap_or(after);
            print(&format!("{}: {sent} bytes sent of a disk of {DISK}", tier.item))?;
            ensure!(
                next != HOME || sent < FILL << 20,
                "{}: {sent} bytes were sent, and less than its {FILL} MiB of data changed",
                tier.item
            );
        }
        Self::until_points(landfall, tiers)
    }

    fn until_points(landfall: &Landfall, tiers: &[Tier]) -> Result<()> {
        landfall.until("every item has two points", |landfall| {
            let items = landfall.json(&["item", "list"])?;
            let has = |tier: &Tier| item(&items, &tier.item).and_then(|item| item.get("points")?.as_u64()) >= Some(2);
            Ok(tiers.iter().all(has))
        })
    }

    fn bytes(landfall: &Landfall, name: &str) -> Result<u64> {
        let items = landfall.json(&["item", "list"])?;
        let sent = item(&items, name).and_then(|item| item.get("bytes-sent")?.as_u64());
        sent.with_context(|| format!("`{name}` has no bytes-sent: {items}"))
    }

    /// Fails over, counts, and makes the machines at the other site the ones that are known.
    fn planned(&mut self, landfall: &mut Landfall, tiers: &mut [Tier], from: &Site, way: Way) -> Result<()> {
        let (what, verb) = match way {
            Way::Out | Way::OutThroughCrash => ("planned failover", "failover"),
            Way::Back => ("failback", "failback"),
        };
        let job = landfall.begin(&[verb, PLAN, "--kind", "planned", "--confirm", PLAN])?;
        if way == Way::OutThroughCrash {
            landfall.until("a machine is being started", |landfall| {
                under_way(landfall, &job, &["create", "start"])
            })?;
            landfall.kill_and_restart()?;
            say("the daemon was killed (SIGKILL) in the middle, and started again");
        }
        let job = landfall.wait(&job, &["succeeded"])?;
        for tier in tiers.iter_mut() {
            let source = Site::last_record(&from.disk(&tier.machine)?)?;
            let (found, bad) = (ask_until(&tier.next, "found")?, ask_until(&tier.next, "bad")?);
            let row = Row {
                what: what.to_owned(),
                item: tier.item.clone(),
                source,
                found,
                bad,
                rpo_ms: job_item(&job, &tier.item).and_then(|item| item.get("rpo-ms")?.as_u64()),
                loss_ms: None,
                bytes: Self::bytes(landfall, &tier.item)?,
            };
            ensure!(
                row.lost() == 0 && bad == 0 && found > 0,
                "{}: {} records lost, {bad} bad",
                tier.item,
                row.lost()
            );
            self.rows.push(row);
            let machine = job_item(&job, &tier.item).and_then(|item| text(item, "machine"));
            tier.machine = machine
                .with_context(|| format!("`{}` has no machine", tier.item))?
                .to_owned();
            tier.address = tier.next.clone();
        }
        table(&self.rows)
    }

    /// The site dies, some time passes, somebody notices.
    fn unplanned(&mut self, landfall: &Landfall, tiers: &[Tier], site: &mut Site) -> Result<()> {
        let disks: Vec<_> = tiers
            .iter()
            .map(|tier| site.disk(&tier.machine))
            .collect::<Result<_>>()?;
        // When each record was first seen: the age of what is lost follows.
        let mut seen: Vec<Vec<(Instant, u64)>> = tiers.iter().map(|_| Vec::new()).collect();
        let watched = Instant::now();
        while watched.elapsed() < Duration::from_secs(12) {
            for (tier, seen) in tiers.iter().zip(&mut seen) {
                let asked = Instant::now();
                seen.push((asked, ask(&tier.address, "now")?));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let killed = Instant::now();
        site.kill()?;
        let gone = Instant::now();
        std::thread::sleep(Duration::from_secs(3));
        let requested = Instant::now();
        let risk = "the power of site north is gone, confirmed by phone";
        let job = landfall.begin(&[
            "failover",
            PLAN,
            "--kind",
            "unplanned",
            "--confirm",
            PLAN,
            "--accept-split-brain-risk",
            risk,
        ])?;
        // The shutdowns at a site that is gone failed, and that is said.
        let job = landfall.wait(&job, &["completed-with-errors"])?;
        for ((tier, seen), disk) in tiers.iter().zip(&seen).zip(&disks) {
            let source = Site::last_record(disk)?;
            let (found, bad) = (ask_until(&tier.next, "found")?, ask_until(&tier.next, "bad")?);
            // The first answer that says more than was recovered: what is lost is no older than that.
            let lost_since = seen
                .iter()
                .find(|(_, number)| *number > found)
                .map_or(gone, |(at, _)| *at);
            let loss = millis(gone.saturating_duration_since(lost_since));
            let rpo = job_item(&job, &tier.item)
                .and_then(|item| item.get("rpo-ms")?.as_u64())
                .context("no RPO is shown")?;
            let delay = millis(requested.duration_since(killed));
            let row = Row {
                what: "unplanned failover".to_owned(),
                item: tier.item.clone(),
                source,
                found,
                bad,
                rpo_ms: Some(rpo),
                loss_ms: Some(loss),
                bytes: Self::bytes(landfall, &tier.item)?,
            };
            ensure!(bad == 0 && found > 0, "{}: found {found}, {bad} bad", tier.item);
            ensure!(
                rpo >= loss,
                "{}: an RPO of {rpo} ms is shown, and {loss} ms are lost",
                tier.item
            );
            // The time to the request counts as loss too: the source could have gone on.
            ensure!(
                rpo <= loss + delay + SLACK_MS,
                "{}: an RPO of {rpo} ms is shown for {loss} ms of loss and {delay} ms to the request",
                tier.item
            );
            self.rows.push(row);
        }
        table(&self.rows)
    }

    fn end(&self, began: Instant) -> Result<()> {
        print(&format!(
            "\n{} machines were recovered with their records counted inside them, in {:.0} s.",
            self.rows.len(),
            began.elapsed().as_secs_f64()
        ))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// References of the machines at a site.
fn machines(landfall: &Landfall, site: &str) -> Result<Vec<String>> {
    let list = landfall.json(&["site", "machines", site])?;
    let list = list.as_array().context("no list of machines")?;
    Ok(list
        .iter()
        .filter_map(|machine| text(machine, "id").map(str::to_owned))
        .collect())
}

pub(super) fn item<'v>(items: &'v Value, name: &str) -> Option<&'v Value> {
    let list = items.as_array().or_else(|| items.get("items")?.as_array())?;
    list.iter().find(|item| text(item, "name") == Some(name))
}

fn job_item<'v>(job: &'v Value, name: &str) -> Option<&'v Value> {
    job.get("items")?
        .as_array()?
        .iter()
        .find(|item| text(item, "item") == Some(name))
}

/// Some data is on its way.
fn transferring(items: &Value) -> bool {
    let list = items
        .as_array()
        .or_else(|| items.get("items").and_then(Value::as_array));
    list.into_iter()
        .flatten()
        .any(|item| item.get("seeded-percent").and_then(Value::as_u64) > Some(0))
}

/// A step of one of these kinds runs.
fn under_way(landfall: &Landfall, job: &str, kinds: &[&str]) -> Result<bool> {
    let job = landfall.json(&["job", "show", job])?;
    let steps = job.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(steps.iter().any(|step| {
        let is_kind = text(step, "id").is_some_and(|id| kinds.iter().any(|kind| id.starts_with(&format!("{kind}/"))));
        is_kind && text(step, "status") == Some("running")
    }))
}
