//! Whether the demo went right: lost records are counted on the disks that the lab holds, hooks and doubled effects in
//! its ledger. Nothing that the daemon says of itself counts.

use anyhow::{Context, Result, bail, ensure};

use super::answers::{Disk, Job, JobItem, Line, Verdict};
use super::lab::Lab;
use crate::print;

/// One recovered machine.
#[derive(Debug)]
struct Row {
    item: String,
    site: String,
    machine: String,
    point: String,
    /// Records of the source that the recovered disk holds.
    recovered: u64,
    /// Records that the source had and the recovered disk lacks; none while the source still writes.
    lost: Option<u64>,
    rpo_ms: Option<u64>,
    rto_ms: Option<u64>,
    problem: Option<String>,
}

/// All machines of a job.
pub(super) struct Report(Vec<Row>);

impl Report {
    /// Reads the disks. `source_is_off`: it writes no more, so that what is missing can be counted.
    pub(super) fn read(lab: &Lab, job: &Job, source_is_off: bool) -> Result<Self> {
        let rows = job.items.iter().map(|item| Row::read(lab, item, source_is_off));
        rows.collect::<Result<_>>().map(Self)
    }

    /// Every machine is there, every checksum holds, and a planned failover lost nothing (F22).
    pub(super) fn check(&self, machines: usize) -> Result<()> {
        ensure!(
            self.0.len() == machines,
            "{} machines of {machines} were recovered",
            self.0.len()
        );
        for row in &self.0 {
            if let Some(problem) = &row.problem {
                bail!("the disk of {} is damaged: {problem}", row.machine);
            }
            ensure!(row.recovered > 0, "the disk of {} is empty", row.machine);
            ensure!(
                row.lost.unwrap_or(0) == 0,
                "{} lost {} records",
                row.item,
                row.lost.unwrap_or(0)
            );
        }
        Ok(())
    }
}

impl Row {
    fn read(lab: &Lab, item: &JobItem, source_is_off: bool) -> Result<Self> {
        let name = item.item.clone();
        let machine = item.machine.clone();
        let machine = machine.with_context(|| format!("{name} has no machine at the target"))?;
        // The example inventory calls item `hr-X` what the site calls `X`.
        let source = disk(lab, "a", name.strip_prefix("hr-").unwrap_or(&name))?;
        let copy = disk(lab, "b", &machine)?;
        let writer = source.incarnations.last().map(|span| span.incarnation);
        // The recovered machine writes on under its own number, so only the source's records count.
        let spans = copy.incarnations.iter().filter(|span| Some(span.incarnation) == writer);
        let recovered = spans.map(|span| span.last).max().unwrap_or(0);
        let damaged = [&source, &copy].into_iter().find(|disk| !disk.valid);
        Ok(Self {
            item: name,
            site: item.target_site.clone(),
            machine,
            point: item
                .point
                .as_ref()
                .map_or_else(|| "-".to_owned(), |point| point.id.clone()),
            recovered,
            lost: source_is_off.then(|| source.last.unwrap_or(0).saturating_sub(recovered)),
            rpo_ms: item.rpo_ms,
            rto_ms: item.rto_ms,
            problem: damaged.map(problem),
        })
    }
}

fn problem(disk: &Disk) -> String {
    let words = disk.problem.as_deref().unwrap_or("the lab does not say how");
    format!("{words} ({} records)", disk.records)
}

fn disk(lab: &Lab, site: &str, machine: &str) -> Result<Disk> {
    lab.get(&format!("control/machines/{site}/{machine}/disk?verify=1"))
}

/// The machines with what was counted on their disks.
pub(super) fn table(report: &Report) -> String {
    let heading = [
        "MACHINE",
        "SITE",
        "MACHINE THERE",
        "POINT",
        "RECORDS READ",
        "RPO RECORDS",
        "RPO SECONDS",
        "RTO SECONDS",
    ];
    let seconds =
        |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{}.{}", ms / 1_000, ms % 1_000 / 100));
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(report.0.iter().map(|row| {
        let lost = row.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string());
        let (item, site, machine, point) = (
            row.item.clone(),
            row.site.clone(),
            row.machine.clone(),
            row.point.clone(),
        );
        [
            item,
            site,
            machine,
            point,
            row.recovered.to_string(),
            lost,
            seconds(row.rpo_ms),
            seconds(row.rto_ms),
        ]
    }));
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The job's webhooks stand in the ledger, once each and in the order of the plan (F29).
pub(super) fn webhooks(lab: &Lab, job: &Job, expected: &[&str]) -> Result<()> {
    let ledger = lab.text("control/ledger")?;
    let lines: Vec<Line> = ledger.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ours = lines
        .iter()
        .filter(|line| line.operation == "webhook" && line.result == "changed" && line.job.as_ref() == Some(&job.id));
    let found: Vec<&str> = ours.filter_map(action).collect();
    ensure!(
        found == expected,
        "the hooks arrived as {found:?}, the plan says {expected:?}"
    );
    print(&format!(
        "hooks of the {}, from the ledger: {}",
        job.operation,
        found.join(", ")
    ))
}

/// The action that sent a webhook, as its body says.
fn action(line: &Line) -> Option<&str> {
    line.change
        .iter()
        .find_map(|change| change.pointer("/body/action")?.as_str())
}

/// The lab's own judgement: nothing happened twice, and no machine was ever active at both sites.
pub(super) fn ledger(lab: &Lab) -> Result<()> {
    let verdict: Verdict = lab.get("control/check")?;
    ensure!(
        verdict.doubled.is_empty(),
        "effects happened twice: {:?}",
        verdict.doubled
    );
    ensure!(
        verdict.both_active.is_empty(),
        "machines were active at both sites: {:?}",
        verdict.both_active
    );
    print(&format!(
        "ledger: {} entries, nothing doubled, never active at both sites",
        verdict.entries
    ))
}
