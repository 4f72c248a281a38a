//! Whether enough backends of a service can take flows. Two thresholds, so that one backend that comes and goes at the edge changes
//! nothing.
//!
//! ```text
//!              up or more
//!   unknown ─────────────▶ met ─┐
//!      │                    ▲   │ fewer than down
//!      │ all probed, and    │   ▼
//!      └─ fewer than up ──▶ lost
//! ```

use crate::config::model::{Level, Quorum};

/// What holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Some backends have not been probed often enough to tell.
    #[default]
    Unknown,
    /// There are enough.
    Met,
    /// There are not.
    Lost,
}

impl Standing {
    /// Its name in output and hooks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Met => "met",
            Self::Lost => "lost",
        }
    }
}

/// The backends of a service, backups aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that can take flows: healthy, enabled and with a weight.
    pub able: u32,
    /// All of them.
    pub all: u32,
    /// The weights of those that can.
    pub able_weight: u64,
    /// The weights of all as configured.
    pub weight: u64,
    /// Enabled ones that have not been probed often enough to tell.
    pub unknown: u32,
}

impl Count {
    fn reaches(&self, level: Level) -> bool {
        match level {
            Level::Backends(count) => self.able >= count,
            Level::Percent(percent) => self.able > 0 && self.able_weight * 100 >= self.weight * u64::from(percent),
        }
    }
}

/// What holds after `before`.
#[must_use]
pub fn after(quorum: &Quorum, before: Standing, count: &Count) -> Standing {
    let threshold = if before == Standing::Met { quorum.down } else { quorum.up };
    match before {
        _ if count.reaches(threshold) => Standing::Met,
        Standing::Unknown if count.unknown > 0 => Standing::Unknown,
        _ => Standing::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(able: u32) -> Count {
        Count { able, all: 4, able_weight: u64::from(able) * 10, weight: 40, unknown: 0 }
    }

    fn walk(quorum: Quorum, counts: &[u32]) -> Vec<&'static str> {
        let mut standing = Standing::Unknown;
        let step = |able: &u32| {
            standing = after(&quorum, standing, &of(*able));
            standing.name()
        };
        counts.iter().map(step).collect()
    }

    #[test]
    fn between_the_thresholds_nothing_changes() {
        let quorum = Quorum { up: Level::Backends(3), down: Level::Backends(2) };
        assert_eq!(walk(quorum, &[2, 3, 2, 1, 2, 3]), ["lost", "met", "met", "lost", "lost", "met"]);
    }

    #[test]
    fn percent_are_those_of_the_weights() {
        let quorum = Quorum { up: Level::Percent(75), down: Level::Percent(50) };
        assert_eq!(walk(quorum, &[3, 2, 1, 2, 3]), ["met", "met", "lost", "lost", "met"]);
        let heavy = Count { able: 1, all: 4, able_weight: 30, weight: 40, unknown: 0 };
        assert_eq!(after(&quorum, Standing::Lost, &heavy), Standing::Met);
    }

    #[test]
    fn it_is_not_lost_before_all_were_probed() {
        let quorum = Quorum { up: Level::Backends(2), down: Level::Backends(2) };
        let some = |able, unknown| Count { unknown, ..of(able) };
        assert_eq!(after(&quorum, Standing::Unknown, &some(1, 1)), Standing::Unknown);
        assert_eq!(after(&quorum, Standing::Unknown, &some(2, 2)), Standing::Met);
        assert_eq!(after(&quorum, Standing::Unknown, &some(1, 0)), Standing::Lost);
        assert_eq!(after(&quorum, Standing::Met, &some(1, 1)), Standing::Lost);
    }
}
