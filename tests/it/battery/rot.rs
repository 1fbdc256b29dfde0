//! T5: a bit of the database turns over. Whatever comes of it is refused, or it changes nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use landfall_store::{Space, Store};
use serde_json::{Value, json};

use super::{Harm, Scene, Target, budget, report};
use crate::crash::Dice;
use crate::harness::eventually;

/// Everything that a daemon decides by, as the store gives it; none if the store refuses.
fn everything(data: &Path) -> Option<BTreeMap<String, Value>> {
    let store = Store::open(data).ok()?;
    let reader = store.reader();
    let mut all = BTreeMap::new();
    for space in [
        Space::Item,
        Space::Progress,
        Space::Cycle,
        Space::Points,
        Space::Plan,
        Space::Inventory,
        Space::Request,
        Space::Machines,
        Space::Tested,
        Space::PluginVersions,
        Space::Revoked,
    ] {
        let rows: Vec<(String, Value)> = reader.all(space).ok()?;
        all.insert(format!("{space:?}"), json!(rows));
    }
    let unfinished = reader.unfinished().ok()?;
    for job in reader.jobs(None, 1_000).ok()? {
        let chain = reader.chain(&job.id).ok()?;
        all.insert(format!("{job:?}"), json!(format!("{chain:?}")));
    }
    all.insert("unfinished".to_owned(), json!(format!("{unfinished:?}")));
    all.insert("identity".to_owned(), json!(format!("{:?}", store.identity())));
    Some(all)
}

#[test]
#[ignore = "run by `cargo xtask battery`"]
fn x02_t05_a_bit_that_turns_over_is_found_or_changes_nothing() {
    let scene = Scene::of(3);
    let mut world = scene.world(Target::Keyed);
    world.lab.fail("shutdown", "vm-m1");
    let job = world.run("unplanned-failover", &json!({}));
    assert_eq!(job.status, "stuck");
    // Killed, so that the last records are still in the log beside the database.
    world.kill_daemon();
    let names = ["landfall.db", "landfall.db-wal"];
    let files = names.map(|name| fs::read(world.path("data").join(name)).unwrap_or_default());
    let mark = fs::read(world.path("data/landfall.mark")).expect("the mark");
    let place = tempfile::tempdir().expect("a directory");
    // Each time in another directory: a store that was closed removes its log by name when its last thread ends.
    let laid = Cell::new(0_u64);
    let lay = |files: &[Vec<u8>; 2]| {
        let _ = fs::remove_dir_all(place.path().join(laid.get().to_string()));
        laid.set(laid.get() + 1);
        let data = place.path().join(laid.get().to_string());
        fs::create_dir(&data).expect("a directory");
        for (name, bytes) in names.iter().zip(files) {
            fs::write(data.join(name), bytes).expect("the file");
        }
        fs::write(data.join("landfall.mark"), &mark).expect("the file");
        data
    };
    let original = everything(&lay(&files)).expect("the store as it was");
    // The same once the log is in the database, as after a stop.
    let settled = {
        let data = lay(&files);
        drop(Store::open(&data).expect("the store"));
        eventually("the log is gone", || (!data.join(names[1]).exists()).then_some(()));
        names.map(|name| fs::read(data.join(name)).unwrap_or_default())
    };
    assert_eq!(everything(&lay(&settled)).as_ref(), Some(&original));
    let mut dice = Dice::seeded();
    let (until, mut harm) = (Instant::now() + budget(), Harm::default());
    let (mut found, mut harmless) = (0, 0);
    while Instant::now() < until {
        let files = if dice.below(2) == 0 { &files } else { &settled };
        let sizes = files.each_ref().map(|file| file.len() as u64 * 8);
        let mut bit = dice.below(sizes[0] + sizes[1]);
        let mut rotten = files.clone();
        let file = usize::from(bit >= sizes[0]);
        if file == 1 {
            bit -= sizes[0];
        }
        rotten[file][usize::try_from(bit / 8).expect("an offset")] ^= 1 << (bit % 8);
        match everything(&lay(&rotten)) {
            None => found += 1,
            Some(all) if all == original => harmless += 1,
            Some(all) => {
                let differs: Vec<&String> = all
                    .iter()
                    .filter(|(name, value)| original.get(*name) != Some(value))
                    .map(|(name, _)| name)
                    .collect();
                harm.other.push(format!("bit {bit} of {}: {differs:?}", names[file]));
            }
        }
    }
    assert!(
        harm.is_none(),
        "{} of {} flips: {:#?}",
        harm.other.len(),
        found + harmless,
        harm.other
    );
    report(
        "T5",
        &format!("bits turned over: {found} refused, {harmless} without effect"),
        found + harmless,
        &harm,
    );
}
