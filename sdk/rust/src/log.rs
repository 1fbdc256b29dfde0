//! Lines for the host's log, which adds the plugin's name, version and digest.
//!
//! `log::info!("{} machines", count)` and its four siblings. Lines beyond the host's bound for one call are counted
//! and dropped there. Outside WebAssembly there is no host and lines go nowhere, so that logic that logs can be tested.

pub use crate::bindings::landfall::plugin::log::Level;
pub use crate::{debug, error, info, trace, warn};

/// Writes one line.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::landfall::plugin::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (level, message);
}

/// A trap says only `unreachable`; this puts the panic's own words and place into the host's log before it.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &format!("the plugin {panic}"))));
}

/// Logs a line at level `trace`.
#[macro_export]
macro_rules! trace {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($message)*)) };
}

/// Logs a line at level `debug`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($message)*)) };
}

/// Logs a line at level `info`.
#[macro_export]
macro_rules! info {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($message)*)) };
}

/// Logs a line at level `warn`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($message)*)) };
}

/// Logs a line at level `error`.
#[macro_export]
macro_rules! error {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($message)*)) };
}
