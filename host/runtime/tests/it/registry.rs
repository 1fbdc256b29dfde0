//! Hot reload: what is served, what is not, and that a bad version never replaces a good one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall_runtime::{
    Accept, Binding, Cause, Forgetful, Grants, Keeper, Limits, Order, Plugin, PluginStatus, Policy, Registry,
    RegistryOptions, State, Want,
};

use crate::fixture::{Fixture, Place};

fn only(registry: &Registry, name: &str) -> PluginStatus {
    let all = registry.list();
    all.iter()
        .find(|status| status.source.ends_with(name))
        .unwrap_or_else(|| panic!("{all:?}"))
        .clone()
}

#[tokio::test]
async fn one_bad_plugin_does_not_stop_the_others() {
    let place = Place::new();
    let plugins = place.plugins();
    Fixture::policy().named("good", "1.0.0").write(&plugins.join("a"));
    Fixture::policy().named("good", "2.0.0").write(&plugins.join("twin"));
    fs::create_dir_all(plugins.join("empty")).unwrap();
    let registry = Registry::new(place.runtime.clone(), &plugins).unwrap();
    assert!(registry.refresh().await.unwrap());
    assert_eq!(registry.current("good").unwrap().info().version, "1.0.0");
    assert_eq!(only(&registry, "empty").error.unwrap().code, "LF0401");
    let twin = only(&registry, "twin");
    assert_eq!(
        (twin.state, twin.error.unwrap().code.as_str()),
        (State::Failed, "LF0417")
    );
}

/// What somebody may do who can write one directory of plugins and wants the whole.
#[tokio::test]
async fn hostile_what_lies_in_the_directory_is_read_only_if_it_is_a_plain_file_of_ours() {
    let place = Place::new();
    let plugins = place.plugins();
    let good = |name: &'static str| Fixture::policy().named(name, "1.0.0").write(&plugins.join(name));
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // A pipe would be waited for without end.
    fs::create_dir_all(plugins.join("pipe")).unwrap();
    let pipe = plugins.join("pipe/plugin.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // An error about a file of the daemon's would show it.
    let secret = place.plugins().with_file_name("secret");
    fs::write(&secret, "S3cretValue").unwrap();
    fs::create_dir_all(plugins.join("link")).unwrap();
    std::os::unix::fs::symlink(&secret, plugins.join("link/plugin.toml")).unwrap();
    let linked = good("component-link");
    fs::rename(linked.join("it.wasm"), secret.with_extension("wasm")).unwrap();
    std::os::unix::fs::symlink(secret.with_extension("wasm"), linked.join("it.wasm")).unwrap();
    mode(&good("open-directory"), 0o777);
    mode(&good("open-file").join("it.wasm"), 0o666);
    // As orchestrators lay their mounts: links, but inside.
    let mounted = good("mounted");
    fs::create_dir(mounted.join("..data")).unwrap();
    fs::rename(mounted.join("it.wasm"), mounted.join("..data/it.wasm")).unwrap();
    std::os::unix::fs::symlink("..data/it.wasm", mounted.join("it.wasm")).unwrap();
    let registry = Registry::new(place.runtime.clone(), &plugins).unwrap();
    registry.refresh().await.unwrap();
    for name in ["pipe", "link", "component-link", "open-directory", "open-file"] {
        let error = only(&registry, name).error.unwrap();
        assert_eq!(error.code, "LF0451", "{name}: {error:?}");
        assert!(!error.message.contains("S3cret"), "{error:?}");
    }
    assert!(
        registry.current("mounted").is_some(),
        "{:?}",
        only(&registry, "mounted").error
    );
    // Later, too.
    mode(&plugins, 0o777);
    let refused = registry.refresh().await.unwrap_err();
    assert_eq!(refused.code(), "LF0450");
    mode(&plugins, 0o755);
    registry.refresh().await.unwrap();
}

#[tokio::test]
async fn a_new_version_is_served_and_a_bad_one_is_not() {
    let place = Place::new();
    let plugins = place.plugins();
    let directory = Fixture::policy().write(&plugins.join("it"));
    let registry = Registry::new(place.runtime.clone(), &plugins).unwrap();
    registry.refresh().await.unwrap();
    let old = registry.current("fixture").unwrap();
    let mut changes = registry.changes();
    let _watch = registry.watch().unwrap();

    fs::write(directory.join("it.wasm"), b"\0asm").unwrap();
    let bad = wait(&mut changes, || only(&registry, "it").error.clone()).await;
    assert_eq!(
        (bad.code.as_str(), only(&registry, "it").state),
        ("LF0405", State::Serving)
    );
    assert_eq!(registry.current("fixture").unwrap().digest(), old.digest());

    Fixture::policy().named("fixture", "1.3.0").write(&directory);
    let version = |v: &str| (registry.current("fixture")?.info().version == v).then_some(());
    wait(&mut changes, || version("1.3.0")).await;
    assert_eq!(only(&registry, "it").error, None);
    // A job that was started before goes on with what it pinned.
    assert_eq!(
        place.runtime.load_digest(old.digest()).await.unwrap().info().version,
        "1.2.3"
    );

    fs::rename(&directory, plugins.join("renamed")).unwrap();
    wait(&mut changes, || {
        registry
            .list()
            .iter()
            .all(|s| s.source.ends_with("renamed"))
            .then(|| version("1.3.0"))?
    })
    .await;
    fs::remove_dir_all(plugins.join("renamed")).unwrap();
    wait(&mut changes, || registry.current("fixture").is_none().then_some(())).await;
}

async fn wait<T>(changes: &mut tokio::sync::watch::Receiver<u64>, ready: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            changes.mark_unchanged();
            if let Some(found) = ready() {
                return found;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found)
        .await
        .expect("the change is seen")
}

/// A registry that remembers what was decided before, as after a restart.
async fn reopen(place: &Place, keeper: &Arc<Forgetful>) -> Registry {
    reopen_with(place, keeper, Arc::new(|_, _| Vec::new())).await
}

async fn reopen_with(place: &Place, keeper: &Arc<Forgetful>, accept: Accept) -> Registry {
    let options = RegistryOptions {
        past: keeper.past(),
        keeper: Arc::clone(keeper) as Arc<dyn Keeper>,
        accept,
        ..RegistryOptions::new(place.plugins())
    };
    let registry = Registry::open(place.runtime.clone(), options).unwrap();
    registry.refresh().await.unwrap();
    registry
}

fn order() -> Order {
    Order {
        who: "ada".to_owned(),
        reason: "it is better".to_owned(),
        request: None,
    }
}

fn version(registry: &Registry) -> String {
    registry
        .current("fixture")
        .map_or_else(String::new, |plugin| plugin.identity().version.to_string())
}

/// Three versions of a policy, published one after the other from one directory.
async fn three_versions(place: &Place, keeper: &Arc<Forgetful>) -> (Registry, Vec<String>) {
    let registry = reopen(place, keeper).await;
    let mut digests = Vec::new();
    for number in ["1.0.0", "2.0.0", "3.0.0"] {
        Fixture::policy()
            .named("fixture", number)
            .write(&place.plugins().join("it"));
        assert!(registry.refresh().await.unwrap());
        digests.push(registry.current("fixture").unwrap().digest().to_owned());
    }
    (registry, digests)
}

#[tokio::test]
async fn c05_rolling_back_survives_a_restart_until_other_files_come() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let (registry, digests) = three_versions(&place, &keeper).await;
    registry.roll_back("fixture", None, order()).await.unwrap();
    assert_eq!(version(&registry), "2.0.0");
    assert_eq!(only(&registry, "it").held.as_ref(), Some(&digests[2]));
    // Neither a look at the same files nor a restart brings it back.
    fs::copy(place.plugins().join("it/it.wasm"), place.plugins().join("it/new")).unwrap();
    fs::rename(place.plugins().join("it/new"), place.plugins().join("it/it.wasm")).unwrap();
    registry.refresh().await.unwrap();
    assert_eq!(version(&registry), "2.0.0");
    let registry = reopen(&place, &keeper).await;
    let status = only(&registry, "it");
    assert_eq!(
        (version(&registry).as_str(), status.error.unwrap().code.as_str()),
        ("2.0.0", "LF0462")
    );
    // Once more, further back; then forward by hand.
    registry.roll_back("fixture", None, order()).await.unwrap();
    assert_eq!(version(&registry), "1.0.0");
    let error = registry.roll_back("fixture", None, order()).await.unwrap_err();
    assert_eq!(error.code(), "LF0464");
    registry.activate("fixture", &digests[2], order()).await.unwrap();
    assert_eq!(
        (version(&registry).as_str(), only(&registry, "it").error),
        ("3.0.0", None)
    );
    Fixture::policy()
        .named("fixture", "4.0.0")
        .write(&place.plugins().join("it"));
    registry.refresh().await.unwrap();
    assert_eq!(version(&registry), "4.0.0");
    let causes: Vec<_> = keeper.history().iter().map(|change| change.cause).collect();
    let (file, back) = (Cause::File, Cause::Rollback);
    assert_eq!(causes, [file, file, file, back, back, Cause::Activate, file]);
}

#[tokio::test]
async fn c05_a_torn_update_leaves_the_old_version_serving_across_a_restart() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let directory = Fixture::policy()
        .named("fixture", "1.0.0")
        .write(&place.plugins().join("it"));
    drop(reopen(&place, &keeper).await);
    let bytes = fs::read(directory.join("it.wasm")).unwrap();
    fs::write(directory.join("it.wasm"), &bytes[..bytes.len() / 2]).unwrap();
    let registry = reopen(&place, &keeper).await;
    let status = only(&registry, "it");
    assert_eq!((version(&registry).as_str(), status.state), ("1.0.0", State::Serving));
    assert_eq!(status.error.unwrap().code, "LF0405");
    // Removed is removed: files that do not load bring nothing back.
    fs::rename(&directory, place.directory.path().join("away")).unwrap();
    registry.refresh().await.unwrap();
    fs::rename(place.directory.path().join("away"), &directory).unwrap();
    registry.refresh().await.unwrap();
    assert!(registry.current("fixture").is_none());
    assert_eq!(keeper.history().last().unwrap().cause, Cause::Removed);
}

#[tokio::test]
async fn c05_a_manifest_that_is_newer_than_its_component_is_not_served() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let directory = Fixture::policy()
        .named("fixture", "1.0.0")
        .write(&place.plugins().join("it"));
    let registry = reopen(&place, &keeper).await;
    let next = Fixture::policy().named("fixture", "2.0.0");
    fs::write(directory.join("plugin.toml"), next.manifest()).unwrap();
    registry.refresh().await.unwrap();
    assert_eq!(only(&registry, "it").error.unwrap().code, "LF0412");
    assert_eq!(version(&registry), "1.0.0");
    fs::write(directory.join("it.wasm"), next.component()).unwrap();
    registry.refresh().await.unwrap();
    assert_eq!(version(&registry), "2.0.0");
}

#[tokio::test]
async fn c05_of_two_directories_with_one_name_the_first_keeps_it_across_a_restart() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    Fixture::policy()
        .named("fixture", "1.0.0")
        .write(&place.plugins().join("zebra"));
    let registry = reopen(&place, &keeper).await;
    Fixture::policy()
        .named("fixture", "2.0.0")
        .write(&place.plugins().join("ape"));
    registry.refresh().await.unwrap();
    for registry in [registry, reopen(&place, &keeper).await] {
        assert_eq!(version(&registry), "1.0.0");
        assert_eq!(only(&registry, "ape").error.unwrap().code, "LF0417");
    }
    fs::remove_dir_all(place.plugins().join("zebra")).unwrap();
    let registry = reopen(&place, &keeper).await;
    assert_eq!(version(&registry), "2.0.0");
}

#[tokio::test]
async fn c05_a_revoked_version_is_replaced_and_never_comes_back() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let (registry, digests) = three_versions(&place, &keeper).await;
    registry.revoke(&digests[2], order()).await.unwrap();
    assert_eq!(version(&registry), "2.0.0");
    assert_eq!(only(&registry, "it").error.unwrap().code, "LF0461");
    let error = registry.activate("fixture", &digests[2], order()).await.unwrap_err();
    assert_eq!(error.code(), "LF0461");
    // The older one too: what is left serves, also after a restart of the whole runtime.
    registry.revoke(&digests[0], order()).await.unwrap();
    assert_eq!(registry.revoked()[&digests[0]].plugin.as_deref(), Some("fixture"));
    drop(registry);
    let place = place.restarted();
    let registry = reopen(&place, &keeper).await;
    assert_eq!(version(&registry), "2.0.0");
    assert_eq!(only(&registry, "it").error.unwrap().code, "LF0461");
    registry.revoke(&digests[1], order()).await.unwrap();
    assert!(registry.current("fixture").is_none());
    let error = registry.roll_back("fixture", None, order()).await.unwrap_err();
    assert_eq!(error.code(), "LF0464");
}

#[tokio::test]
async fn digests_may_be_shortened_if_they_stay_unambiguous() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let (registry, digests) = three_versions(&place, &keeper).await;
    let digest = &digests[1];
    for text in [digest, &digest[7..], &digest[..19], &digest[7..19]] {
        assert_eq!(&registry.resolve(text).await.unwrap(), digest, "{text}");
    }
    let unknown = format!("sha256:{}", "0".repeat(12));
    for text in [&digest[..18], "../../etc/passwd", unknown.as_str(), ""] {
        assert_eq!(registry.resolve(text).await.unwrap_err().code(), "LF0464", "{text}");
    }
    let other = Fixture::policy()
        .named("other", "1.0.0")
        .write(&place.plugins().join("other"));
    registry.refresh().await.unwrap();
    let foreign = place.runtime.load(&other).await.unwrap();
    let error = registry
        .activate("fixture", foreign.digest(), order())
        .await
        .unwrap_err();
    assert!(
        error.code() == "LF0464" && error.to_string().contains("`other`"),
        "{error}"
    );
}

/// Calls a version until it has failed three times.
async fn strike(place: &Place, plugin: Arc<Plugin>) {
    let limits = Limits::default();
    let binding = Binding::new(&place.runtime, plugin, "it", Arc::default(), Grants::default(), limits).unwrap();
    let policy = Policy::new(binding).unwrap();
    for _ in 0..3 {
        assert_eq!(policy.choices().await.unwrap_err().code(), "LF0431");
    }
}

#[tokio::test]
async fn c05_a_version_that_fails_three_times_gives_way_to_the_last_good_one() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let directory = place.plugins().join("it");
    let broken = |number| {
        Fixture::policy()
            .named("fixture", number)
            .body("choices", "unreachable")
    };
    broken("1.0.0").write(&directory);
    let registry = reopen(&place, &keeper).await;
    let mut changes = registry.changes();
    let watch = registry.watch().unwrap();
    // There is nothing better: it goes on serving, and is marked.
    let first = registry.current("fixture").unwrap();
    strike(&place, Arc::clone(&first)).await;
    wait(&mut changes, || only(&registry, "it").suspect).await;
    assert_eq!(
        (version(&registry).as_str(), only(&registry, "it").strikes.len()),
        ("1.0.0", 3)
    );
    registry.activate("fixture", first.digest(), order()).await.unwrap();
    assert_eq!(
        (only(&registry, "it").suspect, only(&registry, "it").strikes.len()),
        (None, 0)
    );

    Fixture::policy().named("fixture", "2.0.0").write(&directory);
    wait(&mut changes, || (version(&registry) == "2.0.0").then_some(())).await;
    broken("3.0.0").write(&directory);
    wait(&mut changes, || (version(&registry) == "3.0.0").then_some(())).await;
    let third = registry.current("fixture").unwrap();
    strike(&place, Arc::clone(&third)).await;
    wait(&mut changes, || (version(&registry) == "2.0.0").then_some(())).await;
    // Who pinned it keeps it; a restart does not bring it back; a person may.
    assert_eq!(
        place.runtime.load_digest(third.digest()).await.unwrap().digest(),
        third.digest()
    );
    drop((watch, registry));
    let registry = reopen(&place, &keeper).await;
    assert_eq!(version(&registry), "2.0.0");
    assert_eq!(only(&registry, "it").held.as_deref(), Some(third.digest()));
    registry.activate("fixture", third.digest(), order()).await.unwrap();
    assert_eq!(version(&registry), "3.0.0");
}

#[tokio::test]
async fn c05_a_version_that_failed_before_anybody_watched_is_marked_too() {
    let place = Place::new();
    Fixture::policy()
        .body("choices", "unreachable")
        .write(&place.plugins().join("it"));
    let registry = Registry::new(place.runtime.clone(), place.plugins()).unwrap();
    registry.refresh().await.unwrap();
    strike(&place, registry.current("fixture").unwrap()).await;
    let mut changes = registry.changes();
    let _watch = registry.watch().unwrap();
    wait(&mut changes, || only(&registry, "it").suspect).await;
}

#[tokio::test]
async fn c05_an_update_that_wants_more_waits_and_the_old_version_serves() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let granted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let grants = Arc::clone(&granted);
    let accept: Accept = Arc::new(move |new, _| {
        let wants = new.manifest().requests.interfaces.is_empty() || grants.load(std::sync::atomic::Ordering::Relaxed);
        let want = || Want {
            place: "runbooks.fixture.grants".to_owned(),
            line: "interfaces = [\"clock\"]".to_owned(),
            required: false,
        };
        if wants { Vec::new() } else { vec![want()] }
    });
    let directory = Fixture::policy()
        .named("fixture", "1.0.0")
        .write(&place.plugins().join("it"));
    let registry = reopen_with(&place, &keeper, Arc::clone(&accept)).await;
    let more = |number| {
        Fixture::policy()
            .named("fixture", number)
            .requests("interfaces = [\"clock\"]")
    };
    more("2.0.0").write(&directory);
    registry.refresh().await.unwrap();
    drop(registry);
    let registry = reopen_with(&place, &keeper, accept).await;
    let status = only(&registry, "it");
    assert_eq!(
        (version(&registry).as_str(), status.error.unwrap().code.as_str()),
        ("1.0.0", "LF0463")
    );
    assert_eq!(status.waiting.unwrap().wants[0].line, "interfaces = [\"clock\"]");
    granted.store(true, std::sync::atomic::Ordering::Relaxed);
    registry.refresh().await.unwrap();
    assert_eq!(
        (version(&registry).as_str(), only(&registry, "it").waiting),
        ("2.0.0", None)
    );
    // Or a person takes it as it is.
    granted.store(false, std::sync::atomic::Ordering::Relaxed);
    more("3.0.0").requests("interfaces = [\"random\"]").write(&directory);
    registry.refresh().await.unwrap();
    let waiting = only(&registry, "it").waiting.unwrap();
    registry.activate("fixture", &waiting.digest, order()).await.unwrap();
    assert_eq!(
        (version(&registry).as_str(), only(&registry, "it").error),
        ("3.0.0", None)
    );
}

#[tokio::test]
async fn the_content_store_keeps_what_serves_what_is_pinned_and_what_can_be_gone_back_to() {
    let (place, keeper) = (Place::new(), Arc::new(Forgetful::default()));
    let registry = reopen(&place, &keeper).await;
    let mut digests = Vec::new();
    for number in [
        "1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0", "7.0.0", "8.0.0", "9.0.0",
    ] {
        Fixture::policy()
            .named("fixture", number)
            .write(&place.plugins().join("it"));
        registry.refresh().await.unwrap();
        digests.push(registry.current("fixture").unwrap().digest().to_owned());
    }
    let removed = registry.collect([digests[1].clone()]).await.unwrap();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert!(removed.contains(&digests[0]) && removed.contains(&digests[2]));
    let place = place.restarted();
    for (number, digest) in digests.iter().enumerate() {
        let found = place.runtime.load_digest(digest).await;
        let code = found.err().map(|error| error.code());
        assert_eq!(code, matches!(number, 0 | 2).then_some("LF0414"), "{number}");
    }
}

/// The ways in which editors and tools put a new file where an old one was.
fn tricks() -> Vec<fn(&Path, &[u8])> {
    vec![
        |to, bytes| fs::write(to, bytes).unwrap(),
        |to, bytes| {
            let new = to.with_extension("tmp");
            fs::write(&new, bytes).unwrap();
            fs::rename(new, to).unwrap();
        },
        |to, bytes| {
            // Backup, new file under the name, backup removed.
            let backup = to.with_extension("toml~");
            fs::rename(to, &backup).unwrap();
            fs::write(to, bytes).unwrap();
            fs::remove_file(backup).unwrap();
        },
        |to, bytes| {
            fs::remove_file(to).unwrap();
            fs::write(to, bytes).unwrap();
        },
        |to, bytes| {
            let aside = to.with_extension("link");
            fs::write(&aside, bytes).unwrap();
            fs::remove_file(to).unwrap();
            fs::hard_link(&aside, to).unwrap();
            fs::remove_file(aside).unwrap();
        },
    ]
}

#[tokio::test]
async fn c05_every_way_to_replace_a_file_is_noticed() {
    let place = Place::new();
    let directory = Fixture::policy().write(&place.plugins().join("it"));
    let registry = Registry::new(place.runtime.clone(), place.plugins()).unwrap();
    registry.refresh().await.unwrap();
    let mut changes = registry.changes();
    let _watch = registry.watch().unwrap();
    for (number, trick) in tricks().into_iter().enumerate() {
        let summary = format!("number {number}");
        let manifest = Fixture::policy()
            .manifest()
            .replace("[requests]", &format!("summary = \"{summary}\"\n[requests]"));
        trick(&directory.join("plugin.toml"), manifest.as_bytes());
        let seen = || only(&registry, "it").summary.filter(|seen| *seen == summary);
        wait(&mut changes, seen).await;
        assert_eq!(only(&registry, "it").error, None);
    }
}

#[tokio::test]
async fn c05_a_hundred_writes_a_second_never_mix_two_versions_nor_stop_another_plugin() {
    let place = Place::new();
    let plugins = place.plugins();
    let directory = Fixture::policy().named("busy", "1.0.0").write(&plugins.join("busy"));
    Fixture::policy().named("calm", "1.0.0").write(&plugins.join("calm"));
    let registry = Registry::new(place.runtime.clone(), &plugins).unwrap();
    registry.refresh().await.unwrap();
    let mut changes = registry.changes();
    let _watch = registry.watch().unwrap();
    let versions = [
        Fixture::policy().named("busy", "1.0.0"),
        Fixture::policy().named("busy", "2.0.0"),
    ];
    let good: Vec<_> = versions
        .iter()
        .map(|version| (version.component(), version.manifest()))
        .collect();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, directory, good) = (Arc::clone(&stop), directory.clone(), good.clone());
        move || {
            for round in 0.. {
                let (component, manifest) = &good[round % 2];
                fs::write(directory.join("it.wasm"), component).unwrap();
                fs::write(directory.join("plugin.toml"), manifest).unwrap();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return manifest.contains("2.0.0");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            unreachable!()
        }
    });
    // A neighbour's update is not held up by the noise.
    let began = std::time::Instant::now();
    Fixture::policy().named("calm", "2.0.0").write(&plugins.join("calm"));
    let calm = || (registry.current("calm")?.info().version == "2.0.0").then_some(());
    wait(&mut changes, calm).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(registry.current("busy").is_some());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let second = writer.join().unwrap();
    let last = if second { "2.0.0" } else { "1.0.0" };
    let settled = || {
        let busy = only(&registry, "busy");
        (busy.error.is_none() && busy.version.unwrap().to_string() == last).then_some(())
    };
    wait(&mut changes, settled).await;
}
