//! The product from outside: the real binary, a real lab beside it, and the plugins that ship, all as separate
//! processes. What happened is read from the lab's ledger and disks; what the daemon says of itself is compared with it.
//!
//! Tests that show a row of the requirements carry its id in their name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test ends at the first surprise; clippy knows test functions, not their helpers"
)]

mod author;
mod backup;
mod bad_input;
mod battery;
mod commands;
mod crash;
mod disaster;
mod dry_run;
mod events;
mod evidence;
mod failback;
mod fencing;
mod guests;
mod harness;
mod hostile;
mod languages;
mod life;
mod old;
mod outage;
mod pipeline;
mod plans;
mod platforms;
mod plugins;
mod points;
mod preflight;
mod protection;
mod rehearsal;
mod replay;
mod secrets;
mod security;
mod space;
mod tutorials;
mod versions;
mod walk;
