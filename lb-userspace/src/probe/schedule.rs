//! When which target is due, and how starts are spread.

use std::{collections::BTreeSet, time::Duration};

use rand::Rng;
use tokio::time::Instant;

use super::Target;

/// The longest a new target waits for its first probe, if there are few.
const SHORTEST_SPREAD: Duration = Duration::from_millis(100);
/// Time for one more first probe, if there are many.
const FIRST_PROBE: Duration = Duration::from_micros(100);

/// So much earlier than it is due a probe may begin, together with others: waking up for each of thousands costs more than they do.
pub(super) const TOGETHER: Duration = Duration::from_millis(10);

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

    /// Takes out one target that is due at `now`, and since when it is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Target)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first()
    }
}

/// The wait before the first probe of a target: short, but not the same for all of the `count` that are added together.
pub(super) fn first_wait(interval: Duration, count: usize, rng: &mut impl Rng) -> Duration {
    let many = FIRST_PROBE.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    SHORTEST_SPREAD.min(interval / 10).max(many).min(interval).mul_f64(rng.random_range(0.0..1.0))
}

/// The time from the first start to the second: anything up to the interval, so that starts lie all over it from then on. (The
/// jitter alone would take an hour for that.)
pub(super) fn second_wait(interval: Duration, rng: &mut impl Rng) -> Duration {
    interval.mul_f64(rng.random_range(0.0..=1.0))
}

/// When a probe counts as begun that is begun at `now` and was due at `due`: after a standstill of this process starts lie where they
/// would without it, and not all at once for ever after.
pub(super) fn begun(due: Instant, now: Instant, interval: Duration) -> Instant {
    let late = now.saturating_duration_since(due).as_nanos() % interval.as_nanos().max(1);
    // Less than the interval, which is an hour at most.
    now.max(due) - Duration::from_nanos(late as u64)
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
            prop_assert!(first_wait(interval, 100, &mut rng) <= interval / 10);
            prop_assert!(first_wait(interval, usize::MAX, &mut rng) <= interval);
            prop_assert!(second_wait(interval, &mut rng) <= interval);
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
        assert_eq!((schedule.pop(now), schedule.pop(now)), (Some((now, target(2))), None));
        assert_eq!(schedule.next(), Some(later));
        assert_eq!(schedule.pop(later + Duration::from_secs(1)), Some((later, target(1))));
    }

    #[test]
    fn a_standstill_moves_no_start_within_the_interval() {
        let (due, interval) = (Instant::now(), Duration::from_secs(2));
        for (late, expected) in [(0, 0), (300, 0), (1999, 0), (2000, 2000), (7100, 6000)] {
            let [late, expected] = [late, expected].map(Duration::from_millis);
            assert_eq!(begun(due, due + late, interval), due + expected, "{late:?}");
        }
        assert_eq!(begun(due, due - TOGETHER, interval), due, "one that begins early is not early for ever");
    }
}
