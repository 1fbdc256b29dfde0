//! `landfall reference`: pages of the documentation that the program knows best: all help texts, and the table of what may
//! be asked of a machine in which state.

use clap::{Args, Command, CommandFactory};
use landfall_recovery::operations::table;

use super::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Fits a code block on a page.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Instead of the commands: the table of operations
    #[arg(long)]
    operations: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.operations {
        output::write(&operations())?;
        return Ok(Exit::Ok);
    }
    let mut cli = Cli::command().term_width(WIDTH);
    cli.build();
    let mut page = String::from(
        "# Commands\n\nGenerated from the program's own help texts by `cargo xtask generate`. Global options are \
         listed once, with `landfall` itself.\n",
    );
    section(&mut page, &mut cli, "landfall", true);
    output::write(&page)?;
    Ok(Exit::Ok)
}

fn operations() -> String {
    let mut page = String::from(
        "# What may be asked of a machine\n\nGenerated from the core by `cargo xtask generate`: every state that a machine can \
         be in while no job works on it, and the operations that are legal there. `landfall item show ITEM` gives the same \
         answer for a machine, with what else stands in the way. A job locks its machines; one that fails or is cancelled \
         leaves each in the state that it had reached. *With a test machine* is also where a test or its cleanup broke off. \
         Of a machine whose state was restored from a backup nothing may be asked before `landfall reconcile`. From every \
         row a way leads on, whatever is lost for good (`host/recovery/tests/ways.rs` searches them all).\n\n| state | legal |\n|---|---|\n",
    );
    for (state, legal) in table() {
        let names: Vec<String> = legal.iter().map(|operation| format!("`{operation}`")).collect();
        page.extend([format!("| {state} | {} |\n", names.join(", "))]);
    }
    page
}

fn section(page: &mut String, command: &mut Command, path: &str, is_top: bool) {
    // Global options would be most of every section.
    let mut shown = command.clone();
    if !is_top {
        let globals: Vec<String> = shown
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|a| a.get_id().to_string())
            .collect();
        for global in globals {
            shown = shown.mut_arg(global, |argument| argument.hide(true));
        }
    }
    let help = shown.render_long_help().to_string();
    page.extend([format!("\n## `{path}`\n\n```text\n{}\n```\n", help.trim_end())]);
    for subcommand in command
        .get_subcommands_mut()
        .filter(|subcommand| !subcommand.is_hide_set())
    {
        let path = format!("{path} {}", subcommand.get_name());
        section(page, subcommand, &path, false);
    }
}
