//! The wasmtime engine: its settings, its instance allocator, and the thread that makes its epochs pass.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

/// How often a running guest is asked for its CPU time and makes room for others: how far it can overrun, and how long
/// a call waits behind it. A yield costs a microsecond, so this one costs nothing that can be seen.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Stack of a guest. Rust and C compilers assume a megabyte in linear memory beside it; this one holds only calls.
const WASM_STACK: usize = 512 << 10;

/// A fiber's stack: the guest's share, and room for the host functions it calls.
const FIBER_STACK: usize = 2 << 20;

/// The most memory that one memory of a guest can have in the pool, whatever its limits say. Address space, not memory.
pub(crate) const LARGEST_MEMORY: usize = 256 << 20;

/// Elements that one table of a guest can have in the pool. The largest need seen was 7,688 (Python).
pub(crate) const LARGEST_TABLE: usize = 50_000;

/// Frames kept of a trap's backtrace: the innermost ones tell the story.
const BACKTRACE_FRAMES: usize = 32;

/// The largest needs seen were 14 core instances, 2 tables and 415 KiB of metadata (Python).
const CORE_INSTANCES: u32 = 50;
const TABLES: u32 = 20;
const MEMORIES: u32 = 4;
const METADATA: usize = 10 << 20;

/// Memory kept warm per slot. With `pagemap_scan` only dirty pages are cleared; measured: 17.6 µs a call instead of 30.
const KEPT_WARM: usize = 64 << 10;

/// Slots given back to the system at once. Only what is not kept warm is given back, so few calls have anything; but a
/// slot that waits for others keeps all its memory, and giving back many large ones at once holds up the thread.
const DECOMMIT_BATCH: usize = 1;

/// How instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// From slots reserved at start: fast.
    Pooling,
    /// By the system, for each instance: this machine has not the address space for the pool.
    OnDemand,
}

/// The pool if it can be had, else without.
pub(crate) fn build(instances: u32) -> wasmtime::Result<(Engine, Allocator)> {
    match Engine::new(&pooled_config(instances)) {
        Ok(engine) => Ok((engine, Allocator::Pooling)),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "no pool of instances on this machine: they are allocated one by one"
            );
            Ok((Engine::new(&config())?, Allocator::OnDemand))
        }
    }
}

/// The engine's settings on a machine that has room for the pool: what benchmarks give to wasmtime without a host.
pub fn pooled_config(instances: u32) -> Config {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    config
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        // Contracts are synchronous (VERSIONING.md); the machinery for concurrent guests costs every call.
        .concurrency_support(false)
        // A policy gives the same answer on every machine (X05).
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .memory_init_cow(true);
    if let Some(frames) = NonZeroUsize::new(BACKTRACE_FRAMES) {
        config.wasm_backtrace_max_frames(Some(frames));
    }
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    // Most components have a handful of core instances and one memory; a few large ones may use the shares of others.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES / 2))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(TABLES / 4))
        .total_stacks(instances)
        .max_component_instance_size(METADATA)
        .max_core_instance_size(METADATA)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .max_memory_size(LARGEST_MEMORY)
        .table_elements(LARGEST_TABLE)
        .linear_memory_keep_resident(KEPT_WARM)
        .table_keep_resident(KEPT_WARM)
        .async_stack_keep_resident(KEPT_WARM)
        .max_unused_warm_slots(instances)
        .decommit_batch_size(DECOMMIT_BATCH)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Starts the thread that makes epochs pass. It ends by itself when the engine is gone.
pub(crate) fn start_ticking(engine: &Engine) -> std::io::Result<()> {
    let engine: EngineWeak = engine.weak();
    thread::Builder::new()
        .name("landfall-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })?;
    Ok(())
}
