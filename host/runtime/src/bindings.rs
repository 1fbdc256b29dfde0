//! What `bindgen!` makes of the contract in `wit/`; the call itself is written by `build.rs`.

#![allow(missing_docs, clippy::pedantic, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
