//! Plugins that are wrong, that change under a running daemon, and that want more than they were granted.

use std::fs;

use serde_json::json;

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::world::{World, copy_plugin};

const HOOK: &str = "name: pause, runbook: wait, before: [all], with: { duration: 3s }";

/// Changes a text file in place.
fn edit(world: &World, file: &str, from: &str, to: &str) {
    let path = world.path(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {file}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// Adds a copy of a plugin under another directory name.
fn add_copy(world: &World, of: &str, name: &str) {
    copy_plugin(
        &world.path(&format!("plugins/{of}")),
        &world.path(&format!("plugins/{name}")),
    );
}

/// Waits until a directory's plugin is refused; what is said of it.
fn refusal(world: &World, name: &str) -> String {
    eventually(&format!("`{name}` is refused"), || {
        let plugin = world.plugins().into_iter().find(|plugin| plugin.name == name)?;
        plugin.error
    })
}

#[test]
fn bad_plugins_are_refused_with_the_reason_and_the_others_serve() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));

    // A runbook that is declared to be an adapter.
    add_copy(&world, "wait", "wrong-world");
    edit(
        &world,
        "plugins/wrong-world/plugin.toml",
        "name = \"wait\"",
        "name = \"wrong-world\"",
    );
    edit(
        &world,
        "plugins/wrong-world/plugin.toml",
        "kind = \"runbook\"",
        "kind = \"hypervisor-adapter\"",
    );
    // A file whose end is missing.
    add_copy(&world, "webhook", "cut-off");
    edit(
        &world,
        "plugins/cut-off/plugin.toml",
        "name = \"webhook\"",
        "name = \"cut-off\"",
    );
    let component = world.path("plugins/cut-off/webhook.wasm");
    let bytes = fs::read(&component).unwrap();
    fs::write(&component, &bytes[..bytes.len() / 2]).unwrap();
    // A module that was not made into a component: the smallest there is.
    add_copy(&world, "wait", "core");
    edit(&world, "plugins/core/plugin.toml", "name = \"wait\"", "name = \"core\"");
    fs::write(world.path("plugins/core/wait.wasm"), b"\0asm\x01\0\0\0").unwrap();
    // No manifest, and a component that is not there.
    fs::create_dir(world.path("plugins/empty")).unwrap();

    for (name, reason) in [
        ("wrong-world", "does not fit its world"),
        ("cut-off", "cut off"),
        ("core", "core module"),
        ("empty", "missing"),
    ] {
        let error = refusal(&world, name);
        assert!(error.contains(reason), "{name}: {error}");
        let listed = world.cli(&["plugin", "list"]).code(0);
        let line = listed
            .out
            .lines()
            .find(|line| line.starts_with(name))
            .expect("it is listed");
        assert!(line.contains("failed") && line.contains(reason), "{line}");
    }
    for plugin in ["lab", "standard", "wait", "webhook", "http-check"] {
        assert_eq!(world.plugin(plugin).state, "serving");
    }
    world.cli(&["failover", "hr", "--kind", "test"]).code(0);
}

#[test]
fn a_plan_with_a_runbook_that_does_not_load_is_refused() {
    let world = World::start();
    world.lab.furnish(&["db"]);
    world.apply("inventory", &Inventory::of(&["db"]).text());
    fs::write(world.path("plugins/wait/wait.wasm"), b"nothing").unwrap();
    // The version that served before keeps serving, with the error beside it.
    let error = refusal(&world, "wait");
    assert!(error.contains("no WebAssembly"), "{error}");
    world.apply("plan", &plan(&["db"], &[HOOK]));
    // One that is gone serves no more.
    fs::remove_dir_all(world.path("plugins/wait")).unwrap();
    eventually("it is gone", || {
        world.plugins().iter().all(|plugin| plugin.name != "wait").then_some(())
    });
    let refused = world.try_apply("plan", &plan(&["db"], &[HOOK])).code(5);
    assert!(refused.err.contains("LF0108"), "{refused}");
}

#[test]
fn c05_a_new_version_serves_at_once_and_jobs_in_flight_keep_theirs() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[HOOK]));
    let old = world.plugin("wait").digest.expect("it serves");
    let job = world.launch("test", &json!({}));
    assert!(job.plugins["runbook:wait"].contains(&old), "{:?}", job.plugins);

    edit(&world, "plugins/wait/plugin.toml", "Waits a set time", "Takes its time");
    let began = std::time::Instant::now();
    let new = eventually("the new version serves", || {
        let plugin = world.plugin("wait");
        (plugin.summary.as_deref()?.starts_with("Takes its time")).then_some(plugin)
    });
    let took = began.elapsed();
    assert_ne!(new.digest.as_ref(), Some(&old));
    assert_eq!((new.state.as_str(), new.error), ("serving", None));
    assert!(took.as_secs() < 10, "the reload took {took:?}");

    // The job that runs was told nothing of it, and ends well.
    let running = world.job(&job.id);
    assert!(
        running.ended_at.is_none() && running.plugins == job.plugins,
        "{:?}",
        running.plugins
    );
    let ended = world.rest(&job.id);
    assert_eq!((ended.status.as_str(), &ended.plugins), ("succeeded", &job.plugins));
    // The next one gets the new version.
    world.cli(&["cleanup", "hr"]).code(0);
    let next = world.launch("test", &json!({}));
    assert!(
        next.plugins["runbook:wait"].contains(&new.digest.unwrap()),
        "{:?}",
        next.plugins
    );
}

#[test]
fn c05_a_job_keeps_its_version_across_a_restart() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[HOOK]));
    let job = world.launch("test", &json!({}));
    let old = world.plugin("wait").digest.expect("it serves");
    world.kill_daemon();
    edit(&world, "plugins/wait/plugin.toml", "Waits a set time", "Takes its time");
    world.restart_daemon();
    assert_ne!(world.plugin("wait").digest.expect("it serves"), old);
    let ended = world.rest(&job.id);
    assert_eq!(ended.status, "succeeded");
    assert!(ended.plugins["runbook:wait"].contains(&old));
}

#[test]
fn x01_an_address_that_was_not_granted_is_refused_with_the_line_that_would() {
    let world = World::configured(|configuration| configuration.granted = 9);
    let hook = "name: tell, runbook: webhook, before: [all]";
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &[hook]));
    let ended = world.cli(&["failover", "hr", "--kind", "test", "-o", "json"]).code(3);
    let job = world.job(&ended.json::<crate::harness::answers::Job>().id);
    let step = job.step("action/tell/before-all");
    assert_eq!(step.code.as_deref(), Some("LF0437"), "{:?}", step.message);
    let line = format!(
        "{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"POST\"], path = \"/hooks/it\" }}",
        world.lab.port()
    );
    let message = step.message.as_ref().unwrap();
    assert!(message.contains(&line), "{message}");
    assert!(world.lab.webhooks(&job.id).is_empty());
    assert!(ended.err.contains("action/tell/before-all"), "{ended}");
}

#[test]
fn x01_an_interface_that_was_not_granted_is_refused_with_the_line_that_would() {
    let mut world = World::start();
    edit(
        &world,
        "landfall.toml",
        "[runbooks.wait.grants]\ninterfaces = [\"clock\"]",
        "",
    );
    world.restart_daemon();
    world.lab.furnish(&["db"]);
    world.apply("inventory", &Inventory::of(&["db"]).text());
    world.apply("plan", &plan(&["db"], &[HOOK]));
    world.cli(&["protect", "db"]).code(0);
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    for word in ["LF0420", "wait", "clock", "interfaces"] {
        assert!(refused.err.contains(word), "{word} is not in {refused}");
    }
}
