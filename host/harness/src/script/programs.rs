//! Programs inside machines in a case: which ones can be run, and which were.

use landfall_runtime::GuestFault;
use landfall_runtime::contract::guests::Side as ContractSide;
use landfall_runtime::contract::types::{Failure, GuestCommand, GuestExit};

use super::{is_used_up, never, seen};
use crate::case::{Run, Side};

/// The programs, with how often each was run, and what was run.
#[derive(Debug, Default, Clone)]
pub(super) struct Programs {
    pub(super) scripts: Vec<(Run, u32)>,
    pub(super) ran: Vec<String>,
}

/// A program that a runbook wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) item: String,
    pub(crate) side: ContractSide,
    pub(crate) command: GuestCommand,
}

impl Programs {
    /// The first that fits and is not used up, else why there is none.
    pub(super) fn find(&mut self, wanted: &Wanted) -> Result<Run, String> {
        let found = self
            .scripts
            .iter_mut()
            .find(|(script, used)| !is_used_up(script.times, *used) && misfit(script, wanted).is_none());
        let Some((script, used)) = found else {
            return Err(stranger(wanted, &self.scripts));
        };
        *used += 1;
        Ok(script.clone())
    }

    pub(super) fn note(&mut self, wanted: &Wanted, answer: &Result<GuestExit, GuestFault>) {
        let end = match answer {
            Ok(exit) => exit.code.to_string(),
            Err(GuestFault::Failed { failure, .. }) => failure.code.clone(),
            Err(GuestFault::Refused(refusal)) => refusal.word.to_owned(),
        };
        self.ran.push(format!("{} -> {end}", words(wanted)));
    }

    pub(super) fn left(&self) -> impl Iterator<Item = String> {
        let left = |(script, used): &(Run, u32)| never(&name(script), script.times, *used, "run");
        self.scripts.iter().filter_map(left)
    }
}

/// How a scripted program ends.
pub(super) fn end(script: Run) -> Result<GuestExit, GuestFault> {
    if let Some(fault) = script.fault {
        let failure = Failure {
            code: fault.code,
            message: fault.message,
            retryable: fault.retryable,
            definite: false,
            details: Vec::new(),
        };
        let sent = fault.sent;
        return Err(GuestFault::Failed { failure, sent });
    }
    let exit = script.exit.unwrap_or_default();
    Ok(GuestExit {
        code: exit.code,
        stdout: exit.stdout.0,
        stderr: exit.stderr.0,
        truncated: exit.truncated,
    })
}

/// The machine's agent is not there.
pub(super) fn nobody(why: &str) -> Result<GuestExit, GuestFault> {
    let failure = Failure {
        code: "unreachable".to_owned(),
        message: why.to_owned(),
        retryable: true,
        definite: false,
        details: Vec::new(),
    };
    Err(GuestFault::Failed { failure, sent: false })
}

fn is_side(script: Side, wanted: ContractSide) -> bool {
    matches!(
        (script, wanted),
        (Side::Source, ContractSide::Source) | (Side::Target, ContractSide::Target)
    )
}

/// Why this script is not about that program; none if it is.
fn misfit(script: &Run, wanted: &Wanted) -> Option<String> {
    let Wanted { item, side, command } = wanted;
    if script.program != command.program {
        return Some(format!("the program is `{}`", command.program));
    }
    if script.item.as_ref().is_some_and(|wanted| wanted != item) {
        return Some(format!("the item is `{item}`"));
    }
    if script.side.is_some_and(|wanted| !is_side(wanted, *side)) {
        return Some(format!("the side is {}", side_word(*side)));
    }
    if script
        .arguments
        .as_ref()
        .is_some_and(|wanted| *wanted != command.arguments)
    {
        return Some(format!("the arguments are {:?}", command.arguments));
    }
    for (name, wanted) in &script.environment {
        let found = command.environment.iter().find(|(other, _)| other == name);
        match found {
            Some((_, value)) if wanted == "*" || value == wanted => {}
            Some((_, value)) => return Some(format!("the variable `{name}` is `{value}`, not `{wanted}`")),
            None => return Some(format!("the variable `{name}` is missing")),
        }
    }
    let input = script.input.as_ref().filter(|wanted| wanted.0 != command.input);
    input.map(|_| format!("the input is {}", seen(&command.input)))
}

fn stranger(wanted: &Wanted, scripts: &[(Run, u32)]) -> String {
    let mut text = format!("{} was run, and no [[guests]] that is left fits", words(wanted));
    let same = |script: &Run| script.program == wanted.command.program;
    let near = scripts.iter().find(|(script, _)| same(script)).or(scripts.first());
    if let Some((script, used)) = near {
        let why = match misfit(script, wanted) {
            Some(why) => why,
            None if is_used_up(script.times, *used) => "is used up".to_owned(),
            None => String::new(),
        };
        text = format!("{text}; nearest is {}: {why}", name(script));
    }
    text
}

fn name(script: &Run) -> String {
    let arguments = script.arguments.as_deref().unwrap_or_default();
    let line = std::iter::once(&script.program).chain(arguments);
    let line: Vec<&str> = line.map(String::as_str).collect();
    format!("`{}`", line.join(" "))
}

fn words(wanted: &Wanted) -> String {
    let Wanted { item, side, command } = wanted;
    let line = std::iter::once(&command.program).chain(&command.arguments);
    let line: Vec<&str> = line.map(String::as_str).collect();
    format!("`{}` in the {} machine of `{item}`", line.join(" "), side_word(*side))
}

fn side_word(side: ContractSide) -> &'static str {
    match side {
        ContractSide::Source => "source",
        ContractSide::Target => "target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_fits_by_everything_that_is_said() {
        let wanted = Wanted {
            item: "db".to_owned(),
            side: ContractSide::Target,
            command: GuestCommand {
                program: "pg_ctl".to_owned(),
                arguments: vec!["promote".to_owned()],
                environment: vec![("PGDATA".to_owned(), "/data".to_owned())],
                input: b"yes".to_vec(),
                timeout_ms: 1_000,
            },
        };
        let fits = |toml: &str| misfit(&toml::from_str(toml).unwrap(), &wanted);
        for good in [
            "program = \"pg_ctl\"",
            "program = \"pg_ctl\"\narguments = [\"promote\"]\nitem = \"db\"\nside = \"target\"\ninput = \"yes\"",
            "program = \"pg_ctl\"\nenvironment = { PGDATA = \"*\" }",
        ] {
            assert_eq!(fits(good), None, "{good}");
        }
        for (bad, why) in [
            ("program = \"psql\"", "the program is `pg_ctl`"),
            (
                "program = \"pg_ctl\"\narguments = []",
                "the arguments are [\"promote\"]",
            ),
            ("program = \"pg_ctl\"\nitem = \"web\"", "the item is `db`"),
            ("program = \"pg_ctl\"\nside = \"source\"", "the side is target"),
            (
                "program = \"pg_ctl\"\nenvironment = { HOME = \"*\" }",
                "`HOME` is missing",
            ),
            ("program = \"pg_ctl\"\ninput = { hex = \"00\" }", "the input is \"yes\""),
        ] {
            assert_eq!(
                fits(bad).as_deref().map(|found| found.contains(why)),
                Some(true),
                "{bad}"
            );
        }
    }
}
