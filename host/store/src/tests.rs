use landfall_recovery::event::{Event, Record};
use rusqlite::Connection;

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
