//! What is wrong with a configuration, and where.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in a text; 0:0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Which of several texts, the main one being 0.
    pub(super) file: u16,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
}

impl Position {
    /// This place, or the other if this is none.
    pub(super) fn or(self, other: Self) -> Self {
        if (self.line, self.column) == (0, 0) { other } else { self }
    }
}

/// One thing that is wrong, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The file, if it is not the one that the error names: an included one, or what was applied at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1; 0: no place in a file.
    pub line: u32,
    /// Column in characters, from 1; 0: no place in a file.
    pub column: u32,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Everything that is wrong with a configuration file: at least one problem, in the order of the file.
///
/// Displays as one line `file:line:column: reason; remedy` for each problem, without line and column where a problem
/// has no place in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigError {
    /// The file, as it was named by the caller.
    pub file: String,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let file = problem.file.as_ref().unwrap_or(&self.file);
            match problem {
                Problem { line: 0, .. } => write!(f, "{file}: {problem}")?,
                Problem { line, column, .. } => write!(f, "{file}:{line}:{column}: {problem}")?,
            }
        }
        Ok(())
    }
}

/// Problems as they are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings(Vec<(u16, Problem)>);

impl Findings {
    /// Notes a problem.
    pub(super) fn add(&mut self, at: Position, reason: impl Into<String>, remedy: impl Into<String>) {
        let Position { file, line, column } = at;
        let (reason, remedy) = (shown(&reason.into()), shown(&remedy.into()));
        self.0.push((file, Problem { file: None, line, column, reason, remedy }));
    }

    /// The problems in the order of the file, each once: defaults are looked at again for every service that uses them.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.into_problems_of(&[])
    }

    /// The same for several texts by these names: the main one's first.
    pub(super) fn into_problems_of(mut self, names: &[String]) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        let named = |(file, problem): (u16, Problem)| {
            let file = if file == 0 { None } else { names.get(usize::from(file)).cloned() };
            Problem { file, ..problem }
        };
        self.0.into_iter().map(named).collect()
    }
}

/// Longest reason or remedy, in characters; the longest of ours has a quarter of it, the rest is for quoted values.
const MAX_SHOWN: usize = 600;

/// Text as it may be shown: a quoted value can hold line ends and what moves a terminal's cursor, and be of any length.
fn shown(text: &str) -> String {
    let mut result = String::with_capacity(text.len().min(MAX_SHOWN));
    for (index, letter) in text.chars().enumerate() {
        match letter {
            _ if index == MAX_SHOWN => {
                result.push('…');
                break;
            }
            _ if letter.is_control() => result.extend(letter.escape_debug()),
            _ => result.push(letter),
        }
    }
    result
}
