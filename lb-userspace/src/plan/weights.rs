//! Weights for new flows, of backends that have their whole share and of those that begin, of one group or of several.

use std::collections::BTreeMap;

use super::{
    desired::{BackendKey, Inputs, backend_key},
    takers::{Group, Takers, WHOLE, own_weight},
};
use crate::config::model::{Backend, Service, SlotKind};

/// The most that weights are multiplied by, so that small ones have parts.
const FINEST: u32 = 100;
/// The largest weight that there is.
const LARGEST: u32 = u16::MAX as u32;
/// The sum of weights of several groups. It is always the same, so that a backend whose part of all flows stays has the weight that it
/// had: its slots stay, too.
const SUM: u32 = 1 << 24;
/// The same of schedulers that divide by weight in whole numbers of 24 bits.
const SUM_OF_SCORED: u32 = 1 << 16;

/// How the weights of a service are counted at present.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// What its slots are: in turn, but not all the same number of turns, while one begins or several groups take flows.
    pub(super) slot_kind: SlotKind,
    /// By backend that takes flows.
    of: BTreeMap<BackendKey, u32>,
}

impl Weights {
    pub(super) fn of(service: &Service, inputs: &Inputs, takers: &Takers) -> Self {
        let slot_kind = service.scheduler.kind.table();
        let begins = takers.keys().any(|key| inputs.slow_start.contains_key(&key));
        let is_grouped = takers.taking().count() > 1;
        let uneven = if slot_kind == SlotKind::Turns { SlotKind::WeightedTurns } else { slot_kind };
        let backends: BTreeMap<BackendKey, &Backend> =
            service.backends.iter().map(|backend| (backend_key(backend), backend)).collect();
        let own = |key: BackendKey| own_weight(service, inputs.weight(backends[&key]));
        // In thousandths while somebody begins.
        let begun = |key: BackendKey| inputs.slow_start.get(&key).map_or(1000, |share| u32::from(*share));
        if is_grouped {
            let sum = if service.scheduler.kind.pick().is_by_score() { SUM_OF_SCORED } else { SUM };
            let of = takers.taking().flat_map(|group| parts(group, sum, |key| u64::from(own(key) * begun(key))));
            return Self { slot_kind: uneven, of: of.collect() };
        }
        if !begins {
            return Self { slot_kind, of: takers.keys().map(|key| (key, own(key))).collect() };
        }
        let scale = (LARGEST / takers.keys().map(own).max().unwrap_or(1).max(1)).clamp(1, FINEST);
        let weight = |key| (own(key) * scale * begun(key) / 1000).max(1);
        Self { slot_kind: uneven, of: takers.keys().map(|key| (key, weight(key))).collect() }
    }

    /// The weight of a backend; 0 if it takes no flows.
    pub(super) fn weight(&self, backend: &BackendKey) -> u32 {
        self.of.get(backend).copied().unwrap_or(0)
    }
}

/// A group's share of `sum` among its backends, by their weights; each has some.
fn parts(group: &Group, sum: u32, weight: impl Fn(BackendKey) -> u64) -> Vec<(BackendKey, u32)> {
    let all: u128 = group.takers.iter().map(|key| u128::from(weight(*key))).sum();
    let share = u128::from(group.share) * u128::from(sum);
    let divisor = u128::from(WHOLE) * all.max(1);
    // Rounded, and of shares that are finer than weights: how a share was rounded must not show in the weight of a backend that keeps its
    // part.
    let part = |key: &BackendKey| ((share * u128::from(weight(*key)) + divisor / 2) / divisor).max(1) as u32;
    group.takers.iter().map(|key| (*key, part(key))).collect()
}
