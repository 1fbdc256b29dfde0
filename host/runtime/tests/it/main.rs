//! The runtime from outside: loading, limits, grants, and the registry, with plugins made on the spot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy knows test functions, not their helpers"
)]

mod bytes;
mod compatible;
mod fixture;
mod grants;
mod guests;
mod hostile;
mod limits;
mod load;
mod output;
mod registry;
mod state;
mod transport;
mod versions;
