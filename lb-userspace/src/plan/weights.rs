//! Weights for new flows, of backends that have their whole share and of those that begin.

use std::collections::BTreeSet;

use super::desired::{BackendKey, Inputs, backend_key};
use crate::config::model::{Backend, Service, SlotKind};

/// The most that weights are multiplied by, so that small ones have parts.
const FINEST: u32 = 100;
/// The largest weight that there is.
const LARGEST: u32 = u16::MAX as u32;

/// How the weights of a service are counted at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    /// What its slots are: in turn, but not all the same number of turns, while one begins.
    pub(super) slot_kind: SlotKind,
    /// What all weights are multiplied by.
    scale: u32,
    is_even: bool,
}

impl Weights {
    pub(super) fn of(service: &Service, inputs: &Inputs, takers: &BTreeSet<BackendKey>) -> Self {
        let slot_kind = service.scheduler.kind.table();
        let is_even = slot_kind == SlotKind::Turns;
        if !takers.iter().any(|key| inputs.slow_start.contains_key(key)) {
            return Self { slot_kind, scale: 1, is_even };
        }
        let taking = service.backends.iter().filter(|backend| takers.contains(&backend_key(backend)));
        let largest = taking.map(|backend| if is_even { 1 } else { u32::from(inputs.weight(backend)) }).max();
        let scale = (LARGEST / largest.unwrap_or(1).max(1)).clamp(1, FINEST);
        Self { slot_kind: if is_even { SlotKind::WeightedTurns } else { slot_kind }, scale, is_even }
    }

    /// The weight of a backend that takes flows, from 1 on.
    pub(super) fn weight(self, backend: &Backend, inputs: &Inputs) -> u32 {
        let own = if self.is_even { 1 } else { u32::from(inputs.weight(backend)) };
        let share = inputs.slow_start.get(&backend_key(backend)).map_or(1000, |share| u32::from(*share));
        (own * self.scale * share / 1000).max(1)
    }
}
