//! The daemon.
pub mod api { pub mod wire; }
