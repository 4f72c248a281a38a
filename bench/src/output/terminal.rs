//! Tables for the terminal, at most 80 columns wide.

use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::{
    number,
    results::{Group, Results},
};
use crate::{
    bars::{Bar, Outcome},
    figure::Figure,
};

const WIDTH: u16 = 80;

/// Column headings; those that begin with `>` are of numbers. The same widths in each table put them below each other.
const FIGURES: [(&str, u16); 6] =
    [("subject", 14), (">flows", 11), ("quantity", 22), (">minimum", 11), (">median", 11), ("unit", 11)];
const BARS: [(&str, u16); 4] = [("bar", 51), (">measured", 9), ("bound", 7), ("", 13)];

/// All figures, section by section and case by case.
pub(crate) fn figures(results: &Results) -> String {
    let mut out = String::new();
    let mut section = "";
    for group in results.grouped() {
        if group.section != section {
            section = group.section;
            out += &format!("\n{}\n", section.to_uppercase());
        }
        out += &format!("\n{}\n{}", group.case, case(&group));
    }
    out
}

fn case(group: &Group<'_>) -> String {
    let mut table = table(&FIGURES);
    for figure in &group.figures {
        table.add_row(cells(figure));
    }
    lines(&table)
}

fn cells(figure: &Figure) -> [String; 6] {
    [
        figure.subject.clone(),
        number::flows(figure.flows),
        figure.quantity.clone(),
        number::figure(figure.minimum),
        number::figure(figure.median),
        figure.unit.clone(),
    ]
}

/// How the figures stand to the bars.
pub(crate) fn bars(bars: &[Bar], results: &Results) -> String {
    let mut table = table(&BARS);
    for bar in bars {
        let outcome = bar.outcome(&results.figures);
        let measured = outcome.value().map(number::figure).unwrap_or_default();
        let word = Cell::new(outcome.word());
        let word = match outcome {
            Outcome::Ok(_) => word.fg(Color::Green),
            Outcome::Short(_) => word.fg(Color::Red),
            Outcome::NotMeasured => word,
        };
        table.add_row([Cell::new(bar.name), Cell::new(measured), Cell::new(bar.bound), word]);
    }
    format!("\nBARS: costs by their minimum, rates and times by their median\n\n{}", lines(&table))
}

/// An empty table with columns of these widths.
pub(super) fn table(columns: &[(&str, u16)]) -> Table {
    debug_assert!(columns.iter().map(|(_, width)| width).sum::<u16>() <= WIDTH);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(columns.iter().map(|(heading, _)| heading.trim_start_matches('>')));
    for (i, (heading, width)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            column.set_padding((0, 1)).set_constraint(ColumnConstraint::Absolute(Width::Fixed(*width)));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// Without the blanks that fill columns up.
pub(super) fn lines(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bars::BARS,
        output::results::tests::{example, figure},
    };

    #[test]
    fn every_figure_is_there_below_its_section_and_case_and_fits() {
        let mut results = example();
        results.figures.push(figure(
            ["services", "cpu", "nftables-dnat", "cpu-per-10k-connections"],
            Some(1 << 22),
            "s/10k connections",
            1e9,
        ));
        let text = figures(&results);
        // Columns are as wide as what is in them.
        let words: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in ["SERVICES", "new-connections", "evenkeel 1_048_576 net 20"] {
            assert!(words.iter().any(|found| found.starts_with(line)), "{line}\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
    }

    #[test]
    fn each_bar_has_one_line_that_says_how_it_stands() {
        let text = bars(BARS, &example());
        let stands = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(stands("TCP4 hit, 1 flow").ends_with("1.20 ≤ 1.35 ok"), "{text}");
        assert!(stands("TCP4 hit, 1 M flows").ends_with("0.0800 ≤ 0.25 ok"), "{text}");
        assert!(stands("flow scan").ends_with("not measured"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
    }
}
