//! Health: what consecutive probe results make of a backend.
//!
//! Everything here is pure: results and the time go in, a state comes out. `crate::probe` is the shell around it.
//!
//! ```text
//!              rise successes in a row              fall failures in a row
//!   unknown ────────────────────────────▶ up ◀──────────────────────────────▶ down
//!      └──────────────────── fall failures in a row ─────────────────────────▶
//! ```
//!
//! A target that does not stay up may be held down for a while, whatever its probes say
//! ([`Damping`](crate::config::model::Damping)).

use std::{
    fmt,
    time::{Duration, SystemTime},
};

mod machine;
pub mod passive;
#[cfg(test)]
mod properties;
pub mod quorum;

pub use machine::{HISTORY, Machine, Rules};

/// A moment, for counting and for showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By a clock that nobody sets, since whatever began then.
    pub clock: Duration,
    /// The time of day.
    pub shown: SystemTime,
}

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
    /// The target answered as it should.
    Success(Answer),
    /// The target did not answer as it should: why, in the words of an operator.
    Failure(String),
    /// The probe could not be made, for a reason that lies with this node (no file descriptor, no local port).
    /// It says nothing about the target and counts neither way.
    Inconclusive(String),
}

/// A good answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Time to the answer; `None` where silence is the answer.
    pub latency: Option<Duration>,
    /// What the target said of itself.
    pub advice: Advice,
}

/// What a target says of itself: in an answer only what is new, else all that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Its weight in percent of the configured one, 0 to 255.
    pub weight_percent: Option<u8>,
    /// What should become of it.
    pub wants: Option<Wants>,
}

/// What a target wants to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wants {
    /// Flows as ever: neither of the others any more.
    Ready,
    /// No new flows; present ones go on.
    Drain,
    /// No flows at all.
    Maintenance,
}

impl Wants {
    /// Its name in output, the word of an agent.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maint",
        }
    }
}

impl Advice {
    /// What holds after an answer: what it did not speak of stays.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        let wants = self.wants.or(before.wants).filter(|wants| *wants != Wants::Ready);
        Self { weight_percent: self.weight_percent.or(before.weight_percent), wants }
    }

    /// The share of a configured weight. A percentage above 0 leaves no weight at 0.
    #[must_use]
    pub fn weight(self, configured: u16) -> u16 {
        let Some(percent) = self.weight_percent else { return configured };
        let weight = (u32::from(configured) * u32::from(percent)).div_ceil(100);
        u16::try_from(weight).unwrap_or(u16::MAX)
    }
}

/// A change of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When, for display.
    pub at: SystemTime,
    /// The status that was entered.
    pub status: Status,
    /// Why.
    pub reason: String,
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
            Outcome::Success(answer) => answer.latency,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_scales_the_weight_and_only_zero_makes_it_zero() {
        for (configured, percent, expected) in [
            (100, None, 100),
            (100, Some(50), 50),
            (1, Some(1), 1),
            (0, Some(100), 0),
            (10, Some(0), 0),
            (3, Some(150), 5),
            (u16::MAX, Some(200), u16::MAX),
        ] {
            let advice = Advice { weight_percent: percent, wants: None };
            assert_eq!(advice.weight(configured), expected, "{percent:?} of {configured}");
        }
    }

    #[test]
    fn what_an_answer_does_not_speak_of_stays() {
        let drain = Advice { weight_percent: None, wants: Some(Wants::Drain) }.after(Advice::default());
        let half = Advice { weight_percent: Some(50), wants: None }.after(drain);
        assert_eq!(half, Advice { weight_percent: Some(50), wants: Some(Wants::Drain) });
        let ready = Advice { weight_percent: None, wants: Some(Wants::Ready) }.after(half);
        assert_eq!(ready, Advice { weight_percent: Some(50), wants: None });
    }
}
