//! Health: what consecutive probe results make of a backend.
//!
//! Everything here is pure: results and the time go in, a state comes out. `crate::probe` is the shell around it.
//!
//! ```text
//!              rise successes in a row              fall failures in a row
//!   unknown ────────────────────────────▶ up ◀──────────────────────────────▶ down
//!      └──────────────────── fall failures in a row ─────────────────────────▶
//! ```

use std::{
    fmt,
    time::{Duration, SystemTime},
};

mod machine;
#[cfg(test)]
mod properties;

pub use machine::{Machine, Rules};

/// What the probes say about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Too few results since it was added.
    Unknown,
    /// Answers.
    Up,
    /// Does not answer.
    Down,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// How a single probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered after this time.
    Success(Duration),
    /// The target did not answer as it should: why, in the words of an operator.
    Failure(String),
    /// The probe could not be made, for a reason that lies with this node (no file descriptor, no local port).
    /// It says nothing about the target and counts neither way.
    Inconclusive(String),
}

/// The newest result of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastResult {
    /// When the probe ended, for display.
    pub at: SystemTime,
    /// How it ended.
    pub outcome: Outcome,
}

impl LastResult {
    /// Time to the answer, if there was one.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Success(latency) => Some(latency),
            Outcome::Failure(_) | Outcome::Inconclusive(_) => None,
        }
    }

    /// Why there was no answer, if there was none.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Success(_) => None,
            Outcome::Failure(error) | Outcome::Inconclusive(error) => Some(error),
        }
    }
}

/// How far a target is on its way to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Successes in a row up to now; 0 after a failure. Goes on counting while the target is up.
    pub successes: u32,
    /// Successes in a row that bring it up.
    pub rise: u32,
    /// Failures in a row up to now; 0 after a success. Goes on counting while the target is down.
    pub failures: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
}
