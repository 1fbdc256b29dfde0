//! Which version of a plugin serves: going back, revoking, what pinned jobs do then, and that nothing of it is lost
//! however the daemon ends.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::answers::{Job, Plugin};
use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::world::{World, copy_plugin, troubles};

const HOOK: &str = "name: pause, runbook: wait, before: [all], with: { duration: 3s }";

#[derive(Debug, Deserialize)]
struct Change {
    cause: String,
    from: Option<String>,
    to: Option<String>,
    who: String,
    reason: String,
}

/// Gives the plugin's manifest another summary, and with it the plugin another digest. Renamed into place.
fn edit(world: &World, plugin: &str, summary: &str) {
    let path = world.path(&format!("plugins/{plugin}/plugin.toml"));
    let text = fs::read_to_string(&path).unwrap();
    let other = |line: &str| match line.strip_prefix("summary") {
        Some(_) => format!("summary = \"{summary}\"\n"),
        None => format!("{line}\n"),
    };
    let lines = text.lines().map(other);
    let new = path.with_extension("new");
    fs::write(&new, lines.collect::<String>()).unwrap();
    fs::rename(new, path).unwrap();
}

/// Edits, and waits until that version serves; its digest.
fn publish(world: &World, plugin: &str, summary: &str) -> String {
    edit(world, plugin, summary);
    let serves = || Some(world.plugin(plugin)).filter(|now| now.summary.as_deref() == Some(summary));
    eventually(summary, serves).digest.unwrap()
}

fn digest(world: &World, plugin: &str) -> String {
    world.plugin(plugin).digest.expect("it serves")
}

fn history(world: &World, plugin: &str) -> Vec<Change> {
    world.api.get(&format!("api/v1/plugins/{plugin}/history?limit=1000"))
}

/// The exact version is back under its digest.
fn is_stored(world: &World, digest: &str) -> bool {
    let digits = digest.strip_prefix("sha256:").unwrap();
    world.path(&format!("data/plugins/plugins-store/{digits}")).is_dir()
}

fn forget_stored(world: &World, digest: &str) {
    let digits = digest.strip_prefix("sha256:").unwrap();
    fs::remove_dir_all(world.path(&format!("data/plugins/plugins-store/{digits}"))).unwrap();
}

#[test]
fn c05_rolling_back_is_recorded_and_survives_a_restart() {
    let mut world = World::start();
    let first = digest(&world, "wait");
    let second = publish(&world, "wait", "Waits better");
    let back = world
        .cli(&["plugin", "rollback", "wait", "--reason", "it waits too long"])
        .code(0);
    assert!(back.out.contains(&first[7..19]), "{back}");
    for _ in 0..2 {
        assert_eq!(digest(&world, "wait"), first);
        let error = world.plugin("wait").error.unwrap();
        assert!(
            error.contains("LF0462") && error.contains("it waits too long"),
            "{error}"
        );
        world.restart_daemon();
    }
    let again = world.cli(&["plugin", "rollback", "wait"]).code(5);
    assert!(again.err.contains("LF0464"), "{again}");
    world.cli(&["plugin", "activate", "wait", &second[7..19]]).code(0);
    assert_eq!(
        (digest(&world, "wait"), world.plugin("wait").error),
        (second.clone(), None)
    );
    let shown = world.cli(&["plugin", "inspect", "wait"]).code(0);
    assert!(
        shown.out.contains(&first) && shown.out.contains("runbooks.wait"),
        "{shown}"
    );
    let listed = world.cli(&["plugin", "history", "wait"]).code(0);
    assert!(listed.out.contains("it waits too long"), "{listed}");
    let causes: Vec<_> = history(&world, "wait").into_iter().map(|change| change.cause).collect();
    assert_eq!(causes, ["activate", "rollback", "file", "file"]);
    let rollback = &history(&world, "wait")[1];
    assert_eq!(
        (rollback.from.as_ref(), rollback.to.as_ref()),
        (Some(&second), Some(&first))
    );
    assert_eq!(
        (rollback.who.as_str(), rollback.reason.as_str()),
        ("admin", "it waits too long")
    );
}

#[test]
fn c05_an_order_is_carried_out_once_under_its_key_and_refused_with_a_reason() {
    let world = World::start();
    let first = digest(&world, "wait");
    publish(&world, "wait", "Two");
    publish(&world, "wait", "Three");
    let path = "api/v1/plugins/wait/rollback";
    let key = [("idempotency-key", "once")];
    for _ in 0..3 {
        let _: Plugin = world.api.post_with(path, &json!({}), &key).ok();
        assert_eq!(world.plugin("wait").summary.as_deref(), Some("Two"));
    }
    let other = world.api.post_with(path, &json!({"digest": first}), &key);
    assert_eq!(other.json::<Value>()["code"], "LF0214");
    let unknown = format!("sha256:{}", "0".repeat(64));
    for (path, body, code) in [
        ("api/v1/plugins/nothing/rollback", json!({}), "LF0460"),
        ("api/v1/plugins/wait/activate", json!({}), "LF0503"),
        ("api/v1/plugins/wait/activate", json!({"digest": "abc"}), "LF0464"),
        ("api/v1/plugins/wait/activate", json!({"digest": unknown}), "LF0414"),
        ("api/v1/plugins/webhook/activate", json!({"digest": first}), "LF0464"),
        (
            "api/v1/plugins/revoke",
            json!({"digest": first, "reason": " "}),
            "LF0503",
        ),
        (
            "api/v1/plugins/revoke",
            json!({"digest": "ffffffffffff", "reason": "x"}),
            "LF0464",
        ),
    ] {
        let refused = world.api.post(path, &body);
        assert_eq!(refused.json::<Value>()["code"], code, "{path} {body}: {}", refused.text);
    }
}

#[test]
fn c05_a_job_whose_version_is_revoked_waits_and_goes_on_with_another() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[HOOK]));
    let old = digest(&world, "wait");
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "action/pause/before-all", "running");
    world
        .cli(&["plugin", "revoke", &old[7..19], "--reason", "it leaks"])
        .code(0);
    let stuck = world.rest(&job.id);
    let step = stuck.step("action/pause/before-all");
    assert_eq!((stuck.status.as_str(), step.status.as_str()), ("stuck", "stuck"));
    assert_eq!(step.code.as_deref(), Some("LF0461"), "{:?}", step.message);
    assert!(stuck.allowed_actions.contains(&"repin".to_owned()));
    assert_eq!(world.plugin("wait").state, "failed");
    // It stays so: across a restart, with the same files put there again, for new jobs, and by hand.
    world.restart_daemon();
    copy_plugin(&world.path("plugins/wait"), &world.path("plugins/wait-again"));
    eventually("the copy is refused", || {
        let all = world.plugins();
        let copy = all.into_iter().find(|plugin| plugin.name == "wait-again")?;
        copy.error.filter(|error| error.contains("LF0461"))
    });
    fs::remove_dir_all(world.path("plugins/wait-again")).unwrap();
    let refused = world.cli(&["plugin", "activate", "wait", &old]).code(5);
    assert!(refused.err.contains("LF0461"), "{refused}");
    assert_eq!(world.rest(&job.id).status, "stuck");

    let new = publish(&world, "wait", "Mended");
    let step = "action/pause/before-all";
    let webhook = digest(&world, "webhook");
    let wrong = world
        .cli(&["job", "repin", &job.id, step, "--to", &webhook, "--reason", "x"])
        .code(5);
    assert!(wrong.err.contains("LF0469"), "{wrong}");
    world
        .cli(&["job", "repin", &job.id, step, "--to", &new[..20], "--reason", "mended"])
        .code(0);
    let ended = world.job(&job.id);
    assert_eq!(ended.status, "succeeded", "{:#?}", troubles(&ended));
    assert!(ended.plugins["runbook:wait"].contains(&new) && ended.hash == job.hash);
    world.restart_daemon();
    assert!(world.job(&job.id).plugins["runbook:wait"].contains(&new));
}

#[test]
fn c05_a_job_whose_adapter_is_revoked_in_mid_flight_does_nothing_twice() {
    let items = ["db", "web"];
    let world = World::protected(&Inventory::of(&items), &plan(&items, &[]));
    world.lab.latency("create-machine", 2_000, 2_000);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "create/db", "running");
    let old = digest(&world, "lab");
    edit(&world, "lab", "The next one");
    let new = eventually("the next one serves", || {
        Some(digest(&world, "lab")).filter(|now| *now != old)
    });
    world.cli(&["plugin", "revoke", &old, "--reason", "it leaks"]).code(0);
    let stuck = world.rest(&job.id);
    assert_eq!(stuck.status, "stuck", "{:#?}", troubles(&stuck));
    let repinned = world.cli(&["job", "repin", &job.id, "--all", "--to", &new, "--reason", "mended"]);
    repinned.code(0);
    let ended = world.job(&job.id);
    assert_eq!(ended.status, "succeeded", "{:#?}", troubles(&ended));
    assert!(
        ended
            .plugins
            .values()
            .filter(|pin| pin.starts_with("lab "))
            .all(|pin| pin.contains(&new))
    );
    world.lab.assert_sound();
}

#[test]
fn c05_a_job_whose_version_is_missing_waits_until_its_files_are_back() {
    let mut world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[HOOK]));
    let old = digest(&world, "wait");
    let backup = world.path("backup");
    copy_plugin(&world.path("plugins/wait"), &backup);
    let job = world.launch("planned-failover", &json!({}));
    world.step_is(&job.id, "action/pause/before-all", "running");
    publish(&world, "wait", "Newer");
    world.kill_daemon();
    forget_stored(&world, &old);
    world.restart_daemon();
    let stuck = world.rest(&job.id);
    let step = stuck.step("action/pause/before-all");
    assert_eq!((stuck.status.as_str(), step.code.as_deref()), ("stuck", Some("LF0305")));
    let message = step.message.as_ref().unwrap();
    assert!(message.contains(&old) && message.contains("repin"), "{message}");
    copy_plugin(&backup, &world.path("plugins/wait"));
    eventually("the version is back", || is_stored(&world, &old).then_some(()));
    world.cli(&["job", "retry", &job.id]).code(0);
    let ended = world.job(&job.id);
    assert_eq!(ended.status, "succeeded", "{:#?}", troubles(&ended));
    assert!(ended.plugins["runbook:wait"].contains(&old));
}

#[test]
fn c05_an_update_that_wants_more_than_is_granted_waits() {
    let mut world = World::start();
    let old = digest(&world, "wait");
    let path = world.path("plugins/wait/plugin.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("interfaces = [\"clock\"", "interfaces = [\"clock\", \"random\""),
    )
    .unwrap();
    eventually("it is pending", || {
        (world.plugin("wait").state == "pending").then_some(())
    });
    let listed = world.cli(&["plugin", "list"]).code(0);
    assert!(
        listed.out.contains("[runbooks.wait.grants]") && listed.out.contains("random"),
        "{listed}"
    );
    world.restart_daemon();
    assert_eq!(
        (world.plugin("wait").state.as_str(), digest(&world, "wait")),
        ("pending", old.clone())
    );
    // Granted: it serves. The same could be had by activating it.
    let config = world.path("landfall.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("interfaces = [\"clock\"]", "interfaces = [\"clock\", \"random\"]"),
    )
    .unwrap();
    world.restart_daemon();
    assert_eq!(world.plugin("wait").state, "serving");
    assert_ne!(digest(&world, "wait"), old);
}

/// Renames two versions into place in turn, and kills the daemon wherever it happens to be.
#[test]
fn c05_a_daemon_killed_between_rename_and_publish_serves_one_of_the_two_and_says_why() {
    let mut world = World::start();
    let mut known = vec![digest(&world, "wait")];
    for round in 0..12_u64 {
        let summary = format!("Version {}", round % 3);
        edit(&world, "wait", &summary);
        // From before the event is seen to after the publish.
        thread::sleep(Duration::from_millis(40 * round));
        world.restart_daemon();
        // What lies there is a whole version, so after a start it serves.
        let now = world.plugin("wait");
        assert_eq!(
            (now.state.as_str(), now.summary.as_deref(), now.error),
            ("serving", Some(summary.as_str()), None)
        );
        let digest = now.digest.unwrap();
        assert!(is_stored(&world, &digest));
        known.push(digest);
        let changes = history(&world, "wait");
        assert_eq!(changes[0].to.as_ref(), known.last());
        // Each change begins where the one before it ended: none is lost, none is told twice.
        for pair in changes.windows(2) {
            assert_eq!(pair[0].from, pair[1].to);
        }
    }
}

/// Publishes by the API and by files while jobs run one after the other.
#[test]
fn c05_no_call_fails_and_no_job_mixes_versions_while_versions_change() {
    const ORDERS: usize = 300;
    const FILES: usize = 10;
    let quick = "name: pause, runbook: wait, before: [all], with: { duration: 10ms }";
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[quick]));
    let versions = [digest(&world, "wait"), publish(&world, "wait", "Two")];
    let over = AtomicBool::new(false);
    let jobs = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ended: Vec<Job> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                ended.push(world.succeed("test", &json!({})));
                world.succeed("cleanup", &json!({}));
            }
            ended
        });
        for order in 0..ORDERS {
            let body = json!({"digest": versions[order % 2]});
            let now: Plugin = world.api.post("api/v1/plugins/wait/activate", &body).ok();
            assert_eq!(now.digest.as_ref(), Some(&versions[order % 2]));
        }
        for file in 0..FILES {
            publish(&world, "wait", &format!("File {file}"));
        }
        over.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(!jobs.is_empty());
    let changes = history(&world, "wait");
    let published: Vec<_> = changes.iter().filter_map(|change| change.to.as_ref()).collect();
    assert!(changes.len() >= ORDERS + FILES, "{}", changes.len());
    for job in &jobs {
        let pin = &job.plugins["runbook:wait"];
        assert!(published.iter().any(|digest| pin.contains(digest.as_str())), "{pin}");
        // A repin would be the only way to another version, and nobody asked for one.
        assert_eq!(world.job(&job.id).plugins, job.plugins);
    }
}

#[test]
fn old_versions_go_and_those_that_can_be_gone_back_to_stay() {
    let mut world = World::start();
    let digests: Vec<_> = (0..8)
        .map(|n| publish(&world, "wait", &format!("Version {n}")))
        .collect();
    assert!(digests.iter().all(|digest| is_stored(&world, digest)));
    world.restart_daemon();
    eventually("the oldest goes", || (!is_stored(&world, &digests[0])).then_some(()));
    assert!(digests[2..].iter().all(|digest| is_stored(&world, digest)));
    assert!(
        !Path::new(&world.path("data/plugins/plugins-store"))
            .join(&digests[0][7..])
            .exists()
    );
}

/// Signs every plugin of the world with a key, and gives the key as the configuration wants it.
fn sign_all(world: &World, key: &str) -> String {
    let made = world
        .cli(&["plugin", "keygen", "--key", key, "--no-password", "-o", "json"])
        .code(0);
    for entry in fs::read_dir(world.path("plugins")).unwrap() {
        let directory = entry.unwrap().path();
        world
            .cli(&["plugin", "sign", directory.to_str().unwrap(), "--key", key])
            .code(0);
    }
    made.json::<Value>()["key"].as_str().unwrap().to_owned()
}

#[test]
fn c05_with_keys_configured_only_signed_plugins_serve() {
    let mut world = World::start();
    let key = sign_all(&world, "team.key");
    let config = fs::read_to_string(world.path("landfall.toml")).unwrap();
    let trusting = |key: &str| format!("{config}\n[trust]\nkeys = [\"{key}\"]\n");
    fs::write(world.path("landfall.toml"), trusting(&key)).unwrap();
    world.restart_daemon();
    let first = digest(&world, "wait");
    assert!(
        world
            .plugins()
            .iter()
            .all(|plugin| plugin.state == "serving" && plugin.error.is_none())
    );
    let shown = world.cli(&["plugin", "inspect", "wait"]).code(0);
    assert!(shown.out.contains(&key), "{shown}");

    let error = |code: &str| {
        eventually(code, || world.plugin("wait").error.filter(|error| error.contains(code)));
        assert_eq!(digest(&world, "wait"), first, "the signed version goes on serving");
    };
    // Changed after it was signed.
    edit(&world, "wait", "Waits longer");
    error("LF0467");
    // Signed by nobody, by a stranger, and a list that names another file.
    let signature = world.path("plugins/wait/SHA256SUMS.minisig");
    let good = fs::read_to_string(&signature).unwrap();
    fs::remove_file(&signature).unwrap();
    error("LF0465");
    world
        .cli(&["plugin", "keygen", "--key", "stranger.key", "--no-password"])
        .code(0);
    world
        .cli(&["plugin", "sign", "plugins/wait", "--key", "stranger.key"])
        .code(0);
    error("LF0466");
    fs::write(&signature, good).unwrap();
    error("LF0466");
    let manifest = world.path("plugins/wait/plugin.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    world
        .cli(&["plugin", "sign", "plugins/wait", "--key", "team.key"])
        .code(0);
    eventually("the signed edit serves", || {
        let now = world.plugin("wait");
        (now.summary.as_deref() == Some("Waits longer") && now.error.is_none()).then_some(())
    });
    let second = digest(&world, "wait");
    fs::rename(
        world.path("plugins/wait/wait.wasm"),
        world.path("plugins/wait/other.wasm"),
    )
    .unwrap();
    fs::write(&manifest, text.replace("\"wait.wasm\"", "\"other.wasm\"")).unwrap();
    let unlisted = || {
        world
            .plugin("wait")
            .error
            .filter(|error| error.contains("LF0467") || error.contains("LF0468"))
    };
    eventually("the renamed file is refused", unlisted);
    assert_eq!(digest(&world, "wait"), second);

    // A key that is no longer believed takes its versions along, stored ones too.
    world
        .cli(&["plugin", "keygen", "--key", "new.key", "--no-password"])
        .code(0);
    let public = fs::read_to_string(world.path("new.key.pub")).unwrap();
    let new = public.lines().nth(1).unwrap();
    fs::write(world.path("landfall.toml"), trusting(new)).unwrap();
    world.restart_daemon();
    assert!(world.plugins().iter().all(|plugin| plugin.state == "failed"));
    let refused = world.cli(&["plugin", "activate", "webhook", &first]).code(5);
    assert!(
        refused.err.contains("LF0466") || refused.err.contains("LF0460"),
        "{refused}"
    );
    fs::write(world.path("landfall.toml"), trusting("RWnothing")).unwrap();
    let bad = world.cli(&["daemon", "run", "--config", "landfall.toml"]);
    assert!(bad.err.contains("RWnothing") && bad.code != 0, "{bad}");
}

#[test]
fn a_key_with_a_password_signs_only_with_it() {
    let world = World::start();
    let run = |arguments: &[&str], password: &str| {
        let output = std::process::Command::new(crate::harness::process::binary())
            .args(arguments)
            .current_dir(world.path(""))
            .env("LANDFALL_KEY_PASSWORD", password)
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(run(&["plugin", "keygen", "--key", "a.key"], "open sesame"));
    assert!(
        !run(&["plugin", "keygen", "--key", "a.key"], "open sesame"),
        "a key is never overwritten"
    );
    assert!(!run(&["plugin", "sign", "plugins/wait", "--key", "a.key"], "wrong"));
    assert!(run(
        &["plugin", "sign", "plugins/wait", "--key", "a.key"],
        "open sesame"
    ));
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(world.path("a.key")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}
