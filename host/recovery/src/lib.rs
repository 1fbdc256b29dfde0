//! The pure core of Landfall: what a recovery plan means and what happens next.
//!
//! Nothing here does I/O, reads a clock, or knows tokio, wasmtime or SQLite. Documents come in as text, time comes in
//! as numbers, and what happened comes in as events; decisions come out. That is why crash recovery, the dry run,
//! replay of an old job and simulation in virtual time are the same code as the real run: each of them folds the same
//! events through the same functions.
//!
//! Reading order: [`words`] (vocabulary), [`item`] and [`operations`] (what may be done to a protected item),
//! [`document`] (plans and inventories as people write them), [`graph`] and [`freeze`] (a request becomes a frozen,
//! hashed graph of steps), [`event`], [`job`] (the fold) and [`executor`] (what to do next).

pub mod codes;
pub mod consequence;
pub mod cycle;
pub mod diagnostic;
pub mod document;
pub mod event;
pub mod executor;
pub mod freeze;
pub mod graph;
pub mod item;
pub mod job;
pub mod operations;
pub mod proof;
pub mod simulate;
pub mod words;
