//! `state` and `session` through a guest: what is kept, for whom, how much of it, and what a refusal says.

use std::sync::Arc;

use landfall_runtime::contract::types::Finding;
use landfall_runtime::{
    Adapter, Binding, CallError, Grants, Interface, Limits, MemoryState, Owner, Plugin, Runtime, RuntimeOptions,
};
use tempfile::TempDir;

use crate::fixture::{Fixture, options};

/// An adapter whose `health` sets the key `k` (in `state` or `session`), and whose `list-networks` traps unless the key is there.
/// Either hands on the failure it got.
fn keeper(interface: &'static str, value: &str) -> Fixture {
    let module: &'static str = match interface {
        "state" => "landfall:plugin/state",
        _ => "landfall:plugin/session",
    };
    let mut fixture = Fixture::new("hypervisor-adapter")
        .requests(&format!(r#"interfaces = ["buffers", "{interface}"]"#))
        .import("set", module, "set")
        .import("get", module, "get");
    let (key, value) = (fixture.text("k"), fixture.text(value));
    // Results of `set` and of `health` begin alike: a byte that says whether, and then the failure. What `health` gives
    // on success is an empty list.
    let (set, get) = if interface == "state" {
        (
            format!("(call $set {key} {value} (i32.const 2048)) i32.const 2048"),
            format!(
                "(call $get {key} (i32.const 512))
                 (if (i32.load8_u (i32.const 512)) (then unreachable))
                 (if (i32.eqz (i32.load8_u (i32.const 516))) (then unreachable))
                 i32.const 2048"
            ),
        )
    } else {
        (
            format!("(call $set {key} {value} (i32.const 0) (i64.const 0) (i32.const 2048)) i32.const 2048"),
            format!(
                "(call $get {key} (i32.const 512))
                 (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable))
                 i32.const 2048"
            ),
        )
    };
    fixture.body("health", set).body("list-networks", get)
}

struct Place {
    directory: TempDir,
    store: Arc<MemoryState>,
    runtime: Runtime,
}

impl Place {
    fn new() -> Self {
        let (directory, store) = (TempDir::new().unwrap(), Arc::new(MemoryState::default()));
        let runtime = runtime(&directory, &store);
        Self {
            directory,
            store,
            runtime,
        }
    }

    async fn load(&self, fixture: &Fixture, name: &str) -> Arc<Plugin> {
        let path = fixture.write(&self.directory.path().join(name));
        self.runtime.load(&path).await.unwrap()
    }

    fn bind(&self, plugin: &Arc<Plugin>, site: &str, grants: &str) -> Adapter {
        let mut grants: Grants = toml::from_str(grants).unwrap();
        grants.interfaces.insert(Interface::Buffers);
        let plugin = Arc::clone(plugin);
        Adapter::new(Binding::new(&self.runtime, plugin, site, Arc::default(), grants, Limits::default()).unwrap())
            .unwrap()
    }
}

fn runtime(directory: &TempDir, store: &Arc<MemoryState>) -> Runtime {
    Runtime::new(RuntimeOptions {
        state: Arc::clone(store) as _,
        ..options(directory.path())
    })
    .unwrap()
}

async fn set(adapter: &Adapter) -> Result<Vec<Finding>, CallError> {
    adapter.health().await
}

async fn is_there(adapter: &Adapter) -> bool {
    adapter.list_networks().await.is_ok()
}

const STATE: &str = r#"interfaces = ["state"]"#;
const SESSION: &str = r#"interfaces = ["session"]"#;

#[tokio::test]
async fn state_outlives_the_version_and_the_process_and_belongs_to_one_site() {
    let mut place = Place::new();
    let old = place.load(&keeper("state", "v"), "old").await;
    let north = place.bind(&old, "north", STATE);
    assert!(!is_there(&north).await);
    set(&north).await.unwrap();
    assert!(is_there(&north).await && !is_there(&place.bind(&old, "south", STATE)).await);
    let new = keeper("state", "v").named("fixture", "2.0.0");
    let new = place.load(&new, "new").await;
    assert!(is_there(&place.bind(&new, "north", STATE)).await);
    let other = place.load(&keeper("state", "v").named("other", "1.0.0"), "other").await;
    assert!(!is_there(&place.bind(&other, "north", STATE)).await);
    place.runtime = runtime(&place.directory, &place.store);
    let again = place.load(&keeper("state", "v"), "old").await;
    assert!(is_there(&place.bind(&again, "north", STATE)).await);
    let owner = Owner {
        plugin: "fixture".to_owned(),
        site: Some("north".to_owned()),
    };
    assert_eq!(place.store.rows()[&owner]["k"], b"v");
}

#[tokio::test]
async fn c07_beyond_its_quota_a_plugin_is_refused_with_the_line_that_makes_room() {
    let place = Place::new();
    let plugin = place.load(&keeper("state", "more than eight bytes"), "p").await;
    let error = set(&place.bind(&plugin, "north", "state = { max-bytes = 8 }"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.failure().unwrap().code.as_str()),
        ("LF0470", "quota-exceeded"),
        "{error}"
    );
    assert!(error.definite() && place.store.rows().is_empty());
    let text = error.to_string();
    let line = &text[text.find("state = {").unwrap()..];
    set(&place.bind(&plugin, "north", line)).await.unwrap();
}

#[tokio::test]
async fn c07_state_and_session_that_were_not_granted_are_not_linked() {
    let place = Place::new();
    for interface in ["state", "session"] {
        let plugin = place.load(&keeper(interface, "v"), interface).await;
        let bound = Binding::new(
            &place.runtime,
            Arc::clone(&plugin),
            "north",
            Arc::default(),
            toml::from_str(r#"interfaces = ["buffers"]"#).unwrap(),
            Limits::default(),
        );
        let error = bound.err().unwrap();
        assert_eq!(error.code(), "LF0420", "{error}");
        place.bind(&plugin, "north", error.grant_line().unwrap());
    }
}

#[tokio::test]
async fn a_session_belongs_to_one_site_and_one_version_and_goes_with_it() {
    let mut place = Place::new();
    let old = place.load(&keeper("session", "v"), "old").await;
    let north = place.bind(&old, "north", SESSION);
    set(&north).await.unwrap();
    assert!(is_there(&north).await && is_there(&place.bind(&old, "north", SESSION)).await);
    assert!(!is_there(&place.bind(&old, "south", SESSION)).await);
    let new = place
        .load(&keeper("session", "v").named("fixture", "2.0.0"), "new")
        .await;
    assert!(!is_there(&place.bind(&new, "north", SESSION)).await);
    // Nothing holds the version any more, so nothing holds its session.
    drop((north, old));
    place.runtime = runtime(&place.directory, &place.store);
    let again = place.load(&keeper("session", "v"), "old").await;
    assert!(!is_there(&place.bind(&again, "north", SESSION)).await);
    assert!(place.store.rows().is_empty());
}
