//! `landfall reference`: all help texts as one Markdown page, for the documentation.

use clap::{Command, CommandFactory};

use super::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Fits a code block on a page.
const WIDTH: usize = 100;

pub(super) fn run() -> Result<Exit, Failure> {
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
