//! `guests` through a runbook: what reaches whoever runs the programs, what comes back, and what counts as sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use landfall_runtime::contract::guests::Side;
use landfall_runtime::contract::runbook::Outcome;
use landfall_runtime::contract::types::{Failure, GuestCommand, GuestExit};
use landfall_runtime::{
    Adapter, Binding, CallError, Grants, GuestFault, GuestPrograms, Interface, Limits, Refusal, Runbook,
};

use crate::fixture::{Fixture, Place};
use crate::grants::{call, run};

/// Runs `hostname` in the source machine of `db`; a failure is handed on, an exit that is not 3 traps.
fn runner() -> Fixture {
    let mut fixture =
        Fixture::new("runbook")
            .requests(r#"interfaces = ["guests"]"#)
            .import("exec", "landfall:plugin/guests", "exec");
    let (item, program) = (fixture.text("db"), fixture.text("hostname"));
    let nothing = "(i32.const 0) (i32.const 0)";
    let body = format!(
        "(call $exec {item} (i32.const 0) {program} {nothing} {nothing} {nothing} (i32.const 1000) (i32.const 512))
         (if (i32.load8_u (i32.const 512)) (then (return (i32.const 512))))
         (if (i32.ne (i32.load (i32.const 516)) (i32.const 3)) (then unreachable))
         i32.const 2048"
    );
    fixture.body("run", body)
}

type Answer = Box<dyn Fn() -> Result<GuestExit, GuestFault> + Send + Sync>;

/// Answers as it was told, and remembers what it was asked.
struct Scripted {
    answer: Answer,
    asked: Mutex<Vec<(String, Side, String)>>,
}

impl GuestPrograms for Scripted {
    fn exec(
        &self,
        item: String,
        side: Side,
        command: GuestCommand,
        left: Duration,
    ) -> BoxFuture<'static, Result<GuestExit, GuestFault>> {
        assert!(left > Duration::ZERO && left <= Limits::default().wall);
        self.asked.lock().unwrap().push((item, side, command.program));
        let answer = (self.answer)();
        Box::pin(async { answer })
    }
}

async fn ask(answer: Answer) -> (Result<Outcome, CallError>, Vec<(String, Side, String)>) {
    let place = Place::new();
    let plugin = place.runtime.load(&runner().write(&place.plugins())).await.unwrap();
    let mut grants = Grants::default();
    grants.interfaces.insert(Interface::Guests);
    let binding = Binding::new(&place.runtime, plugin, "run", Arc::default(), grants, Limits::default()).unwrap();
    let runbook = Runbook::new(binding).unwrap();
    // Without machines there is nothing to run programs in.
    let error = run(&runbook).await.unwrap_err();
    assert!(error.code() == "LF0479" && error.definite(), "{error}");
    let asked = Mutex::default();
    let programs = Arc::new(Scripted { answer, asked });
    let ended = run(&runbook.with_programs(Arc::clone(&programs) as _)).await;
    let asked = programs.asked.lock().unwrap().clone();
    (ended, asked)
}

fn exit(code: i32) -> GuestExit {
    GuestExit {
        code,
        stdout: b"out".to_vec(),
        stderr: vec![],
        truncated: false,
    }
}

fn failed(sent: bool) -> GuestFault {
    let failure = Failure {
        code: "agent-gone".into(),
        message: "the guest agent does not answer".into(),
        retryable: true,
        definite: true,
        details: vec![],
    };
    GuestFault::Failed { failure, sent }
}

#[tokio::test]
async fn a_program_is_asked_for_by_item_and_side_and_its_exit_comes_back() {
    let (ended, asked) = ask(Box::new(|| Ok(exit(3)))).await;
    assert_eq!(ended.unwrap(), Outcome::Done(vec![]));
    assert_eq!(asked, [("db".to_owned(), Side::Source, "hostname".to_owned())]);
    // A program that ran counts as sent.
    let error = ask(Box::new(|| Ok(exit(1)))).await.0.unwrap_err();
    assert!(error.code() == "LF0431" && error.sent && !error.definite(), "{error}");
}

#[tokio::test]
async fn only_what_certainly_did_not_run_is_definite() {
    for (sent, definite) in [(true, false), (false, true)] {
        let error = ask(Box::new(move || Err(failed(sent)))).await.0.unwrap_err();
        assert_eq!(
            (error.code(), error.sent, error.definite()),
            ("LF0430", sent, definite),
            "{error}"
        );
        assert_eq!(error.failure().unwrap().code, "agent-gone");
    }
    let refused = || {
        Err(GuestFault::Refused(Refusal {
            code: "LF0479",
            word: "not-in-call",
            what: "`db` is no machine of this call".to_owned(),
        }))
    };
    let error = ask(Box::new(refused)).await.0.unwrap_err();
    assert!(error.code() == "LF0479" && error.definite() && !error.sent, "{error}");
}

#[tokio::test]
async fn an_adapter_runs_programs_if_it_exports_that_and_beside_calls_that_wait_for_it() {
    let place = Place::new();
    // The exit's code is the length of the program's name.
    let able = Fixture::new("hypervisor-adapter")
        .requests(r#"interfaces = ["buffers"]"#)
        .exporting(&["guest-exec"])
        .body(
            "exec",
            "(i32.store (i32.const 2052) (i32.load (i32.add (local.get 0) (i32.const 76)))) i32.const 2048",
        );
    let unable = Fixture::new("hypervisor-adapter")
        .named("unable", "1.0.0")
        .requests(r#"interfaces = ["buffers"]"#);
    for (fixture, code) in [(able, Some(8)), (unable, None)] {
        let plugin = fixture.write(&place.directory.path().join(fixture.name));
        let plugin = place.runtime.load(&plugin).await.unwrap();
        assert_eq!(plugin.has_guest_exec(), code.is_some());
        let grants: Grants = toml::from_str(r#"interfaces = ["buffers"]"#).unwrap();
        let binding = Binding::new(
            &place.runtime,
            plugin,
            "north",
            Arc::default(),
            grants,
            Limits::default(),
        );
        let adapter = Adapter::new(binding.unwrap()).unwrap();
        let command = GuestCommand {
            program: "hostname".into(),
            arguments: vec![],
            environment: vec![],
            input: vec![],
            timeout_ms: 1,
        };
        let exit = adapter.exec(call(), "vm".into(), command).await.unwrap();
        assert_eq!(exit.map(|exit| exit.code), code);
        assert_eq!(
            adapter.take_over(call()).await.unwrap(),
            None,
            "it exports no such thing"
        );
    }
}
