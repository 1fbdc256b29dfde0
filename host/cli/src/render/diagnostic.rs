//! Diagnostics of a document, each under the line that it is about.

use landfall_recovery::diagnostic::Diagnostic;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

use crate::style;

/// Wide enough for a line of a plan with its message; narrower terminals wrap by themselves.
const WIDTH: usize = 110;

/// Every diagnostic with its place in the text.
pub(crate) fn diagnostics(diagnostics: &[Diagnostic], name: &str, text: &str) -> String {
    // Colours are taken out again where stderr shows none.
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode())
        .with_width(WIDTH)
        .with_links(false);
    let mut words = String::new();
    for diagnostic in diagnostics {
        let report = report(diagnostic, name, text);
        if handler.render_report(&mut words, report.as_ref()).is_err() {
            words.push_str(&plain(diagnostic, name));
        }
        words.push('\n');
    }
    words
}

fn report(diagnostic: &Diagnostic, name: &str, text: &str) -> Report {
    let mut shown = MietteDiagnostic::new(diagnostic.message.clone()).with_code(diagnostic.code.clone());
    if !diagnostic.cure.is_empty() {
        shown = shown.with_help(diagnostic.cure.clone());
    }
    match span(text, diagnostic) {
        Some((start, length)) => {
            let label = LabeledSpan::at(start..start + length, "here");
            Report::new(shown.with_label(label)).with_source_code(NamedSource::new(name, text.to_owned()))
        }
        None => Report::new(shown),
    }
}

fn plain(diagnostic: &Diagnostic, name: &str) -> String {
    let Diagnostic {
        code,
        line,
        column,
        message,
        cure,
    } = diagnostic;
    format!(
        "{}: {name}:{line}:{column}: {message}\n  help: {cure}\n",
        style::error(code)
    )
}

/// Byte offset and length of the word that the diagnostic is about.
fn span(text: &str, diagnostic: &Diagnostic) -> Option<(usize, usize)> {
    let number = usize::try_from(diagnostic.line).ok()?.checked_sub(1)?;
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if index < number {
            start += line.len();
            continue;
        }
        let column = usize::try_from(diagnostic.column).ok()?.saturating_sub(1);
        let into: usize = line.chars().take(column).map(char::len_utf8).sum();
        let word = line
            .get(into..)?
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | ':'))
            .next()?;
        return Some((start + into, word.len()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "plan: hrweb\ngroups:\n  - name: database\n    machines: [hr-db-1, hr-dbb-2]\nactoins: []\n";

    fn found(line: u32, column: u32, code: &str, message: &str, cure: &str) -> Diagnostic {
        let (code, message, cure) = (code.to_owned(), message.to_owned(), cure.to_owned());
        Diagnostic {
            code,
            line,
            column,
            message,
            cure,
        }
    }

    #[test]
    fn every_error_stands_under_its_line() {
        let found = [
            found(4, 25, "LF0106", "unknown machine `hr-dbb-2`", "did you mean `hr-db-2`?"),
            found(5, 1, "LF0101", "unknown key `actoins`", "did you mean `actions`?"),
            found(
                0,
                0,
                "LF0108",
                "no runbook `webhook` serves",
                "see `landfall plugin list`",
            ),
        ];
        let words = anstream::adapter::strip_str(&diagnostics(&found, "plan.yaml", PLAN)).to_string();
        insta::assert_snapshot!(words);
    }

    #[test]
    fn a_span_is_the_word_in_bytes() {
        let text = "a: ü\nb: [ö, word]\n";
        assert_eq!(span(text, &found(2, 8, "", "", "")), Some((14, 4)));
        assert_eq!(span(text, &found(9, 1, "", "", "")), None);
        assert_eq!(span(text, &found(0, 0, "", "", "")), None);
    }
}
