//! The few colours. Words carry the meaning; colour only helps to find them.

use clap::builder::styling::{AnsiColor, Style, Styles};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();

/// Of the help texts.
pub(crate) const HELP: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

fn paint(style: Style, words: &str) -> String {
    format!("{style}{words}{style:#}")
}

/// Something went wrong.
pub(crate) fn error(words: &str) -> String {
    paint(ERROR, words)
}

/// Something to look at.
pub(crate) fn warning(words: &str) -> String {
    paint(WARNING, words)
}

/// What to do.
pub(crate) fn hint(words: &str) -> String {
    paint(HINT, words)
}

/// Something went well.
pub(crate) fn good(words: &str) -> String {
    paint(GOOD, words)
}

/// A status in the colour of what it means.
pub(crate) fn status(status: &str) -> String {
    match status {
        "done" | "succeeded" => good(status),
        "failed" | "not-run" => error(status),
        "stuck" | "retrying" | "completed-with-errors" | "cancelled" | "abandoned" => warning(status),
        _ => status.to_owned(),
    }
}
