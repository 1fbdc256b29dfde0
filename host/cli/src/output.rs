//! Where a command's words go: data to stdout in the format that was asked for, all else to stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
    /// One JSON document a line; `job watch` streams events
    Jsonl,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// For the whole process.
    pub(crate) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// How a command talks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Of data.
    pub(crate) format: Format,
    /// No notes and no progress.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
}

impl Output {
    /// Prints one thing.
    pub(crate) fn one<T: Serialize + ?Sized>(self, value: &T, text: impl FnOnce() -> String) -> io::Result<()> {
        match self.format {
            Format::Text => write(&text()),
            Format::Json => write(&format!("{:#}\n", json(value)?)),
            Format::Jsonl => write(&format!("{}\n", json(value)?)),
        }
    }

    /// Prints a list; an empty one says so to people only.
    pub(crate) fn many<T: Serialize>(self, values: &[T], none: &str, text: impl FnOnce() -> String) -> io::Result<()> {
        match self.format {
            Format::Text if values.is_empty() => {
                self.note(none);
                Ok(())
            }
            Format::Jsonl => values
                .iter()
                .try_for_each(|value| write(&format!("{}\n", json(value)?))),
            Format::Text | Format::Json => self.one(values, text),
        }
    }

    /// Says something that is no data.
    pub(crate) fn note(self, words: &str) {
        if !self.quiet {
            say(words);
        }
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> io::Result<serde_json::Value> {
    serde_json::to_value(value).map_err(io::Error::other)
}

/// Writes data.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to stderr. Where nobody reads it there is nobody to tell.
pub(crate) fn say(words: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{words}");
}

/// A person sits at both ends: questions can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
