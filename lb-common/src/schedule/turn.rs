//! `round-robin` and `weighted-round-robin`: slots in turn.

use crate::{abi::SlotRange, environment::Environment};

/// The next slot, counted over the whole array. Each CPU counts for itself, so that CPUs need not agree; they begin apart from each
/// other.
#[inline(always)]
pub fn index<E: Environment>(env: &E, service: u32, slots: SlotRange) -> u32 {
    let Some(turn) = env.turn(service) else { return slots.offset };
    let present = turn.load();
    // Zero is where no CPU has begun.
    let number = if present == 0 { env.random() | 1 } else { present };
    turn.store(number.wrapping_add(1));
    slots.offset.wrapping_add(if slots.size == 0 { 0 } else { number % slots.size })
}
