use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::printable;

/// Between two columns.
const SEPARATOR: &str = "  ";

/// Rows under a header, in padded columns.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            rows: vec![header.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row. Control characters, which could be commands to the terminal, are shown as escapes.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }

    /// Two spaces between the columns; the last one is not padded.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let last = row.len().saturating_sub(1);
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if column < last {
                    let padding = widths[column] - cell.width();
                    let _ = write!(text, "{:padding$}{SEPARATOR}", "");
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "IMAGE", "STATE"]);
        table.row(["a".into(), "busybox:latest".into(), "running".into()]);
        table.row(["日本".into(), "x".into(), String::new()]);
        assert_eq!(
            table.render(),
            "ID    IMAGE           STATE\n\
             a     busybox:latest  running\n\
             日本  x               \n"
        );
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(["NAME", "TAG"]).render(), "NAME  TAG\n");
    }

    #[test]
    fn a_cell_commands_no_terminal() {
        let mut table = Table::new(["A"]);
        table.row(["\u{1b}[2J\n".into()]);
        assert_eq!(table.render(), "A\n\\u{1b}[2J\\n\n");
    }
}
