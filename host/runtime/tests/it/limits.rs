//! Every limit ends a call with its own error, and only that call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_runtime::contract::policy::Request;
use landfall_runtime::contract::types::{Direction, FailoverKind};
use landfall_runtime::{Binding, CallError, Fault, Grants, Limits, Policy};

use crate::fixture::{Fixture, Place};

const LOOP: &str = "(loop $l (br $l)) unreachable";

/// Not so tight that a busy machine misses it.
const CPU: Duration = Duration::from_millis(100);

async fn policy(place: &Place, fixture: Fixture) -> Policy {
    let plugin = place.runtime.load(&fixture.write(&place.plugins())).await.unwrap();
    let limits = Limits {
        cpu: CPU,
        memory: 2 << 20,
        ..Limits::default()
    };
    let config = Arc::new([("who".to_owned(), "me".to_owned())].into());
    Policy::new(Binding::new(&place.runtime, plugin, "test", config, Grants::default(), limits).unwrap()).unwrap()
}

fn request() -> Request {
    Request {
        choice: "latest".to_owned(),
        params: vec![],
        kind: FailoverKind::Planned,
        direction: Direction::Forward,
        now_ms: 1,
        candidates: vec![],
        ext: vec![],
    }
}

fn check(error: &CallError, code: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.definite() && !error.sent, "nothing left this host");
    assert!(error.to_string().contains("fixture 1.2.3 (sha256:"), "{error}");
}

#[tokio::test]
async fn a_loop_is_stopped_at_its_cpu_limit() {
    let place = Place::new();
    let policy = policy(&place, Fixture::policy().body("select", LOOP)).await;
    let start = Instant::now();
    let error = policy.select(request()).await.unwrap_err();
    check(&error, "LF0432");
    assert!(
        start.elapsed() >= CPU && start.elapsed() < CPU * 20,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(policy.retain(request()).await.unwrap(), []);
}

#[tokio::test]
async fn a_loop_does_not_starve_other_calls_on_the_only_thread() {
    let place = Place::new();
    let policy = policy(&place, Fixture::policy().body("select", LOOP)).await;
    let slow = policy.with_limits(Limits {
        cpu: Duration::from_mins(1),
        wall: Duration::from_secs(1),
        ..Limits::default()
    });
    let slow = tokio::spawn(async move { slow.select(request()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..5 {
        policy.choices().await.unwrap();
    }
    assert!(!slow.is_finished());
    let error = slow.await.unwrap().unwrap_err();
    check(&error, "LF0433");
    assert!(matches!(error.fault, Fault::WallLimit { started: true, .. }) && error.retryable());
}

#[tokio::test]
async fn a_dropped_call_frees_its_instance() {
    let place = Place::new();
    let policy = policy(&place, Fixture::policy().body("select", LOOP)).await;
    let endless = policy.with_limits(Limits {
        cpu: Duration::from_mins(1),
        ..Limits::default()
    });
    // More than there are instances, one after the other.
    for _ in 0..6 {
        let call = tokio::time::timeout(Duration::from_millis(30), endless.select(request()));
        assert!(call.await.is_err());
    }
    assert_eq!(policy.choices().await.unwrap(), []);
}

#[tokio::test]
async fn memory_is_limited_and_the_error_says_so() {
    let place = Place::new();
    let bomb = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let policy = policy(&place, Fixture::policy().body("select", bomb)).await;
    let error = policy.select(request()).await.unwrap_err();
    check(&error, "LF0434");
    let large = policy.with_limits(Limits {
        memory: 1 << 16,
        ..Limits::default()
    });
    check(&large.choices().await.unwrap_err(), "LF0434");
}

#[tokio::test]
async fn a_trap_carries_its_place_and_the_last_words() {
    let place = Place::new();
    let mut fixture = Fixture::policy().import("log", "landfall:plugin/log", "write");
    let words = fixture.text("panicked at 'no point'\nforged line");
    let body = format!("(call $log (i32.const 4) {words}) (call $deep) unreachable");
    let fixture = fixture.body("select", body).helper("(func $deep unreachable)");
    let policy = policy(&place, fixture).await;
    let error = policy.select(request()).await.unwrap_err();
    check(&error, "LF0431");
    let Fault::Trap {
        backtrace,
        last_words,
        message,
    } = &error.fault
    else {
        panic!("{error}")
    };
    assert!(message.contains("unreachable"), "{message}");
    assert_eq!(backtrace[0], "deep");
    assert_eq!(last_words.as_deref(), Some("panicked at 'no point'\\nforged line"));
}

#[tokio::test]
async fn a_stack_that_never_ends_is_an_error_of_its_own() {
    let place = Place::new();
    let fixture = Fixture::policy()
        .body("select", "(call $deep) unreachable")
        .helper("(func $deep (call $deep))");
    check(
        &policy(&place, fixture).await.select(request()).await.unwrap_err(),
        "LF0438",
    );
}

#[tokio::test]
async fn a_flood_of_lines_is_dropped_and_the_call_goes_on() {
    let place = Place::new();
    let mut fixture = Fixture::policy().import("log", "landfall:plugin/log", "write");
    let line = fixture.text("again and again");
    let flood = format!(
        "(local $n i32) (loop $l (call $log (i32.const 2) {line})
         (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000)))) i32.const 2048"
    );
    let policy = policy(&place, fixture.body("choices", flood)).await;
    assert_eq!(policy.choices().await.unwrap(), []);
}

#[tokio::test]
async fn an_answer_that_lies_about_its_size_is_an_error() {
    let place = Place::new();
    // A list of 2^31 elements.
    let lie = "(i32.store (i32.const 2056) (i32.const 0x7fffffff)) i32.const 2048";
    let error = policy(&place, Fixture::policy().body("select", lie))
        .await
        .select(request())
        .await
        .unwrap_err();
    check(&error, "LF0448");
    assert!(error.fault.is_strike(), "{error}");
}
