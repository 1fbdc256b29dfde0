//! Programs inside machines for a runbook: only those of the call's own context, by the adapter that the job is pinned
//! to, under a key that follows from the step's and the command.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use landfall_recovery::codes;
use landfall_runtime::contract::guests::Side;
use landfall_runtime::contract::runbook::MachineContext;
use landfall_runtime::contract::types::{Call, Failure, GuestCommand, GuestExit};
use landfall_runtime::{GuestFault, GuestPrograms, Refusal, machine_at};
use sha2::{Digest, Sha256};

use super::Task;
use crate::engine::Engine;
use crate::hex::to_hex;
use crate::sites::Pins;

/// Bytes of the hash in a key: two commands of one step never meet.
const KEY_BYTES: usize = 16;

/// See the module.
pub(super) struct Programs {
    engine: Arc<Engine>,
    pins: Arc<Pins>,
    call: Call,
    machines: Arc<Vec<MachineContext>>,
}

impl Programs {
    pub(super) fn new(task: &Task, machines: &[MachineContext]) -> Self {
        Self {
            engine: Arc::clone(&task.engine),
            pins: Arc::clone(&task.pins),
            call: task.call(),
            machines: Arc::new(machines.to_vec()),
        }
    }
}

impl GuestPrograms for Programs {
    fn exec(
        &self,
        item: String,
        side: Side,
        command: GuestCommand,
        left: Duration,
    ) -> BoxFuture<'static, Result<GuestExit, GuestFault>> {
        let (engine, pins, machines) = (
            Arc::clone(&self.engine),
            Arc::clone(&self.pins),
            Arc::clone(&self.machines),
        );
        let mut call = self.call.clone();
        call.key = key(&call.key, &item, side, &command);
        Box::pin(async move {
            let (there, machine) = machine_at(&machines, &item, side)?;
            let adapter = engine.adapter_of(&pins, &there).await;
            let adapter = adapter.map_err(|failure| GuestFault::Failed {
                failure: Failure {
                    code: failure.code,
                    message: failure.message,
                    retryable: failure.retryable,
                    definite: false,
                    details: Vec::new(),
                },
                sent: false,
            })?;
            let mut limits = adapter.binding().limits();
            limits.wall = left;
            match adapter.with_limits(limits).exec(call, machine, command).await {
                Ok(Some(exit)) => Ok(exit),
                Ok(None) => Err(GuestFault::Refused(Refusal {
                    code: codes::GUESTS_UNSUPPORTED,
                    word: "unsupported",
                    what: format!("the adapter of site `{there}` runs no programs inside machines"),
                })),
                Err(error) => Err(GuestFault::Failed {
                    sent: error.sent && !error.definite(),
                    failure: Failure {
                        code: error.failure().map_or(error.code(), |failure| &failure.code).to_owned(),
                        message: error.to_string(),
                        retryable: error.retryable(),
                        definite: false,
                        details: Vec::new(),
                    },
                }),
            }
        })
    }
}

/// The same command in the same step has the same key, whatever attempt it is.
fn key(step: &str, item: &str, side: Side, command: &GuestCommand) -> String {
    let GuestCommand {
        program,
        arguments,
        environment,
        input,
        timeout_ms: _,
    } = command;
    let side = match side {
        Side::Source => "source",
        Side::Target => "target",
    };
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for text in [item, side, program] {
        part(text.as_bytes());
    }
    part(&(arguments.len() as u64).to_be_bytes());
    for argument in arguments {
        part(argument.as_bytes());
    }
    for (name, value) in environment {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(input);
    let digest = hash.finalize();
    format!("{step}/{}", to_hex(digest.get(..KEY_BYTES).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> GuestCommand {
        GuestCommand {
            program: "p".to_owned(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            input: Vec::new(),
            timeout_ms: 1,
        }
    }

    #[test]
    fn a_key_follows_from_the_step_and_the_command_alone() {
        let one = key("k", "i", Side::Target, &command(&["ab", "c"]));
        let patient = GuestCommand {
            timeout_ms: 2,
            ..command(&["ab", "c"])
        };
        assert_eq!(one, key("k", "i", Side::Target, &patient));
        for other in [
            key("l", "i", Side::Target, &command(&["ab", "c"])),
            key("k", "j", Side::Target, &command(&["ab", "c"])),
            key("k", "i", Side::Source, &command(&["ab", "c"])),
            key("k", "i", Side::Target, &command(&["a", "bc"])),
            key("k", "i", Side::Target, &command(&["ab"])),
        ] {
            assert_ne!(one, other);
        }
    }
}
