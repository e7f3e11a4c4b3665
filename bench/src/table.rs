//! Columns of text, aligned. Knows nothing of their content.

/// Columns of a terminal that prose may fill.
const LINE_MAX: usize = 120;

pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_string()).collect()] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The first column to the left, figures to the right, the last (a remark) to the left again.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::from("  ");
            for (at, cell) in row.iter().enumerate() {
                let space = " ".repeat(widths[at] - cell.chars().count());
                let left = at == 0 || at + 1 == columns;
                line.push_str(&if left { format!("{cell}{space}  ") } else { format!("{space}{cell}  ") });
            }
            out.push_str(line.trim_end());
            out.push('\n');
            if index == 0 {
                let rule = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
                out.push_str(&format!("  {}\n", "─".repeat(rule)));
            }
        }
        out
    }
}

/// A paragraph in lines of the tables' width, indented like them.
pub fn wrap(text: &str) -> String {
    let (mut out, mut line) = (String::new(), String::from(" "));
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE_MAX {
            out.push_str(&line);
            out.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}

/// Where there is no figure.
pub fn dash() -> String {
    "–".to_string()
}

pub fn figure(value: Option<f64>, decimals: usize) -> String {
    value.filter(|v| v.is_finite()).map_or_else(dash, |v| format!("{v:.decimals$}"))
}

/// How many times as much, with the digits that matter.
pub fn times(value: f64) -> String {
    let decimals = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    figure(Some(value), decimals)
}

/// Microseconds in the unit a reader likes.
pub fn micros(us: f64) -> String {
    match us {
        us if !us.is_finite() => dash(),
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped() {
        let text = wrap(&"word ".repeat(60));
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|l| l.len() <= LINE_MAX && l.starts_with("  word")), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["who", "µs", "remark"]);
        table.row(["a".into(), "12.5".into(), "x".into()]);
        table.row(["long".into(), "1".into(), String::new()]);
        assert_eq!(
            table.text(),
            "  who     µs  remark\n  ──────────────────\n  a     12.5  x\n  long     1\n"
        );
    }
}
