//! What became of each line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::values::shown;

/// What became of a line, from least to most to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It says nothing: empty, or a comment.
    Blank,
    /// It is for something that is no balancer, such as VRRP.
    NotOurs,
    /// It means the same here.
    Taken,
    /// It means nearly the same here, as the row says.
    Changed,
    /// Nothing here does it.
    NoCounterpart,
}

impl Outcome {
    /// As tables show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::NotOurs => "not ours",
            Self::Taken => "taken",
            Self::Changed => "changed",
            Self::NoCounterpart => "no counterpart",
        }
    }
}

/// A place in one of the files that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Which file, in the order of reading.
    pub(super) file: usize,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
}

/// A line and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// The line, without the blanks around it.
    pub text: String,
    /// How it was changed, or why it has no counterpart and what to do; may be empty.
    pub note: String,
}

/// How many lines had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All lines of all files.
    pub lines: usize,
    /// Those that mean the same here.
    pub taken: usize,
    /// Those that mean nearly the same.
    pub changed: usize,
    /// Those that nothing here does.
    pub no_counterpart: usize,
    /// Those for something that is no balancer.
    pub not_ours: usize,
    /// Those that say nothing.
    pub blank: usize,
}

/// A row for each line that was read, and what was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many lines had which outcome.
    pub counts: Counts,
    /// Services and backends that were written.
    pub services: usize,
    /// Backends of all services.
    pub backends: usize,
    /// The lines of all files, in the order of reading.
    pub rows: Vec<Row>,
    /// What the configuration says and no line did.
    pub added: Vec<String>,
}

impl Report {
    /// Whether a line was changed or has no counterpart.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        self.counts.changed + self.counts.no_counterpart > 0
    }
}

/// A file that was read.
struct Source {
    name: String,
    lines: Vec<String>,
}

/// Notes about lines as they come.
#[derive(Default)]
pub(super) struct Ledger {
    sources: Vec<Source>,
    notes: BTreeMap<(usize, u32), Vec<(Outcome, String)>>,
    added: Vec<String>,
}

impl Ledger {
    /// Adds a file and gives its number; `is_blank` tells the lines that say nothing.
    pub(super) fn file(&mut self, name: &str, text: &str, is_blank: impl Fn(&str) -> bool) -> usize {
        let file = self.sources.len();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| is_blank(line)) {
            self.note(Place { file, line: index as u32 + 1, column: 1 }, Outcome::Blank, "");
        }
        self.sources.push(Source { name: name.to_owned(), lines });
        file
    }

    /// The name of the file of a place.
    pub(super) fn name(&self, at: Place) -> &str {
        self.sources.get(at.file).map_or("", |source| &source.name)
    }

    /// Notes what became of (a part of) a line.
    pub(super) fn note(&mut self, at: Place, outcome: Outcome, note: impl Into<String>) {
        let (notes, note) = (self.notes.entry((at.file, at.line)).or_default(), (outcome, note.into()));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub(super) fn taken(&mut self, at: Place) {
        self.note(at, Outcome::Taken, "");
    }

    pub(super) fn changed(&mut self, at: Place, note: impl Into<String>) {
        self.note(at, Outcome::Changed, note);
    }

    pub(super) fn no_counterpart(&mut self, at: Place, note: impl Into<String>) {
        self.note(at, Outcome::NoCounterpart, note);
    }

    /// Notes what the configuration says and no line did.
    pub(super) fn added(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.added.contains(&note) {
            self.added.push(note);
        }
    }

    /// The report; a line that nobody noted anything of is one that has no counterpart.
    pub(super) fn report(self, services: usize, backends: usize) -> Report {
        let (mut rows, mut counts) = (Vec::new(), Counts::default());
        for (file, source) in self.sources.iter().enumerate() {
            for (index, text) in source.lines.iter().enumerate() {
                let line = index as u32 + 1;
                let (outcome, note) = outcome(self.notes.get(&(file, line)).map_or(&[], Vec::as_slice));
                let text = shown(text.trim());
                rows.push(Row { file: source.name.clone(), line, outcome, text, note: shown(&note) });
            }
        }
        for row in &rows {
            counts.lines += 1;
            *match row.outcome {
                Outcome::Blank => &mut counts.blank,
                Outcome::NotOurs => &mut counts.not_ours,
                Outcome::Taken => &mut counts.taken,
                Outcome::Changed => &mut counts.changed,
                Outcome::NoCounterpart => &mut counts.no_counterpart,
            } += 1;
        }
        Report { counts, services, backends, rows, added: self.added }
    }
}

/// Of several notes the one that says the most decides, and all are told.
fn outcome(notes: &[(Outcome, String)]) -> (Outcome, String) {
    let Some(worst) = notes.iter().map(|(outcome, _)| *outcome).max() else {
        return (Outcome::NoCounterpart, "not known here; look whether it matters".to_owned());
    };
    let told = notes.iter().filter(|(_, note)| !note.is_empty()).map(|(_, note)| note.as_str());
    (worst, told.collect::<Vec<_>>().join(". "))
}
