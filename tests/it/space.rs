//! Too little room for the journal: nothing new is begun, and it is said why.

use std::fs;

use serde_json::{Value, json};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually;
use crate::harness::world::World;

#[test]
fn nothing_is_begun_without_room_for_the_journal_and_all_goes_on_with_it() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let file = world.path("landfall.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("min-free-mb = 1000000000000\n{text}")).unwrap();
    world.cli(&["daemon", "reload"]).code(0);
    eventually("the daemon pauses", || {
        let version: Value = world.api.get("version");
        version["paused"].as_str().map(|why| assert!(why.contains("LF0509")))
    });
    let job = world.launch("planned-failover", &json!({}));
    let before = world.lab.now();
    let said = world.cli(&["job", "show", &job.id]).code(0);
    assert!(said.out.contains("LF0509"), "{}", said.out);
    let said = world.cli(&["doctor"]).code(5);
    assert!(said.out.contains("LF0509"), "{}", said.out);
    let job = world.job(&job.id);
    assert!(job.steps.iter().all(|step| step.status == "pending"), "{:?}", job.steps);
    assert!(world.lab.effects(&job.id).is_empty() && world.lab.now() == before);
    fs::write(&file, text).unwrap();
    world.cli(&["daemon", "reload"]).code(0);
    assert_eq!(world.rest(&job.id).status, "succeeded");
    world.lab.assert_sound();
}
