//! Slow start: a backend that begins to take flows gets its full share step by step. Backends that begin together, as those of a new
//! service do, have equal shares all the while.

use std::{collections::BTreeMap, time::SystemTime};

use super::Reconciler;
use crate::{
    config::model::{Service, SlowStart},
    plan::{
        desired::{BackendKey, ServiceKey, backend_key},
        takers::takers,
    },
};

/// Steps to the full share: each is a change of the service's slots.
const STEPS: u16 = 20;
/// The whole share.
const WHOLE: u16 = 1000;

/// When backends began, as long as they have not their full share.
#[derive(Debug, Default)]
pub(super) struct SlowStarts(BTreeMap<ServiceKey, BTreeMap<BackendKey, Begun>>);

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: SystemTime,
    /// The share that it was last given.
    share: u16,
}

impl SlowStarts {
    /// The shares of a service's backends that have not their full one, in parts of [`WHOLE`].
    pub(super) fn shares(&self, key: &ServiceKey) -> BTreeMap<BackendKey, u16> {
        let of = self.0.get(key);
        of.into_iter().flatten().map(|(backend, begun)| (*backend, begun.share)).collect()
    }
}

/// The share of a backend that began at a time.
fn share_at(slow_start: SlowStart, begun: SystemTime, now: SystemTime) -> u16 {
    // A clock that was set back begins anew.
    let past = now.duration_since(begun).unwrap_or_default().as_secs_f64();
    let part = (past / slow_start.duration.as_secs_f64()).clamp(0.0, 1.0).powi(i32::from(slow_start.exponent));
    let steps = (part * f64::from(STEPS)).floor() as u16;
    steps.max(1) * (WHOLE / STEPS)
}

impl Reconciler {
    /// Whether a backend has not its whole share.
    pub(super) fn has_slow_starts(&self) -> bool {
        !self.slow_starts.0.is_empty()
    }

    /// The share of a backend that has not its whole one, in percent.
    pub(super) fn slow_start_percent(&self, key: &ServiceKey, backend: &BackendKey) -> Option<u8> {
        let begun = self.slow_starts.0.get(key)?.get(backend)?;
        u8::try_from(begun.share / (WHOLE / 100)).ok()
    }

    /// Concerns the services with a share that is due to grow.
    pub(super) fn concern_slow_starts(&mut self, now: SystemTime) {
        if self.slow_starts.0.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        let by_key: BTreeMap<_, _> = self
            .effective
            .services
            .iter()
            .enumerate()
            .map(|(index, service)| (ServiceKey::of(service), index))
            .collect();
        for (key, backends) in &mut self.slow_starts.0 {
            let slow_start = by_key.get(key).and_then(|index| self.effective.services[*index].slow_start);
            let before = backends.len();
            let mut grows = false;
            match slow_start {
                Some(slow_start) => backends.retain(|_, begun| {
                    begun.at = begun.at.min(now);
                    let share = share_at(slow_start, begun.at, now);
                    grows |= share != begun.share;
                    begun.share = share;
                    share < WHOLE
                }),
                None => backends.clear(),
            }
            if let Some(index) = by_key.get(key).filter(|_| grows || backends.len() != before) {
                self.concerned.add(*index as u32);
            }
            if backends.is_empty() {
                gone.push(*key);
            }
        }
        for key in gone {
            self.slow_starts.0.remove(&key);
        }
    }

    /// Takes note of the backends of concerned services that are about to begin.
    pub(super) fn update_slow_starts(&mut self, now: SystemTime) {
        let indices: Vec<u32> = match &self.concerned {
            super::users::Concerned::All => (0..self.effective.services.len() as u32).collect(),
            super::users::Concerned::Some(some) => some.iter().copied().collect(),
        };
        for index in indices {
            let service = &self.effective.services[index as usize];
            if let Some(slow_start) = service.slow_start {
                let (key, begin, end) = self.beginning(service, now);
                let begun = self.slow_starts.0.entry(key).or_default();
                begun.retain(|backend, _| !end.contains(backend));
                for backend in begin {
                    begun.entry(backend).or_insert(Begun { at: now, share: share_at(slow_start, now, now) });
                }
                if begun.is_empty() {
                    self.slow_starts.0.remove(&key);
                }
            }
        }
    }

    /// The backends that take flows from now on, and those that take none now.
    fn beginning(&self, service: &Service, now: SystemTime) -> (ServiceKey, Vec<BackendKey>, Vec<BackendKey>) {
        let key = ServiceKey::of(service);
        let inputs = self.inputs(service, self.runtime.services.get(&service.name), now);
        let takers = takers(service, &inputs);
        let known = self.actual.services.get(&key);
        let takes_already = |backend: &BackendKey| {
            let id = known.and_then(|known| known.backends.get(backend));
            id.and_then(|id| self.actual.destinations.get(id)).is_some_and(|found| found.state.takes_flows)
        };
        let begin = takers.keys().filter(|backend| !takes_already(backend)).collect();
        let all = service.backends.iter().map(backend_key);
        let not = all.filter(|backend| !takers.contains(backend)).collect();
        (key, begin, not)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn shares_grow_to_the_whole() {
        let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let share = |exponent, seconds: u64| {
            let slow_start = SlowStart { duration: Duration::from_secs(100), exponent };
            share_at(slow_start, begun, begun + Duration::from_secs(seconds))
        };
        assert_eq!([0, 1, 10, 50, 99, 100, 1000].map(|s| share(1, s)), [50, 50, 100, 500, 950, 1000, 1000]);
        assert_eq!([0, 50, 99, 100].map(|s| share(2, s)), [50, 250, 950, 1000]);
        let slow_start = SlowStart { duration: Duration::from_secs(100), exponent: 1 };
        assert_eq!(share_at(slow_start, begun, begun - Duration::from_secs(5)), 50);
    }
}
