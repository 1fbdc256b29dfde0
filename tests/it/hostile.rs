//! Hostile plugins in a running daemon: the plan that uses them shows what each did, and everything else goes on.

use std::fmt::Write;
use std::fs;

use landfall_guests::{hostile, trap_after_effect};
use serde_json::json;

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::world::World;

/// Puts all of them into the plugin directory, under limits that end soon.
fn installed(world: &mut World) -> Vec<(&'static str, &'static str)> {
    let file = world.path("landfall.toml");
    let mut configuration = fs::read_to_string(&file).unwrap();
    let mut kinds = Vec::new();
    for kind in hostile() {
        kind.fixture.write(&world.path(&format!("plugins/{}", kind.name)));
        let name = kind.name;
        let limits = "limits = { cpu-ms = 100, wall-ms = 20000, memory = 8388608 }";
        let limits = if kind.code == "LF0433" {
            "limits = { wall-ms = 500 }"
        } else {
            limits
        };
        writeln!(configuration, "[runbooks.{name}]\n{limits}").unwrap();
        writeln!(configuration, "[runbooks.{name}.grants]\n{}", kind.grants).unwrap();
        kinds.push((name, kind.code));
    }
    fs::write(file, configuration).unwrap();
    world.restart_daemon();
    for (name, _) in &kinds {
        eventually(&format!("{name} serves"), || {
            (world.plugin(name).state == "serving").then_some(())
        });
    }
    kinds
}

#[test]
fn hostile_runbooks_end_with_their_own_codes_and_the_machines_are_recovered() {
    let mut world = World::start();
    let mut kinds = installed(&mut world);
    // It loops before it can say what its effect is, which is asked before a job begins: there is no job.
    kinds.retain(|(name, _)| *name != "start-loop");
    let actions: Vec<_> = kinds
        .iter()
        .map(|(name, _)| format!("name: {name}, runbook: {name}, before: [all], on-error: continue, retries: 0"))
        .collect();
    let actions: Vec<_> = actions.iter().map(String::as_str).collect();
    world.protect(&Inventory::of(&["db", "web"]), &plan(&["db", "web"], &actions));
    let job = world.run("test", &json!({}));
    for (name, code) in &kinds {
        let step = job.step(&format!("action/{name}/before-all"));
        assert_eq!(step.code.as_deref(), Some(*code), "{name}: {:?}", step.message);
        let message = step.message.as_deref().unwrap_or_default();
        assert!(message.contains(name) && message.contains("sha256:"), "{message}");
        // The page says what to do.
        let page = world.cli(&["explain", code]).code(0);
        assert!(page.out.contains(code), "{page}");
    }
    assert_eq!(job.status, "completed-with-errors", "{:?}", job.reason);
    for item in ["db", "web"] {
        assert_eq!(world.item(item).test, "tested", "{item}");
    }
    world.lab.assert_sound();
    world.cli(&["cleanup", "hr"]).code(0);

    let action = "name: start, runbook: start-loop, before: [all]";
    world.apply("plan", &plan(&["db", "web"], &[action]));
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    assert!(
        refused.err.contains("LF0432") && refused.err.contains("start-loop"),
        "{refused}"
    );

    // Without them, the same daemon brings the same plan up without an error.
    world.apply("plan", &plan(&["db", "web"], &[]));
    world.succeed("test", &json!({}));
}

#[test]
fn hostile_trap_after_an_effect_is_not_sent_again_by_itself() {
    let mut world = World::start();
    // One-shot, as what nobody can ask about is.
    let fixture = trap_after_effect(&format!("127.0.0.1:{}", world.lab.port()))
        .body("effect", "(i32.store8 (i32.const 2056) (i32.const 4)) i32.const 2048");
    fixture.write(&world.path("plugins/trap-after-effect"));
    let file = world.path("landfall.toml");
    let grants = format!(
        "[runbooks.trap-after-effect.grants]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {} }}]\n",
        world.lab.port()
    );
    let configuration = fs::read_to_string(&file).unwrap();
    fs::write(file, configuration + &grants).unwrap();
    world.restart_daemon();
    let action = "name: once, runbook: trap-after-effect, before: [all]";
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[action]));
    let job = world.run("test", &json!({}));
    let step = job.step("action/once/before-all");
    assert_eq!((job.status.as_str(), step.attempt), ("stuck", 1), "{:?}", step.message);
    let message = step.message.as_deref().unwrap_or_default();
    assert!(message.contains("trap-after-effect"), "{message}");
    world.cli(&["job", "abandon", &job.id, "--reason", "tried"]).code(0);
}

#[test]
fn limits_without_sense_are_refused_with_their_line() {
    let world = World::start();
    let configuration = fs::read_to_string(world.path("landfall.toml")).unwrap();
    for (limit, words) in [
        ("cpu-ms = 0", "0 is not between 1 and 3600000 milliseconds"),
        ("memory = 1073741824", "is not between 65536 and 268435456"),
        ("memroy = 1", "unknown field `memroy`"),
    ] {
        let bad = format!("{configuration}[runbooks.other]\nlimits = {{ {limit} }}\n");
        fs::write(world.path("bad.toml"), bad).unwrap();
        let refused = world.cli(&["daemon", "run", "--config", "bad.toml"]).code(5);
        for part in ["LF0504", "bad.toml", limit, words] {
            assert!(refused.err.contains(part), "{part} is not in {refused}");
        }
    }
}
