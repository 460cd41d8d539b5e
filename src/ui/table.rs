//! A plain table: columns as wide as their widest cell, two spaces between, nothing after the last.
//!
//! By hand: the crates for tables draw borders, wrap cells and ask the terminal for its width, all of which would have
//! to be turned off to print what `column -t` prints.

use std::fmt;

use super::clean;
use console::{Alignment, measure_text_width, pad_str};

/// Rows under a head.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head and no rows.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row; one with fewer cells than the head ends early. Whatever a cell holds, it is one line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean::cell(&cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| measure_text_width(cell)).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&pad_str(cell, *width, Alignment::Left, None));
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["a".to_owned(), "ready".to_owned()]);
        table.row(["longer".to_owned(), "-".to_owned()]);
        assert_eq!(table.to_string(), "NAME    STATE\na       ready\nlonger  -\n");
        let green = clean::painted(anstyle::AnsiColor::Green, "ready");
        table.row(["漢字".to_owned(), green.clone(), "x".to_owned()]);
        let wide = "two columns a character, none for a colour";
        assert!(table.to_string().ends_with(&format!("漢字    {green}  x\n")), "{wide}: {table}");
        table.row(["two\nlines\tand\x1b[2J".to_owned()]);
        assert!(table.to_string().ends_with("\ntwo lines and\n"), "{table}");
    }
}
