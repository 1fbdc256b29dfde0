//! Programs inside the machines that a runbook is called for, run by the adapter of the machine's site.
//!
//! Request the interface `guests`. Repeated with the same command in one step, a program carries the same key, so an
//! adapter that can tell does not run it twice.
//!
//! ```no_run
//! use std::time::Duration;
//! use landfall_sdk::guests::{Program, Side};
//! use landfall_sdk::{Context, Failure};
//!
//! fn promote(context: &Context) -> Result<(), Failure> {
//!     for machine in &context.machines {
//!         let exit = Program::new("pg_ctl").argument("promote").run(&machine.item, Side::Target)?;
//!         if exit.code != 0 {
//!             let stderr = String::from_utf8_lossy(&exit.stderr).into_owned();
//!             return Err(Failure::in_doubt("not-promoted", stderr));
//!         }
//!     }
//!     Ok(())
//! }
//! ```

use std::time::Duration;

use crate::Failure;
use crate::bindings::landfall::plugin::guests;
use crate::bindings::landfall::plugin::types::{GuestCommand, GuestExit};

pub use crate::bindings::landfall::plugin::guests::Side;

/// Long enough for a command, and shorter than a call's usual limit.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A program to run inside a machine.
#[derive(Debug, Clone)]
pub struct Program {
    command: GuestCommand,
}

impl Program {
    /// With no arguments, an empty input, and twenty seconds.
    pub fn new(program: impl Into<String>) -> Self {
        let command = GuestCommand {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
            timeout_ms: 0,
        };
        Self { command }.timeout(TIMEOUT)
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.command.arguments.push(argument.into());
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.command.environment.push((name.into(), value.into()));
        self
    }

    /// Sets its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.command.input = input.into();
        self
    }

    /// After this long it is ended.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.command.timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// Runs it in the item's machine on that side, and waits for its end.
    pub fn run(&self, item: &str, side: Side) -> Result<GuestExit, Failure> {
        guests::exec(item, side, &self.command)
    }
}
