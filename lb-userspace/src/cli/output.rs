//! Tables, times and JSON.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// Widest output.
const WIDTH: u16 = 80;

/// Prints lines; a reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) {
    drop(writeln!(std::io::stdout(), "{}", text.trim_end()));
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A table under construction.
pub(super) struct Rows(Table);

/// How a cell stands out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    Notable,
}

impl Rows {
    /// A table with these headings; those that begin with `>` are of numbers.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>')));
        for (i, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(i) {
                column.set_padding((0, 1));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        if !std::io::stdout().is_terminal() {
            table.force_no_tty();
        }
        Self(table)
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        let cell = |(text, tone): (String, Tone)| {
            let cell = Cell::new(text);
            match tone {
                Tone::Plain => cell,
                Tone::Good => cell.fg(Color::Green),
                Tone::Bad => cell.fg(Color::Red),
                Tone::Notable => cell.fg(Color::Yellow),
            }
        };
        self.0.add_row(cells.into_iter().map(cell));
    }

    pub(super) fn print(&self) {
        self.print_from(0);
    }

    /// Prints it without its headings, which have to be empty.
    pub(super) fn print_body(&self) {
        self.print_from(1);
    }

    fn print_from(&self, line: usize) {
        print(&self.text_from(line));
    }

    /// The table as text, for where it does not go to standard output.
    pub(super) fn text(&self) -> String {
        self.text_from(0)
    }

    fn text_from(&self, line: usize) -> String {
        let text = self.0.to_string();
        let lines: Vec<&str> = text.lines().skip(line).map(str::trim_end).collect();
        lines.join("\n")
    }
}

/// A cell without a tone.
pub(super) fn plain(text: impl ToString) -> (String, Tone) {
    (text.to_string(), Tone::Plain)
}

/// How long ago, in the largest unit or two.
pub(super) fn ago(time: SystemTime) -> String {
    span(SystemTime::now().duration_since(time).unwrap_or_default())
}

/// How long still.
pub(super) fn until(time: SystemTime) -> String {
    span(time.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A time in at most two units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A number with its thousands set apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_numbers_read_well() {
        let spans = [5, 65, 3_660, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["5s", "1m05s", "1h01m", "1d01h"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1_000", "1_234_567"]);
    }
}
