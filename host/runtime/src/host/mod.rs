//! What the host gives to guests: one file per interface of the contract, and one for inert WASI.

pub(crate) mod buffers;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod guests;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod output;
pub(crate) mod random;
pub(crate) mod session;
pub(crate) mod signing;
pub(crate) mod state;
pub(crate) mod timers;
pub(crate) mod transport;
pub(crate) mod wasi;
