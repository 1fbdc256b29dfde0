//! Hot reload: what is served, what is not, and that a bad version never replaces a good one.

use std::fs;
use std::time::Duration;

use landfall_runtime::{PluginStatus, Registry, State};

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
