//! The hostile guests. All are runbooks: `effect` answers, and `run` does the harm.

use crate::Fixture;

const POLL: &str = "wasi:io/poll@0.2.12";
const MONOTONIC: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// A runbook that does one kind of harm.
pub struct Hostile {
    /// The plugin's name.
    pub name: &'static str,
    /// The code of the error that ends its call.
    pub code: &'static str,
    /// Counts towards quarantine.
    pub strike: bool,
    /// The operator's grants that it needs to do its harm, in TOML.
    pub grants: &'static str,
    /// The plugin.
    pub fixture: Fixture,
}

/// One that needs nothing but what every plugin has.
fn plain(name: &'static str, code: &'static str, fixture: Fixture) -> Hostile {
    Hostile {
        name,
        code,
        strike: code != "LF0433",
        grants: "",
        fixture: fixture.named(name, "1.0.0"),
    }
}

/// A runbook whose `effect` says `read` and whose `run` is this.
fn runs(body: &str) -> Fixture {
    Fixture::new("runbook").answering("effect").body("run", body)
}

/// All of them.
pub fn hostile() -> Vec<Hostile> {
    vec![
        plain("endless-loop", "LF0432", runs("(loop $l (br $l)) unreachable")),
        plain("bulk-memory-loop", "LF0432", bulk_memory_loop()),
        plain("deep-recursion", "LF0438", deep_recursion()),
        plain("memory-bomb", "LF0434", memory_bomb()),
        plain("table-bomb", "LF0444", table_bomb()),
        plain("handle-bomb", "LF0447", handle_bomb()),
        plain("log-flood", "LF0445", log_flood()),
        plain("gigabyte-result", "LF0439", gigabyte_result()),
        plain("gigabyte-claim", "LF0448", gigabyte_claim()),
        plain("blocking-call", "LF0433", blocking_call()),
        start_loop(),
        plain("trap", "LF0431", runs("unreachable")),
        plain("forged-handle", "LF0448", forged_handle()),
    ]
}

/// Each fill is one instruction, which no epoch interrupts.
fn bulk_memory_loop() -> Fixture {
    runs(
        "(drop (memory.grow (i32.const 60)))
         (loop $l (memory.fill (i32.const 65536) (i32.const 7) (i32.const 0x3c0000)) (br $l)) unreachable",
    )
}

fn deep_recursion() -> Fixture {
    runs("(drop (call $deep (i64.const 1))) unreachable").helper(
        "(func $deep (param i64) (result i64)
            (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (local.get 0)))",
    )
}

/// Three memories grow in turn, and what was got is written to.
fn memory_bomb() -> Fixture {
    let grow = |memory: &str| {
        format!(
            "(local.set $at (memory.grow {memory} (i32.const 16)))
             (if (i32.ne (local.get $at) (i32.const -1)) (then
                (memory.fill {memory} (i32.shl (local.get $at) (i32.const 16)) (i32.const 1) (i32.const 0x100000))
                (br $more)))"
        )
    };
    let body = format!(
        "(local $at i32) (loop $more {} {} {}) unreachable",
        grow("$second"),
        grow("$third"),
        grow("$first")
    );
    runs(&body).helper("(memory $second 1) (memory $third 1)")
}

fn table_bomb() -> Fixture {
    runs(
        "(loop $more (br_if $more (i32.ne (table.grow $one (ref.null func) (i32.const 5000)) (i32.const -1)))
            (br_if $more (i32.ne (table.grow $two (ref.null func) (i32.const 5000)) (i32.const -1)))) unreachable",
    )
    .helper("(table $one 1 funcref) (table $two 1 funcref)")
}

/// Pollables without end, none dropped.
fn handle_bomb() -> Fixture {
    runs("(loop $more (drop (call $wait (i64.const 1))) (br $more)) unreachable").import(
        "wait",
        MONOTONIC,
        "subscribe-duration",
    )
}

fn log_flood() -> Fixture {
    let mut fixture = runs("").import("log", "landfall:plugin/log", "write");
    let line = fixture.text("again and again and again");
    let body = format!("(loop $more (call $log (i32.const 2) {line}) (br $more)) unreachable");
    fixture.body("run", body)
}

/// 1,024 outputs whose names are one and the same megabyte.
fn gigabyte_result() -> Fixture {
    runs(
        "(local $at i32) (local $list i32)
         (local.set $list (i32.shl (memory.grow (i32.const 18)) (i32.const 16)))
         (memory.fill (local.get $list) (i32.const 97) (i32.const 0x110000))
         (local.set $at (local.get $list))
         (loop $more
            (i32.store (local.get $at) (local.get $list))
            (i32.store offset=4 (local.get $at) (i32.const 0x100000))
            (i64.store offset=8 (local.get $at) (i64.const 0))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br_if $more (i32.lt_u (local.get $at) (i32.add (local.get $list) (i32.const 16384)))))
         (i32.store (i32.const 2056) (local.get $list))
         (i32.store (i32.const 2060) (i32.const 1024))
         i32.const 2048",
    )
}

/// A list that would end far outside of the memory.
fn gigabyte_claim() -> Fixture {
    runs("(i32.store (i32.const 2060) (i32.const 0x4000000)) i32.const 2048")
}

/// Waits an hour in a call to the host.
fn blocking_call() -> Fixture {
    runs("(call $block (call $wait (i64.const 3600000000000))) unreachable")
        .import("wait", MONOTONIC, "subscribe-duration")
        .import("block", POLL, "[method]pollable.block")
}

/// Loops in its start function, as soon as the clock is granted: else it would not even describe itself.
fn start_loop() -> Hostile {
    let fixture = runs("i32.const 2048")
        .requests(r#"interfaces = ["clock"]"#)
        .import("now", MONOTONIC, "now")
        .helper("(func $begin (if (i64.ne (call $now) (i64.const 0)) (then (loop $l (br $l))))) (start $begin)");
    Hostile {
        grants: r#"interfaces = ["clock"]"#,
        ..plain("start-loop", "LF0432", fixture)
    }
}

/// A handle that nobody gave it.
fn forged_handle() -> Fixture {
    runs("(call $block (i32.const 7)) unreachable").import("block", POLL, "[method]pollable.block")
}

/// Has its effect at `authority`, and then traps.
pub fn trap_after_effect(authority: &str) -> Fixture {
    runs("(drop (call $send)) unreachable")
        .posting(authority)
        .named("trap-after-effect", "1.0.0")
}

/// Asks for an answer of any size and traps if it does not come whole.
pub fn large_answer(authority: &str) -> Fixture {
    runs("(if (call $send) (then unreachable)) (if (call $drain) (then unreachable)) i32.const 2048")
        .posting(authority)
        .named("large-answer", "1.0.0")
}

/// Reads from the endpoint `far` for as long as there is something, and has no use for it.
pub fn endless_reader() -> Fixture {
    const TRANSPORT: &str = "landfall:plugin/transport";
    let mut fixture = runs("")
        .requests(r#"transport = ["far"]"#)
        .import("open", TRANSPORT, "open")
        .import("reader", TRANSPORT, "[method]connection.reader")
        .import("read", "wasi:io/streams@0.2.12", "[method]input-stream.blocking-read");
    let (far, tag) = (fixture.text("far"), fixture.text("t"));
    // What was read is forgotten, so that its own memory stays as it is.
    let body = format!(
        "(local $reader i32) (local $top i32)
         (call $open {far} (i32.const 0) (i32.const 0) {tag} (i32.const 512))
         (if (i32.load8_u (i32.const 512)) (then unreachable))
         (call $reader (i32.load (i32.const 516)) (i32.const 512))
         (if (i32.load8_u (i32.const 512)) (then unreachable))
         (local.set $reader (i32.load (i32.const 516)))
         (local.set $top (global.get $top))
         (loop $more
            (global.set $top (local.get $top))
            (call $read (local.get $reader) (i64.const 65536) (i32.const 512))
            (br_if $more (i32.eqz (i32.load8_u (i32.const 512)))))
         i32.const 2048"
    );
    fixture.body("run", body).named("endless-reader", "1.0.0")
}

/// Tries all of WASI that reaches out of the sandbox: environment, arguments, files, name look-up, and a connection to
/// this port of the machine itself. Each has a trap of its own; the answer is good if all of it was empty or refused.
pub fn wasi_probe(port: u16) -> Fixture {
    const ENVIRONMENT: &str = "wasi:cli/environment@0.2.12";
    let mut fixture = runs("")
        .import("environment", ENVIRONMENT, "get-environment")
        .import("arguments", ENVIRONMENT, "get-arguments")
        .import("directories", "wasi:filesystem/preopens@0.2.12", "get-directories")
        .import("network", "wasi:sockets/instance-network@0.2.12", "instance-network")
        .import("resolve", "wasi:sockets/ip-name-lookup@0.2.12", "resolve-addresses")
        .import("socket", "wasi:sockets/tcp-create-socket@0.2.12", "create-tcp-socket")
        .import("connect", "wasi:sockets/tcp@0.2.12", "[method]tcp-socket.start-connect");
    let name = fixture.text("localhost");
    let empty = |import: &str| {
        format!("(call ${import} (i32.const 512)) (if (i32.load (i32.const 516)) (then (call $reached_{import})))")
    };
    let zeros = "(i32.const 0)".repeat(6);
    let body = format!(
        "(local $network i32) {} {} {}
         (local.set $network (call $network))
         (call $resolve (local.get $network) {name} (i32.const 512))
         (if (i32.eqz (i32.load8_u (i32.const 512))) (then (call $reached_resolve)))
         (call $socket (i32.const 0) (i32.const 512))
         (if (i32.eqz (i32.load8_u (i32.const 512))) (then
            (call $connect (i32.load (i32.const 516)) (local.get $network) (i32.const 0) (i32.const {port})
                (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1) {zeros} (i32.const 512))
            (if (i32.eqz (i32.load8_u (i32.const 512))) (then (call $reached_connect)))))
         i32.const 2048",
        empty("environment"),
        empty("arguments"),
        empty("directories")
    );
    for reached in ["environment", "arguments", "directories", "resolve", "connect"] {
        fixture = fixture.helper(&format!("(func $reached_{reached} unreachable)"));
    }
    fixture.body("run", body).named("wasi-probe", "1.0.0")
}
