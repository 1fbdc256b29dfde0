//! Programs inside a machine. A lab machine has four, which read and change nothing; what was run, and under which key,
//! stands in the ledger like any operation, and the same key gives the same answer.

use super::{Context, Effect};
use crate::operation::{Custom, Failure};
use crate::state::Machine;

/// The name of the custom operation.
pub(crate) const EXEC: &str = "exec";

/// What a program gave.
struct Exit {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Context<'_> {
    pub(super) fn exec(&self, custom: &Custom) -> Result<Effect, Failure> {
        let argument = |name: &str| custom.arguments.get(name).map_or("", String::as_str);
        let machine = self.machine(argument("machine"))?;
        if !machine.on {
            let message = format!("machine `{}` is off, and runs no programs", machine.id);
            return Err(Failure::refused("powered-off", message));
        }
        let exit = run(machine, argument("program"), argument("arguments"), self.now);
        let effect = Effect::none(format!("{} {}", argument("program"), argument("arguments")));
        Ok(effect
            .with("code", exit.code.to_string())
            .with("stdout", exit.stdout)
            .with("stderr", exit.stderr))
    }
}

fn run(machine: &Machine, program: &str, arguments: &str, now: u64) -> Exit {
    let says = |stdout: String| Exit {
        code: 0,
        stdout: format!("{stdout}\n"),
        stderr: String::new(),
    };
    let fails = |code, stderr: String| Exit {
        code,
        stdout: String::new(),
        stderr,
    };
    match (program, arguments) {
        ("hostname", "") => says(machine.name.clone()),
        ("cat", "/etc/landfall-role") if machine.stamp.is_some() => says("recovered".to_owned()),
        ("cat", "/etc/landfall-role") => says("original".to_owned()),
        ("cat", path) => fails(1, format!("cat: {path}: no such file\n")),
        ("records", "") => says(machine.disk.records(now).to_string()),
        ("fail", code) => fails(code.parse().unwrap_or(1), "it was asked to fail\n".to_owned()),
        _ => fails(127, format!("{program}: not found\n")),
    }
}
