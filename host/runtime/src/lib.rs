//! Loads, grants, limits and calls WebAssembly plugins. It knows nothing of jobs, plans or stores.
//!
//! # The idea
//!
//! A plugin is a component and a manifest, and what may go wrong with it must stay inside one call. So every call gets
//! a fresh instance from a linked template ([`Binding`]), runs on threads of its own under limits of CPU, wall time and
//! memory ([`Limits`]), and ends in an answer or in a [`CallError`] that names plugin, version and digest, and says
//! whether the effect certainly did not happen. Nothing is shared between two calls of a plugin except what the host
//! holds for it.
//!
//! The way of a plugin: [`Runtime::load`] reads the files once and works on those bytes; cheap checks; compile, or take
//! the code compiled earlier; link; `describe` with nothing granted; keep a copy under the digest. [`Registry`] does
//! this for a directory and publishes by one atomic swap; a job pins the digest and comes back with
//! [`Runtime::load_digest`]. [`Binding::new`] adds configuration, grants and limits for one site or runbook, and
//! [`Adapter`], [`Runbook`] and [`Policy`] give one typed method for each function of the contract.
//!
//! # Invariants
//!
//! - Default is denial: an interface with authority is linked only if the manifest requests it AND the operator grants
//!   it; a destination is checked at every request against both lists. A refusal carries the line that would grant it.
//! - The checked URL is the sent URL; the checked address is the connected address; no redirect is followed; link-local
//!   and metadata addresses are never reached, whatever is granted.
//! - [`CallError::definite`] is true only if no request left this host, or the plugin itself vouches for it. Requests
//!   are the only way in which a guest reaches the world. An interface added later that reaches it too must count
//!   there as well.
//! - A request is sent only when its body is complete: a guest that traps half way has sent nothing.
//! - Compiled code is never taken from outside, and never overwritten in place.
//! - Guests cannot starve the host: they run on their own threads and yield every five milliseconds.
//! - A bad version never replaces a good one, and never stops another plugin.
//! - The digest covers component and manifest, so a pinned version cannot gain requests.
//!
//! # WASI
//!
//! Clocks, random, environment, standard streams, files and sockets of WASI 0.2 are linked for every plugin, because
//! Python and JavaScript guests import them. They do nothing, except that what is printed is a line of the log; the
//! clocks stand still and random is fixed unless `clock` and `random` are granted. `wasi:http` is the one that works, where it is granted.
//!
//! # Codes
//!
//! `LF0401`-`LF0417` and `LF0490` loading, `LF0420`-`LF0422` binding, `LF0423`-`LF0425` credentials and grants, `LF0430`-`LF0439` and `LF0444`-`LF0448` calling,
//! `LF0440`-`LF0443` starting, `LF0450`-`LF0452` the registry, `LF0470`-`LF0479` what a host interface did not do; each variant's `code` gives its own.

mod adapter;
mod address;
mod binding;
mod bindings;
mod buffer;
mod cache;
mod call;
mod content;
pub mod contract;
mod credential;
mod destination;
mod dial;
mod digest;
mod durable;
mod endpoint;
mod engine;
mod error;
mod files;
mod grants;
mod guests;
mod health;
mod host;
mod inspect;
mod limits;
mod linker;
mod load;
mod manifest;
mod path;
mod placeholder;
mod plugin;
mod policy;
mod registry;
mod runbook;
mod runtime;
mod scrub;
mod secret;
mod session;
mod stage;
mod state;
mod transport;
mod trust;
mod watch;

pub use adapter::Adapter;
pub use binding::Binding;
pub use buffer::Buffer;
pub use cache::Origin;
pub use call::Timing;
pub use credential::{Auth, Capture};
pub use destination::{HostName, HttpGrant, HttpPattern, Method, Methods, Names, Pattern, Scheme, Star};
pub use durable::{MemoryState, Owner, StateStore, StoreFault};
pub use endpoint::{Address, Endpoint, StateGrant, Tls};
pub use engine::{Allocator, pooled_config};
pub use error::{BindError, CallError, Fault, Identity, Refusal};
pub use grants::{Denial, Grants, Interface, Remedy};
pub use guests::{GuestFault, GuestPrograms, machine_at};
pub use limits::Limits;
pub use load::LoadError;
pub use manifest::{About, Build, Endpoints, Kind, Manifest, Requests};
pub use path::PathPrefix;
pub use plugin::Plugin;
pub use policy::Policy;
pub use registry::{
    Accept, Aside, Cause, Change, Decision, Forgetful, HISTORY_MAX, Keeper, Order, OrderError, Past, PluginStatus,
    Registry, RegistryError, RegistryOptions, Remembered, Revocation, Served, State, StatusError, Waiting, Want,
};
pub use runbook::Runbook;
pub use runtime::{Runtime, RuntimeError, RuntimeOptions};
pub use secret::{SecretError, SecretPlace, Secrets};
pub use stage::{
    Dial, Scenery, Script, Stage, StageClock, StageDial, StageFault, StageLine, StageReply, StageRequest, Watcher,
};
pub use transport::Socket;
pub use trust::Trust;
pub use watch::Watch;
