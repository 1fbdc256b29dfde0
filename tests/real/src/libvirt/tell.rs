//! What is told: headings on stderr, and the table of what was counted on stdout.

use std::io::Write;

use anyhow::Result;

/// A line on stdout.
pub(super) fn print(words: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{words}")?)
}

/// One machine after a failover, with what was counted inside it.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) item: String,
    /// The last record of the source.
    pub(super) source: u64,
    /// The last record that the guest found on its disk.
    pub(super) found: u64,
    /// Records that are not what they should be.
    pub(super) bad: u64,
    pub(super) rpo_ms: Option<u64>,
    pub(super) loss_ms: Option<u64>,
    pub(super) bytes: u64,
}

impl Row {
    pub(super) fn lost(&self) -> u64 {
        self.source.saturating_sub(self.found)
    }
}

pub(super) fn table(rows: &[Row]) -> Result<()> {
    print(
        "WHAT                 ITEM        SOURCE WROTE  GUEST FOUND  LOST  BAD  RPO SHOWN MS  REAL LOSS MS  BYTES SENT",
    )?;
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    for row in rows {
        print(&format!(
            "{:<20} {:<11} {:>12} {:>12} {:>5} {:>4} {:>13} {:>13} {:>11}",
            row.what,
            row.item,
            row.source,
            row.found,
            row.lost(),
            row.bad,
            number(row.rpo_ms),
            number(row.loss_ms),
            row.bytes
        ))?;
    }
    Ok(())
}
