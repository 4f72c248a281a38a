//! The results as a table, for the terminal and for docs/schedulers.md.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};
use evenkeel::config::model::SchedulerKind;

use super::{SECTION, case, peaks, shares};
use crate::figure::Figure;

const BEGIN: &str = "<!-- begin: cargo xtask bench --schedulers --write-docs -->\n";
const END: &str = "<!-- end -->\n";

/// The tables; `None` if the section did not run.
pub(crate) fn tables(figures: &[Figure]) -> Option<String> {
    let own: Vec<&Figure> = figures.iter().filter(|figure| figure.section == SECTION.name).collect();
    if own.is_empty() {
        return None;
    }
    let value = |case: &str, subject: &str, quantity: &str| {
        let is = |figure: &&&Figure| figure.case == case && figure.subject == subject && figure.quantity == quantity;
        own.iter().find(is).map(|figure| figure.median)
    };
    let mut text = String::from("| share furthest off |");
    shares::BACKENDS.iter().for_each(|number| put(&mut text, &format!(" {number} backends |")));
    text += "\n|---|";
    text += &"---|".repeat(shares::BACKENDS.len());
    for kind in SchedulerKind::all() {
        put(&mut text, &format!("\n| `{}` |", kind.name()));
        for number in shares::BACKENDS {
            let of = |quantity| value(&case(shares::CASE, number), kind.name(), quantity);
            match (of(shares::OFF), of(shares::MAY_BE)) {
                (Some(off), Some(may_be)) => put(&mut text, &format!(" {off:.1} % (≤ {may_be:.1}) |")),
                _ => text += " |",
            }
        }
    }
    text += "\n\n| most flows above average |";
    peaks::BACKENDS.iter().for_each(|number| put(&mut text, &format!(" {number} backends | theory |")));
    text += "\n|---|";
    text += &"---|---|".repeat(peaks::BACKENDS.len());
    for kind in peaks::KINDS {
        put(&mut text, &format!("\n| `{}` |", kind.name()));
        for number in peaks::BACKENDS {
            let of = |quantity| value(&case(peaks::CASE, number), kind.name(), quantity);
            match (of(peaks::ABOVE), of(peaks::THEORY)) {
                (Some(above), Some(theory)) => put(&mut text, &format!(" {above:.1} | {theory:.1} |")),
                _ => text += " | |",
            }
        }
    }
    Some(text + "\n")
}

fn put(text: &mut String, more: &str) {
    let _ = text.write_str(more);
}

/// Writes the tables where the document has them.
///
/// # Errors
///
/// If the section did not run in its long form, or the document has no place for its tables.
pub(crate) fn write(figures: &[Figure], document: &Path) -> Result<()> {
    let tables = tables(figures).context("--write-docs wants the section `schedulers`")?;
    ensure!(!tables.contains(" | |"), "--write-docs wants the long form: leave `--short` out");
    let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let (before, after) = around(&text).with_context(|| format!("{} has no {BEGIN}", document.display()))?;
    fs::write(document, format!("{before}{BEGIN}{tables}{END}{after}")).with_context(|| document.display().to_string())
}

/// What stands before and after the tables.
fn around(text: &str) -> Option<(&str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Name;

    const DOCUMENT: &str = include_str!("../../../docs/schedulers.md");

    fn example() -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |case: &str, kind: SchedulerKind, quantity| {
            let name = Name { section: SECTION.name, case, subject: kind.name(), quantity, flows: None };
            figures.push(Figure::of(name, "", &[2.5]));
        };
        for kind in SchedulerKind::all() {
            for number in shares::BACKENDS {
                [shares::OFF, shares::MAY_BE]
                    .into_iter()
                    .for_each(|quantity| add(&case(shares::CASE, number), kind, quantity));
            }
        }
        for kind in peaks::KINDS {
            for number in peaks::BACKENDS {
                [peaks::ABOVE, peaks::THEORY]
                    .into_iter()
                    .for_each(|quantity| add(&case(peaks::CASE, number), kind, quantity));
            }
        }
        figures
    }

    #[test]
    fn the_tables_have_every_scheduler_and_fit_a_terminal() {
        let text = tables(&example()).expect("the section ran");
        for kind in SchedulerKind::all() {
            assert!(text.contains(&format!("| `{}` | 2.5 % (≤ 2.5) |", kind.name())), "{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(tables(&[]), None);
    }

    #[test]
    fn the_document_has_a_row_for_every_scheduler() {
        let (before, after) = around(DOCUMENT).expect("it has the marks");
        let tables = &DOCUMENT[before.len()..DOCUMENT.len() - after.len()];
        for kind in SchedulerKind::all() {
            let row = tables.lines().find(|line| line.starts_with(&format!("| `{}` |", kind.name())));
            let cells = row.expect("a row").split('|').filter(|cell| cell.contains('%')).count();
            assert_eq!(cells, shares::BACKENDS.len(), "{}", kind.name());
        }
    }

    #[test]
    fn only_the_tables_are_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("document.md");
        fs::write(&path, format!("before\n{BEGIN}old\n{END}after\n")).expect("it is ours");
        write(&example(), &path).expect("everything is there");
        let text = fs::read_to_string(&path).expect("it is ours");
        assert!(text.starts_with("before\n") && text.ends_with("after\n") && !text.contains("old"), "{text}");
        let some: Vec<Figure> =
            example().into_iter().filter(|figure| figure.case != case(shares::CASE, shares::BACKENDS[1])).collect();
        let error = write(&some, &path).expect_err("a part is missing").to_string();
        assert!(error.contains("--short"), "{error}");
    }
}
