//! What a guest prints is a line of its log, under the log's bounds.

use std::sync::Arc;

use landfall_runtime::contract::runbook::Outcome;
use landfall_runtime::{Binding, CallError, Fault, Grants, Limits, Runbook, Stage};

use crate::fixture::{Fixture, Place};
use crate::grants::run;

/// A runbook that writes each text to the stream, and then does the rest.
fn printer(stream: &'static str, texts: &[&str], rest: &str) -> Fixture {
    let (interface, function) = match stream {
        "stdout" => ("wasi:cli/stdout@0.2.12", "get-stdout"),
        _ => ("wasi:cli/stderr@0.2.12", "get-stderr"),
    };
    let mut fixture = Fixture::new("runbook").import("get", interface, function).import(
        "write",
        "wasi:io/streams@0.2.12",
        "[method]output-stream.blocking-write-and-flush",
    );
    let write = |text| format!("(call $write (local.get $s) {text} (i32.const 512))");
    let writes: Vec<_> = texts.iter().map(|text| write(fixture.text(text))).collect();
    let body = format!(
        "(local $s i32) (local.set $s (call $get)) {} {rest} i32.const 2048",
        writes.join(" ")
    );
    fixture.body("run", body)
}

async fn print(fixture: &Fixture, limits: Limits) -> (Result<Outcome, CallError>, Vec<(String, String)>) {
    let place = Place::new();
    let plugin = place.runtime.load(&fixture.write(&place.plugins())).await.unwrap();
    let grants = Grants::default();
    let binding = Binding::new(&place.runtime, plugin, "tell", Arc::default(), grants, limits).unwrap();
    let stage = Arc::new(Stage::watched(Box::new(|_, _| ())));
    let runbook = Runbook::new(binding.on_stage(Arc::clone(&stage))).unwrap();
    let ended = run(&runbook).await;
    let lines = stage.take_lines().into_iter();
    (ended, lines.map(|line| (line.level.to_owned(), line.text)).collect())
}

#[tokio::test]
async fn what_a_guest_prints_is_a_line_of_its_log() {
    let texts = ["half", " a line\nand \u{1b}[2J another\n\n", "the rest"];
    for (stream, level) in [("stdout", "info"), ("stderr", "warn")] {
        let (ended, lines) = print(&printer(stream, &texts, ""), Limits::default()).await;
        assert_eq!(ended.unwrap(), Outcome::Done(vec![]));
        let wanted =
            ["half a line", "and \\u{1b}[2J another", "the rest"].map(|text| (level.to_owned(), text.to_owned()));
        assert_eq!(lines, wanted);
    }
}

#[tokio::test]
async fn what_a_guest_says_on_its_standard_error_last_is_its_last_words() {
    for (stream, words) in [("stderr", Some("ValueError: no such machine")), ("stdout", None)] {
        let texts = ["Traceback:\n", "ValueError: no such machine\n"];
        let (ended, _) = print(&printer(stream, &texts, "unreachable"), Limits::default()).await;
        let Fault::Trap { last_words, .. } = ended.unwrap_err().fault else {
            panic!()
        };
        assert_eq!(last_words.as_deref(), words);
    }
}

#[tokio::test]
async fn hostile_printing_without_end_is_a_flood_of_the_log() {
    let limits = Limits {
        log_lines: 5,
        ..Limits::default()
    };
    let mut fixture = printer("stdout", &[], "");
    let line = fixture.text("x\n");
    let endless = format!(
        "(local $s i32) (local.set $s (call $get))
         (loop $on (call $write (local.get $s) {line} (i32.const 512)) (br $on)) unreachable"
    );
    let (ended, lines) = print(&fixture.body("run", endless), limits).await;
    assert_eq!((ended.unwrap_err().code(), lines.len()), ("LF0445", 5));
    // One that never ends its line is cut into lines, and so bounded too.
    let mut fixture = printer("stdout", &[], "");
    let page = fixture.text(&"y".repeat(4_000));
    let endless = format!(
        "(local $s i32) (local.set $s (call $get))
         (loop $on (call $write (local.get $s) {page} (i32.const 512)) (br $on)) unreachable"
    );
    let (ended, _) = print(&fixture.body("run", endless), limits).await;
    assert_eq!(ended.unwrap_err().code(), "LF0445");
}
