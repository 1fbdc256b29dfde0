//! Tables without borders: they are read at night, copied into tickets and cut by scripts.

use comfy_table::{ContentArrangement, Table, presets};

/// A heading and rows, columns aligned, no trailing blanks. Empty text if there are no rows.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.map(str::to_uppercase));
    table.add_rows(rows);
    if table.row_iter().next().is_none() {
        return String::new();
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Names and values below each other, for one thing.
pub(crate) fn card<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<(&str, String)> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"))
        .collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_at_their_last_word() {
        let rows = [["hr-db-1".to_owned(), "on".to_owned()], ["x".to_owned(), String::new()]];
        assert_eq!(table(["name", "power"], rows), "NAME     POWER\nhr-db-1  on\nx\n");
        assert_eq!(table(["name"], []), "");
        assert_eq!(
            card([("job", "j1".to_owned()), ("status", "stuck".to_owned())]),
            "job     j1\nstatus  stuck\n"
        );
    }
}
