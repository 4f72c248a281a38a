//! What the sections of the bench have in common.

use std::path::PathBuf;

use anyhow::Result;

use crate::figure::Figure;

/// A part of the bench that can be run by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// Its name on the command line and in results.
    pub(crate) name: &'static str,
    /// What it measures, in one line.
    pub(crate) about: &'static str,
    /// Runs it.
    pub(crate) run: fn(&Run) -> Result<Vec<Figure>>,
}

/// How a run is done.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Only what the bars need, in a few minutes for everything.
    pub(crate) short: bool,
    /// The CPU that everything is pinned to.
    pub(crate) cpu: usize,
    /// Another XDP program to be measured the same way, as a path in a BPF file system.
    pub(crate) program: Option<PathBuf>,
}

impl Run {
    /// Repetitions of a measurement: more where there is time.
    #[must_use]
    pub(crate) fn repetitions(&self) -> usize {
        if self.short { 9 } else { 15 }
    }

    /// Says on standard error what is being done: standard output is for results.
    pub(crate) fn progress(&self, what: &str) {
        eprintln!("  {what}");
    }
}

/// Counts through the measurements of a section, so that one sees how far it is.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    run: &'a Run,
    done: usize,
    total: usize,
}

impl<'a> Steps<'a> {
    /// None of `total` is done.
    pub(crate) const fn new(run: &'a Run, total: usize) -> Self {
        Self { run, done: 0, total }
    }

    /// Says what is done next.
    pub(crate) fn next(&mut self, what: &str) {
        self.done += 1;
        self.run.progress(&format!("{} of {}: {what}", self.done, self.total));
    }
}
