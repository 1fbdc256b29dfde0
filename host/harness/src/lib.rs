//! The plugin author's harness: test cases, and the conformance suites of `landfall plugin check`.
//!
//! Both run the plugin in the host's own runtime, with its grants, limits and fresh instances. There is no second
//! implementation that could differ: what passes here is what the daemon does. Only the world is a stage (see
//! `landfall_runtime::Stage`): a clock that moves as the case says, seeded random, and scripted answers.
//!
//! A case is a file ([`Case`]), or the same as JSON, so that a test in any language can hand one over. [`play()`] runs it
//! and gives a [`Report`] that is data; words for people are made from that data alone.

mod act;
mod adapter;
mod case;
mod check;
mod ended;
mod expect;
mod home;
mod machines;
mod naming;
mod play;
mod read;
mod recorded;
mod report;
mod scratch;
mod script;
mod traffic;

pub use case::{CallFacts, Case, schema};
pub use check::{Check, CheckReport, Suite, Verdict, check};
pub use home::{Home, HomeError};
pub use play::play;
pub use read::{CaseError, find, parse_json, parse_toml, read};
pub use recorded::{Recorded, recorded};
pub use report::{Asked, CaseReport, Played, Report};
pub use scratch::{Scratch, ScratchError, scratch};
pub use traffic::Exchanged;
