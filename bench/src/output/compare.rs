//! Ratios to an earlier run.

use comfy_table::{Cell, Color};

use super::{
    number,
    results::Results,
    terminal::{lines, table},
};
use crate::figure::Figure;

const COLUMNS: [(&str, u16); 6] =
    [("subject", 14), (">flows", 10), ("quantity", 22), (">minimum", 11), (">median", 11), ("", 12)];

/// Two runs on a quiet machine differ by less.
const SPREAD: f64 = 0.05;

/// One figure in relation to the same figure earlier.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    /// New over old.
    minimum: f64,
    /// New over old.
    median: f64,
}

impl Change {
    fn between(old: &Figure, new: &Figure) -> Self {
        Self { minimum: ratio(new.minimum, old.minimum), median: ratio(new.median, old.median) }
    }

    /// Whether both moved the same way and by more than runs differ anyway.
    fn is_real(self) -> bool {
        let up = |ratio: f64| ratio > 1.0 + SPREAD;
        let down = |ratio: f64| ratio < 1.0 - SPREAD;
        (up(self.minimum) && up(self.median)) || (down(self.minimum) && down(self.median))
    }

    const fn word(self) -> &'static str {
        if self.median > 1.0 { "more" } else { "less" }
    }
}

/// No number where the old figure is none to divide by.
fn ratio(new: f64, old: f64) -> f64 {
    match (new, old) {
        _ if new == old => 1.0,
        _ if old > 0.0 => new / old,
        _ => f64::NAN,
    }
}

/// New over old of every figure that both runs have; what moved beyond the spread is marked.
pub(crate) fn compare(old: &Results, new: &Results) -> String {
    let mut out = format!(
        "\nCOMPARED with {} ({}, {}): new over old; marked where minimum and median moved by over {:.0} %\n",
        old.machine.date,
        old.form(),
        old.machine.commit,
        SPREAD * 100.0
    );
    if (&old.machine.cpu, &old.machine.kernel) != (&new.machine.cpu, &new.machine.kernel) {
        out += &format!(
            "That was another machine: {}, kernel {}. Compare bars rather than figures.\n",
            old.machine.cpu, old.machine.kernel
        );
    }
    let mut any = false;
    for group in new.grouped() {
        let pairs: Vec<_> = group.figures.iter().filter_map(|new| Some((find(old, new)?, *new))).collect();
        if !pairs.is_empty() {
            any = true;
            out += &format!("\n{}, {}\n{}", group.section, group.case, rows(&pairs));
        }
    }
    if !any {
        out += "The two runs have no figure in common.\n";
    }
    out
}

fn find<'a>(old: &'a Results, new: &Figure) -> Option<&'a Figure> {
    old.figures.iter().find(|old| old.is(new.name()) && old.unit == new.unit)
}

fn rows(pairs: &[(&Figure, &Figure)]) -> String {
    let mut table = table(&COLUMNS);
    for (old, new) in pairs {
        let change = Change::between(old, new);
        let word = if change.is_real() { Cell::new(change.word()).fg(Color::Yellow) } else { Cell::new("") };
        table.add_row([
            Cell::new(&new.subject),
            Cell::new(number::flows(new.flows)),
            Cell::new(&new.quantity),
            Cell::new(times(change.minimum)),
            Cell::new(times(change.median)),
            word,
        ]);
    }
    lines(&table)
}

fn times(ratio: f64) -> String {
    if ratio.is_nan() { "–".to_owned() } else { format!("{ratio:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::results::tests::{example, figure};

    fn change(minimum: f64, median: f64) -> Change {
        Change { minimum, median }
    }

    #[test]
    fn only_what_moved_as_a_whole_is_marked() {
        for (change, expected) in [
            (change(1.06, 1.07), true),
            (change(0.94, 0.93), true),
            (change(1.06, 1.04), false),
            (change(1.04, 1.5), false),
            (change(1.06, 0.94), false),
            (change(1.0, 1.0), false),
            (change(f64::NAN, 2.0), false),
        ] {
            assert_eq!(change.is_real(), expected, "{change:?}");
        }
    }

    #[test]
    fn figures_of_both_runs_are_compared_and_no_others() {
        let old = example();
        let mut new = example();
        new.figures[2].minimum *= 2.0;
        new.figures[2].median *= 2.0;
        new.figures.remove(1);
        new.figures.push(figure(["vm", "packet", "evenkeel", "instructions"], None, "", 300.0));
        let text = compare(&old, &new);
        let marked: Vec<_> = text.lines().filter(|line| line.ends_with("more") || line.ends_with("less")).collect();
        assert_eq!(marked, ["evenkeel              1 net                        2.000      2.000 more"], "{text}");
        assert!(!text.contains("instructions") && !text.contains("another machine"), "{text}");
        assert_eq!(text.matches("1.000      1.000").count(), new.figures.len() - 2, "{text}");
        assert!(text.lines().skip(2).all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn another_machine_and_nothing_in_common_are_told() {
        let mut old = example();
        old.machine.cpu = "Another".to_owned();
        old.figures.clear();
        let text = compare(&old, &example());
        assert!(text.contains("another machine: Another") && text.contains("no figure in common"), "{text}");
    }
}
