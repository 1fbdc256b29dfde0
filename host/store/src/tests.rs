use landfall_recovery::event::{Event, Record};
use rusqlite::Connection;

use super::seal::Key;
use super::*;

fn row(id: &str) -> JobRow {
    JobRow {
        id: id.into(),
        plan: "p".into(),
        operation: "test".into(),
        created_at: 1,
        frozen: "{}".into(),
    }
}

fn started(at: u64) -> Record {
    Record {
        at,
        event: Event::Started { hash: "h".into() },
    }
}

async fn write(store: &Store, batch: Batch) -> Vec<u64> {
    store.commit(batch).await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let installation = {
        let store = Store::open(directory.path()).unwrap();
        let mut batch = Batch::new();
        batch
            .job(row("j1"))
            .record("j1", started(5))
            .put(Space::Item, "x", &7_u32)
            .unwrap();
        assert_eq!(write(&store, batch).await, [1]);
        let mut batch = Batch::new();
        batch.record("j1", started(6));
        assert_eq!(write(&store, batch).await, [2]);
        store.identity().installation.clone()
    };
    let store = reopen(directory.path());
    assert_eq!(store.identity().installation, installation);
    let chain = store.reader().chain("j1").unwrap().unwrap();
    assert_eq!(chain.records.len(), 2);
    assert_eq!(store.reader().get::<u32>(Space::Item, "x").unwrap(), Some(7));
    assert_eq!(store.reader().unfinished().unwrap().len(), 1);
    let mut batch = Batch::new();
    batch.record("j1", started(7)).ending("j1", "succeeded", 7);
    write(&store, batch).await;
    assert_eq!(store.reader().chain("j1").unwrap().unwrap().records.len(), 3);
    assert!(store.reader().unfinished().unwrap().is_empty());
}

/// The lock goes with the writer's thread, which ends just after the last handle was dropped.
fn reopen(directory: &Path) -> Store {
    for _ in 0..500 {
        match Store::open(directory) {
            Err(StoreError::InUse(_)) => std::thread::sleep(std::time::Duration::from_millis(2)),
            other => return other.unwrap(),
        }
    }
    panic!("the lock was never released");
}

#[tokio::test]
async fn one_daemon_per_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _store = Store::open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse(_))));
}

#[tokio::test]
async fn a_changed_record_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut batch = Batch::new();
    batch.job(row("j1")).record("j1", started(5)).record("j1", started(6));
    write(&store, batch).await;
    let other = Connection::open(directory.path().join("landfall.db")).unwrap();
    other
        .execute("UPDATE journal SET body = replace(body, '5', '4') WHERE seq = 1", [])
        .unwrap();
    assert!(matches!(
        store.reader().chain("j1"),
        Err(StoreError::Damaged { seq: 1, .. })
    ));
    // Even if the checksum is made to fit, the chain does not.
    let body: String = other
        .query_row("SELECT body FROM journal WHERE seq = 1", [], |row| row.get(0))
        .unwrap();
    other
        .execute(
            "UPDATE journal SET crc = ?1 WHERE seq = 1",
            [crc32fast::hash(body.as_bytes())],
        )
        .unwrap();
    assert!(matches!(
        store.reader().chain("j1"),
        Err(StoreError::Damaged {
            what: "it does not follow the record before it",
            ..
        })
    ));
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    let other = Connection::open(directory.path().join("landfall.db")).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(matches!(
        schema::open(&directory.path().join("landfall.db")),
        Err(StoreError::NewerFormat { found: 99, .. })
    ));
}

#[tokio::test]
async fn rows_are_found_by_prefix_and_only_the_last_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = reopen(directory.path());
    let mut batch = Batch::new();
    for name in ["a/1", "a/é", "a0", "b/1"] {
        batch.put(Space::Decision, name, &name).unwrap();
    }
    batch.put(Space::Item, "a/9", &1).unwrap();
    write(&store, batch).await;
    let names = |prefix: &str| -> Vec<String> {
        let rows: Vec<(String, String)> = store.reader().under(Space::Decision, prefix).unwrap();
        rows.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names("a/"), ["a/1", "a/é"]);
    assert_eq!(names("c"), Vec::<String>::new());
    let mut batch = Batch::new();
    batch.keep_last(Space::Decision, 2);
    write(&store, batch).await;
    assert_eq!(names(""), ["a0", "b/1"]);
    assert_eq!(store.reader().get::<u32>(Space::Item, "a/9").unwrap(), Some(1));
    let mut batch = Batch::new();
    batch.keep_last(Space::Decision, 2);
    write(&store, batch).await;
    assert_eq!(names(""), ["a0", "b/1"]);
}

/// Three records of an ended job, two of one that has not ended.
async fn two_jobs(store: &Store) {
    let mut batch = Batch::new();
    batch.job(row("j1")).job(row("j2"));
    for (job, at) in [("j1", 5), ("j2", 5), ("j1", 6), ("j2", 6), ("j1", 7)] {
        batch.record(job, started(at));
    }
    batch.ending("j1", "succeeded", 7).put(Space::Item, "x", &7).unwrap();
    write(store, batch).await;
    let mut batch = Batch::new();
    batch.seal(None, 8);
    write(store, batch).await;
}

#[tokio::test]
async fn x06_heads_are_signed_when_a_job_ends_and_for_all_that_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    two_jobs(&store).await;
    let found = verify(directory.path(), None).unwrap();
    assert_eq!(found.problems, []);
    assert_eq!((found.jobs, found.records, found.seals, found.rows), (2, 5, 2, 1));
    let key = &store.identity().public_key;
    let seal = store.reader().seal("j1").unwrap().unwrap().open(key).unwrap();
    assert_eq!((seal.number, seal.jobs["j1"].records), (1, 3));
    assert_eq!(store.reader().seal("j2").unwrap(), None);
    // A job that is reopened keeps its seal and gets another.
    let mut batch = Batch::new();
    batch.record("j1", started(9)).ending("j1", "", 9);
    write(&store, batch).await;
    let mut batch = Batch::new();
    batch.record("j1", started(10)).ending("j1", "failed", 10);
    write(&store, batch).await;
    let seal = store.reader().seal("j1").unwrap().unwrap().open(key).unwrap();
    assert_eq!((seal.number, seal.jobs["j1"].records), (3, 5));
    assert_eq!(verify(directory.path(), Some(key)).unwrap().problems, []);
    let stranger = Key::read(&Key::generate().unwrap()).unwrap().public();
    assert_eq!(verify(directory.path(), Some(&stranger)).unwrap().problems.len(), 3);
}

/// What somebody does who can write the file and computes every hash anew, but has not the key.
#[tokio::test]
async fn x06_every_change_of_the_past_is_found() {
    let tricks = [
        "UPDATE journal SET body = replace(body, '5', '4') WHERE seq = 1",
        "DELETE FROM journal WHERE seq = 5",
        "DELETE FROM journal WHERE seq = 3",
        "DELETE FROM journal WHERE job = 'j1'",
        "DELETE FROM journal WHERE job = 'j1'; DELETE FROM jobs WHERE id = 'j1'",
        "DELETE FROM seals WHERE number = 1",
        "UPDATE seals SET body = replace(body, '\"records\":3', '\"records\":2')",
        "UPDATE jobs SET outcome = 'failed' WHERE id = 'j1'",
        "UPDATE frozen SET body = CAST('{ }' AS BLOB) WHERE job = 'j1'",
        "DELETE FROM frozen WHERE job = 'j1'",
        "UPDATE state SET value = '8'",
        "UPDATE meta SET value = '2' WHERE name = 'epoch'",
        "UPDATE journal SET job = 'j3' WHERE seq = 5",
    ];
    for trick in tricks {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        two_jobs(&store).await;
        let other = Connection::open(directory.path().join("landfall.db")).unwrap();
        other.execute_batch(trick).unwrap();
        let found = verify(directory.path(), None).unwrap();
        assert_ne!(found.problems, [], "{trick}");
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    two_jobs(&store).await;
    let other = Connection::open(directory.path().join("landfall.db")).unwrap();
    let body = r#"{"at":6,"event":"started","hash":"other"}"#;
    let head: Vec<u8> = other
        .query_row("SELECT hash FROM journal WHERE seq = 3", [], |row| row.get(0))
        .unwrap();
    other
        .execute(
            "UPDATE journal SET body = ?1, crc = ?2, hash = ?3 WHERE seq = 5",
            rusqlite::params![body, crc32fast::hash(body.as_bytes()), writer::link(&head, body)],
        )
        .unwrap();
    let found = verify(directory.path(), None).unwrap();
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].what, "it is not the record that seal 1 names");
}

#[tokio::test]
async fn a_file_of_the_first_format_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("landfall.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(schema::TABLES).unwrap();
    old.execute_batch(
        "INSERT INTO meta VALUES ('installation', 'i'), ('epoch', '3');
         INSERT INTO state VALUES ('item', 'x', '7');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    old.execute(
        "INSERT INTO jobs (id, plan, operation, created_at, head, frozen) VALUES ('j1', 'p', 'test', 1, ?1, '{}')",
        [writer::link(&[], "{}")],
    )
    .unwrap();
    drop(old);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(
        (store.identity().installation.as_str(), store.identity().epoch),
        ("i", 3)
    );
    assert_eq!(store.reader().get::<u32>(Space::Item, "x").unwrap(), Some(7));
    assert_eq!(store.reader().unfinished().unwrap().len(), 1);
    let mut batch = Batch::new();
    batch.record("j1", started(2)).ending("j1", "succeeded", 2);
    assert_eq!(write(&store, batch).await, [1]);
    assert_eq!(verify(directory.path(), None).unwrap().problems, []);
}

#[tokio::test]
async fn a_decayed_row_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    two_jobs(&store).await;
    let other = Connection::open(directory.path().join("landfall.db")).unwrap();
    other
        .execute_batch("UPDATE state SET value = '8'; UPDATE jobs SET outcome = '' WHERE id = 'j1'")
        .unwrap();
    assert!(matches!(
        store.reader().get::<u32>(Space::Item, "x"),
        Err(StoreError::DamagedRow { table: "item", .. })
    ));
    assert!(matches!(
        store.reader().unfinished(),
        Err(StoreError::DamagedRow { table: "jobs", .. })
    ));
}

#[tokio::test]
async fn x06_a_journal_without_what_was_sealed_as_open_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = Store::open(directory.path()).unwrap();
        two_jobs(&store).await;
    }
    let other = Connection::open(directory.path().join("landfall.db")).unwrap();
    other.execute_batch("DELETE FROM journal WHERE seq = 4").unwrap();
    let refused = loop {
        match Store::open(directory.path()) {
            Err(StoreError::InUse(_)) => std::thread::sleep(std::time::Duration::from_millis(2)),
            other => break other,
        }
    };
    assert!(
        matches!(refused, Err(StoreError::Sealed { number: 2, .. })),
        "{refused:?}"
    );
}
