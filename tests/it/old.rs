//! Journals that earlier versions wrote are taken up by this one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::world::World;

/// A job that waits for a person, in the first format: without signatures and without checksums of rows.
const FIRST: &str = "01a2030a-656c-7567-b2e0-a4be4e27ed20";
const ENDED: &str = "01a2030a-64d1-710d-a486-f4fc5c626fdc";

#[test]
fn x02_a_journal_of_the_first_format_is_taken_up_where_it_was() {
    let mut world = World::start();
    world.kill_daemon();
    for name in ["landfall.db", "landfall.db-wal", "landfall.db-shm", "landfall.mark"] {
        let _ = fs::remove_file(world.path("data").join(name));
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journal-1.db");
    fs::copy(fixture, world.path("data/landfall.db")).unwrap();
    world.restart_daemon();
    let job = world.rest(FIRST);
    assert_eq!(
        (job.status.as_str(), job.steps_in("stuck")),
        ("stuck", vec!["fence/db"])
    );
    assert_eq!(world.item("web").phase, "failed-over");
    assert_eq!(world.job(ENDED).status, "succeeded");
    // What ended before there were signatures is signed when its evidence is asked for.
    for job in [ENDED, FIRST] {
        world.cli(&["evidence", job]).code(0);
        world
            .cli(&["evidence", "verify", &format!("evidence-{job}.html")])
            .code(0);
    }
    world
        .cli(&["job", "abandon", FIRST, "--reason", "a new version is here"])
        .code(0);
    assert_eq!(world.rest(FIRST).status, "abandoned");
    let found: Value = world.cli(&["journal", "verify", "-o", "json"]).code(0).json();
    assert_eq!(
        (&found["problems"], &found["jobs"]),
        (&Value::Array(Vec::new()), &2.into())
    );
    world.restart_daemon();
    assert_eq!(world.job(FIRST).status, "abandoned");
}
