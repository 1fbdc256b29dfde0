//! Extism's side of the comparison, in a process of its own that is driven over a pipe, so that both sides can be
//! measured turn by turn in one run.
//!
//! Each line on stdin holds a number of calls; each call makes a fresh plugin from the compiled one (the fastest way
//! that Extism's own benchmarks know) and lets it echo 1,024 bytes. The answer is one line: the nanoseconds of each
//! call. The plugin is hand-written against Extism's kernel and copies eight bytes at a time, so that no toolchain is
//! measured.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Result, ensure};
use extism::{CompiledPlugin, Plugin, PluginBuilder};

/// As much as the other side sends.
const INPUT: [u8; 1_024] = [b'x'; 1_024];

const ECHO: &str = r#"(module
    (import "extism:host/env" "input_length" (func $length (result i64)))
    (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (memory (export "memory") 1)
    (func (export "echo") (result i32) (local $length i64) (local $at i64) (local $to i64)
        (local.set $length (call $length))
        (local.set $to (call $alloc (local.get $length)))
        (block $end (loop $next
            (br_if $end (i64.ge_u (local.get $at) (local.get $length)))
            (call $store (i64.add (local.get $to) (local.get $at)) (call $load (local.get $at)))
            (local.set $at (i64.add (local.get $at) (i64.const 8)))
            (br $next)))
        (call $output (local.get $to) (local.get $length))
        (i32.const 0)))"#;

fn main() -> Result<()> {
    let compiled = CompiledPlugin::new(PluginBuilder::new(ECHO.as_bytes().to_vec()).with_wasi(false))?;
    for line in std::io::stdin().lock().lines() {
        let calls: usize = line?.trim().parse()?;
        let mut times = String::new();
        for _ in 0..calls {
            let begun = Instant::now();
            let mut plugin = Plugin::new_from_compiled(&compiled)?;
            let output: Vec<u8> = plugin.call("echo", INPUT.as_slice())?;
            drop(plugin);
            let took = begun.elapsed().as_nanos();
            ensure!(black_box(output) == INPUT, "the plugin did not echo");
            times.push_str(&format!("{took} "));
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", times.trim_end())?;
        out.flush()?;
    }
    Ok(())
}
