//! Answers that break off, and answers that do not come: at whatever byte a connection is lost, and whatever it was
//! about, it is said, replication goes on, and what was made was made once.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};

use super::between::Between;
use super::host::{Access, Landfall, ask_until};
use super::site::Site;
use super::story::step;
use super::tell::print;
use super::trouble::{ITEM, error, goes_on, says};

/// The address at which disks are offered by whom stands between.
const NBD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Bytes of answers after which a replication cycle is cut off: before the first word, within a header, within a list,
/// between calls, within the data.
const IN_A_CYCLE: [u64; 5] = [0, 33, 700, 4_000, 150_000];

/// The same for a job: preflight, the definition of the machine, its start, and what follows.
const IN_A_JOB: [u64; 3] = [10, 6_000, 14_000];

/// A way to a site on which answers can be broken off.
pub(super) fn way(name: &str, site: &Site, ports: (u16, u16)) -> Result<(Access, Between)> {
    let between = Between::default();
    let libvirt = between.lead(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), site.port)?;
    for port in ports.0..=ports.1 {
        between.lead(SocketAddr::from((NBD, port)), port)?;
    }
    let access = Access {
        libvirt: format!("{{ tcp = \"{libvirt}\" }}"),
        nbd: "127.0.0.9",
        ..Access::to(name, site, ports)
    };
    Ok((access, between))
}

/// Cycles go on, wherever they were cut off.
pub(super) fn cycles(landfall: &Landfall, name: &str, between: &Between) -> Result<()> {
    step(&format!("Answers of the {name} break off in the middle"));
    let mut told = 0;
    for bytes in IN_A_CYCLE {
        let before = between.cuts();
        between.cut_after(bytes);
        let mut said = None;
        landfall.until("an answer breaks off", |_| Ok(between.cuts() > before))?;
        // What is asked again within the cycle is not shown.
        for _ in 0..20 {
            said = said.or(error(landfall)?);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if let Some(said) = &said {
            ensure!(said.contains("see whether its daemon runs"), "no cure in: {said}");
            told += 1;
        }
        print(&format!(
            "after {bytes} bytes: {}",
            said.as_deref().unwrap_or("asked again")
        ))?;
        goes_on(landfall)?;
    }
    ensure!(told > 0, "nothing was ever said of it");
    Ok(())
}

/// A test and its cleanup, each cut off once: one machine is made, and none is left.
pub(super) fn jobs(landfall: &Landfall, target: &Site, between: &Between) -> Result<()> {
    step("Answers of the target break off in the middle of jobs");
    let before = between.cuts();
    for bytes in IN_A_JOB {
        between.cut_after(bytes);
        landfall.job(&["failover", "--item", ITEM, "--kind", "test"])?;
        let tests = target.virsh(&["list", "--name"])?;
        let tests = tests.lines().filter(|name| name.starts_with("db-test")).count();
        ensure!(tests == 1, "{tests} test machines run");
        ensure!(ask_until("127.0.2.1", "bad")? == 0, "the point is damaged");
        between.cut_after(bytes);
        landfall.job(&["cleanup", "--item", ITEM])?;
        between.heal();
        let left = target.virsh(&["list", "--all", "--name"])?;
        ensure!(!left.contains("db-test"), "a test machine is left:\n{left}");
    }
    let cuts = between.cuts() - before;
    print(&format!("{} jobs succeeded, {cuts} times cut off", 2 * IN_A_JOB.len()))?;
    goes_on(landfall)
}

/// The daemon holds its connections and says nothing.
pub(super) fn silence(landfall: &Landfall, site: &Site) -> Result<()> {
    step("libvirtd of the source says nothing any more");
    site.freeze_daemon(true);
    let said = says(landfall, "LF0433");
    site.freeze_daemon(false);
    said?;
    goes_on(landfall)
}
