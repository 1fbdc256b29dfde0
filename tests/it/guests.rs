//! Programs inside machines: a runbook asks, the site's adapter runs them, and only those of its own call.

use std::fmt::Write;
use std::fs;

use landfall_guests::Fixture;
use serde_json::json;

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::world::World;

/// A runbook that runs a program in an item's machine: hands on the failure, traps if the program's exit is not 0.
fn runner(name: &'static str, item: &str, side: u32, program: &str) -> Fixture {
    let mut fixture = Fixture::new("runbook")
        .named(name, "1.0.0")
        .requests(r#"interfaces = ["guests"]"#)
        .import("exec", "landfall:plugin/guests", "exec");
    let (item, program) = (fixture.text(item), fixture.text(program));
    let nothing = "(i32.const 0) (i32.const 0)";
    let exec = format!(
        "(call $exec {item} (i32.const {side}) {program} {nothing} {nothing} {nothing} (i32.const 1000) (i32.const 512))"
    );
    // Twice: the second has the same key, and so the same answer.
    fixture
        .body(
            "run",
            format!(
                "{exec} {exec}
                 (if (i32.load8_u (i32.const 512)) (then (return (i32.const 512))))
                 (if (i32.load (i32.const 516)) (then unreachable))
                 i32.const 2048"
            ),
        )
        .answering("effect")
}

const SOURCE: u32 = 0;
const TARGET: u32 = 1;

fn installed(world: &mut World, fixtures: &[(&Fixture, bool)]) {
    let file = world.path("landfall.toml");
    let mut configuration = fs::read_to_string(&file).unwrap();
    for (fixture, granted) in fixtures {
        fixture.write(&world.path(&format!("plugins/{}", fixture.name)));
        if *granted {
            writeln!(
                configuration,
                "[runbooks.{}.grants]\ninterfaces = [\"guests\"]",
                fixture.name
            )
            .unwrap();
        }
    }
    fs::write(file, configuration).unwrap();
    world.restart_daemon();
    for (fixture, _) in fixtures {
        eventually(&format!("{} serves", fixture.name), || {
            (world.plugin(fixture.name).state == "serving").then_some(())
        });
    }
}

#[test]
fn a_runbook_runs_programs_in_the_machines_of_its_call_and_in_no_others() {
    let mut world = World::start();
    let good = runner("good", "db", TARGET, "hostname");
    let early = runner("early", "db", TARGET, "hostname");
    let foreign = runner("foreign", "other", SOURCE, "hostname");
    let wrong = runner("wrong", "db", TARGET, "no-such-program");
    installed(
        &mut world,
        &[(&good, true), (&early, true), (&foreign, true), (&wrong, true)],
    );
    let actions = [
        "name: early, runbook: early, before: [all], on-error: continue, retries: 0",
        "name: foreign, runbook: foreign, after: [all], on-error: continue, retries: 0",
        "name: good, runbook: good, after: [all]",
        "name: wrong, runbook: wrong, after: [all], on-error: continue, retries: 0",
    ];
    // `other` is protected by the same daemon, and no machine of this plan.
    world.protect(&Inventory::of(&["db", "other"]), &plan(&["db", "other"], &[]));
    world.apply("plan", &plan(&["db"], &actions));
    let job = world.run("test", &json!({}));
    assert_eq!(job.status, "completed-with-errors", "{:?}", job.reason);
    for (action, place, status, word) in [
        ("early", "before-all", "failed", "no machine at site"),
        ("foreign", "after-all", "failed", "no machine of this call"),
        ("good", "after-all", "done", ""),
        ("wrong", "after-all", "failed", "unreachable"),
    ] {
        let step = job.step(&format!("action/{action}/{place}"));
        let message = step.message.as_deref().unwrap_or_default();
        assert!(
            step.status == status && message.contains(word),
            "{action}: {} {message}",
            step.status
        );
    }
    let ran: Vec<_> = world
        .lab
        .ledger()
        .into_iter()
        .filter(|line| line.operation == "custom" && line.step.as_deref() == Some("action/good/after-all"))
        .collect();
    assert_eq!(ran.len(), 2, "each was asked for once, and nothing else");
    assert!(ran[0].key.is_some() && ran[0].key == ran[1].key);
    world.lab.assert_sound();
}

#[test]
fn c07_programs_that_were_not_granted_are_refused_with_the_line() {
    let mut world = World::start();
    let runner = runner("runner", "db", TARGET, "hostname");
    installed(&mut world, &[(&runner, false)]);
    world.protect(
        &Inventory::of(&["db"]),
        &plan(&["db"], &["name: run, runbook: runner, after: [all]"]),
    );
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    assert!(
        refused.err.contains("LF0420") && refused.err.contains(r#"interfaces = ["guests"]"#),
        "{refused}"
    );
}
