//! Checks of single values. Each notes what is wrong and then gives `None`.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::super::{
    field::{Field, Time, Whole},
    problem::{Findings, Position},
};

/// The value of a key that must be given in `parent`.
pub(super) fn required<'a, T>(
    findings: &mut Findings,
    field: &'a Field<T>,
    parent: Position,
    key: &str,
) -> Option<&'a T> {
    if !field.is_given() {
        findings.add(parent, format!("`{key}` is missing"), format!("add `{key}`"));
    }
    field.get()
}

/// The first of two that was given: a service's own before the default.
pub(super) fn pick<'a, T>(own: &'a Field<T>, default: &'a Field<T>) -> &'a Field<T> {
    if own.is_given() { own } else { default }
}

/// A whole number in a range.
pub(super) fn whole<T: TryFrom<i64>>(
    findings: &mut Findings,
    field: &Field<Whole>,
    key: &str,
    range: RangeInclusive<i64>,
) -> Option<T> {
    let &Whole(value) = field.get()?;
    if !range.contains(&value) {
        let remedy = format!("use {} to {}", range.start(), range.end());
        findings.add(field.at(), format!("`{key}` {value} is out of range"), remedy);
        return None;
    }
    T::try_from(value).ok()
}

/// A length of time in a range.
pub(super) fn time(
    findings: &mut Findings,
    field: &Field<Time>,
    key: &str,
    range: RangeInclusive<Duration>,
) -> Option<Duration> {
    let &Time(value) = field.get()?;
    if range.contains(&value) {
        return Some(value);
    }
    let show = humantime::format_duration;
    let remedy = format!("use {} to {}", show(*range.start()), show(*range.end()));
    findings.add(field.at(), format!("`{key}` {} is out of range", show(value)), remedy);
    None
}

/// An absolute path.
pub(super) fn path(findings: &mut Findings, field: &Field<String>, key: &str) -> Option<PathBuf> {
    let text = field.get()?;
    let (reason, remedy) = if !Path::new(text).is_absolute() {
        (format!("`{key}` is not an absolute path"), "begin it with `/`")
    } else if text.chars().any(char::is_control) {
        (format!("`{key}` holds a control character"), "remove it")
    } else {
        return Some(PathBuf::from(text));
    };
    findings.add(field.at(), reason, remedy);
    None
}

/// A name of a service or a backend: they are labels of metrics and parts of addresses of the API.
pub(super) fn name(findings: &mut Findings, text: &str, at: Position, key: &str) -> Option<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let (reason, remedy) = if text.is_empty() {
        (format!("`{key}` is empty"), "give a name")
    } else if text.len() > 63 {
        (format!("`{key}` is longer than 63 characters"), "shorten it")
    } else if !text.chars().all(allowed) || !text.starts_with(|letter: char| letter.is_ascii_alphanumeric()) {
        let remedy = "use letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
        (format!("`{key}` `{text}` holds other characters than a name may"), remedy)
    } else {
        return Some(text.to_owned());
    };
    findings.add(at, reason, remedy);
    None
}

/// A program by its absolute path, and its arguments.
pub(super) fn command(
    findings: &mut Findings,
    words: &[Field<String>],
    at: Position,
    key: &str,
) -> Option<Vec<String>> {
    let Some(program) = words.first() else {
        findings.add(at, format!("`{key}` is empty"), "give a program and its arguments");
        return None;
    };
    path(findings, program, key)?;
    if let Some(word) = words.iter().find(|word| word.get().is_some_and(|text| text.contains('\0'))) {
        findings.add(word.at(), format!("`{key}` holds a zero octet"), "remove it");
        return None;
    }
    // A word that cannot be read was noted.
    words.iter().map(|word| word.get().cloned()).collect()
}
