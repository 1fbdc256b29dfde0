//! What is loaded, and in how many ways a file can be refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall_runtime::{Binding, Grants, Kind, Limits, LoadError, Origin, Policy, Runtime};

use crate::fixture::{Fixture, Place, options};

fn bind(runtime: &Runtime, plugin: Arc<landfall_runtime::Plugin>) -> Policy {
    let binding = Binding::new(
        runtime,
        plugin,
        "test",
        Arc::default(),
        Grants::default(),
        Limits::default(),
    )
    .unwrap();
    Policy::new(binding).unwrap()
}

#[tokio::test]
async fn a_plugin_is_loaded_and_called() {
    let place = Place::new();
    let plugin = place
        .runtime
        .load(&Fixture::policy().write(&place.plugins()))
        .await
        .unwrap();
    assert_eq!((plugin.name(), plugin.kind()), ("fixture", Kind::RecoveryPointPolicy));
    assert!(plugin.digest().starts_with("sha256:") && plugin.info().version == "1.2.3");
    assert_eq!(bind(&place.runtime, plugin).choices().await.unwrap(), []);
}

#[tokio::test]
async fn each_way_to_be_wrong_has_its_own_code() {
    let place = Place::new();
    let directory = Fixture::policy().write(&place.plugins());
    let (manifest, component) = (directory.join("plugin.toml"), directory.join("it.wasm"));
    let (good_manifest, good) = (fs::read_to_string(&manifest).unwrap(), fs::read(&component).unwrap());
    let compiled = wasmtime::Engine::default().precompile_component(&good).unwrap();
    let mut damaged = good.clone();
    damaged[8] = 0x7f;
    let runbook = good_manifest.replace("recovery-point-policy", "runbook");

    // The file's bytes, the manifest, the code, and a word that the message must hold.
    let cases: [(&[u8], &str, &str, &str); 9] = [
        (&good, "[plugin", "LF0402", "plugin.toml"),
        (
            &good,
            &good_manifest.replace("[requests]", "colour = 1"),
            "LF0402",
            "colour",
        ),
        (b"MZ", &good_manifest, "LF0404", "\\0asm"),
        (&good[..good.len() / 2], &good_manifest, "LF0405", "cut off"),
        (&damaged, &good_manifest, "LF0406", "damaged"),
        (b"\0asm\x01\0\0\0", &good_manifest, "LF0407", "core module"),
        (&compiled, &good_manifest, "LF0408", "machine code"),
        (&good, &runbook, "LF0409", "looks like a recovery-point-policy"),
        (&good, &good_manifest.replace("1.2.3", "1.2.4"), "LF0412", "1.2.4"),
    ];
    for (bytes, text, code, word) in cases {
        fs::write(&component, bytes).unwrap();
        fs::write(&manifest, text).unwrap();
        let error = place.runtime.load(&directory).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    for file in [&component, &manifest] {
        fs::remove_file(file).unwrap();
        let error = place.runtime.load(&directory).await.unwrap_err();
        assert!(
            matches!(&error, LoadError::MissingFile { path } if path == file) || file == &component,
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_component_that_is_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(landfall_runtime::RuntimeOptions {
        largest_component: 1_000,
        ..options(directory.path())
    });
    let error = runtime
        .unwrap()
        .load(&Fixture::policy().write(directory.path()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "LF0403", "{error}");
}

#[tokio::test]
async fn a_plugin_that_traps_while_it_describes_itself_is_refused() {
    let place = Place::new();
    let fixture = Fixture::policy().helper("(func $bad unreachable) (start $bad)");
    let error = place.runtime.load(&fixture.write(&place.plugins())).await.unwrap_err();
    assert_eq!(error.code(), "LF0411", "{error}");
}

#[tokio::test]
async fn compiled_code_outlives_the_process_and_damage_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = Fixture::policy().write(&directory.path().join("plugin"));
    let load = async || {
        let runtime = Runtime::new(options(directory.path())).unwrap();
        let loaded = runtime.load(&plugin).await.unwrap();
        assert_eq!(bind(&runtime, Arc::clone(&loaded)).choices().await.unwrap(), []);
        loaded.origin()
    };
    assert_eq!(load().await, Origin::Compiler);
    assert_eq!(load().await, Origin::Cache);
    let cached = only_file_below(&directory.path().join("state/cache"));
    let mut bytes = fs::read(&cached).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&cached, bytes).unwrap();
    assert_eq!(load().await, Origin::Compiler);
    assert_eq!(load().await, Origin::Cache);
}

fn only_file_below(directory: &Path) -> std::path::PathBuf {
    let entry = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    if entry.is_dir() { only_file_below(&entry) } else { entry }
}

#[tokio::test]
async fn a_pinned_digest_is_found_again_after_the_author_went_on() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Fixture::policy(), Fixture::policy().named("fixture", "2.0.0"));
    let digest = {
        let runtime = Runtime::new(options(directory.path())).unwrap();
        let loaded = runtime
            .load(&old.write(&directory.path().join("plugin")))
            .await
            .unwrap();
        new.write(&directory.path().join("plugin"));
        let newer = runtime.load(&directory.path().join("plugin")).await.unwrap();
        assert_ne!(newer.digest(), loaded.digest());
        loaded.digest().to_owned()
    };
    let runtime = Runtime::new(options(directory.path())).unwrap();
    let pinned = runtime.load_digest(&digest).await.unwrap();
    assert_eq!(pinned.info().version, "1.2.3");
    assert!(Arc::ptr_eq(&pinned, &runtime.load_digest(&digest).await.unwrap()));
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(runtime.load_digest(&other).await.unwrap_err().code(), "LF0414");
    assert_eq!(runtime.load_digest("sha256:../x").await.unwrap_err().code(), "LF0414");

    drop((pinned, runtime));
    let kept = directory
        .path()
        .join("state/plugins-store")
        .join(digest.strip_prefix("sha256:").unwrap());
    fs::write(kept.join("plugin.toml"), old.manifest() + "http = []\n").unwrap();
    let runtime = Runtime::new(options(directory.path())).unwrap();
    assert_eq!(runtime.load_digest(&digest).await.unwrap_err().code(), "LF0415");
}

#[tokio::test]
async fn c05_a_revoked_version_ends_its_calls_and_never_runs_again() {
    let place = Place::new();
    let endless = Fixture::policy().body("choices", "(loop $on (br $on)) unreachable");
    let plugin = place.runtime.load(&endless.write(&place.plugins())).await.unwrap();
    let limits = Limits {
        cpu: Duration::from_mins(1),
        ..Limits::default()
    };
    let bind = |plugin| Binding::new(&place.runtime, plugin, "it", Arc::default(), Grants::default(), limits).unwrap();
    let policy = Policy::new(bind(Arc::clone(&plugin))).unwrap();
    let calling = tokio::spawn({
        let policy = policy.clone();
        async move { policy.choices().await.unwrap_err() }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    place.runtime.revoke(plugin.digest());
    let ended = tokio::time::timeout(Duration::from_secs(5), calling)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((ended.code(), ended.definite()), ("LF0461", true));
    // Who still holds it cannot call it, and nobody gets it anew.
    assert_eq!(policy.choices().await.unwrap_err().code(), "LF0461");
    let digest = plugin.digest().to_owned();
    for refused in [
        place.runtime.load(&place.plugins()).await,
        place.runtime.load_digest(&digest).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), "LF0461");
    }
}

#[tokio::test]
async fn c05_a_warm_load_asks_neither_the_parser_nor_the_plugin() {
    let place = Place::new();
    let directory = Fixture::policy().write(&place.plugins());
    let first = place.runtime.load(&directory).await.unwrap();
    let (info, imports) = (first.info().clone(), first.imports());
    drop(first);
    let place = place.restarted();
    let again = place.runtime.load(&directory).await.unwrap();
    assert_eq!(again.origin(), Origin::Cache);
    assert_eq!((again.info().name.clone(), again.imports()), (info.name, imports));
    assert!(again.strikes().is_empty());
}
