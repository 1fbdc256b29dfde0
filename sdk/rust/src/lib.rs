//! Write Landfall plugins in Rust: runbooks, hypervisor adapters and recovery-point policies.
//!
//! A plugin is a WebAssembly component. It has no operating system below it: whatever it can reach is a module of
//! this crate ([`http`], [`transport`], [`state`], [`session`], [`signing`], [`guests`], [`clock`], [`random`],
//! [`config`], [`log`], [`buffers`]), and works only if the plugin's `plugin.toml` asks for it and the operator grants it. A component
//! imports what it uses and nothing else, so a plugin that never calls [`http`] cannot be given the network by mistake.
//!
//! # A runbook from nothing
//!
//! `Cargo.toml`:
//!
//! ```toml
//! [package]
//! name = "page-oncall"
//! version = "0.1.0"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! landfall-sdk = { path = "..." }
//! ```
//!
//! `plugin.toml`, beside it. `[requests]` is the most that an operator can grant; `log` and `config` are always there:
//!
//! ```toml
//! [plugin]
//! name = "page-oncall"
//! version = "0.1.0"
//! kind = "runbook"
//! component = "page-oncall.wasm"
//! summary = "Pages whoever is on call"
//!
//! [requests]
//! interfaces = ["http"]
//! http = [{ scheme = "https", host = "*", port = "*" }]
//! ```
//!
//! `src/lib.rs`:
//!
//! ```
//! use landfall_sdk::http::{Method, Request};
//! use landfall_sdk::{Call, Context, Effect, Failure, Outcome, Plugin, Runbook, config, export_runbook};
//!
//! struct PageOncall;
//!
//! impl Plugin for PageOncall {
//!     const NAME: &'static str = "page-oncall";
//!     const SUMMARY: &'static str = "Pages whoever is on call";
//! }
//!
//! impl Runbook for PageOncall {
//!     // The pager drops a second page with the same key, so the host may send it again after a crash.
//!     fn effect(_context: &Context) -> Effect {
//!         Effect::keyed("page")
//!     }
//!
//!     fn run(call: &Call, context: &Context, _resume: Option<Vec<u8>>) -> Result<Outcome, Failure> {
//!         let url = config::get("url").ok_or_else(|| {
//!             Failure::definite("not-configured", "no `url` is configured: name the pager's address")
//!         })?;
//!         let response = Request::new(Method::Post, &url)?
//!             .header("idempotency-key", &call.key)
//!             .body(format!("{} of {} has reached {}", context.operation, context.plan, context.action))
//!             .send()?;
//!         match response.status() {
//!             200..=299 => Ok(Outcome::Done(vec![])),
//!             400..=499 => Err(Failure::definite("refused", format!("the pager answered {}", response.status()))),
//!             status => Err(Failure::in_doubt("server-error", format!("the pager answered {status}")).retryable()),
//!         }
//!     }
//! }
//!
//! export_runbook!(PageOncall);
//! # fn main() {}
//! ```
//!
//! `landfall plugin build` in that directory makes `target/plugins/page-oncall/`, which is what the host loads.
//!
//! # What to get right
//!
//! - **Say what an effect is.** [`Runbook::effect`] tells the host what it may do when it crashed between sending the
//!   effect and hearing of its end. `read` and `idempotent` effects are simply sent again, `keyed` ones too, because
//!   the far side drops the second request with the same [`Call::key`]. A `one-shot` effect in doubt stops and asks a
//!   person, so declare it only when nothing better is true.
//! - **Say whether a failure is definite.** [`Failure::definite`] promises that the effect did not happen; only then
//!   does the host use a new key. [`Failure::in_doubt`] is the honest answer to a timeout. [`http::Error`] already
//!   knows the difference and turns into a [`Failure`] with `?`.
//! - **Never sleep.** A call has a wall-clock limit. Return [`Outcome::Again`] (see [`again`]) and the host calls
//!   again later with the bytes that you gave it; no instance waits meanwhile, and a restart of the host forgets
//!   nothing. The effect belongs in the call without `resume`: calls with it may be repeated.
//! - **Keep the logic in plain functions.** Outside WebAssembly there is no host, and calling one panics (log lines
//!   are dropped). Logic in functions of their own is tested by `cargo test` on any machine.
//!
//! Every call gets a fresh instance: nothing in memory survives to the next one.
//!
//! Adapters implement [`Adapter`] and [`export_adapter!`], policies [`Policy`] and [`export_policy!`]; the contract
//! itself, with the rules that the host holds plugins to, is the WIT package `landfall:plugin`.

mod adapter;
mod duration;
mod failure;
pub mod guests;
pub mod http;
pub mod log;
mod plugin;
mod policy;
mod runbook;
pub mod session;
pub mod signing;
pub mod state;
pub mod transport;

/// What the export macros need. Not an interface for plugins.
#[doc(hidden)]
#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated from the contract by wit-bindgen"
)]
pub mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

/// The component-type sections that the export macros put into a module.
#[doc(hidden)]
#[allow(missing_docs, reason = "names repeat the export macros'")]
pub mod sections {
    pub const RUNBOOK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runbook"));
    pub const RUNBOOK_PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runbook-probe"));
    pub const RUNBOOK_UNDO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runbook-undo"));
    pub const RUNBOOK_PROBE_UNDO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runbook-probe-undo"));
    pub const ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adapter"));
    pub const ADAPTER_GUEST_EXEC: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adapter-guest-exec"));
    pub const ADAPTER_TAKEOVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adapter-takeover"));
    pub const ADAPTER_GUEST_EXEC_TAKEOVER: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/adapter-guest-exec-takeover"));
    pub const POLICY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/policy"));
}

pub use adapter::{Adapter, GuestExec, Takeover, adapter_types};
pub use bindings::exports::landfall::plugin::policy::{
    Candidate, Choice, Request as PolicyRequest, Selection, Verdict,
};
pub use bindings::exports::landfall::plugin::runbook_run::{Again, Context, MachineContext, Outcome};
pub use bindings::landfall::plugin::types::{
    Call, Consistency, Direction, EffectClass, ExtraStep, FailoverKind, Failure, Finding, GuestCommand, GuestExit,
    OperationFacts as Effect, Pairs, ProbeAnswer, Progress, RecoveryPoint, Running,
};
pub use bindings::landfall::plugin::{buffers, clock, config, random};
pub use duration::duration_ms;
pub use plugin::{Plugin, describe, pair};
pub use policy::Policy;
pub use runbook::{Probe, Runbook, Undo, again};
