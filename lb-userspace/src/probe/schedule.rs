//! When which target is due, and how starts are spread.

use std::{collections::BTreeSet, time::Duration};

use rand::Rng;
use tokio::time::Instant;

use super::Target;

/// The longest a new target waits for its first probe.
const LONGEST_SPREAD: Duration = Duration::from_millis(100);

/// Targets in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeSet<(Instant, Target)>);

impl Schedule {
    pub(super) fn add(&mut self, at: Instant, target: Target) {
        self.0.insert((at, target));
    }

    pub(super) fn remove(&mut self, at: Instant, target: Target) {
        self.0.remove(&(at, target));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out one target that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Target> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, target)| target)
    }
}

/// The wait before the first probe of a target: short, but not the same for all that were added together.
pub(super) fn first_wait(interval: Duration, rng: &mut impl Rng) -> Duration {
    LONGEST_SPREAD.min(interval / 10).mul_f64(rng.random_range(0.0..1.0))
}

/// The time from one start to the next: 90 to 100 % of the interval.
///
/// The jitter only shortens, so that a backend that dies is down after at most fall × interval + timeout.
pub(super) fn jittered(interval: Duration, rng: &mut impl Rng) -> Duration {
    interval.mul_f64(rng.random_range(0.9..=1.0))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    proptest! {
        #[test]
        fn jitter_only_shortens_and_by_a_tenth_at_most(seed: u64, milliseconds in 100u64..3_600_000) {
            let interval = Duration::from_millis(milliseconds);
            let mut rng = StdRng::seed_from_u64(seed);
            let wait = jittered(interval, &mut rng);
            prop_assert!(wait <= interval && wait >= interval.mul_f64(0.9), "{wait:?} of {interval:?}");
            prop_assert!(first_wait(interval, &mut rng) <= interval / 10);
        }
    }

    #[test]
    fn targets_come_out_when_due_and_in_order() {
        let target = |port| Target::tcp(Ipv4Addr::LOCALHOST.into(), port);
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut schedule = Schedule::default();
        schedule.add(later, target(1));
        schedule.add(now, target(2));
        schedule.add(now, target(3));
        schedule.remove(now, target(3));
        assert_eq!((schedule.pop(now), schedule.pop(now)), (Some(target(2)), None));
        assert_eq!(schedule.next(), Some(later));
        assert_eq!(schedule.pop(later), Some(target(1)));
    }
}
