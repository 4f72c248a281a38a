//! Passive health: what the packets of clients say about the backends of a service, against each other.
//!
//! Pure: what the data path counted and the time go in, changes come out. [`outliers`] says who stands out, [`Watch`] what becomes of it:
//!
//! ```text
//!            stands out                     time is over, not probed
//!   fine ───────────────▶ ejected ───────────────────────────────────────▶ fine
//!                            │ time is over                                  ▲
//!                            └──────────────▶ waits for a probe ─────────────┘
//!                                                               that succeeds
//! ```
//!
//! With `observe` a backend that stands out is an `outlier` until an interval in which it does not, and takes flows all the while.

mod judge;
#[cfg(test)]
mod properties;
mod watch;

use std::{fmt, time::SystemTime};

use lb_common::abi::PassiveCounters;

pub use judge::{Sample, outliers};
pub use watch::{Change, HISTORY, Standing, Watch};

/// What the data path has counted of a backend since its table was made, or since something earlier ([`Totals::since`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that clients wanted to open.
    pub opened: u64,
    /// Of these: the client went on, so it was answered.
    pub confirmed: u64,
    /// Of these: the client reset it instead, so it was answered too.
    pub aborted: u64,
    /// SYNs repeated without an answer.
    pub repeated: u64,
    /// Connections that the client reset later.
    pub reset: u64,
    /// Connections that the backend refused; in `nat` and `full-nat` only.
    pub refused: u64,
    /// Connections that the backend reset later; in `nat` and `full-nat` only.
    pub broken: u64,
    /// ICMP messages that it cannot be reached; in `nat` and `full-nat` only.
    pub unreachable: u64,
}

impl Totals {
    /// What was counted since an earlier reading.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(before.opened),
            confirmed: self.confirmed.saturating_sub(before.confirmed),
            aborted: self.aborted.saturating_sub(before.aborted),
            repeated: self.repeated.saturating_sub(before.repeated),
            reset: self.reset.saturating_sub(before.reset),
            refused: self.refused.saturating_sub(before.refused),
            broken: self.broken.saturating_sub(before.broken),
            unreachable: self.unreachable.saturating_sub(before.unreachable),
        }
    }

    /// Connections that were answered.
    #[must_use]
    pub const fn answered(self) -> u64 {
        self.confirmed + self.aborted
    }

    /// Connections that were not answered.
    #[must_use]
    pub const fn failed(self) -> u64 {
        self.opened.saturating_sub(self.answered())
    }

    /// Their share, 0 to 1; 0 of none.
    #[must_use]
    pub fn failure(self) -> f64 {
        if self.opened == 0 { 0.0 } else { self.failed() as f64 / self.opened as f64 }
    }
}

impl From<&PassiveCounters> for Totals {
    fn from(counters: &PassiveCounters) -> Self {
        Self {
            opened: counters.opened.get(),
            confirmed: counters.confirmed.get(),
            aborted: counters.aborted.get(),
            repeated: counters.repeated.get(),
            reset: counters.reset.get(),
            refused: counters.refused.get(),
            broken: counters.broken.get(),
            unreachable: counters.unreachable.get(),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} connections were not answered", self.failed(), self.opened)?;
        let further = [
            (self.repeated, "SYNs repeated"),
            (self.refused, "refused"),
            (self.unreachable, "ICMP errors that it cannot be reached"),
        ];
        further.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// What is known of a backend at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Changes when the counters are another backend's from now on.
    pub identity: u64,
    /// What was counted.
    pub totals: Totals,
    /// Its weight.
    pub weight: u32,
    /// It takes new flows, or would if it were not ejected.
    pub able: bool,
    /// The last result of its probe.
    pub probe: LastProbe,
}

/// The last result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastProbe {
    /// It is not probed.
    Unprobed,
    /// There is none yet.
    Pending,
    /// It came then, and was a success or not.
    At(SystemTime, bool),
}
