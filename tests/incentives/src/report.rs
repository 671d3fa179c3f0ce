//! Tables as Markdown, so that they can stand in a document as they are.

use std::fmt;

/// A table of figures.
#[derive(Clone, Debug)]
pub struct Table {
    /// What was measured.
    pub title: String,
    /// What it says, and how it was measured.
    pub note: String,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "### {}\n\n{}\n", self.title, self.note)?;
        writeln!(formatter, "| {} |", self.columns.join(" | "))?;
        writeln!(formatter, "|{}", "---|".repeat(self.columns.len()))?;
        for row in &self.rows {
            writeln!(formatter, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}
