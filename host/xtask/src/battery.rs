//! `cargo xtask battery`: the fault battery, with a program that has crash points and mutants, and a table of what it
//! found. The table stands in the README, so that what is promised there was seen.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::{self, cargo, check};

/// What one test may take, in seconds; the sweep of crash points takes five times as long.
const SHORT: &str = "50";
const FULL: &str = "150";

/// Between these the README has the table.
const BEGIN: &str = "<!-- battery -->";
const END: &str = "<!-- /battery -->";

/// A line of the table, as a test wrote it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    test: String,
    what: String,
    cases: u64,
    lost: u64,
    doubled: u64,
    both_active: u64,
    other: Vec<String>,
}

pub(crate) fn run(short: bool, write: bool, filter: Option<&str>) -> Result<()> {
    build::plugins()?;
    let place = build::root().join("target/battery");
    fs::create_dir_all(&place)?;
    // The program with crash points is kept apart: nothing else may ever run it.
    let faulty = build::program("landfall", &["--bin", "landfall", "--features", "landfall/faults"])?;
    let program = place.join("landfall");
    fs::copy(&faulty, &program).with_context(|| format!("cannot write {}", program.display()))?;
    build::shim()?;
    build::program("landfall", &["--bin", "landfall"])?;
    let results = place.join("results.jsonl");
    let _ = fs::remove_file(&results);
    let mut tests = cargo(&["test", "--workspace", "--test", "it", "--", "--ignored", "--nocapture"]);
    // One at a time: each uses both cores, and the times are its own.
    tests.args([
        "--test-threads",
        "1",
        "--skip",
        "workload",
        filter.unwrap_or("battery::"),
    ]);
    tests
        .env("LANDFALL_IT_BINARY", &program)
        .env("LANDFALL_BATTERY_RESULTS", &results)
        .env("LANDFALL_BATTERY_SECONDS", if short { SHORT } else { FULL });
    let ended = check(&mut tests).and_then(|()| {
        if filter.is_none() {
            model(short, &results)
        } else {
            Ok(())
        }
    });
    let lines = read(&results)?;
    crate::print(&table(&lines))?;
    ended?;
    if let Some(line) = lines
        .iter()
        .find(|line| line.lost + line.doubled + line.both_active > 0 || !line.other.is_empty())
    {
        bail!("{} did harm: {:?}", line.test, line.other);
    }
    if write {
        into_readme(&table(&lines))?;
    }
    Ok(())
}

/// The model of the fencing protocol, which needs no program: the short exploration, or the one that takes minutes, and
/// its mutants.
fn model(short: bool, results: &Path) -> Result<()> {
    let mut tests = cargo(&["test", "--workspace", "--test", "fencing", "--", "--nocapture"]);
    tests.env("LANDFALL_BATTERY_RESULTS", results);
    if short {
        return check(&mut tests);
    }
    check(tests.args(["--include-ignored", "--skip", "in_whatever_order"]))
}

fn read(results: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(results).unwrap_or_default();
    let mut lines: Vec<Line> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("a result cannot be read: {line}")))
        .collect::<Result<_>>()?;
    lines.sort_by(|left, right| left.test.cmp(&right.test));
    Ok(lines)
}

fn table(lines: &[Line]) -> String {
    let mut rows = vec![
        "| test | what was done | cases | lost | doubled | both active |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    let mut mutants = Vec::new();
    for line in lines {
        let Line {
            test,
            what,
            cases,
            lost,
            doubled,
            both_active,
            ..
        } = line;
        match what.split_once("killed: ").filter(|_| test == "T14") {
            Some((_, names)) => mutants.push(names),
            None => rows.push(format!(
                "| {test} | {what} | {cases} | {lost} | {doubled} | {both_active} |"
            )),
        }
    }
    if !mutants.is_empty() {
        let names = mutants.join(", ");
        rows.push(format!(
            "\nThe battery is not blind: each of these safeguards was taken out, and it found the harm: {names}."
        ));
    }
    rows.join("\n") + "\n"
}

fn into_readme(table: &str) -> Result<()> {
    let path = build::root().join("README.md");
    let text = fs::read_to_string(&path)?;
    let parts = text.split_once(BEGIN).zip(text.split_once(END));
    let ((before, _), (_, after)) = parts.context("the README has no place for the battery's table")?;
    fs::write(&path, format!("{before}{BEGIN}\n{table}{END}{after}"))?;
    Ok(())
}
