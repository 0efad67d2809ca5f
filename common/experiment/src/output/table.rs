//! Aligned columns of text.

use super::text::printable;

/// Which side of a column its values stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that is printed when it is complete, so that its columns fit.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads; units belong into them.
    pub fn new(columns: impl IntoIterator<Item = (impl Into<String>, Align)>) -> Self {
        Self {
            columns: columns
                .into_iter()
                .map(|(head, align)| (head.into(), align))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells are escaped; missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let cells = cells.into_iter().map(|cell| printable(cell.as_ref()));
        self.rows.push(cells.collect());
    }

    /// The lines, the heads first. No line ends with a space.
    pub fn lines(&self) -> Vec<String> {
        let heads: Vec<String> = self.columns.iter().map(|(head, _)| head.clone()).collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells
                    .chain([&heads[column]])
                    .map(|cell| cell.chars().count());
                widest.max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &Vec<String>| {
            let mut line = String::new();
            for (column, (_, align)) in self.columns.iter().enumerate() {
                let cell = cells.get(column).map_or("", String::as_str);
                let room = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                let (before, after) = match align {
                    Align::Left => ("", room.as_str()),
                    Align::Right => (room.as_str(), ""),
                };
                line.push_str(before);
                line.push_str(cell);
                line.push_str(after);
                line.push_str("  ");
            }
            line.truncate(line.trim_end().len());
            line
        };
        std::iter::once(&heads)
            .chain(&self.rows)
            .map(line)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([
            ("name", Align::Left),
            ("Mbit/s", Align::Right),
            ("notes", Align::Left),
        ]);
        table.row(["a", "10.00", ""]);
        table.row(["bcdef", "1.00", "x\u{7}"]);
        assert_eq!(
            table.lines(),
            [
                "name   Mbit/s  notes",
                "a       10.00",
                "bcdef    1.00  x\\u{7}"
            ]
        );
    }

    #[test]
    fn a_table_without_rows_is_its_head() {
        assert_eq!(Table::new([("run", Align::Left)]).lines(), ["run"]);
    }
}
