//! Plugins that were built against earlier versions of the contract.

use std::sync::Arc;

use landfall_runtime::{Binding, Grants, Limits, Policy, Runbook};

use crate::fixture::{Fixture, Place};
use crate::grants::run;

/// The versions of the line that this host speaks; the oldest is 0.1.0.
fn earlier() -> Vec<(&'static str, &'static str)> {
    let frozen = landfall_wit::FROZEN.iter().copied();
    let earlier: Vec<_> = frozen.filter(|(version, _)| version.starts_with("0.1.")).collect();
    assert!(earlier.iter().any(|(version, _)| *version == "0.1.0"), "{earlier:?}");
    earlier
}

#[tokio::test]
async fn c03_a_runbook_built_for_an_earlier_compatible_version_still_runs() {
    for contract in earlier() {
        let place = Place::new();
        let mut fixture = Fixture::new("runbook")
            .built_for(contract)
            .import("get", "landfall:plugin/config", "get")
            .import("log", "landfall:plugin/log", "write");
        let (name, line) = (fixture.text("url"), fixture.text("hello"));
        let body = format!(
            "(call $log (i32.const 2) {line}) (call $get {name} (i32.const 512))
             (if (i32.ne (i32.load (i32.const 520)) (i32.const 5)) (then unreachable))
             i32.const 2048"
        );
        let directory = fixture.body("run", body).write(&place.plugins());
        let plugin = place.runtime.load(&directory).await.unwrap();
        let config = Arc::new([("url".to_owned(), "12345".to_owned())].into());
        let (grants, limits) = (Grants::default(), Limits::default());
        let binding = Binding::new(&place.runtime, plugin, "old", config, grants, limits).unwrap();
        run(&Runbook::new(binding).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn c04_a_policy_built_for_an_earlier_compatible_version_still_decides() {
    for contract in earlier() {
        let place = Place::new();
        let directory = Fixture::policy().built_for(contract).write(&place.plugins());
        let plugin = place.runtime.load(&directory).await.unwrap();
        let (grants, limits) = (Grants::default(), Limits::default());
        let binding = Binding::new(&place.runtime, plugin, "old", Arc::default(), grants, limits).unwrap();
        assert_eq!(Policy::new(binding).unwrap().choices().await.unwrap(), []);
    }
}
